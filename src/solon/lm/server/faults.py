"""What a server's answer is: a JSON value, or a fault, with what it says about trying again.

Servers word their errors in six shapes, and proxies before them answer with pages. The status is read first, then a
message is looked for, tolerantly. What a server says is redacted before it is cut: it may repeat the key.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Literal

from solon.messages import one_line
from solon.redaction import redact

LONGEST_WAIT: Final = 120.0
"""Seconds; a server that asks to wait longer is not asked again by that call."""

_SAID = 200
"""Characters of a server's message that are kept."""

_LOOKED_AT = 32_000
_LONGEST_SECRET = 8_000
"""Characters of a message that are looked at, and of these the last ones, in which half of a secret may be left."""

_RETRIED = frozenset({408, 409, 429})
_NOT_RETRIED = frozenset({501})
_MAYBE_PAID = frozenset({408, 504, 524})
"""Statuses of a proxy that gave up waiting while the server may have gone on."""

_PROMPT_TOKENS = ("prompt_tokens", "input_tokens", "tokens_evaluated")
_CACHED_TOKENS = ("cached_tokens", "cache_read_input_tokens")
_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_GENERATED_TOKENS = ("completion_tokens", "output_tokens", "tokens_predicted")

Reason = Literal[
    "unreachable",  # no connection came about, so nothing was sent
    "broken",  # the connection broke before the answer was whole
    "timeout",
    "rate_limited",
    "overloaded",
    "server_error",
    "not_json",
    "error_in_answer",  # a status of success, and an error in the body
    "refused",
    "no_quota",
    "cancelled",  # by us
]


@dataclass(frozen=True)
class Fault:
    """Why a try came to no answer.

    Attributes:
        reason: in a word.
        said: what the server or the network said, on one line; nothing secret.
        status: the HTTP status; None where none came.
        may_retry: whether another try could be answered.
        wait: seconds that the server asks to wait before it; None where it does not say.
        maybe_paid: whether the server may have done the work.
    """

    reason: Reason
    said: str
    status: int | None = None
    may_retry: bool = True
    wait: float | None = None
    maybe_paid: bool = False

    @property
    def is_final(self) -> bool:
        """Whether every call like this one would fail so."""
        return self.reason in ("refused", "no_quota")

    @property
    def is_crowding(self) -> bool:
        """Whether it tells of more requests than the server can take."""
        return self.reason in ("rate_limited", "overloaded", "timeout")

    @property
    def is_silence(self) -> bool:
        """Whether no server was heard at all."""
        return self.reason in ("unreachable", "broken", "timeout")

    def __str__(self) -> str:
        status = "" if self.status is None else f"{self.status} "
        return f"{status}{self.reason}{f' ({self.said})' if self.said else ''}"


@dataclass(frozen=True)
class Answer:
    """A JSON value that a server answered with.

    Attributes:
        body: the value.
        prompt_tokens: by the server's count; None where it does not tell.
        generated_tokens: likewise.
        cached_tokens: of the prompt's, those that the server had in a cache; likewise.
    """

    body: object
    prompt_tokens: int | None
    generated_tokens: int | None
    cached_tokens: int | None = None


def describe(text: object) -> str:
    """Return the beginning of what a server or the network said, on one line and without secrets."""
    whole = str(text)
    safe = redact(whole) if len(whole) <= _LOOKED_AT else redact(whole[:_LOOKED_AT])[:-_LONGEST_SECRET]
    return one_line(safe, _SAID)


def read_answer(status: int, headers: Mapping[str, str], content: bytes) -> Answer | Fault:
    """Read an HTTP answer.

    Args:
        status: the HTTP status.
        headers: looked up in lower case.
        content: the whole body.
    """
    text = content.decode("utf-8", "replace")
    try:
        body: object = json.loads(text)
        is_json = True
    except (ValueError, RecursionError):
        body, is_json = None, False
    if not 200 <= status < 300:
        return _find_fault(status, headers, body, _find_message(body, text))
    if not is_json:
        return Fault("not_json", describe(text), status, maybe_paid=True, wait=read_wait(headers))
    if _holds_error(body):
        code = _error_field(body, "code")
        passed_on = code if isinstance(code, int) and 400 <= code < 600 else 500  # a gateway repeats another's status
        fault = _find_fault(passed_on, headers, body, _find_message(body, text))
        return replace(
            fault, status=status, reason="error_in_answer" if fault.reason == "server_error" else fault.reason
        )
    return Answer(body, *_read_usage(body))


def _find_fault(status: int, headers: Mapping[str, str], body: object, said: str) -> Fault:
    if "insufficient_quota" in (_error_field(body, "code"), _error_field(body, "type")):
        return Fault("no_quota", said, status, may_retry=False)
    if 300 <= status < 400:
        said = f"a redirect, which is not followed, to {describe(headers.get('location', 'nowhere'))}"
    passes = status in _RETRIED or (status >= 500 and status not in _NOT_RETRIED)
    advice = headers.get("x-should-retry", "").strip().lower()
    reason: Reason = "server_error" if passes or advice == "true" else "refused"
    if status in (429, 503):
        reason = "rate_limited" if status == 429 else "overloaded"
    may_retry = reason != "refused" and advice != "false"
    return Fault(reason, said, status, may_retry, read_wait(headers), maybe_paid=status in _MAYBE_PAID)


def read_wait(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return for how many seconds a server asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date.

    Args:
        headers: looked up in lower case.
        now: the time that a date is counted from; the clock's by default.

    Returns:
        At least 0; None where nothing readable is said.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        until = parsedate_to_datetime(headers.get("retry-after", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())


def _holds_error(body: object) -> bool:
    return isinstance(body, Mapping) and (bool(body.get("error")) or body.get("object") == "error")


def _error_field(body: object, name: str) -> object:
    """Return a field of an error, which may lie in `error` or be the whole body."""
    if not isinstance(body, Mapping):
        return None
    error = body.get("error")
    return error.get(name) if isinstance(error, Mapping) else body.get(name)


def _find_message(body: object, text: str) -> str:
    """Return what a body says is wrong, in any of the shapes in which servers do; else its beginning."""
    if isinstance(body, Mapping):
        for said in (_error_field(body, "message"), body.get("error"), body.get("message"), body.get("detail")):
            if isinstance(said, str) and said:
                return describe(said)
        if isinstance(details := body.get("detail"), list) and details:
            return describe("; ".join(_describe_detail(detail) for detail in details))
    return describe(text)


def _describe_detail(detail: object) -> str:
    if not isinstance(detail, Mapping):
        return str(detail)
    place = detail.get("loc")
    where = ".".join(str(part) for part in place) if isinstance(place, list) else ""
    return f"{where}: {detail.get('msg')}" if where else str(detail.get("msg"))


def _read_usage(body: object) -> tuple[int | None, int | None, int | None]:
    """Return the tokens of prompt, answer and cache that a body tells of, by the names of the servers known."""
    if not isinstance(body, Mapping):
        return None, None, None
    places = [body.get("usage"), body.get("meta_info"), body]
    known = [place for place in places if isinstance(place, Mapping)]
    details = [found for place in known for name in _DETAILS if isinstance(found := place.get(name), Mapping)]
    return (
        _find_count(known, _PROMPT_TOKENS),
        _find_count(known, _GENERATED_TOKENS),
        _find_count([*details, *known], _CACHED_TOKENS),
    )


def _find_count(places: Sequence[Mapping[str, object]], names: Sequence[str]) -> int | None:
    found = (place.get(name) for place in places for name in names)
    return next((each for each in found if isinstance(each, int) and not isinstance(each, bool) and each >= 0), None)
