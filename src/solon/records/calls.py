"""What goes into a model call and what comes out of it."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from solon.records.base import Config, Record, refuse_fields

StopReason = Literal["end", "stop", "length"]
Fault = Literal["empty", "truncated"]


_LOWEST_TEMPERATURE: Final = 1e-4
"""Below it, logits divided by a temperature leave the range in which a softmax can tell them apart."""


def _check_temperature(value: float) -> float:
    if 0.0 < value < _LOWEST_TEMPERATURE:
        raise ValueError(f"give 0, which is greedy, or at least {_LOWEST_TEMPERATURE:g}")
    return value


Temperature = Annotated[float, Field(ge=0.0, allow_inf_nan=False), AfterValidator(_check_temperature)]
"""A temperature to draw at: 0 is greedy."""

MAY_GROW: Final = "a limit on what a model may write, which a run that exists may be asked to raise"

TokenLimit = Annotated[int, Field(ge=1), MAY_GROW]
"""A field of a configuration that says how many tokens a model may write at most."""


TopP = Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)]
"""Mass of the nucleus: the smallest set of most likely tokens that reaches it is drawn from; 1 keeps everything."""

MinP = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
"""Least probability of a token that is drawn, as a share of the most likely one's; 0 keeps everything."""


def _without_defaults(record: BaseModel, body: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return the JSON of a record without those of some fields that have their defaults."""
    fields = type(record).model_fields
    return {
        name: value
        for name, value in body.items()
        if name not in names or getattr(record, name) != fields[name].default
    }


class Sampling(Record):
    """How a continuation is drawn. What is left out is as stated here: no backend has a default of its own.

    `top_p` and `min_p` look at the distribution at `temperature`, each at the whole of it: what either cuts is not
    drawn (`solon.inference.sampling` has the equation).

    Attributes:
        temperature: 0 is greedy; 1 is the model's own distribution (the paper's choice throughout).
        max_tokens: at most this many generated tokens.
        top_p: nucleus mass; 1 keeps everything.
        min_p: a token is drawn only if it has at least this share of the most likely one's probability; 0 keeps
            everything, and is left out of JSON.
    """

    temperature: Temperature = 1.0
    max_tokens: int = Field(64, ge=1)
    top_p: TopP = 1.0
    min_p: MinP = 0.0

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keep records without it equal to those that were written before there was a `min_p`."""
        body: dict[str, Any] = dump(self)
        return _without_defaults(self, body, ("min_p",))


_ELSEWHERE: Final = {
    "layout": "belongs to the model that is asked, not to the stage that asks it: set  models.ROLE.layout,  such as "
    "models.assistant.layout"
}
"""What the data stages could set once, and where it is said now."""


class DrawConfig(Config):
    """How a data stage draws its texts; the configuration of each such stage has these fields.

    Attributes:
        temperature: of every draw; 0 is greedy. Paper: 1.
        top_p: nucleus mass; 1 keeps everything. Paper: not stated.
        min_p: least probability of a token, as a share of the most likely one's; 0 keeps everything. Paper: none.
    """

    @model_validator(mode="before")
    @classmethod
    def _refuse_layout(cls, given: object) -> object:
        refuse_fields(given, _ELSEWHERE)
        return given

    temperature: Temperature = 1.0
    top_p: TopP = 1.0
    min_p: MinP = 0.0

    def sampling(self, max_tokens: int) -> Sampling:
        """Return how a text of at most so many tokens is drawn."""
        return Sampling(temperature=self.temperature, max_tokens=max_tokens, top_p=self.top_p, min_p=self.min_p)


class SampledTokens(Record):
    """The tokens that a text was sampled as, which need not be those that a tokenizer reads the text as.

    Attributes:
        ids: of the text, its end token and the thought before it left out; they may go on after the text where it was
            cut or edited.
        vocabulary: digest of the vocabulary that they are of; they mean nothing in another.
    """

    ids: tuple[int, ...]
    vocabulary: str


class Sample(Record):
    """One continuation.

    Attributes:
        text: the continuation, without its end token or stop string, and without the thought before it.
        token_ids: generated tokens, the end token included where there is one; None where a server hides them.
        logprobs: natural log-probability of each token of `token_ids` under the distribution it was drawn from
            at temperature 1; None where a server hides them.
        stop_reason: `end` (the model ended its turn), `stop` (a stop string), `length` (cut off).
        model: identity of the model that wrote it.
        sampling: how it was drawn.
        seed: the seed of this draw.
        prompt_tokens: tokens read.
        generated_tokens: tokens written.
        call: key of the call in the journal; empty where none was kept.
        vocabulary: digest of the vocabulary that `token_ids` are of; empty where it is not known.
        trimmed: True where the limit cut it off and what stood after its last whole sentence was taken away; the
            tokens and their log-probabilities are of all that was sampled. Left out of JSON where False.
        thought: what the model thought before `text`, where its chat template marks thoughts; None where it wrote none.
            The tokens and their log-probabilities are of both. Left out of JSON where None.
        thought_closed: False where the thought never ended: no response was begun, and `text` is empty. Left out of
            JSON where True.
        thought_tokens: how many of `token_ids` come before `text`: the thought's, marks and spaces too. Left out of
            JSON where 0.
    """

    text: str
    token_ids: tuple[int, ...] | None
    logprobs: tuple[float, ...] | None
    stop_reason: StopReason
    model: str
    sampling: Sampling
    seed: int
    prompt_tokens: int
    generated_tokens: int
    call: str = ""
    vocabulary: str = ""
    trimmed: bool = False
    thought: str | None = None
    thought_closed: bool = True
    thought_tokens: int = 0

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keep records without these fields equal to those that were written before there were any."""
        body: dict[str, Any] = dump(self)
        return _without_defaults(self, body, ("trimmed", "thought", "thought_closed", "thought_tokens"))

    @property
    def cut(self) -> bool:
        """Whether the token limit ended it, trimmed or not: it never came to an end of its own."""
        return self.stop_reason == "length"

    @property
    def is_beginning(self) -> bool:
        """Whether it is a text that the token limit cut off after it had begun to say something."""
        return self.cut and not self.trimmed and self.thought_closed and bool(self.text.strip())

    @property
    def fault(self) -> Fault | None:
        """Why the text is neither built on nor learnt from; None where it may be.

        `truncated` was cut off by the token limit, whatever it says by then, unless it was trimmed to whole sentences,
        to be built on and never learnt from as a response; or its thought never ended. `empty` ended without saying
        anything.
        """
        if not self.thought_closed or (self.cut and not self.trimmed):
            return "truncated"
        return None if self.text.strip() else "empty"

    @property
    def tokens(self) -> SampledTokens | None:
        """What the text was sampled as; None where that is not on record."""
        if self.token_ids is None or not self.vocabulary:
            return None
        ids = self.token_ids[:-1] if self.stop_reason == "end" else self.token_ids
        return SampledTokens(ids=ids[self.thought_tokens :], vocabulary=self.vocabulary)


class Reading(Record):
    """How log-probabilities of options were read: what every record that holds some has.

    A model in this process gives exact ones, of all that it may say. Of a server neither need be true. Each field is
    left out of JSON at its default.

    Attributes:
        has_mass: whether the log-probabilities are of all that the model may say; False where they are of the options
            relative to each other, so that their sum tells nothing.
        dialect: how a server was read; empty where log-probabilities are exact and come from this process.
        draws: how many drawn answers the probabilities are shares of, so that they are estimates; None where they are
            the model's own.
    """

    has_mass: bool = True
    dialect: str = ""
    draws: int | None = Field(None, ge=1)

    @model_serializer(mode="wrap")
    def _leave_out_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keep records without these fields equal to those that were written before there were any."""
        body: dict[str, Any] = dump(self)
        return _without_defaults(self, body, Reading.model_fields)

    def _sum(self, logprobs: Iterable[float]) -> float | None:
        """Return the probability of any of the options; None where only their proportions are known."""
        return min(1.0, math.fsum(map(math.exp, logprobs))) if self.has_mass else None


class Choice(Reading):
    """Log-probabilities of fixed options after a prompt; exact unless `Reading` says otherwise.

    Attributes:
        options: the texts that were scored, in order.
        logprobs: natural log of the probability that the model continues with each, or, without a mass, that it
            prefers each to the others. Shape (K,).
        model: identity of the model that scored them.
        prompt_tokens: tokens read.
        call: key of the call in the journal; empty where none was kept.
    """

    options: tuple[str, ...]
    logprobs: tuple[float, ...]
    model: str
    prompt_tokens: int
    call: str = ""

    @property
    def mass(self) -> float | None:
        """Probability that the model continues with any of the options, in [0, 1]; None where it is not known."""
        return self._sum(self.logprobs)


class Failure(Record):
    """An item of a stage that came to nothing, and why. It is counted and never trained on.

    Attributes:
        item: id of the item.
        stage: where it failed.
        reason: short machine-readable name, e.g. `call_failed`, `truncated_response`, `empty_critique`.
        detail: for people.
        call: key in the journal of the call whose answer is at fault; empty where no call was answered, or none kept.
    """

    item: str
    stage: str
    reason: str
    detail: str = ""
    call: str = ""

    @classmethod
    def of_text(cls, sample: Sample, what: str, *, item: str, stage: str, where: str = "") -> Self:
        """Return the failure of an item for which a model wrote a text with a fault.

        Args:
            sample: the text; has a fault.
            what: what it should have been, e.g. `response`.
            item: id of the item.
            stage: where it failed.
            where: what the detail begins with, for people.
        """
        said = "the model wrote nothing"
        if sample.fault == "truncated":
            said = "the model ended within its thought"
            if sample.cut:
                of = "" if sample.thought_closed else " of its thought"
                said = f"no end{of} within {sample.sampling.max_tokens} tokens"
        return cls(item=item, stage=stage, reason=f"{sample.fault}_{what}", detail=where + said, call=sample.call)


def count_reasons(failures: Iterable[Failure]) -> dict[str, int]:
    """Count failures by reason, sorted by name."""
    return dict(sorted(Counter(failure.reason for failure in failures).items()))
