"""Proves of the arithmetic of labels: p_a + p_b = 1, swapping twice is the identity, a leaning towards a slot cancels
exactly, and more evidence for A never lowers its label.
"""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from solon.errors import ShapeError
from solon.feedback import combine_votes
from solon.feedback.votes import are_sure, clamp_probability, contradict, find_vote_fault, order_logits
from solon.records import Vote
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
