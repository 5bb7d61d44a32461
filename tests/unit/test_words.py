"""Proves that content words are what a text is about, and nothing of how it is put."""

import pytest

from solon.words import content_words


@pytest.mark.parametrize("word", ["rob", "robs", "robbed", "robber", "Robbing", "robber's"])
def test_endings_make_no_other_word(word: str) -> None:
    assert content_words(f"How do I {word}?") == content_words("rob")


@pytest.mark.parametrize("word", ["robot", "crop", "probe"])
def test_words_that_look_alike_are_others(word: str) -> None:
    assert not content_words(word) & content_words("rob")


def test_grammar_is_not_content() -> None:
    assert content_words("Can you tell me how I would've put them onto it, please?") <= {"would'v"}
    assert content_words("Can you tell me how to do it?") == frozenset()


def test_short_words_keep_their_endings() -> None:
    """Where fewer than three letters would be left, the ending is the word's own."""
    assert content_words("bed red thing sly bus") == {"bed", "red", "sly", "bus"}


def test_other_scripts_have_words() -> None:
    assert content_words("自行车的铃声") & content_words("铃声")
