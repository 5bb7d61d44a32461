"""Proves that an initial response that was cut off is revised where that is asked for, counted, and never learnt."""

from typing import Any

import pytest

from solon.lm import ItemResults, ScriptedModel
from solon.lm.backends.scripted import Reply
from solon.records import HelpfulSample, Rendered, RevisionChain, Sampling
from solon.revision import (
    RevisionConfig,
    count_revision_targets,
    revision_metrics,
    run_revision,
    sample_helpful,
    sft_targets,
)
from tests.scripts import make_constitution, make_prompts, wait_for

PROMPTS = make_prompts(4)
LONG = "First, cut the wire. Then op"


def write(rendered: Rendered, sampling: Sampling, seed: int) -> Reply:
    last = rendered.turns[-1].text
    if last.startswith("What is wrong"):
        return "It helps."
    if last.startswith("Mend"):
        return ("I will not. Bec", "length") if PROMPTS[1].conversation.messages[-1].text in rendered.text else "No."
    return ("and so on without an end", "length") if "request 0" in last else (LONG, "length")


def run(*, cut_responses: bool, **config: Any) -> tuple[ItemResults[RevisionChain], ScriptedModel, RevisionConfig]:
    model = ScriptedModel(write)
    settings = RevisionConfig(cut_responses=cut_responses, rounds=2, **config)
    results = run_revision(
        PROMPTS,
        assistant=model,
        critic=model,
        constitution=make_constitution(),
        config=settings,
        seed=1,
        max_failure_fraction=1.0,
    )
    return wait_for(results), model, settings


@pytest.mark.parametrize("direct", [False, True])
def test_it_is_revised_up_to_its_last_whole_sentence_and_a_revision_must_end(direct: bool) -> None:
    results, model, config = run(cut_responses=True, direct=direct)
    assert [failure.reason for failure in results.failures] == ["truncated_response"]  # it has no whole sentence
    assert [chain.initial_response.text for chain in results.kept] == ["First, cut the wire."] * 3
    assert all(chain.initial_response.trimmed for chain in results.kept)
    asked = [rendered for rendered, *_ in model.generated if len(rendered.turns) > 1]
    assert {rendered.turns[1].text for rendered in asked} == {"First, cut the wire.", "No."}
    (broken,) = [chain.failure for chain in results.kept if chain.failure is not None]
    assert broken.reason == "truncated_revision"
    learnt = sft_targets(results.kept, [], PROMPTS, config)
    assert [example.response for example in learnt] == ["No."] * 4
    assert count_revision_targets(results, config) == {
        "in": 8,
        "kept": 4,
        "truncated_response": 2,
        "truncated_revision": 2,
    }
    assert revision_metrics(results.kept)["revision/cut_responses"] == 3.0


def test_by_default_it_is_a_failure() -> None:
    assert not RevisionConfig().cut_responses
    results, model, _ = run(cut_responses=False)
    assert [failure.reason for failure in results.failures] == ["truncated_response"] * 4
    assert len(model.generated) == 4


def sample_ordinary(reply: Reply, *, cut_responses: bool) -> ItemResults[HelpfulSample]:
    prompts = make_prompts(2, "helpful")
    config = RevisionConfig(cut_responses=cut_responses, helpful_samples=1)
    model = ScriptedModel(lambda *_: reply)
    return wait_for(sample_helpful(prompts, assistant=model, config=config, seed=1, max_failure_fraction=1.0))


def test_a_helpful_sample_must_have_ended_by_default() -> None:
    assert [item.reason for item in sample_ordinary((LONG, "length"), cut_responses=False).failures] == [
        "truncated_response"
    ] * 2


def test_a_helpful_sample_that_was_cut_off_is_learnt_as_far_as_it_goes_and_without_an_end() -> None:
    kept = sample_ordinary((LONG, "length"), cut_responses=True).kept
    learnt = sft_targets([], kept, make_prompts(2, "helpful"), RevisionConfig(cut_responses=True))
    assert [(example.response, example.ended) for example in learnt] == [(LONG, False)] * 2
    whole = sample_ordinary("Cut the wire.", cut_responses=True).kept
    assert all(example.ended for example in sft_targets([], whole, make_prompts(2, "helpful"), RevisionConfig()))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [((" \n", "length"), "truncated_response"), (" ", "empty_response")],
    ids=["only spaces", "empty"],
)
def test_a_helpful_sample_that_says_nothing_is_never_learnt(reply: Reply, reason: str) -> None:
    assert [item.reason for item in sample_ordinary(reply, cut_responses=True).failures] == [reason] * 2


@pytest.mark.parametrize(("limit", "expected"), [(None, 256), (31, 31)])
def test_helpful_answers_may_have_a_limit_of_their_own(limit: int | None, expected: int) -> None:
    model = ScriptedModel(lambda *_: "Yes.")
    config = RevisionConfig(helpful_samples=1, helpful_max_tokens=limit)
    wait_for(
        sample_helpful(make_prompts(2, "helpful"), assistant=model, config=config, seed=1, max_failure_fraction=0.0)
    )
    assert {sampling.max_tokens for _, sampling, _ in model.generated} == {expected}
