"""Where the last whole sentence of a text ends that was cut off by a token limit.

A sentence ends with a full stop, a question mark or an exclamation mark of some script, and with the quotes, brackets
and emphasis that close right after it. What is only perhaps an end is taken for none, since a text that stops one
sentence early is whole, and one that stops in the middle of a sentence is not. Where spaces part words that is:

- a mark with no white space after it (`3.5`, `example.com`), or with a small letter (`"Stop!" she said`) or, after a
  full stop, a number (`No. 5`) next on its line;
- a full stop after a number (`1.` of a list, `3.` of 3.5), after a single letter or a small Roman numeral that begins
  a line (`a.`, `iv.`, `e.g.`, `J. Smith`), after an abbreviation, and one of several (`...`).

What it leaves out: scripts that mark no end, such as Thai; abbreviations of most languages; code.
"""

import re
import unicodedata
from typing import Final

_WIDE: Final = "。！？｡।॥؟۔։።፧။។៕"
"""Marks that are nothing but the end of a sentence, whatever follows."""

_CLOSERS: Final = r"""["'”’“‘»«›‹」』》〉）)\]}】〕*_`]"""
_MARK: Final = re.compile(rf"(?:(?P<wide>[{_WIDE}]+)|(?P<mark>[.!?…]+)){_CLOSERS}*")
_NEXT: Final = re.compile(r"[^\S\n]*+(.?)")
"""What stands next on the same line; a new line may begin with anything."""

_ROMAN: Final = re.compile(r"\W*[ivx]+")
_ABBREVIATIONS: Final = re.compile(
    r"(?:"
    r"mr|mrs|ms|mx|dr|prof|rev|hon|gen|capt|lt|col|sgt|st|jr|sr|vs|etc|al|cf|viz|approx|dept|est|fig|figs|nos|"
    r"vol|vols|eds|pp|inc|ltd|co|corp|bros|ave|blvd|jan|feb|aug|sept|oct|nov|bzw|usw|ca|nr|hr|sra|dra|mme"
    r")",
    re.IGNORECASE,
)


def whole_sentences(text: str) -> str:
    """Return a text up to the end of its last whole sentence, a beginning of it; empty where it has none."""
    marks = reversed(list(_MARK.finditer(text)))
    end = next((mark.end() for mark in marks if _ends_sentence(text, mark)), 0)
    return text[:end] if any(map(str.isalnum, text[:end])) else ""


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """Return whether a mark is the end of a sentence beyond doubt.

    What comes after it can only speak against it: an end stays one where the text is cut there.
    """
    if match["wide"]:
        return True
    if text[match.end() : match.end() + 1].strip():
        return False
    found = _NEXT.match(text, match.end())
    following = found[1] if found else ""
    if following.islower():
        return False
    if match["mark"] == ".":
        line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        return not following.isnumeric() and _ends_in_word(line)
    return not match["mark"].endswith(("..", "…"))


def _ends_in_word(line: str) -> bool:
    """Return whether what stands before a full stop is a word, and no number, initial, abbreviation or list mark."""
    start = len(line)
    while start and (line[start - 1].isalpha() or unicodedata.category(line[start - 1])[0] == "M"):
        start -= 1
    letters = line[start:]
    if not letters:
        return not line[-1:].isnumeric()
    return len(letters) > 1 and not _ABBREVIATIONS.fullmatch(letters) and not _ROMAN.fullmatch(line)
