"""The tries of calls at servers, kept beside the calls of a journal: what each took, and what became of it.

A call that is answered at its third try cost three requests; its answer tells of one. Whoever sends requests notes each
with `note_try`; around the making of a call `keeping_tries` says where they are kept. Outside of it they are not. The
table is part of no version of a journal: a file has it once there is a try to keep.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass, field

_TABLE = """CREATE TABLE IF NOT EXISTS tries (call TEXT NOT NULL, server TEXT NOT NULL, begun REAL NOT NULL,
seconds REAL NOT NULL, status INTEGER, fault TEXT, said TEXT NOT NULL, maybe_paid INTEGER NOT NULL,
prompt_tokens INTEGER, generated_tokens INTEGER, cached_tokens INTEGER)"""
_MIGRATION = "ALTER TABLE tries ADD COLUMN cached_tokens INTEGER"
_COLUMNS = "SELECT name FROM pragma_table_info('tries')"
_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'tries'"
_ADD = "INSERT INTO tries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Try:
    """One request that was sent.

    Attributes:
        server: the base URL that it was sent to.
        begun: when, in seconds since 1970.
        seconds: until its answer was whole, or it failed.
        status: the HTTP status; None where none came.
        fault: what went wrong, in a word (`timeout`, `rate_limited`); None where an answer came of it.
        said: what the server or the network said about that; nothing secret.
        maybe_paid: it failed in a way in which the server may have done the work and charged it.
        prompt_tokens: by the server's count; None where it did not tell.
        generated_tokens: likewise.
        cached_tokens: of the prompt's, those that it had in a cache; likewise.
    """

    server: str
    begun: float
    seconds: float
    status: int | None = None
    fault: str | None = None
    said: str = ""
    maybe_paid: bool = False
    prompt_tokens: int | None = None
    generated_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True)
class ServerTries:
    """All tries at one server.

    Attributes:
        server: its base URL.
        tries: how many there were.
        faults: how many failed, by what went wrong.
        maybe_paid: how many of these may have been charged.
        prompt_tokens: sum of those that the server told of.
        generated_tokens: likewise.
    """

    server: str
    tries: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    maybe_paid: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0


KeepTry = Callable[[str, Try], None]
"""Keeps a try of the call with a key."""

_keeper: ContextVar[tuple[str, KeepTry] | None] = ContextVar("keeper_of_tries", default=None)


@contextmanager
def keeping_tries(call: str, keep: KeepTry) -> Iterator[None]:
    """Have the tries that are made within kept as those of a call.

    Args:
        call: its key.
        keep: given each, at once; it must not wait.
    """
    token = _keeper.set((call, keep))
    try:
        yield
    finally:
        _keeper.reset(token)


def note_try(made: Try) -> None:
    """Have a try kept, if it is one of a call whose tries are."""
    if (keeper := _keeper.get()) is not None:
        call, keep = keeper
        keep(call, made)


def add_tries(connection: sqlite3.Connection, tries: Iterable[tuple[str, Try]]) -> None:
    """Write tries, with the keys of their calls, into a journal."""
    connection.execute(_TABLE)
    if not has_cached_tokens(connection):
        connection.execute(_MIGRATION)
    connection.executemany(_ADD, [(call, *astuple(made)) for call, made in tries])


def has_cached_tokens(connection: sqlite3.Connection) -> bool:
    """Say whether the tries of a journal have a count of cached tokens; those of an earlier version do not."""
    return ("cached_tokens",) in connection.execute(_COLUMNS).fetchall()


def find_tries(connection: sqlite3.Connection) -> tuple[ServerTries, ...]:
    """Return the totals of each server in a journal, by base URL."""
    if connection.execute(_THERE).fetchone() is None:
        return ()
    faults: dict[str, Counter[str]] = {}
    for server, fault, count in connection.execute(
        "SELECT server, fault, count(*) FROM tries WHERE fault IS NOT NULL GROUP BY server, fault ORDER BY fault"
    ):
        faults.setdefault(server, Counter())[fault] = count
    totals = connection.execute(
        "SELECT server, count(*), sum(maybe_paid), total(prompt_tokens), total(generated_tokens) FROM tries "
        "GROUP BY server ORDER BY server"
    )
    return tuple(
        ServerTries(server, tries, dict(faults.get(server, {})), maybe_paid, int(prompt), int(generated))
        for server, tries, maybe_paid, prompt, generated in totals
    )
