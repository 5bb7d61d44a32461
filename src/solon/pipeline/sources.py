"""Which sources of this package a module runs on, read from the sources themselves and never by importing them.

A stage made by other sources than a run has now is made again. What counts is every module of the package that the
stage's own page imports, in functions too and through any number of others; an import for type checking alone does
not run and does not count. Other packages are not read: their versions are pinned by whoever installs them.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from solon.errors import ConfigError

PACKAGE = __name__.partition(".")[0]


def sources_digest(*modules: str) -> str:
    """Return the digest of the sources that modules of this package run on, their own included.

    Args:
        *modules: full names, e.g. `solon.pipeline.stages.sft`; one of your own may be among them.

    Raises:
        ConfigError: one has no source that can be read, as a notebook has none.
    """
    for module in modules:
        if _file(module) is None:
            raise ConfigError(
                f"a stage is written in {module}, which has no source file: put it in a module of its own"
            )
    lines = [f"{name} {hashlib.sha256(_read(name)).hexdigest()}" for name in sorted(find_sources(*modules))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def find_sources(*modules: str) -> frozenset[str]:
    """Return the names of all modules of this package that some of its modules run on, their own included."""
    found: set[str] = set()
    ahead = [*modules]
    while ahead:
        name = ahead.pop()
        if name not in found and _file(name) is not None:
            found.add(name)
            ahead += _imports(name)
    return frozenset(found)


@cache
def _file(name: str) -> Path | None:
    """Return the file of a module, None where there is no such module: a name imported from one looks the same."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:
        return None
    except ValueError:  # a script that runs by itself has no spec
        script = getattr(sys.modules[name], "__file__", None)
        return None if script is None else Path(script)
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def _read(name: str) -> bytes:
    file = _file(name)
    return b"" if file is None else file.read_bytes()


@cache
def _imports(name: str) -> tuple[str, ...]:
    """Return what a module may import of this package: modules, and names in them that may be modules too."""
    tree = ast.parse(_read(name))
    # A package runs before the modules in it; what its own page imports is theirs too.
    parents = [".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)]
    return (*parents, *dict.fromkeys(_walk(tree)))


def _walk(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield from _walk(other)
        elif isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name.partition(".")[0] == PACKAGE)
        elif isinstance(child, ast.ImportFrom) and child.module and child.module.partition(".")[0] == PACKAGE:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from _walk(child)
