"""Proves the order in which calls are let through, that a turn is never lost, and how limits per minute are spread."""

import asyncio

import pytest

from solon.lm.server import pace
from solon.lm.server.pace import Pace, Turnstile


def test_calls_that_were_tried_before_come_first_and_else_their_order_holds():
    order = []

    async def run():
        turnstile = Turnstile()

        async def one(name, is_new):
            async with turnstile.passing(is_new=is_new):
                order.append(name)
                await asyncio.sleep(0)

        calls = [("new 1", True), ("new 2", True), ("old 1", False), ("new 3", True), ("old 2", False)]
        await asyncio.gather(*(one(*call) for call in calls))

    asyncio.run(run())
    assert order == ["new 1", "old 1", "old 2", "new 2", "new 3"]


@pytest.mark.parametrize("turns", range(6))
def test_a_turn_is_not_lost_with_a_call_that_is_cancelled(turns):
    async def run():
        turnstile = Turnstile()
        inside = 0

        async def one():
            nonlocal inside
            async with turnstile.passing(is_new=True):
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                inside -= 1

        tasks = [asyncio.create_task(one()) for _ in range(5)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks[:4]:
            if not task.done():
                task.cancel()
                inside = 0
        return (await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30))[-1]

    assert asyncio.run(run()) is None


@pytest.mark.parametrize(
    ("per_minute", "at_once", "period"), [(3, 1.0, 20.0), (60, 1.0, 1.0), (6000, 100.0, 1.0), (1, 1.0, 60.0)]
)
def test_a_limit_is_spread_over_the_minute(per_minute, at_once, period):
    limiter = pace._limiter(per_minute)
    assert (limiter.max_rate, limiter.time_period) == (at_once, period)


def test_a_request_of_more_tokens_than_a_second_holds_waits_for_all_of_them(monkeypatch):
    taken = []

    class Limiter:
        def __init__(self, max_rate, time_period):
            self.max_rate = max_rate

        async def acquire(self, amount=1):
            assert amount <= self.max_rate
            taken.append(amount)

    monkeypatch.setattr(pace, "AsyncLimiter", Limiter)

    async def run():
        limits = Pace(None, 600)
        await limits.wait(100)
        limits.correct(100, 40)  # 25 were reckoned with
        await limits.wait(4)

    asyncio.run(run())
    assert taken == [10, 10, 5, 10, 6]
