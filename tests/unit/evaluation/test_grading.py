"""Proves that every prompt is asked as often as configured, that every answer is graded for its own prompt, and that a
failed call is a failure and never a grade.
"""

from typing import Any

import pytest

from solon.errors import StageFailedError
from solon.evaluation import EvaluationConfig, run_evaluation
from solon.lm import ScriptedModel
from solon.lm.scripted import Reply
from solon.prompting import render_response
from solon.records import EvalRecord, Failure, Grade, Prompt, Rendered, Sampling
from tests.scripts import call_failed, make_prompts, wait_for

PROMPTS = {"harmful": make_prompts(4, split="heldout"), "benign": make_prompts(3, "helpful", "heldout")}


class Echo:
    """Grades by repeating what it was given."""

    identity = "echo"

    def grade(self, prompt: Prompt, response: str) -> Grade:
        return Grade(attributes={}, category=prompt.id, unparsed=True, reason=response)


def write(rendered: Rendered, sampling: Sampling, seed: int) -> str:
    return f"answer {seed}"


def run(
    model: ScriptedModel, bound: float = 0.0, name: str = "base", seed: int = 2, prompts=PROMPTS, **config: Any
) -> Any:
    work = run_evaluation(
        name, model, prompts, Echo(), EvaluationConfig(**config), seed=seed, max_failure_fraction=bound
    )
    return wait_for(work).results


def test_every_prompt_is_asked_and_graded_as_itself() -> None:
    model = ScriptedModel(write)
    records = run(model, samples_per_prompt=2)
    assert [(r.group, r.prompt) for r in records] == [
        (group, prompt) for group, prompts in PROMPTS.items() for prompt in prompts for _ in range(2)
    ]
    asked = {seed: rendered for rendered, _, seed in model.generated}
    for record in records:
        assert asked[record.response.seed] == render_response(record.prompt.conversation)
        assert (record.model_name, record.grader) == ("base", "echo")
        assert record.grade.category == record.prompt.id
        assert record.grade.reason == record.response.text == f"answer {record.response.seed}"
    assert len({r.response.seed for r in records}) == len({r.id for r in records}) == 14


def test_models_draw_alike_on_the_same_prompt_and_are_told_apart() -> None:
    base, tuned = run(ScriptedModel(write)), run(ScriptedModel(write), name="sl-cai")
    assert [r.response.seed for r in base] == [r.response.seed for r in tuned]
    assert not {r.id for r in base} & {r.id for r in tuned}


def test_an_answer_depends_on_no_other_prompt() -> None:
    alone = [run(ScriptedModel(write), prompts={"benign": [prompt]})[0] for prompt in PROMPTS["benign"]]
    assert alone == run(ScriptedModel(write))[4:]


def test_a_failed_call_is_a_failure_with_its_address_and_bounded() -> None:
    prompt = PROMPTS["harmful"][1]

    def fail(rendered: Rendered, sampling: Sampling, seed: int) -> Reply:
        return call_failed() if rendered == render_response(prompt.conversation) else write(rendered, sampling, seed)

    records = run(ScriptedModel(fail), bound=0.15)
    assert [type(item) for item in records] == [EvalRecord, Failure, *[EvalRecord] * 5]
    assert (records[1].item, records[1].reason) == (f"harmful/{prompt.id}/1", "call_failed")
    with pytest.raises(StageFailedError):
        run(ScriptedModel(fail), bound=0.1)


def test_cut_off_and_empty_answers_are_the_graders_to_judge() -> None:
    assert [r.grade.reason for r in run(ScriptedModel([("cut o", "length"), *[""] * 6]))] == ["cut o", *[""] * 6]


CHANGES: dict[str, Any] = {"temperature": 0.0, "max_tokens": 9, "samples_per_prompt": 2, "layout": "transcript"}


def test_every_field_is_tried() -> None:
    assert set(EvaluationConfig.model_fields) == set(CHANGES)


@pytest.mark.parametrize("name", list(CHANGES))
def test_fields_turn_something(name: str) -> None:
    before, after = ScriptedModel(write), ScriptedModel(write)
    run(before)
    run(after, **{name: CHANGES[name]})
    assert before.generated != after.generated
