"""A language model that says what a function or a list tells it to, for tests and for trying out a pipeline."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from solon.errors import CallFailedError
from solon.records import Choice, Layout, Rendered, Sample, Sampling, StopReason

Reply = str | tuple[str, StopReason] | Exception
"""A text that ended by itself, or one with the reason why it stopped, or an error to raise."""

T = TypeVar("T")


class ScriptedModel:
    """Answers from a script. Words count as tokens; no token ids or log-probabilities of samples are known.

    Args:
        reply: a function of prompt, sampling and seed, or replies given out in order.
        choose: a function of prompt and options that returns natural log-probabilities or an error to raise, or such
            answers in order.
        identity: what the model calls itself.
        layout: how its prompts are laid out.

    Attributes:
        generated: the prompts, samplings and seeds it was asked to continue, in order.
        chosen: the prompts and options it was asked to weigh, in order.
    """

    def __init__(
        self,
        reply: Callable[[Rendered, Sampling, int], Reply] | Sequence[Reply] = (),
        choose: (
            Callable[[Rendered, tuple[str, ...]], tuple[float, ...] | Exception]
            | Sequence[tuple[float, ...] | Exception]
        ) = (),
        identity: str = "scripted",
        layout: Layout = "chat",
    ) -> None:
        self._identity = identity
        self._layout = layout
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

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        """Say what the script says; see `LanguageModel.generate`."""
        place = len(self.generated)
        self.generated.append((prompt, sampling, seed))
        await asyncio.sleep(0)
        reply = self._reply(prompt, sampling, seed) if callable(self._reply) else _at(self._reply, place, "reply")
        if isinstance(reply, Exception):
            raise reply
        text, stop_reason = reply if isinstance(reply, tuple) else (reply, "end")
        return Sample(
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

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Weigh as the script says; see `LanguageModel.choose`."""
        place = len(self.chosen)
        self.chosen.append((prompt, options))
        await asyncio.sleep(0)
        answer = self._choose(prompt, options) if callable(self._choose) else _at(self._choose, place, "choice")
        if isinstance(answer, Exception):
            raise answer
        return Choice(options=options, logprobs=answer, model=self._identity, prompt_tokens=len(prompt.text.split()))


def _at(script: Sequence[T], place: int, what: str) -> T:
    if place >= len(script):
        raise CallFailedError(f"the script has {len(script)} {what} entries and was asked for one more")
    return script[place]
