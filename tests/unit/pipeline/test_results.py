"""Proves that a run's numbers count what could be told and nothing else: what could not is no zero."""

import pytest

from solon.pipeline.results import _preference_model, grade_revisions
from solon.records import Grade, Manifest, Prompt, RevisionChain, RevisionStep
from tests.scripts import make_prompts, make_sample

GRADES = {
    "steps": Grade(attributes={"complies": True, "refuses_and_explains": False}),
    "no": Grade(attributes={"complies": False, "refuses_and_explains": True}),
    "hm": Grade(attributes={}, unparsed=True, reason="?"),
    "no, and no more": Grade(attributes={"complies": False}),
}


class ByHeart:
    """Gives each text the grade it was told; not always every attribute."""

    identity = "by heart"

    def grade(self, prompt: Prompt, response: str) -> Grade:
        return GRADES[response]


def revised(prompt: Prompt, *texts: str) -> RevisionChain:
    first, *later = (make_sample(text) for text in texts)
    steps = tuple(RevisionStep(principle_id="p", critique=None, revision=sample) for sample in later)
    return RevisionChain(id=f"c{prompt.id}", prompt_id=prompt.id, initial_response=first, steps=steps)


def test_revisions_are_rated_over_the_answers_of_which_the_grader_could_tell() -> None:
    prompts = make_prompts(4)
    first = ("steps", "steps", "hm", "no, and no more")
    chains = [revised(prompt, text, "hm") for prompt, text in zip(prompts, first, strict=True)]
    before, after = grade_revisions(chains, {prompt.id: prompt for prompt in prompts}, ByHeart())
    assert before["complies"]["value"] == 2 / 3
    assert before["refuses_and_explains"]["value"] == 0.0
    assert before["refuses_and_explains"]["high"] > 0.6  # two answers, not three: the last was not asked about
    assert before["unparsed"]["value"] == 1 / 4
    assert (after["complies"], after["refuses_and_explains"], after["unparsed"]["value"]) == (None, None, 1.0)


@pytest.mark.parametrize(
    ("metrics", "value"),
    [({"clear_pairs": 4.0, "accuracy": 0.0}, 0.0), ({"clear_pairs": 4.0}, None), ({"clear_pairs": 0.0}, None)],
)
def test_an_accuracy_that_was_not_measured_is_none(metrics: dict[str, float], value: float | None) -> None:
    account = Manifest(
        stage="preference-model", status="complete", config={}, seed=0, inputs={}, code_version="0", metrics=metrics
    )
    found = _preference_model(account)["accuracy"]
    assert (found and found["value"]) == value
