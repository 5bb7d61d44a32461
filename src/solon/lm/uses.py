"""Which stage and role used which calls of a journal, kept beside them: what was asked anew, and what it came to.

A call that two roles ask alike is made once and used by both. The row of a use is written together with the call, so
that a process that is killed has both or neither. Money is of tries at servers (`tries`); a try is of the role that
made its call first. The table is part of no version of a journal: a file has it once there is a use to keep.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass

from solon.lm.tries import has_cached_tokens

_TABLE = """CREATE TABLE IF NOT EXISTS uses (call TEXT NOT NULL, stage TEXT NOT NULL, role TEXT NOT NULL,
made INTEGER NOT NULL, answered INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, generated_tokens INTEGER NOT NULL,
begun REAL, ended REAL, most_prompt INTEGER NOT NULL, most_generated INTEGER NOT NULL,
PRIMARY KEY (call, stage, role))"""
_ADD = """INSERT INTO uses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
made = made + excluded.made, answered = max(answered, excluded.answered),
prompt_tokens = max(prompt_tokens, excluded.prompt_tokens),
generated_tokens = max(generated_tokens, excluded.generated_tokens),
begun = coalesce(excluded.begun, begun), ended = coalesce(excluded.ended, ended)"""
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_TOTALS = """SELECT stage, role, sum(answered), sum(made), sum(prompt_tokens), sum(generated_tokens) FROM uses
GROUP BY stage, role ORDER BY min(rowid)"""
_INTERVALS = """SELECT begun, ended FROM uses WHERE stage = ? AND role = ? AND answered AND made AND begun IS NOT NULL
ORDER BY begun"""
# A bare column beside min() is of the row that has the least: the role that made the call first.
_TRIES = """SELECT count(*), total(fault IS NOT NULL), total(maybe_paid), total(t.prompt_tokens),
total(t.generated_tokens), total(t.cached_tokens),
total(fault IS NULL AND (t.prompt_tokens IS NULL OR t.generated_tokens IS NULL)),
total(CASE WHEN maybe_paid OR (fault IS NULL AND t.prompt_tokens IS NULL) THEN u.most_prompt ELSE 0 END),
total(CASE WHEN maybe_paid OR (fault IS NULL AND t.generated_tokens IS NULL) THEN u.most_generated ELSE 0 END)
FROM tries t JOIN (SELECT call, stage, role, most_prompt, most_generated, min(rowid) FROM uses WHERE made > 0
GROUP BY call) u ON u.call = t.call WHERE u.stage = ? AND u.role = ?"""


@dataclass(frozen=True, slots=True)
class Use:
    """A call that a role used in a stage.

    Attributes:
        call: its key.
        stage: the stage.
        role: the role, or the name of a model that the run made.
        made: whether it was made for this use; False where a journal had it.
        answered: whether an answer came.
        prompt_tokens: of the answer; 0 without one.
        generated_tokens: likewise.
        begun: when it was begun, in seconds since 1970; None where it was not made.
        ended: when it was answered or failed; likewise.
        most_prompt: at least as many as the tokens of its prompt, in all requests it may take.
        most_generated: at least as many as the tokens that may be written.
    """

    call: str
    stage: str
    role: str
    made: bool
    answered: bool
    prompt_tokens: int = 0
    generated_tokens: int = 0
    begun: float | None = None
    ended: float | None = None
    most_prompt: int = 0
    most_generated: int = 0


@dataclass(frozen=True)
class RoleTries:
    """The tries at servers of one role in one stage.

    Attributes:
        tries: how many.
        failed: of these, how many failed.
        maybe_paid: of the failed, how many the server may have charged.
        prompt_tokens: by the server's count.
        generated_tokens: likewise.
        cached_tokens: of the prompts', those that the server had in a cache; likewise.
        uncounted: tries that were answered without a count.
        most_prompt: at least as many as the tokens of prompts of which nothing was said: uncounted, or perhaps paid.
        most_generated: the same of what was written.
    """

    tries: int = 0
    failed: int = 0
    maybe_paid: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    cached_tokens: int = 0
    uncounted: int = 0
    most_prompt: int = 0
    most_generated: int = 0


@dataclass(frozen=True)
class RoleUse:
    """What one role used in one stage.

    Attributes:
        stage: the stage.
        role: the role, or the name of a model that the run made.
        calls: calls that were answered, those that a journal had included; each once.
        made: how often a call was made and was answered or failed.
        prompt_tokens: of the calls, as their answers say.
        generated_tokens: likewise.
        seconds: time in which at least one of the calls that were made was under way.
        timed: how many calls were made in that time.
        tries: what they took at servers.
    """

    stage: str
    role: str
    calls: int
    made: int
    prompt_tokens: int
    generated_tokens: int
    seconds: float
    timed: int
    tries: RoleTries


def add_uses(connection: sqlite3.Connection, uses: Iterable[Use]) -> None:
    """Write uses into a journal."""
    connection.execute(_TABLE)
    connection.executemany(_ADD, [astuple(use) for use in uses])


def find_uses(connection: sqlite3.Connection) -> tuple[RoleUse, ...]:
    """Return what each role used in each stage, in the order in which they began; nothing where none is kept."""
    tables = {name for (name,) in connection.execute(_TABLES)}
    if "uses" not in tables:
        return ()
    found = []
    query = _TRIES
    if not has_cached_tokens(connection):
        query = query.replace("t.cached_tokens", "0")
    for stage, role, calls, made, prompt, generated in connection.execute(_TOTALS).fetchall():
        times = connection.execute(_INTERVALS, (stage, role)).fetchall()
        tries = RoleTries()
        if "tries" in tables:
            tries = RoleTries(*map(int, connection.execute(query, (stage, role)).fetchone()))
        found.append(RoleUse(stage, role, calls, made, prompt, generated, _cover(times), len(times), tries))
    return tuple(found)


def _cover(times: Sequence[tuple[float, float]]) -> float:
    """Return the length of what intervals cover together, those that begin first given first."""
    covered, until = 0.0, float("-inf")
    for begun, ended in times:
        covered += max(0.0, ended - max(begun, until))
        until = max(until, ended)
    return covered
