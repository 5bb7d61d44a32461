"""What a run has asked and paid so far, and the limits at which it stops: calls, cost, hours.

A call is let through if with it, and with all that is under way at their most, no limit is passed. Otherwise it waits
for those under way, which may cost less than their most; where none is, the limit is reached. So a run stops with
nothing half done, and calls that a journal has count nothing. Only a try that failed and may have been charged can make
a call cost more than was foreseen.

The most a call may cost is known before it is made: a token is no shorter than a byte, and limits say what is written.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Final, Protocol, runtime_checkable

from solon.errors import ConfigError, LimitReachedError
from solon.lm.tries import Try
from solon.lm.uses import RoleTries
from solon.records import Rendered

MILLION: Final = 1_000_000

_TURN_TOKENS: Final = 64
"""More than a server's chat template writes around a turn."""


@dataclass(frozen=True)
class Price:
    """What a million tokens cost, in one currency.

    Attributes:
        prompt: of a prompt.
        output: written.
        cached: of a prompt, had in a cache.
    """

    prompt: float
    output: float
    cached: float

    def of(self, prompt: float, output: float, cached: float = 0.0) -> float:
        """Return what so many tokens cost; those had in a cache are among the prompt's."""
        return ((prompt - cached) * self.prompt + cached * self.cached + output * self.output) / MILLION

    def counted(self, tries: RoleTries) -> float:
        """Return what tries cost by the server's count."""
        return self.of(tries.prompt_tokens, tries.generated_tokens, tries.cached_tokens)

    def uncounted(self, tries: RoleTries) -> float:
        """Return what those tries cost at most that were not counted: perhaps paid, or answered without a count."""
        return self.of(tries.most_prompt, tries.most_generated)


@dataclass(frozen=True)
class Caps:
    """The limits of a run; None for none.

    Attributes:
        calls: most calls that are made, over all starts.
        cost: most money, over all starts.
        hours: most hours of this start.

    Raises:
        ConfigError: one is no number, or below 0.
    """

    calls: int | None = None
    cost: float | None = None
    hours: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"--max-{field.name}: expected a number of at least 0, found {value}")


class Spending:
    """What was spent, and the limits on it.

    Args:
        caps: the limits.
        calls: made at earlier starts.
        cost: of earlier starts.
        read_hours: returns the hours of this start.

    Attributes:
        calls: made so far, those under way included.
        cost: so far; what no server counted at its most.
    """

    def __init__(
        self,
        caps: Caps | None = None,
        *,
        calls: int = 0,
        cost: float = 0.0,
        read_hours: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._caps = caps or Caps()
        self._read_hours = read_hours
        self._waiting: list[asyncio.Future[None]] = []
        self._under_way = 0
        self._at_most = 0.0
        self.calls = calls
        self.cost = cost

    @asynccontextmanager
    async def admit(self, most: float) -> AsyncIterator[None]:
        """Have a call made within, as soon as it fits.

        Args:
            most: what it may cost.

        Raises:
            LimitReachedError: it does not fit, and nothing is under way any more.
        """
        # Looked at anew after each call that ends: it may have cost less than its most.
        while (reached := self._find_reached(most)) is not None:
            if not self._under_way:
                raise LimitReachedError(reached)
            self._waiting.append(waits := asyncio.get_running_loop().create_future())
            await waits
        self.calls += 1
        self._under_way += 1
        self._at_most += most
        try:
            yield
        finally:
            self._under_way -= 1
            self._at_most = self._at_most - most if self._under_way else 0.0
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                if not each.done():
                    each.set_result(None)

    def check_hours(self) -> None:
        """Stop training that takes longer than the run may.

        Raises:
            LimitReachedError: it does.
        """
        if (reached := self._find_late()) is not None:
            raise LimitReachedError(reached)

    def _find_reached(self, most: float) -> str | None:
        """Return which limit a call of a cost would pass, in words."""
        caps = self._caps
        if caps.calls is not None and self.calls + 1 > caps.calls:
            return f"--max-calls {caps.calls}"
        if caps.cost is not None and most > 0.0 and self.cost + self._at_most + most > caps.cost:
            return f"--max-cost {caps.cost:g}"
        return self._find_late()

    def _find_late(self) -> str | None:
        hours = self._caps.hours
        return f"--max-hours {hours:g}" if hours is not None and self._read_hours() >= hours else None


@runtime_checkable
class ManyRequests(Protocol):
    """A model that may take several requests to weigh options."""

    def count_requests(self, options: tuple[str, ...]) -> int:
        """Return how many requests at most."""
        ...


@dataclass(frozen=True)
class Account:
    """For whom calls are made.

    Attributes:
        stage: the stage.
        role: the role.
        spending: of the run.
        price: of the model; None where it costs nothing, or nobody said what.
    """

    stage: str
    role: str
    spending: Spending
    price: Price | None = None

    def cost_at_most(self, prompt: int, output: int) -> float:
        """Return what a call costs at most."""
        return 0.0 if self.price is None else self.price.of(prompt, output)

    def note_try(self, made: Try, *, prompt: int, output: int) -> None:
        """Count what a try cost; at its most, which is given in tokens, where that is not known.

        Args:
            made: the try.
            prompt: most tokens of its prompt.
            output: most tokens written.
        """
        if self.price is None or (made.fault is not None and not made.maybe_paid):
            return
        read = prompt if made.prompt_tokens is None else made.prompt_tokens
        written = output if made.generated_tokens is None else made.generated_tokens
        self.spending.cost += self.price.of(read, written, made.cached_tokens or 0)


def count_most_tokens(prompt: Rendered) -> int:
    """Return at least as many as a prompt has tokens."""
    return sum(len(turn.text.encode()) + _TURN_TOKENS for turn in prompt.turns)
