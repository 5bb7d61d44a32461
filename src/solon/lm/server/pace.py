"""Who is next, and when: a queue in which calls that were begun come first, and limits per minute."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter

_CHARACTERS_PER_TOKEN = 4
"""Rough, for English as JSON; the server's own count puts it right afterwards."""


class Turnstile:
    """Lets one call through at a time: those that were tried before first, and else in their order."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def passing(self, *, is_new: bool) -> AsyncIterator[None]:
        """Wait for one's turn, and have it within.

        Args:
            is_new: whether the call was not tried before.
        """
        if self._is_taken:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (is_new, next(self._numbers), turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():  # it was our turn already
                    self._pass_on()
                raise
        self._is_taken = True
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        """Give the turn to the next that still waits; it stays taken meanwhile, so that nobody slips in between."""
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._is_taken = False


class Pace:
    """Limits of requests and tokens per minute, spread evenly: no more than a second's worth, or one, at once.

    Args:
        requests_per_minute: None for no limit.
        tokens_per_minute: likewise.
    """

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        self._requests = None if requests_per_minute is None else _limiter(requests_per_minute)
        self._tokens = None if tokens_per_minute is None else _limiter(tokens_per_minute)
        self._owed = 0.0  # tokens by which estimates fell short; negative where they were too high

    async def wait(self, characters: int) -> None:
        """Wait until a request may be sent.

        Args:
            characters: of its body.
        """
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            self._owed += _estimate(characters)
            while self._owed > 0:  # in pieces: no more can be taken at once than the limiter holds
                piece = min(self._owed, self._tokens.max_rate)
                self._owed -= piece
                await self._tokens.acquire(piece)

    def correct(self, characters: int, tokens: int) -> None:
        """Take note of how many tokens a request came to, by the server's count; the next one waits for the rest."""
        if self._tokens is not None:
            self._owed += tokens - _estimate(characters)


def _limiter(per_minute: int) -> AsyncLimiter:
    at_once = max(1.0, per_minute / 60)
    return AsyncLimiter(at_once, 60 * at_once / per_minute)


def _estimate(characters: int) -> float:
    return characters / _CHARACTERS_PER_TOKEN
