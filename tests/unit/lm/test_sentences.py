"""Proves where the last whole sentence of a text ends: at marks of several scripts, and never where it is in doubt."""

import pytest

from solon.lm.sentences import whole_sentences

CUT = [
    ("I can't help. It is theft, and it hu", "I can't help."),
    ("Is it safe? It dep", "Is it safe?"),
    ("Stop! Do n", "Stop!"),
    ("It is whole.", "It is whole."),
    ("Really?! Yes, be", "Really?!"),
    ('She said "no." Then she', 'She said "no."'),
    ("“Sí.” Luego", "“Sí.”"),
    ("»Nein.« Dann", "»Nein.«"),
    ("(It is harm.) Also", "(It is harm.)"),
    ("**Never do it.** Ask", "**Never do it.**"),
    ("Ask first.\n\n1. Buy a", "Ask first."),
    ("Do this:\n1. Get the box.\n2. Open", "Do this:\n1. Get the box."),
    ("Ask first.\n\nthen go", "Ask first."),
    ("See example.com. It s", "See example.com."),
    ("他走了。然后他", "他走了。"),
    ("「いいえ。」それ", "「いいえ。」"),
    ("你好！我", "你好！"),
    ("वह गया। फिर", "वह गया।"),
    ("किताबें पढ़ीं. फिर", "किताबें पढ़ीं."),
    ("هل هذا آمن؟ لا", "هل هذا آمن؟"),
    ("یہ ٹھیک ہے۔ پھر", "یہ ٹھیک ہے۔"),
    ("Այո։ Հետո", "Այո։"),
    ("አዎ። ከዚያ", "አዎ።"),
    ("  It begins with space. And", "  It begins with space."),
]

NOT_HERE = [
    "1. Buy a rope",
    "1.",
    "a. Buy",
    "(b. Buy",
    "iv. Buy",
    "It costs 3.",
    "It costs 3.5 euros",
    "Ask Dr. Smith",
    "Ask DR. SMITH",
    "Ask J. Smith",
    "tools, e.g. a rope",
    "tools, i.e.",
    "in the U.S. there",
    "ropes, nails, etc.",
    "as in No. 5 of it",
    "Wait... there",
    "Well… there",
    '"Stop!" she said',
    "It is. but not quite",
    "see example.com",
    "no mark at all",
    " ...\n",
    "",
    "ไม่มีจุดจบ",
]


@pytest.mark.parametrize(("text", "kept"), CUT)
def test_a_text_is_kept_up_to_its_last_whole_sentence(text: str, kept: str) -> None:
    assert whole_sentences(text) == kept


@pytest.mark.parametrize("text", NOT_HERE)
def test_what_may_not_be_an_end_is_none(text: str) -> None:
    assert whole_sentences(text) == ""
    assert whole_sentences(f"It is so.\n{text}") == "It is so."


def test_marks_alone_are_no_sentence() -> None:
    assert whole_sentences("!!! ?") == ""


def test_a_long_text_of_marks_and_lines_is_read() -> None:
    assert whole_sentences("\n" * 50_000 + ". " * 50_000) == ""
