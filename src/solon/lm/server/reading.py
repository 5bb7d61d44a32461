"""Looking into answers of servers, which may be any JSON: what is not there, or of another kind, is None.

No function here raises.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from solon.messages import one_line

ABOVE_ZERO: Final = 1e-3
"""How far rounding may put a log-probability above 0, or a sum of probabilities above 1."""

_UNKNOWN: Final = -9000.0
"""From here down a number says that none is known: servers send -9999 or the lowest float32 in its place."""


def pick(body: object, *path: str | int) -> object:
    """Return what lies at a path of keys and places; None where there is nothing."""
    for step in path:
        if isinstance(step, str):
            body = body.get(step) if isinstance(body, Mapping) else None
        else:
            inside = isinstance(body, Sequence) and not isinstance(body, str) and -len(body) <= step < len(body)
            body = body[step] if inside else None  # type: ignore[index]
    return body


def as_list(value: object) -> list[object]:
    """Return a list; an empty one where there is none."""
    return list(value) if isinstance(value, list | tuple) else []


def as_mapping(value: object) -> Mapping[str, object]:
    """Return an object; an empty one where there is none."""
    return value if isinstance(value, Mapping) else {}


def as_text(value: object) -> str | None:
    """Return text that can be written in UTF-8; half a character becomes U+FFFD."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else None


def as_number(value: object) -> float | None:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_count(value: object) -> int | None:
    """Return a whole number of at least 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def as_logprob(value: object) -> float | None:
    """Return a log-probability as the server gives it; None where it is not known."""
    number = as_number(value)
    return None if number is None or number <= _UNKNOWN else number


def find_doubt(logprobs: Iterable[float]) -> str | None:
    """Say why numbers cannot be log-probabilities of different tokens at one position; None where they can.

    A server that gives such has no lack but a fault, and nothing beside them can be trusted.
    """
    values = list(logprobs)
    if (highest := max(values, default=0.0)) > ABOVE_ZERO:
        return f"the server gives a log-probability of {highest:g}, above 0: it gives something else"
    if (total := math.fsum(map(math.exp, values))) > 1.0 + ABOVE_ZERO:
        return f"the server gives probabilities that add up to {total:g}, more than 1"
    return None


def find_error(body: object) -> str | None:
    """Return the message of an error that came with a status of success; None where there is none."""
    places = [pick(body, "error", "message"), pick(body, "error"), pick(body, "detail")]
    if pick(body, "object") == "error":
        places.append(pick(body, "message"))
    return next((one_line(said, 200) for place in places if (said := as_text(place))), None)
