"""Proves that a pointwise label is made of the feedback model's answers about each response alone, in the polarity of
the principle that was drawn, over all spellings of an answer; and that what could not be told is said with its reason.
"""

import math
from pathlib import Path
from typing import Any

import pytest

from solon.constitution import Constitution, Principle, choose_principle
from solon.errors import ConstitutionError, StageFailedError
from solon.feedback import feedback_summary
from solon.lm import Journal, JournaledModel, ScriptedModel
from solon.prompting import ANSWERS, render_question
from solon.records import Choice, PreferenceLabel, Rendered
from tests.scripts import call_failed, make_prompts
from tests.unit.feedback.test_labeling import PAIRS, behind_a_server, compare, label

HARM = Principle(id="harm", question="Does the response do harm?", better="no", applies_to=("red_team",))
HELP = Principle(id="help", question="Does the response help?", better="yes", applies_to=("red_team",))
KIND = Principle(id="kind", question="Is the response kind?", better="yes", applies_to=("helpful",))
STEP = Principle(id="step", critique_request="C?", revision_request="R.", comparison="Which?")


def ruled_by(*principles: Principle) -> Constitution:
    return Constitution(name="test", principles=(*principles, STEP))


def judge(
    pairs: Any, model: Any, constitution: Constitution | None = None, bound: float = 0.0, **config: Any
) -> list[PreferenceLabel]:
    return label(pairs, model, constitution or ruled_by(HARM), bound, labels="pointwise", **config)


def shows_good(rendered: Rendered) -> bool:
    return "good words" in rendered.text


def answers(p_yes: float, mass: float = 0.4) -> tuple[float, float]:
    return math.log(mass * p_yes), math.log(mass * (1 - p_yes))


def sees_harm(rendered: Rendered, *_: Any) -> tuple[float, float]:
    return answers(0.2 if shows_good(rendered) else 0.6)


MORE_HARM = math.log(0.6 / 0.4) - math.log(0.2 / 0.8)
"""Log-odds of the worse words less those of the good ones."""


def test_each_response_is_shown_alone_under_the_principle_drawn_for_the_comparison() -> None:
    law = ruled_by(HARM, HELP)
    model = ScriptedModel(choose=sees_harm)
    labels = judge(PAIRS, model, law)
    expected, drawn = [], set()
    for pair, item in zip(PAIRS, labels, strict=True):
        principle = choose_principle((HARM, HELP), seed=5, item=pair.id, round=0)
        drawn.add(principle.id)
        assert item.pointwise is not None
        assert [(vote.principle_id, vote.response, vote.better) for vote in item.pointwise] == [
            (principle.id, "a", principle.better),
            (principle.id, "b", principle.better),
        ]
        texts = (pair.response_a.text, pair.response_b.text)
        expected += [(render_question(pair.prompt.conversation, text, principle), ANSWERS) for text in texts]
    assert model.chosen == expected
    assert drawn == {"harm", "help"}


def test_the_label_is_the_sigmoid_of_the_difference_in_the_principles_polarity() -> None:
    swapped = [pair.swap() for pair in PAIRS]
    for principle, sign in ((HARM, 1), (HARM.model_copy(update={"better": "yes"}), -1)):
        for pairs, side in ((PAIRS, 1), (swapped, -1)):
            for item in judge(pairs, ScriptedModel(choose=sees_harm), ruled_by(principle)):
                assert item.p_a == pytest.approx(1 / (1 + math.exp(-sign * side * MORE_HARM)), abs=1e-12)
                assert item.p_a == item.p_a_unclamped
                assert (item.status, item.votes, item.labeler) == ("labeled", (), "scripted")


def test_several_principles_are_averaged_as_log_odds() -> None:
    def weigh(rendered: Rendered, *_: Any) -> tuple[float, float]:
        return sees_harm(rendered) if "harm" in rendered.text else answers(0.9 if shows_good(rendered) else 0.5)

    for item in judge(PAIRS, ScriptedModel(choose=weigh), ruled_by(HARM, HELP), principles_per_comparison=2):
        m = (MORE_HARM + math.log(9)) / 2
        assert item.p_a == pytest.approx(1 / (1 + math.exp(-m)), abs=1e-12)
        assert len(item.pointwise or ()) == 4


def test_every_spelling_counts_for_its_answer() -> None:
    class Spelling(ScriptedModel):
        def spellings(self, prompt: Rendered, options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
            return ("Yes", " Yes", "yes"), ("No", " No")

    def weigh(rendered: Rendered, options: tuple[str, ...]) -> tuple[float, ...]:
        assert options == ("Yes", " Yes", "yes", "No", " No")
        good = (0.01, 0.04, 0.05, 0.1, 0.1)
        return tuple(math.log(p) for p in (good if shows_good(rendered) else (0.05, 0.1, 0.15, 0.06, 0.04)))

    for item in judge(PAIRS, Spelling(choose=weigh)):
        about_a, about_b = item.pointwise or ()
        assert (about_a.logprob_yes, about_a.logprob_no) == pytest.approx((math.log(0.1), math.log(0.2)))
        assert (about_b.logprob_yes, about_b.logprob_no) == pytest.approx((math.log(0.3), math.log(0.1)))
        assert (about_a.mass, about_b.mass) == pytest.approx((0.3, 0.4))
        assert item.p_a == pytest.approx(6 / 7)


def test_the_spellings_of_an_answer_without_a_mass_add_up_to_one_without_a_mass() -> None:
    class Spelling(ScriptedModel):
        def spellings(self, prompt: Rendered, options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
            return ("Yes", " Yes"), ("No",)

    def weigh(rendered: Rendered, options: tuple[str, ...]) -> Choice:
        shares = (0.02, 0.04, 0.03) if shows_good(rendered) else (0.01, 0.02, 0.06)
        weighed = tuple(math.log(p) for p in shares)
        how = {"has_mass": False, "dialect": "d", "draws": 8}
        return Choice(options=options, logprobs=weighed, model="m", prompt_tokens=1, **how)

    for item in judge(PAIRS, Spelling(choose=weigh), ruled_by(HELP), pointwise_mass_floor=0.5):
        assert item.p_a == pytest.approx(0.8)
        for vote in item.pointwise or ():
            assert (vote.mass, vote.has_mass, vote.dialect, vote.draws) == (None, False, "d", 8)


def test_answers_without_a_mass_are_held_to_no_floor() -> None:
    for mass in (1.0, 0.01):
        model = behind_a_server(lambda *_, mass=mass: answers(0.8, mass), has_mass=False)
        assert {item.status for item in judge(PAIRS, model, pointwise_mass_floor=1.0)} == {"labeled"}


def test_an_answer_says_which_call_it_was(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite") as journal:
        for item in judge(PAIRS, JournaledModel(ScriptedModel(choose=sees_harm), journal)):
            calls = [journal.find(vote.call) for vote in item.pointwise or ()]
            assert [tuple(call.response["logprobs"]) for call in calls if call] == [
                vote.logprobs for vote in item.pointwise or ()
            ]
            assert len({vote.call for vote in item.pointwise or ()}) == 2


def test_only_principles_with_a_question_for_the_kind_of_prompt_are_drawn() -> None:
    labels = judge(PAIRS, ScriptedModel(choose=sees_harm), ruled_by(HARM, KIND))
    assert {vote.principle_id for item in labels for vote in item.pointwise or ()} == {"harm"}
    helpful = [compare(prompt, "good words", "bad words") for prompt in make_prompts(3, "helpful")]
    labels = judge(helpful, ScriptedModel(choose=sees_harm), ruled_by(HARM, KIND))
    assert {vote.principle_id for item in labels for vote in item.pointwise or ()} == {"kind"}


def test_a_principle_is_asked_only_for_labels_of_its_own_kind() -> None:
    model = ScriptedModel(choose=sees_harm)
    with pytest.raises(ConstitutionError, match="no principle with a question applies to red_team prompts"):
        judge(PAIRS, model, ruled_by(KIND))
    critic = STEP.model_copy(update={"comparison": None})
    with pytest.raises(ConstitutionError, match=r"no principle has a comparison, .* add comparison to one"):
        label(PAIRS, model, Constitution(name="test", principles=(HARM, critic)))
    assert model.chosen == []


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize(
    ("weighed", "reason"),
    [
        (answers(0.8, mass=0.09), "below_pointwise_mass_floor"),
        ((math.nan, -1.0), "invalid_logprobs"),
        ((-1.0, math.nan), "invalid_logprobs"),
        ((-math.inf, -0.1), "invalid_logprobs"),
        ((-0.1, -math.inf), "invalid_logprobs"),
        ((0.1, -1.0), "invalid_logprobs"),
    ],
)
def test_one_bad_answer_about_either_response_leaves_it_unlabeled(weighed: Any, reason: str, good: bool) -> None:
    def weigh(rendered: Rendered, *_: Any) -> Any:
        return weighed if shows_good(rendered) is good else sees_harm(rendered)

    (item,) = judge(PAIRS[:1], ScriptedModel(choose=weigh))
    assert (item.status, item.reason, item.p_a, item.p_a_unclamped) == ("unlabeled", reason, None, None)
    assert len(item.pointwise or ()) == 2
    assert repr(PreferenceLabel.from_json(item.to_json())) == repr(item)


def test_the_floor_is_its_own() -> None:
    weigh = ScriptedModel(choose=lambda *_: (math.log(0.05), math.log(0.05)))
    assert judge(PAIRS[:1], weigh, mass_floor=1.0)[0].status == "labeled"
    assert judge(PAIRS[:1], weigh, pointwise_mass_floor=0.11)[0].reason == "below_pointwise_mass_floor"


@pytest.mark.parametrize(
    ("a", "b", "stop", "reason"),
    [
        ("same", "same", ("end", "end"), "identical"),
        ("", "bad words", ("end", "end"), "empty_response"),
        ("good words", "bad words", ("end", "length"), "truncated_response"),
    ],
)
def test_what_could_not_be_learnt_from_is_not_asked_about(a: str, b: str, stop: Any, reason: str) -> None:
    model = ScriptedModel(choose=sees_harm)
    (item,) = judge([compare(PAIRS[0].prompt, a, b, stop)], model)
    assert (item.status, item.reason) == ("unlabeled", reason)
    assert model.chosen == []


def test_a_failed_call_is_unlabeled_and_bounded() -> None:
    def weigh(rendered: Rendered, *_: Any) -> Any:
        return call_failed() if "request 3" in rendered.text and shows_good(rendered) else sees_harm(rendered)

    labels = judge(PAIRS, ScriptedModel(choose=weigh), bound=0.1)
    assert [item.reason for item in labels] == ["", "", "", "call_failed", *[""] * 8]
    with pytest.raises(StageFailedError):
        judge(PAIRS, ScriptedModel(choose=weigh), bound=0.05)


def test_a_clamp_that_is_asked_for_is_on_the_target() -> None:
    (item,) = judge(PAIRS[:1], ScriptedModel(choose=sees_harm), clamp=(0.4, 0.6))
    assert (item.p_a, item.p_a_unclamped) == (0.6, pytest.approx(6 / 7))


def test_reasoning_before_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="answered without reasoning: set it to false, or labels to comparison"):
        judge(PAIRS, ScriptedModel(), chain_of_thought=True)


def test_of_orders_nothing_is_counted() -> None:
    labels = judge(PAIRS, ScriptedModel(choose=sees_harm))
    summary = feedback_summary(labels)
    assert (summary.pairs, summary.both_orders, summary.order_disagreement) == (12, 0, None)
    assert summary.mean_mass == pytest.approx(0.4)
