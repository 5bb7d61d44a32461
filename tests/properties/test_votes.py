"""Proves of the arithmetic of labels: p_a + p_b = 1, swapping twice is the identity, a leaning towards a slot cancels
exactly, and more evidence for A never lowers its label.
"""

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from solon.errors import ShapeError
from solon.feedback import combine_pointwise, combine_votes
from solon.feedback.votes import (
    are_sure,
    clamp_probability,
    contradict,
    find_vote_fault,
    order_logits,
    sum_logprobs,
)
from solon.records import PointwiseVote, Reading, Vote
from tests.tolerances import FLOAT64_EXACT

LOGPROBS = st.floats(-700.0, 0.0)
VOTES = st.lists(
    st.builds(
        Vote,
        principle_id=st.sampled_from("pqr"),
        order=st.sampled_from(["ab", "ba"]),
        logprob_a=LOGPROBS,
        logprob_b=LOGPROBS,
    ),
    min_size=1,
    max_size=6,
)


@given(VOTES)
def test_probabilities_of_both_sides_add_up_to_one(votes: list[Vote]) -> None:
    p_a, p_b = combine_votes(votes), combine_votes([vote.swap() for vote in votes])
    assert 0.0 <= p_a <= 1.0
    assert p_a + p_b == pytest.approx(1.0, abs=FLOAT64_EXACT)
    assert combine_votes([vote.swap().swap() for vote in votes]) == p_a


@given(VOTES)
def test_a_slots_leaning_cancels_exactly(votes: list[Vote]) -> None:
    assert combine_votes([*votes, *(vote.swap() for vote in votes)]) == 0.5


@given(VOTES, st.floats(0.0, 5.0))
def test_more_evidence_for_a_never_lowers_its_label(votes: list[Vote], less: float) -> None:
    first = votes[0].model_copy(update={"logprob_b": votes[0].logprob_b - less})
    assert combine_votes([first, *votes[1:]]) >= combine_votes(votes)


def vote(logit: float, order: str, principle: str = "p") -> Vote:
    return Vote(principle_id=principle, order=order, logprob_a=min(0.0, logit), logprob_b=min(0.0, -logit))


LOGITS = st.floats(-700.0, 700.0)


@given(LOGITS, LOGITS)
def test_a_label_whose_orders_contradict_is_no_surer_than_its_least_sure_vote(ab: float, ba: float) -> None:
    p_a = combine_votes([vote(ab, "ab"), vote(ba, "ba")])
    if ab < 0.0 < ba or ba < 0.0 < ab:
        least = min(abs(1.0 / (1.0 + math.exp(-logit)) - 0.5) for logit in (ab, ba))
        assert abs(p_a - 0.5) <= least
    else:
        assert p_a == pytest.approx(1.0 / (1.0 + math.exp(-(ab + ba) / 2.0)), abs=FLOAT64_EXACT)


@given(st.floats(0.0, 700.0), st.floats(-700.0, -0.001))
def test_position_alone_makes_no_label_however_unequal_its_votes(first: float, second: float) -> None:
    assert combine_votes([vote(first, "ab"), vote(second, "ba")]) == 0.5 or first == 0.0


def test_each_principle_has_its_own_say() -> None:
    votes = [vote(4.0, "ab"), vote(-1.0, "ba"), vote(1.0, "ab", "q"), vote(2.0, "ba", "q")]
    # p says nothing and q says 1.5; over both principles at once the orders agree, and their 2.5 and 0.5 would say 1.5
    assert combine_votes(votes) == pytest.approx(1.0 / (1.0 + math.exp(-0.75)))
    assert combine_votes([v.swap() for v in votes]) == pytest.approx(1.0 / (1.0 + math.exp(0.75)))


@given(VOTES)
def test_a_label_whose_orders_contradict_over_all_principles_says_nothing(votes: list[Vote]) -> None:
    orders = order_logits(votes)
    assume(orders is not None and contradict(orders))
    assert combine_votes(votes) == 0.5


def test_a_sure_principle_does_not_outvote_the_order() -> None:
    votes = [vote(10.0, "ab"), vote(0.1, "ba"), vote(-0.1, "ab", "q"), vote(-0.3, "ba", "q")]
    assert order_logits(votes) == pytest.approx((4.95, -0.1))
    assert combine_votes(votes) == 0.5  # though p alone says 5.05 and q -0.2


def test_what_all_say_and_what_each_says_must_point_the_same_way() -> None:
    votes = [vote(10.0, "ab"), vote(-0.1, "ba"), vote(-0.1, "ab", "q"), vote(10.0, "ba", "q")]
    votes += [vote(-1.0, "ab", "r"), vote(-1.0, "ba", "r")]
    assert combine_votes(votes) == 0.5  # together both orders are for A; of the principles only r speaks, and for B


def test_even_is_neither_sure_nor_contradicted() -> None:
    assert not contradict((0.0, 5.0))
    assert not contradict((0.0, -5.0))
    assert contradict((1e-300, -1e-300))
    assert [are_sure((logit, -5.0)) for logit in (1.0986, 1.0987, -1.0986, -1.0987)] == [False, True, False, True]


@given(VOTES)
def test_order_of_votes_does_not_matter(votes: list[Vote]) -> None:
    assert combine_votes(votes[::-1]) == combine_votes(votes)


@given(st.floats(0.01, 0.99), st.floats(0.001, 1.0))
def test_one_vote_is_its_own_softmax(p: float, mass: float) -> None:
    vote = Vote(principle_id="p", order="ab", logprob_a=math.log(p * mass), logprob_b=math.log((1 - p) * mass))
    assert combine_votes([vote]) == pytest.approx(p, abs=FLOAT64_EXACT)
    assert find_vote_fault(vote, mass_floor=mass * 0.999) is None
    assert find_vote_fault(vote, mass_floor=mass * 1.001) == "below_mass_floor"


@given(st.floats(0.0, 1.0), st.floats(0.0, 0.5))
def test_clamping_treats_both_sides_alike(p: float, low: float) -> None:
    bounds = (low, 1.0 - low)
    assert low <= clamp_probability(p, bounds) <= 1.0 - low
    assert clamp_probability(1.0 - p, bounds) == pytest.approx(1.0 - clamp_probability(p, bounds), abs=FLOAT64_EXACT)
    assert clamp_probability(p, None) == p


def test_no_votes_are_no_label() -> None:
    with pytest.raises(ShapeError):
        combine_votes([])


HOW_READ = st.fixed_dictionaries(
    {
        "has_mass": st.booleans(),
        "dialect": st.sampled_from(["", "one", "another"]),
        "draws": st.none() | st.integers(1, 64),
    }
)


@given(VOTES, HOW_READ)
def test_exchanging_the_responses_leaves_how_votes_were_read(votes: list[Vote], how: dict[str, Any]) -> None:
    read = [vote.model_copy(update=how) for vote in votes]
    for vote in (*read, about("b", 0.5, 0.25).model_copy(update=how)):
        swapped = vote.swap()
        assert {name: getattr(swapped, name) for name in Reading.model_fields} == how
        assert (swapped.mass is None) == (vote.mass is None) == (not how["has_mass"])
        assert swapped.swap() == vote
    assert combine_votes(read) == combine_votes(votes)


@given(st.floats(-30.0, 0.0), st.floats(-30.0, 0.0), st.floats(0.0, 1.0), HOW_READ)
def test_only_a_mass_that_is_known_is_held_to_a_floor(a: float, b: float, floor: float, how: dict[str, Any]) -> None:
    compared = Vote(principle_id="p", order="ab", logprob_a=a, logprob_b=b, **how)
    judged = PointwiseVote(principle_id="p", response="a", better="no", logprob_yes=a, logprob_no=b, **how)
    for vote in (compared, judged):
        fault = find_vote_fault(vote, mass_floor=floor)
        assert (fault is not None) == (how["has_mass"] and min(1.0, math.exp(a) + math.exp(b)) < floor)


# ---------------------------------------------------------------------------------------------------- pointwise


@st.composite
def judged(draw: st.DrawFn) -> list[PointwiseVote]:
    """Both responses judged by one to three principles, each with a polarity of its own."""
    return [
        PointwiseVote(
            principle_id=name, response=side, better=better, logprob_yes=draw(LOGPROBS), logprob_no=draw(LOGPROBS)
        )
        for name in "pqr"[: draw(st.integers(1, 3))]
        for better in [draw(st.sampled_from(["yes", "no"]))]
        for side in ("a", "b")
    ]


def about(response: str, yes: float, no: float, better: str = "yes", principle: str = "p") -> PointwiseVote:
    return PointwiseVote(
        principle_id=principle, response=response, better=better, logprob_yes=math.log(yes), logprob_no=math.log(no)
    )


@given(judged())
def test_exchanging_the_responses_or_every_polarity_turns_a_pointwise_label_round(votes: list[PointwiseVote]) -> None:
    p_a = combine_pointwise(votes)
    other = {"yes": "no", "no": "yes"}
    assert 0.0 <= p_a <= 1.0
    assert combine_pointwise([vote.swap() for vote in votes]) == pytest.approx(1.0 - p_a, abs=FLOAT64_EXACT)
    turned = [vote.model_copy(update={"better": other[vote.better]}) for vote in votes]
    assert combine_pointwise(turned) == pytest.approx(1.0 - p_a, abs=FLOAT64_EXACT)
    assert combine_pointwise(votes[::-1]) == p_a


@given(judged(), st.floats(0.0, 5.0))
def test_a_leaning_to_one_answer_cancels_and_a_better_answer_never_lowers_a_label(
    votes: list[PointwiseVote], more: float
) -> None:
    leaning = [vote.model_copy(update={"logprob_yes": vote.logprob_yes + more}) for vote in votes]
    assert combine_pointwise(leaning) == pytest.approx(combine_pointwise(votes), abs=1e-9)
    first = votes[0]  # about A
    worse = "logprob_no" if first.better == "yes" else "logprob_yes"
    surer = first.model_copy(update={worse: getattr(first, worse) - more})
    assert combine_pointwise([surer, *votes[1:]]) >= combine_pointwise(votes)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0.01, 1.0), st.sampled_from(["yes", "no"]))
def test_a_pointwise_label_is_that_one_response_is_the_good_one(a: float, b: float, mass: float, better: str) -> None:
    votes = [about(side, q * mass, (1 - q) * mass, better) for side, q in (("a", a), ("b", b))]
    good_a, good_b = (a, b) if better == "yes" else (1 - a, 1 - b)
    expected = good_a * (1 - good_b) / (good_a * (1 - good_b) + (1 - good_a) * good_b)
    assert combine_pointwise(votes) == pytest.approx(expected, abs=1e-12)


def test_principles_are_averaged_as_log_odds_each_in_its_own_polarity() -> None:
    votes = [
        about("a", 0.6, 0.2),
        about("b", 0.1, 0.3),
        about("a", 0.1, 0.4, "no", "q"),
        about("b", 0.2, 0.2, "no", "q"),
    ]
    m = (math.log(3) + math.log(3) + math.log(4)) / 2
    assert combine_pointwise(votes) == pytest.approx(1 / (1 + math.exp(-m)), abs=FLOAT64_EXACT)


@pytest.mark.parametrize(
    "votes",
    [
        [],
        [about("a", 0.5, 0.5)],
        [about("a", 0.5, 0.5), about("a", 0.5, 0.5)],
        [about("a", 0.5, 0.5), about("b", 0.5, 0.5, principle="q")],
        [about(side, 0.5, 0.5) for side in "aabb"],
    ],
)
def test_a_response_that_was_not_judged_once_under_each_principle_makes_no_label(votes: list[PointwiseVote]) -> None:
    with pytest.raises(ShapeError, match="one vote about each response"):
        combine_pointwise(votes)


@given(st.floats(0.01, 0.99), st.floats(0.001, 1.0))
def test_answers_below_their_floor_say_nothing(p: float, mass: float) -> None:
    vote = about("b", p * mass, (1 - p) * mass)
    assert find_vote_fault(vote, mass_floor=mass * 0.999) is None
    assert find_vote_fault(vote, mass_floor=mass * 1.001) == "below_pointwise_mass_floor"


@given(st.lists(st.floats(1e-300, 1.0), min_size=1, max_size=6))
def test_probabilities_add_up_as_logarithms(probabilities: list[float]) -> None:
    summed = sum_logprobs([math.log(p) for p in probabilities])
    assert summed == pytest.approx(math.log(math.fsum(probabilities)), rel=1e-12, abs=1e-12)


def test_what_cannot_happen_adds_nothing_and_what_is_no_number_stays_none() -> None:
    assert sum_logprobs([-math.inf, -1.5]) == -1.5
    assert sum_logprobs([-math.inf]) == -math.inf
    assert math.isnan(sum_logprobs([-1.0, math.nan]))
    assert sum_logprobs([-800.0, -800.0]) == pytest.approx(-800.0 + math.log(2))
    with pytest.raises(ShapeError):
        sum_logprobs([])
