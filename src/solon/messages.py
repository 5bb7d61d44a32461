"""What messages to people are made of: lines, numbers with nouns, the nearest word, what pydantic found wrong.

Stands beside `errors` on the ground and knows nothing of the package, so that every room words the same thing alike.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError


def one_line(value: object, limit: int | None = None) -> str:
    """Return what `str` says of a value on one line, cut to `limit` characters where one is given."""
    line = " ".join(str(value).split())
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1]}…"


def shorten(text: str, limit: int = 40) -> str:
    """Return `text` quoted on one line and cut to a length that fits a message."""
    return repr(one_line(text, limit))


def count_of(number: int, word: str) -> str:
    """Return a number with a regular noun for people: `1 goal`, `2 goals`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def nearest(word: str, known: Iterable[str], *, most: int | None = None) -> str:
    """Return advice that names the known word nearest to `word`, or else the known words in their order.

    Args:
        word: what was given.
        known: what could have been.
        most: how many are named at most where none is near; all by default.
    """
    known = list(known)
    close = difflib.get_close_matches(word[:100], known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    named = known if most is None or len(known) <= most else [*known[:most], "…"]
    return f"expected one of {', '.join(named)}" if named else "there is none"


@dataclass(frozen=True)
class Misfit:
    """The first thing that pydantic found wrong.

    Attributes:
        path: names of fields and places in lists that lead to it; empty for the whole.
        kind: pydantic's name of the fault, e.g. `extra_forbidden`.
        said: what is wrong, on one line.
        found: the value that does not fit.
    """

    path: tuple[str | int, ...]
    kind: str
    said: str
    found: object

    @classmethod
    def of(cls, error: ValidationError) -> "Misfit":
        """Take the first fault of an error."""
        first = error.errors()[0]
        said = one_line(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "string_unicode":
            said = (
                "holds half of a character (a lone surrogate, such as \\ud83d without its other half): write it whole"
            )
        return cls(first["loc"], first["type"], said, first["input"])

    @property
    def field(self) -> str:
        """The path as `a.b.0`, on one line."""
        return ".".join(one_line(part, 60) for part in self.path)


def describe_misfit(error: ValidationError, *within: str) -> str:
    """Say the first thing that is wrong with the fields of a record: which field, under `within`, and what."""
    first = Misfit.of(error)
    field = ".".join([*within, *([first.field] if first.path else [])])
    return f"{field}: {first.said}" if field else first.said


def describe_error(error: BaseException) -> str:
    """Return what an error says on one line; of one that pydantic raised, the first misfit."""
    return describe_misfit(error) if isinstance(error, ValidationError) else one_line(error)
