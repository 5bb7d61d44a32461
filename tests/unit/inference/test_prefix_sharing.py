"""Proves that a prefix plan cuts rows and loses nothing, and that it is made only where it saves reading."""

from hypothesis import given
from hypothesis import strategies as st

from solon.inference.prefix_sharing import common_length, plan_prefixes

HEADS = [[0], list(range(10)), list(range(14)), [0, 1, 2, 9, 9, 9, 9, 9, 9, 9, 9, 9]]
tails = st.lists(st.integers(0, 1), max_size=3)
rows = st.lists(st.builds(lambda head, tail: HEADS[head] + tail, st.integers(0, 3), tails), max_size=12)


@given(rows)
def test_a_plan_puts_every_row_together_again(rows: list[list[int]]) -> None:
    plan = plan_prefixes(rows)
    if plan is not None:
        for row, owner, rest in zip(rows, plan.owner, plan.rests, strict=True):
            assert rest
            assert plan.prefixes[owner]
            assert plan.prefixes[owner] + rest == row
        assert sum(map(len, plan.prefixes)) + sum(map(len, plan.rests)) <= sum(map(len, rows))


def test_rows_that_begin_alike_share_a_prefix() -> None:
    head, other = list(range(20)), list(range(50, 70))
    plan = plan_prefixes([[*head, 1, 2], [*other, 3], [*head, 4], [*other, 5, 6, 7]])
    assert plan is not None
    assert sorted(map(len, plan.prefixes)) == [20, 20]
    assert plan.owner[0] == plan.owner[2] != plan.owner[1] == plan.owner[3]


def test_a_lone_row_is_cut_like_the_others() -> None:
    head = list(range(20))
    plan = plan_prefixes([[*head, 1], [*head, 2], [*head, 3], list(range(100, 130))])
    assert plan is not None
    assert [len(rest) for rest in plan.rests] == [1, 1, 1, 10]


def test_no_plan_where_little_is_shared() -> None:
    assert plan_prefixes([]) is None
    assert plan_prefixes([[1, 2, 3]]) is None
    assert plan_prefixes([list(range(40)), list(range(100, 140))]) is None
    assert plan_prefixes([[1, 2, 3, 4], [1, 2, 3, 5]]) is None  # too short to be worth a pass
    assert plan_prefixes([[*range(10), *range(100 * n, 100 * n + 90)] for n in (1, 2)]) is None


@given(st.lists(st.integers(0, 1), max_size=9), st.lists(st.integers(0, 1), max_size=9))
def test_common_lengths(left: list[int], right: list[int]) -> None:
    length = common_length(left, right)
    assert left[:length] == right[:length]
    assert length == min(len(left), len(right)) or left[length] != right[length]
