"""Proves that the pages say what the code does: every field of a run's configuration with its default and range, links
that lead somewhere, modules, functions, tests and departures that are there, and examples that run as printed.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import annotated_types
import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import solon
from solon.constitution import load_constitution
from solon.lm import LanguageModel
from solon.pipeline.config import RunConfig
from tests.e2e.conftest import call_solon

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")] + sorted(DOCS.glob("*.md"))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", read(DOCS / page), re.DOTALL | re.MULTILINE)


# -------------------------------------------------------------------------------------- configuration


def config_rows(model: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield name and beginning of the table row of every field: name, default, what is allowed."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from config_rows(kind, f"{prefix}{name}.")
        else:
            default = "required" if field.is_required() else f"`{show(field.default)}`"
            yield f"{prefix}{name}", f"| `{prefix}{name}` | {default} | {describe_allowed(field)} |"


def show(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("\n").removesuffix("...").strip()


def describe_allowed(field: FieldInfo) -> str:
    """Say in words what a field takes."""
    bounds = []
    for bound in field.metadata:
        match bound:
            case annotated_types.Ge(ge=value):
                bounds.append(f"at least {value:g}")
            case annotated_types.Gt(gt=value):
                bounds.append(f"above {value:g}")
            case annotated_types.Le(le=value):
                bounds.append(f"at most {value:g}")
            case annotated_types.Lt(lt=value):
                bounds.append(f"below {value:g}")
    return ", ".join([" or ".join(describe_kind(field.annotation)), *bounds])


def describe_kind(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [f"`{show(value)}`" for value in get_args(kind)]
    if get_origin(kind) is tuple:
        inner, *_ = get_args(kind)
        return ["two numbers"] if inner is float else [f"a list of {' or '.join(describe_kind(inner))}"]
    if get_args(kind):
        return [words for part in get_args(kind) for words in describe_kind(part)]
    return [{int: "whole number", float: "number", bool: "`true` or `false`", str: "text", NoneType: "`null`"}[kind]]


def test_every_field_is_on_the_page_with_its_default_and_range() -> None:
    lines = read(DOCS / "configuration.md").splitlines()
    assert [row for _, row in config_rows() if not any(line.startswith(row) for line in lines)] == []


def test_no_field_is_on_the_page_that_there_is_not() -> None:
    listed = re.findall(r"^\| `([a-z_.]+)` \|", read(DOCS / "configuration.md"), re.MULTILINE)
    assert listed == [name for name, _ in config_rows()]


# ---------------------------------------------------------------------------------------------- links


def anchors(text: str) -> set[str]:
    """Return what the headings of a page are linked by."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(read(found)), f"{page.name}: {target}"


def test_every_page_is_linked_from_the_architecture() -> None:
    linked = re.findall(r"\]\((docs/[^)#\s]+)\)", read(ROOT / "ARCHITECTURE.md"))
    assert {ROOT / path for path in linked} == set(DOCS.glob("*.md"))


# -------------------------------------------------------------------------------------- the paper map


def table_cells(*headings: str) -> list[tuple[str, ...]]:
    """Return the cells of the columns so headed, row by row, of every table of the paper map that has them all."""
    found = []
    columns: list[int] | None = None
    for line in read(DOCS / "paper_map.md").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            columns = None
        elif columns is None:
            columns = [cells.index(heading) for heading in headings] if set(headings) <= set(cells) else []
        elif columns and set(line) - set("|-: "):
            found.append(tuple(cells[column] for column in columns))
    return found


def defined_names(path: Path) -> set[str]:
    """Return every function and class of a file, those within classes too."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {node.name for node in ast.walk(ast.parse(read(path))) if isinstance(node, kinds)}


def find_module(name: str) -> tuple[Path, str]:
    """Return the file of a dotted name below `solon`, and what of the name is left within it."""
    parts = name.split(".")
    path = ROOT / "src" / "solon"
    for number, part in enumerate(parts):
        if (path / f"{part}.py").is_file():
            return path / f"{part}.py", ".".join(parts[number + 1 :])
        path /= part
        assert path.is_dir(), f"no module {name}"
    return path / "__init__.py", ""


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_map_has_a_module_and_a_test_in_every_row() -> None:
    rows = table_cells("Paper", "Module", "Test", "Departure")
    assert len(rows) >= 20
    assert [paper for paper, module, test, _ in rows if not (quoted(module) and quoted(test))] == []


def test_modules_and_functions_of_the_map_are_there() -> None:
    for (cell,) in table_cells("Module"):
        for name in quoted(cell):
            if "/" in name:
                assert (ROOT / "src" / "solon" / name).exists(), name
                continue
            path, rest = find_module(name)
            assert not rest or rest in defined_names(path), name


def test_tests_of_the_map_are_there() -> None:
    for (cell,) in table_cells("Test"):
        for name in quoted(cell):
            file, _, function = name.partition("::")
            path = ROOT / "tests" / file
            assert path.is_file(), name
            assert not function or function in defined_names(path), name


def departures() -> dict[str, set[str]]:
    """Return module to the numbers of its departures from the paper, as its docstring numbers them; `-` for one alone.

    A number begins a line or stands in brackets.
    """
    found = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        said = ast.get_docstring(ast.parse(read(path))) or ""
        _, colon, text = said.partition("Departures from the paper")
        single = "Departure from the paper" in said
        if colon or single:
            name = ".".join(path.relative_to(ROOT / "src" / "solon").with_suffix("").parts)
            numbers = re.findall(r"^(\d+)\. |(?<= )\((\d+)\) ", text, re.MULTILINE)
            found[name] = {"-"} if single else {a or b for a, b in numbers}
    return found


def test_every_departure_is_listed_as_its_module_numbers_it() -> None:
    listed: dict[str, set[str]] = {}
    for module, number in table_cells("Module", "No."):
        listed.setdefault(quoted(module)[0], set()).add(number)
    assert listed == departures()


def test_departures_that_rows_name_are_listed() -> None:
    known = departures()
    for (cell,) in table_cells("Departure"):
        for module, numbers in re.findall(r"`([a-z_.]+)`((?: \d+,?)*)", cell):
            assert module in known, cell
            assert set(re.findall(r"\d+", numbers)) <= known[module], cell


# ------------------------------------------------------------------------------------------- examples


def write_examples(folder: Path) -> None:
    """Write every example of the constitution page under the name that its first line gives."""
    for language in ("yaml", "text"):
        for block in blocks("constitution.md", language):
            name = block.partition("\n")[0].removeprefix("# ")
            (folder / name).write_text(block, encoding="utf-8")


def test_constitutions_load_and_the_check_prints_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_examples(tmp_path)
    shown = [turn for block in blocks("constitution.md", "console") for turn in block.split("$ solon ")[1:]]
    assert len(shown) >= 6
    for turn in shown:
        command, _, expected = turn.partition("\n")
        done = call_solon(*command.split())
        assert done.stdout + done.stderr == expected, command
    assert load_constitution("my.yaml").comparison_exemplars[0].better == "b"


def test_the_python_of_the_extending_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks("extending.md", "python"):
        exec(compile(block, "extending.md", "exec"), names)
    assert isinstance(names["model"], LanguageModel)
    assert names["answer"].text == "You asked: How do I water a hedge?"
    assert names["graded"].attributes["complies"] is False


def test_the_fields_of_the_results_are_all_on_the_page() -> None:
    written = ast.parse(read(ROOT / "src" / "solon" / "pipeline" / "results.py"))
    keys = {
        key.value
        for node in ast.walk(written)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    page = read(DOCS / "evaluation.md")
    assert {key for key in keys if not re.search(rf"[`.]{key}[`.]", page)} == set()


# --------------------------------------------------------------------------------------------- using


def test_every_command_and_every_name_of_the_front_door_is_on_the_page_about_using() -> None:
    words = set(re.findall(r"`([^`\n]+)`", read(DOCS / "using.md")))
    usages = re.findall(r"^Usage: (solon(?: [a-z]+)+) ", read(ROOT / "tests" / "golden" / "help.txt"), re.MULTILINE)
    commands = set(usages) - {"solon constitution", "solon world"}  # groups of commands
    assert commands <= {re.match(r"[a-z ]*[a-z]", word).group() for word in words if word.startswith("solon ")}
    assert set(solon.__all__) - {"__version__"} <= words
