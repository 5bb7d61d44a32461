"""A model behind the journal: a call is found again instead of repeated, or committed before its result is used.

A call's key is the digest of all that decides its answer: the model's identity, the rendered prompt, the sampling
parameters or options, and the seed. A run that was interrupted executes the same code again and finds its finished
calls in its journal. A call that is found in the journal of another run, as when a constitution was edited, is copied,
so that the run's own journal holds every call its records name.

Of an identity the key has what decides answers: a checkpoint whose folder was moved or renamed is the same
(`NamedModel`). Journals of before that have the name of the folder in their keys; their calls are found, and copied,
for as long as the folder is called so.

Where a model's limit does nothing but cut (`LanguageModel.limit_only_cuts`), an answer that ended by itself is the
answer under every limit that it keeps to, a lower one than it was drawn with too. It answers such calls and is copied
for each of them. An answer that was cut answers no other call.
"""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ValidationError

from solon.errors import JournalError
from solon.lm.journal import Journal, Kind, StoredCall
from solon.lm.passing import PassingModel
from solon.lm.protocol import LanguageModel, find_nameless_identity
from solon.lm.spending import Account, ManyRequests, Spending, count_most_tokens
from solon.lm.tries import Try, keeping_tries
from solon.lm.uses import Use
from solon.messages import describe_error
from solon.records import Choice, Rendered, Sample, Sampling, TokenCounts
from solon.storage import content_digest

T = TypeVar("T", Sample, Choice)


@dataclass
class CallCounter:
    """The calls of a stage: how many were used, how many of them replayed, and the tokens of all."""

    calls: int = 0
    replayed: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0

    @property
    def tokens(self) -> TokenCounts:
        """Tokens as a record."""
        return TokenCounts(prompt=self.prompt_tokens, generated=self.generated_tokens)


@dataclass(frozen=True)
class _Call(ABC, Generic[T]):
    """A call of a model. Its answer is stored without what the call itself says, which `parse` adds again."""

    kind: ClassVar[Kind]
    answer: ClassVar[type[Any]]
    model: LanguageModel
    prompt: Rendered

    @cached_property
    def request(self) -> str:
        """All that decides the answer, as JSON."""
        return self._request(find_nameless_identity(self.model))

    @cached_property
    def key(self) -> str:
        """Digest of kind and request."""
        return self.key_of(self.request)

    def requests(self) -> Iterator[str]:
        """Yield the request, and what it was when it held the name of the model's folder too."""
        yield self.request
        if find_nameless_identity(self.model) != self.model.identity:
            yield self._request(self.model.identity)

    def key_of(self, request: str) -> str:
        """Return the key under which a request is stored."""
        return content_digest([self.kind, request])

    def _request(self, model: str) -> str:
        return _dump({"model": model, **_prompt_request(self.prompt), **self._asked()})

    async def make(self) -> dict[str, Any]:
        """Ask the model; return the answer as it is stored."""
        answer = await self._ask()
        return answer.model_dump(mode="json", exclude={"model", "call", *self._said()})

    def parse(self, response: dict[str, Any]) -> T:
        """Return the answer that is stored so."""
        answer: T = self.answer(model=self.model.identity, call=self.key, **self._said(), **response)
        return answer

    @property
    @abstractmethod
    def most_tokens(self) -> tuple[int, int]:
        """At least as many tokens as it may read and write, in all requests it may take."""

    @abstractmethod
    async def _ask(self) -> T: ...

    @abstractmethod
    def _said(self) -> dict[str, Any]:
        """Return the fields of the answer that the call says, beside its model and its key."""

    def _asked(self) -> dict[str, Any]:
        """Return what the request says, beside model and prompt."""
        return self._said()


@dataclass(frozen=True)
class GenerateCall(_Call[Sample]):
    """A call to continue a prompt; see `LanguageModel.generate`."""

    kind = "generate"
    answer = Sample
    sampling: Sampling
    seed: int

    @property
    def most_tokens(self) -> tuple[int, int]:
        """Of one request."""
        return count_most_tokens(self.prompt), self.sampling.max_tokens

    async def _ask(self) -> Sample:
        return await self.model.generate(self.prompt, self.sampling, seed=self.seed)

    def _said(self) -> dict[str, Any]:
        return {"sampling": self.sampling, "seed": self.seed}

    def _asked(self) -> dict[str, Any]:
        drawn = [self.sampling.temperature, self.sampling.max_tokens, self.sampling.top_p]
        if self.sampling.min_p > 0.0:  # absent where it cuts nothing: calls made before it was known keep their keys
            drawn.append(self.sampling.min_p)
        return {"sampling": drawn, "seed": self.seed}


@dataclass(frozen=True)
class ChooseCall(_Call[Choice]):
    """A call to weigh options after a prompt; see `LanguageModel.choose`."""

    kind = "choose"
    answer = Choice
    options: tuple[str, ...]

    @property
    def most_tokens(self) -> tuple[int, int]:
        """Of each request, a token."""
        requests = self.model.count_requests(self.options) if isinstance(self.model, ManyRequests) else 1
        return requests * count_most_tokens(self.prompt), requests

    async def _ask(self) -> Choice:
        return await self.model.choose(self.prompt, self.options)

    def _said(self) -> dict[str, Any]:
        return {"options": self.options}


class JournaledModel(PassingModel):
    """A model whose calls are looked up in a journal first, and committed to it before they are returned.

    Calls that are equal while the first is still under way are made once.

    Args:
        inner: the model that answers what is not in the journal.
        journal: where calls are kept.
        counter: counts its calls; the models of a stage share one.
        account: for whom they are made; None keeps nothing of that.
    """

    def __init__(
        self,
        inner: LanguageModel,
        journal: Journal,
        counter: CallCounter | None = None,
        account: Account | None = None,
    ) -> None:
        super().__init__(inner)
        self._journal = journal
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self.counter = counter if counter is not None else CallCounter()
        self._account = account

    def on_account(self, account: Account) -> "JournaledModel":
        """Return the same model asked for another role: a call that both ask at a time is still made once."""
        other = copy(self)
        other._account = account
        return other

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        """Replay or make the call; see `LanguageModel.generate`."""
        sample = await self._answer(GenerateCall(self._inner, prompt, sampling, seed))
        self.counter.generated_tokens += sample.generated_tokens
        return sample

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Replay or make the call; see `LanguageModel.choose`."""
        return await self._answer(ChooseCall(self._inner, prompt, options))

    async def _answer(self, call: _Call[T]) -> T:
        while (other := self._under_way.get(call.key)) is not None:
            await asyncio.wait([other])
        stored = self._find(call)
        if stored is not None:
            response = stored.response
            self.counter.replayed += 1
            use = self._use(call, response)
            if stored.file != self._journal.path or stored.key != call.key:
                await self._journal.add(call.key, call.kind, call.request, _dump(response), use=use)
            elif use is not None:
                self._journal.add_use(use)
        else:
            done = self._under_way[call.key] = asyncio.get_running_loop().create_future()
            try:
                response = await self._make(call)
            finally:
                del self._under_way[call.key]
                done.set_result(None)
        try:
            result = call.parse(response)
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

    async def _make(self, call: _Call[T]) -> dict[str, Any]:
        """Ask the model, as soon as what may be spent allows it, and keep the answer."""
        prompt, output = call.most_tokens
        account = self._account

        def keep(key: str, made: Try) -> None:
            self._journal.add_try(key, made)
            if account is not None:
                account.note_try(made, prompt=prompt, output=output)

        async with _admitted(account, prompt, output):
            begun = time.time()
            try:
                with keeping_tries(call.key, keep):
                    response = await call.make()
            except Exception:  # one that is cancelled was neither answered nor did it fail
                if (use := self._use(call, None, begun=begun)) is not None:
                    self._journal.add_use(use)
                raise
            use = self._use(call, response, begun=begun)
            await self._journal.add(call.key, call.kind, call.request, _dump(response), use=use)
        return response

    def _use(self, call: _Call[T], response: dict[str, Any] | None, *, begun: float | None = None) -> Use | None:
        """Return how a call was used, None where nobody keeps it; it was made where it has a beginning."""
        if self._account is None:
            return None
        prompt, output = call.most_tokens
        told = response or {}
        return Use(
            call.key,
            self._account.stage,
            self._account.role,
            made=begun is not None,
            answered=response is not None,
            prompt_tokens=told.get("prompt_tokens", 0),
            generated_tokens=told.get("generated_tokens", 0),
            begun=begun,
            ended=None if begun is None else time.time(),
            most_prompt=prompt,
            most_generated=output,
        )

    def _find(self, call: _Call[T]) -> StoredCall | None:
        """Look a call up in its present and former spelling: itself, else one that its limit would not have cut."""
        may_end = call.kind == "generate" and self.limit_only_cuts
        for request in call.requests():
            stored = self._journal.find(call.key_of(request))
            if stored is None and may_end:
                stored = self._journal.find_ended(request)
            if stored is not None:
                return stored
        return None


@asynccontextmanager
async def _admitted(account: Account | None, prompt: int, output: int) -> AsyncIterator[None]:
    """Wait until a call of so many tokens may be made."""
    spending = Spending() if account is None else account.spending
    async with spending.admit(0.0 if account is None else account.cost_at_most(prompt, output)):
        yield


def _prompt_request(prompt: Rendered) -> dict[str, Any]:
    turns = [[turn.role, [[int(span.trusted), span.text] for span in turn.spans]] for turn in prompt.turns]
    return {"layout": prompt.layout, "turns": turns, "stop": prompt.stop}


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
