"""Proves that items run side by side, stay in order, and that failures are kept apart, counted and bounded."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from solon.errors import CallFailedError, StageFailedError
from solon.lm import ItemResults, PartEndedError, check_failures, run_items, run_parts
from solon.records import Failure


def run(work: Callable[[int], Any], count: int = 6, bound: float = 0.0, **options: Any) -> ItemResults[Any]:
    return asyncio.run(run_items(range(count), work, key=str, stage="stage", max_failure_fraction=bound, **options))


def test_results_are_in_the_order_of_the_items_not_of_their_ends() -> None:
    ended: list[int] = []

    async def work(item: int) -> int:
        for _ in range(10 - item):
            await asyncio.sleep(0)
        ended.append(item)
        return item * item

    found = run(work)
    assert found.results == found.kept == [0, 1, 4, 9, 16, 25]
    assert ended == [5, 4, 3, 2, 1, 0]
    assert found.failures == []


@pytest.mark.parametrize("concurrency", [1, 3, 100])
def test_at_most_so_many_are_under_way(concurrency: int) -> None:
    under_way: list[int] = []
    most = 0

    async def work(item: int) -> None:
        nonlocal most
        under_way.append(item)
        most = max(most, len(under_way))
        await asyncio.sleep(0)
        under_way.remove(item)

    assert run(work, count=20, concurrency=concurrency).results == [None] * 20
    assert most == min(concurrency, 20)


async def fail_on_even(item: int) -> str:
    await asyncio.sleep(0)
    if item % 2 == 0:
        raise CallFailedError(f"no answer to {item}")
    return "fine"


def test_failed_calls_become_failures_of_their_item() -> None:
    found = run(fail_on_even, bound=0.5)
    assert found.results[1::2] == found.kept == ["fine"] * 3
    assert found.failures == [
        Failure(item=item, stage="stage", reason="call_failed", detail=f"no answer to {item}") for item in "024"
    ]


def test_a_stage_fails_past_its_bound_and_not_before() -> None:
    with pytest.raises(StageFailedError, match=r"stage: 3 of 6 items failed, more than the 40% allowed; .* no answer"):
        run(fail_on_even, bound=0.4)
    with pytest.raises(StageFailedError, match="1 of 6"):
        run(fail_on_even, bound=0.0)


@pytest.mark.parametrize("percent", range(101))
def test_a_share_that_is_reached_exactly_is_allowed(percent: int) -> None:
    """The product of 0.29 and 100 is below 29 in floating point."""
    failure = Failure(item="x", stage="stage", reason="call_failed", detail="dead")
    for count in (100, 700):
        allowed = percent * count // 100
        check_failures([failure] * allowed, count, stage="stage", max_failure_fraction=percent / 100)
        with pytest.raises(
            StageFailedError, match=rf"more than the {percent}% allowed; the last was x: call_failed dead$"
        ):
            check_failures([failure] * (allowed + 1), count, stage="stage", max_failure_fraction=percent / 100)


def test_a_stage_that_stops_says_what_it_has_and_what_broke_its_bound() -> None:
    async def fail_late(item: int) -> int:
        for _ in range(10 - item if item else 60):
            await asyncio.sleep(0)
        if item in (1, 3):
            raise CallFailedError(f"no answer to {item}")
        return item

    failed = {
        item: Failure(item=str(item), stage="stage", reason="call_failed", detail=f"no answer to {item}")
        for item in (1, 3)
    }
    with pytest.raises(StageFailedError) as caught:
        run(fail_late, bound=0.2)
    assert list(caught.value.results) == [failed[1], 2, failed[3], 4, 5]  # in the order of the items; 0 was not done
    assert caught.value.failures == (failed[3], failed[1])


def test_the_bound_is_said_as_it_was_set() -> None:
    with pytest.raises(StageFailedError, match=r"1 of 6 items failed, more than the 0\.5% allowed"):
        run(fail_on_even, bound=0.005)


def test_failures_that_work_returns_count_too() -> None:
    async def work(item: int) -> Failure:
        return Failure(item=str(item), stage="mine", reason="truncated")

    assert [failure.reason for failure in run(work, bound=1.0).failures] == ["truncated"] * 6
    with pytest.raises(StageFailedError, match="truncated"):
        run(work, bound=0.9)


def test_other_errors_propagate_and_the_rest_is_cancelled() -> None:
    cancelled: list[int] = []

    async def work(item: int) -> None:
        if item == 3:
            await asyncio.sleep(0)
            raise KeyError("a bug")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    with pytest.raises(KeyError, match="a bug"):
        run(work, bound=1.0)
    assert cancelled == [0, 1, 2, 4, 5]


def test_progress_is_told_after_every_item() -> None:
    told: list[tuple[int, int]] = []
    run(fail_on_even, bound=1.0, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 6) for done in range(1, 7)]


def test_no_items_are_no_problem() -> None:
    assert run(fail_on_even, count=0).results == []


def test_parts_are_done_side_by_side_and_returned_in_their_order() -> None:
    async def meet() -> list[str]:
        first, second = asyncio.Event(), asyncio.Event()

        async def wait(own: asyncio.Event, other: asyncio.Event, name: str) -> str:
            own.set()
            await other.wait()  # which only a part that is under way too can set
            return name

        found: list[str] = await run_parts(wait(first, second, "a"), wait(second, first, "b"))
        return found

    assert asyncio.run(asyncio.wait_for(meet(), timeout=60)) == ["a", "b"]


def test_a_part_that_is_ended_by_another_says_what_it_has() -> None:
    kept: list[Any] = []

    async def endless(item: int) -> int:
        if item:
            await asyncio.Event().wait()
        return item

    async def watched() -> Any:
        try:
            return await run_items(range(3), endless, key=str, stage="s", max_failure_fraction=0.0)
        except PartEndedError as ended:
            kept.extend(ended.results)
            raise

    async def broken() -> None:
        await asyncio.sleep(0.01)
        raise StageFailedError("no more")

    async def both() -> None:
        with pytest.raises(StageFailedError, match="no more"):
            await run_parts(watched(), broken())
        assert kept == [0]  # known before the error is: nothing goes on behind it

    asyncio.run(both())
