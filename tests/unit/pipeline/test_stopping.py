"""Proves that a stage which stops by its failures leaves its records and failures on disk, says which setting would
help and where to read on, and is done again by the next attempt.
"""

import math

import pytest

from solon.constitution import Constitution, load_constitution
from solon.errors import CallFailedError, StageFailedError
from solon.pipeline.ancestry import describe
from solon.pipeline.artifacts import Records
from solon.pipeline.config import RunConfig
from solon.pipeline.graph import Stage
from solon.pipeline.manifests import load_manifest
from solon.pipeline.stages.method import CONSTITUTIONAL_AI, with_evaluation
from solon.pipeline.stopping import describe_stop, save_stopped
from solon.records import (
    Comparison,
    Conversation,
    EvalRecord,
    Failure,
    PreferenceLabel,
    PreferencePair,
    Prompt,
    RevisionChain,
    RunPaths,
    SFTExample,
    load_records,
)
from solon.world.oracle import parse_request
from tests import pipeline_fakes
from tests.pipeline_fakes import SMALL
from tests.unit.pipeline.test_limits import CuttingModels, data
from tests.unit.pipeline.test_limits import start as start_tolerant

PATIENT = {"max_failure_fraction": 0.05}


@pytest.fixture
def fakes(tmp_path):
    return CuttingModels(tmp_path / "fakes")


@pytest.fixture
def paths(tmp_path):
    return RunPaths(tmp_path / "run")


def start(tmp_path, fakes, changes=None, **options):
    return start_tolerant(tmp_path, fakes, {**PATIENT, **(changes or {})}, **options)


def stop(tmp_path, fakes, stage, changes=None, *, part=None, **given):
    """Run until the stage stops; return what is said."""
    with pytest.raises(StageFailedError, match=f"^{part or stage}: ") as caught:
        start(tmp_path, fakes, changes, **given)
    manifest = load_manifest(RunPaths(tmp_path / "run").manifest(stage))
    assert (manifest.status, manifest.outputs) == ("started", {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def load(paths, name, kind):
    return load_records(paths.records(name), kind)


def fail_where(monkeypatch, predicate):
    """Have calls fail whose prompt's texts and goal fulfil a condition."""
    reply = pipeline_fakes._reply

    def answer(prompt, seed, refuses):
        texts = [turn.text for turn in prompt.turns]
        return CallFailedError("the line is dead") if predicate(texts, refuses) else reply(prompt, seed, refuses)

    monkeypatch.setattr(pipeline_fakes, "_reply", answer)


def is_helpful(texts):
    goal = parse_request(texts)
    return len(texts) == 1 and goal is not None and not goal.harmful


def test_responses_that_a_limit_cuts_are_saved_and_the_limit_named(tmp_path, fakes, paths):
    low, high = {"revision": {"max_tokens": 13}}, {"revision": {"max_tokens": 64}}
    said = stop(tmp_path, fakes, "revision", low, part="(revision|helpful)")
    assert "failures on record are truncated_response: raise revision.max_tokens (now 13) in this folder; " in said
    assert said.endswith(f"they can be read in {paths.records('failures_revision')}")
    failures = load(paths, "failures_revision", Failure)
    assert {failure.reason for failure in failures} == {"truncated_response"}
    assert str(len(failures)) in said
    assert failures[0].call in describe(paths.root, failures[0].item)
    grown, fresh = start(tmp_path, fakes, high), start(tmp_path, fakes, high, out="fresh")
    assert data(grown.folder) == data(fresh.folder)


def test_what_another_part_of_the_stage_has_done_is_saved_too(tmp_path, fakes, paths, monkeypatch):
    fail_where(monkeypatch, lambda texts, refuses: is_helpful(texts))
    said = stop(tmp_path, fakes, "revision", {"revision": {"max_critique_tokens": 5}}, part="helpful")
    assert "raise max_failure_fraction (now 0.05) in a new folder with --from" in said
    chains = load(paths, "revision_chains", RevisionChain)
    assert 0 < len(chains) <= 6
    assert load(paths, "sft_examples", SFTExample) == []
    failures = load(paths, "failures_revision", Failure)
    broken = [chain.failure for chain in chains if chain.failure]
    assert broken
    assert [f for f in failures if f.reason == "truncated_critique"] == broken  # which the bound does not count
    helpful = [f.reason for f in failures if f.stage == "helpful"]
    assert set(helpful) == {"call_failed"}
    assert (
        f"{len(helpful)} of {len(helpful)} failures on record are call_failed" in said
    )  # the file says as many as the error


def test_chains_that_lost_a_round_to_failed_calls_are_saved(tmp_path, fakes, paths, monkeypatch):
    fail_where(monkeypatch, lambda texts, refuses: parse_request(texts) is None)
    said = stop(tmp_path, fakes, "revision")
    assert "6 of 6 failures on record are call_failed" in said
    chains = load(paths, "revision_chains", RevisionChain)
    assert [chain.failure.reason for chain in chains] == ["call_failed"] * 6
    assert load(paths, "failures_revision", Failure) == [chain.failure for chain in chains]


def test_a_stage_of_which_nothing_came_saves_why(tmp_path, fakes, paths):
    changes = {"prompts": {**SMALL["prompts"], "revision": {"red_team": 6, "helpful": 0}}}
    said = stop(tmp_path, fakes, "revision", {**changes, "revision": {"max_critique_tokens": 2}})
    assert "no response could be revised" in said
    assert (
        "6 of 6 failures on record are truncated_critique: raise revision.max_critique_tokens (now 2) in this folder"
        in said
    )
    assert len(load(paths, "revision_chains", RevisionChain)) == len(load(paths, "failures_revision", Failure)) == 6


def test_comparisons_that_were_drawn_are_saved(tmp_path, fakes, paths, monkeypatch):
    with monkeypatch.context() as patch:
        fail_where(patch, lambda texts, refuses: refuses == 0.8 and is_helpful(texts))
        said = stop(tmp_path, fakes, "comparisons")
    assert f"raise max_failure_fraction (now 0.05) in a new folder with --from {paths.root}; the same command" in said
    assert said.endswith(f"; they can be read in {paths.records('failures_comparisons')}")
    assert load(paths, "failures_comparisons", Failure)
    assert 0 < len(load(paths, "comparisons", Comparison)) < 18
    resumed, fresh = start(tmp_path, fakes), start(tmp_path, fakes, out="fresh")
    assert load_manifest(paths.manifest("comparisons")).replayed_calls > 0
    assert data(resumed.folder) == data(fresh.folder)


def test_labels_are_saved_where_calls_fail(tmp_path, fakes, paths, monkeypatch):
    choose = pipeline_fakes._choose

    def fail_now_and_then(prompt, options):
        return CallFailedError("the line is dead") if len(prompt.text) % 3 == 0 else choose(prompt, options)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline_fakes, "_choose", fail_now_and_then)
        said = stop(tmp_path, fakes, "feedback")
    assert "failures on record are call_failed: raise max_failure_fraction (now 0.05) in a new folder" in said
    assert said.endswith(f"; they can be read in {paths.records('preference_labels')}")
    labels = load(paths, "preference_labels", PreferenceLabel)
    assert "call_failed" in {label.reason for label in labels}
    assert load(paths, "preference_pairs", PreferencePair) == []
    resumed, fresh = start(tmp_path, fakes), start(tmp_path, fakes, out="fresh")
    assert data(resumed.folder) == data(fresh.folder)


@pytest.mark.parametrize(
    ("changes", "mass", "reason", "help_"),
    [
        ({}, 0.1, "below_mass_floor", "lower feedback.mass_floor (now 0.5) in a new folder with --from"),
        (
            {"feedback": {"chain_of_thought": True, "max_reasoning_tokens": 3}},
            1.0,
            "truncated_reasoning",
            "raise feedback.max_reasoning_tokens (now 3) in this folder",
        ),
        (
            {"comparisons": {"max_tokens": 4}},
            1.0,
            "truncated_response",
            "raise comparisons.max_tokens (now 4) in this folder",
        ),
        ({}, None, "invalid_logprobs", None),
    ],
)
def test_labels_are_saved_where_none_could_be_made(tmp_path, fakes, paths, monkeypatch, changes, mass, reason, help_):
    def weigh(prompt, options):
        return (math.inf, -1.0) if mass is None else (math.log(0.4 * mass), math.log(0.6 * mass))

    monkeypatch.setattr(pipeline_fakes, "_choose", weigh)
    said = stop(tmp_path, fakes, "feedback", changes)
    labels = load(paths, "preference_labels", PreferenceLabel)
    assert len(labels) == 18
    assert "no comparison could be labelled" in said
    assert f"failures on record are {reason}{'' if help_ is None else f': {help_}'}" in said
    assert "max_failure_fraction" not in said  # which bounds failed calls alone
    assert reason in {label.reason for label in labels}


def test_answers_without_mass_name_the_floor_of_pointwise_labels(tmp_path, fakes, paths, monkeypatch):
    monkeypatch.setattr(pipeline_fakes, "_choose", lambda prompt, options: (math.log(0.04), math.log(0.05)))
    asking = {"question": "Does the response do harm?", "better": "no"}
    shipped = load_constitution("default").principles
    law = Constitution(name="asking", principles=tuple(p.model_copy(update=asking) for p in shipped))
    said = stop(tmp_path, fakes, "feedback", {"feedback": {"labels": "pointwise"}}, constitution=law)
    assert "are below_pointwise_mass_floor: lower feedback.pointwise_mass_floor (now 0.1) in a new folder" in said
    labels = load(paths, "preference_labels", PreferenceLabel)
    assert "below_pointwise_mass_floor" in {label.reason for label in labels}
    assert {label.p_a for label in labels} == {None}


def test_answers_to_the_models_so_far_are_saved(tmp_path, fakes, paths, monkeypatch):
    fail_where(monkeypatch, lambda texts, refuses: refuses == 0.97)
    said = stop(tmp_path, fakes, "evaluation")
    assert said.endswith(f"; they can be read in {paths.records('failures_evaluation')}")
    answers = load(paths, "evaluation", EvalRecord)
    assert {answer.model_name for answer in answers} == {"base", "sl-cai"}
    assert load(paths, "failures_evaluation", Failure)
    assert load(paths, "example", EvalRecord) == []
    assert not paths.results.exists()


# --------------------------------------------------------------------------------------------- what is said and saved

FIRST, AGAIN, FAILURES = Records("a", Prompt), Records("b", Prompt), Records("f", Failure, named_by="item")
MADE_UP = Stage("made", (), (), (FIRST, AGAIN, FAILURES), work=lambda context: None, remedies={"long": "raise seed"})


def test_each_kind_goes_to_its_first_file_and_no_older_record_stays(paths):
    old, new = (
        Prompt.make(Conversation.of(text), kind="red_team", source="own", split="train") for text in ("Rob?", "Lie?")
    )
    failure = Failure(item="x", stage="made", reason="long")
    for records in (FIRST, AGAIN):
        records.save(paths, [old])
    FAILURES.save(paths, [failure] * 3)
    save_stopped(MADE_UP, [failure, new], paths)
    assert (FIRST.load(paths), AGAIN.load(paths), FAILURES.load(paths)) == ([new], [], [failure])


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (["long", "odd", "long"], "2 of 3 failures on record are long: raise seed (now 0) in a new folder with --from"),
        (
            ["odd"],
            "1 of 1 failures on record are odd: raise max_failure_fraction (now 0.05) in a new folder with --from",
        ),
        (["odd", "long"], "1 of 2 failures on record are long: raise seed"),
    ],
)
def test_most_failures_say_what_would_help(paths, reasons, said):
    failures = [Failure(item="x", stage="made", reason=reason) for reason in reasons]
    error = StageFailedError("made: too many", failures=failures)
    assert f"made: too many; {said}" in describe_stop(error, MADE_UP, [], RunConfig(), paths)


def test_where_there_was_nothing_to_do_nothing_is_added(paths):
    assert describe_stop(StageFailedError("made: nothing"), MADE_UP, [], RunConfig(), paths) == "made: nothing"


def test_every_remedy_is_a_field():
    stages = with_evaluation(CONSTITUTIONAL_AI)
    remedies = {remedy for stage in stages for remedy in stage.remedies.values()}
    assert len(remedies) >= 6
    for remedy in remedies:
        verb, *_, field = remedy.split()
        assert verb in ("raise", "lower", "take")
        section, name = field.split(".")
        assert name in type(getattr(RunConfig(), section)).model_fields
