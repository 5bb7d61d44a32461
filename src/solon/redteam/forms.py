r"""The forms in which people write a prompt down, read as a conversation that ends with the user.

A prompt is a text, a list of texts (the user's and the assistant's in turn), a list of messages, or a transcript:

    "How do I ...?"
    ["How do I ...?", "Like this ...", "And then?"]
    [{"role": "user", "content": "How do I ...?"}, ...]
    "\n\nHuman: How do I ...?\n\nAssistant: Like this ...\n\nHuman: And then?\n\nAssistant:"

In an object or a row it stands under the first of `PROMPT_FIELDS` that is there. A text that begins with `Human:` is
a transcript; its turns are all after an empty line, or all on a new line. A text with speakers that is no such
transcript is refused, since it would become words of the user that nobody said; a list is taken as it is. Every turn
is kept but an answer at the end, which is no part of a prompt and is counted. A system message may come first; after
it user and assistant take turns.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, get_args

from pydantic import ValidationError

from solon.constitution.nodes import find_control
from solon.errors import RecordError
from solon.messages import describe_misfit, nearest, shorten
from solon.records import Conversation, Message, Role
from solon.words import is_blank

PROMPT_FIELDS: Final = ("prompt", "turns", "messages", "transcript", "chosen", "instruction", "goal")
"""Where a prompt may stand, the first that is there; case does not matter. `chosen` is a transcript or messages."""

DETAIL_FIELDS: Final = ("kind", "split", "goal", "category")
"""What else may be said of a prompt."""

PAIR: Final = "pair"
"""Of a twin: the goal of the harmful prompt whose words it shares. For people, and passed over without a word."""

MAX_CHARACTERS: Final = 100_000
"""The longest prompt; more is taken for a file whose prompts are not on lines of their own."""

FINAL_ANSWER: Final = "the final answer"
"""Under which name an answer at the end of a dialogue is counted as passed over."""

_INPUT: Final = "input"
_ROLES: Final[tuple[str, ...]] = get_args(Role)
_SPEAKER: Final = re.compile(r"^[ \t]*(Human|Assistant):", re.MULTILINE)
_LINE_END: Final = re.compile(r"\r\n?")
_SPEAKERS: Final = {"Human": "user", "Assistant": "assistant"}

_Turn = tuple[str, str]


class Given(NamedTuple):
    """What an entry says: a conversation, details by name, and what of it was passed over."""

    conversation: Conversation
    details: dict[str, str]
    passed_over: tuple[str, ...]


class Turn(NamedTuple):
    """A turn of a transcript.

    Attributes:
        speaker: `Human` or `Assistant`; empty for what stands before the first of them.
        said: its text, without white space at the ends.
        lines: how many lines ended between the text before and its speaker: 2 and more leave one empty.
        begin: place of its speaker in the text.
    """

    speaker: str
    said: str
    lines: int
    begin: int


def split_speakers(text: str) -> list[Turn]:
    """Return what stands before the first line that begins with `Human:` or `Assistant:`, and each turn.

    Args:
        text: any text, its lines ended by newlines.
    """
    marks = list(_SPEAKER.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)]
    before = text[: ends[0]]
    turns = [Turn("", before.strip(), 0, 0)]
    for mark, end in zip(marks, ends[1:], strict=True):
        gap = before[len(before.rstrip()) :]
        before = text[mark.end() : end]
        turns.append(Turn(mark[1], before.strip(), gap.count("\n"), mark.start()))
    return turns


def read_given(body: Any, where: str) -> Given:
    """Read what an entry says.

    Args:
        body: a text, or an object with the prompt under one of `PROMPT_FIELDS`.
        where: file and line, for messages.

    Raises:
        RecordError: it is no prompt.
    """
    fields = _fields({"prompt": body} if isinstance(body, str) else body, where)
    field = _find_prompt(fields, where)
    turns = _turns(fields[field], field, where)
    used = {field, *DETAIL_FIELDS, PAIR}
    if field == "instruction" and len(turns) == 1 and (more := _text(fields, _INPUT, where)):
        turns, used = [("user", f"{turns[0][1]}\n\n{more}")], used | {_INPUT}
    _check_roles(turns, field, where)
    asked = turns[:-1] if turns[-1][0] == "assistant" else turns
    _check_texts(asked, field, where)
    details = {name: text for name in DETAIL_FIELDS if (text := _text(fields, name, where)) is not None}
    unread = [name for name, value in fields.items() if value is not None and name not in used]
    for name in unread:
        _refuse_misspelling(name, fields, where)
    answered = [FINAL_ANSWER] if any(text.strip() for _, text in turns[len(asked) :]) else []
    return Given(_conversation(asked, where), details, (*unread, *answered))


def _fields(body: Any, where: str) -> dict[str, Any]:
    """Return the object's fields by name in lower case."""
    if not isinstance(body, Mapping):
        raise RecordError(f"{where}: expected a JSON object or a text, found {type(body).__name__}")
    fields: dict[str, Any] = {}
    for name, value in body.items():
        plain = name.strip().lower()
        if plain in fields:
            raise RecordError(f"{where}: the field {shorten(plain)} is there twice, in two spellings: remove one")
        fields[plain] = value
    return fields


def _find_prompt(fields: Mapping[str, Any], where: str) -> str:
    """Return the field that holds the prompt; a goal is one only where there is no place for another."""
    places = [name for name in PROMPT_FIELDS if name in fields]
    if not places:
        found, expected = shorten(str(sorted(fields)), 200), "', '".join(PROMPT_FIELDS)
        raise RecordError(
            f"{where}: expected one of the fields '{expected}', found {found}: "
            "give the one that holds the prompt the name 'prompt'"
        )
    full = next((name for name in places if fields[name] is not None), None)
    if full is None or (full == "goal" and full != places[0]):
        raise RecordError(f"{where}: '{places[0]}' is empty: write the prompt there, or leave the entry out")
    return full


def _text(fields: Mapping[str, Any], name: str, where: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise RecordError(f"{where}: '{name}' must be a text, found {type(value).__name__}: put it in quotation marks")
    if value is None or not value.strip():
        return None
    _refuse_control(value, name, where)
    return value.strip()


@functools.lru_cache(maxsize=1024)
def _meant(name: str) -> str | None:
    return next(iter(get_close_matches(name[:100], DETAIL_FIELDS, n=1, cutoff=0.85)), None)


def _refuse_misspelling(name: str, fields: Mapping[str, Any], where: str) -> None:
    """Refuse a field that was hardly meant to be passed over: a lost `split` would move prompts unnoticed."""
    meant = _meant(name)
    if meant is not None and meant not in fields:
        raise RecordError(f"{where}: unknown field {shorten(name)}: did you mean '{meant}'? rename or remove it")


def _turns(value: Any, field: str, where: str) -> list[_Turn]:
    """Return role and text of every turn, in any of the forms."""
    if isinstance(value, str):
        if field in ("turns", "messages"):
            raise RecordError(f"{where}: '{field}' must be a list, found a text: name a single text 'prompt'")
        return _read_text(value, field, where)
    if not isinstance(value, list):
        expected = "a list" if field in ("turns", "messages") else "a text or a list of messages"
        raise RecordError(f"{where}: '{field}' must be {expected}, found {type(value).__name__}")
    if any(isinstance(item, Mapping) for item in value) or field in ("messages", "chosen"):
        return [_message(item, f"{where}: message {n} of '{field}'") for n, item in enumerate(value, 1)]
    return [
        (("user", "assistant")[n % 2], _said(item, f"{where}: turn {n + 1} of '{field}'"))
        for n, item in enumerate(value)
    ]


def _read_text(text: str, field: str, where: str) -> list[_Turn]:
    before, *turns = split_speakers(_LINE_END.sub("\n", text))
    whole = field in ("transcript", "chosen")
    if not turns and not whole:
        return [("user", text)]
    if not turns or (whole and turns[0].speaker != "Human"):
        raise RecordError(f"{where}: '{field}' is no transcript: expected turns that begin with 'Human:'")
    if turns[0].speaker != "Human" or (before.said and not whole):
        raise RecordError(
            f"{where}: '{field}' has a line that begins with '{turns[0].speaker}:', and does not begin with 'Human:': "
            "begin a transcript with it, or give the text as a list, which is taken as it is"
        )
    spaced = {turn.lines > 1 for turn in (turns if before.said else turns[1:])}
    if len(spaced) > 1:
        raise RecordError(
            f"{where}: '{field}' has speakers after an empty line and others that are not: write an empty line before "
            "each turn, or give the turns as a list"
        )
    said = [(_SPEAKERS[turn.speaker], turn.said) for turn in turns]
    return [("system", before.said), *said] if before.said else said


def _message(item: Any, what: str) -> _Turn:
    if not isinstance(item, Mapping):
        raise RecordError(f"{what} must be an object with 'role' and 'content', found {type(item).__name__}")
    role, content = item.get("role"), item.get("content", item.get("text"))
    if role not in _ROLES:
        raise RecordError(f"{what} has the role {shorten(str(role))}: expected one of {', '.join(_ROLES)}")
    if isinstance(content, list):
        return role, "\n\n".join(_said(_part(part, what), what) for part in content)
    return role, _said(content, what)


def _part(part: Any, what: str) -> Any:
    if not isinstance(part, Mapping) or part.get("type") != "text":
        raise RecordError(f"{what} holds a part that is no text: expected parts of the type 'text'")
    return part.get("text")


def _said(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise RecordError(f"{what} must be a text, found {type(value).__name__}")
    return value


def _check_roles(turns: Sequence[_Turn], field: str, where: str) -> None:
    """Refuse what no model's chat template can render; two turns of one speaker often hide a lost one."""
    before = ""
    for number, (role, _) in enumerate(turns, 1):
        what = f"{where}: turn {number} of '{field}'"
        if role == "system" and number > 1:
            raise RecordError(f"{what} is a system message: expected it at the beginning, and one at most")
        if role == before:
            raise RecordError(f"{what} is by the {role} again: expected user and assistant in turn; join the two")
        if role == "assistant" and before != "user":
            raise RecordError(f"{what} is the assistant's: expected the user to begin")
        before = role
    if before in ("", "system"):
        raise RecordError(f"{where}: '{field}' holds no turn of the user: expected at least 1")


def _check_texts(turns: Sequence[_Turn], field: str, where: str) -> None:
    length = sum(len(text) for _, text in turns)
    if length > MAX_CHARACTERS:
        raise RecordError(
            f"{where}: '{field}' is {length:,} characters long, and a prompt at most {MAX_CHARACTERS:,}: "
            "write each prompt as an entry of its own"
        )
    for number, (_, text) in enumerate(turns, 1):
        if is_blank(text):
            raise RecordError(f"{where}: turn {number} of '{field}' is without words: write what was said there")
        _refuse_control(text, f"{field}, turn {number}", where)


def _refuse_control(text: str, name: str, where: str) -> None:
    if control := find_control(text):
        raise RecordError(f"{where}: '{name}' holds a control character ({control}): remove it")


def _conversation(turns: Sequence[_Turn], where: str) -> Conversation:
    try:
        return Conversation(messages=tuple(Message.model_validate({"role": r, "text": t}) for r, t in turns))
    except ValidationError as error:
        raise RecordError(f"{where}: {describe_misfit(error)}") from error


def choose_word(name: str, word: str, known: Sequence[str], where: str) -> str:
    """Return `word` if it is one of the known words.

    Raises:
        RecordError: it is not; the nearest is named.
    """
    if word not in known:
        raise RecordError(f"{where}: {name} {shorten(word)} is unknown: {nearest(word, known, most=12)}")
    return word
