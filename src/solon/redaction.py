"""Secrets that must never be printed or stored, and their removal from whatever text would hold one.

A secret that the process reads is made known here once, by `hide`. From then on `redact` removes it, log records are
redacted when they are made, so whichever handler writes them, and so are the tracebacks of uncaught exceptions. A
secret is found as it is, percent-encoded, as `repr` and JSON write it, in base64 at any alignment, and where a line
break was put into one of these. A part of a secret is not found: text has to be redacted before it is cut.
"""

import base64
import logging
import re
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

HIDDEN = "[key hidden]"
"""What stands in the place of a secret."""

_SHORT = 8
"""Secrets of fewer characters (`EMPTY`, `x`) hide only where they stand as a word, or half of a text would go."""

_BREAK = r"""(?:["']?(?:\\[rt]|[ \t\r\\=|│]){0,8}(?:\n|\\n)(?:\\[nrt]|[\s|│>]){0,40}["']?)?"""
"""A line break, as itself or escaped, with the indentation, quotes and frames that come with one."""

_known: dict[str, re.Pattern[str]] = {}


def hide(secret: str) -> None:
    """Have a secret removed from logs, from printed tracebacks and by `redact`, for as long as the process lives."""
    if secret and secret not in _known:
        _known[secret] = re.compile(_pattern(secret))
        _guard_output()


def redact(text: str) -> str:
    """Return a text without any known secret."""
    for secret in sorted(_known, key=len, reverse=True):  # one may be the beginning of another
        text = _known[secret].sub(HIDDEN, text)
    return text


def _pattern(secret: str) -> str:
    literal = _BREAK.join(_character(character) for character in secret)
    if len(secret) < _SHORT:
        return rf"(?<!\w){literal}(?!\w)"
    return "|".join([literal, *(_base64(secret.encode(), offset) for offset in range(3))])


def _character(character: str) -> str:
    """Match one character of a secret in each way in which it may be written."""
    byte = f"{ord(character):02x}"
    code = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in byte)
    escaped = re.escape(character) if character.isalnum() else rf"\\{{0,4}}{re.escape(character)}"
    return rf"(?:{escaped}|%(?:25)?{code}|\\{{1,2}}(?:x|u00){code}|&#(?:0*{ord(character)}|[xX]0*{code});)"


def _base64(secret: bytes, offset: int) -> str:
    """Match the base64 of any bytes that hold a secret, `offset` bytes after a multiple of three.

    The characters at its ends are made of the neighbouring bytes too: any character matches there.
    """
    encoded = base64.b64encode(b"\0" * offset + secret).decode().rstrip("=")
    first, last = -(-8 * offset // 6), 8 * (offset + len(secret)) // 6
    other = {"+": "(?:[+-]|%2[bB])", "/": "(?:[/_]|%2[fF])"}
    whole = _BREAK.join(other.get(character, character) for character in encoded[first:last])
    edge = "[A-Za-z0-9+/_-]?"
    return (edge if offset else "") + whole + (edge if 8 * (offset + len(secret)) % 6 else "")


_guarded = threading.Lock()
_is_guarded = False


def _guard_output() -> None:
    """Put redaction before what is logged and before uncaught exceptions, once."""
    global _is_guarded
    with _guarded:
        if _is_guarded:
            return
        _is_guarded = True
    make_record = logging.getLogRecordFactory()

    def make_redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        _redact_record(record)
        return record

    logging.setLogRecordFactory(make_redacted)
    print_error, print_in_thread = sys.excepthook, threading.excepthook

    def print_redacted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not _print_redacted(kind, error, trace):
            print_error(kind, error, trace)

    def print_thread_redacted(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is None or not _print_redacted(args.exc_type, args.exc_value, args.exc_traceback):
            print_in_thread(args)

    sys.excepthook = print_redacted
    threading.excepthook = print_thread_redacted


def _print_redacted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> bool:
    """Print a traceback if a secret had to be taken from it; say whether that was so."""
    text = "".join(traceback.format_exception(kind, error, trace))
    if (safe := redact(text)) == text:
        return False
    sys.stderr.write(safe)
    return True


def _redact_record(record: logging.LogRecord) -> None:
    """Take secrets from a log record; one that holds none is left as it is."""
    try:
        said = record.getMessage()
    except Exception:  # a message that its arguments do not fit is printed with them by the handler that fails at it
        said = f"{record.msg} {record.args}"
    if (safe := redact(said)) != said:
        record.msg, record.args = safe, ()
    if record.exc_info and record.exc_info[0] is not None:
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if (safe := redact(text)) != text:
            record.exc_text, record.exc_info = safe, None
    if record.stack_info:
        record.stack_info = redact(record.stack_info)
