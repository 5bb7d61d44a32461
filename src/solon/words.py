"""The words of a text, whatever it looks like: what prompts are compared by, and what a text is about.

Normalisation folds what changes the look of a text but not its words: Unicode compatibility forms, case,
invisible characters, curly quotation marks, runs of white space, and punctuation at either end. It never
stems, reorders or drops words. Content words are what is left without the words of English grammar, without their
endings: two texts that share none are hardly about the same thing. In other languages every word counts as one.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

_QUOTES: Final = str.maketrans({"‘": "'", "’": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"'})
_ENDS: Final = " .,;:!?…\"'()[]"
# Characters that are not drawn and that Unicode does not count among its formats: joiners, fillers, selectors, blanks.
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]+|\\s+"
)
# Thai and Lao, Myanmar, Khmer, kana, Han: written without spaces between words.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)


def normalize_text(text: str) -> str:
    """Return the text by which prompts are compared; doing it twice changes nothing more.

    A text of punctuation only is kept as it is folded, so that it never becomes the empty text.
    """
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())
    spaced = " ".join(folded.translate(_QUOTES).split())
    return spaced.strip(_ENDS) or spaced


def is_blank(text: str) -> bool:
    """Return whether a text has nothing to see: white space and characters that are not drawn, or nothing at all."""
    return not _UNSEEN.sub("", normalize_text(text))


def split_words(text: str) -> list[str]:
    """Return the words of a text after normalisation, in order; never none of a text with something to see.

    A word is a run of letters, marks, digits and apostrophes. Where a script puts no spaces between words (Chinese,
    Japanese, Thai, Lao, Khmer, Burmese), every two neighbouring characters count as a word, since single characters
    are shared by texts that have nothing else in common. Signs alone, such as emoji, are one word together.
    """
    folded = normalize_text(text)
    runs = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    spaced = _UNSPACED.sub(lambda run: f" {' '.join(_pairs(run[0]))} ", runs)
    return [word for word in spaced.split() if word.strip("'")] or folded.split()


def word_runs(words: Sequence[str], size: int) -> frozenset[str]:
    """Return all runs of so many words in a row, each as one text; none of fewer words."""
    return frozenset(" ".join(words[start : start + size]) for start in range(len(words) - size + 1))


def _pairs(run: str) -> list[str]:
    return [run] if len(run) < 3 else [run[i : i + 2] for i in range(len(run) - 1)]


_GRAMMAR = """
a about above after again against all almost already also although always am an and another any anybody anyone anything
are aren't around as at away back be because been before being below between both but by can can't cannot come could
couldn't did didn't do does doesn't doing don't done down during each either else enough ever every everybody everyone
everything few find for from further get give go going good got had hadn't has hasn't have haven't having he he's her
here here's hers herself him himself his how however i i'd i'll i'm i've if in instead into is isn't it it's its itself
just know least less let let's like little lot make many may maybe me mean might more most much must my myself need
neither never no nobody none nor not nothing now of off often on once one only onto or other others otherwise our ours
ourselves out over own perhaps please put quite rather really same say see seem several shall she she's should
shouldn't since so some somebody someone something sometimes still such sure take tell than that that's the their
theirs them themselves then there there's these they they'd they'll they're they've thing things think this those
though through to too toward towards try under until up upon us use used very want was wasn't way ways we we'd we'll
we're we've well were weren't what what's whatever when where which while who who's whole whom whose why will with
within without won't would wouldn't yes yet you you'd you'll you're you've your yours yourself yourselves
"""
_GRAMMAR_WORDS: Final = frozenset(_GRAMMAR.split())
_ENDINGS: Final = ("ings", "ing", "ers", "er", "ed", "es", "ly", "s", "e")


def content_words(text: str) -> frozenset[str]:
    """Return what a text is about: its words without those of English grammar, each without its ending.

    A word's ending is cut where three letters or more are left, and a letter that was doubled before it is single, so
    that `rob`, `robs`, `robbed` and `robber` are one.
    """
    return frozenset(_stem(word.removesuffix("'s")) for word in split_words(text) if word not in _GRAMMAR_WORDS)


def _stem(word: str) -> str:
    ending = next((end for end in _ENDINGS if word.endswith(end) and len(word) - len(end) >= 3), "")
    stem = word.removesuffix(ending)
    return stem[:-1] if ending and stem[-1] == stem[-2] and len(stem) > 3 else stem
