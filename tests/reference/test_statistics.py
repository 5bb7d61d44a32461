"""Proves the statistics against scipy, against brute force over the definition, against published values, and by
simulation: 95 % intervals hold the truth about 95 times in 100.
"""

import math
from functools import partial

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import stats

from solon.errors import ShapeError
from solon.evaluation import (
    brier_score,
    clustered_rate,
    clustered_variance,
    effective_count,
    expected_calibration_error,
    mean_difference,
    student_quantile,
    wilson_interval,
)
from tests.tolerances import FLOAT64_EXACT


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 30), (3, 10), (17, 40), (999, 1000), (1000, 1000)])
def test_wilson_is_that_of_scipy(k: int, n: int) -> None:
    witness = stats.binomtest(k, n).proportion_ci(method="wilson")
    found = wilson_interval(k / n, n)
    assert (found.low, found.high) == pytest.approx((witness.low, witness.high), abs=FLOAT64_EXACT)
    assert found.value == k / n


@pytest.mark.parametrize("n", [1, 10, 1000])
def test_none_of_n_has_an_upper_end(n: int) -> None:
    z = stats.norm.ppf(0.975)
    assert wilson_interval(0.0, n).low == 0.0
    assert wilson_interval(0.0, n).high == pytest.approx(z * z / (n + z * z), abs=FLOAT64_EXACT)
    assert wilson_interval(1.0, n).high == 1.0


@pytest.mark.parametrize(("share", "count"), [(0.5, 0), (-0.1, 5), (1.1, 5), (math.nan, 5), (0.5, -1)])
def test_what_is_no_share_of_anything_is_refused(share: float, count: float) -> None:
    with pytest.raises(ShapeError):
        wilson_interval(share, count)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 30, 120, 999, 50_000])
def test_student_quantile_is_that_of_scipy(freedom: int) -> None:
    assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=FLOAT64_EXACT)


def test_student_needs_freedom() -> None:
    with pytest.raises(ShapeError):
        student_quantile(0)


# ------------------------------------------------------------------------------------------------- clusters


def brute_force_design_effect(values: np.ndarray, clusters: np.ndarray) -> float:
    """The ratio of two regression variances of a mean: cluster-robust (finite-cluster factor) over ordinary."""
    n, p, names = len(values), values.mean(), np.unique(clusters)
    meat = sum(np.sum([values[i] - p for i in np.flatnonzero(clusters == name)]) ** 2 for name in names)
    robust = len(names) / (len(names) - 1) * meat / n**2
    return robust / (values.var(ddof=1) / n)


def test_effective_count_is_the_definition() -> None:
    rng = np.random.default_rng(5)
    shrunk = least = 0
    for _ in range(50):
        clusters = rng.integers(0, 12, size=60)
        values = rng.random(60) < rng.beta(0.5, 0.5, size=12)[clusters]
        if 0 < values.sum() < 60:
            deff = max(1.0, brute_force_design_effect(values.astype(float), clusters))
            names, sizes = np.unique(clusters, return_counts=True)
            few = (stats.t.ppf(0.975, 59) / stats.t.ppf(0.975, len(names) - 1)) ** 2
            copies = 60**2 / np.sum(sizes**2)
            found = effective_count([bool(v) for v in values], [str(c) for c in clusters])
            assert found == pytest.approx(max(copies, 60 / deff * few), rel=FLOAT64_EXACT * 10)
            shrunk += deff > 1.5
            least += copies > 60 / deff * few
    assert shrunk > 10
    assert 0 < least < 40


def test_the_variance_of_a_mean_of_clusters_is_that_of_their_means() -> None:
    """With clusters of one size the mean is the mean of cluster means, whose squared standard error is scipy's."""
    rng = np.random.default_rng(4)
    values = rng.random((9, 5))
    found = clustered_variance(values.ravel(), [str(i // 5) for i in range(45)])
    assert found == pytest.approx(stats.sem(values.mean(axis=1)) ** 2, rel=FLOAT64_EXACT * 10)


def test_one_sample_a_prompt_is_plain_wilson() -> None:
    values = [i % 3 == 0 for i in range(40)]
    assert clustered_rate(values, [str(i) for i in range(40)]) == wilson_interval(sum(values) / 40, 40)


def test_copies_within_a_cluster_are_worth_about_one() -> None:
    values = [i // 5 % 2 == 0 for i in range(100)]
    clusters = [str(i // 5) for i in range(100)]
    assert effective_count(values, clusters) == pytest.approx(20, rel=0.05)


@pytest.mark.parametrize("value", [True, False])
def test_where_all_agree_each_cluster_counts_once(value: bool) -> None:
    assert effective_count([value] * 30, [str(i // 6) for i in range(30)]) == 5
    assert effective_count([True, False], ["a", "a"]) == 1
    assert clustered_rate([value] * 30, [str(i // 6) for i in range(30)]) == wilson_interval(float(value), 5)


def test_none_of_many_answers_for_few_goals_is_worth_the_goals() -> None:
    goals = ["toy rocket", "water gun", "bath bomb"]
    none = clustered_rate([False] * 60, goals * 20)
    assert none == wilson_interval(0.0, 3)
    one = clustered_rate([i == 0 for i in range(60)], goals * 20)
    assert 0.2 < one.high < none.high  # one is not sixty independent observations either
    lopsided = ["toy rocket"] * 58 + goals[1:]
    assert effective_count([False] * 60, lopsided) == pytest.approx(60**2 / (58**2 + 2))


def test_clusters_must_fit() -> None:
    for values, clusters in (([], []), ([True], []), ([True], ["a"]), ([True, False], ["a", "a"])):
        with pytest.raises(ShapeError):
            clustered_variance(values, clusters)
    for values, clusters in (([], []), ([True], []), ([True], ["a", "b"])):
        with pytest.raises(ShapeError):
            effective_count(values, clusters)


def test_clustered_intervals_hold_the_truth() -> None:
    """60 prompts with rates of their own (mean 0.7), 8 draws each: plain Wilson fails badly, the clustered holds."""
    rng = np.random.default_rng(11)
    clusters = [str(i // 8) for i in range(480)]
    held = plain = 0
    for _ in range(600):
        values = [bool(v) for v in rng.random(480) < np.repeat(rng.beta(0.7, 0.3, size=60), 8)]
        found, naive = clustered_rate(values, clusters), wilson_interval(sum(values) / 480, 480)
        held += found.low <= 0.7 <= found.high
        plain += naive.low <= 0.7 <= naive.high
    assert 0.925 <= held / 600 <= 0.98
    assert plain / 600 < 0.75


@pytest.mark.parametrize(("goals", "each", "mean"), [(3, 20, 0.5), (5, 30, 0.5), (12, 12, 0.3), (12, 12, 0.05)])
def test_intervals_over_few_goals_hold_the_truth(goals: int, each: int, mean: float) -> None:
    """Goals with rates of their own, each asked for many times: the plain interval takes 12 goals for 144 answers."""
    rng = np.random.default_rng(goals + each)
    clusters = [str(i // each) for i in range(goals * each)]
    held = plain = 0
    for _ in range(400):
        rates = rng.beta(4.0 * mean, 4.0 * (1.0 - mean), size=goals)
        values = [bool(v) for v in rng.random(goals * each) < np.repeat(rates, each)]
        found, naive = clustered_rate(values, clusters), wilson_interval(sum(values) / len(values), len(values))
        held += found.low <= mean <= found.high
        plain += naive.low <= mean <= naive.high
    assert held / 400 >= 0.92
    assert plain / 400 < 0.85


# ---------------------------------------------------------------------------------------- paired differences


def test_paired_interval_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random(25), rng.random(25)
    witness = stats.ttest_rel(a, b).confidence_interval(0.95)
    found = mean_difference(a, b, left_out=4)
    assert (found.low, found.high) == pytest.approx((witness.low, witness.high), abs=1e-9)
    assert found.value == pytest.approx(np.mean(a - b), abs=FLOAT64_EXACT)
    assert (found.prompts, found.left_out) == (25, 4)


def test_paired_intervals_hold_the_truth_and_pairing_narrows_them() -> None:
    """Two models on 400 prompts of their own difficulty, true difference 0.1."""
    rng = np.random.default_rng(8)
    held, widths, unpaired = 0, [], []
    for _ in range(600):
        p = rng.beta(0.4, 0.4, size=400) * 0.9
        noise = rng.random(400)
        a, b = (noise < p + 0.1).astype(float), (noise < p).astype(float)
        found = mean_difference(a, b)
        held += found.low <= 0.1 <= found.high
        widths.append(found.high - found.low)
        unpaired.append(2 * 1.99 * math.sqrt(a.var(ddof=1) / 400 + b.var(ddof=1) / 400))
    assert 0.925 <= held / 600 <= 0.975
    assert np.mean(widths) < 0.6 * np.mean(unpaired)


def test_a_paired_interval_by_goal_is_that_of_scipy_over_the_goals() -> None:
    """With as many prompts for every goal the mean over prompts is the mean over goals."""
    rng = np.random.default_rng(7)
    lift = np.repeat(rng.normal(0.1, 0.2, size=8), 6)
    a, b = np.clip(0.5 + lift + rng.normal(0, 0.05, size=48), 0, 1), rng.random(48) * 0.1
    by_goal = (a - b).reshape(8, 6).mean(axis=1)
    witness = stats.ttest_1samp(by_goal, 0.0).confidence_interval(0.95)
    found = mean_difference(a, b, clusters=[str(i // 6) for i in range(48)])
    assert (found.low, found.high) == pytest.approx((witness.low, witness.high), abs=1e-9)
    assert (found.prompts, found.goals) == (48, 8)


def test_goals_never_make_a_difference_surer_than_prompts_do() -> None:
    a, b = np.tile([1.0, 0.0], 10), np.tile([0.0, 1.0], 10)  # within each goal the differences cancel
    by_goal, alone = mean_difference(a, b, clusters=[str(i // 2) for i in range(20)]), mean_difference(a, b)
    assert by_goal.high - by_goal.low > alone.high - alone.low
    (one_goal, equal) = mean_difference(a, b, clusters=["x"] * 20), mean_difference([0.0], [0.0])
    assert (one_goal.low, one_goal.high, one_goal.goals) == (equal.low, equal.high, 1)


@pytest.mark.parametrize("gap", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("n", [1, 4, 1000])
def test_equal_differences_are_not_certain(gap: float, n: int) -> None:
    found = mean_difference([max(gap, 0.0)] * n, [max(-gap, 0.0)] * n)
    reach = wilson_interval(0.0, n).high * (1.0 + abs(gap))
    assert found.value == gap
    assert (found.low, found.high) == pytest.approx((max(-1.0, gap - reach), min(1.0, gap + reach)))
    assert found.low < found.high


def test_differences_need_pairs() -> None:
    for a, b in (([], []), ([1.0], []), ([[1.0]], [[1.0]])):
        with pytest.raises(ShapeError):
            mean_difference(a, b)
    with pytest.raises(ShapeError, match="one cluster for each of 1 prompts"):
        mean_difference([1.0], [1.0], clusters=["a", "b"])


# ------------------------------------------------------------------------------------------------ calibration

KINDS = [(bins, mirror) for bins in (10, 15) for mirror in (True, False)]


def brute_force_ece(p: list[float], y: list[float], bins: int) -> float:
    total = 0.0
    for b in range(bins):
        inside = [i for i in range(len(p)) if b / bins <= p[i] < (b + 1) / bins or (b == bins - 1 and p[i] == 1.0)]
        if inside:
            gap = abs(sum(y[i] for i in inside) / len(inside) - sum(p[i] for i in inside) / len(inside))
            total += len(inside) / len(p) * gap
    return total


def plain_ece(p: ArrayLike, y: ArrayLike, *, bins: int) -> float:
    return expected_calibration_error(p, y, bins=bins, mirror=False)


def mirrored_ece(p: ArrayLike, y: ArrayLike, *, bins: int) -> float:
    return expected_calibration_error(p, y, bins=bins, mirror=True)


def test_published_values() -> None:
    assert expected_calibration_error(
        [0.25, 0.25, 0.55, 0.75, 0.75], [0, 0, 1, 1, 1], bins=2, mirror=False
    ) == pytest.approx(0.29)
    assert brier_score([0.1, 0.9, 0.8, 0.3], [0, 1, 1, 0]) == pytest.approx(0.0375)


@pytest.mark.parametrize("bins", [1, 2, 8, 15])
def test_ece_is_the_definition(bins: int) -> None:
    rng = np.random.default_rng(bins)
    p = [*rng.random(300).tolist(), 0.0, 1.0, 0.5, 0.25]
    y = [*(rng.random(150) < 0.5).astype(float).tolist(), *rng.random(154).tolist()]
    assert plain_ece(p, y, bins=bins) == pytest.approx(brute_force_ece(p, y, bins), abs=FLOAT64_EXACT)


@pytest.mark.parametrize("bins", [1, 2, 7, 10])
def test_mirrored_ece_is_the_definition_of_both_ways_round(bins: int) -> None:
    rng = np.random.default_rng(bins)
    p, y = rng.random(300), rng.random(300)
    both = brute_force_ece([*p, *(1 - p)], [*y, *(1 - y)], bins)
    assert mirrored_ece(p, y, bins=bins) == pytest.approx(both, abs=FLOAT64_EXACT)


@pytest.mark.parametrize("bins", [2, 10, 15])
def test_mirrored_it_does_not_matter_which_way_round_a_prediction_comes(bins: int) -> None:
    p = np.array([*np.arange(bins + 1) / bins, 0.3, 0.7, 0.9, 1 - 0.9])  # edges of bins, where one bit decides
    y = np.random.default_rng(bins).random(len(p))
    swapped = mirrored_ece(1 - p, 1 - y, bins=bins)
    assert mirrored_ece(p, y, bins=bins) == pytest.approx(swapped, abs=FLOAT64_EXACT)


@pytest.mark.parametrize("bins", [1, 2, 10, 15])
def test_a_tie_cancels_itself_if_mirrored(bins: int) -> None:
    assert mirrored_ece([0.5, 0.5], [0.9, 0.8], bins=bins) == 0.0
    assert plain_ece([0.5, 0.5], [0.9, 0.8], bins=bins) == pytest.approx(0.35)


def test_bins_and_mirror_change_the_number_and_have_no_default() -> None:
    p, y = np.linspace(0.01, 0.99, 400), np.random.default_rng(1).random(400)
    found = {(bins, mirror): expected_calibration_error(p, y, bins=bins, mirror=mirror) for bins, mirror in KINDS}
    assert len(set(found.values())) == len(KINDS)
    for kind in ({}, {"bins": 10}, {"mirror": True}):
        with pytest.raises(TypeError, match="missing"):
            expected_calibration_error(p, y, **kind)  # type: ignore[call-arg]


def test_the_lower_edge_belongs_to_the_bin_and_one_to_the_last() -> None:
    # 0.5 shares a bin with 0.6 and not with 0.4: within the bin the gaps cancel, across bins they add up
    assert plain_ece([0.5, 0.6], [0.6, 0.5], bins=2) == pytest.approx(0.0, abs=FLOAT64_EXACT)
    assert plain_ece([0.5, 0.4], [0.4, 0.5], bins=2) == pytest.approx(0.1)
    assert plain_ece([1.0, 0.9], [0.9, 1.0], bins=2) == pytest.approx(0.0, abs=FLOAT64_EXACT)


def test_brier_parts_into_reliability_resolution_and_uncertainty() -> None:
    rng = np.random.default_rng(2)
    levels = np.array([0.1, 0.3, 0.5, 0.9])
    p = rng.choice(levels, size=400)
    y = (rng.random(400) < p**2).astype(float)
    shares = [(np.mean(p == f), f, y[p == f].mean()) for f in levels]
    reliability = sum(w * (f - o) ** 2 for w, f, o in shares)
    resolution = sum(w * (o - y.mean()) ** 2 for w, f, o in shares)
    uncertainty = y.mean() * (1 - y.mean())
    assert brier_score(p, y) == pytest.approx(reliability - resolution + uncertainty, abs=FLOAT64_EXACT)


@pytest.mark.parametrize("measure", [partial(plain_ece, bins=2), partial(mirrored_ece, bins=2), brier_score])
def test_what_is_no_probability_is_refused(measure) -> None:
    for p, y in (([], []), ([0.5], []), ([1.1], [1.0]), ([-0.1], [1.0])):
        with pytest.raises(ShapeError):
            measure(p, y)
    with pytest.raises(ShapeError, match="row 1"):
        measure([0.5, math.nan], [0.0, 1.0])
