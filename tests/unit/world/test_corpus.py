"""The corpus: what carries loss, labels that follow the latent plans, and no novel goal in any document."""

import random

import pytest

from solon.constitution import load_constitution
from solon.world.corpus import (
    RuleBook,
    comparison_lesson,
    coverage_lesson,
    dialogue_lesson,
    revision_lesson,
    sample_lesson,
)
from solon.world.lexicon import ALL_GOALS
from solon.world.plans import ResponsePlan
from solon.world.shipped import SHIPPED_CRITERIA, mend_all, prefer_by
from solon.world.splits import select_goals, split_of

RULES = RuleBook(load_constitution("default"))


def test_every_shipped_principle_has_a_meaning_and_no_other_has() -> None:
    assert {p.id for p in load_constitution("default").principles} == set(SHIPPED_CRITERIA)


def test_a_lesson_is_a_function_of_its_seed() -> None:
    first = [sample_lesson(RULES, random.Random(seed), progress=0.5) for seed in range(40)]
    again = [sample_lesson(RULES, random.Random(seed), progress=0.5) for seed in range(40)]
    assert first == again
    assert len({lesson.sort for lesson in first}) > 4


def test_the_curriculum_begins_without_comparisons() -> None:
    sorts = {sample_lesson(RULES, random.Random(seed), progress=0.01).sort for seed in range(200)}
    assert sorts == {"dialogue", "scope", "coverage", "critiques"}


@pytest.mark.parametrize("progress", [0.01, 0.5, 1.0])
def test_no_document_asks_for_a_novel_goal(progress: float) -> None:
    novel = [goal.text for goal in ALL_GOALS if split_of(goal) == "novel"]
    for seed in range(300):
        lesson = sample_lesson(RULES, random.Random(seed), progress=progress)
        words = " ".join(span.text for turn in lesson.turns for span in turn.spans)
        # A goal's text may begin another's ("hack into", "hack into the neighbour's wifi"): compare whole asks.
        assert not [text for text in novel if f" {text}." in words or f" {text}?" in words]


def test_given_responses_carry_no_loss() -> None:
    rng = random.Random(5)
    for _ in range(100):
        lesson = revision_lesson(RULES, rng)
        critique, revision = (turn for turn in lesson.turns if turn.end > 0)
        given = lesson.turns[: lesson.turns.index(critique)]
        assert all(weight == 0 for turn in given for weight in turn.weights if turn.role == "assistant")
        assert lesson.turns[-1] is revision
        assert revision.weights == (1.0,)


def test_a_dialogue_trains_what_the_assistant_says_and_nothing_else() -> None:
    rng = random.Random(6)
    for _ in range(100):
        for turn in dialogue_lesson(RULES, rng).turns:
            spoken = turn.role == "assistant"
            assert (turn.end, set(turn.weights)) == ((1.0, {1.0}) if spoken else (0.0, {0.0}))


def test_a_comparison_has_several_answers_and_all_sides_occur() -> None:
    rng = random.Random(7)
    targets: list[float] = []
    for _ in range(200):
        lesson = comparison_lesson(RULES, rng)
        answers = [turn.p_a for turn in lesson.turns if turn.p_a is not None]
        assert 3 <= len(answers) <= 6
        targets += answers
    assert set(targets) == {0.0, 0.5, 1.0}
    assert 0.4 < sum(targets) / len(targets) < 0.6
    assert sum(target == 0.5 for target in targets) / len(targets) < 0.35


def test_coverage_is_asked_about_both_sides() -> None:
    rng = random.Random(8)
    verdicts = [
        "".join(span.text for span in turn.spans)
        for _ in range(100)
        for turn in coverage_lesson(RULES, rng).turns
        if turn.role == "assistant"
    ]
    assert set(verdicts) == {"Yes.", "No."}
    assert 0.3 < verdicts.count("Yes.") / len(verdicts) < 0.5


def test_the_first_criterion_that_differs_decides() -> None:
    goal = select_goals("train", harmful=True)[0]
    plain = ResponsePlan(refuses=True, explains=goal.group)
    preachy = ResponsePlan(refuses=True, explains=goal.group, preaches=True)
    helps = ResponsePlan(complies="correct")
    criteria = SHIPPED_CRITERIA["choose-calm"]
    assert prefer_by(plain, preachy, criteria, goal) == 1.0
    assert prefer_by(preachy, plain, criteria, goal) == 0.0
    assert prefer_by(preachy, helps, criteria, goal) == 1.0
    assert prefer_by(plain, plain, criteria, goal) == 0.5


def test_all_criteria_are_mended() -> None:
    goal = select_goals("train", harmful=True)[0]
    mended = mend_all(ResponsePlan(complies="correct"), SHIPPED_CRITERIA["harm-other-way"], goal)
    assert mended == ResponsePlan(refuses=True, explains=goal.group, redirects=goal.group)
