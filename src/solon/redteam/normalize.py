"""When two prompts say the same: equal after normalisation.

Normalisation folds what changes the look of a text but not its words: Unicode compatibility forms, case,
invisible characters, curly quotation marks, runs of white space, and punctuation at either end. It never
stems, reorders or drops words, so it finds copies and not paraphrases; near-duplicates are the concern of
`solon.redteam.leaks`, which compares the words that `split_words` finds.
"""

import re
import unicodedata
from typing import Final

from solon.records import Conversation, Prompt

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


def _pairs(run: str) -> list[str]:
    return [run] if len(run) < 3 else [run[i : i + 2] for i in range(len(run) - 1)]


def prompt_key(conversation: Conversation) -> str:
    """Return what two prompts have in common if and only if they say the same, turn by turn."""
    return "\x1f".join(f"{message.role}:{normalize_text(message.text)}" for message in conversation.messages)


def split_key(prompt: Prompt) -> str:
    """Return what may not be on both sides of a split: the prompt's goal, or what it says where it names no goal."""
    return prompt_key(prompt.conversation) if prompt.goal is None else f"goal:{normalize_text(prompt.goal)}"
