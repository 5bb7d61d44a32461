"""A model behind the journal: a call is found again instead of repeated, or committed before its result is used.

A call's key is the digest of all that decides its answer: the model's identity, the rendered prompt, the sampling
parameters or options, and the seed. A run that was interrupted executes the same code again and finds its finished
calls in its journal. A call that is found in the journal of another run, as when a constitution was edited, is copied,
so that the run's own journal holds every call its records name.

Where a model's limit does nothing but cut (`LanguageModel.limit_only_cuts`), an answer that ended by itself is the
answer under every limit that it keeps to, a lower one than it was drawn with too. It answers such calls and is copied
for each of them. An answer that was cut answers no other call.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from solon.errors import JournalError
from solon.lm.journal import Journal, Kind
from solon.lm.protocol import LanguageModel
from solon.lm.spelling import find_spellings
from solon.messages import describe_error
from solon.records import Choice, Layout, Rendered, Sample, Sampling, TokenCounts
from solon.storage import content_digest

T = TypeVar("T", Sample, Choice)


@dataclass
class CallCounter:
    """The books of a stage: calls used, how many of them were replayed, and their tokens (replayed ones included)."""

    calls: int = 0
    replayed: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0

    @property
    def tokens(self) -> TokenCounts:
        """Tokens as a record."""
        return TokenCounts(prompt=self.prompt_tokens, generated=self.generated_tokens)


class JournaledModel:
    """A model whose calls are looked up in a journal first, and committed to it before they are returned.

    Calls that are equal while the first is still under way are made once.

    Args:
        inner: the model that answers what is not in the journal.
        journal: where calls are kept.
        counter: the books to keep; a stage's own.
    """

    def __init__(self, inner: LanguageModel, journal: Journal, counter: CallCounter | None = None) -> None:
        self._inner = inner
        self._journal = journal
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self.counter = counter if counter is not None else CallCounter()

    @property
    def identity(self) -> str:
        """The inner model's."""
        return self._inner.identity

    @property
    def layout(self) -> Layout:
        """The inner model's."""
        return self._inner.layout

    @property
    def limit_only_cuts(self) -> bool:
        """As of the inner model."""
        return self._inner.limit_only_cuts

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        """Replay or make the call; see `LanguageModel.generate`."""
        request = _generate_request(self.identity, prompt, sampling, seed)

        def replay(response: dict[str, Any], key: str) -> Sample:
            return Sample(model=self.identity, sampling=sampling, seed=seed, call=key, **response)

        sample = await self._call(
            "generate",
            request,
            lambda: self._inner.generate(prompt, sampling, seed=seed),
            lambda sample: sample.model_dump(mode="json", exclude={"model", "sampling", "seed", "call"}),
            replay,
        )
        self.counter.generated_tokens += sample.generated_tokens
        return sample

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Replay or make the call; see `LanguageModel.choose`."""
        request = _choose_request(self.identity, prompt, options)

        def replay(response: dict[str, Any], key: str) -> Choice:
            return Choice(model=self.identity, options=options, call=key, **response)

        return await self._call(
            "choose",
            request,
            lambda: self._inner.choose(prompt, options),
            lambda choice: choice.model_dump(mode="json", exclude={"model", "options", "call"}),
            replay,
        )

    def spellings(self, prompt: Rendered, options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Return the inner model's spellings; see `SpellingModel`."""
        return find_spellings(self._inner, prompt, options)

    async def _call(
        self,
        kind: Kind,
        request: dict[str, Any],
        make: Callable[[], Any],
        dump: Callable[[T], dict[str, Any]],
        replay: Callable[[dict[str, Any], str], T],
    ) -> T:
        text = _dump(request)
        key = content_digest([kind, text])
        while (other := self._under_way.get(key)) is not None:
            await asyncio.wait([other])
        stored = self._journal.find(key)
        if stored is None and kind == "generate" and self.limit_only_cuts:
            stored = self._journal.find_ended(text)
        if stored is not None:
            response = stored.response
            self.counter.replayed += 1
            if stored.file != self._journal.path or stored.key != key:
                await self._journal.add(key, kind, text, _dump(response))
        else:
            done = self._under_way[key] = asyncio.get_running_loop().create_future()
            try:
                response = dump(await make())
                await self._journal.add(key, kind, text, _dump(response))
            finally:
                del self._under_way[key]
                done.set_result(None)
        try:
            result = replay(response, key)
        except (TypeError, ValidationError) as error:
            if stored is None:
                raise
            said = describe_error(error)
            raise JournalError(
                f"{stored.file}: call {stored.key} holds no answer ({said}): restore the file from a copy"
            ) from error
        self.counter.calls += 1
        self.counter.prompt_tokens += result.prompt_tokens
        return result


def _generate_request(identity: str, prompt: Rendered, sampling: Sampling, seed: int) -> dict[str, Any]:
    drawn = [sampling.temperature, sampling.max_tokens, sampling.top_p]
    if sampling.min_p > 0.0:  # absent where it cuts nothing: calls made before it was known keep their keys
        drawn.append(sampling.min_p)
    return {
        "model": identity,
        **_prompt_request(prompt),
        "sampling": drawn,
        "seed": seed,
    }


def _choose_request(identity: str, prompt: Rendered, options: tuple[str, ...]) -> dict[str, Any]:
    return {"model": identity, **_prompt_request(prompt), "options": options}


def _prompt_request(prompt: Rendered) -> dict[str, Any]:
    turns = [[turn.role, [[int(span.trusted), span.text] for span in turn.spans]] for turn in prompt.turns]
    return {"layout": prompt.layout, "turns": turns, "stop": prompt.stop}


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
