"""Proves that a run whose responses mostly reach the token limit goes through where they may be used, that nothing cut
off is learnt as if it had ended, and that everything cut off is counted.
"""

import json
from types import SimpleNamespace

import pytest

from solon.pipeline.manifests import load_manifest
from solon.records import (
    Comparison,
    HelpfulSample,
    PreferencePair,
    RevisionChain,
    RevisionGrade,
    SFTExample,
    load_records,
)
from tests.e2e.conftest import call_solon
from tests.tiny_world import tiny_options

SHORT = ["revision.max_tokens=24", "comparisons.max_tokens=20", "evaluation.max_tokens=24"]
USED = ["revision.cut_responses=true", "comparisons.cut_responses=true"]


@pytest.fixture(scope="module")
def cut_run(tmp_path_factory, tiny_world):
    folder = tmp_path_factory.mktemp("cut") / "run"
    settings = [word for value in (*SHORT, *USED) for word in ("--set", value)]
    done = call_solon("run", "--out", folder, *tiny_options(tiny_world), *settings)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=folder, done=done)


def load(run, name, kind):
    return load_records(run.folder / "records" / f"{name}.jsonl", kind)


def test_cut_responses_are_revised_and_compared_and_counted(cut_run):
    chains, comparisons = load(cut_run, "revision_chains", RevisionChain), load(cut_run, "comparisons", Comparison)
    revised = [chain for chain in chains if chain.initial_response.trimmed]
    responses = [response for pair in comparisons for response in (pair.response_a, pair.response_b)]
    compared = [response for response in responses if response.trimmed]
    assert any(chain.steps for chain in revised)
    assert len(compared) > len(responses) / 2
    for sample in (*compared, *(chain.initial_response for chain in revised)):
        assert (sample.stop_reason, sample.text[-1:]) == ("length", ".")
    for stage, count in (("revision", len(revised)), ("comparisons", len(compared))):
        manifest = load_manifest(cut_run.folder / "manifest" / f"{stage}.json")
        assert manifest.metrics[f"{stage}/cut_responses"] == count
        assert f"{stage}: {count}" in (cut_run.folder / "report.html").read_text()


def test_the_grade_of_a_response_says_whether_it_was_cut_off_and_so_does_its_ancestry(cut_run):
    chains = {chain.id: chain for chain in load(cut_run, "revision_chains", RevisionChain)}
    grades = load(cut_run, "revision_grades", RevisionGrade)
    assert {grade.cut for grade in grades} == {False, True}
    for grade in grades:
        assert grade.cut == chains[grade.chain_id].response_after(grade.round).cut
    for chain in chains.values():
        said = call_solon("show", cut_run.folder, chain.id).stdout
        assert said.count("ended: length, and cut after its last whole sentence") == chain.initial_response.trimmed


def test_nothing_that_was_cut_off_is_learnt_as_if_it_had_ended(cut_run):
    steps = [step for chain in load(cut_run, "revision_chains", RevisionChain) for step in chain.steps]
    helpful = load(cut_run, "helpful_samples", HelpfulSample)
    revisions, samples = [step.revision for step in steps], [sample.response for sample in helpful]
    assert not any(revision.cut for revision in revisions)
    assert any(sample.cut for sample in samples)  # learnt as far as they go
    learnt = load(cut_run, "sft_examples", SFTExample)
    assert {(example.response, example.ended) for example in learnt} <= {
        *((revision.text, True) for revision in revisions),
        *((sample.text, not sample.cut) for sample in samples),
    }
    assert any(not example.ended for example in learnt)
    pairs = load(cut_run, "preference_pairs", PreferencePair)
    by_id = {comparison.id: comparison for comparison in load(cut_run, "comparisons", Comparison)}
    assert not all(pair.ended_a and pair.ended_b for pair in pairs)
    for pair in pairs:
        of = by_id[pair.id]
        assert (pair.ended_a, pair.ended_b) == (not of.response_a.cut, not of.response_b.cut)
    manifest = load_manifest(cut_run.folder / "manifest" / "preference-model.json")
    assert manifest.metrics["reread"] == 0  # a cut text is a beginning of the tokens that were sampled


def test_answers_that_reached_the_limit_are_counted_beside_the_rates(cut_run):
    answers = [json.loads(line) for line in (cut_run.folder / "records" / "evaluation.jsonl").read_text().splitlines()]
    results = json.loads((cut_run.folder / "results.json").read_text())
    for name, label in (("base", "Base"), ("sl-cai", "SL-CAI"), ("rl-cai", "RL-CAI")):
        asked = [a for a in answers if (a["model_name"], a["evaluation"], a["group"]) == (name, "heldout", "harmful")]
        count = sum(answer["response"]["stop_reason"] == "length" for answer in asked)
        assert results["models"][name]["harmful"]["cut"]["value"] == count / len(asked)
        assert f"  {label}: {count} of 12 to harmful" in cut_run.done.stdout
