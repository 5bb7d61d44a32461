"""Text from a server: what is sent for it, and how any answer becomes a `Sample` or the failure of its call.

Every parameter is sent, since the defaults of servers are not neutral and may come from the model's own files. What
only some servers know, such as `top_k`, is sent to those alone; `min_p` of a configuration that cuts something is
refused where the server is not known to take it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from solon.errors import CallFailedError, ModelError
from solon.lm.server.asking import Asked, Tokens
from solon.lm.server.findings import Findings, Kind
from solon.lm.server.reading import as_count, as_list, as_logprob, as_text, find_error, pick
from solon.lm.thoughts import keep_thought_apart
from solon.messages import one_line
from solon.records import Rendered, Sample, Sampling, StopReason

_NEUTRAL: Final[Mapping[Kind, dict[str, object]]] = {
    "vllm": {"top_k": 0, "repetition_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0},
    "sglang": {"top_k": -1, "repetition_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0},
    "llama.cpp": {"top_k": 0, "repeat_penalty": 1, "typical_p": 1, "presence_penalty": 0, "frequency_penalty": 0},
    "llama-cpp-python": {"top_k": 0, "repeat_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0},
}
"""What turns off whatever a server would change a distribution by, for servers that are known to take it."""

_MOST_STOPS: Final = 4
"""Stop strings that OpenAI takes; the rest ends the text here."""

_SEEDS: Final[Mapping[Kind, int]] = {"vllm": 2**63}
"""How many seeds a server takes, from 0 on, where it is more than `_FEWEST_SEEDS`: vLLM takes every seed as it is."""

_FEWEST_SEEDS: Final = 2**31 - 1
"""How many every server takes: llama.cpp has 32 bits, and -1 for none."""

_REASONS: Final[Mapping[str, str]] = {
    "content_filter": "refusal: the server's content filter stopped the answer",
    "tool_calls": "the model called a tool instead of answering",
    "function_call": "the model called a function instead of answering",
    "abort": "the server broke the call off",
    "repetition": "the server stopped the answer because it repeats itself",
}
"""Why an answer that ended so is none."""

_NO_TOKENS: Final[Mapping[str, object]] = {"token_ids": None, "logprobs": None, "vocabulary": ""}

_THOUGHTS: Final = ("reasoning_content", "reasoning")
"""Fields in which servers put what a model thought."""


@dataclass(frozen=True)
class Writing:
    """A call for text.

    Attributes:
        prompt: as it was rendered.
        asked: as it goes over the wire.
        sampling: how it is drawn.
        seed: of the draw.
    """

    prompt: Rendered
    asked: Asked
    sampling: Sampling
    seed: int


def path_of(findings: Findings) -> str:
    """Return the route that text is asked by."""
    return "chat/completions" if findings.api == "chat" else "completions"


def request_text(findings: Findings, writing: Writing) -> dict[str, object]:
    """Return what is sent for a text.

    Raises:
        ModelError: `min_p` cuts something and the server is not known to take it, or a temperature has no effect there.
    """
    sampling = writing.sampling
    if sampling.temperature > 0.0 and not findings.draws:
        raise ModelError(
            f"{findings.identity}: this server writes the same at every temperature: have it draw, as transformers "
            "does with do_sample true in the model's generation_config.json, or set the temperature to 0"
        )
    neutral = _NEUTRAL.get(findings.kind)
    if sampling.min_p > 0.0 and neutral is None:
        raise ModelError(
            f"{findings.identity}: min_p is {sampling.min_p:g}, and this server is not known to take it: set min_p to "
            "0 for what this model writes, or serve it with vLLM, SGLang or llama.cpp"
        )
    body: dict[str, object] = {
        "model": findings.model,
        findings.limit: sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        **(neutral or {}),
    }
    if neutral is not None:
        body["min_p"] = sampling.min_p
    if findings.takes_seed:
        body["seed"] = writing.seed % _SEEDS.get(findings.kind, _FEWEST_SEEDS)
    if writing.prompt.stop:
        body["stop"] = list(writing.prompt.stop[:_MOST_STOPS])
    if findings.kind == "vllm":
        body["return_token_ids"] = True
        body["logprobs"] = True if findings.api == "chat" else 0
    if findings.api == "chat":
        return {**body, "messages": list(writing.asked.messages or ()), **writing.asked.fields}
    return {**body, "prompt": writing.asked.prompt}


def read_text(findings: Findings, writing: Writing, body: object, tokens: Tokens | None) -> Sample:
    """Return the text that an answer holds, whatever it is.

    Args:
        findings: about the server.
        writing: the call.
        body: the answer.
        tokens: the tokenizer of the model, if it is at hand.

    Raises:
        CallFailedError: it holds no text, a refusal, a tool call, or one longer than was asked for.
    """
    choice = pick(body, "choices", 0)
    reason = _stop_reason(choice, writing)
    message = pick(choice, "message")
    if as_text(pick(message, "refusal")):
        raise CallFailedError(f"refusal: {one_line(as_text(pick(message, 'refusal')), 200)}")
    if as_list(pick(message, "tool_calls")):
        raise CallFailedError(_REASONS["tool_calls"])
    thought = next((text for name in _THOUGHTS if (text := as_text(pick(message, name)))), None)
    text = as_text(pick(message, "content") if findings.api == "chat" else pick(choice, "text"))
    if text is None and (thought is None or reason != "length"):
        raise CallFailedError(f"the server gave no text{_describe(body)}")
    generated = as_count(pick(body, "usage", "completion_tokens"))
    if generated is not None and generated > writing.sampling.max_tokens:
        raise CallFailedError(f"the server wrote {generated} tokens where {writing.sampling.max_tokens} were allowed")
    ids = None if thought is not None else _token_ids(choice, reason, tokens)
    if tokens is not None and ids is not None:
        text = tokens.decode(ids[:-1] if reason == "end" else ids)
    text, reason = _cut_at_stops(text or "", reason, writing.prompt.stop)
    sent = None if writing.asked.ids is None else len(writing.asked.ids)
    sample = Sample(
        text=text,
        token_ids=ids,
        logprobs=_logprobs(choice, ids) if findings.raw else None,
        stop_reason=reason,
        model=findings.identity,
        sampling=writing.sampling,
        seed=writing.seed,
        prompt_tokens=sent if sent is not None else as_count(pick(body, "usage", "prompt_tokens")) or 0,
        generated_tokens=generated if generated is not None else len(ids or ()),
        vocabulary=tokens.vocabulary if tokens is not None and ids is not None else "",
    )
    if thought is not None:
        closed = bool(text.strip()) or reason != "length"
        return sample.model_copy(update={"thought": thought.strip(), "thought_closed": closed})
    apart = keep_thought_apart(sample, None if tokens is None else tokens.thinking(writing.prompt))
    # Which of the tokens are the thought's is not told: they are kept where they are the text's alone.
    return apart if apart.text == text else apart.model_copy(update=_NO_TOKENS)


def _stop_reason(choice: object, writing: Writing) -> StopReason:
    """Return why a text ended.

    A server that does not say whether a stop string or the model ended it is taken to mean the string where there was
    any: then the last token is not taken for an end.

    Raises:
        CallFailedError: it ended in a way that makes it no answer, or nobody says how.
    """
    given = pick(choice, "finish_reason")
    reason = as_text(given) or as_text(pick(given, "type"))
    if reason == "length":
        return "length"
    if reason != "stop":
        known = _REASONS.get(reason or "")
        raise CallFailedError(known or f"the server does not say how the answer ended{_describe(choice)}")
    matched = [pick(choice, name) for name in ("stop_reason", "matched_stop")]
    if any(isinstance(value, str) for value in matched):
        return "stop"
    says = any(isinstance(pick(choice, name), int) for name in ("stop_reason", "matched_stop")) or (
        isinstance(choice, Mapping) and "stop_reason" in choice
    )
    return "end" if says or not writing.prompt.stop else "stop"


def _describe(body: object) -> str:
    said = find_error(body)
    return f": {said}" if said else ""


def _token_ids(choice: object, reason: StopReason, tokens: Tokens | None) -> tuple[int, ...] | None:
    """Return the ids of a text, its end token included where it ended: None where they are not all there."""
    given = as_list(pick(choice, "token_ids"))
    ids = [index for index in map(as_count, given) if index is not None]
    if tokens is None or not ids or len(ids) < len(given) or not all(map(tokens.knows, ids)):
        return None
    return None if reason == "end" and not tokens.is_control(ids[-1]) else tuple(ids)


def _logprobs(choice: object, ids: tuple[int, ...] | None) -> tuple[float, ...] | None:
    listed = as_list(pick(choice, "logprobs", "token_logprobs"))
    listed = listed or [pick(item, "logprob") for item in as_list(pick(choice, "logprobs", "content"))]
    values = [value for value in map(as_logprob, listed) if value is not None and value <= 0.0]
    return tuple(round(value, 6) for value in values) if ids and len(values) == len(listed) == len(ids) else None


def _cut_at_stops(text: str, reason: StopReason, stops: tuple[str, ...]) -> tuple[str, StopReason]:
    """End a text before the first stop string in it, as a server may give the string, or was not told of it."""
    places = [place for stop in stops if stop and (place := text.find(stop)) >= 0]
    return (text[: min(places)], "stop") if places else (text, reason)
