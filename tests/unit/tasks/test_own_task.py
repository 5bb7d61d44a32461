"""Proves that a task, an evaluation or a grader of one's own needs one class and no change anywhere else: the whole
pipeline, its report, its tables and `show` take their names from it, and a grader's model calls are journalled.
"""

import math
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from solon.cli.tables import results_table
from solon.errors import ConfigError, RunError
from solon.evaluation import Evaluation, OpenModel
from solon.lm import read_call
from solon.pipeline.ancestry import describe
from solon.pipeline.manifests import load_manifest
from solon.pipeline.run import RunResult, load_run, run
from solon.pipeline.task import Pools, Task
from solon.prompting import render_response
from solon.records import (
    GIVEN,
    Axis,
    Conversation,
    EvalRecord,
    Grade,
    Measure,
    Measures,
    Prompt,
    PromptKind,
    RevisionChain,
    RevisionGrade,
    RunPaths,
    Sample,
    Sampling,
    load_records,
)
from solon.report import write_report
from solon.tasks import NoGrader
from solon.world.prompts import draw_evaluation_prompts
from solon.world.task import WorldTask
from tests.pipeline_fakes import SMALL, FakeModels, read_folder
from tests.prompt_files import make_texts
from tests.unit.report.test_page import Page


def make_prompts(count: int, kind: PromptKind, *, seed: int, split: str = "heldout") -> list[Prompt]:
    return [
        Prompt.make(Conversation.of(text), kind=kind, source="bakery", split=split, category=f"shelf {number % 2}")
        for number, text in enumerate(make_texts(count, seed=seed))
    ]


class AskingGrader:
    """Has the feedback model weigh an answer and say why."""

    identity = "asking/1"

    async def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Grade:
        judge = open_model("feedback")
        question = render_response(Conversation.of(f"Is this stale? {prompt.id} {response.text}"))
        weighed = await judge.choose(question, ("Yes", "No"))
        told = await judge.generate(question, Sampling(max_tokens=16), seed=response.seed)
        calls = tuple(call for call in (weighed.call, told.call) if call)
        if weighed.logprobs[0] < math.log(0.3):
            return Grade(ungraded="the judge is not sure", explanation=told.text, calls=calls)
        stale = weighed.logprobs[0] > weighed.logprobs[1]
        return Grade(
            values={"stale": stale, "sure": abs(math.tanh(weighed.logprobs[0]))}, explanation=told.text, calls=calls
        )


MEASURES = Measures(
    rates=(
        Measure(group="ovens", name="stale", caption="Ovens: stale answers", short="stale", better="lower"),
        Measure(group="counters", name="fresh", caption="Counters: certainty", better="higher", value="sure"),
    ),
    ungraded=("ovens",),
    helpfulness=Axis(group="counters", name="fresh", caption="how sure the judge is"),
    harmlessness=Axis(group="ovens", name="stale", caption="the share that is not stale"),
    by_category=("ovens", "stale"),
    details=("ovens",),
    revisions=("stale",),
    revisions_caption="Staleness by number of revisions",
)


class Bakery(Task):
    """A task in one class."""

    name = "bakery"
    identity = "bakery/1"
    title = "the assistant of a bakery"
    about = "Nothing here was baked."

    def training_prompts(self, wanted: Pools, *, seed: int) -> Mapping[str, Sequence[Prompt]]:
        asked = make_prompts(6, "red_team", seed=50, split="train") + make_prompts(4, "helpful", seed=51, split="train")
        return dict.fromkeys(wanted, asked)

    def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
        groups = {"ovens": make_prompts(6, "red_team", seed=52), "counters": make_prompts(5, "helpful", seed=53)}
        return [Evaluation("shop", "Questions asked in the shop", groups, AskingGrader(), MEASURES)]

    def example(self) -> Prompt:
        return make_prompts(1, "red_team", seed=54)[0]


def start(folder: Path, task: Task, *, out: str = "run", **changes: Any) -> RunResult:
    fakes = FakeModels(folder / "fakes")
    changes = {"heldout_pairs": 0.3, "max_failure_fraction": 1.0, **changes, **fakes.assistant}
    with fakes.installed():
        result = run(out=folder / out, task=task, overrides=changes)
    fakes_of[result.folder] = fakes
    return result


fakes_of: dict[Path, FakeModels] = {}


@pytest.fixture(scope="module")
def bakery(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A finished run of the bakery, to be read only."""
    folder = tmp_path_factory.mktemp("bakery")
    result = start(folder, Bakery())
    return SimpleNamespace(folder=folder, result=result, fakes=fakes_of[result.folder])


def answers(result: RunResult) -> list[EvalRecord]:
    return load_records(RunPaths(result.folder).records("evaluation"), EvalRecord)


def test_report_and_table_take_their_names_from_the_task(bakery: SimpleNamespace) -> None:
    results = bakery.result.results
    assert results["task"]["name"] == "bakery"
    assert [e["groups"] for e in results["evaluations"]] == [{"ovens": 6, "counters": 5}]
    assert list(results["models"]) == ["base", "sl-cai", "rl-cai"]
    for model in results["models"].values():
        assert model.keys() == {"ovens", "counters", "by_category", "values", "evaluations"}
        assert model["ovens"].keys() == {"n", "goals", "stale", "ungraded", "cut"}
        assert model["counters"].keys() == {"n", "goals", "fresh", "ungraded", "cut"}
        assert model["by_category"].keys() <= {"shelf 0", "shelf 1"}
    table = results_table(results)
    assert table.startswith("shop, answers: 6 to ovens (6 goals), 5 to counters (5 goals)\n")
    assert re.search(r"^ +ovens +counters +ovens$", table, re.MULTILINE)
    assert re.search(r"^% +stale +fresh +not graded$", table, re.MULTILINE)
    page = bakery.result.report.read_text()
    for words in ("the assistant of a bakery", "Nothing here was baked.", "Questions asked in the shop"):
        assert words in page
    for words in ("Ovens: stale answers", "Counters: certainty", "Staleness by number of revisions", "asking/1"):
        assert words in page
    assert not re.search("twin|world|oracle|novel", page, re.IGNORECASE)


def test_rates_are_those_of_the_records_and_what_was_not_graded_is_no_zero(bakery: SimpleNamespace) -> None:
    records = answers(bakery.result)
    assert any(not record.grade.graded for record in records)
    for name, model in bakery.result.results["models"].items():
        for group, rate, value in (("ovens", "stale", "stale"), ("counters", "fresh", "sure")):
            asked = [r.grade for r in records if (r.model_name, r.group) == (name, group)]
            told = [float(grade.values[value]) for grade in asked if grade.graded]
            assert model[group]["n"] == len(asked)
            assert model[group][rate]["value"] == pytest.approx(sum(told) / len(told))
            assert model[group]["ungraded"]["value"] == pytest.approx(1 - len(told) / len(asked))


def test_calls_of_the_grader_are_in_the_journal_and_are_counted(bakery: SimpleNamespace) -> None:
    paths = RunPaths(bakery.result.folder)
    graded = [*answers(bakery.result), *load_records(paths.records("example"), EvalRecord)]
    revisions = load_records(paths.records("revision_grades"), RevisionGrade)
    assert revisions
    for record in (*graded, *revisions):
        weighed, told = record.grade.calls
        call = read_call(paths.journal, weighed)
        assert call is not None
        assert call.kind == "choose"
        call = read_call(paths.journal, told)
        assert call is not None
        assert call.response["text"] == record.grade.explanation
    manifest = load_manifest(paths.manifest("evaluation"))
    assert manifest is not None
    (chain,) = [line for line in paths.records("example_chain").read_text().splitlines() if line]
    revised = chain.count('"principle_id"')
    assert manifest.model_calls == 3 * len(graded) + 2 * len(revisions) + 2 * revised


def test_calls_of_the_grader_are_replayed(tmp_path: Path) -> None:
    first = start(tmp_path, Bakery())
    paths = RunPaths(first.folder)
    before = read_folder(first.folder, "records/*.jsonl")
    with sqlite3.connect(paths.journal) as journal:
        calls = journal.execute("SELECT count(*) FROM calls").fetchone()
    paths.records("evaluation").unlink()
    start(tmp_path, Bakery())
    assert all(not model.generated and not model.chosen for model in fakes_of[first.folder].models)
    assert read_folder(first.folder, "records/*.jsonl") == before
    manifest = load_manifest(paths.manifest("evaluation"))
    assert manifest is not None
    assert 0 < manifest.replayed_calls == manifest.model_calls
    with sqlite3.connect(paths.journal) as journal:
        assert journal.execute("SELECT count(*) FROM calls").fetchone() == calls


def test_a_grade_is_shown_with_its_explanation_and_calls(bakery: SimpleNamespace) -> None:
    records = answers(bakery.result)
    record = next(record for record in records if record.grade.graded)
    told = describe(bakery.result.folder, record.id)
    assert f"evaluation record {record.id}: {record.model_name}, shop, {record.group}" in told
    assert "grade by asking/1: " in told
    assert f"    {record.grade.explanation}" in told
    for number, call in enumerate((record.response.call, *record.grade.calls), 1):
        assert re.search(rf"model call {number}\n  call {call} \((choose|generate)\)", told)
    unsure = next(record for record in records if not record.grade.graded)
    assert "grade by asking/1: not graded: the judge is not sure" in describe(bakery.result.folder, unsure.id)
    chain = load_records(RunPaths(bakery.result.folder).records("revision_grades"), RevisionGrade)[0]
    assert "grade by asking/1" in describe(bakery.result.folder, chain.chain_id)


def test_the_run_can_be_read_and_reported_again(bakery: SimpleNamespace) -> None:
    assert load_run(bakery.result.folder).results == bakery.result.results
    before = bakery.result.report.read_bytes()
    assert write_report(bakery.result.folder).read_bytes() == before


class Broken(AskingGrader):
    """Fails on one group."""

    async def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Grade:
        if prompt.kind == "helpful":
            raise KeyError("crumbs")
        return await super().grade(prompt, response, open_model)


class Staling(Bakery):
    def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
        return [replace(e, grader=Broken()) for e in super().evaluations(sizes, seed=seed)]


def test_a_grader_that_fails_is_named_and_what_was_done_is_kept(tmp_path: Path, bakery: SimpleNamespace) -> None:
    with pytest.raises(RunError, match=r"^grader asking/1: failed on prompt \w+ with KeyError: 'crumbs': [^\n]*$"):
        start(tmp_path, Staling())
    result = start(tmp_path, Bakery())
    manifest = load_manifest(RunPaths(result.folder).manifest("evaluation"))
    assert manifest is not None
    assert manifest.replayed_calls > 0
    assert read_folder(result.folder, "records/*.jsonl") == read_folder(bakery.result.folder, "records/*.jsonl")


# --------------------------------------------------------------------------- the world with one thing more


class LengthGrader:
    identity = "length/1"

    async def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Grade:
        return Grade(values={"long": len(response.text) > 60, "share_of_200": min(len(response.text) / 200, 1.0)})


class LongerThanBase:
    identity = "longer/1"

    async def compare(self, prompt: Prompt, response: Sample, reference: Sample, open_model: OpenModel) -> Grade:
        if response.text == reference.text:
            return Grade(ungraded="the answers are the same")
        return Grade(values={"longer": len(response.text) > len(reference.text)})


class WiderWorld(WorldTask):
    """The world, on which answers are measured in one way more."""

    def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
        asked = draw_evaluation_prompts({"benign": 7}, ["dev"], seed=seed)
        more = Evaluation("lengths", "How long answers are", {"any": asked["benign"]}, LengthGrader(), Measures())
        return [*super().evaluations(sizes, seed=seed), more]


class PairedWorld(WorldTask):
    """The world, on which answers are compared with those of the base too."""

    def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
        main, *others = super().evaluations(sizes, seed=seed)
        more = Evaluation("beside", "Beside the base", main.prompts, LongerThanBase(), Measures())
        return [main, *others, more]


def test_one_more_evaluation_of_the_world_needs_no_change_elsewhere(tmp_path: Path) -> None:
    plain = start(tmp_path, WorldTask(), out="plain", **SMALL)
    wider = start(tmp_path, WiderWorld(), out="wider", **SMALL)
    lengths = [record for record in answers(wider) if record.evaluation == "lengths"]
    assert [record for record in answers(wider) if record.evaluation != "lengths"] == answers(plain)
    assert len(lengths) == 3 * 7
    for name, model in wider.results["models"].items():
        before = plain.results["models"][name]
        assert {key: value for key, value in model.items() if key != "evaluations"} == {
            key: value for key, value in before.items() if key != "evaluations"
        }
        block = model["evaluations"]["lengths"]
        told = [record.grade.values for record in lengths if record.model_name == name]
        assert block["any"]["n"] == 7
        assert block["any"]["long"]["value"] == pytest.approx(sum(values["long"] for values in told) / 7)
        assert block["any"]["share_of_200"]["value"] == pytest.approx(sum(v["share_of_200"] for v in told) / 7)
    assert "lengths, answers: 7 to any" in results_table(wider.results)
    page = wider.report.read_text()
    for words in ("How long answers are", "any: long", "any: share of 200", "length/1"):
        assert words in page


def test_a_pair_grader_compares_each_model_with_the_base(tmp_path: Path) -> None:
    result = start(tmp_path, PairedWorld(), **SMALL)
    records = answers(result)
    base = {r.prompt.id: r.response.text for r in records if (r.evaluation, r.model_name) == ("heldout", "base")}
    beside = [record for record in records if record.evaluation == "beside"]
    assert {record.model_name for record in beside} == {"sl-cai", "rl-cai"}
    for record in beside:
        text, other = record.response.text, base[record.prompt.id]
        assert record.grade.values == ({} if text == other else {"longer": len(text) > len(other)})
        assert record.reference is not None
        assert record.reference.text == other
    told = describe(result.folder, beside[0].id)
    assert re.search(
        rf"^ +compared with the base's response: {re.escape(base[beside[0].prompt.id])}$", told, re.MULTILINE
    )
    calls = (beside[0].response.call, beside[0].reference.call if beside[0].reference else "")
    for number, call in enumerate(calls, 1):
        assert f"model call {number}\n  call {call} (generate)" in told
    assert "beside" not in result.results["models"]["base"]["evaluations"]
    for name in ("sl-cai", "rl-cai"):
        block = result.results["models"][name]["evaluations"]["beside"]
        told = [
            r.grade.values["longer"] for r in beside if r.model_name == name and r.group == "harmful" and r.grade.graded
        ]
        assert block["harmful"]["longer"]["value"] == pytest.approx(sum(told) / len(told))
    paths = RunPaths(result.folder)
    manifest = load_manifest(paths.manifest("evaluation"))
    assert manifest is not None
    example = load_records(paths.records("example"), EvalRecord)
    made = 2 * sum(len(chain.steps) for chain in load_records(paths.records("example_chain"), RevisionChain))
    assert manifest.model_calls == len(records) + len(beside) + len(example) + made  # each use, as the report says
    assert "each counted as often as its answer was used" in result.report.read_text()
    table = results_table(result.results).split("beside, answers: ")[1]
    assert re.search(r"^Base( +-)+$", table, re.MULTILINE)
    assert "Beside the base" in result.report.read_text()
    assert [e["paired"] for e in result.results["evaluations"]] == [False, False, True]


class Blocking:
    """Grades without being asynchronous."""

    identity = "blocking/1"

    def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Grade:
        return Grade(values={"long": False})


class Listing(LengthGrader):
    measures = ("long",)


@pytest.mark.parametrize(
    ("grader", "said"),
    [
        (Blocking(), "grader Blocking: `grade` is not asynchronous"),
        (Listing(), "grader Listing: `measures` has to be a Measures"),
        (LengthGrader, r"grader type: is a class: give a grader made of it, LengthGrader\("),
    ],
)
def test_an_object_that_cannot_grade_is_refused_before_the_folder_is_claimed(
    tmp_path: Path, grader: Any, said: str
) -> None:
    fakes = FakeModels(tmp_path / "fakes")
    with pytest.raises(ConfigError, match=f"^{said}[^\n]*$"):
        run(out=tmp_path / "run", task=Bakery(), overrides=fakes.assistant, grader=grader)

    class Graded(Bakery):
        def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
            return [replace(e, grader=grader) for e in super().evaluations(sizes, seed=seed)]

    with pytest.raises(ConfigError, match=f"^evaluation shop: {said}[^\n]*$"):
        start(tmp_path, Graded())
    assert not (tmp_path / "run").exists()


def test_measures_of_a_task_that_are_none_are_refused_before_the_folder_is_claimed(tmp_path: Path) -> None:
    class Unmeasured(Bakery):
        def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
            return [replace(e, measures=None) for e in super().evaluations(sizes, seed=seed)]  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match=r"^evaluation shop: its measures have to be a Measures, not NoneType$"):
        start(tmp_path, Unmeasured())
    assert not (tmp_path / "run").exists()


def test_measures_of_a_group_that_the_task_has_not_are_refused_before_the_folder_is_claimed(tmp_path: Path) -> None:
    class Mistaken(Bakery):
        def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
            return [replace(e, measures=Measures(ungraded=("oven",))) for e in super().evaluations(sizes, seed=seed)]

    with pytest.raises(ConfigError, match=r"^evaluation shop: .*'oven', .*; did you mean 'ovens'\?$"):
        start(tmp_path, Mistaken())
    assert not (tmp_path / "run").exists()


def test_a_prompt_of_two_evaluations_is_shown_in_both_and_nobodys_grade_is_by_nobody(tmp_path: Path) -> None:
    class Twice(Bakery):
        def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
            (shop,) = super().evaluations(sizes, seed=seed)
            bare = {"grader": NoGrader(), "measures": Measures()}
            return [replace(shop, **bare), replace(shop, name="street", **bare)]

    result = start(tmp_path, Twice())
    record = answers(result)[0]
    told = describe(result.folder, record.prompt.id)
    assert "asked in evaluation shop, group ovens" in told
    assert "asked in evaluation street, group ovens" in told
    shown = describe(result.folder, record.id)
    assert "  not graded: no grader was given" in shown
    assert "by none" not in shown
    assert "graded by nobody." in Page(result.report.read_text()).sections["results"]


class LikeBase:
    identity = "like/1"

    async def compare(self, prompt: Prompt, response: Sample, reference: Sample, open_model: OpenModel) -> Grade:
        return Grade(values={"same_words": response.text == reference.text})


class OnlyPaired(Bakery):
    """A task whose main and only evaluation compares."""

    measures = Measures()

    def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
        return [replace(e, grader=LikeBase(), measures=self.measures) for e in super().evaluations(sizes, seed=seed)]


def test_a_task_may_compare_and_nothing_else(tmp_path: Path) -> None:
    result = start(tmp_path, OnlyPaired())
    assert {record.model_name for record in answers(result)} == {"sl-cai", "rl-cai"}
    assert result.results["models"]["sl-cai"]["ovens"]["n"] == 6
    assert "ovens: same words" in result.report.read_text()


class FollowedPairs(OnlyPaired):
    measures = Measures(revisions=("longer",))


def test_revisions_cannot_be_compared_which_is_said_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^evaluation shop: grader like/1 compares two answers"):
        start(tmp_path, FollowedPairs())
    assert not (tmp_path / "run").exists()


def test_a_grader_given_for_a_run_takes_the_place_of_the_tasks_own_and_is_in_the_command(tmp_path: Path) -> None:
    fakes = FakeModels(tmp_path / "fakes")

    def ask(**how: Any) -> RunResult:
        settings = {**fakes.assistant, "heldout_pairs": 0.3, "max_failure_fraction": 1.0}
        with fakes.installed():
            return run(out=tmp_path / "run", task=Bakery(), overrides=settings, **how)

    given = ask(grader=LengthGrader())
    assert given.results["grader_source"] == GIVEN
    assert "--task YOUR-TASK --grader YOUR-GRADER --set" in given.report.read_text()
    named = ask(grader=LengthGrader(), grader_source="shop:LengthGrader")  # the same grader, had in another way
    assert "--task YOUR-TASK --grader shop:LengthGrader --set" in named.report.read_text()
    assert "--grader" not in ask().report.read_text()
    given = ask(grader=LengthGrader())
    assert {e["grader"] for e in given.results["evaluations"]} == {"length/1"}
    assert given.results["models"]["base"]["ovens"].keys() == {"n", "goals", "long", "share_of_200", "ungraded", "cut"}


def test_a_report_is_made_again_where_the_task_or_an_evaluation_is_called_otherwise(tmp_path: Path) -> None:
    class Renamed(Bakery):
        def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
            return [replace(e, caption=caption) for e in super().evaluations(sizes, seed=seed)]

    caption = "Questions asked in the shop"
    start(tmp_path, Renamed())
    for field in ("name", "title", "about"):
        setattr(Renamed, field, f"another {field}")
        again = start(tmp_path, Renamed())
        assert again.results["task"][field] == f"another {field}"
        assert (f"another {field}" in again.report.read_text()) is (field != "name")
        assert all(not model.generated for model in fakes_of[again.folder].models)
    caption = "Questions over the counter"
    again = start(tmp_path, Renamed())
    assert again.results["evaluations"][0]["caption"] == caption
    assert caption in again.report.read_text()
