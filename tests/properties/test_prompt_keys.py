"""Proves that normalising twice is normalising once, and that what changes only the look of a prompt changes no key."""

from hypothesis import example, given
from hypothesis import strategies as st

from solon.records import Conversation
from solon.redteam import prompt_key
from solon.words import normalize_text

# Characters whose folding has been got wrong before: sharp s, dotted i, Greek final sigma, ligatures, Hangul, signs.
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("ßİıΣςﬁ\u0345ͅᾳΐ\u200b\u00ad’“A B.!?")), max_size=30)


@given(TEXTS)
@example("\u0345\u0301")
@example("ß\u200b\u0301")
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalize_text(text)
    assert normalize_text(once) == once


@given(st.text(st.sampled_from("abcXYZ019 "), min_size=1).filter(str.strip), st.sampled_from(["", ".", "?!", "…", "”"]))
def test_looks_do_not_matter(text: str, end: str) -> None:
    dressed = "\u200b “" + text.upper().replace(" ", " \t\n") + end + " "
    assert normalize_text(dressed) == normalize_text(text)


@given(TEXTS)
def test_a_text_with_something_to_see_never_becomes_empty(text: str) -> None:
    assert bool(normalize_text(text)) == any(not c.isspace() for c in _visible(text))


def _visible(text: str) -> str:
    import unicodedata

    return unicodedata.normalize("NFKC", "".join(c for c in text if unicodedata.category(c) != "Cf"))


@given(st.lists(st.text(st.sampled_from("abc "), min_size=1), min_size=1, max_size=4))
def test_turns_are_told_apart(turns: list[str]) -> None:
    joined = prompt_key(Conversation.of(" ".join(turns)))
    assert (prompt_key(Conversation.of(*turns)) == joined) == (len(turns) == 1)
