"""A language model that says what a function, a list or a file tells it to, for tests and for trying out a pipeline.

A file holds JSON lines. A line with `reply`, a text or a list of texts of which the call's seed takes one, answers a
prompt; one with `choose`, probabilities of the options in their order, weighs options. `contains`, a text or a list of
texts that all have to stand in the prompt, says which prompts a line is for; the first line that is for a prompt
answers it, and a prompt that none is for has failed. `stop_reason` is `end` if left out.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Self, TypeVar

from pydantic import ValidationError, model_validator

from solon.errors import CallFailedError, ModelError, RecordError
from solon.lm.protocol import LanguageModel
from solon.lm.spec import ModelSpec
from solon.lm.thoughts import Thinking, keep_thought_apart
from solon.messages import describe_misfit
from solon.records import Choice, Config, Layout, Rendered, Sample, Sampling, StopReason
from solon.storage import file_digest, read_object, read_text

Reply = str | tuple[str, StopReason] | Exception
"""A text that ended by itself, or one with the reason why it stopped, or an error to raise."""

Weighed = tuple[float, ...] | Choice | Exception
"""Natural log-probabilities of the options, or all that a server would say of them, or an error to raise."""

T = TypeVar("T")


class ScriptedModel:
    """Answers from a script. Words count as tokens; no token ids or log-probabilities of samples are known.

    Args:
        reply: a function of prompt, sampling and seed, or replies given out in order.
        choose: a function of prompt and options that returns natural log-probabilities, a choice without a mass or of
            drawn answers, or an error to raise, or such answers in order.
        identity: what the model calls itself.
        layout: how its prompts are laid out.
        limit_only_cuts: what it says of itself; the script has to keep to it.
        thinking: how its replies mark thoughts, which are kept apart; None for a model that knows none.

    Attributes:
        generated: the prompts, samplings and seeds it was asked to continue, in order.
        chosen: the prompts and options it was asked to weigh, in order.
    """

    def __init__(
        self,
        reply: Callable[[Rendered, Sampling, int], Reply] | Sequence[Reply] = (),
        choose: Callable[[Rendered, tuple[str, ...]], Weighed] | Sequence[Weighed] = (),
        identity: str = "scripted",
        layout: Layout = "chat",
        *,
        limit_only_cuts: bool = False,
        thinking: Thinking | None = None,
    ) -> None:
        self._identity = identity
        self._layout = layout
        self._limit_only_cuts = limit_only_cuts
        self._thinking = thinking
        self._reply = reply
        self._choose = choose
        self.generated: list[tuple[Rendered, Sampling, int]] = []
        self.chosen: list[tuple[Rendered, tuple[str, ...]]] = []

    @property
    def identity(self) -> str:
        """The name it was given."""
        return self._identity

    @property
    def layout(self) -> Layout:
        """The layout it was given."""
        return self._layout

    @property
    def limit_only_cuts(self) -> bool:
        """What it was told to say."""
        return self._limit_only_cuts

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        """Say what the script says; see `LanguageModel.generate`."""
        place = len(self.generated)
        self.generated.append((prompt, sampling, seed))
        await asyncio.sleep(0)
        reply = self._reply(prompt, sampling, seed) if callable(self._reply) else _at(self._reply, place, "reply")
        if isinstance(reply, Exception):
            raise reply
        text, stop_reason = reply if isinstance(reply, tuple) else (reply, "end")
        sample = Sample(
            text=text,
            token_ids=None,
            logprobs=None,
            stop_reason=stop_reason,
            model=self._identity,
            sampling=sampling,
            seed=seed,
            prompt_tokens=len(prompt.text.split()),
            generated_tokens=len(text.split()),
        )
        return keep_thought_apart(sample, self._thinking)

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Weigh as the script says; see `LanguageModel.choose`."""
        place = len(self.chosen)
        self.chosen.append((prompt, options))
        await asyncio.sleep(0)
        answer = self._choose(prompt, options) if callable(self._choose) else _at(self._choose, place, "choice")
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Choice):
            return answer
        return Choice(options=options, logprobs=answer, model=self._identity, prompt_tokens=len(prompt.text.split()))


class _Line(Config):
    """A line of a file of answers."""

    contains: str | tuple[str, ...] = ()
    reply: str | tuple[str, ...] = ()
    choose: tuple[float, ...] = ()
    stop_reason: StopReason = "end"

    @model_validator(mode="after")
    def _answers(self) -> Self:
        if bool(self.reply) == bool(self.choose):
            raise ValueError("expected either reply or choose")
        if not all(0 < p <= 1 for p in self.choose) or sum(self.choose) > 1 + 1e-9:
            raise ValueError("choose: expected probabilities above 0 that add up to 1 at most")
        return self

    def is_for(self, prompt: Rendered) -> bool:
        wanted = (self.contains,) if isinstance(self.contains, str) else self.contains
        return all(text in prompt.text for text in wanted)


def identify(spec: ModelSpec) -> str:
    """Return the digest of a file of answers; see `Backend`."""
    _read(Path(spec.source))
    return file_digest(Path(spec.source))


def open_model(spec: ModelSpec) -> AbstractContextManager[LanguageModel]:
    """Read a file of answers; see `Backend`."""
    path = Path(spec.source)
    lines = _read(path)

    def reply(prompt: Rendered, sampling: Sampling, seed: int) -> Reply:
        line = next((line for line in lines if line.reply and line.is_for(prompt)), None)
        if line is None:
            return CallFailedError(f"{path}: no line with a reply is for this prompt")
        texts = (line.reply,) if isinstance(line.reply, str) else line.reply
        return texts[seed % len(texts)], line.stop_reason

    def choose(prompt: Rendered, options: tuple[str, ...]) -> Weighed:
        line = next((line for line in lines if len(line.choose) == len(options) and line.is_for(prompt)), None)
        if line is None:
            return CallFailedError(f"{path}: no line that chooses among {len(options)} options is for this prompt")
        return tuple(math.log(p) for p in line.choose)

    return nullcontext(ScriptedModel(reply, choose, f"{path.name}@{file_digest(path)[:16]}", spec.layout))


def _read(path: Path) -> list[_Line]:
    try:
        lines = read_text(path).removesuffix("\n").split("\n")
        return [_read_line(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    except RecordError as error:
        raise ModelError(f"a scripted model cannot be read: {error}") from error


def _read_line(line: str, where: str) -> _Line:
    try:
        return _Line.model_validate(read_object(line, where=where))
    except ValidationError as error:
        raise RecordError(f"{where}: {describe_misfit(error)}") from error


def _at(script: Sequence[T], place: int, what: str) -> T:
    if place >= len(script):
        raise CallFailedError(f"the script has {len(script)} {what} entries and was asked for one more")
    return script[place]
