"""By which dialect labels are read from a server: the most exact one that it has and that can be believed.

A way to read labels that a server lacks is passed over for the next. One that it has and that says what cannot be is a
fault: then no labels are read from this server at all, since what lies once is not believed elsewhere. Routes with a
template of their own come after all others, and drawn answers last, where a server has no log-probabilities at all.
"""

from collections.abc import Sequence
from typing import Final

from solon.errors import CallFailedError, ServerRefusedError
from solon.lm.server.asking import Asked
from solon.lm.server.dialects import (
    ChatByText,
    CompletionsAllowed,
    CompletionsById,
    CompletionsByText,
    CompletionsNamed,
    Dialect,
    GenerateNamed,
    GenerativeScoringNamed,
    Key,
    LlamaById,
    LlamaByText,
    Position,
    ScoreNamed,
    find_position_doubt,
)
from solon.lm.server.findings import VOTES, Findings
from solon.lm.server.questions import Decisions, QuestionDialect, SystemOne
from solon.lm.server.routing import TRIED, TRIED_OPTIONS, Wanted, ask, lay_out_question, word
from solon.lm.server.transport import Transport
from solon.lm.spelling import spell
from solon.messages import one_line
from solon.records import Rendered

BY_ID: Final[tuple[type[Dialect], ...]] = (
    CompletionsNamed,
    GenerateNamed,
    LlamaById,
    CompletionsAllowed,
    CompletionsById,
    ScoreNamed,
    GenerativeScoringNamed,
    CompletionsByText,
)
BY_TEXT: Final[tuple[type[Dialect], ...]] = (LlamaByText, CompletionsByText)
BY_CHAT: Final[tuple[type[Dialect], ...]] = (ChatByText,)
QUESTIONS: Final[tuple[type[QuestionDialect], ...]] = (SystemOne, Decisions)
"""Ways to read labels of a prompt of token ids, of plain text and of messages, and those of a template of their own."""

_EVEN: Final = 1e-4
"""Nats by which the likeliest token may be less likely than another: rounding."""

_BESIDE: Final = ("C", "D", "The", "I", "It", "Yes", "No", "1", "2", "Answer", "First", "Last", "<", "*")
"""What an answer may also begin with: the more tokens are known of a position, the less a shifted one can pass."""

_OUT_OF_TOP: Final = "are not both among the likeliest tokens"


class _FaultError(Exception):
    """A server has a way to read labels, and what it says there cannot be."""


class _LackError(Exception):
    """A server has no such way, or one that says too little."""


async def find_dialect(transport: Transport, found: Findings, wanted: Wanted) -> tuple[str, str]:
    """Return by which dialect labels are read, and otherwise why they cannot be."""
    kinds = BY_CHAT if found.api == "chat" else BY_ID if found.tokenizer else BY_TEXT
    lacks: list[str] = []
    saw_logprobs = False
    for kind in kinds:
        try:
            saw_logprobs |= await _try_dialect(transport, kind(found.limit), found, wanted)
        except _FaultError as fault:
            return "", f"{kind.name}: {fault}"
        except _LackError as lack:
            lacks.append(f"{kind.name}: {lack}")
            continue
        if saw_logprobs:
            return kind.name, ""
    for question in QUESTIONS:
        try:
            await _try_question(transport, question(), found, wanted)
        except _LackError as lack:
            lacks.append(f"{question.name}: {lack}")
            continue
        return question.name, ""
    seen = [lack for lack in lacks if _OUT_OF_TOP in lack]
    if not seen and not found.draws:
        seen = [f"{VOTES}: the server gives no log-probabilities and draws the same answer every time"]
    return ("", "; ".join(seen)) if seen else (VOTES, "")


async def _try_dialect(transport: Transport, dialect: Dialect, found: Findings, wanted: Wanted) -> bool:
    """Look at what a dialect says after two prompts; True where labels can be read by it.

    Raises:
        _LackError, _FaultError: they cannot.
    """
    positions, complete = [], []
    for text in TRIED:
        asked, keys, beside = _ask_options(found, lay_out_question(wanted.layout, text), wanted, dialect)
        every = list(dict.fromkeys([*(key for group in keys for key in group), *beside]))
        try:
            position = await dialect.look(transport, found.model, asked, every)
        except (ServerRefusedError, CallFailedError) as error:
            raise _LackError(one_line(error, 300)) from error
        if isinstance(dialect, CompletionsAllowed) and not is_raw(position, list(position.logprobs)):
            raise _LackError("log-probabilities are those after the restriction to the tokens that are allowed")
        _check_position(position, asked)
        positions.append(position)
        complete.append(all(any(key in position.logprobs for key in group) for group in keys))
    if len(positions[0].logprobs) > 1 and positions[0].logprobs == positions[1].logprobs:
        raise _FaultError("the log-probabilities are the same after two different prompts")
    if dialect.names and not all(complete):
        raise _LackError("the tokens that were asked for did not all come: the server ignores what it was asked")
    if not any(complete):
        raise _LackError(f"{' and '.join(TRIED_OPTIONS)} {_OUT_OF_TOP}")
    return True


def _check_position(position: Position, asked: Asked) -> None:
    """Hold a position against what any must fulfil.

    Raises:
        _FaultError: it does not.
    """
    if (doubt := find_position_doubt(position, asked)) is not None:
        raise _FaultError(doubt)
    values = list(position.logprobs.values())
    if len(values) > 1 and len(set(values)) == 1 and values[0] < 0.0:
        raise _FaultError("the log-probabilities are all equal")
    own = None if position.sampled is None else position.logprobs.get(position.sampled)
    if own is not None and max(values) > own + _EVEN:
        raise _FaultError(
            "the token that is generated at temperature 0 is not the likeliest by its own log-probabilities: they are "
            "of another position, or the server changes what it draws from"
        )


def _ask_options(
    found: Findings, prompt: Rendered, wanted: Wanted, dialect: Dialect
) -> tuple[Asked, list[tuple[Key, ...]], list[Key]]:
    """Return a prompt for its options, by which tokens each of them may begin, and tokens to ask for beside these."""
    if dialect.keys == "texts" or wanted.tokens is None:
        asked = ask(found, prompt, wanted.tokens, wanted.template_kwargs or {})
        return asked, [spell(option) for option in TRIED_OPTIONS], []
    texts = TRIED_OPTIONS if dialect.one_by_one else (*TRIED_OPTIONS, *_BESIDE)
    ids, encoded = wanted.tokens.options(prompt, texts)
    first: list[Key] = [tokens[0] for tokens in encoded]
    return Asked(ids=tuple(ids)), [(key,) for key in first[: len(TRIED_OPTIONS)]], first[len(TRIED_OPTIONS) :]


async def _try_question(transport: Transport, dialect: QuestionDialect, found: Findings, wanted: Wanted) -> None:
    """Look at what a route with a template of its own says of two prompts.

    Raises:
        _LackError: labels cannot be read from it.
    """
    answers = []
    for text in TRIED:
        asked = word(lay_out_question(wanted.layout, text), wanted.tokens)
        try:
            weighed = await dialect.weigh(transport, found.model, asked, TRIED_OPTIONS)
        except (ServerRefusedError, CallFailedError) as error:
            raise _LackError(one_line(error, 300)) from error
        likeliest = TRIED_OPTIONS[weighed.logprobs.index(max(weighed.logprobs))]
        if weighed.chosen not in (None, likeliest) and len(set(weighed.logprobs)) > 1:
            raise _LackError("the choice is not the likeliest option by its own probabilities")
        answers.append(weighed.logprobs)
    if answers[0] == answers[1] and len(set(answers[0])) == 1:
        raise _LackError("the probabilities are all equal")


def is_raw(position: Position, allowed: Sequence[Key]) -> bool | None:
    """Say whether tokens that were each the only one allowed have the log-probabilities that they have anyway.

    Returns:
        False where each is certain; None where that cannot be told.
    """
    values = [position.logprobs[key] for key in allowed if key in position.logprobs]
    if len(values) < len(allowed) or len(values) < len(TRIED_OPTIONS):
        return None
    return min(values) < -_EVEN
