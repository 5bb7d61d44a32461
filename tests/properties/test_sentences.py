"""Proves of any text that what is kept of it is a beginning of it that ends a sentence, and is then left alone."""

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from solon.lm.sentences import whole_sentences

PARTS = st.sampled_from(
    [
        *("I can't", "help", " ", "  ", "\n", "\n\n", ". ", ".", "...", "…", "!", "?", "?!", "。", "।", "؟", "、", ","),
        *(
            '"',
            "”",
            "'",
            ")",
            "(",
            "**",
            "1",
            "12",
            "a",
            "iv",
            "Dr",
            "etc",
            "e.g",
            "U.S",
            "No",
            "他走了",
            "वह गया",
            "é",
        ),
        *("e\u0301", "\u200b", "\x00", "😀", "\u2028", "\t"),
    ]
)
TEXTS = st.one_of(st.lists(PARTS, max_size=15).map("".join), st.text(max_size=30))
ENDS = ".!?。！？｡।॥؟۔։።፧။។៕"


@settings(max_examples=500)
@given(TEXTS)
def test_it_is_a_beginning_that_ends_a_sentence_and_is_left_alone(text: str) -> None:
    kept = whole_sentences(text)
    assert text.startswith(kept)
    assert whole_sentences(kept) == kept
    if kept:
        last = next(c for c in reversed(kept) if c in ENDS or c.isalnum() or c.isspace())
        assert last in ENDS
        assert any(unicodedata.category(c)[0] in "LN" for c in kept)


@settings(max_examples=500)
@given(TEXTS, TEXTS)
def test_more_text_never_takes_a_sentence_away_that_white_space_closed(text: str, more: str) -> None:
    """What stands before the last kept end stays, but that what follows may show the very last to be none."""
    kept = whole_sentences(f"{text}\n")
    assert whole_sentences(f"{text}\n{more}").startswith(kept)
