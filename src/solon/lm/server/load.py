"""How much is asked of each server: as many requests at once as it is quicker with, and none while it is dead.

The number of requests under way grows while answers come and more of them at once means more of them per second. It is
halved when a server says or shows that it is too many, once for all the requests of a wave, and grows by one at a time
after that. Nothing here waits or knows the network: times are given, in seconds of one clock.
"""

import math
from dataclasses import dataclass, field
from typing import Final

from solon.lm.server.faults import LONGEST_WAIT, Fault

START: Final = 8
"""Requests at once to begin with."""

_WORTH: Final = 0.25
"""Share of the further requests at once that has to come out as further answers per second for them to be kept."""

_STEP: Final = 1.5
"""Growth of the requests at once after which it is judged whether it was worth it."""

_HOLD: Final = 16
"""Rounds of answers for which it is left at that where it was not."""

_SILENCES: Final = 3
"""Broken connections and timeouts without an answer between them after which a server is taken for dead."""

FIRST_REST: Final = 1.0
LONGEST_REST: Final = 30.0
"""Seconds for which a dead server is left alone at first, and at most; doubled each time it is found dead."""


class Window:
    """How many requests a server is given at once.

    Args:
        most: never more.

    Attributes:
        size: as many as now.
    """

    def __init__(self, most: int) -> None:
        self.size = min(START, most)
        self._most = most
        self._is_doubling = True
        self._held = 1  # connections are made in the first round, which takes longer than others
        self._resized = self._halved = -math.inf
        self._seconds: list[float] = []  # of the answers of this round
        self._fits: tuple[int, float] | None = None  # a size that was worth it, and the mean seconds of an answer then

    def answered(self, begun: float, now: float, *, was_full: bool) -> None:
        """Take note of an answer.

        Args:
            begun: when it was asked for.
            now: when it came.
            was_full: whether as many requests as there may be were under way when it was asked for; else it tells
                nothing of what so many lead to.
        """
        if begun < self._resized or not was_full:
            return
        self._seconds.append(now - begun)
        if len(self._seconds) >= self.size:
            mean = max(math.fsum(self._seconds) / len(self._seconds), 1e-9)
            self._seconds = []
            self._end_round(mean, now)

    def crowded(self, begun: float, now: float) -> None:
        """Take note that the server had too many requests when one was asked for; halve, once for each wave."""
        if begun < self._halved:
            return
        self._halved = now
        self._is_doubling, self._fits, self._held = False, None, 0
        self._resize(self.size // 2, now)

    def _end_round(self, mean: float, now: float) -> None:
        if self._held:
            self._held -= 1
            self._fits = self.size, mean  # what is asked, and how long it takes, may have become other
            return
        if self._fits is None:
            self._fits = self.size, mean
        elif self.size >= _STEP * self._fits[0]:
            size, seconds = self._fits
            more = self.size / size
            if more * seconds / mean < 1 + _WORTH * (more - 1):
                self._is_doubling, self._held = False, _HOLD
                self._resize(size, now)
                return
            self._fits = self.size, mean
        self._resize(self.size * 2 if self._is_doubling else self.size + 1, now)

    def _resize(self, size: int, now: float) -> None:
        self.size, self._resized, self._seconds = max(1, min(size, self._most)), now, []


@dataclass
class Server:
    """One server: what is under way there, and whether it lives.

    Attributes:
        base: its base URL.
        window: how many requests it is given at once.
        under_way: how many it has.
        last_fault: of any call.
    """

    base: str
    window: Window
    under_way: int = 0
    last_fault: Fault | None = None
    _silences: int = 0
    _rests: int = 0
    _rested_at: float = -math.inf
    _pause_ends: float = -math.inf
    rest_ends: float | None = field(default=None, init=False)
    """When it may be tried again; None while it is not taken for dead."""

    def has_room(self, now: float) -> bool:
        """Say whether it may be given a request: of a dead one, whether its rest is over and none is under way."""
        if now < self.opens_at:
            return False
        return self.under_way == 0 if self.rest_ends is not None else not self.is_full

    @property
    def opens_at(self) -> float:
        """When it may be given a request: after its rest, and after the pause that it asked for."""
        return self._pause_ends if self.rest_ends is None else max(self._pause_ends, self.rest_ends)

    @property
    def load(self) -> float:
        """Share of its window that is under way."""
        return self.under_way / self.window.size

    @property
    def is_full(self) -> bool:
        """Whether as many requests are under way as there may be."""
        return self.under_way >= self.window.size

    def answered(self, begun: float, now: float, *, was_full: bool) -> None:
        """Take note of an answer; see `Window.answered`."""
        self._heard()
        self.window.answered(begun, now, was_full=was_full)

    def failed(self, fault: Fault, begun: float, now: float) -> None:
        """Take note of a fault."""
        self.last_fault = fault
        if fault.is_crowding:
            self.window.crowded(begun, now)
            if fault.wait is not None and fault.wait <= LONGEST_WAIT:
                self._pause_ends = max(self._pause_ends, now + fault.wait)
        if not fault.is_silence:
            self._heard()
            return
        self._silences += 1
        is_dead = fault.reason == "unreachable" or self._silences >= _SILENCES or self.rest_ends is not None
        if is_dead and begun >= self._rested_at:  # one that was under way when the rest began says nothing new
            self.rest_ends = now + min(LONGEST_REST, FIRST_REST * 2.0 ** min(self._rests, 30))
            self._rests += 1
            self._rested_at = now

    def _heard(self) -> None:
        self._silences = self._rests = 0
        self.rest_ends = None
