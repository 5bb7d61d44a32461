r"""Neutralise delimiters in untrusted text that is rendered beside textual delimiters.

Where a template marks its parts with text (`Human:`, `(A)`, `[[[`), a response could hold the same marks and
pass for another part. `escape` puts a backslash before each such mark: `\Human:`, `\(A)`, `\[\[\[`. A mark is
looked for as a reader would see it: letter case, white space before it, invisible characters inside it and
letters of other scripts that look the same make no difference. Everything else stays as it is, so ordinary
text is byte-identical, and a second escape changes nothing.

It acts on a rendering only; records keep the text as it was written. Control tokens are another matter: they
cannot arise from untrusted text in any layout because of how it is tokenised (`solon.records.Span`).

Each layout has marks of its own, and only they are escaped in it.

What it leaves out: marks in words of another language, and persuasion in plain sentences, which no escaping
can tell from honest text.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Final

from solon.records import Layout

# Marks count where a line begins; a fence counts anywhere. Text is matched after folding (lower case).
_MARK: Final = (
    r"(?:human|assistant|system|critique[ \t]*request|critique|revision[ \t]*request|revision)[ \t]*:"
    r"|\([ \t]*[ab][ \t]*\)"
    r"|the[ \t]+answer[ \t]+is[ \t]*:?[ \t]*\("
)
_MARKS: Final[Mapping[Layout, str]] = {
    "chat": _MARK,
    "transcript": _MARK,
    "single": rf"{_MARK}|(?:request|response)[ \t]*:",
}
_LINE_BREAKS: Final = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_DELIMITERS: Final[Mapping[Layout, re.Pattern[str]]] = {
    layout: re.compile(rf"(?:^|(?<=\n))[ \t]*(?P<mark>{marks})|(?P<fence>\[{{3,}}|\]{{3,}})")
    for layout, marks in _MARKS.items()
}
_DELIMITERS_IN_PLAIN: Final[Mapping[Layout, re.Pattern[str]]] = {
    layout: re.compile(delimiter.pattern, re.IGNORECASE | re.ASCII) for layout, delimiter in _DELIMITERS.items()
}
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
    "p": "рρᴘᴩᏢꮲ",
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


def _marks(text: str, layout: Layout) -> list[int]:
    """Return the index of every character of `text` that must be preceded by a backslash, in order."""
    if _NOT_PLAIN.search(text) is None:
        where: range | list[int] = range(len(text))
        found = _DELIMITERS_IN_PLAIN[layout].finditer(text)
    else:
        where = []
        pieces = []
        for index, character in enumerate(text):
            piece = _fold(character)
            pieces.append(piece)
            where.extend([index] * len(piece))
        found = _DELIMITERS[layout].finditer("".join(pieces))
    indices: list[int] = []
    for match in found:
        start, end = match.span(match.lastgroup or 0)
        indices += [where[start]] if match.lastgroup == "mark" else [where[i] for i in range(start, end)]
    return list(dict.fromkeys(indices))


def escape(text: str, layout: Layout = "chat") -> str:
    r"""Put a backslash before every textual delimiter in untrusted text, seen as a reader sees it.

    `escape(escape(x)) == escape(x)`, and text without a delimiter is returned as it is.

    Args:
        text: what people or models wrote.
        layout: the layout whose marks it stands beside.
    """
    indices = _marks(text, layout)
    if not indices:
        return text
    pieces = []
    last = 0
    for index in indices:
        pieces += [text[last:index], "\\"]
        last = index
    return "".join((*pieces, text[last:]))
