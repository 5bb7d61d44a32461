"""Doing asynchronous work from ordinary code, wherever that is called from.

A notebook runs an event loop of its own, and another cannot be started in its thread. There the work is done in a
thread of its own, whole, and waited for; interrupting the notebook then stops the waiting, not the work.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def run_blocking(work: Callable[[], T]) -> T:
    """Call `work` where no event loop is running: here, or in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    outcome: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=target, name="solon", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return outcome[0]
