"""The arithmetic of labels: votes in, one probability out, or the reason why there is none.

A vote is one reading of a comparison: the log-probabilities of the two options under one principle in one order.
Where both orders prefer the same response their votes are averaged as log-odds. Where they contradict each other, under
one principle or over all, the order has decided and nothing is said, however sure one of the votes may be.

A pointwise vote is the answer to a question about one response alone. No order is asked, so none can contradict: the
difference of the log-odds of both responses is what they say.

Reference: Bai et al. 2022 (arXiv 2212.08073), sections 4.1 and 4.3; averaging both orders: Lee et al. 2023
(arXiv 2309.00267); strengths to probabilities: Bradley and Terry 1952 (Biometrika 39, 324-345).
"""

import math
from collections.abc import Sequence
from typing import Literal

from solon.errors import ShapeError
from solon.records import PointwiseVote, PreferenceLabel, Vote

SURE = 0.75
"""A verdict is sure where the response it prefers has more than this probability."""

NEAR_TIE = (0.4, 0.6)
"""Labels between these, ends included, say next to nothing."""

_ROUNDING = 1e-6
"""How far above 0 rounding may take a log-probability."""


VoteFault = Literal["invalid_logprobs", "below_mass_floor", "below_pointwise_mass_floor"]


def find_vote_fault(vote: Vote | PointwiseVote, *, mass_floor: float) -> VoteFault | None:
    """Return why a vote says nothing, or None.

    A vote is `invalid_logprobs` if one of its numbers is not finite or is above 0, and `below_mass_floor` (of a
    pointwise vote `below_pointwise_mass_floor`, whose floor is another setting) if the model would have continued with
    neither option but for a probability under `mass_floor`. A vote whose mass is not known is held to no floor.
    """
    for logprob in vote.logprobs:
        if not math.isfinite(logprob) or logprob > _ROUNDING:
            return "invalid_logprobs"
    below: VoteFault = "below_mass_floor" if isinstance(vote, Vote) else "below_pointwise_mass_floor"
    return below if vote.mass is not None and vote.mass < mass_floor else None


def sum_logprobs(logprobs: Sequence[float]) -> float:
    """Return the log-probability of any of several things of which only one can happen, in nats.

        log sum_i exp(l_i)

    Raises:
        ShapeError: there are none.
    """
    if not logprobs:
        raise ShapeError("expected at least one log-probability to sum")
    most = max(logprobs)
    if most == -math.inf:
        return most
    return most + math.log(math.fsum(math.exp(logprob - most) for logprob in logprobs))


def mean_logit(votes: Sequence[Vote]) -> float:
    """Return the mean log-odds that A is better, in nats.

    Raises:
        ShapeError: there are no votes.
    """
    if not votes:
        raise ShapeError("expected at least one vote to average")
    return math.fsum(vote.logit_a for vote in votes) / len(votes)


def order_logits(votes: Sequence[Vote]) -> tuple[float, float] | None:
    """Return the mean log-odds that A is better of the votes in order `ab`, and of those in order `ba`, in nats.

    None where only one order was asked, so that nothing can be said about what order does.
    """
    ab, ba = ([vote for vote in votes if vote.order == order] for order in ("ab", "ba"))
    return (mean_logit(ab), mean_logit(ba)) if ab and ba else None


def contradict(logits: tuple[float, float]) -> bool:
    """Return whether one order prefers A and the other B; an order that is exactly even contradicts nothing."""
    return min(logits) < 0.0 < max(logits)


def are_sure(logits: tuple[float, float]) -> bool:
    """Return whether both orders are sure of the response they prefer, be it the same one or not."""
    return min(abs(logit) for logit in logits) > math.log(SURE / (1.0 - SURE))


def weighed_logits(label: PreferenceLabel) -> tuple[float, float] | None:
    """Return the `order_logits` of a label of which it can be said whether both orders are sure.

    None where only one order was asked, and where a vote is a share of drawn answers: of a few draws most may be for
    one side by chance, so that such a vote looks sure without being it.
    """
    return None if label.draws else order_logits(label.votes)


def combine_votes(votes: Sequence[Vote]) -> float:
    """Return the probability that A is better.

        p_a  = 1 / (1 + exp(-m))
        m    = of M and mean_k m_k the one nearer to 0; 0 where one is for A and the other for B
        M    = g(mean_k l_ab, mean_k l_ba)      over all principles k at once
        m_k  = g(l_ab, l_ba)                    of principle k alone
        g(x, y) = (x + y) / 2  where x * y >= 0;  0 where x * y < 0: the two orders contradict each other

    with l the log-odds logprob_a - logprob_b of the vote of principle k in that order; what was asked in one order has
    g = l. With one principle, m = m_k. So a principle whose orders contradict each other says nothing, and neither does
    a label whose orders do over all principles, as `order_logits` tells and `FeedbackSummary` counts. Exchanging A and
    B turns every sign, so the label of the swapped comparison is 1 - p_a.

    Zero is the only value for a contradiction that makes it no surer than its least sure vote, whatever the other
    vote, and that never falls as a vote for A grows surer: for x > 0 > y, g may be no more than at y -> 0, where the
    least sure vote leaves it 0, and no less than at x -> 0, where it is 0 as well. Averaging here would let the surer
    of two contradictory votes win. As neither M nor any m_k ever falls, m does not.

    Args:
        votes: finite ones, of each principle as many in one order as in the other.

    Raises:
        ShapeError: there are no votes.
    """
    by_principle: dict[str, list[Vote]] = {}
    for vote in votes:
        by_principle.setdefault(vote.principle_id, []).append(vote)
    if not by_principle:
        raise ShapeError("expected at least one vote to combine")
    together = _leaning(votes)
    each = math.fsum(_leaning(group) for group in by_principle.values()) / len(by_principle)
    m = 0.0 if contradict((together, each)) else min(together, each, key=abs)
    return _sigmoid(m)


def combine_pointwise(votes: Sequence[PointwiseVote]) -> float:
    """Return the probability that A is better, from what was answered about each response alone.

        p_a    = 1 / (1 + exp(-m))
        m      = mean_k (s_k(A) - s_k(B))      over the principles k
        s_k(X) = log p(better answer) - log p(other answer)      to the question of principle k about response X

    This is the Bradley-Terry model with the log-odds `s` as a response's strength. Of one principle, with
    q(X) = sigmoid(s(X)) the probability that X is good by its question,

        p_a = q(A) (1 - q(B)) / (q(A) (1 - q(B)) + (1 - q(A)) q(B))

    the probability that A is the good one where one of the two is and the other is not, each having been judged by
    itself. Only differences count: a leaning to one answer, which moves the log-odds of both responses alike, cancels.
    Exchanging A and B turns every sign, so the label of the swapped comparison is 1 - p_a; taking the other answer for
    the better one does the same.

    Args:
        votes: finite ones, under each principle one about each response.

    Raises:
        ShapeError: a principle has no vote about one of the responses, or two, or there are no votes.
    """
    about_a, about_b = ([vote for vote in votes if vote.response == response] for response in ("a", "b"))
    asked_a, asked_b = ([vote.principle_id for vote in about] for about in (about_a, about_b))
    if not asked_a or len(set(asked_a)) < len(asked_a) or sorted(asked_a) != sorted(asked_b):
        raise ShapeError(f"expected one vote about each response per principle, found {asked_a} on A, {asked_b} on B")
    strength_a, strength_b = (math.fsum(vote.logit for vote in about) for about in (about_a, about_b))
    return _sigmoid((strength_a - strength_b) / len(about_a))


def _sigmoid(m: float) -> float:
    if m >= 0.0:
        return 1.0 / (1.0 + math.exp(-m))
    return math.exp(m) / (1.0 + math.exp(m))


def _leaning(votes: Sequence[Vote]) -> float:
    """Return the log-odds that A is better by these votes; 0 where their orders contradict each other."""
    orders = order_logits(votes)
    return 0.0 if orders is not None and contradict(orders) else mean_logit(votes)


def clamp_probability(p: float, bounds: tuple[float, float] | None) -> float:
    """Return p, or the bound it lies beyond; the bounds mirror each other, so A and B are treated alike."""
    return p if bounds is None else min(max(p, bounds[0]), bounds[1])
