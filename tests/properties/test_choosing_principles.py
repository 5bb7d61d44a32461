"""Proves what weighted rendezvous hashing promises: stable draws, in proportion to weights, independent over rounds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from solon.constitution import Principle, choose_principle
from solon.errors import ConstitutionError

IDS = [f"p{number}" for number in range(12)]
ITEMS = [f"item-{number}" for number in range(300)]


def principle(name: str, weight: float = 1.0, text: str = "Which?") -> Principle:
    return Principle(id=name, comparison=text, weight=weight)


SETS = st.lists(
    st.tuples(st.sampled_from(IDS), st.floats(0.05, 20.0)), min_size=2, max_size=8, unique_by=lambda pair: pair[0]
).map(lambda pairs: [principle(name, weight) for name, weight in pairs])
SEEDS = st.integers(0, 2**63 - 1)


def draws(principles: list[Principle], seed: int, round: int = 0) -> dict[str, str]:  # noqa: A002
    return {item: choose_principle(principles, seed=seed, item=item, round=round).id for item in ITEMS}


@settings(max_examples=30)
@given(SETS, SEEDS)
def test_removing_a_principle_moves_only_the_items_that_drew_it(principles: list[Principle], seed: int) -> None:
    before = draws(principles, seed)
    for gone in principles:
        after = draws([p for p in principles if p is not gone], seed)
        assert all(after[item] == drawn for item, drawn in before.items() if drawn != gone.id)
        assert all(after[item] != gone.id for item in ITEMS)


@settings(max_examples=30)
@given(SETS, SEEDS)
def test_adding_a_principle_moves_items_only_to_it(principles: list[Principle], seed: int) -> None:
    before = draws(principles, seed)
    after = draws([*principles, principle("new", 2.0)], seed)
    assert all(after[item] in (drawn, "new") for item, drawn in before.items())


@settings(max_examples=30)
@given(SETS, SEEDS, st.randoms())
def test_rewording_and_reordering_move_nothing(principles: list[Principle], seed: int, random: object) -> None:
    before = draws(principles, seed)
    reworded = [principle(p.id, p.weight, "In other words?") for p in reversed(principles)]
    assert draws(reworded, seed) == before


@settings(max_examples=30)
@given(SETS, SEEDS, st.floats(1.0, 8.0))
def test_a_greater_weight_only_wins_items(principles: list[Principle], seed: int, factor: float) -> None:
    first, *others = principles
    before = draws(principles, seed)
    after = draws([principle(first.id, first.weight * factor), *others], seed)
    assert all(after[item] in (drawn, first.id) for item, drawn in before.items())


@pytest.mark.parametrize("weights", [[1.0] * 16, [1.0, 2.0, 3.0, 4.0], [0.1, 10.0]])
def test_frequencies_follow_weights(weights: list[float]) -> None:
    principles = [principle(f"p{number}", weight) for number, weight in enumerate(weights)]
    counts = dict.fromkeys((p.id for p in principles), 0)
    for number in range(8000):
        counts[choose_principle(principles, seed=7, item=f"i{number}", round=0).id] += 1
    expected = [8000 * weight / sum(weights) for weight in weights]
    assert stats.chisquare(list(counts.values()), expected).pvalue > 1e-3


@pytest.mark.parametrize("other", [{"round": 1}, {"seed": 8}])
def test_draws_of_two_rounds_or_two_seeds_are_independent(other: dict[str, int]) -> None:
    principles = [principle(f"p{number}") for number in range(4)]
    table = [[0] * 4 for _ in range(4)]
    for number in range(4000):
        where = {"seed": 7, "item": f"i{number}", "round": 0}
        first = choose_principle(principles, **where)  # type: ignore[arg-type]
        second = choose_principle(principles, **{**where, **other})  # type: ignore[arg-type]
        table[principles.index(first)][principles.index(second)] += 1
    assert stats.chi2_contingency(table).pvalue > 1e-3
    # with replacement: a quarter of the items draw the same principle twice
    assert abs(sum(table[i][i] for i in range(4)) / 4000 - 0.25) < 0.03


def test_nothing_to_choose_from_is_an_error() -> None:
    with pytest.raises(ConstitutionError, match="applies_to"):
        choose_principle([], seed=1, item="x", round=0)
