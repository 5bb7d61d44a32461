"""The losses and estimators once more, written from the papers in plain Python floats, one number at a time.

An oracle may not import the code it judges: this file knows nothing of the package. Sequences are lists, masks are
lists of booleans, and every sum is `math.fsum`. Each `check_*` takes an implementation and compares it with the
formula on many random cases, so that the tests can hand in the real one and the mutants a wrong one.
"""

import math
import random
from collections.abc import Callable
from typing import Any

import torch

from tests.tolerances import FLOAT64_EXACT

Rows = list[list[float]]
Masks = list[list[bool]]


def sequence_nll(logprobs: Rows, mask: Masks) -> float:
    counted = [lp for row, keep in zip(logprobs, mask, strict=True) for lp, k in zip(row, keep, strict=True) if k]
    return -math.fsum(counted) / len(counted)


def preference_loss(scores_a: list[float], scores_b: list[float], targets: list[float], centering: float) -> float:
    terms = []
    for a, b, p in zip(scores_a, scores_b, targets, strict=True):
        likes_a = math.exp(a) / (math.exp(a) + math.exp(b))  # Bradley-Terry, as first written
        terms.append(-p * math.log(likes_a) - (1 - p) * math.log(1 - likes_a) + centering * (a + b) ** 2)
    return math.fsum(terms) / len(terms)


def policy_loss(new: Rows, old: Rows, advantages: Rows, mask: Masks, epsilon: float) -> tuple[float, float, float]:
    """Eq. 7 of the PPO paper is maximised, so its negative; then the share of tokens at which it is flat."""
    gains, flat, kls = [], [], []
    for n, o, a, keep in zip(new, old, advantages, mask, strict=True):
        for t in range(len(keep)):
            if not keep[t]:
                continue
            ratio = math.exp(n[t]) / math.exp(o[t])
            gains.append(min(ratio * a[t], min(max(ratio, 1 - epsilon), 1 + epsilon) * a[t]))
            flat.append(1.0 if (a[t] > 0 and ratio > 1 + epsilon) or (a[t] < 0 and ratio < 1 - epsilon) else 0.0)
            kls.append(ratio - 1 - math.log(ratio))
    return -math.fsum(gains) / len(gains), math.fsum(flat) / len(flat), math.fsum(kls) / len(kls)


def value_loss(values: Rows, old: Rows, returns: Rows, mask: Masks, epsilon: float) -> tuple[float, float]:
    losses, clipped = [], []
    for v, o, g, keep in zip(values, old, returns, mask, strict=True):
        for t in range(len(keep)):
            if not keep[t]:
                continue
            step = v[t] - o[t]
            near = o[t] + (epsilon if step > epsilon else -epsilon if step < -epsilon else step)
            losses.append(max((v[t] - g[t]) ** 2, (near - g[t]) ** 2) / 2)
            clipped.append(1.0 if (near - g[t]) ** 2 > (v[t] - g[t]) ** 2 else 0.0)
    return math.fsum(losses) / len(losses), math.fsum(clipped) / len(clipped)


def advantages_as_a_sum(rewards: Rows, values: Rows, mask: Masks, gamma: float, lam: float) -> Rows:
    """Eq. 16 of the GAE paper as the double sum it is, not as the recursion that computes it."""
    result = []
    for r, v, keep in zip(rewards, values, mask, strict=True):
        length = sum(keep)
        deltas = [r[t] + gamma * (v[t + 1] if t + 1 < length else 0.0) - v[t] for t in range(length)]
        row = [math.fsum((gamma * lam) ** k * deltas[t + k] for k in range(length - t)) for t in range(length)]
        result.append(row + [0.0] * (len(keep) - length))
    return result


def advantages_as_returns(rewards: Rows, values: Rows, mask: Masks, gamma: float, lam: float) -> Rows:
    """The same by another formula: the exponentially weighted mean of n-step returns, minus the value."""
    result = []
    for r, v, keep in zip(rewards, values, mask, strict=True):
        length = sum(keep)
        row = []
        for t in range(length):
            steps = length - t

            def n_step(n: int, t: int = t, r: list[float] = r, v: list[float] = v, length: int = length) -> float:
                tail = gamma**n * v[t + n] if t + n < length else 0.0
                return math.fsum(gamma**k * r[t + k] for k in range(n)) + tail

            weighted = math.fsum((1 - lam) * lam ** (n - 1) * n_step(n) for n in range(1, steps))
            row.append(weighted + lam ** (steps - 1) * n_step(steps) - v[t])
        result.append(row + [0.0] * (len(keep) - length))
    return result


def penalty_rewards(scores: list[float], new: Rows, ref: Rows, mask: Masks, kl_coef: float) -> Rows:
    result = []
    for score, n, f, keep in zip(scores, new, ref, mask, strict=True):
        length = sum(keep)
        row = [kl_coef * math.log(math.exp(f[t]) / math.exp(n[t])) for t in range(length)]
        row[-1] += score
        result.append(row + [0.0] * (len(keep) - length))
    return result


def calibration(gaps: list[float], targets: list[float], bins: int) -> float:
    both = [(1 / (1 + math.exp(-g)), t) for g, t in zip(gaps, targets, strict=True)]
    both += [(1 - p, 1 - t) for p, t in both]
    total = 0.0
    for b in range(bins):
        inside = [(p, t) for p, t in both if b / bins <= p < (b + 1) / bins]
        if inside:
            total += abs(math.fsum(p for p, _ in inside) - math.fsum(t for _, t in inside)) / len(both)
    return total


# ---------------------------------------------------------------------------------------------------- random cases


def cases(seed: int, count: int = 25) -> "list[Case]":
    return [Case(random.Random(f"{seed}/{i}")) for i in range(count)]


class Case:
    """Rows of up to nine tokens with a prefix mask; some rows full, some one token long."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.rows = rng.randint(1, 5)
        self.width = rng.randint(1, 9)
        self.lengths = [rng.randint(1, self.width) for _ in range(self.rows)]
        self.mask = [[t < length for t in range(self.width)] for length in self.lengths]

    def numbers(self, low: float, high: float) -> Rows:
        return [[self.rng.uniform(low, high) for _ in range(self.width)] for _ in range(self.rows)]

    def column(self, low: float, high: float) -> list[float]:
        return [self.rng.uniform(low, high) for _ in range(self.rows)]


def tensor(rows: Any) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def bools(mask: Masks) -> torch.Tensor:
    return torch.tensor(mask, dtype=torch.bool)


def agree(found: Any, expected: Any) -> None:
    found = torch.as_tensor(found, dtype=torch.float64)
    torch.testing.assert_close(found, tensor(expected), rtol=FLOAT64_EXACT, atol=FLOAT64_EXACT)


# --------------------------------------------------------------------------------------------------------- checks


def check_sequence_nll(implementation: Callable[..., Any]) -> None:
    for case in cases(1):
        logprobs = case.numbers(-5, 0)
        agree(implementation(tensor(logprobs), bools(case.mask)), sequence_nll(logprobs, case.mask))


def check_preference_loss(implementation: Callable[..., Any]) -> None:
    for case in cases(2):
        a, b, p = case.column(-3, 3), case.column(-3, 3), case.column(0, 1)
        for centering in (0.0, 0.3):
            found = implementation(tensor(a), tensor(b), tensor(p), centering_coef=centering)
            agree(found, preference_loss(a, b, p, centering))


def check_policy_loss(implementation: Callable[..., Any]) -> None:
    for case in cases(3):
        old, adv = case.numbers(-4, -0.5), case.numbers(-2, 2)
        new = [[o + case.rng.uniform(-0.5, 0.5) for o in row] for row in old]
        found = implementation(tensor(new), tensor(old), tensor(adv), bools(case.mask), clip_range=0.2)
        for got, expected in zip(found, policy_loss(new, old, adv, case.mask, 0.2), strict=True):
            agree(got, expected)


def check_value_loss(implementation: Callable[..., Any]) -> None:
    for case in cases(4):
        values, old, returns = case.numbers(-2, 2), case.numbers(-2, 2), case.numbers(-2, 2)
        found = implementation(tensor(values), tensor(old), tensor(returns), bools(case.mask), clip_range=0.3)
        for got, expected in zip(found, value_loss(values, old, returns, case.mask, 0.3), strict=True):
            agree(got, expected)


def check_gae(implementation: Callable[..., Any]) -> None:
    for case in cases(5):
        rewards, values = case.numbers(-1, 1), case.numbers(-1, 1)
        for gamma, lam in ((1.0, 0.95), (0.9, 0.7), (1.0, 1.0), (0.5, 0.0)):
            found = implementation(tensor(rewards), tensor(values), bools(case.mask), gamma=gamma, gae_lambda=lam)
            agree(found, advantages_as_a_sum(rewards, values, case.mask, gamma, lam))
            agree(found, advantages_as_returns(rewards, values, case.mask, gamma, lam))


def check_penalty_rewards(implementation: Callable[..., Any]) -> None:
    for case in cases(6):
        scores, new, ref = case.column(-2, 2), case.numbers(-5, 0), case.numbers(-5, 0)
        found = implementation(tensor(scores), tensor(new), tensor(ref), bools(case.mask), kl_coef=0.07)
        agree(found, penalty_rewards(scores, new, ref, case.mask, 0.07))


def check_calibration(implementation: Callable[..., Any]) -> None:
    for case in cases(7):
        gaps = [case.rng.gauss(0, 2) for _ in range(40)]
        targets = [case.rng.random() for _ in range(40)]
        for bins in (1, 7, 10):
            agree(implementation(tensor(gaps), tensor(targets), bins=bins), calibration(gaps, targets, bins))
