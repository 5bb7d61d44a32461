"""What a server can do, found by asking it and looking at what comes back, never at the status alone.

Servers accept what they ignore. So ids are asked for and looked for, log-probabilities are held against what any must
fulfil, a limit against how much was written, and texts at a high temperature against each other:

- those of one position are at most 0 and their probabilities add up to 1 at most;
- they are not all equal, and not the same after two different prompts;
- the token that is generated at temperature 0 is the likeliest by its own log-probabilities; those that are shifted by
  a position, or read from the prompt, fail this;
- the prompt that was read has as many tokens as were sent, where that is said.

`label_probe` looks at the log-probabilities, this module at all else.
"""

from collections.abc import Mapping
from typing import Final

from solon.errors import CallFailedError, ModelError, ServerRefusedError
from solon.lm.server.asking import Asked, Tokens
from solon.lm.server.dialects import CompletionsAllowed, Key
from solon.lm.server.findings import VOTES, Findings, Kind
from solon.lm.server.generating import Writing, path_of, read_text, request_text
from solon.lm.server.label_probe import find_dialect, is_raw
from solon.lm.server.reading import as_count, as_list, as_text, pick
from solon.lm.server.routing import TRIED, TRIED_OPTIONS, Wanted, ask, lay_out_question, template_turn
from solon.lm.server.settings import Api
from solon.lm.server.transport import Transport
from solon.messages import nearest, one_line
from solon.records import Sampling

_OWNERS: Final[Mapping[str, Kind]] = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llama.cpp",
    "llama.cpp": "llama.cpp",
    "me": "llama-cpp-python",
}
"""What servers say under `owned_by`."""

_TEXT_ONLY: Final[tuple[Kind, ...]] = ("llama-cpp-python",)
"""Servers that take no token ids, and answer them with an error that looks as if another try might help."""

_LIMIT: Final = 4
"""Tokens of a first text: enough to see whether a limit is kept to."""

_DRAWN: Final = Sampling(temperature=2.0, max_tokens=16)
"""How texts are drawn that would be the same only where nothing is drawn at all."""


async def probe(transport: Transport, wanted: Wanted) -> Findings:
    """Find out how a server is asked, and how labels are read from it.

    Raises:
        ModelError: it does not serve the model, or no text comes from it that could be used.
    """
    listed, kind = await _find_model(transport, wanted.model)
    root = as_text(pick(listed, "root")) or ""
    base = Findings(
        kind=kind,
        model=wanted.model,
        root=root,
        api="chat",
        layout=wanted.layout,
        context=as_count(pick(listed, "max_model_len")) or None,
    )
    await _check_tokenizer(transport, base, wanted.tokens)
    found = await _find_route(transport, base, wanted)
    found = await _find_continuing(transport, found, wanted)
    found = found.model_copy(update={"draws": await _find_drawing(transport, found, wanted)})
    found = found.model_copy(update={"raw": await _find_raw(transport, found, wanted)})
    dialect, fault = await find_dialect(transport, found, wanted)
    votes = wanted.settings.votes if dialect == VOTES else None
    return found.model_copy(update={"dialect": dialect, "fault": fault, "votes": votes})


# ---------------------------------------------------------------------------------------- the model


async def _find_model(transport: Transport, model: str) -> tuple[object, Kind]:
    """Return what a server lists of a model, None where it has no list or another is on it, and which server it is.

    Raises:
        ModelError: the model is not on the list of a server that would answer with another in its place, or that lists
            all it has. Those that are not known may list less, such as what lies in a cache.
    """
    try:
        listed = as_list(pick((await transport.get("models")).body, "data"))
    except ServerRefusedError as error:
        if error.status in (401, 403):
            raise
        listed = []
    except CallFailedError:  # whether it answers at all is seen when it is asked for a text
        listed = []
    found = next((item for item in listed if pick(item, "id") == model), None)
    owners = (as_text(pick(item, "owned_by")) or "" for item in (found, *listed))
    known = (_OWNERS.get(owner.lower()) for owner in owners)
    kind: Kind = next(filter(None, known), "other")
    names = [name for item in listed if (name := as_text(pick(item, "id"))) is not None]
    if found is None and names and kind != "other":
        raise ModelError(f"the server does not serve a model {model!r}: {nearest(model, names, most=8)}")
    return found, kind


async def _check_tokenizer(transport: Transport, findings: Findings, tokens: Tokens | None) -> None:
    """Refuse a tokenizer that is not the served model's, where the server can be asked.

    Raises:
        ModelError: the server reads a text as other tokens.
    """
    if tokens is None or findings.kind == "other":
        return
    text = TRIED[0]
    of_llama = findings.kind == "llama.cpp"
    body: dict[str, object] = {"content": text, "add_special": False}
    if not of_llama:
        body = {"model": findings.model, "prompt": text, "add_special_tokens": False}
    try:
        reply = await transport.post("/tokenize", body)
    except (ServerRefusedError, CallFailedError):
        return
    ids = [index for index in map(as_count, as_list(pick(reply.body, "tokens"))) if index is not None]
    own = tokens.text(text)
    if ids and ids[1:] != own[1:]:  # servers differ in what they put before a first word
        raise ModelError(
            f"server.tokenizer is not that of the served model {findings.model!r}: the server reads a text of "
            f"{len(own)} tokens as {len(ids)} others: give the folder that the server loaded"
        )


# ------------------------------------------------------------------------------------------- routes


async def _find_route(transport: Transport, base: Findings, wanted: Wanted) -> Findings:
    """Return by which route and with which fields text comes.

    Raises:
        ModelError: by none, or not as the role says.
    """
    refusals = []
    for api, by_ids in _routes(wanted, base.kind):
        for limit in _limits(base.kind, api):
            for takes_seed in (True, False):
                found = base.model_copy(
                    update={
                        "api": api,
                        "limit": limit,
                        "takes_seed": takes_seed,
                        "tokenizer": wanted.tokens.digest if by_ids and wanted.tokens is not None else "",
                    }
                )
                try:
                    return await _try_route(transport, found, wanted)
                except ServerRefusedError as error:
                    if error.status in (401, 403):
                        raise
                    refusals.append(one_line(error, 300))
                except CallFailedError as error:
                    refusals.append(one_line(error, 300))
                    break  # another seed would change nothing
    said = "; ".join(dict.fromkeys(refusals))
    raise ModelError(f"no text comes from the served model {wanted.model!r} that could be used: {said}")


def _routes(wanted: Wanted, kind: Kind) -> list[tuple[Api, bool]]:
    """Return the routes that may do for a role, the most exact first, and whether prompts go as ids there.

    Raises:
        ModelError: what the role says contradicts itself.
    """
    api, has_tokens = wanted.settings.api, wanted.tokens is not None and kind not in _TEXT_ONLY
    if wanted.layout == "transcript":
        if api == "chat":
            raise ModelError("the layout transcript is plain text, which chat cannot take: set server.api=completions")
        return [("completions", True), ("completions", False)] if has_tokens else [("completions", False)]
    if api == "completions" and not has_tokens:
        raise ModelError(
            f"the layout {wanted.layout} goes to completions as token ids only: give the folder of the model's "
            "tokenizer as server.tokenizer where the server takes ids, or set server.api=chat"
        )
    routes: list[tuple[Api, bool]] = []
    if api != "chat" and has_tokens:
        routes.append(("completions", True))
    if api != "completions":
        routes.append(("chat", False))
    return routes


def _limits(kind: Kind, api: Api) -> tuple[str, ...]:
    if kind != "other" or api == "completions":
        return ("max_tokens",)
    return ("max_completion_tokens", "max_tokens")


async def _try_route(transport: Transport, found: Findings, wanted: Wanted) -> Findings:
    """Ask for a text; return what is known then.

    Raises:
        ServerRefusedError, CallFailedError: none comes that could be used.
    """
    prompt = lay_out_question(wanted.layout, TRIED[0])
    asked = ask(found, prompt, wanted.tokens, wanted.template_kwargs or {})
    writing = Writing(prompt, asked, Sampling(temperature=0.0, max_tokens=_LIMIT), seed=0)
    reply = await transport.post(path_of(found), request_text(found, writing))
    read_text(found, writing, reply.body, wanted.tokens)
    count = as_count(pick(reply.body, "usage", "prompt_tokens"))
    if asked.ids is not None and count not in (None, len(asked.ids)):
        raise CallFailedError(f"completions read {count} tokens where {len(asked.ids)} were sent as ids")
    written = as_count(pick(reply.body, "usage", "completion_tokens"))
    return found.model_copy(update={"counts_tokens": count is not None and written is not None})


async def _find_drawing(transport: Transport, found: Findings, wanted: Wanted) -> bool:
    """Say whether a temperature has an effect; True where that cannot be told."""
    prompt = lay_out_question(wanted.layout, "Write down any ten words.")
    asked = ask(found, prompt, wanted.tokens, wanted.template_kwargs or {})
    said = []
    for seed in (1, 2):
        writing = Writing(prompt, asked, _DRAWN, seed)
        try:
            reply = await transport.post(path_of(found), request_text(found, writing))
            sample = read_text(found, writing, reply.body, wanted.tokens)
        except (ServerRefusedError, CallFailedError):  # a server may bound temperatures
            return True
        said.append((sample.text, sample.thought))
    return said[0] != said[1] or not any(said[0])


async def _find_continuing(transport: Transport, found: Findings, wanted: Wanted) -> Findings:
    """Return whether the server goes on with an open turn: its prompt is shorter than that of one that is closed."""
    if found.api != "chat" or found.kind not in ("vllm", "sglang"):
        return found
    turns = (*lay_out_question("chat", TRIED[0]).turns, template_turn("assistant", "The answer is: ("))
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    told = {"chat_template_kwargs": dict(wanted.template_kwargs)} if wanted.template_kwargs else {}
    base: dict[str, object] = {"model": found.model, "messages": messages, "max_tokens": 1, "temperature": 0, **told}
    counts = []
    for fields in ({}, {"continue_final_message": True, "add_generation_prompt": False}):
        try:
            reply = await transport.post("chat/completions", {**base, **fields})
        except (ServerRefusedError, CallFailedError):
            return found
        counts.append(as_count(pick(reply.body, "usage", "prompt_tokens")))
    closed, continued = counts
    continues = closed is not None and continued is not None and continued < closed
    return found.model_copy(update={"continues": continues})


async def _find_raw(transport: Transport, found: Findings, wanted: Wanted) -> bool | None:
    """Say whether log-probabilities are those before masks: then the only token that is allowed has its usual one."""
    if found.kind != "vllm" or not found.tokenizer or wanted.tokens is None:
        return None
    ids, encoded = wanted.tokens.options(lay_out_question(wanted.layout, TRIED[0]), TRIED_OPTIONS)
    allowed: list[Key] = list(dict.fromkeys(option[0] for option in encoded if option))
    try:
        dialect = CompletionsAllowed()
        position = await dialect.look(transport, found.model, Asked(ids=tuple(ids)), allowed)
    except (ServerRefusedError, CallFailedError):
        return None
    return is_raw(position, allowed)
