"""Proves that a known secret is found in every form in which it may be written, in texts, logs and tracebacks."""

import base64
import io
import json
import logging
import subprocess
import sys
import textwrap
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.redaction import HIDDEN, hide, redact

SECRETS = ("sk-proj/Abc+9_x=='Q\\z\"7&k", "sentinel0123456789abcdef")


@pytest.fixture(scope="module", autouse=True)
def known():
    for secret in SECRETS:
        hide(secret)


def encoded(secret: str, before: bytes) -> str:
    return base64.b64encode(before + secret.encode() + b"!?").decode()


FORMS = {
    "raw": lambda secret: secret,
    "percent": lambda secret: quote(secret, safe=""),
    "percent, of all characters": lambda secret: "".join(f"%{ord(c):02x}" for c in secret),
    "percent, twice": lambda secret: quote(quote(secret, safe=""), safe=""),
    "repr": repr,
    "repr of bytes": lambda secret: repr(secret.encode()),
    "repr of repr": lambda secret: repr(repr(secret)),
    "json": json.dumps,
    "json, escaped slash": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "html": lambda secret: secret.replace("&", "&#38;").replace("'", "&#x27;").replace('"', "&#34;"),
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 after one byte": lambda secret: encoded(secret, b"x"),
    "base64 after two": lambda secret: encoded(secret, b"u:"),
    "base64 after Bearer": lambda secret: encoded(secret, b"Bearer "),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(b"user:" + secret.encode()).decode(),
}


def leaks(text: str, form: str, secret: str) -> bool:
    """Say whether the characters of a written secret follow one another, or a secret can be decoded."""
    bare = "".join(text.split())
    core = FORMS[form](secret).strip("'\"b=")
    return secret in bare or core[4:-4] in bare


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_removed_and_the_rest_kept(form, secret):
    written = f"before {FORMS[form](secret)} after"
    assert leaks(written, form, secret)
    safe = redact(written)
    assert not leaks(safe, form, secret)
    assert safe.startswith("before ")
    assert safe.endswith(" after")
    assert HIDDEN in safe


@given(
    st.sampled_from(sorted(FORMS)),
    st.sampled_from(SECRETS),
    st.integers(1, 40),
    st.sampled_from(["\n", "\r\n", "\n    ", "\\n", " \\\n  ", "'\n  '", '"\n"', "\n│ ", "=\n"]),
)
def test_a_line_break_within_does_not_keep_it(form, secret, place, line_break):
    whole = FORMS[form](secret)
    place = min(place, len(whole) - 1)
    before = whole[max(0, place - 5) : place]
    if "\\" in whole[place - 1 : place + 1] or "%" in before or "&" in before:
        return  # broken within an escape, it would no longer be one
    safe = redact(f"x {whole[:place]}{line_break}{whole[place:]} y")
    assert HIDDEN in safe
    assert whole.strip("'\"b=")[12:-4] not in safe.replace(line_break, "")


@given(st.text(alphabet="abcdefghijklm 0123\n\"'%\\", max_size=200))
def test_other_text_is_left_as_it_is(text):
    assert redact(text) == text


def test_a_short_key_hides_only_as_a_word():
    hide("none7")
    assert redact("token none7, not none77 or xnone7") == f"token {HIDDEN}, not none77 or xnone7"


def test_a_long_text_is_looked_through_once():
    text = "s" * 20_000 + "\\n" * 20_000 + "\n" * 20_000 + " " * 20_000
    assert redact(text) == text


def test_log_records_are_redacted_whatever_handles_them():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("tests.redaction")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        logger.warning("headers %r", {"authorization": f"Bearer {SECRETS[0]}"})
        try:
            raise ValueError(f"refused: {SECRETS[1]}")
        except ValueError:
            logger.exception("failed")
        logger.warning("nothing to hide: %s", 1, stack_info=False)
    finally:
        logger.removeHandler(handler)
    said = stream.getvalue()
    assert all(secret not in said and repr(secret)[1:-1] not in said for secret in SECRETS)
    assert said.count(HIDDEN) >= 2
    assert "ValueError: refused: " in said
    assert "nothing to hide: 1" in said


def test_the_traceback_of_an_uncaught_exception_and_a_log_line_that_cannot_be_made_are_redacted():
    code = textwrap.dedent("""
        import logging, threading
        from solon.redaction import hide
        hide("sentinel0123456789abcdef")
        logging.warning("of %d", "sentinel0123456789abcdef")
        def fail():
            secret = "sentinel0123456789abcdef"
            raise ValueError(f"with {secret}")
        thread = threading.Thread(target=fail); thread.start(); thread.join()
        raise KeyError("sentinel0123456789abcdef" * 2)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "sentinel0123456789abcdef" not in done.stderr.replace('"sentinel', "")
    assert done.stderr.count(f"with {HIDDEN}") == 1
    assert f"KeyError: '{HIDDEN}{HIDDEN}'" in done.stderr


def test_a_program_without_secrets_prints_its_tracebacks_as_ever():
    code = "from solon.redaction import hide; hide('sentinel0123456789abcdef'); raise KeyError('x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.endswith("KeyError: 'x'\n")
