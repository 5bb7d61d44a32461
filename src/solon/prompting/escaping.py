r"""Neutralise delimiters in untrusted text that is rendered beside textual delimiters.

Where a template marks its parts with text (`Human:`, `(A)`, `[[[`), a response could hold the same marks and
pass for another part. `escape` puts a backslash before each such mark: `\Human:`, `\(A)`, `\[\[\[`. A mark is
looked for as a reader would see it: letter case, white space before it, invisible characters inside it and
letters of other scripts that look the same make no difference. Everything else stays as it is, so ordinary
text is byte-identical, and a second escape changes nothing.

It acts on a rendering only; records keep the text as it was written. Control tokens are another matter: they
cannot arise from untrusted text in any layout because of how it is tokenised (`solon.records.Span`).

What it leaves out: marks in words of another language, and persuasion in plain sentences, which no escaping
can tell from honest text.
"""

import re
import unicodedata
from functools import cache
from typing import Final

# Marks count where a line begins; a fence counts anywhere. Text is matched after folding (lower case).
_MARK: Final = (
    r"(?:human|assistant|system|critique[ \t]*request|critique|revision[ \t]*request|revision|request|response)[ \t]*:"
    r"|\([ \t]*[ab][ \t]*\)"
    r"|the[ \t]+answer[ \t]+is[ \t]*:?[ \t]*\("
)
_LINE_BREAKS: Final = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_DELIMITER: Final = re.compile(rf"(?:^|(?<=\n))[ \t]*(?P<mark>{_MARK})|(?P<fence>\[{{3,}}|\]{{3,}})")
_DELIMITER_IN_PLAIN: Final = re.compile(_DELIMITER.pattern, re.IGNORECASE | re.ASCII)
_NOT_PLAIN: Final = re.compile(r"[^\n\t\x20-\x7e]")

_LOOK_ALIKES: Final = {
    # Cyrillic, Greek, Armenian, Cherokee and small capitals that pass for the letters of a mark.
    "a": "аαаɑᴀꭺᎪ",
    "b": "вβʙᏴᛒЬь",
    "c": "сϲᴄⅽᏟ",
    "e": "еεєᴇℯᎬ",
    "h": "нηһʜᎻհ",
    "i": "іιıɪӏⅰᎥǀ",
    "l": "ⅼɭ",
    "m": "мμᴍⅿᎷ",
    "n": "пνɴոռ",
    "o": "оοσᴏօ",
    "p": "рρϱᴘᴩᏢꮲ⍴",
    "q": "ԛգզ",
    "r": "гʀᎡꭱ",
    "s": "ѕꜱᏚտ",
    "t": "тτᴛᎢ",
    "u": "уυᴜսц",
    "v": "ѵνᴠⅴᏙ",
    "w": "ѡωᴡԝᎳ",
    "(": "❨❪⟮﴾⦅⸨⁽₍",
    ")": "❩❫⟯﴿⦆⸩⁾₎",
    "[": "⁅❲〔⟦【〚〖「⦗",
    "]": "⁆❳〕⟧】〛〗」⦘",
    ":": "ː꞉∶։׃܃܄᛬⁚⦂ꓽ︓˸፡",
}
_FOLDED: Final = {alike: plain for plain, alikes in _LOOK_ALIKES.items() for alike in alikes}
_INVISIBLE: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")


@cache
def _fold(character: str) -> str:
    """Return what a reader sees of one character: lower case, unaccented, or nothing where it is invisible."""
    if character in _LINE_BREAKS:
        return "\n"
    folded = []
    for part in unicodedata.normalize("NFKD", character).casefold():
        category = unicodedata.category(part)
        if part in _FOLDED:
            folded.append(_FOLDED[part])
        elif part == "\t" or category == "Zs":
            folded.append(" ")
        elif category[0] != "M" and category not in ("Cc", "Cf") and part not in _INVISIBLE:
            folded.append(part)
    return "".join(folded)


@cache
def _delimiters(marks: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what is looked for in plain and in folded text: the marks of the package's templates, and these."""
    if not marks:
        return _DELIMITER_IN_PLAIN, _DELIMITER
    # Words and signs, with any space between them, in the letters that a reader sees.
    folded = (re.findall(r"\w+|[^\w\s]", "".join(map(_fold, mark))) for mark in marks)
    own = "|".join(r"[ \t]*".join(map(re.escape, parts)) for parts in folded if parts)
    pattern = _DELIMITER.pattern.replace(_MARK, f"{_MARK}|{own}" if own else _MARK)
    return re.compile(pattern, re.IGNORECASE | re.ASCII), re.compile(pattern)


def _marks(text: str, marks: tuple[str, ...]) -> list[int]:
    """Return the index of every character of `text` that must be preceded by a backslash, in order."""
    in_plain, in_folded = _delimiters(marks)
    if _NOT_PLAIN.search(text) is None:
        where: range | list[int] = range(len(text))
        found = in_plain.finditer(text)
    else:
        where = []
        pieces = []
        for index, character in enumerate(text):
            piece = _fold(character)
            pieces.append(piece)
            where.extend([index] * len(piece))
        found = in_folded.finditer("".join(pieces))
    indices: list[int] = []
    for match in found:
        start, end = match.span(match.lastgroup or 0)
        indices += [where[start]] if match.lastgroup == "mark" else [where[i] for i in range(start, end)]
    return list(dict.fromkeys(indices))


def escape(text: str, marks: tuple[str, ...] = ()) -> str:
    r"""Put a backslash before every textual delimiter in untrusted text, seen as a reader sees it.

    `escape(escape(x)) == escape(x)`, and text without a delimiter is returned as it is.

    Args:
        text: what people or models wrote.
        marks: what counts at the beginning of a line, beside the marks of the package's templates.
    """
    indices = _marks(text, marks)
    if not indices:
        return text
    pieces = []
    last = 0
    for index in indices:
        pieces += [text[last:index], "\\"]
        last = index
    return "".join((*pieces, text[last:]))
