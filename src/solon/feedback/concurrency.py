"""Several calls of one item at once, all of them finished before the item goes on or fails."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def gather_all(calls: Iterable[Awaitable[T]]) -> list[T]:
    """Await all calls together and return their results in order.

    Calls of one item that are in flight together can be read by a backend in one batch, where they share a
    beginning. None is left running behind the item's back: if some fail, the first of them in order is raised
    after all have ended.
    """
    results = await asyncio.gather(*calls, return_exceptions=True)
    done: list[T] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done
