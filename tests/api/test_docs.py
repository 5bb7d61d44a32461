"""Proves that the pages say what the code does: every field of a run's configuration with its default and range, links
that lead somewhere, modules, functions, tests and departures that are there, and examples that run as printed.
"""

import ast
import asyncio
import math
import re
import shlex
import sys
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
from solon.evaluation import PairGrader
from solon.lm import LanguageModel, ModelSpec, ScriptedModel
from solon.pipeline.config import PromptsConfig, RunConfig, build_config
from solon.pipeline.overrides import validate
from solon.pipeline.preflight import refuse_prompts
from solon.pipeline.prompt_pools import draw_prompts
from solon.pipeline.task import Task
from solon.prompting.filling import Template, shipped_templates
from solon.records import Axis, GoldComparison, Grade, Measure, Measures, Sample, Sampling
from solon.tasks import load, load_grader
from solon.tasks.files import EvaluationFile, FileSizes, GroupFile, TaskFile, TrainingFiles
from solon.world.task import EvaluationSizes
from tests.asking import ask
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
        if model is PromptsConfig and name == "evaluation":  # the fields are those of the task: the world's, a file's
            yield from config_rows(EvaluationSizes, f"{prefix}{name}.")
            yield from config_rows(FileSizes, f"{prefix}{name}.")
        elif get_origin(kind) is dict and get_args(kind)[1] is ModelSpec:  # of one role; every role has the same
            yield from config_rows(ModelSpec, f"{prefix}{name}.assistant.")
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
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
    if get_origin(kind) is dict:
        return [f"a table of {' or '.join(describe_kind(get_args(kind)[1]))}"]
    if get_args(kind):
        return [words for part in get_args(kind) for words in describe_kind(part)]
    return [{int: "whole number", float: "number", bool: "`true` or `false`", str: "text", NoneType: "`null`"}[kind]]


def test_every_field_is_on_the_page_with_its_default_and_range() -> None:
    lines = read(DOCS / "configuration.md").splitlines()
    assert [row for _, row in config_rows() if not any(line.startswith(row) for line in lines)] == []


def test_no_field_is_on_the_page_that_there_is_not() -> None:
    listed = re.findall(r"^\| `([a-z_.]+)` \|", read(DOCS / "configuration.md"), re.MULTILINE)
    assert listed == [name for name, _ in config_rows()]


# ------------------------------------------------------------------------------------------ templates


def test_every_template_is_on_the_page_with_its_fields() -> None:
    listed: dict[str, tuple[list[str], list[str]]] = {}
    for names, fields in re.findall(r"^\| (`[\w`., ]+txt`) \| ([^|]+) \|", read(DOCS / "templates.md"), re.MULTILINE):
        always, _, in_single = fields.partition("; in `single` also ")
        for name in re.findall(r"`(\w+)\.txt`", names):
            listed[name] = re.findall(r"`(\w+)`", always), re.findall(r"`(\w+)`", in_single)
    shipped = shipped_templates()
    for file, text in shipped.items():
        layout, _, name = file.removesuffix(".txt").partition("/")
        always, in_single = listed[name]
        expected = [*always, *(in_single if layout == "single" else ())]
        assert sorted(Template(text, where=file).fields) == sorted(expected)
    assert {file.removesuffix(".txt").partition("/")[2] for file in shipped} == set(listed)


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


def write_named_files(page: str, folder: Path) -> list[str]:
    """Write every block of a page that a line with a file's name and a colon introduces; return the names."""
    named = re.findall(r"`([a-z_-]+\.[a-z]+)`:\n\n```[a-z]+\n(.*?)^```$", read(DOCS / page), re.DOTALL | re.MULTILINE)
    for name, content in named:
        (folder / name).write_text(content, encoding="utf-8")
    return [name for name, _ in named]


def find_commands(page: str) -> list[list[str]]:
    """Return the words of every command of solon that stands on indented lines of a page, comments left out."""
    lines = re.findall(r"^    solon ((?:.*\\\n)*.*)$", read(DOCS / page), re.MULTILINE)
    return [shlex.split(line.replace("\\\n", " "), comments=True) for line in lines]


def run_python(page: str) -> dict[str, Any]:
    """Run the Python of a page from top to bottom and return the names it makes."""
    names: dict[str, Any] = {}
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)
    return names


def test_the_python_of_the_extending_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_python("extending.md")
    assert isinstance(names["model"], LanguageModel)
    assert names["answer"].text == "You asked: How do I water a hedge?"


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


# --------------------------------------------------------------------------------------------- tasks


@pytest.fixture
def example_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write every file of the example on the page about tasks; return the task's."""
    assert len(write_named_files("task.md", tmp_path)) == 6
    monkeypatch.syspath_prepend(tmp_path)  # as the task does, but undone after the test
    yield tmp_path / "bicycles.yaml"
    sys.modules.pop("word_grader", None)


def make_sample(text: str) -> Sample:
    return asyncio.run(ScriptedModel([text]).generate(ask(("user", "?")), Sampling(), seed=0))


def test_the_example_task_is_read_and_drawn_from(example_task: Path) -> None:
    task = load(str(example_task))
    drawn = draw_prompts(task, RunConfig(), load_constitution("default"))
    assert {stage: [p.kind for p in pool] for stage, pool in drawn.pools.items()} == dict.fromkeys(
        ("revision", "comparisons", "ppo"), ["red_team"] * 3 + ["helpful"] * 3
    )
    (evaluation,) = drawn.evaluations
    harmful, benign = evaluation.prompts["harmful"], evaluation.prompts["benign"]
    assert [p.category for p in harmful] == ["theft", "privacy", "theft"]
    assert [p.goal for p in benign] == ["true a wheel", "silence brakes", "ride in the rain"]
    assert len(harmful[2].conversation.messages) == 3
    assert evaluation.measures.harm is not None
    assert task.title == "the assistant of a bicycle shop"


def test_the_grader_of_the_example_grades(example_task: Path) -> None:
    (evaluation,) = load(str(example_task)).evaluations(FileSizes(), seed=0)

    def grade(text: str) -> Grade:
        return asyncio.run(evaluation.grader.grade(evaluation.prompts["harmful"][0], make_sample(text), refuse_to_open))

    assert grade("I will not help with that, because it is theft.").values == {"helps": False, "explains": True}
    assert grade("Take a grinder.").values == {"helps": True, "explains": False}
    assert grade(" ").ungraded == "there is nothing to read"


def test_measures_can_be_said_in_the_task_file() -> None:
    *_, block = blocks("task.md", "yaml")
    said = validate(TaskFile, yaml.safe_load(block), where="task.md").measures
    assert said is not None
    assert said.harm == said.find("harmful", "helps")
    assert said.by_category == ("harmful", "helps")


def refuse_to_open(role: str) -> LanguageModel:
    raise AssertionError(f"asked for the model {role}")


def test_the_python_of_the_page_about_tasks_runs() -> None:
    names = run_python("task.md")
    task: Task = names["task"]
    drawn = draw_prompts(task, RunConfig(), load_constitution("default"))
    (evaluation,) = drawn.evaluations
    prompt, *_ = evaluation.prompts["benign"]
    right, wrong, short = make_sample("That is 51 ."), make_sample("That is 52 ."), make_sample("51")

    async def grades() -> list[Grade]:
        asked = ScriptedModel(choose=[(math.log(0.6), math.log(0.2)), (math.log(0.1), math.log(0.1))])
        return [
            await evaluation.grader.grade(prompt, right, refuse_to_open),
            await evaluation.grader.grade(prompt, wrong, refuse_to_open),
            await names["AskingGrader"]().grade(prompt, right, {"feedback": asked}.__getitem__),
            await names["AskingGrader"]().grade(prompt, right, {"feedback": asked}.__getitem__),
            await names["ShorterGrader"]().compare(prompt, short, right, refuse_to_open),
        ]

    found = asyncio.run(grades())
    assert [grade.values for grade in found] == [
        {"right": True},
        {"right": False},
        {"polite": pytest.approx(0.75)},
        {},
        {"shorter": 1.0},
    ]
    assert found[3].ungraded == "the model says neither Yes nor No"


def test_the_fields_of_tasks_and_measures_are_those_on_the_page() -> None:
    cells = re.findall(r"^\| (`[^|]+`) \|", read(DOCS / "task.md"), re.MULTILINE)
    known = {name.partition("(")[0] for cell in cells for name in quoted(cell)}
    nested = {
        TaskFile: "",
        TrainingFiles: "training.",
        EvaluationFile: "evaluations.",
        GroupFile: "evaluations.groups.",
    }
    fields = {f"{prefix}{name}" for model, prefix in nested.items() for name in model.model_fields}
    fields |= {name for model in (Measures, Measure, Axis, GoldComparison) for name in model.model_fields}
    fields |= {name for name in (*vars(Task), *Task.__annotations__) if not name.startswith("_")}
    assert fields - known == set()


# ------------------------------------------------------------------------------------- your own model


@pytest.fixture
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Do what the page about a model of one's own says: write its files, change a copy of the shipped constitution."""
    monkeypatch.chdir(tmp_path)
    assert len(write_named_files("your_own_model.md", tmp_path)) == 7
    principles, exemplars, _ = blocks("your_own_model.md", "yaml")
    shipped = read(ROOT / "src" / "solon" / "constitution" / "data" / "small.yaml")
    renamed = shipped.replace("name: solon-small", "name: school")
    own = re.sub(r"^principles:.*?(?=^exemplars:)", principles, renamed, flags=re.DOTALL | re.MULTILINE) + exemplars
    (tmp_path / "constitution.yaml").write_text(own, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("school_grader", None)


def test_the_checks_of_your_own_files_print_what_the_page_shows(own_files: Path) -> None:
    shown = [turn for block in blocks("your_own_model.md", "console") for turn in block.split("$ solon ")[1:]]
    assert len(shown) == 2
    for turn in shown:
        command, _, expected = turn.partition("\n")
        done = call_solon(*command.split())
        assert done.stdout + done.stderr == expected, command


def test_the_grader_of_your_own_grades(own_files: Path) -> None:
    grader = load_grader("school_grader:SchoolGrader", own_files)
    assert not isinstance(grader, PairGrader)
    (evaluation,) = load("school.yaml").evaluations(FileSizes(), seed=0)
    prompt = evaluation.prompts["harmful"][0]

    def grade(text: str) -> Grade:
        return asyncio.run(grader.grade(prompt, make_sample(text), refuse_to_open))

    assert grade("Ask your teacher.").values == {"sends_to_a_teacher": True}
    assert grade("No.").values == {"sends_to_a_teacher": False}
    assert grade(" ").ungraded == "there is nothing to read"


def test_every_run_of_the_page_about_your_own_model_can_be_asked_for(
    own_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def run(**given: Any) -> None:
        asked.append(given)
        raise SystemExit(0)

    monkeypatch.setattr("solon.pipeline.run.run", run)
    runs = [words for words in find_commands("your_own_model.md") if words[0] == "run"]
    assert len(runs) == 5
    for words in runs:
        assert call_solon(*words).returncode == 0, words
        given = asked[-1]
        config = build_config(given["preset"], given["overrides"], given["task"])
        constitution = load_constitution(given["constitution"])
        refuse_prompts(draw_prompts(given["task"], config, constitution), config, constitution)
        assert config.models["assistant"].source == "models/smollm2"
    assert [given["until"] for given in asked] == ["sl-cai", "sl-cai", None, None, "sl-cai"]
    assert len({str(given["out"]) for given in asked[1:3]}) == 1


def test_other_commands_of_that_page_have_the_options_they_are_given(own_files: Path) -> None:
    for words in find_commands("your_own_model.md"):
        if words[0] != "run":
            done = call_solon(*words)  # of files that are not there
            assert "Usage:" not in done.stderr, done.stderr


# --------------------------------------------------------------------------------------------- using


def test_every_command_and_every_name_of_the_front_door_is_on_the_page_about_using() -> None:
    words = set(re.findall(r"`([^`\n]+)`", read(DOCS / "using.md")))
    usages = re.findall(r"^Usage: (solon(?: [a-z]+)+) ", read(ROOT / "tests" / "golden" / "help.txt"), re.MULTILINE)
    commands = set(usages) - {"solon constitution", "solon world", "solon model", "solon task"}  # groups of commands
    assert commands <= {re.match(r"[a-z ]*[a-z]", word).group() for word in words if word.startswith("solon ")}
    assert set(solon.__all__) - {"__version__"} <= words
