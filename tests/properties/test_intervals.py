"""Proves of intervals: they hold their value, stay in range, narrow with more observations and mirror each other; and
of calibration that it is bounded and does not depend on order.
"""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.evaluation import (
    brier_score,
    clustered_rate,
    effective_count,
    expected_calibration_error,
    mean_difference,
    wilson_interval,
)
from tests.tolerances import FLOAT64_EXACT

COUNTS = st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
DRAWS = st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefg")), min_size=1, max_size=40)
PROBABILITIES = st.floats(0.0, 1.0)
PAIRED = st.lists(st.tuples(PROBABILITIES, PROBABILITIES), min_size=1, max_size=30)


@given(COUNTS)
def test_wilson_holds_its_share_and_mirrors(counts: tuple[int, int]) -> None:
    k, n = counts
    found, mirrored = wilson_interval(k / n, n), wilson_interval(1 - k / n, n)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low), abs=FLOAT64_EXACT)
    more = wilson_interval(k / n, 4 * n)
    assert more.high - more.low < found.high - found.low


@given(DRAWS)
def test_clusters_never_make_more_of_the_observations_than_there_are(draws: list[tuple[bool, str]]) -> None:
    values, clusters = [value for value, _ in draws], [cluster for _, cluster in draws]
    count = effective_count(values, clusters)
    assert 0.0 < count <= len(values) * (1 + FLOAT64_EXACT)
    found = clustered_rate(values, clusters)
    plain = wilson_interval(found.value, len(values))
    assert found.high - found.low >= plain.high - plain.low - FLOAT64_EXACT
    mirrored = clustered_rate([not value for value in values], clusters)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-9)


@given(PAIRED)
def test_differences_mirror_and_stay_in_range(pairs: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = mean_difference(first, second), mean_difference(second, first)
    assert -1.0 <= there.low <= there.value <= there.high <= 1.0
    assert there.low < there.high
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), abs=1e-9)


@given(PAIRED, st.booleans())
def test_calibration_is_bounded_and_order_does_not_matter(pairs: list[tuple[float, float]], mirror: bool) -> None:
    p, y = [a for a, _ in pairs], [b for _, b in pairs]
    error = partial(expected_calibration_error, bins=15, mirror=mirror)
    assert 0.0 <= error(p, y) <= 1.0
    assert error(p, p) == pytest.approx(0.0, abs=FLOAT64_EXACT)
    assert brier_score(p, p) == 0.0
    assert error(p[::-1], y[::-1]) == pytest.approx(error(p, y), abs=FLOAT64_EXACT)
    # one bin can only hide gaps: the gap of the means is the least of all
    assert error(p, y, bins=1) <= error(p, y) + FLOAT64_EXACT
