"""A language model that says what a function tells it to and remembers what it was asked; a constitution to go with it.

Independent of the package's own scripted model, so that the data stages are judged by something else.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from solon.constitution import Constitution, Principle
from solon.errors import CallFailedError
from solon.records import Choice, Conversation, Prompt, PromptKind, Rendered, Sample, Sampling, Split, StopReason

T = TypeVar("T")
Said = str | tuple[str, StopReason] | Exception
Write = Callable[[Rendered, Sampling, int], Said]
Weigh = Callable[[Rendered], tuple[float, float] | Exception]


class Script:
    """Answers by `write` and weighs by `weigh`; yields to other items before it does."""

    def __init__(self, write: Write | None = None, weigh: Weigh | None = None, identity: str = "script") -> None:
        self.identity = identity
        self.asked: list[tuple[Rendered, Sampling, int]] = []
        self.weighed: list[Rendered] = []
        self._write = write
        self._weigh = weigh

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        self.asked.append((prompt, sampling, seed))
        await asyncio.sleep(0)
        assert self._write is not None
        said = self._write(prompt, sampling, seed)
        if isinstance(said, Exception):
            raise said
        text, stop_reason = said if isinstance(said, tuple) else (said, "end")
        return make_sample(text, stop_reason=stop_reason, model=self.identity, sampling=sampling, seed=seed)

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        assert options == ("A", "B")
        self.weighed.append(prompt)
        await asyncio.sleep(0)
        assert self._weigh is not None
        logprobs = self._weigh(prompt)
        if isinstance(logprobs, Exception):
            raise logprobs
        return Choice(options=options, logprobs=logprobs, model=self.identity, prompt_tokens=1, call="scored")


def make_sample(
    text: str,
    *,
    stop_reason: StopReason = "end",
    model: str = "script",
    sampling: Sampling | None = None,
    seed: int = 0,
) -> Sample:
    return Sample(
        text=text,
        token_ids=None,
        logprobs=None,
        stop_reason=stop_reason,
        model=model,
        sampling=sampling or Sampling(),
        seed=seed,
        prompt_tokens=1,
        generated_tokens=1,
    )


def make_prompts(count: int, kind: PromptKind = "red_team", split: Split = "train") -> list[Prompt]:
    return [
        Prompt.make(Conversation.of(f"{kind} request {number}"), kind=kind, source="test", split=split)
        for number in range(count)
    ]


def make_constitution(names: str = "pqrs", **changes: Any) -> Constitution:
    principles = tuple(
        Principle(
            id=name,
            critique_request=f"What is wrong by {name}?",
            revision_request=f"Mend it by {name}.",
            comparison=f"Which is better by {name}?",
        )
        for name in names
    )
    return Constitution(name="test", **{"principles": principles, **changes})


def call_failed(*_: Any) -> Exception:
    return CallFailedError("the line is dead")


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)
