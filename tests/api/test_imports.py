"""Proves that no files import each other in a circle, on top or in a function, so that each can be read, and imported,
after those it rests on. Imports for type checking alone do not run and do not count.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import solon

ROOM = Path(solon.__file__).parent


def files_of(package):
    """Return the modules of a package by name."""
    found = {}
    for file in package.rglob("*.py"):
        parts = file.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def statements(node):
    """Every import below a node that runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from statements(other)
        else:
            yield from statements(child)


def rests_on(file, known):
    """Return the modules that a file imports; of `from room import part` the part, where that is a file of its own."""
    for statement in statements(ast.parse(file.read_text())):
        if isinstance(statement, ast.Import):
            named = [(alias.name, alias.name) for alias in statement.names]
        else:
            named = [(f"{statement.module}.{alias.name}", statement.module) for alias in statement.names]
        for part, room in named:
            if part in known or room in known:
                yield part if part in known else room


def sort(package):
    known = files_of(package)
    return list(TopologicalSorter({name: set(rests_on(file, known)) for name, file in known.items()}).static_order())


def test_no_files_import_each_other_in_a_circle():
    order = sort(ROOM)
    assert order.index("solon.errors") < order.index("solon.storage.files") < order.index("solon.pipeline.run")


@pytest.mark.parametrize(
    ("last", "closes"),
    [
        ("import room.a", True),
        ("def f():\n    from room import a", True),
        ("try:\n    from room.a import x\nexcept ImportError:\n    pass", True),
        ("if TYPE_CHECKING:\n    from room.a import x", False),
        ("import json", False),
    ],
)
def test_a_circle_is_seen(tmp_path, last, closes):
    room = tmp_path / "room"
    room.mkdir()
    for name, text in {"__init__": "", "a": "from room import b", "b": "from room.c import x", "c": last}.items():
        (room / f"{name}.py").write_text(text)
    if closes:
        with pytest.raises(CycleError):
            sort(room)
    else:
        assert sort(room).index("room.c") < sort(room).index("room.a")
