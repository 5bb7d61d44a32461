"""Running the items of a stage side by side, the failure of one kept apart from the others.

A stage is written for one item. Here many are under way at once, at most `concurrency` of them, so that a backend
always has calls to batch. An item whose call failed becomes a `Failure` with the item's address; past a stated
fraction the stage stops. Anything else that goes wrong is a bug or an interruption, and propagates.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from solon.errors import CallFailedError, StageFailedError
from solon.records import Failure

T = TypeVar("T")
R = TypeVar("R")

OnProgress = Callable[[int, int], None]
"""Called with how many items are done and how many there are."""

CONCURRENCY = 512
"""Items under way at once: enough to fill any backend's batches, few enough to keep their prompts in memory."""

_ROUNDING = 1e-6
"""Items by which a share of all items may be rounded down: 0.29 of 100 is a little less than 29."""


class PartEndedError(asyncio.CancelledError):
    """A part of a stage was cancelled, as when another part stopped the stage.

    Args:
        results: what came of the items that were done, records and failures, in the order of the items.
    """

    def __init__(self, results: Sequence[Any]) -> None:
        super().__init__()
        self.results = results


@dataclass(frozen=True)
class ItemResults(Generic[R]):
    """What became of the items of a stage.

    Attributes:
        results: in the order of the items, the result or the failure of each.
    """

    results: list[R | Failure]

    @property
    def kept(self) -> list[R]:
        """The results, failures left out."""
        return [item for item in self.results if not isinstance(item, Failure)]

    @property
    def failures(self) -> list[Failure]:
        """The failures."""
        return [item for item in self.results if isinstance(item, Failure)]


async def run_items(
    items: Sequence[T],
    work: Callable[[T], Awaitable[R | Failure]],
    *,
    key: Callable[[T], str],
    stage: str,
    max_failure_fraction: float,
    concurrency: int = CONCURRENCY,
    on_progress: OnProgress | None = None,
) -> ItemResults[R]:
    """Do the work of every item, at most `concurrency` at a time.

    Args:
        items: what there is to do.
        work: does one item; it may also return a `Failure` of its own, which counts as one.
        key: the item's id, for its failure's address.
        stage: name of the stage, likewise.
        max_failure_fraction: share of the items, in [0, 1], that may fail.
        concurrency: items under way at once.
        on_progress: told after every item.

    Raises:
        StageFailedError: more items failed than allowed; raised as soon as that is certain, with what is done.
        PartEndedError: it was cancelled.
        Exception: whatever else `work` raised first; the other items are cancelled.
    """
    results: dict[int, Any] = {}
    queue = iter(enumerate(items))
    failures: list[Failure] = []
    done = 0

    async def work_off() -> None:
        nonlocal done
        for index, item in queue:
            try:
                result = await work(item)
            except CallFailedError as error:
                result = Failure(item=key(item), stage=stage, reason="call_failed", detail=str(error))
            results[index] = result
            done += 1
            if isinstance(result, Failure):
                failures.append(result)
                check_failures(failures, len(items), stage=stage, max_failure_fraction=max_failure_fraction)
            if on_progress is not None:
                on_progress(done, len(items))

    workers = [asyncio.ensure_future(work_off()) for _ in range(min(concurrency, len(items)))]
    try:
        await asyncio.gather(*workers)
    except StageFailedError as error:
        error.results = [results[index] for index in sorted(results)]
        error.failures = tuple(failures)  # one or another may have followed the one too many
        raise
    except asyncio.CancelledError as error:
        raise PartEndedError([results[index] for index in sorted(results)]) from error
    finally:
        await _end(workers)
    return ItemResults([results[index] for index in range(len(items))])


async def run_parts(*parts: Awaitable[Any]) -> list[Any]:
    """Do the parts of a stage side by side, so that none waits for a slow model that only another asks.

    Returns:
        What each came to, in their order.

    Raises:
        Exception: what the first part to fail raised; the others are ended first.
    """
    under_way = [asyncio.ensure_future(part) for part in parts]
    try:
        return await asyncio.gather(*under_way)
    finally:
        await _end(under_way)


async def _end(under_way: Sequence[asyncio.Future[Any]]) -> None:
    """End what is still under way, so that nothing goes on behind the back of who began it."""
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)


def check_failures(failures: Sequence[Failure], count: int, *, stage: str, max_failure_fraction: float) -> None:
    """Hold the failures of a stage to its bound; a share that is reached exactly is allowed.

    Args:
        failures: those so far, the last one last.
        count: items of the stage.
        stage: its name.
        max_failure_fraction: share of the items, in [0, 1], that may fail.

    Raises:
        StageFailedError: more items failed than allowed; says the last failure.
    """
    if len(failures) > max_failure_fraction * count + _ROUNDING:
        last = failures[-1]
        raise StageFailedError(
            f"{stage}: {len(failures)} of {count} items failed, more than the {100 * max_failure_fraction:g}% allowed; "
            f"the last was {last.item}: {last.reason} {last.detail}".rstrip(),
            failures=failures,
        )
