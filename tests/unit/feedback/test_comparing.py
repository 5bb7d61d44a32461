"""Proves that each prompt is answered twice, independently, and that everything drawn is kept."""

from typing import Any

import pytest

from solon.errors import StageFailedError
from solon.feedback import ComparisonConfig, run_comparisons
from solon.lm import ScriptedModel
from solon.lm.backends.scripted import Reply
from solon.prompting import render_response
from solon.records import Comparison, Failure, Sampling
from tests.scripts import call_failed, make_prompts, wait_for

PROMPTS = make_prompts(5)


def run(
    model: ScriptedModel, config: ComparisonConfig | None = None, bound: float = 0.0, seed: int = 3, prompts=PROMPTS
) -> Any:
    work = run_comparisons(
        prompts, model=model, config=config or ComparisonConfig(), seed=seed, max_failure_fraction=bound
    )
    return wait_for(work).results


def test_two_responses_with_seeds_of_their_own() -> None:
    model = ScriptedModel(lambda rendered, sampling, seed: f"answer {seed}")
    found = run(model)
    assert [comparison.prompt for comparison in found] == PROMPTS
    seeds = [c.response_a.seed for c in found] + [c.response_b.seed for c in found]
    assert len(set(seeds)) == 10
    assert sorted(seeds) == sorted(seed for *_, seed in model.generated)
    assert {sampling for _, sampling, _ in model.generated} == {Sampling(temperature=1.0, max_tokens=256)}
    asked = {seed: rendered for rendered, _, seed in model.generated}
    for comparison in found:
        for response in (comparison.response_a, comparison.response_b):
            assert asked[response.seed] == render_response(comparison.prompt.conversation)
    assert len({c.id for c in found}) == 5
    assert run(model) == found
    assert run(model, seed=4) != found


def test_a_comparison_depends_on_no_other() -> None:
    model = ScriptedModel(lambda rendered, sampling, seed: f"answer {seed}")
    assert [run(model, prompts=[prompt])[0] for prompt in PROMPTS] == run(model)


def test_what_cannot_be_labelled_is_still_on_record() -> None:
    for said in ("", "same", ("cut", "length")):
        found = run(ScriptedModel(lambda *_, said=said: said))
        assert all(isinstance(item, Comparison) for item in found)


def test_a_response_that_was_cut_off_is_compared_up_to_its_last_whole_sentence_where_that_is_asked_for() -> None:
    model = ScriptedModel(lambda *_: ("It is so. And it", "length"))
    trimmed, plain = run(model, ComparisonConfig(cut_responses=True)), run(model)
    for comparison, before in zip(trimmed, plain, strict=True):
        for response in (comparison.response_a, comparison.response_b):
            assert (response.text, response.fault) == ("It is so.", None)
        assert before.response_a.fault == before.response_b.fault == "truncated"
        assert comparison.id != before.id


def test_failed_calls_are_failures_of_their_prompt_and_are_bounded() -> None:
    def write(rendered: Any, sampling: Any, seed: int) -> Reply:
        return call_failed() if "request 2" in rendered.text else "fine"

    found = run(ScriptedModel(write), bound=0.2)
    assert [isinstance(item, Failure) for item in found] == [False, False, True, False, False]
    assert (found[2].reason, found[2].item, found[2].stage) == ("call_failed", PROMPTS[2].id, "comparisons")
    with pytest.raises(StageFailedError):
        run(ScriptedModel(write), bound=0.19)


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"top_p": 0.9}, {"min_p": 0.1}, {"max_tokens": 9}])
def test_fields_turn_something(change: dict[str, Any]) -> None:
    before, after = ScriptedModel(lambda *_: "x"), ScriptedModel(lambda *_: "x")
    run(before)
    run(after, ComparisonConfig(**change))
    assert before.generated != after.generated


def test_every_field_is_tried() -> None:
    assert set(ComparisonConfig.model_fields) == {"temperature", "top_p", "min_p", "max_tokens", "cut_responses"}


def test_responses_are_asked_for_in_the_layout_of_the_model() -> None:
    model = ScriptedModel(lambda *_: "x", layout="transcript")
    run(model)
    assert [asked.layout for asked, *_ in model.generated] == ["transcript"] * 10
