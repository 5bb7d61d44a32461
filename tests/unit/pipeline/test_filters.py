"""Proves that a run with filters learns from no revision that one left out, counts and keeps it with all it came from,
shows it in the report, and makes no model call again where an old run has other filters.
"""

import pytest

from solon.errors import ConfigError, RunError, StageFailedError
from solon.pipeline.ancestry import describe
from solon.pipeline.manifests import load_manifest
from solon.records import FilteredRevision, RevisionChain, RunPaths, SFTExample, load_records
from solon.revision import FILTERS
from tests import pipeline_fakes
from tests.pipeline_fakes import FakeModels
from tests.unit.pipeline.test_run import Log, start

CRITIQUE = "The response helps with harm."
"""What the fake writes for half of its revisions."""


@pytest.fixture
def fakes(tmp_path):
    return FakeModels(tmp_path / "fakes")


def filtering(*names):
    return {"overrides": {"revision": {"filters": list(names)}}, "until": "revision"}


def load(folder):
    paths = RunPaths(folder)
    kinds = {"revision_chains": RevisionChain, "sft_examples": SFTExample, "filtered_revisions": FilteredRevision}
    return [load_records(paths.records(name), kind) for name, kind in kinds.items()]


def test_what_a_filter_leaves_out_is_counted_kept_and_never_learnt(tmp_path, fakes):
    folder = start(tmp_path, fakes, **filtering("not_a_critique", "no_steps")).folder
    chains, examples, filtered = load(folder)
    written = [(chain.id, number) for chain in chains for number, step in enumerate(chain.steps, 1)]
    texts = {(c.id, n): step.revision.text for c in chains for n, step in enumerate(c.steps, 1)}
    assert {(r.chain_id, r.round) for r in filtered} >= {place for place in written if texts[place] == CRITIQUE}
    learnt = [(e.chain_id, e.round) for e in examples if e.source == "revision"]
    assert learnt
    assert sorted([*learnt, *((r.chain_id, r.round) for r in filtered)]) == sorted(written)
    assert CRITIQUE not in {example.response for example in examples}
    counts = dict(load_manifest(RunPaths(folder).manifest("revision")).counts)
    assert (counts["filter_not_a_critique"], counts["filter_no_steps"]) == (len(filtered), 0)
    assert counts["kept"] == len(examples)
    assert counts.pop("in") == sum(counts.values())


def test_what_is_filtered_can_be_shown_with_its_chain_and_calls_and_is_in_the_report(tmp_path, fakes):
    folder = start(tmp_path, fakes, **filtering("not_a_critique", "no_steps")).folder
    chains, _, (first, *_) = load(folder)
    told = describe(folder, first.id)
    assert told.startswith("records/filtered_revisions.jsonl:1\n")
    assert f"revision {first.id}, not learnt: it does not pass the filter not_a_critique" in told
    assert f"it is revision {first.round} of" in told
    (chain,) = (chain for chain in chains if chain.id == first.chain_id)
    for named in (
        f"revision chain {chain.id}",
        first.response,
        "principle ",
        chain.steps[first.round - 1].revision.call,
    ):
        assert named in told
    page = (folder / "report.html").read_text()
    assert "Revisions that were filtered" in page
    assert "filter not a critique: " in page
    assert f'<p class="what">{first.response}</p>' in page


def test_other_filters_ask_for_another_run_that_makes_no_call_again(tmp_path, fakes):
    old = start(tmp_path, fakes, out="old", until="revision").folder
    assert (old / "records" / "filtered_revisions.jsonl").read_text() == ""
    with pytest.raises(RunError, match=r"revision\.filters: \[\] -> \[not_a_critique\]"):
        start(tmp_path, fakes, out="old", **filtering("not_a_critique"))
    fakes.models.clear()
    new = start(tmp_path, fakes, old=old, **filtering("not_a_critique")).folder
    assert fakes.models
    assert [call for model in fakes.models for call in (*model.generated, *model.chosen)] == []
    manifest = load_manifest(RunPaths(new).manifest("revision"))
    assert manifest.replayed_calls == manifest.model_calls > 0
    (before, learnt_before, _), (after, learnt, filtered) = load(old), load(new)
    assert before == after
    assert {e.id for e in learnt_before} == {e.id for e in learnt} | {r.id for r in filtered}
    assert filtered


def test_the_order_in_which_filters_are_given_is_no_difference(tmp_path, fakes):
    start(tmp_path, fakes, **filtering("no_leak", "not_a_critique"))
    log = Log()
    start(tmp_path, fakes, log=log, **filtering("not_a_critique", "no_leak"))
    assert all(skipped for _, skipped in log.finished)


@pytest.mark.parametrize("helpful", [0, 4])
def test_filters_that_leave_no_revision_stop_the_run_and_name_the_one_that_took_most(
    tmp_path, fakes, monkeypatch, helpful
):
    reply = pipeline_fakes._reply

    def answer(prompt, seed, refuses):
        said = reply(prompt, seed, refuses)
        return CRITIQUE if said == "I will not help with that." else said

    monkeypatch.setattr(pipeline_fakes, "_reply", answer)
    asked = filtering("not_a_critique", "no_leak")
    asked["overrides"] |= {"prompts": {"revision": {"red_team": 6, "helpful": helpful}}, "max_failure_fraction": 1.0}
    with pytest.raises(StageFailedError) as caught:
        start(tmp_path, fakes, **asked)
    said, folder = str(caught.value), tmp_path / "run"
    chains, examples, filtered = load(folder)
    count = len(filtered)
    assert examples == []
    assert chains
    assert count == sum(len(chain.steps) for chain in chains)
    assert said == (
        "revision: no revision passed the filters: the stages after it would have nothing to learn from; "
        f"{count} of {count} failures on record are filter_not_a_critique: take not_a_critique out of revision.filters "
        f"(now no_leak, not_a_critique) in a new folder with --from {folder}; "
        f"they can be read in {folder / 'records' / 'filtered_revisions.jsonl'}"
    )


def test_a_name_that_there_is_not_is_refused_with_those_that_there_are(tmp_path, fakes):
    with pytest.raises(ConfigError, match=r"revision\.filters.*no_steps.*got 'refuses'") as caught:
        start(tmp_path, fakes, **filtering("refuses"))
    assert all(name in str(caught.value) for name in FILTERS)
    assert "\n" not in str(caught.value)
