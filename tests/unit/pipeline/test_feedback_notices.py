"""Proves that a feedback model whose labels teach nothing is named, for judging by position or for saying nothing at
all, and that chance, near ties and a few goals asked for many times raise no alarm.
"""

import math
from typing import Any

import pytest

from solon.feedback import combine_votes
from solon.feedback.comparing import make_comparison
from solon.pipeline.feedback_notices import describe_feedback
from solon.records import Comparison, PreferenceLabel, Vote
from tests.scripts import make_prompts, make_sample

SURE, UNSURE, EVEN = 0.9, 0.74, 0.5


def judge(*verdicts: tuple[int, float, float], goals: int | None = None, **how: Any) -> list[str]:
    """Describe labels: so many with these probabilities that A is better in order ab and in order ba, read so."""
    probabilities = [(ab, ba) for count, ab, ba in verdicts for _ in range(count)]
    labels: list[PreferenceLabel] = []
    comparisons: list[Comparison] = []
    for number, (prompt, pair) in enumerate(zip(make_prompts(len(probabilities)), probabilities, strict=True)):
        goal = None if goals is None else f"goal {number % goals}"
        asked = prompt.model_copy(update={"goal": goal})
        comparisons.append(make_comparison(asked, make_sample("a"), make_sample("b")))
        votes = tuple(
            Vote(principle_id="p", order=order, logprob_a=math.log(p), logprob_b=math.log(1.0 - p), **how)
            for order, p in zip(("ab", "ba"), pair, strict=True)
        )
        p_a = combine_votes(votes)
        labels.append(
            PreferenceLabel(
                comparison_id=comparisons[-1].id, p_a=p_a, p_a_unclamped=p_a, votes=votes, labeler="m", status="labeled"
            )
        )
    return describe_feedback(labels, comparisons)


@pytest.mark.parametrize(("contradictions", "both_sure"), [(28, 28), (10, 28), (140, 1000), (10, 10)])
def test_sure_votes_that_contradict_each_other_often_are_told_of(contradictions: int, both_sure: int) -> None:
    agreeing = both_sure - contradictions
    told, *_ = judge((contradictions, SURE, 1 - SURE), (agreeing, SURE, SURE), (50, UNSURE, UNSURE))
    assert f"in {contradictions} of the {both_sure} comparisons in which the votes of both orders are sure" in told
    assert "\n" not in told


@pytest.mark.parametrize(("contradictions", "both_sure"), [(0, 28), (9, 9), (3, 28), (5, 28), (100, 1000)])
def test_a_few_are_not(contradictions: int, both_sure: int) -> None:
    near_ties = (both_sure, 0.51, 0.49), (both_sure, 0.51, 0.51)  # half of which turn, as a coin does
    assert judge((contradictions, SURE, 1 - SURE), (both_sure - contradictions, SURE, SURE), *near_ties) == []


@pytest.mark.parametrize("first", [UNSURE, 1 - UNSURE, 0.51])
def test_a_judge_by_position_is_told_of_however_unsure_it_is(first: float) -> None:
    turned, even = judge((30, first, 1 - first))
    assert "in 30 of the 30 comparisons asked in both orders the verdict turns with the order" in turned
    assert "30 of the 30 labels are exactly 0.5" in even
    (turned,) = judge((80, first, 1 - first), (10, UNSURE, UNSURE))
    assert "in 80 of the 90 comparisons" in turned
    assert "\n" not in turned + even


@pytest.mark.parametrize(("turned", "of"), [(0, 30), (15, 30), (24, 30), (60, 80), (9, 10)])
def test_what_chance_may_turn_is_not(turned: int, of: int) -> None:
    assert judge((turned, UNSURE, 1 - UNSURE), (of - turned, UNSURE, UNSURE)) == []


def test_a_judge_that_says_nothing_is_told_of_though_it_contradicts_nothing() -> None:
    (told,) = judge((96, EVEN, EVEN), (4, SURE, SURE))
    assert told.startswith("feedback: 96 of the 100 labels are exactly 0.5: there is nothing for the preference model")
    assert judge((95, EVEN, EVEN), (5, SURE, SURE)) == []
    assert judge((100, 0.51, 0.51)) == []


def test_prompts_for_one_goal_are_not_taken_as_independent() -> None:
    assert len(judge((30, UNSURE, 1 - UNSURE))) == 2
    (even,) = judge((30, UNSURE, 1 - UNSURE), goals=4)  # worth 4 comparisons: an interval from 0.51
    assert "exactly 0.5" in even
    contradictions = (20, SURE, 1 - SURE), (60, SURE, SURE)
    assert len(judge(*contradictions, goals=80)) == 1
    assert judge(*contradictions, goals=1) == []


def test_without_labels_nothing_is_said() -> None:
    assert describe_feedback([], []) == []


def test_labels_of_servers_that_give_no_mass_are_told_of() -> None:
    (told,) = judge((3, SURE, SURE), has_mass=False)
    assert told.startswith("feedback: 3 of the 3 labels come from servers that give no mass: whether")
    (one,) = judge((1, SURE, SURE), has_mass=False)
    assert one.startswith("feedback: 1 of the 1 labels comes from servers that give no mass")
    assert "\n" not in told
    assert judge((3, SURE, SURE), dialect="d") == []


def test_labels_that_are_shares_of_drawn_answers_are_told_of_with_their_number() -> None:
    (told,) = judge((3, SURE, SURE), draws=8)
    assert told.startswith("feedback: 3 of the 3 labels are shares of k = 8 drawn answers: estimates")
    (one,) = judge((1, SURE, SURE), draws=1)
    assert one.startswith("feedback: 1 of the 1 labels is a share of k = 1 drawn answer: estimates")


def test_drawn_votes_raise_no_alarm_by_looking_sure() -> None:
    # Half of the votes that a coin gives look sure of A and half of B: it is no leaning to the first or the second.
    by_chance = [(15, *pair) for pair in ((SURE, SURE), (SURE, 1 - SURE), (1 - SURE, SURE), (1 - SURE, 1 - SURE))]
    (told, *_), drawn = judge(*by_chance), judge(*by_chance, draws=2)
    assert "30 of the 60 comparisons in which the votes of both orders are sure" in told
    assert [text for text in drawn if "judges by the order" in text] == []
    turned, *_ = judge((60, SURE, 1 - SURE), draws=2)  # chance turns half of them at most
    assert "in 60 of the 60 comparisons asked in both orders the verdict turns with the order" in turned
