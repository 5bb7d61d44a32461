"""Proves that a feedback model is said to judge by position where its sure votes contradict each other often, and only
there.
"""

import pytest

from solon.feedback import FeedbackSummary
from solon.pipeline.positions import describe_contradictions


def summary(contradictions: int, both_sure: int, comparisons: int = 1000) -> FeedbackSummary:
    return FeedbackSummary(
        comparisons=comparisons,
        pairs=comparisons,
        unlabeled={},
        both_orders=comparisons,
        order_disagreements=comparisons,  # however many near ties turn with the order
        both_sure=both_sure,
        sure_contradictions=contradictions,
        near_ties=0,
        first_choices=0,
        mean_mass=1.0,
    )


@pytest.mark.parametrize(("contradictions", "both_sure"), [(28, 28), (10, 28), (140, 1000), (10, 10)])
def test_sure_votes_that_contradict_each_other_often_are_told_of(contradictions: int, both_sure: int) -> None:
    told = describe_contradictions(summary(contradictions, both_sure))
    assert told is not None
    assert f"in {contradictions} of the {both_sure} comparisons" in told
    assert "\n" not in told


@pytest.mark.parametrize(("contradictions", "both_sure"), [(0, 0), (0, 28), (9, 9), (3, 28), (5, 28), (100, 1000)])
def test_a_few_or_none_are_not(contradictions: int, both_sure: int) -> None:
    assert describe_contradictions(summary(contradictions, both_sure)) is None
