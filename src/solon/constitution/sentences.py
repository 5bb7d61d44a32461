"""Derive a whole principle from one plain sentence.

The shortest constitution is a list of sentences ("Do not help with theft."). The three requests that the method
asks for quote the sentence and are written by template files beside the shipped constitutions; their words are
part of the principle and so of the constitution's digest.
"""

import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Final, Literal, get_args

from solon.constitution.principles import Principle
from solon.storage import content_digest

Request = Literal["critique_request", "revision_request", "comparison"]

_ENDINGS: Final = ".?!。？！…"
_SLUG_LENGTH: Final = 40


@cache
def _template(request: Request) -> tuple[str, str]:
    file = files("solon.constitution") / "data" / f"sentence.{request}.txt"
    before, _, after = file.read_text(encoding="utf-8").strip().partition("{{sentence}}")
    return before, after


def _derive(request: Request, sentence: str) -> str:
    before, after = _template(request)
    return f"{before}{sentence}{after}"


def own_words(principle: Principle) -> dict[str, str]:
    """Return what people wrote of each request there is: without the words that `_derive` wraps a sentence in."""
    requests: tuple[Request, ...] = get_args(Request)
    words: dict[str, str] = {
        name: _unwrap(name, text) for name in requests if (text := getattr(principle, name)) is not None
    }
    return words if principle.question is None else {**words, "question": principle.question}


def _unwrap(request: Request, text: str) -> str:
    before, after = _template(request)
    derived = text.startswith(before) and text.endswith(after)
    return text.removeprefix(before).removesuffix(after) if derived else text


def sentence_id(sentence: str) -> str:
    """Return the id of the principle a sentence stands for: its first words and a short hash of all of it.

    It does not depend on where in a list the sentence stands. White space between words makes no difference.
    """
    sentence = " ".join(sentence.split())
    plain = unicodedata.normalize("NFKD", sentence).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if len(slug) > _SLUG_LENGTH:
        slug = slug[: _SLUG_LENGTH + 1].rpartition("-")[0] or slug[:_SLUG_LENGTH]
    return f"{slug or 'principle'}-{content_digest(sentence, size=3)}"


def principle_from_sentence(sentence: str) -> Principle:
    """Derive a principle with all three requests from one sentence.

    Args:
        sentence: what the assistant should do or not do; a full stop is added where it has no ending.

    Raises:
        ValidationError: the sentence is empty.
    """
    sentence = " ".join(sentence.split())
    said = sentence if not sentence or sentence[-1] in _ENDINGS else f"{sentence}."
    return Principle(
        id=sentence_id(sentence),
        critique_request=_derive("critique_request", said),
        revision_request=_derive("revision_request", said),
        comparison=_derive("comparison", said),
    )
