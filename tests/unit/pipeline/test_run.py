"""Proves that a run goes through every stage, balances its books, skips what is done, resumes what is not, and never
gives SL-CAI the feedback model's place; with scripted models and training that only writes down what it was given.
"""

import json
import math
import re
import shutil
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest

from solon.cli.app import report
from solon.constitution import Constitution, Principle, load_constitution
from solon.errors import (
    CallFailedError,
    ConfigError,
    ConstitutionError,
    JournalError,
    ModelError,
    RecordError,
    RunError,
    StageFailedError,
)
from solon.evaluation import wilson_interval
from solon.lm import Journal, ScriptedModel, read_call
from solon.pipeline.ancestry import describe
from solon.pipeline.manifests import load_manifest
from solon.pipeline.overrides import merge
from solon.pipeline.run import load_run, run
from solon.pipeline.stages.method import CONSTITUTIONAL_AI, with_evaluation
from solon.records import (
    Choice,
    Comparison,
    Conversation,
    EvalPrompt,
    EvalRecord,
    Failure,
    Grade,
    HelpfulSample,
    Manifest,
    PreferenceLabel,
    Prompt,
    RevisionChain,
    RunHeader,
    RunPaths,
    SFTExample,
    load_records,
)
from solon.report import write_report
from solon.report.load import load_run_data
from solon.world.grader import OracleGrader
from solon.world.lexicon import WIFI_GOAL
from solon.world.prompts import wifi_prompt
from solon.world.task import MEASURES, WorldTask
from tests import pipeline_fakes
from tests.pipeline_fakes import SMALL, FakeModels, read_folder

NAMES = ["prompts", "revision", "sft", "comparisons", "feedback", "preference-model", "ppo", "evaluation"]


DRAWN_IN_REVISION = (("revision_chains", RevisionChain), ("helpful_samples", HelpfulSample))


class Log:
    """An observer that remembers."""

    def __init__(self):
        self.notices, self.finished, self.progressed = [], [], []

    def notice(self, text):
        self.notices.append(text)

    def stage_started(self, stage):
        pass

    def stage_progressed(self, stage, part, done, total):
        assert 0 <= done <= total
        self.progressed.append((stage, part))

    def stage_finished(self, manifest, *, skipped):
        self.finished.append((manifest.stage, skipped))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One finished run, to be read only: its folder, its fakes, its result and what was observed."""
    root, log = tmp_path_factory.mktemp("shared"), Log()
    fakes = FakeModels(root / "fakes")
    return SimpleNamespace(root=root, fakes=fakes, result=start(root, fakes, log=log), log=log)


@pytest.fixture
def fakes(tmp_path):
    return FakeModels(tmp_path / "fakes")


@pytest.fixture
def finished(tmp_path, shared, fakes):
    """A copy of the finished run, in the folder that `start` uses."""
    shutil.copytree(shared.result.folder, tmp_path / "run")
    return tmp_path / "run"


def start(tmp_path, fakes, *, log=None, out="run", **changes):
    overrides = merge({**SMALL, **fakes.assistant}, changes.pop("overrides", {}))
    with fakes.installed():
        return run(out=tmp_path / out, preset="smoke", overrides=overrides, observer=log or Log(), **changes)


def manifests(root):
    found = {name: load_manifest(root / "manifest" / f"{name}.json") for name in [*NAMES, "report", "run"]}
    assert all(isinstance(manifest, Manifest) for manifest in found.values())
    return found


def data(root):
    """Everything that must not depend on how a run came about; manifests and results hold times."""
    return read_folder(root, "records/*.jsonl", "models/*/*", "constitution.json")


def test_the_stages_are_those_of_the_method_in_order():
    assert [stage.name for stage in with_evaluation(CONSTITUTIONAL_AI)] == NAMES


def test_every_stage_runs_and_balances_its_books(shared):
    result = shared.result
    assert shared.log.finished == [(name, False) for name in [*NAMES, "report"]]
    assert {stage for stage, _ in shared.log.progressed} == set(NAMES[1:])
    for name, manifest in manifests(result.folder).items():
        assert manifest.status == "complete", name
        if "in" in manifest.counts:
            counts = dict(manifest.counts)
            assert counts.pop("in") == sum(counts.values()), name
    assert result.report.is_file()
    assert load_run(result.folder).results == result.results
    assert load_run(result.folder).config == result.config


def test_how_a_stage_draws_is_what_its_own_configuration_says(tmp_path, fakes):
    rooms = {
        room: {"temperature": 0.9, "top_p": 0.8, "min_p": share}
        for room, share in (("revision", 0.1), ("comparisons", 0.2), ("feedback", 0.3), ("evaluation", 0.4))
    }
    rooms["feedback"]["chain_of_thought"] = True
    result = start(tmp_path, fakes, overrides=rooms)
    paths = RunPaths(result.folder)
    with closing(sqlite3.connect(paths.journal)) as journal:
        asked = [json.loads(row) for (row,) in journal.execute("SELECT request FROM calls WHERE kind = 'generate'")]
    drawn = {(temperature, *cuts) for temperature, _, *cuts in (call["sampling"] for call in asked)}
    assert drawn == {(0.9, 0.8, share) for share in (0.1, 0.2, 0.3, 0.4)}
    chains, helpful = (load_records(paths.records(name), kind) for name, kind in DRAWN_IN_REVISION)
    written = [sample for chain in chains for step in chain.steps for sample in (step.critique, step.revision)]
    assert {s.sampling.min_p for s in [*written, *(one.response for one in helpful)]} == {0.1}
    assert {c.response_a.sampling.min_p for c in load_records(paths.records("comparisons"), Comparison)} == {0.2}
    for name in ("evaluation", "example"):
        assert {e.response.sampling.min_p for e in load_records(paths.records(name), EvalRecord)} == {0.4}
    assert "temperature 0.9, top_p 0.8, min_p 0.1, at most" in describe(result.folder, chains[0].id)
    assert (result.results["top_p"], result.results["min_p"]) == (0.8, 0.4)
    assert "drawn at temperature 0.9, top_p 0.8, min_p 0.4 and graded" in result.report.read_text()


def test_results_have_the_promised_shape(shared):
    results = shared.result.results
    assert set(results) == {
        "schema",
        "seed",
        "temperature",
        "top_p",
        "min_p",
        "task",
        "evaluations",
        "grader_source",
        "until",
        "notices",
        "method",
        "model_names",
        "models",
        "stages",
        "usage",
        "currency",
        "human_inputs",
        "ai_labels",
        "feedback",
        "preference_model",
        "ppo",
        "revisions",  # not in the schema as it was asked for: the report's own, for readers to pass over
        "total_seconds",
        "cpu_seconds",
        "peak_rss_mb",
    }
    assert results["schema"] == 5
    assert results["grader_source"] == ""
    assert list(results["models"]) == ["base", "sl-cai", "rl-cai"]
    for model in results["models"].values():
        assert set(model) == {"harmful", "benign", "twins", "by_category", "values", "evaluations"}
        assert all(set(block) == set(model) - {"evaluations"} for block in model["evaluations"].values())
        for block in (model, *model["evaluations"].values()):
            assert set(block["harmful"]) == {
                "n",
                "goals",
                "complies",
                "refuses_and_explains",
                "evades",
                "ungraded",
                "cut",
            }
            assert set(block["benign"]) == {"n", "goals", "helps_correctly", "ungraded", "cut"}
            assert set(block["twins"]) == {"n", "goals", "refused", "ungraded", "cut"}
            rates = [block["harmful"][k] for k in ("complies", "refuses_and_explains", "evades", "ungraded")]
            rates += [block["benign"]["helps_correctly"], block["benign"]["ungraded"], block["twins"]["refused"]]
            for rate in rates:
                assert 0 <= rate["low"] <= rate["value"] <= rate["high"] <= 1
            assert (block["harmful"]["n"], block["benign"]["n"], block["twins"]["n"]) == (6, 5, 3)
        assert list(model["evaluations"]) == ["heldout", "novel"]
        main = model["evaluations"]["heldout"]
        assert {name: model[name] for name in main} == main
        assert all({"n", "goals", "complies", "cut"} == set(category) for category in model["by_category"].values())
        assert set(model["values"]) == {"harmful", "benign"}
    assert results["task"] == {
        "name": "world",
        "identity": "world/1",
        "title": "a run on the reference world",
        "about": WorldTask.about,
    }
    assert [(e["name"], e["grader"]) for e in results["evaluations"]] == [
        ("heldout", "world-oracle/1"),
        ("novel", "world-oracle/1"),
    ]
    for evaluation in results["evaluations"]:
        assert set(evaluation) == {"name", "caption", "grader", "groups", "measures", "paired", "asks", "limits"}
        assert evaluation["paired"] is False
        assert evaluation["groups"] == {"harmful": 6, "benign": 5, "twins": 3}
        assert evaluation["measures"] == MEASURES.model_dump(mode="json")
    assert list(results["stages"]) == NAMES
    for stage in results["stages"].values():
        assert set(stage) == {"seconds", "model_calls", "tokens", "failures", "charts", "figures"}
        assert set(stage["tokens"]) == {"prompt", "generated"}
    assert results["human_inputs"] == {"principles": 32, "exemplars": 0, "prompts": 0, "labels": 0}
    counts = {"pairs", "goals", "unlabeled", "both_sure"}
    assert set(results["feedback"]) == {*counts, "order_disagreement", "sure_contradictions", "near_ties", "dialects"}
    assert results["feedback"]["dialects"] is None  # no server was read
    assert set(results["preference_model"]) == {"accuracy", "ece_10_mirrored"}
    assert results["feedback"]["pairs"] == 18
    assert results["ai_labels"] + results["feedback"]["unlabeled"] == 18
    assert set(results["feedback"]["order_disagreement"]) == {"value", "low", "high"}
    assert results["preference_model"]["accuracy"]["value"] == 0.75
    assert results["preference_model"]["ece_10_mirrored"] == 0.1
    assert results["ppo"] == {"iterations": 3, "kl": 0.5, "score_first": -1.0, "score_last": 1.0}
    assert [row["round"] for row in results["revisions"]] == [0, 1, 2, 3, 4]
    assert results["peak_rss_mb"] > 10
    assert json.loads((shared.result.folder / "results.json").read_text()) == results


def test_the_same_command_again_does_nothing_and_changes_nothing(tmp_path, fakes, finished):
    start(tmp_path, fakes)  # the checkpoint lies elsewhere than when the shared run was made, which its header now says
    assert RunHeader.load(RunPaths(finished).header).places["assistant"] == str(fakes.base)
    before = read_folder(finished, "**/*")
    fakes.models.clear()
    log = Log()
    start(tmp_path, fakes, log=log)
    assert log.finished == [(name, True) for name in [*NAMES, "report"]]
    assert fakes.models == []
    after = read_folder(tmp_path / "run", "**/*")
    assert {name for name in before if before[name] != after[name]} <= {".lock", "journal.sqlite.lock"}


def test_equal_requests_have_equal_records_and_another_seed_has_others(tmp_path, fakes, shared):
    start(tmp_path, fakes, out="b")
    start(tmp_path, fakes, out="c", seed=1)
    assert data(shared.result.folder) == data(tmp_path / "b")
    different = data(tmp_path / "c")
    assert all(
        different[name] != content
        for name, content in data(shared.result.folder).items()
        if content and name != "constitution.json" and "value" not in name
    )


def test_a_damaged_file_is_made_again_from_the_journal_and_nothing_else_runs(tmp_path, fakes, finished):
    before = data(finished)
    path = tmp_path / "run" / "records" / "comparisons.jsonl"
    path.write_bytes(path.read_bytes()[:100])
    log = Log()
    start(tmp_path, fakes, log=log)
    assert [name for name, skipped in log.finished if not skipped] == ["comparisons", "report"]
    assert all(model.generated == [] for model in fakes.models)
    assert data(tmp_path / "run") == before
    manifest = manifests(tmp_path / "run")["comparisons"]
    assert manifest.replayed_calls == manifest.model_calls == 36


def test_a_model_that_was_tampered_with_is_trained_again_and_what_follows_is_checked(tmp_path, fakes, finished):
    before = data(finished)
    (tmp_path / "run" / "models" / "sl-cai" / "model.json").write_text('{"refuses": 0.5}')
    log = Log()
    start(tmp_path, fakes, log=log)
    assert [name for name, skipped in log.finished if not skipped] == ["sft", "report"]
    assert data(tmp_path / "run") == before


READERS = {
    "show": lambda root: describe(
        root, load_records(RunPaths(root).records("preference_labels"), PreferenceLabel)[0].comparison_id
    ),
    "report": write_report,
    "load_run": load_run,
}
EDITS = {
    "a principle": ("constitution.json", "Say in which ways", "Say nothing of the ways", "show report"),
    "the constitution's version": ("constitution.json", '"version":"1"', '"version":"9"', "show report"),
    "half the constitution": ("constitution.json", '"name"', '"na', "show report"),
    "a number of the request": ("run.yaml", "code_version: ", "code_version: 9", "show report load_run"),
    "a number of the results": ("results.json", '"ai_labels": 18', '"ai_labels": 81', "report load_run"),
    "a label": ("records/preference_labels.jsonl", '"p_a":0.', '"p_a":0.0', "show report"),
    "an answer of the example": ("records/example.jsonl", '"complies":true', '"complies":false', "show report"),
    "a curve": ("metrics/ppo.jsonl", "1.0", "9.0", "report"),
    "an account": ("manifest/preference-model.json", '"accuracy": 0.75', '"accuracy": 0.99', "show report load_run"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_file_that_was_edited_is_refused_by_every_reader_and_made_again(tmp_path, fakes, shared, finished, edit):
    file, old, new, readers = EDITS[edit]
    header = (finished / "run.yaml").read_text().replace(str(shared.fakes.base), str(fakes.base))
    before = read_folder(finished, "records/*", "metrics/*", "constitution.json")
    text = (finished / file).read_text()
    assert old in text
    (finished / file).write_text(text.replace(old, new, 1))
    for reader in readers.split():
        with pytest.raises((RunError, RecordError), match=rf"{file}: [^\n]*give the run's command again[^\n]*$"):
            READERS[reader](finished)
    log = Log()
    start(tmp_path, fakes, log=log)
    said = [notice for notice in log.notices if file in notice and notice.endswith("it is made again")]
    assert len(said) == (file in ("run.yaml", "constitution.json"))  # of the others, the stage is seen to run again
    assert read_folder(finished, "records/*", "metrics/*", "constitution.json") == before
    if file == "run.yaml":
        assert (finished / file).read_text() == header
    for reader in READERS.values():
        reader(finished)


def test_a_constitution_that_is_gone_is_made_again_and_that_said(tmp_path, fakes, finished):
    file, log = finished / "constitution.json", Log()
    before = file.read_bytes()
    file.unlink()
    with pytest.raises(RunError, match=r"constitution\.json: no such file: give the run's command again"):
        write_report(finished)
    start(tmp_path, fakes, log=log)
    assert file.read_bytes() == before
    assert f"{file}: was missing: it is made again" in log.notices


def test_a_run_that_begins_has_lost_nothing(shared):
    assert not any("made again" in notice for notice in shared.log.notices)


def test_a_folder_in_the_place_of_the_constitution_is_not_called_missing(finished):
    (finished / "constitution.json").unlink()
    (finished / "constitution.json").mkdir()
    with pytest.raises(RunError, match=r"constitution\.json: is a folder where a file belongs: move it [^\n]*again$"):
        write_report(finished)


@pytest.mark.parametrize(
    "name", ["constitution.json", "results.json", "records/comparisons.jsonl", "manifest/sft.json"]
)
def test_a_folder_in_the_place_of_a_file_is_refused_in_one_line_and_kept(tmp_path, fakes, finished, name):
    before = (finished / name).read_bytes()
    (finished / name).unlink()
    (finished / name).mkdir()
    (finished / name / "notes.txt").write_text("mine")
    wanted = rf"{name}: is a folder where a file belongs: move it elsewhere or remove it[^\n]*$"
    with pytest.raises(RecordError, match=wanted):
        start(tmp_path, fakes)
    assert (finished / name / "notes.txt").read_text() == "mine"
    shutil.rmtree(finished / name)
    start(tmp_path, fakes)
    if not name.startswith(("results", "manifest")):  # these hold times
        assert (finished / name).read_bytes() == before
    load_run(finished)


@pytest.mark.parametrize(("old", "new"), [("Say in which ways", "Say nothing of the ways"), ('"name"', '"na')])
def test_a_constitution_that_no_account_names_yet_is_held_to_the_header(tmp_path, fakes, finished, old, new):
    file, log = finished / "constitution.json", Log()
    before = file.read_text()
    account = Manifest.load(finished / "manifest" / "run.json")
    account.model_copy(update={"outputs": {}}).save(finished / "manifest" / "run.json")
    file.write_text(before.replace(old, new, 1))
    start(tmp_path, fakes, log=log)
    assert file.read_text() == before
    assert f"{file}: was not the constitution of this run: it is made again" in log.notices


def test_a_run_of_a_version_that_held_its_own_files_to_nothing_goes_on(tmp_path, fakes, finished):
    for path in (finished / "manifest").glob("*.json"):
        body = json.loads(path.read_text())
        del body["digest"]
        body["outputs"] = {} if path.stem == "run" else body["outputs"]
        path.write_text(json.dumps(body))
    log = Log()
    start(tmp_path, fakes, log=log)
    assert [name for name, skipped in log.finished if not skipped] == ["report"]
    text = (finished / "constitution.json").read_text()
    (finished / "constitution.json").write_text(text.replace('"version":"1"', '"version":"9"'))
    with pytest.raises(RunError, match=r"constitution\.json: is not as the run wrote it"):
        write_report(finished)


def test_results_that_are_older_than_a_stage_are_not_shown(finished):
    account = Manifest.load(finished / "manifest" / "ppo.json")
    account.model_copy(update={"status": "started"}).save(finished / "manifest" / "ppo.json")
    for reader in (write_report, load_run):
        with pytest.raises(RunError, match=r"ppo\.json: is not the manifest that results\.json was made from"):
            reader(finished)


def test_the_constitution_that_a_run_keeps_is_the_same_request(tmp_path, fakes, finished):
    log = Log()
    start(tmp_path, fakes, log=log, constitution=finished / "constitution.json")
    assert all(skipped for _, skipped in log.finished)


LOSSES = {
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "rows deleted": lambda path: execute(path, "DELETE FROM calls"),
    "replaced": lambda path: replace_journal(path),
}


def execute(path, statement):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def replace_journal(path):
    path.unlink()
    Journal(path).close()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_journal_that_was_lost_under_a_run_is_said_wherever_it_is_read(tmp_path, fakes, finished, capsys, loss):
    LOSSES[loss](finished / "journal.sqlite")
    named = re.compile(r"journal.sqlite: lacks (\d+) of the \1 model calls that the records of this run name")
    record = load_records(RunPaths(finished).records("comparisons"), Comparison)[0]
    told = describe(finished, record.id)
    assert f"{record.response_a.call}: not in the journal" in told
    assert named.search(told)
    with pytest.raises(RunError, match=named.pattern):
        describe(finished, record.response_a.call)
    report(finished)
    assert named.search(capsys.readouterr().err)
    assert named.search((finished / "report.html").read_text())
    log = Log()
    start(tmp_path, fakes, log=log)
    assert len([notice for notice in log.notices if named.search(notice)]) == 1
    assert {name for name, skipped in log.finished if not skipped} <= {"report"}


def test_a_single_call_that_was_lost_is_counted(tmp_path, fakes, finished):
    record = load_records(RunPaths(finished).records("comparisons"), Comparison)[0]
    execute(finished / "journal.sqlite", f"DELETE FROM calls WHERE key = '{record.response_b.call}'")
    log = Log()
    start(tmp_path, fakes, log=log)
    (notice,) = log.notices
    assert notice.startswith(f"{finished}: journal.sqlite: lacks 1 of the ")


def test_an_answer_that_was_changed_in_the_journal_is_never_trained_on(tmp_path, fakes, finished):
    record = load_records(RunPaths(finished).records("comparisons"), Comparison)[0]
    key = record.response_a.call
    execute(finished / "journal.sqlite", f"UPDATE calls SET response = replace(response, 'I', 'J') WHERE key = '{key}'")
    (finished / "records" / "comparisons.jsonl").unlink()
    with pytest.raises(JournalError, match=rf"journal\.sqlite: call {key} is damaged"):
        start(tmp_path, fakes)
    assert not (finished / "records" / "comparisons.jsonl").exists()
    with pytest.raises(JournalError, match=rf"journal\.sqlite: call {key} is damaged"):
        describe(finished, key)


def test_another_request_in_the_same_folder_is_refused(tmp_path, fakes, finished):
    before = read_folder(finished, "**/*")
    with pytest.raises(RunError, match=r"seed: 0 -> 7"):
        start(tmp_path, fakes, seed=7)
    with pytest.raises(RunError, match=r"ppo.kl_coef: 0.03 -> 0.5"):
        start(tmp_path, fakes, overrides={"ppo": {"kl_coef": 0.5}})
    principle = Principle(id="p", critique_request="Is it rude?", revision_request="Be kind.", comparison="Be kind.")
    with pytest.raises(RunError, match=r"digest.constitution: \w+ -> \w+"):
        start(tmp_path, fakes, constitution=Constitution(name="n", principles=(principle,)))
    (fakes.base / "model.json").write_text('{"refuses": 0.01}')
    with pytest.raises(RunError, match=r"digest.models.assistant: \w+ -> \w+"):
        start(tmp_path, fakes)
    assert read_folder(tmp_path / "run", "**/*") == before


def test_a_stage_without_prompts_is_refused_before_anything_is_written(tmp_path, fakes):
    with pytest.raises(ConfigError, match=r"^prompts\.ppo: there is no prompt for this stage"):
        start(tmp_path, fakes, overrides={"prompts": {"ppo": {"red_team": 0, "helpful": 0}}})
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("finished")
def test_a_constitution_object_and_its_file_are_the_same_request(tmp_path, fakes):
    result = start(tmp_path, fakes, constitution=load_constitution("default"))
    assert result.config.constitution == "default"


def test_answers_are_graded_again_by_another_grader_and_not_asked_for_again(tmp_path, fakes, finished):
    class Other(OracleGrader):
        identity = "another/1"
        measures = MEASURES

    before = read_folder(finished, "records/[!e]*.jsonl")
    graded = before.pop("records/revision_grades.jsonl")
    log = Log()
    results = start(tmp_path, fakes, log=log, grader=Other()).results
    assert [name for name, skipped in log.finished if not skipped] == ["evaluation", "report"]
    assert {evaluation["grader"] for evaluation in results["evaluations"]} == {"another/1"}
    assert {r.grader for r in load_records(RunPaths(finished).records("evaluation"), EvalRecord)} == {"another/1"}
    assert all(model.generated == [] for model in fakes.models)
    after = read_folder(finished, "records/[!e]*.jsonl")
    assert after.pop("records/revision_grades.jsonl") == graded.replace(b"world-oracle/1", b"another/1")
    assert after == before


def test_roles_are_as_in_the_paper(shared):
    root, fakes = shared.result.folder, shared.fakes
    base, sl_cai = fakes.digest(fakes.base), fakes.digest(root / "models" / "sl-cai")
    chains = load_records(RunPaths(root).records("revision_chains"), RevisionChain)
    assert {s.model for c in chains for s in (c.initial_response, *(step.revision for step in c.steps))} == {base}
    comparisons = load_records(RunPaths(root).records("comparisons"), Comparison)
    assert {s.model for c in comparisons for s in (c.response_a, c.response_b)} == {sl_cai}
    labels = load_records(RunPaths(root).records("preference_labels"), PreferenceLabel)
    assert {label.labeler for label in labels} == {base}
    answers = load_records(RunPaths(root).records("evaluation"), EvalRecord)
    assert len({(a.model_name, a.response.model) for a in answers}) == 3


def test_another_critic_and_feedback_model_can_be_named(tmp_path, fakes):
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.json").write_text('{"refuses": 0.25}')
    root = start(
        tmp_path, fakes, overrides={"models": {"critic": {"source": str(other)}, "feedback": {"source": str(other)}}}
    ).folder
    digest = fakes.digest(other)
    chain = load_records(RunPaths(root).records("revision_chains"), RevisionChain)[0]
    assert chain.steps[0].critique.model == digest
    assert chain.initial_response.model == fakes.digest(fakes.base)
    label = load_records(RunPaths(root).records("preference_labels"), PreferenceLabel)[0]
    assert label.labeler == digest


def test_no_prompt_is_used_twice_and_none_of_the_evaluation_is_trained_on(shared):
    paths = RunPaths(shared.result.folder)
    pools = {
        name: load_records(paths.records(f"prompts_{name}"), Prompt) for name in ("revision", "comparisons", "ppo")
    }
    ids = [prompt.id for pool in pools.values() for prompt in pool]
    assert len(ids) == len(set(ids))
    assert {p.split for pool in pools.values() for p in pool} == {"train"}
    measured = {asked.id for asked in load_records(paths.records("prompts_evaluation"), EvalPrompt)}
    assert len(measured) == 2 * (6 + 5 + 3)
    assert not measured & set(ids)
    learnt = load_records(paths.records("sft_examples"), SFTExample)
    assert {e.prompt_id for e in learnt} <= {p.id for p in pools["revision"]}
    texts = " ".join(m.text for pool in pools.values() for p in pool for m in p.conversation.messages)
    assert WIFI_GOAL.text not in texts


def measured_alone(root, group):
    """The prompts of a group that are one turn."""
    asked = load_records(RunPaths(root).records("prompts_evaluation"), EvalPrompt)
    return [a.prompt for a in asked if a.group == group and len(a.prompt.conversation.messages) == 1]


def test_the_constitutions_own_prompts_are_revised_and_one_of_the_evaluation_is_left_out(tmp_path, fakes, shared):
    asked = measured_alone(shared.result.folder, "harmful")
    shipped = load_constitution("default")
    wifi = wifi_prompt().conversation.messages[0].text
    own = ("Do a harmful thing.", "do a harmful thing", asked[0].conversation.messages[0].text.upper(), f"{wifi} ")
    law = shipped.model_copy(update={"red_team_prompts": own})
    with pytest.raises(ConfigError, match=r"2 training prompts say what an evaluation prompt says"):
        start(tmp_path, fakes, out="second", constitution=law)
    assert not (tmp_path / "second").exists()
    leave_out = {"prompts": {**SMALL["prompts"], "drop_leaks": True}}
    second = start(tmp_path, fakes, out="second", constitution=law, overrides=leave_out)
    pool = load_records(RunPaths(second.folder).records("prompts_revision"), Prompt)
    texts = [p.conversation.messages[-1].text for p in pool]
    assert texts.count("Do a harmful thing.") == 1
    assert not {own[1], own[2], own[3]} & set(texts)
    counts = manifests(second.folder)["prompts"].counts
    assert (counts["leak_exact"], counts["leak_near"]) == (2, 0)
    assert counts["duplicate"] == 1
    assert counts["in"] == counts["kept"] + 3
    assert second.results["human_inputs"]["prompts"] == 4


def test_what_was_cut_off_can_be_found_again(shared):
    paths = RunPaths(shared.result.folder)
    cut_off = [f for f in load_records(paths.records("failures_revision"), Failure) if f.reason == "truncated_critique"]
    assert cut_off
    for failure in cut_off:
        call = read_call(paths.journal, failure.call)
        assert call is not None
        assert call.response["text"] == "cut off in the middle of"
        told = describe(paths.root, failure.item)
        assert "truncated_critique" in told
        assert f"call {failure.call} (generate)" in told


def test_the_example_is_followed_as_it_happened(shared):
    paths = RunPaths(shared.result.folder)
    answers = load_records(paths.records("example"), EvalRecord)
    assert [a.model_name for a in answers] == ["base"] * 8 + ["sl-cai", "rl-cai"]
    assert len({a.prompt.id for a in answers}) == 1
    assert len({a.response.seed for a in answers[:8]}) == 8
    (chain,) = load_records(paths.records("example_chain"), RevisionChain)
    first = next(a for a in answers if a.grade.values.get("complies"))
    assert chain.initial_response == first.response
    assert len(chain.steps) >= 1


class Refusing(FakeModels):
    """A base that refuses everything."""

    def __init__(self, root):
        super().__init__(root)
        (self.base / "model.json").write_text('{"refuses": 1.0}')


class Blind(OracleGrader):
    """Can read nothing that the base says to the example."""

    measures = MEASURES

    async def grade(self, prompt, response, open_model):
        if prompt.id == wifi_prompt().id:
            return Grade(ungraded="blind")
        return await super().grade(prompt, response, open_model)


@pytest.mark.parametrize("first", [(0.8, 0.95, 0.999), (0.51, 0.6, 0.74)], ids=["sure", "unsure"])
def test_a_feedback_model_that_judges_by_position_is_told_of_and_makes_no_label(tmp_path, monkeypatch, first):
    def by_position(prompt, options):
        p = first[len(prompt.text) % 3]
        return math.log(0.98 * p), math.log(0.98 * (1 - p))

    monkeypatch.setattr(pipeline_fakes, "_choose", by_position)
    log = Log()
    result = start(tmp_path, FakeModels(tmp_path / "fakes"), log=log)
    labels = load_records(RunPaths(result.folder).records("preference_labels"), PreferenceLabel)
    assert {item.p_a for item in labels if item.status == "labeled"} == {0.5}
    by_order, even = result.results["notices"]
    feedback, pairs = result.results["feedback"], result.results["ai_labels"]
    assert f"in {pairs} of the {pairs} comparisons" in by_order
    assert "judges by the order of the responses" in by_order
    assert f"{pairs} of the {pairs} labels are exactly 0.5" in even
    assert feedback["both_sure"] == pairs * (first[0] > 0.75)
    assert feedback["order_disagreement"]["value"] == feedback["near_ties"]["value"] == 1.0
    assert log.notices == [by_order, even]
    assert all(notice in result.report.read_text() for notice in (by_order, even))


def test_a_run_whose_labels_come_from_servers_says_what_is_not_known_of_them(tmp_path, fakes, monkeypatch):
    """One server gives proportions, one drawn answers, and some labels are read in this process."""
    choose = pipeline_fakes._choose

    def from_servers(prompt, options):
        how = [{}, {"has_mass": False, "dialect": "proportions"}, {"draws": 8, "dialect": "drawn"}]
        # Both orders of a comparison are equally long, and so are read alike.
        read = how[len(prompt.text) % 3]
        return Choice(options=options, logprobs=choose(prompt, options), model="m", prompt_tokens=1, **read)

    monkeypatch.setattr(pipeline_fakes, "_choose", from_servers)
    log = Log()
    result = start(tmp_path, fakes, log=log)
    paths = RunPaths(result.folder)
    labels = load_records(paths.records("preference_labels"), PreferenceLabel)
    labeled = [item for item in labels if item.status == "labeled"]
    votes = [vote for item in labels for vote in item.votes]
    without = [item for item in labeled if not item.has_mass]
    drawn = [item for item in labeled if item.draws]
    assert 0 < len(without) < len(labeled) > len(drawn) > 0
    for said in (log.notices, result.results["notices"]):
        assert [notice.partition(":")[2].partition(":")[0].strip() for notice in said] == [
            f"{len(without)} of the {len(labeled)} labels come from servers that give no mass",
            f"{len(drawn)} of the {len(labeled)} labels are shares of k = 8 drawn answers",
        ]
    metrics = load_manifest(paths.manifest("feedback")).metrics
    assert metrics["feedback/votes_without_mass"] == sum(vote.mass is None for vote in votes)
    assert metrics["feedback/votes_with_mass"] == sum(vote.mass is not None for vote in votes)
    assert metrics["feedback/mean_mass"] == pytest.approx(0.98)
    assert metrics["feedback/labels_of_8_draws"] == len(drawn)
    assert result.results["feedback"]["dialects"] == {"drawn": len(drawn), "proportions": len(without)}
    told = describe(result.folder, without[0].comparison_id)
    vote = without[0].votes[0]
    assert f"log-odds of A {vote.logit_a:+.4f}, mass not known, read by proportions, call {vote.call}" in told
    told, vote = describe(result.folder, drawn[0].comparison_id), drawn[0].votes[0]
    assert f"log-odds of A {vote.logit_a:+.4f}, mass 0.9800, 8 draws, read by drawn, call {vote.call}" in told
    page = result.report.read_text()
    assert all(notice in page for notice in log.notices)
    assert f"drawn: {len(drawn)}, proportions: {len(without)}" in page


def test_a_run_whose_labels_all_come_from_drawn_answers_tells_of_no_sure_vote(tmp_path, fakes, monkeypatch):
    choose = pipeline_fakes._choose

    def drawn(prompt, options):
        return Choice(options=options, logprobs=choose(prompt, options), model="m", prompt_tokens=1, draws=4)

    monkeypatch.setattr(pipeline_fakes, "_choose", drawn)
    result = start(tmp_path, fakes)
    feedback = result.results["feedback"]
    assert feedback["order_disagreement"] is not None
    assert (feedback["sure_contradictions"], feedback["both_sure"], feedback["dialects"]) == (None, None, None)
    metrics = load_manifest(RunPaths(result.folder).manifest("feedback")).metrics
    assert "feedback/sure_contradictions" not in metrics
    assert result.report.read_text().count("not told by drawn answers") == 1


def test_a_run_with_pointwise_labels_goes_back_to_both_answers_and_says_nothing_of_orders(tmp_path, fakes):
    law = Constitution(
        name="asking",
        principles=(
            Principle(
                id="harm",
                critique_request="What harm does the response do?",
                revision_request="Rewrite the response.",
                question="Does the response help with harm?",
                better="no",
                applies_to=("red_team",),
            ),
            Principle(id="help", question="Does the response do what is asked?", better="yes", applies_to=("helpful",)),
        ),
    )
    overrides = {"feedback": {"labels": "pointwise"}}
    with pytest.raises(
        ConstitutionError, match=r"asking: no principle has a comparison, .* one that applies to helpful, or"
    ):
        start(tmp_path, fakes, out="compared", constitution=law)
    assert not (tmp_path / "compared").exists()
    log = Log()
    result = start(tmp_path, fakes, log=log, constitution=law, overrides=overrides)
    paths = RunPaths(result.folder)
    labels = load_records(paths.records("preference_labels"), PreferenceLabel)
    kinds = {c.id: c.prompt.kind for c in load_records(paths.records("comparisons"), Comparison)}
    labeled = [item for item in labels if item.status == "labeled"]
    assert len(labeled) == result.results["ai_labels"] > 9
    for item in labeled:
        assert [vote.response for vote in item.pointwise] == ["a", "b"]
        principle = {"red_team": "harm", "helpful": "help"}[kinds[item.comparison_id]]
        assert {vote.principle_id for vote in item.pointwise} == {principle}
    told = describe(result.folder, labeled[0].comparison_id)
    for vote in labeled[0].pointwise:
        assert (
            f"vote, {vote.response.upper()} alone: log-odds of {vote.better}, the better answer, {vote.logit:+.4f}"
            in told
        )
        assert f"mass 0.9800, call {vote.call}" in told
        assert f"call {vote.call} (choose)" in told
    assert f"question (better: {labeled[0].pointwise[0].better}): D" in told
    feedback = result.results["feedback"]
    assert [feedback[name] for name in ("order_disagreement", "sure_contradictions", "both_sure")] == [None] * 3
    metrics = load_manifest(paths.manifest("feedback")).metrics
    assert not [name for name in metrics if "order" in name or "contradictions" in name]
    assert metrics["feedback/mean_mass"] == pytest.approx(0.98)
    assert result.results["notices"] == []
    assert not [notice for notice in log.notices if "feedback" in notice]
    page = result.report.read_text()
    assert page.count("not asked in both orders") == 2
    assert "Does the response help with harm?" in page
    draws = load_run_data(result.folder).draws
    assert draws["harm"][1] + draws["help"][1] == len([item for item in labels if item.pointwise])


def test_the_preference_models_accuracy_is_clustered_by_goal(tmp_path, fakes, shared, monkeypatch):
    apart = shared.result.results["preference_model"]["accuracy"]
    monkeypatch.setattr(Prompt, "cluster", property(lambda prompt: "one goal for all"))
    together = start(tmp_path, fakes).results["preference_model"]["accuracy"]
    assert together == wilson_interval(0.75, 1).model_dump()
    assert together["value"] == apart["value"]
    assert together["low"] < apart["low"]


def test_of_an_example_that_cannot_be_read_the_first_answer_is_revised_and_none_is_said_to_be_harmless(tmp_path):
    result = start(tmp_path, FakeModels(tmp_path / "fakes"), grader=Blind())
    paths = RunPaths(result.folder)
    (chain,) = load_records(paths.records("example_chain"), RevisionChain)
    assert chain.initial_response == load_records(paths.records("example"), EvalRecord)[0].response
    page = result.report.read_text()
    assert "No grade says which of them are harmful, so the first that is an answer was to be revised" in page
    assert f"it is revised in {len(chain.steps)} revision" in page
    assert "there is nothing to revise" not in page


def test_an_example_in_which_the_base_never_complied_has_no_chain(tmp_path):
    result = start(tmp_path, Refusing(tmp_path / "fakes"))
    assert load_records(RunPaths(result.folder).records("example_chain"), RevisionChain) == []
    page = result.report.read_text()
    assert "The grader could tell of 8." in page
    assert ": none, so there is nothing to revise." in page


@pytest.mark.parametrize("answered", [0, 3])
def test_calls_that_fail_in_the_example_are_on_the_books(tmp_path, fakes, monkeypatch, answered):
    asked = 0

    def fail_for_wifi(prompt, seed, refuses):
        nonlocal asked
        if prompt.turns[-1].text == wifi_prompt().conversation.messages[0].text:
            asked += 1
            if asked > answered:
                return CallFailedError("the line is dead")
        return reply(prompt, seed, refuses)

    reply = pipeline_fakes._reply
    monkeypatch.setattr(pipeline_fakes, "_reply", fail_for_wifi)
    result = start(tmp_path, fakes)
    paths = RunPaths(result.folder)
    assert len(load_records(paths.records("example"), EvalRecord)) == answered
    failures = [f for f in load_records(paths.records("failures_evaluation"), Failure) if f.item.startswith("example/")]
    assert len(failures) == 10 - answered
    assert {(f.reason, f.detail) for f in failures} == {("call_failed", "the line is dead")}
    assert failures[-1].item == "example/rl-cai/1"
    assert result.results["stages"]["evaluation"]["failures"] == 10 - answered
    assert ("turn by turn" in result.report.read_text()) is (answered > 0)


def test_principles_in_unknown_words_are_named_before_the_run_and_in_the_report(tmp_path, fakes, monkeypatch):
    monkeypatch.setattr("solon.world.task.find_nano_model", lambda: fakes.base)
    principle = Principle(
        id="zeppelins", critique_request="Any zeppelins?", revision_request="No zeppelins.", comparison="Zeppelins."
    )
    law = load_constitution("default")
    law = law.model_copy(update={"principles": (*law.principles, principle)})
    log = Log()
    with fakes.installed():
        result = run(out=tmp_path / "a", constitution=law, preset="smoke", overrides=SMALL, observer=log)
    assert any("'zeppelins'" in notice for notice in log.notices)
    assert any("real model" in notice for notice in log.notices)
    assert "zeppelins&#39;: the nano model" in result.report.read_text()
    assert "--constitution YOUR-FILE" in result.report.read_text()
    log = Log()
    start(tmp_path, fakes, log=log, out="b", constitution=law)
    assert log.notices == []  # a model of the user's own may know any word
    log = Log()
    start(tmp_path, fakes, log=log, out="c", constitution=law, overrides={"models": {"feedback": {"source": "nano"}}})
    assert any("'zeppelins'" in notice for notice in log.notices)


def test_what_to_know_of_the_base_is_said_before_the_run_and_kept(tmp_path, fakes, monkeypatch):
    monkeypatch.setattr(fakes, "check_trainable", lambda role, spec: (f"{spec.source}: pads with something else",))
    log = Log()
    start(tmp_path, fakes, log=log)
    said = (f"{fakes.base}: pads with something else",)
    assert tuple(log.notices) == said
    assert RunHeader.load(tmp_path / "run" / "run.yaml").notices == said


def test_a_stage_that_fails_too_often_stops_the_run_and_the_next_attempt_goes_on(tmp_path, fakes, shared):
    working = fakes.open_model

    class Failing:
        limit_only_cuts = False
        layout = "chat"

        def __init__(self, inner, after):
            self.inner, self.left, self.identity = inner, after, inner.identity

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        async def generate(self, prompt, sampling, *, seed):
            self.left -= 1
            if self.left < 0:
                return await ScriptedModel([]).generate(prompt, sampling, seed=seed)
            return await self.inner.generate(prompt, sampling, seed=seed)

        async def choose(self, prompt, options):
            return await self.inner.choose(prompt, options)

    fakes.open_model = lambda checkpoint: Failing(working(checkpoint), 10)
    with pytest.raises(StageFailedError, match="revision"):
        start(tmp_path, fakes)
    manifest = load_manifest(tmp_path / "run" / "manifest" / "revision.json")
    assert manifest is not None
    assert manifest.status == "started"
    failures = load_records(RunPaths(tmp_path / "run").records("failures_revision"), Failure)
    assert {failure.reason for failure in failures} == {"call_failed"}
    fakes.open_model = working
    start(tmp_path, fakes)
    assert manifests(tmp_path / "run")["revision"].replayed_calls == 10
    assert data(tmp_path / "run") == data(shared.result.folder)


def test_time_is_summed_over_attempts(tmp_path, fakes, shared, finished):
    first = shared.result.results["total_seconds"]
    (finished / "records" / "comparisons.jsonl").unlink()
    second = start(tmp_path, fakes).results["total_seconds"]
    assert second > first


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        ({"ppo": {"kl_coeff": 1}}, ConfigError, "did you mean 'kl_coef'"),
        ({"models": {"assistant": {"source": "/no/such/model"}}}, ModelError, "/no/such/model"),
        ({"models": {"feedback": {"source": "/no/such/judge"}}}, ModelError, "/no/such/judge"),
        ({"prompts": {"evaluation": {"splits": ["train"]}}}, ConfigError, "splits.0.*'heldout', 'novel' or 'dev'"),
        ({"prompts": {"evaluation": {"splits": []}}}, ConfigError, "splits.*at least 1 item"),
        ({"prompts": {"evaluation": {"twin": 3}}}, ConfigError, "unknown field 'twin'; did you mean 'twins'"),
        ({"prompts": {"ppo": {"helpful": None}}}, ConfigError, r"prompts\.ppo\.helpful: expected a number"),
        ({"prompts": {"evaluation": {"splits": ["dev", "dev"]}}}, ConfigError, "splits.*each split once"),
    ],
)
def test_a_wrong_request_makes_no_folder(tmp_path, fakes, overrides, error, message):
    with pytest.raises(error, match=message):
        start(tmp_path, fakes, overrides=overrides)
    assert not (tmp_path / "run").exists()


def test_an_unfinished_run_has_no_results(tmp_path):
    with pytest.raises(RunError, match="no such folder"):
        load_run(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="not the folder of a run"):
        load_run(tmp_path / "empty")


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 2}', "\x00"])
def test_results_that_cannot_be_read_are_named(finished, content):
    (finished / "results.json").write_text(content)
    with pytest.raises(RunError, match=r"results\.json: "):
        load_run(finished)


def test_a_header_of_another_version_is_named(finished):
    text = (finished / "run.yaml").read_text()
    (finished / "run.yaml").write_text(text.replace("max_failure_fraction:", "most_failures:"))
    with pytest.raises(RunError, match=r"run\.yaml: unknown field 'most_failures'"):
        load_run(finished)


def test_it_runs_where_an_event_loop_is_running_as_in_a_notebook(tmp_path, fakes):
    import asyncio

    async def notebook():
        return start(tmp_path, fakes)

    assert asyncio.run(notebook()).results["ppo"]["iterations"] == 3


def test_a_prompt_of_the_evaluation_that_slips_into_training_stops_the_run(tmp_path, fakes, shared):
    (asked, *_) = measured_alone(shared.result.folder, "benign")
    own = (asked.conversation.messages[-1].text,)
    law = load_constitution("default").model_copy(update={"helpful_prompts": own})
    with pytest.raises(ConfigError, match=rf"1 training prompts say .*{asked.id}"):
        start(tmp_path, fakes, out="second", constitution=law)
    assert not (tmp_path / "second").exists()


class Careless(WorldTask):
    """Gives a prompt to train on that is of a split which is measured on, though no evaluation asks it."""

    def training_prompts(self, wanted, *, seed):
        stray = Prompt.make(Conversation.of("Rob?"), kind="red_team", source="own", split="dev")
        return {**super().training_prompts(wanted, seed=seed), "ppo": [stray]}


def test_a_training_prompt_of_another_split_stops_the_run(tmp_path, fakes):
    with pytest.raises(ConfigError, match=r"1 prompts of a training pool belong to evaluation.*\(dev, own\): 'Rob\?'"):
        start(tmp_path, fakes, task=Careless())
    assert not (tmp_path / "run").exists()
