"""A server of one checkpoint that answers as vLLM 0.33 does, with true draws and true log-probabilities.

They come from the sampler of this package, in the thread of the server and in batches of what happens to arrive: a run
that asks this server can be held against one that has the model in its own process. Answers can be failed on demand;
which ones, the number of the request decides.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse, Response

from solon.inference import Generated, text_before_stop
from solon.lm.backends.local import LocalModel
from solon.nets import decode_response, encode_text, load_tokenizer
from solon.records import Sampling
from tests.servers.scripted import ScriptedServer, Seen, Step, hang, say

NAME = "tiny"
_TOP_MOST = 20
"""Likeliest tokens that vLLM lists as it comes; more are refused."""


@dataclass(frozen=True)
class Failing:
    """Which answers fail.

    Attributes:
        errors: share of requests that are answered with 429 or 500, by turns.
        hangs: share of requests that are never answered.
        seed: of which they are.
    """

    errors: float = 0.25
    hangs: float = 0.02
    seed: int = 0


@dataclass
class ServedCheckpoint:
    """A server and what it was asked for.

    Attributes:
        server: where it listens, and all requests that it saw.
        answered: bodies of requests for text or log-probabilities, to how often each was answered whole.
        failed: statuses of errors, to how many there were.
        hung: bodies of requests that were never answered, each as often as it was not.
    """

    server: ScriptedServer
    answered: Counter[str] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    hung: Counter[str] = field(default_factory=Counter)

    @property
    def source(self) -> str:
        """What a role is given."""
        return f"{self.server.base}#{NAME}"


@contextmanager
def serve_checkpoint(path: Path, *, failing: Failing | None = None, port: int = 0) -> Iterator[ServedCheckpoint]:
    """Serve a checkpoint on loopback.

    Args:
        path: its folder.
        failing: which answers fail; None for none.
        port: where to listen; 0 for one that is free.
    """
    model = _Sampled(path)

    def plan(seen: Seen) -> Step:
        fate = None if failing is None else random.Random(f"{failing.seed} {seen.number}").random()
        if failing is not None and fate is not None and seen.path != "/v1/models":
            if fate < failing.errors:
                status = 429 if seen.number % 2 else 500
                served.failed[status] += 1
                said = f"try again, {seen.headers.get('authorization', '')}"  # as proxies repeat what they were sent
                error = {"error": {"message": said, "type": "server_error", "param": None, "code": None}}
                return say(status, error, retry_after_ms="5")
            if fate < failing.errors + failing.hangs:
                served.hung[_name(seen)] += 1
                return hang
        return serve

    async def serve(seen: Seen) -> Response:
        try:
            body = await _ROUTES[seen.path](model, seen.body)
        except KeyError:
            return JSONResponse({"detail": "Not Found"}, 404)
        except _RefusedError as refused:
            return JSONResponse(refused.body, refused.status)
        if seen.path.endswith("completions"):
            served.answered[_name(seen)] += 1
        return JSONResponse(body)

    with ScriptedServer(plan, port=port) as server:
        served = ServedCheckpoint(server)
        yield served


def _name(seen: Seen) -> str:
    return json.dumps(seen.body, sort_keys=True)


class _RefusedError(Exception):
    def __init__(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


class _Sampled(LocalModel):
    """A checkpoint that is asked in token ids."""

    def __init__(self, path: Path) -> None:
        tokenizer = load_tokenizer(path)
        super().__init__(path, tokenizer)
        self.tokenizer = tokenizer
        self.ids = sorted(tokenizer.get_vocab().values())

    @property
    def context(self) -> int:
        return self._sampler.context

    async def draw(self, ids: list[int], sampling: Sampling, stop: tuple[str, ...], seed: int) -> Generated:
        drawn: Generated = await self._submit(("generate", sampling, stop), ids, seed)
        return drawn

    async def weigh(self, ids: list[int], tokens: Sequence[int]) -> list[float]:
        logprobs: list[float] = await self._submit(("choose",), ids, [[token] for token in tokens])
        return logprobs

    def text(self, ids: Sequence[int]) -> str:
        return decode_response(self.tokenizer, list(ids))


async def _models(model: _Sampled, body: Any) -> object:
    listed = {"id": NAME, "object": "model", "owned_by": "vllm", "root": NAME, "max_model_len": model.context}
    return {"object": "list", "data": [listed]}


async def _tokenize(model: _Sampled, body: Mapping[str, Any]) -> object:
    ids = encode_text(model.tokenizer, body["prompt"])
    return {"count": len(ids), "max_model_len": model.context, "tokens": ids}


async def _complete(model: _Sampled, body: Mapping[str, Any]) -> object:
    prompt = body["prompt"]
    ids = list(prompt) if isinstance(prompt, list) else encode_text(model.tokenizer, prompt)
    drawn = await _draw(model, ids, body, body.get("max_tokens", 16))
    choice = _choice(model, drawn, body)
    choice |= {"text": choice.pop("said"), "logprobs": None}
    if (count := body.get("logprobs")) is not None:
        tops = await _tops(model, ids, drawn, body, count)
        choice["logprobs"] = {
            "tokens": [_spell(model, token, body) for token in drawn.token_ids],
            "token_logprobs": drawn.logprobs,
            "text_offset": [0] * len(drawn.token_ids),
            "top_logprobs": [{_spell(model, token, body): value for token, value in top.items()} for top in tops],
        }
    return _answer("text_completion", choice, ids, drawn)


async def _chat(model: _Sampled, body: Mapping[str, Any]) -> object:
    is_open = body.get("continue_final_message", False)
    text: Any = model.tokenizer.apply_chat_template(
        body["messages"],
        tokenize=False,
        continue_final_message=is_open,
        add_generation_prompt=body.get("add_generation_prompt", True),
        **body.get("chat_template_kwargs", {}),
    )
    ids = list(model.tokenizer(text, add_special_tokens=False)["input_ids"])
    drawn = await _draw(model, ids, body, body.get("max_tokens", body.get("max_completion_tokens", 16)))
    choice = _choice(model, drawn, body)
    choice |= {"message": {"role": "assistant", "content": choice.pop("said"), "refusal": None}, "logprobs": None}
    if body.get("logprobs"):
        tops = await _tops(model, ids, drawn, body, body.get("top_logprobs", 0))
        content = [
            {**_item(model, token, value, body), "top_logprobs": [_item(model, *pair, body) for pair in top.items()]}
            for token, value, top in zip(drawn.token_ids, drawn.logprobs, tops, strict=True)
        ]
        choice["logprobs"] = {"content": content}
    return _answer("chat.completion", choice, ids, drawn)


_ROUTES = {
    "/v1/models": _models,
    "/tokenize": _tokenize,
    "/v1/completions": _complete,
    "/v1/chat/completions": _chat,
}


async def _draw(model: _Sampled, ids: list[int], body: Mapping[str, Any], limit: int) -> Generated:
    if body["model"] != NAME:
        raise _RefusedError(404, f"The model `{body['model']}` does not exist.", "NotFoundError", "model")
    if not ids or len(ids) + limit > model.context or not set(ids) <= set(model.ids):
        raise _RefusedError(400, f"a prompt of {len(ids)} tokens and {limit} more do not fit the model")
    if (allowed := body.get("allowed_token_ids")) is not None:
        logprobs = await model.weigh(ids, allowed)
        likeliest = max(range(len(allowed)), key=logprobs.__getitem__)
        return Generated([allowed[likeliest]], [logprobs[likeliest]], "length")  # raw: not those after the restriction
    sampling = Sampling(
        temperature=body.get("temperature", 1.0),
        max_tokens=limit,
        top_p=body.get("top_p", 1.0),
        min_p=body.get("min_p", 0.0),
    )
    stop = body.get("stop") or ()
    return await model.draw(ids, sampling, (stop,) if isinstance(stop, str) else tuple(stop), body.get("seed", 0))


def _choice(model: _Sampled, drawn: Generated, body: Mapping[str, Any]) -> dict[str, Any]:
    ids = drawn.token_ids
    said = model.text(ids[:-1] if drawn.stop_reason == "end" else ids)
    stopped = None
    if drawn.stop_reason == "stop":
        stops = [body["stop"]] if isinstance(body["stop"], str) else body["stop"]
        stopped = min((stop for stop in stops if stop in said), key=said.find)
        said = text_before_stop(said, stops)
    reason = "length" if drawn.stop_reason == "length" else "stop"
    told = {"token_ids": ids} if body.get("return_token_ids") else {}
    return {"index": 0, "said": said, "finish_reason": reason, "stop_reason": stopped, **told}


async def _tops(
    model: _Sampled, ids: list[int], drawn: Generated, body: Mapping[str, Any], count: int
) -> list[dict[int, float]]:
    """Return what is listed of each position: the tokens that were asked for, or the likeliest, and the drawn one."""
    named = body.get("logprob_token_ids")
    if count > _TOP_MOST:
        raise _RefusedError(400, f"logprobs are {count}, and at most {_TOP_MOST} are given")
    tops = []
    for place, (token, value) in enumerate(zip(drawn.token_ids, drawn.logprobs, strict=True)):
        top: dict[int, float] = {}
        if named or count:
            among = named or model.ids
            found = zip(await model.weigh([*ids, *drawn.token_ids[:place]], among), among, strict=True)
            listed = sorted(found, reverse=True)[: None if named else count]
            top = {each: logprob for logprob, each in listed}
        tops.append({token: value, **top})
    return tops


def _spell(model: _Sampled, token: int, body: Mapping[str, Any]) -> str:
    return f"token_id:{token}" if body.get("return_tokens_as_token_ids") else model.text([token])


def _item(model: _Sampled, token: int, value: float, body: Mapping[str, Any]) -> dict[str, Any]:
    text = _spell(model, token, body)
    return {"token": text, "logprob": value, "bytes": list(text.encode())}


def _answer(kind: str, choice: dict[str, Any], ids: Sequence[int], drawn: Generated) -> object:
    read, written = len(ids), len(drawn.token_ids)
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return {"id": "x", "object": kind, "created": 0, "model": NAME, "choices": [choice], "usage": usage}
