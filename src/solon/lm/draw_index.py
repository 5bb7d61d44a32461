"""The index of a journal by draw: calls that continue one prompt with one seed, and differ in their limit alone.

A draw is the digest of a request without its `max_tokens`. A table beside the calls says which calls are of which draw.
It can be made from the calls at any time: a journal that lacks it, or some of it, because a version without it wrote
there, gets it when it is opened to write; where it is only read, the table is made beside the file for as long as it is
open. So the index is part of no version, and nothing in it is believed: what it leads to is compared.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from solon.storage import content_digest

_COLUMNS = "draws (draw TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (draw, key)) WITHOUT ROWID"
_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'draws'"
_LACKING = "SELECT request, key FROM calls WHERE kind = 'generate' AND key NOT IN (SELECT key FROM draws)"
_ADD = "INSERT OR IGNORE INTO draws (draw, key) VALUES (?, ?)"  # a request without a draw, NULL, is ignored too


def draw_of(request: Mapping[str, Any]) -> str | None:
    """Return the digest of a request to continue a prompt, its limit left out; None where it is no such request."""
    try:
        temperature, _, *cuts = request["sampling"]
        return content_digest({**request, "sampling": [temperature, *cuts]})
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def ended_within(response: Mapping[str, Any], max_tokens: int) -> bool:
    """Say whether an answer ended by itself after at most `max_tokens` tokens, so that no such limit cuts it."""
    tokens = response.get("generated_tokens")
    return response.get("stop_reason") in ("end", "stop") and isinstance(tokens, int) and tokens <= max_tokens


def make_index(connection: sqlite3.Connection) -> None:
    """Bring the index of a journal that is opened to write up to date with its calls."""
    connection.execute(f"CREATE TABLE IF NOT EXISTS {_COLUMNS}")
    add_draws(connection, connection.execute(_LACKING))


def make_index_beside(connection: sqlite3.Connection) -> None:
    """Give a journal that is only read an index of this connection's own, where the file has none."""
    if connection.execute(_THERE).fetchone() is None:
        with connection:
            connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {_COLUMNS}")
            add_draws(connection, connection.execute(_LACKING))


def add_draws(connection: sqlite3.Connection, calls: Iterable[tuple[str, str]]) -> None:
    """Put calls into the index.

    Args:
        connection: the journal.
        calls: request and key of each.
    """
    connection.executemany(_ADD, [(_read_draw(request), key) for request, key in calls])


def find_keys(connection: sqlite3.Connection, draw: str) -> list[str]:
    """Return the keys of the calls of a draw, in one order."""
    return [key for (key,) in connection.execute("SELECT key FROM draws WHERE draw = ? ORDER BY key", (draw,))]


def _read_draw(request: str) -> str | None:
    try:
        body = json.loads(request)
    except (ValueError, TypeError, RecursionError):  # damaged: said when the call itself is read
        return None
    return draw_of(body) if isinstance(body, dict) else None
