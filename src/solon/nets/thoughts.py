"""How a chat template marks the thoughts of its model, and what it does about them where it asks for an answer.

Marks are a pair that the template itself names, in what it writes or looks for: `<think>` and `</think>`, `[THINK]` and
`[/THINK]`, `<|begin_of_thought|>` and `<|end_of_thought|>`, and others that are formed so. A template without such a
pair has no thoughts, whatever its model writes.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

SWITCHES: Final = ("enable_thinking", "thinking")
"""Names by which templates are told, with false, that the model is not to think."""

_ABOUT: Final = r"\w*(?:think|thought|reason)\w*"
_CLOSES: Final = re.compile(
    rf"(?P<slash>[<\[◁]\|?/)(?:\w+:)?{_ABOUT}\|?[>\]▷]|<\|(?P<end>end)_{_ABOUT}\|>", re.IGNORECASE
)
_BEGINNINGS: Final = ("begin", "start", "BEGIN", "START")

State = Literal["open", "free", "off"]
"""What a prompt for an answer does: it opens a thought, leaves that to the model, or has ruled it out."""


@dataclass(frozen=True)
class Thoughts:
    """What a chat template does about thoughts, told what it is told.

    Attributes:
        marks: stand before and after a thought.
        state: what the prompt for an answer does.
        closing: what makes of that prompt one after a thought, empty, as the template writes one; nothing where
            thoughts are off, or where it writes none.
        switch: the name that has the template turn thoughts off; None where it has none.
    """

    marks: tuple[str, str]
    state: State
    closing: str
    switch: str | None


def find_marks(texts: Iterable[str]) -> tuple[str, str] | None:
    """Return the marks that open and close a thought, where a template's texts name what closes one; else None.

    What opens one is the same without its slash, or a beginning in place of its end that the texts name too.
    """
    written = "\0".join(texts)
    for match in _CLOSES.finditer(written):
        closes = match[0]
        if match["slash"]:
            return closes.replace("/", "", 1), closes
        for beginning in _BEGINNINGS:
            if (opens := closes.replace(match["end"], beginning, 1)) in written:
                return opens, closes
    return None


def ends_in_thought(text: str, marks: tuple[str, str]) -> bool:
    """Say whether a text ends within a thought."""
    opens, closes = marks
    return text.rfind(opens) > text.rfind(closes)


def ends_after_thought(text: str, marks: tuple[str, str]) -> bool:
    """Say whether a text ends with a thought, and white space after it."""
    return text.rstrip().endswith(marks[1])


def find_closing(asked: str, marks: tuple[str, str], examples: Iterable[str]) -> str:
    """Return what has to follow a prompt for an answer, so that it ends with an empty thought.

    Args:
        asked: how the prompt ends.
        marks: open and close a thought.
        examples: what else the template writes in its place, which may hold the thought that it writes empty.

    Returns:
        The rest of the first example that goes on so. Else, where the prompt has opened a thought, the mark that closes
        one: after the white space that stands behind the first mark and before an empty line, or between neither where
        there is none. Otherwise nothing.
    """
    for example in examples:
        if example.startswith(asked) and ends_after_thought(example.removeprefix(asked), marks):
            return example.removeprefix(asked)
    if not ends_in_thought(asked, marks):
        return ""
    begun = asked.rpartition(marks[0])[2]
    space = begun[: len(begun) - len(begun.lstrip())]
    return f"{space}{marks[1]}\n\n" if space else marks[1]
