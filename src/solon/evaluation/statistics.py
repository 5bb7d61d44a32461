"""Intervals: what can be said from counts, and how surely.

Every interval is at 95 %. A rate has a Wilson interval, with the sample shrunk to its effective size where several
observations are of one cluster, such as the prompts for one goal; two models are compared by differences on the same
prompts, with the same clusters. Nothing here needs more than numpy; the tests hold it against scipy.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solon.errors import ShapeError
from solon.records import Rate, Record

Z_95: Final = 1.959963984540054
"""Quantile of the standard normal distribution at 0.975."""


class Difference(Record):
    """A mean difference over prompts with its 95 % interval.

    Attributes:
        value: mean over prompts of first minus second, in [-1, 1].
        low: lower end.
        high: upper end.
        prompts: prompts that both have a value for.
        goals: clusters of these that the interval takes as independent; a prompt without a goal is its own.
        left_out: prompts that only one of them has a value for.
    """

    value: float
    low: float
    high: float
    prompts: int
    goals: int
    left_out: int


def wilson_interval(share: float, count: float) -> Rate:
    """Return a share with its Wilson score interval.

        (p + z^2/2n -+ z * sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)

    It stays within [0, 1] and has a width at 0 and at 1: for 0 of n the upper end is z^2 / (n + z^2).

    Args:
        share: observed share p, in [0, 1].
        count: observations n it is a share of, above 0; need not be whole.

    Raises:
        ShapeError: nothing was observed, or the share is not one.

    Reference: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not (count > 0.0 and 0.0 <= share <= 1.0):
        raise ShapeError(f"an interval needs a share in [0, 1] of at least one observation, not {share} of {count}")
    square = Z_95 * Z_95 / count
    centre = (share + square / 2.0) / (1.0 + square)
    half = Z_95 * math.sqrt(share * (1.0 - share) / count + square / (4.0 * count)) / (1.0 + square)
    # The interval holds the share; at 0 and 1 it ends there exactly, but for rounding.
    return Rate(value=share, low=max(0.0, min(share, centre - half)), high=min(1.0, max(share, centre + half)))


def clustered_variance(values: ArrayLike, clusters: Sequence[str]) -> float:
    """Return the variance of a mean, where observations of one cluster may depend on each other in any way.

        V = C/(C-1) * sum_c (sum_{i in c} (y_i - mean))^2 / n^2

    Args:
        values: observations y. Shape (N,).
        clusters: what each belongs to, at least two in all. Shape (N,).

    Raises:
        ShapeError: shapes differ, or there are fewer than two clusters.

    Reference: Miller 2024 (arXiv 2411.00640), appendix A, with the factor C/(C-1) for a finite number of clusters.
    """
    y = _vector(values)
    names, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    if len(y) != len(clusters) or len(names) < 2:
        raise ShapeError(f"expected at least two clusters, one for each of {len(y)} observations, found {len(names)}")
    sums = np.bincount(index, weights=y - math.fsum(y) / len(y))
    return len(names) / (len(names) - 1) * math.fsum(sums * sums) / len(y) ** 2


def effective_count(values: Sequence[float], clusters: Sequence[str]) -> float:
    """Return how many independent observations these are worth.

        n_eff = max(n_min, n / max(1, deff) * (t_{n-1} / t_{C-1})^2)
        n_min = n^2 / sum_c m_c^2
        deff  = V_clustered / V_independent,   V_independent = p(1-p) / (n-1)

    with m_c observations in each of C clusters, V_clustered of `clustered_variance` and t of `student_quantile`. The
    factor with t is for how little C clusters say about their own spread: with three of them a design effect of 1 may
    be luck. Even if all observations of a cluster were copies of each other, equal clusters would be worth C
    observations and unequal ones n_min, so it is never less.

    Where all observations agree, how much those of one cluster depend on each other cannot be seen, and nothing more
    than n_min can be claimed: none of 60 over three equal goals is worth none of 3, upper end 0.56, and not none of 60,
    upper end 0.06. With one observation for each cluster n_eff is exactly n.

    Args:
        values: observations. Shape (N,).
        clusters: what each belongs to, e.g. the goal of its prompt. Shape (N,).

    Raises:
        ShapeError: shapes differ, or nothing was observed.

    Reference: Kish 1965, "Survey Sampling", section 8.2 (design effect); Korn and Graubard 1998, "Confidence intervals
    for proportions with small expected number of positive counts" (effective size, with the ratio of quantiles).
    """
    n = len(values)
    if n == 0 or n != len(clusters):
        raise ShapeError(f"expected one cluster for each of at least one observation, not {len(clusters)} for {n}")
    sizes = Counter(clusters).values()
    least = n * n / sum(size * size for size in sizes)
    share = sum(values) / n
    if len(sizes) in (1, n) or share in (0.0, 1.0):
        return least
    design_effect = clustered_variance(values, clusters) * (n - 1) / (share * (1.0 - share))
    few_clusters = (student_quantile(n - 1) / student_quantile(len(sizes) - 1)) ** 2
    return max(least, n / max(1.0, design_effect) * few_clusters)


def clustered_rate(values: Sequence[float], clusters: Sequence[str]) -> Rate:
    """Return the share that is true with a Wilson interval over the effective number of observations.

    Args:
        values: observations. Shape (N,).
        clusters: what each belongs to, e.g. the goal of its prompt. Shape (N,).

    Raises:
        ShapeError: shapes differ, or nothing was observed.
    """
    count = effective_count(values, clusters)
    return wilson_interval(sum(values) / len(values), count)


@lru_cache(maxsize=256)
def student_quantile(freedom: int) -> float:
    """Return t such that a Student variable with `freedom` degrees of freedom lies in [-t, t] with probability 0.95.

        t = sqrt(nu) * tan(theta),  integral_0^theta cos(x)^(nu-1) dx = 0.95 * integral_0^(pi/2) cos(x)^(nu-1) dx

    The integrals are 128-point Gauss-Legendre quadratures and theta is found by bisection.

    Args:
        freedom: degrees of freedom nu, at least 1.

    Raises:
        ShapeError: there are none.
    """
    if freedom < 1:
        raise ShapeError(f"Student's distribution needs at least one degree of freedom, not {freedom}")
    nodes, weights = np.polynomial.legendre.leggauss(128)

    def integral(theta: float) -> float:
        logs = (freedom - 1) * np.log(np.cos(theta * (nodes + 1.0) / 2.0))
        return float(theta / 2.0 * (weights @ np.exp(logs)))

    # With many degrees of freedom all of the integral lies near 0: beyond t = 14 there is less than 1e-24 of it.
    top = math.pi / 2 if freedom < 100 else math.atan(14.0 / math.sqrt(freedom))
    wanted = 0.95 * integral(top)
    low, high = 0.0, top
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if integral(middle) < wanted else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2.0)


def mean_difference(
    first: ArrayLike, second: ArrayLike, *, clusters: Sequence[str] | None = None, left_out: int = 0
) -> Difference:
    """Compare two models by their values on the same prompts, the goal of a prompt being the unit.

        d_i = first_i - second_i;   mean(d) -+ t_{C-1} * sqrt(max(V_clustered, sd(d)^2 / n))

    with V_clustered of `clustered_variance` over C clusters. Where each prompt is its own cluster the two variances are
    one, and this is Student's interval. Where a prompt was sampled more than once its value is the mean over its
    samples, so that nothing more than the independence of clusters is assumed. The mean is taken to be normal; where
    fewer than about ten clusters differ at all, that is not so and the interval is somewhat too narrow (it holds the
    truth 90 times in 100 where eight of 80 differ, all in one direction). Where all differences are equal, or of one
    cluster, their spread says nothing, and the interval is what is left when up to a share u of clusters may differ
    as much as they can: d -+ u * (1 + |d|), with u the Wilson upper end for 0 of C.

    Args:
        first: value of the first model on each prompt, in [0, 1]. Shape (N,).
        second: value of the second model on each prompt, in the same order. Shape (N,).
        clusters: what each prompt belongs to, e.g. its goal; None makes each its own. Shape (N,).
        left_out: prompts without a value of both.

    Raises:
        ShapeError: shapes differ, or there is no prompt.

    Reference: Miller 2024 (arXiv 2411.00640), section 4.2 (paired differences) and appendix A; Student 1908.
    """
    a, b = _vector(first), _vector(second)
    _same_length(a, b)
    differences = a - b
    n = len(differences)
    units = [str(i) for i in range(n)] if clusters is None else clusters
    if len(units) != n:
        raise ShapeError(f"expected one cluster for each of {n} prompts, found {len(units)}")
    count = len(set(units))
    mean = math.fsum(differences) / n
    if count == 1 or np.ptp(differences) <= 1e-12:
        half = wilson_interval(0.0, count).high * (1.0 + abs(mean))
    else:
        independent = float(np.var(differences, ddof=1)) / n
        half = student_quantile(count - 1) * math.sqrt(max(clustered_variance(differences, units), independent))
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    return Difference(value=mean, low=low, high=high, prompts=n, goals=count, left_out=left_out)


def _vector(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ShapeError(f"expected numbers in one row, found shape {array.shape}")
    return array


def _same_length(first: NDArray[np.float64], second: NDArray[np.float64]) -> None:
    if len(first) != len(second) or len(first) == 0:
        raise ShapeError(f"expected two rows of one length, at least 1, found {len(first)} and {len(second)}")
