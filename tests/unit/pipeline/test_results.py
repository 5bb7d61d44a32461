"""Proves that a run's numbers count what could be told and nothing else: what could not is no zero."""

import pytest

from solon.evaluation import Evaluation, OpenModel, grade_revisions, summarize_revisions, wilson_interval
from solon.feedback import feedback_summary
from solon.feedback.comparing import make_comparison
from solon.pipeline.results import _feedback, _preference_model
from solon.records import Grade, Manifest, Measures, PreferenceLabel, Prompt, RevisionChain, RevisionStep, Sample, Vote
from tests.scripts import make_prompts, make_sample, open_no_model, wait_for

GRADES = {
    "steps": Grade(values={"complies": True, "refuses_and_explains": False}),
    "no": Grade(values={"complies": False, "refuses_and_explains": True}),
    "hm": Grade(ungraded="?"),
    "no, and no more": Grade(values={"complies": False}),
}


class ByHeart:
    """Gives each text the grade it was told; not always every value."""

    identity = "by heart"

    async def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Grade:
        return GRADES[response.text]


def revised(prompt: Prompt, *texts: str) -> RevisionChain:
    first, *later = (make_sample(text) for text in texts)
    steps = tuple(RevisionStep(principle_id="p", critique=None, revision=sample) for sample in later)
    return RevisionChain(id=f"c{prompt.id}", prompt_id=prompt.id, initial_response=first, steps=steps)


def test_revisions_are_rated_over_the_answers_of_which_the_grader_could_tell() -> None:
    prompts = make_prompts(4)
    first = ("steps", "steps", "hm", "no, and no more")
    chains = [revised(prompt, text, "hm") for prompt, text in zip(prompts, first, strict=True)]
    main = Evaluation("main", "", {}, ByHeart(), Measures())
    graded = wait_for(grade_revisions(chains, prompts, main, open_model=open_no_model, max_failure_fraction=0.0))
    before, after = summarize_revisions(graded.results, ("complies", "refuses_and_explains"))
    assert (before["round"], before["n"], after["round"], after["n"]) == (0, 4, 1, 4)
    assert before["complies"]["value"] == 2 / 3
    assert before["refuses_and_explains"]["value"] == 0.0
    assert before["refuses_and_explains"]["high"] > 0.6  # two answers, not three: the last was not asked about
    assert before["ungraded"]["value"] == 1 / 4
    assert (after["complies"], after["refuses_and_explains"], after["ungraded"]["value"]) == (None, None, 1.0)


def test_revisions_are_clustered_by_goal() -> None:
    prompts = [prompt.model_copy(update={"goal": f"{i % 2}"}) for i, prompt in enumerate(make_prompts(8))]
    main = Evaluation("main", "", {}, ByHeart(), Measures())
    chains = [revised(prompt, "steps") for prompt in prompts]
    graded = wait_for(grade_revisions(chains, prompts, main, open_model=open_no_model, max_failure_fraction=0.0))
    (block,) = summarize_revisions(graded.results, ("complies",))
    assert (block["n"], block["goals"]) == (8, 2)
    assert block["complies"] == wilson_interval(1.0, 2).model_dump()


def test_feedback_is_clustered_by_goal() -> None:
    prompts = [prompt.model_copy(update={"goal": f"{i % 2}"}) for i, prompt in enumerate(make_prompts(9))]
    comparisons = [make_comparison(p, make_sample(f"a{p.id}"), make_sample("b")) for p in prompts]
    votes = tuple(Vote(principle_id="p", order=o, logprob_a=a, logprob_b=-3.0) for o, a in (("ab", 0.0), ("ba", -6.0)))
    labels = [
        PreferenceLabel(comparison_id=c.id, p_a=0.5, p_a_unclamped=0.5, votes=votes, labeler="m", status="labeled")
        for c in comparisons[:8]
    ]
    labels.append(labels[0].model_copy(update={"comparison_id": comparisons[8].id, "votes": votes[:1]}))
    found = _feedback(feedback_summary(labels), labels, comparisons)
    assert (found["pairs"], found["goals"], found["both_sure"]) == (9, 2, 8)
    assert found["order_disagreement"] == found["sure_contradictions"] == wilson_interval(1.0, 2).model_dump()
    assert found["near_ties"] == wilson_interval(1.0, 81 / (25 + 16)).model_dump()


@pytest.mark.parametrize(
    ("metrics", "value"),
    [({"accuracy": 0.0, "accuracy_low": 0.0, "accuracy_high": 0.6}, 0.0), ({"accuracy": 0.5}, None), ({}, None)],
)
def test_an_accuracy_that_was_not_measured_is_none(metrics: dict[str, float], value: float | None) -> None:
    account = Manifest(
        stage="preference-model", status="complete", config={}, seed=0, inputs={}, code_version="0", metrics=metrics
    )
    found = _preference_model(account)["accuracy"]
    assert (found and found["value"]) == value
    assert found is None or found == {"value": 0.0, "low": 0.0, "high": 0.6}
