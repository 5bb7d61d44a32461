"""The arithmetic of labels: votes in, one probability out, or the reason why there is none.

A vote is one reading of a comparison: the log-probabilities of the two options under one principle in one order.
Votes are averaged as log-odds, so a leaning towards the option shown first, whatever its strength, is exactly
undone by the vote in the other order.

Reference: Bai et al. 2022 (arXiv 2212.08073), sections 4.1 and 4.3; averaging both orders: Lee et al. 2023
(arXiv 2309.00267).
"""

import math
from collections.abc import Sequence
from typing import Literal

from solon.errors import ShapeError
from solon.records import Vote

_ROUNDING = 1e-6
"""How far above 0 rounding may take a log-probability."""


def find_vote_fault(vote: Vote, *, mass_floor: float) -> Literal["invalid_logprobs", "below_mass_floor"] | None:
    """Return why a vote says nothing, or None.

    A vote is `invalid_logprobs` if one of its numbers is not finite or is above 0, and `below_mass_floor` if the
    model would have continued with neither option but for a probability under `mass_floor`.
    """
    for logprob in (vote.logprob_a, vote.logprob_b):
        if not math.isfinite(logprob) or logprob > _ROUNDING:
            return "invalid_logprobs"
    return "below_mass_floor" if vote.mass < mass_floor else None


def mean_logit(votes: Sequence[Vote]) -> float:
    """Return the mean log-odds that A is better, in nats.

    Raises:
        ShapeError: there are no votes.
    """
    if not votes:
        raise ShapeError("expected at least one vote to average")
    return math.fsum(vote.logit_a for vote in votes) / len(votes)


def combine_votes(votes: Sequence[Vote]) -> float:
    """Return the probability that A is better.

        p_a = 1 / (1 + exp(-m)),  m = mean over orders and principles of (logprob_a - logprob_b)

    Args:
        votes: finite ones, as many in one order as in the other if order is to cancel.

    Raises:
        ShapeError: there are no votes.
    """
    m = mean_logit(votes)
    if m >= 0.0:
        return 1.0 / (1.0 + math.exp(-m))
    return math.exp(m) / (1.0 + math.exp(m))


def clamp_probability(p: float, bounds: tuple[float, float] | None) -> float:
    """Return p, or the bound it lies beyond; the bounds mirror each other, so A and B are treated alike."""
    return p if bounds is None else min(max(p, bounds[0]), bounds[1])
