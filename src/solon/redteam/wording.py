"""When two prompts say the same: equal after normalisation.

Normalisation folds what changes the look of a text but not its words: Unicode compatibility forms, case,
invisible characters, curly quotation marks, runs of white space, and punctuation at either end. It never
stems, reorders or drops words, so it finds copies and not paraphrases; near-duplicates are left out of it.
"""

import unicodedata
from typing import Final

from solon.records import Conversation, Prompt

_QUOTES: Final = str.maketrans({"‘": "'", "’": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‟": '"'})
_ENDS: Final = " .,;:!?…\"'()[]"


def normalize_text(text: str) -> str:
    """Return the text by which prompts are compared; doing it twice changes nothing more.

    A text of punctuation only is kept as it is folded, so that it never becomes the empty text.
    """
    visible = "".join(c for c in text if unicodedata.category(c) != "Cf")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", visible).casefold())
    spaced = " ".join(folded.translate(_QUOTES).split())
    return spaced.strip(_ENDS) or spaced


def prompt_key(conversation: Conversation) -> str:
    """Return what two prompts have in common if and only if they say the same, turn by turn."""
    return "\x1f".join(f"{message.role}:{normalize_text(message.text)}" for message in conversation.messages)


def split_key(prompt: Prompt) -> str:
    """Return what may not be on both sides of a split: the prompt's goal, or what it says where it names no goal."""
    return prompt_key(prompt.conversation) if prompt.goal is None else f"goal:{normalize_text(prompt.goal)}"
