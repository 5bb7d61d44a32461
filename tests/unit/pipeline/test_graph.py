"""Proves that a graph is held to what its stages declare, that a shorter run ends in a table and a report, that one
stage can be run alone, that an old run's calls are not made again, and that a stage is made again by other sources.
"""

import json

import pytest

from solon.constitution import load_constitution
from solon.errors import ConfigError, RunError
from solon.pipeline import sources
from solon.pipeline.artifacts import ASSISTANT, CONSTITUTION, Checkpoint, Records
from solon.pipeline.graph import Graph, Stage
from solon.pipeline.manifests import load_manifest
from solon.pipeline.run import run
from solon.pipeline.sources import find_sources, sources_digest
from solon.pipeline.stages.method import CONSTITUTIONAL_AI, with_evaluation
from solon.records import Prompt, RevisionChain, RunPaths, load_records
from solon.report import write_report
from tests.pipeline_fakes import SMALL, FakeModels
from tests.unit.pipeline.test_run import Log

FIRST, SECOND = Records("first", Prompt), Records("second", Prompt)
MODEL = Checkpoint("model")


def stage(name, reads=(), writes=()):
    return Stage(name, settings=(), reads=reads, writes=writes, work=lambda context: None)


def start(tmp_path, fakes, *, out="run", log=None, **options):
    overrides = {**SMALL, **fakes.assistant}
    log = log or Log()
    with fakes.installed():
        return run(out=tmp_path / out, preset="smoke", overrides=overrides, observer=log, **options)


def made(log):
    return [name for name, skipped in log.finished if not skipped]


@pytest.fixture
def fakes(tmp_path):
    return FakeModels(tmp_path / "fakes")


# ------------------------------------------------------------------------------------------------- graphs


def test_what_a_stage_reads_is_written_before_it_or_given():
    Graph(stage("a", (CONSTITUTION, ASSISTANT), (FIRST,)), stage("b", (FIRST,), (MODEL,)))
    with pytest.raises(ValueError, match="stage b reads records/first, which no stage before it writes"):
        Graph(stage("b", (FIRST,)), stage("a", (), (FIRST,)))


def test_nothing_is_written_twice():
    with pytest.raises(ValueError, match="stages a and b both write first"):
        Graph(stage("a", (), (FIRST,)), stage("b", (), (FIRST,)))


@pytest.mark.parametrize("name", ["b", "second", "model"])
def test_a_graph_ends_with_a_stage_or_with_what_it_writes(name):
    graph = Graph(stage("a", (), (FIRST,)), stage("b", (FIRST,), (SECOND, MODEL)), stage("c", (SECOND,)))
    assert [s.name for s in graph.until(name)] == ["a", "b"]
    with pytest.raises(
        ConfigError, match=r"--until mode: no stage and no artifact is called so; did you mean 'model'\?"
    ):
        graph.until("mode")


@pytest.mark.parametrize(
    "name", ["second.jsonl", "records/second.jsonl", "model", "models/model", "models/model/", "./records/second.jsonl"]
)
def test_an_artifact_may_be_named_as_it_lies_in_the_folder(name):
    graph = Graph(stage("a", (), (FIRST,)), stage("b", (FIRST,), (SECOND, MODEL)), stage("c", (SECOND,)))
    assert [s.name for s in graph.until(name)] == ["a", "b"]


@pytest.mark.parametrize("name", ["secnd.jsonl", "records/secnd.jsonl", "records/secnd"])
def test_a_misspelt_file_is_told_its_name(name):
    graph = Graph(stage("a", (), (FIRST,)), stage("b", (FIRST,), (SECOND, MODEL)))
    with pytest.raises(
        ConfigError, match=rf"--until {name}: no stage and no artifact is called so; did you mean 'second'\?$"
    ):
        graph.until(name)


def test_models_and_files_follow_from_what_stages_write():
    graph = with_evaluation(CONSTITUTIONAL_AI)
    assert [model.title for model in graph.assistants()] == ["SL-CAI", "RL-CAI"]
    assert {"revision_chains", "preference_pairs", "evaluation"} <= {records.name for records in graph.records()}


# ----------------------------------------------------------------------------------------- a part of a run


def test_a_run_until_a_model_ends_in_a_table_and_a_report_and_goes_on_later(tmp_path, fakes):
    log = Log()
    result = start(tmp_path, fakes, until="sl-cai", log=log)
    assert made(log) == ["prompts", "revision", "sft", "evaluation", "report"]
    assert list(result.results["models"]) == ["base", "sl-cai"]
    assert result.results["feedback"] is result.results["preference_model"] is result.results["ppo"] is None
    page = result.report.read_text()
    assert "SL-CAI" in page
    assert "AI feedback" not in page
    assert "--until sl-cai" in page
    again = Log()
    whole = start(tmp_path, fakes, log=again)
    assert made(again) == ["comparisons", "feedback", "preference-model", "ppo", "evaluation", "report"]
    assert list(whole.results["models"]) == ["base", "sl-cai", "rl-cai"]
    fresh = start(tmp_path, fakes, out="fresh")
    assert whole.results["models"] == fresh.results["models"]
    assert "--until" not in whole.report.read_text()
    # A shorter run in the same folder reports on its own stages alone.
    short = start(tmp_path, fakes, until="revision")
    assert list(short.results["models"]) == ["base"]
    page = short.report.read_text()
    assert write_report(short.folder).read_text() == page


def test_one_stage_alone(tmp_path, fakes):
    with pytest.raises(RunError, match=r"run: no such folder: expected that of a run"):
        start(tmp_path, fakes, only="sft")
    assert not (tmp_path / "run").exists()
    start(tmp_path, fakes, until="prompts")
    with pytest.raises(
        RunError, match=r"--only sft: .*sft_examples\.jsonl is not as stage revision writes it: run that"
    ):
        start(tmp_path, fakes, only="sft")
    start(tmp_path, fakes)
    (tmp_path / "run" / "models" / "sl-cai" / "model.json").write_text('{"refuses": 0.1}')
    log = Log()
    assert start(tmp_path, fakes, only="sft", log=log).results == {}
    assert log.finished == [("sft", False)]
    examples = RunPaths(tmp_path / "run").records("sft_examples")
    examples.write_text("".join(examples.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(RunError, match=r"--only sft: .*sft_examples\.jsonl is not as stage revision writes it"):
        start(tmp_path, fakes, only="sft")
    with pytest.raises(ConfigError, match=r"--only sff: no stage is called so; did you mean 'sft'\?"):
        start(tmp_path, fakes, only="sff")


@pytest.mark.parametrize(
    "name", ["evaluation", "report", "results.json", "revision_grades", "records/example.jsonl", "failures_evaluation"]
)
def test_a_run_does_not_end_with_what_always_follows(tmp_path, fakes, name):
    wanted = (
        rf"--until {name}: evaluation and report follow whatever a run ends with: .*\(prompts, revision, sft, .*ppo\)"
    )
    with pytest.raises(ConfigError, match=wanted) as caught:
        start(tmp_path, fakes, until=name)
    assert "did you mean" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_until_a_file_is_a_run_until_its_stage(tmp_path, fakes):
    log = Log()
    result = start(tmp_path, fakes, until="records/sft_examples.jsonl", log=log)
    assert made(log) == ["prompts", "revision", "evaluation", "report"]
    assert "--until records/sft_examples.jsonl" in result.report.read_text()
    again = Log()
    start(tmp_path, fakes, until="sft_examples", log=again)
    assert made(again) == ["report"]  # which names its command


@pytest.mark.parametrize(
    ("until", "only", "said"),
    [
        (
            "revision",
            "sft",
            "--until revision leaves this stage out: leave --until out, .*: prompts, revision, evaluation$",
        ),
        ("sl-cai", "comparisons", "--until sl-cai leaves this stage out: .*: prompts, revision, sft, evaluation$"),
        ("revision", "sff", r"no stage is called so; expected one of prompts, revision, evaluation$"),
        (None, "sl-cai", "is what a stage writes, and no stage: give  --only sft$"),
        (None, "records/sft_examples.jsonl", "is what a stage writes, and no stage: give  --only revision$"),
        (None, "report", "the report is no stage: .* solon report DIR$"),
    ],
)
def test_a_stage_that_cannot_be_done_alone_says_why(tmp_path, fakes, until, only, said):
    with pytest.raises(ConfigError, match=f"--only {only}: {said}"):
        start(tmp_path, fakes, until=until, only=only)


def test_an_old_run_without_a_journal_is_refused_before_a_folder_is_claimed(tmp_path, fakes):
    old = start(tmp_path, fakes, out="old", until="prompts").folder
    RunPaths(old).journal.unlink()
    with pytest.raises(RunError, match=r"--from .*old: the journal of this run, .* is not there"):
        start(tmp_path, fakes, out="new", old=old)
    assert not (tmp_path / "new").exists()


def test_a_reworded_principle_costs_only_the_calls_that_show_it(tmp_path, fakes):
    old = start(tmp_path, fakes, out="old", until="revision")
    chains = load_records(RunPaths(old.folder).records("revision_chains"), RevisionChain)
    drawn = [step.principle_id for chain in chains for step in chain.steps]
    name = max(set(drawn), key=drawn.count)
    rules = load_constitution("default")
    reworded = rules.model_copy(
        update={
            "principles": tuple(
                p.model_copy(update={"critique_request": f"{p.critique_request} Say it plainly."})
                if p.id == name
                else p
                for p in rules.principles
            )
        }
    )
    new = start(tmp_path, fakes, out="new", until="revision", constitution=reworded, old=old.folder)
    manifest = load_manifest(RunPaths(new.folder).manifest("revision"))
    # A critique is shown the request, and the revision after it; what the fake answers does not depend on either.
    assert manifest.model_calls - manifest.replayed_calls == 2 * drawn.count(name)
    log = Log()
    start(tmp_path, fakes, out="new", until="revision", constitution=reworded, log=log)
    assert not [notice for notice in log.notices if "journal" in notice]  # every call is in the run's own journal
    with pytest.raises(RunError, match="no such folder"):
        start(tmp_path, fakes, out="newer", old=tmp_path / "nothing")
    assert not (tmp_path / "newer").exists()


# ------------------------------------------------------------------------------------------------- sources


def test_a_stage_runs_on_what_its_page_imports_and_no_stage_on_all():
    revision, ppo = (find_sources(f"solon.pipeline.stages.{name}") for name in ("revision", "ppo"))
    assert {"solon.revision.chains", "solon.prompting.rendering", "solon.records.calls"} <= revision
    assert not {name for name in revision if name.startswith(("solon.training", "solon.feedback", "solon.evaluation"))}
    assert "solon.pipeline.stages.method" not in ppo | revision
    assert "solon.training.learner" in find_sources("solon.training.ppo")
    assert "solon.training.ppo" not in find_sources("solon.training.sft")


def test_imports_in_functions_count_and_imports_for_types_do_not():
    assert "solon.nets.scorer" in find_sources("solon.pipeline.models")  # imported where it is first needed
    assert "solon.pipeline.plan" not in find_sources("solon.pipeline.context")  # named in a signature only


def test_a_stage_made_by_other_sources_is_made_again_and_the_others_are_kept(tmp_path, fakes, monkeypatch):
    start(tmp_path, fakes)
    read = sources._read
    monkeypatch.setattr(sources, "_read", lambda name: read(name) + b"#" * (name == "solon.training.ppo"))
    kept = Log()
    start(tmp_path, fakes, accept_code=True, log=kept)
    assert made(kept) == []
    assert kept.notices == ["stage ppo: was made by other sources of solon and is kept, by --accept-code"]
    log = Log()
    start(tmp_path, fakes, log=log)
    assert made(log) == ["ppo", "report"]
    assert [notice for notice in log.notices if "ppo" in notice and "--accept-code" in notice]
    monkeypatch.setattr(sources, "_read", lambda name: read(name) + b"#" * (name == "solon.revision.chains"))
    log = Log()
    start(tmp_path, fakes, log=log)
    assert made(log)[:1] == ["revision"]
    manifest = json.loads((tmp_path / "run" / "manifest" / "revision.json").read_text())
    assert manifest["model_calls"] == manifest["replayed_calls"] > 0


def test_the_digest_is_of_the_sources(monkeypatch):
    before = sources_digest("solon.records.base")
    assert before == sources_digest("solon.records.base")
    read = sources._read
    monkeypatch.setattr(sources, "_read", lambda name: read(name).replace(b"JSON", b"JSOn"))
    assert sources_digest("solon.records.base") != before
