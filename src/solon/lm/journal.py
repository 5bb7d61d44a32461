"""The journal on disk: finished model calls by key, in one SQLite file that one process writes.

A write-ahead log, synchronous=FULL, one transaction for all calls that finish in one turn of the event loop. The
writer holds a lock on the file beside it for as long as it lives; others read. Errors are never stored.
On a network file system, where a write-ahead log is unsafe, the file has a rollback journal instead
(`Journal.mode` says which). What people should know of a file is in `Journal.notices`.

Every row carries a digest of itself, checked whenever it is read: an answer that was changed on disk is refused, never
replayed and never asked for again behind the user's back. Version 1 of the file had no digests. A file of that version
gets them for what is added to it; its old rows are read as before, and are said to be unchecked.

Beside the calls lie an index of them by draw (`draws`), who used them (`uses`), and what each try of a call at a server
took (`tries`); none is part of a version.

A transaction is written in the thread of the event loop, which waits for the disk meanwhile: some milliseconds for all
calls of a turn. In another thread an answer would be used after a number of turns that nobody knows, and models in this
process batch by these turns (`backends.local`): two runs of one seed would have other batches. A look-up meanwhile, by
the same connection, would see what is not yet on disk.
"""

import asyncio
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from solon.errors import JournalError
from solon.lm.draw_index import add_draws, draw_of, ended_within, find_keys, make_index, make_index_beside
from solon.lm.tries import ServerTries, Try, add_tries, find_tries
from solon.lm.uses import RoleUse, Use, add_uses, find_uses
from solon.messages import count_of
from solon.storage import Closing, content_digest, take_lock

SCHEMA_VERSION = 2
_WITHOUT_DIGESTS = 1
_APPLICATION = 0x534F4C4E  # "SOLN": this file is a journal of this package
_TABLE = """CREATE TABLE calls (key TEXT PRIMARY KEY, kind TEXT NOT NULL, request TEXT NOT NULL, response TEXT NOT NULL,
digest TEXT NOT NULL)"""
_MIGRATION = "ALTER TABLE calls ADD COLUMN digest TEXT"  # which may be NULL, and so says that there are unchecked rows
_ADD = "INSERT OR IGNORE INTO calls (key, kind, request, response, digest) VALUES (?, ?, ?, ?, ?)"
_TRIES_WAIT = 1.0
"""Seconds for which tries and uses wait for a call to be written with."""

_NETWORK = ("nfs", "cifs", "smb", "sshfs", "9p", "lustre", "ceph", "gpfs", "beegfs", "afs", "glusterfs", "davfs")

Kind = Literal["generate", "choose"]
Mode = Literal["wal", "delete"]


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call as the journal keeps it.

    Attributes:
        key: digest of kind and request.
        kind: `generate` or `choose`.
        request: model, prompt, and sampling with seed, or options.
        response: what came of it.
        file: the journal it was found in.
        checked: whether all this was held to its digest; False of a row that has none.
    """

    key: str
    kind: Kind
    request: dict[str, Any]
    response: dict[str, Any]
    file: Path
    checked: bool


class Journal(Closing):
    """Calls on disk: one file to write, and others in which to look a call up after it.

    Args:
        path: the file this process writes; made if absent.
        also_read: journals of other runs, in the order in which they are asked; only read.

    Raises:
        JournalError: another process writes the file, or a file is damaged, of another version or no journal.
    """

    def __init__(self, path: Path, also_read: Sequence[Path] = ()) -> None:
        self._path = Path(path)
        self._pending: list[tuple[tuple[str, str, str, str], asyncio.Future[None]]] = []
        self._tries: list[tuple[str, Try]] = []
        self._uses: list[Use] = []
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.callback(os.close, _lock(self._path))
            self._writer, self._mode = _open_to_write(self._path)
            stack.callback(self._writer.close)
            self._own = _Calls(self._writer, self._path)
            self._readers = [stack.enter_context(closing(_Reader(other))) for other in also_read]
            self._files = stack.pop_all()

    @property
    def path(self) -> Path:
        """The file that is written."""
        return self._path

    @property
    def mode(self) -> Mode:
        """How a transaction is made safe: `wal`, a write-ahead log, or `delete`, a rollback journal."""
        return self._mode

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about the file: where it lies, and whether some of its rows cannot be checked."""
        notices = []
        if self._mode == "delete":
            notices.append(
                f"{self._path}: on a network file system: calls are kept in a rollback journal, which is safe there "
                "but slower than a local disk's write-ahead log"
            )
        if _has_unchecked_rows(self._writer):
            notices.append(
                f"{self._path}: calls that an earlier version of solon wrote carry no digest: they are read as they "
                "are, and a change to them would not be noticed"
            )
        return tuple(notices)

    def find(self, key: str) -> StoredCall | None:
        """Look a call up, first in this journal and then in the others.

        Raises:
            JournalError: a file turned out damaged, or the call was changed after it was stored.
        """
        if (own := self._own.find(key)) is not None:
            return own
        return next((call for reader in self._readers if (call := reader.find(key)) is not None), None)

    def find_ended(self, request: str) -> StoredCall | None:
        """Look up, in the same order, a call that differs from a request in its limit alone and that no limit cut.

        Args:
            request: to continue a prompt, as it would be stored.

        Returns:
            A call whose answer ended by itself, after no more tokens than the request allows; its limit may be lower
            or higher.

        Raises:
            JournalError: a file turned out damaged, or a call was changed after it was stored.
        """
        body = json.loads(request)
        found = (source.find_ended(body) for source in (self._own, *self._readers))
        return next((call for call in found if call is not None), None)

    async def add(self, key: str, kind: Kind, request: str, response: str, *, use: Use | None = None) -> None:
        """Store a call; return once it is on disk, together with all others of this turn of the event loop.

        Args:
            key: digest of kind and request.
            kind: `generate` or `choose`.
            request: all that decides the answer, as JSON.
            response: the answer, as JSON.
            use: who asked; written with it.

        Raises:
            JournalError: it could not be written (disk full, file damaged).
            Exception: whatever else kept it, or another call of the turn, from being written.
        """
        loop = asyncio.get_running_loop()
        if not self._pending:
            loop.call_soon(self._commit)
        written: asyncio.Future[None] = loop.create_future()
        self._pending.append(((key, kind, request, response), written))
        if use is not None:
            self._uses.append(use)
        await written

    def add_try(self, key: str, made: Try) -> None:
        """Store a try of a call, some time later: with the next calls, or after a second, or when the journal closes.

        A process that is killed meanwhile loses it; no call's answer is used before the tries it took are on disk.
        """
        self._commit_later()
        self._tries.append((key, made))

    def add_use(self, use: Use) -> None:
        """Store a use of a call that is stored already, or that failed, as late as a try."""
        self._commit_later()
        self._uses.append(use)

    def _commit_later(self) -> None:
        if not self._tries and not self._uses:
            asyncio.get_running_loop().call_later(_TRIES_WAIT, self._commit)

    def flush(self) -> None:
        """Write what waits to be written.

        Raises:
            JournalError: it could not be.
        """
        if self._pending or self._tries or self._uses:
            with suppress(RuntimeError):  # futures of an event loop that is closed can no longer be told
                self._commit()
        if self._tries or self._uses:
            calls = count_of(len({*(key for key, _ in self._tries), *(use.call for use in self._uses)}), "call")
            raise JournalError(
                f"{self._path}: the tries of {calls} at servers could not be written, so what they cost is not in "
                "it: free the disk or mend the permissions before the run goes on"
            )

    def _commit(self) -> None:
        pending, self._pending = self._pending, []
        tries, self._tries = self._tries, []
        uses, self._uses = self._uses, []
        failure: Exception | None = None
        try:
            rows = [(*row, content_digest(row)) for row, _ in pending]
            if rows or tries or uses:
                with _explaining(self._path), _transaction(self._writer):
                    self._writer.executemany(_ADD, rows)
                    add_draws(self._writer, [(request, key) for key, kind, request, *_ in rows if kind == "generate"])
                    if tries:
                        add_tries(self._writer, tries)
                    if uses:
                        add_uses(self._writer, uses)
        except Exception as error:  # a caller who is not told waits for ever
            failure = error
            self._tries = tries + self._tries  # whoever adds a call next is told, or who closes the journal
            self._uses = uses + self._uses
        for _, written in pending:
            if not written.done():
                if failure is None:
                    written.set_result(None)
                else:
                    written.set_exception(failure)

    def close(self) -> None:
        """Commit what is pending, close the files and let go of the lock.

        Raises:
            JournalError: tries could not be written.
        """
        with self._files:
            try:
                self.flush()
            finally:
                self._tries, self._uses = [], []


def read_call(path: Path, key: str) -> StoredCall | None:
    """Find one call in a journal, without writing; a run may be writing it meanwhile.

    Args:
        path: the journal.
        key: the call's key, or the beginning of one.

    Raises:
        JournalError: the file is missing, damaged or no journal, the call was changed, or several keys begin so.
    """
    with closing(_Reader(path)) as reader:
        return reader.find_beginning(key)


def read_keys(path: Path) -> set[str]:
    """Return the keys of all calls in a journal, without writing.

    Raises:
        JournalError: the file is missing, damaged or no journal.
    """
    with closing(_Reader(path)) as reader:
        return reader.keys()


def read_tries(path: Path) -> tuple[ServerTries, ...]:
    """Return what the tries of all calls in a journal took at each server, without writing.

    Raises:
        JournalError: the file is missing, damaged or no journal.
    """
    with closing(_Reader(path)) as reader:
        return reader.tries()


def read_uses(path: Path) -> tuple[RoleUse, ...]:
    """Return what each role used in each stage by a journal, without writing.

    Raises:
        JournalError: the file is missing, damaged or no journal.
    """
    with closing(_Reader(path)) as reader:
        return reader.uses()


class _Calls:
    """The calls of one open file."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._select = _select(connection)

    def find(self, key: str) -> StoredCall | None:
        with _explaining(self._path):
            row = self._connection.execute(f"{self._select} WHERE key = ?", (key,)).fetchone()
        return None if row is None else _stored(row, self._path)

    def find_ended(self, request: dict[str, Any]) -> StoredCall | None:
        """Return the first call of the draw of a request whose answer ended within the limit of the request."""
        draw, (_, max_tokens, *_) = draw_of(request), request["sampling"]
        with _explaining(self._path):
            keys = [] if draw is None else find_keys(self._connection, draw)
        of_draw = (call for key in keys if (call := self.find(key)) is not None and draw_of(call.request) == draw)
        return next((call for call in of_draw if ended_within(call.response, max_tokens)), None)


class _Reader(_Calls):
    """A journal opened to read."""

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            raise JournalError(f"{self._path}: no such journal: give the journal.sqlite of a run")
        with _explaining(self._path):
            try:
                connection = self._open("mode=ro")
            except sqlite3.OperationalError:
                # A folder that cannot be written has no place for the log's index; without a log it needs none.
                if self._path.with_name(self._path.name + "-wal").exists():
                    raise
                connection = self._open("immutable=1")
            super().__init__(connection, self._path)
        self._is_indexed = False

    def _open(self, how: str) -> sqlite3.Connection:
        connection = sqlite3.connect(f"{self._path.resolve().as_uri()}?{how}", uri=True)
        connection.text_factory = _read_text
        try:
            _check_version(connection, self._path)
        except BaseException:
            connection.close()
            raise
        return connection

    def find_ended(self, request: dict[str, Any]) -> StoredCall | None:
        if not self._is_indexed:  # once: a file without an index is read whole for it
            with _explaining(self._path):
                make_index_beside(self._connection)
            self._is_indexed = True
        return super().find_ended(request)

    def keys(self) -> set[str]:
        with _explaining(self._path):
            return {key for (key,) in self._connection.execute("SELECT key FROM calls")}

    def tries(self) -> tuple[ServerTries, ...]:
        with _explaining(self._path):
            return find_tries(self._connection)

    def uses(self) -> tuple[RoleUse, ...]:
        with _explaining(self._path):
            return find_uses(self._connection)

    def find_beginning(self, key: str) -> StoredCall | None:
        with _explaining(self._path):
            query = f"{self._select} WHERE key >= ? AND key < ? LIMIT 2"
            rows = self._connection.execute(query, (key, key + "\U0010ffff")).fetchall()
        if len(rows) > 1:
            raise JournalError(f"{self._path}: several calls have keys that begin with {key}: give more of it")
        return _stored(rows[0], self._path) if rows else None

    def close(self) -> None:
        self._connection.close()


def _select(connection: sqlite3.Connection) -> str:
    """Return the beginning of a query for whole rows; in a file of the first version none has a digest."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    return f"SELECT key, kind, request, response, {'NULL' if version == _WITHOUT_DIGESTS else 'digest'} FROM calls"


def _has_unchecked_rows(connection: sqlite3.Connection) -> bool:
    """Say whether the file was begun by a version that kept no digests: only then may a digest be absent."""
    return (0,) in connection.execute("SELECT \"notnull\" FROM pragma_table_info('calls') WHERE name = 'digest'")


def _stored(row: tuple[Any, ...], path: Path) -> StoredCall:
    key, kind, request, response, digest = row
    try:
        if digest is not None and digest != content_digest([key, kind, request, response]):
            raise ValueError("it is not what was stored under its digest")
        body = json.loads(request), json.loads(response)
        if not all(isinstance(part, dict) for part in body):
            raise ValueError("it holds no JSON objects")
    except (ValueError, TypeError, RecursionError) as error:
        raise JournalError(
            f"{path}: call {key} is damaged ({error}): restore the file from a copy, or have the call made again by "
            f"removing it:  DELETE FROM calls WHERE key = '{key}'"
        ) from error
    return StoredCall(key, kind, *body, file=path, checked=digest is not None)


def _read_text(value: bytes) -> str:
    """Read what SQLite holds as text, be it damaged: no digest fits what is not UTF-8."""
    return value.decode("utf-8", "replace")


def _open_to_write(path: Path) -> tuple[sqlite3.Connection, Mode]:
    """Open or make a journal; return it with its mode."""
    with _explaining(path):
        connection = sqlite3.connect(path, isolation_level=None)
        connection.text_factory = _read_text
        try:
            connection.execute("PRAGMA synchronous = FULL")
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                _check_version(connection, path)
                found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise sqlite3.DatabaseError(found)
            else:  # new, or its maker was killed before it was whole
                with _transaction(connection):
                    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
                    connection.execute(_TABLE)
            wanted = "DELETE" if _is_network(path) else "WAL"
            if connection.execute("PRAGMA user_version").fetchone()[0] == _WITHOUT_DIGESTS:
                with _transaction(connection):
                    connection.execute(_MIGRATION)
                    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            with _transaction(connection):
                make_index(connection)
            mode: Mode = connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0].lower()
            if mode not in ("wal", "delete"):
                raise sqlite3.OperationalError(f"its journal mode is {mode} and cannot be changed")
        except BaseException:
            connection.close()
            raise
    return connection, mode


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit all that is executed within, or nothing."""
    with connection:
        connection.execute("BEGIN")
        yield


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != _APPLICATION:
        raise JournalError(f"{path}: is a database, but not a journal of solon: choose another file")
    if version not in (_WITHOUT_DIGESTS, SCHEMA_VERSION):
        raise JournalError(
            f"{path}: journal version {version}, this version of solon reads {SCHEMA_VERSION}: "
            f"use a version of solon that reads {version}, or start in a new folder"
        )


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ones that name the file and say what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise JournalError(f"{path}: {error}: free the disk or mend the permissions, then run again") from error
    except sqlite3.DatabaseError as error:
        raise JournalError(
            f"{path}: is damaged or not a journal ({error}): restore it from a copy, or start in a new folder"
        ) from error


def _lock(path: Path) -> int:
    """Lock the journal for this process; the system lets go of the lock when the process ends, however it ends."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        return take_lock(lock_path)
    except BlockingIOError as error:
        raise JournalError(
            f"{path}: {error.strerror} is writing this journal: wait for it to end, stop it, or use another folder"
        ) from error
    except OSError as error:
        raise JournalError(
            f"{lock_path}: this file system cannot lock files ({error}): use a folder on another one"
        ) from error


def _is_network(path: Path) -> bool:
    """Say whether a file lies on a network file system, as far as the table of mounts tells."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    target, best, kind = path.resolve(), -1, ""
    for line in mounts:
        _, point, name = line.split()[:3]
        root = Path(point.replace("\\040", " "))
        if target.is_relative_to(root) and len(root.parts) >= best:
            best, kind = len(root.parts), name
    return any(name in kind for name in _NETWORK)
