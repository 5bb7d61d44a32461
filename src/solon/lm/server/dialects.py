"""The ways in which servers tell how likely an answer is to begin with something, the most exact first.

Each reads the first position that the server generates and no other: no server was found that gets it wrong, while
log-probabilities of a prompt (`echo`) are shifted, missing or invented by several. What stands there is keyed by token
id where the server says ids, and by the text of the token where it does not; two tokens of one text are then one, and
their probabilities are added where the server lists both.

A log-probability that a server leaves out, or writes as null, -9999 or -3.4e38, is not known. It is no key of what is
read; whoever needs it says so.
"""

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from solon.errors import CallFailedError
from solon.lm.server.asking import Asked
from solon.lm.server.reading import (
    as_count,
    as_list,
    as_logprob,
    as_mapping,
    as_number,
    as_text,
    find_doubt,
    find_error,
    pick,
)
from solon.lm.server.transport import Transport

Key = int | str
"""A token by its id, or by its text."""

TOP_COMPLETIONS: Final = 5
"""Most candidates of OpenAI's completions."""

TOP_CHAT: Final = 20
"""Most candidates of OpenAI's chat, and of vLLM as it comes."""

TOP_LLAMA: Final = 128
"""Candidates asked of llama.cpp, which has no bound of its own."""

MOST_IDS: Final = 128
"""Most ids that vLLM takes in `logprob_token_ids`."""

_TOKEN_ID: Final = "token_id:"
"""What vLLM writes before an id in the place of a token's text."""

_GREEDY: Final[Mapping[str, object]] = {"temperature": 0, "top_p": 1}

_NEXT: Final = 1
"""Tokens that are generated: the label's."""


@dataclass(frozen=True)
class Position:
    """What a server says of the first position that it generated.

    Attributes:
        logprobs: natural log of the probability of each token that is known.
        sampled: the token that was generated, at temperature 0; None where it is not said.
        prompt_tokens: tokens read; None where they are not said.
    """

    logprobs: dict[Key, float] = field(default_factory=dict)
    sampled: Key | None = None
    prompt_tokens: int | None = None


class Dialect(ABC):
    """One way to read the first generated position.

    Attributes:
        name: what labels that were read so are marked with.
        path: the route.
        keys: what tokens are known by.
        names: whether it can be asked for certain tokens, so that none can be missing.
        one_by_one: whether each of them is a request of its own.
    """

    name: ClassVar[str]
    path: ClassVar[str]
    keys: ClassVar[Literal["ids", "texts"]]
    names: ClassVar[bool] = False
    one_by_one: ClassVar[bool] = False

    def __init__(self, limit: str = "max_tokens") -> None:
        self._limit = limit

    async def read(self, transport: Transport, model: str, asked: Asked, wanted: Sequence[Key]) -> Position:
        """Ask for the first position after a prompt.

        Args:
            transport: to the server.
            model: the name that it serves the model by.
            asked: the prompt.
            wanted: tokens that are to be known; others may be known too.

        Raises:
            ServerRefusedError: the server does not do this.
            CallFailedError: no answer came, or none that can be believed.
        """
        position = await self.look(transport, model, asked, wanted)
        doubt = find_position_doubt(position, asked)
        if doubt is not None:
            raise CallFailedError(doubt)
        return position

    async def look(self, transport: Transport, model: str, asked: Asked, wanted: Sequence[Key]) -> Position:
        """Ask, and return what the server says whether it can be believed or not; see `read`."""
        reply = await transport.post(self.path, self._request(model, asked, wanted))
        position = self._parse(reply.body, wanted)
        if not position.logprobs:
            said = find_error(reply.body)
            raise CallFailedError(f"the server gave no log-probabilities{f': {said}' if said else ''}")
        return position

    @abstractmethod
    def _request(self, model: str, asked: Asked, wanted: Sequence[Key]) -> dict[str, object]:
        """Return what is sent."""

    @abstractmethod
    def _parse(self, body: object, wanted: Sequence[Key]) -> Position:
        """Return what an answer says, whatever it is.

        Raises:
            CallFailedError: it says what cannot be.
        """


def find_position_doubt(position: Position, asked: Asked) -> str | None:
    """Say why what a server says of a position cannot be believed; None where it can."""
    sent = None if asked.ids is None else len(asked.ids)
    if sent is not None and position.prompt_tokens not in (None, sent):
        read = position.prompt_tokens
        return f"the server read {read} tokens where {sent} were sent: it cuts prompts, or adds to them"
    return find_doubt(position.logprobs.values())


class _Completions(Dialect):
    """OpenAI's completions, in its own shape or, as llama.cpp has it, in that of chat."""

    path = "completions"
    top: ClassVar[int] = TOP_COMPLETIONS

    def _request(self, model: str, asked: Asked, wanted: Sequence[Key]) -> dict[str, object]:
        return {"model": model, "prompt": asked.prompt, "max_tokens": _NEXT, "logprobs": self.top, **_GREEDY}

    def _parse(self, body: object, wanted: Sequence[Key]) -> Position:
        logprobs = pick(body, "choices", 0, "logprobs")
        tokens = _prompt_tokens(body)
        if pick(logprobs, "content") is not None:
            return _parse_items(pick(logprobs, "content", 0), self.keys, tokens)
        sampled = self._key(pick(logprobs, "tokens", 0))
        found = {self._key(token): as_logprob(value) for token, value in self._candidates(logprobs)}
        if sampled is not None and found.get(sampled) is None:
            found[sampled] = as_logprob(pick(logprobs, "token_logprobs", 0))
        known = {key: value for key, value in found.items() if key is not None and value is not None}
        return Position(known, sampled, tokens)

    def _candidates(self, logprobs: object) -> Iterable[tuple[object, object]]:
        return as_mapping(pick(logprobs, "top_logprobs", 0)).items()

    def _key(self, token: object) -> Key | None:
        return as_text(token) if self.keys == "texts" else _token_id(token)


class CompletionsByText(_Completions):
    """The likeliest tokens by their text."""

    name = "completions top_logprobs"
    keys = "texts"


class CompletionsById(_Completions):
    """The likeliest tokens by their id, of a server that writes ids in the place of texts (vLLM)."""

    name = "completions return_tokens_as_token_ids"
    keys = "ids"
    top = TOP_CHAT

    def _request(self, model: str, asked: Asked, wanted: Sequence[Key]) -> dict[str, object]:
        return {**super()._request(model, asked, wanted), "return_tokens_as_token_ids": True}


class CompletionsNamed(_Completions):
    """The tokens that are wanted, by their id (vLLM from 0.26 on)."""

    name = "completions logprob_token_ids"
    keys = "ids"
    names = True
    top = 1

    def _request(self, model: str, asked: Asked, wanted: Sequence[Key]) -> dict[str, object]:
        ids = list(dict.fromkeys(wanted))[:MOST_IDS]
        asks = {"logprob_token_ids": ids, "return_tokens_as_token_ids": True}
        return {**super()._request(model, asked, wanted), **asks}


class CompletionsAllowed(_Completions):
    """One request for each wanted token, which alone may be generated (vLLM, where log-probabilities are raw).

    Raw log-probabilities are those before the restriction. Where they are those after it, every one is 0, and the probe
    passes this dialect over.
    """

    name = "completions allowed_token_ids"
    keys = "ids"
    names = True
    one_by_one = True
    top = 1

    async def look(self, transport: Transport, model: str, asked: Asked, wanted: Sequence[Key]) -> Position:
        """Ask once for each token; see `Dialect.look`."""
        alone = [super(CompletionsAllowed, self).look(transport, model, asked, [key]) for key in wanted]
        positions = await asyncio.gather(*alone)
        found = {
            key: position.logprobs[key]
            for key, position in zip(wanted, positions, strict=True)
            if key in position.logprobs and position.sampled == key
        }
        return Position(found, None, _any_other(positions, asked))

    def _request(self, model: str, asked: Asked, wanted: Sequence[Key]) -> dict[str, object]:
        asks = {"allowed_token_ids": list(wanted), "return_tokens_as_token_ids": True}
        return {**super()._request(model, asked, wanted), **asks}


class ChatByText(Dialect):
    """The likeliest tokens by their text, in OpenAI's chat."""

    name = "chat top_logprobs"
    path = "chat/completions"
    keys = "texts"

    def _request(self, model: str, asked: Asked, wanted: Sequence[Key]) -> dict[str, object]:
        asks = {self._limit: _NEXT, "logprobs": True, "top_logprobs": TOP_CHAT, **_GREEDY}
        return {"model": model, "messages": list(asked.messages or ()), **asks, **asked.fields}

    def _parse(self, body: object, wanted: Sequence[Key]) -> Position:
        item = pick(body, "choices", 0, "logprobs", "content", 0)
        return _parse_items(item, self.keys, _prompt_tokens(body))


class LlamaById(Dialect):
    """llama.cpp's own route, whose candidates have ids."""

    name = "completion n_probs"
    path = "/completion"
    keys: ClassVar[Literal["ids", "texts"]] = "ids"

    def _request(self, model: str, asked: Asked, wanted: Sequence[Key]) -> dict[str, object]:
        neutral = {"temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0, "repeat_penalty": 1, "cache_prompt": False}
        return {"prompt": asked.prompt, "n_predict": _NEXT, "n_probs": TOP_LLAMA, "seed": 0, **neutral}

    def _parse(self, body: object, wanted: Sequence[Key]) -> Position:
        if pick(body, "truncated") is True:
            raise CallFailedError("the server cut the prompt: it is longer than the context it was started with")
        tokens = as_count(pick(body, "tokens_evaluated"))
        return _parse_items(pick(body, "completion_probabilities", 0), self.keys, tokens)


class LlamaByText(LlamaById):
    """The same for options whose ids are not known."""

    name = "completion n_probs, by text"
    keys = "texts"


class GenerateNamed(Dialect):
    """SGLang's own route, which gives the tokens that are wanted."""

    name = "generate token_ids_logprob"
    path = "/generate"
    keys = "ids"
    names = True

    def _request(self, model: str, asked: Asked, wanted: Sequence[Key]) -> dict[str, object]:
        sampling = {"max_new_tokens": _NEXT, **_GREEDY}
        asks = {"return_logprob": True, "logprob_start_len": -1, "token_ids_logprob": list(dict.fromkeys(wanted))}
        return {"input_ids": asked.prompt, "sampling_params": sampling, **asks}

    def _parse(self, body: object, wanted: Sequence[Key]) -> Position:
        meta = pick(body, "meta_info")
        if pick(meta, "finish_reason", "type") == "abort":
            said = as_text(pick(meta, "finish_reason", "message")) or "no reason given"
            raise CallFailedError(f"the server broke the call off: {said[:200]}")
        triples = [pick(meta, "output_token_logprobs", 0), *as_list(pick(meta, "output_token_ids_logprobs", 0))]
        pairs = [(as_count(pick(triple, 1)), as_logprob(pick(triple, 0))) for triple in triples]
        known: dict[Key, float] = {key: value for key, value in pairs if key is not None and value is not None}
        return Position(known, pairs[0][0], as_count(pick(meta, "prompt_tokens")))


class ScoreNamed(Dialect):
    """SGLang's scoring of labels, over the whole vocabulary."""

    name = "score"
    path = "score"
    keys = "ids"
    names = True

    def _request(self, model: str, asked: Asked, wanted: Sequence[Key]) -> dict[str, object]:
        asks = {"label_token_ids": list(wanted), "apply_softmax": False, "return_token_logprobs": True}
        return {"model": model, **_query_and_item(asked), "item_first": False, **asks}

    def _parse(self, body: object, wanted: Sequence[Key]) -> Position:
        known: dict[Key, float] = {}
        for place, key in enumerate(wanted):
            value = as_logprob(pick(body, "token_logprobs", 0, place))
            share = as_number(pick(body, "scores", 0, place))
            if value is None and share is not None and share > 0.0:  # a label that the server did not get counts 0
                value = math.log(share)
            if value is not None:
                known[key] = value
        return Position(known, None, _prompt_tokens(body))


class GenerativeScoringNamed(Dialect):
    """vLLM's scoring of labels, which gives the first one alone: each in turn is put first."""

    name = "generative_scoring"
    path = "/generative_scoring"
    keys = "ids"
    names = True
    one_by_one = True

    async def look(self, transport: Transport, model: str, asked: Asked, wanted: Sequence[Key]) -> Position:
        """Ask once for each token; see `Dialect.look`. A prompt that was cut has another number of tokens."""
        first = [[key, *(other for other in wanted if other != key)] for key in wanted]
        calls = [super(GenerativeScoringNamed, self).look(transport, model, asked, keys) for keys in first]
        positions = await asyncio.gather(*calls)
        known = {key: value for position in positions for key, value in position.logprobs.items()}
        return Position(known, None, _any_other(positions, asked))

    def _request(self, model: str, asked: Asked, wanted: Sequence[Key]) -> dict[str, object]:
        asks = {"label_token_ids": list(wanted), "apply_softmax": False, "add_special_tokens": False}
        return {"model": model, **_query_and_item(asked), "item_first": False, **asks}

    def _parse(self, body: object, wanted: Sequence[Key]) -> Position:
        tokens = _prompt_tokens(body)
        if tokens is None:  # it cuts long prompts without a word, which only the count shows
            raise CallFailedError("the server does not say how many tokens it read: it may have cut the prompt")
        share = as_number(pick(body, "data", 0, "score"))
        return Position({wanted[0]: math.log(share)} if share is not None and share > 0.0 else {}, None, tokens)


def _any_other(positions: Sequence[Position], asked: Asked) -> int | None:
    """Return the tokens read by calls of one prompt: another number than was sent, where any read another."""
    counts = [position.prompt_tokens for position in positions]
    return next((count for count in counts if count not in (None, len(asked.ids or ()))), counts[0])


def _query_and_item(asked: Asked) -> dict[str, object]:
    """Part a prompt where a scoring route puts it together again, as token lists and without a separator."""
    ids = list(asked.ids or ())
    return {"query": ids[:-1], "items": [ids[-1:]]}


def _prompt_tokens(body: object) -> int | None:
    return as_count(pick(body, "usage", "prompt_tokens"))


def _token_id(token: object) -> int | None:
    """Return an id that is written in the place of a token's text; None for a text."""
    digits = token.removeprefix(_TOKEN_ID) if isinstance(token, str) and token.startswith(_TOKEN_ID) else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


def _parse_items(item: object, keys: Literal["ids", "texts"], prompt_tokens: int | None) -> Position:
    """Read the list form of candidates, each with a text and maybe an id; the generated token comes with them."""
    sampled = _item_key(item, keys)
    candidates = as_list(pick(item, "top_logprobs"))
    if not any(_item_key(candidate, keys) == sampled for candidate in candidates):
        candidates = [*candidates, item]
    known: dict[Key, float] = {}
    seen = set()
    for candidate in candidates:
        key, value, index = _item_key(candidate, keys), as_logprob(pick(candidate, "logprob")), pick(candidate, "id")
        # A token that is listed twice counts once; without an id, equal numbers tell that it is the same.
        same = (key, as_count(index) if index is not None else value)
        if key is None or value is None or same in seen:
            continue
        seen.add(same)
        known[key] = value if key not in known else math.log(math.exp(known[key]) + math.exp(value))
    return Position(known, sampled, prompt_tokens)


def _item_key(item: object, keys: Literal["ids", "texts"]) -> Key | None:
    return as_count(pick(item, "id")) if keys == "ids" else as_text(pick(item, "token"))
