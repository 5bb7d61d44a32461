"""Prompts, responses and a constitution for tests of the data stages, whose words say which principle they are of."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from solon.constitution import Constitution, Principle
from solon.errors import CallFailedError
from solon.lm import LanguageModel
from solon.records import Conversation, Prompt, PromptKind, Sample, Sampling, StopReason

T = TypeVar("T")


def make_sample(
    text: str,
    *,
    stop_reason: StopReason = "end",
    model: str = "scripted",
    sampling: Sampling | None = None,
    seed: int = 0,
    token_ids: tuple[int, ...] | None = None,
    vocabulary: str = "",
) -> Sample:
    return Sample(
        text=text,
        token_ids=token_ids,
        logprobs=None,
        stop_reason=stop_reason,
        model=model,
        sampling=sampling or Sampling(),
        seed=seed,
        prompt_tokens=1,
        generated_tokens=1,
        vocabulary=vocabulary,
    )


def make_prompts(count: int, kind: PromptKind = "red_team", split: str = "train") -> list[Prompt]:
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


def open_no_model(role: str) -> LanguageModel:
    """Stand in for what opens models, where none may be opened."""
    raise AssertionError(f"the model of {role} was opened")


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)
