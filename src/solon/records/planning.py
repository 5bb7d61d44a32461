"""What a run was expected to ask, train and cost before it was begun, or went on."""

from typing import ClassVar, Literal

from pydantic import Field

from solon.records.base import Record

Basis = Literal["tokenizer", "sample", "characters", "journal", "limit"]
"""What a number of tokens rests on: all were counted; a sample was; four characters were taken for one; calls of this
stage and role that a journal has were that long on average; the limits of the configuration."""


class PlannedCalls(Record):
    """What one role is still to be asked in one stage; None is what is not known.

    Attributes:
        stage: the stage.
        role: the role, or the name of a model that the run makes.
        what: what is asked for.
        calls: all calls, at most.
        fixed: whether they are exactly so many, but for failures.
        answered: calls that a journal has already; those below are of the others.
        prompt_tokens: of their prompts.
        most_prompt_tokens: the same where every text that is not known yet is as long as its limit.
        prompt_basis: what the first of these rests on.
        output_tokens: written.
        most_output_tokens: at most, by the limits.
        output_basis: what the first of these rests on.
        seconds: they take, at the pace of the calls that a journal has.
        priced: whether the model is behind a server, which may cost money.
        cost: what they cost.
        most_cost: at most, tries that fail not counted.
    """

    stage: str
    role: str
    what: str
    calls: int | None
    fixed: bool
    answered: int = 0
    prompt_tokens: int | None = None
    most_prompt_tokens: int | None = None
    prompt_basis: Basis | None = None
    output_tokens: int | None = None
    most_output_tokens: int | None = None
    output_basis: Basis | None = None
    seconds: float | None = None
    priced: bool = False
    cost: float | None = None
    most_cost: float | None = None

    @property
    def left(self) -> int | None:
        """Calls that are still to be made, at most."""
        return None if self.calls is None else max(0, self.calls - self.answered)


class PlannedTraining(Record):
    """What one stage is still to learn.

    Attributes:
        stage: the stage.
        tokens: at most, all passes together; 0 where it is done.
        seconds: it took a run with the same settings; None where none is known.
    """

    stage: str
    tokens: int
    seconds: float | None = None


class RunEstimate(Record):
    """All of it.

    Attributes:
        calls: by stage and role, in order.
        training: by stage.
        currency: of costs; None without a table of prices.
    """

    SCHEMA: ClassVar[int] = 1

    calls: tuple[PlannedCalls, ...] = Field()
    training: tuple[PlannedTraining, ...]
    currency: str | None = None
