"""Files and folders that are whole or not there, and text that is text."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from solon.errors import RecordError
from solon.storage.failpoints import pass_point


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success move it into place, so that a reader never sees half a file.

    The file's bytes and the directory entry are flushed to disk before this returns. On an exception the
    temporary file is removed and `path` is left as it was.

    Raises:
        RecordError: a folder is in the place of the file.
    """
    _refuse_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        pass_point(f"write:{path.parent.name}/{path.name}")
        temporary.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        pass_point(f"wrote:{path.parent.name}/{path.name}")
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`; on success move it into place, whole.

    Every file and the directory entries are flushed to disk first. An earlier folder at `path` is moved aside
    for the moment of the exchange and then removed. On an exception nothing at `path` changes. A process that is
    killed may leave `.NAME.PID.tmp` or `.NAME.PID.old` beside it; if `path` is missing then, the latter is what it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(temporary.rglob("*")):
            _flush(file)
        _flush(temporary)
        pass_point(f"write:{path.parent.name}/{path.name}")
        shutil.rmtree(old, ignore_errors=True)  # of an earlier process of this number
        try:
            if path.exists():
                path.rename(old)
            temporary.rename(path)
        except BaseException:
            if old.exists() and not path.exists():
                old.rename(path)
            raise
        _flush(path.parent)
        pass_point(f"wrote:{path.parent.name}/{path.name}")
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise RecordError(f"{path}: is a folder where a file belongs: move it elsewhere or remove it")


def read_text(path: Path) -> str:
    """Read a file of a run as text.

    Raises:
        RecordError: the file is missing, cannot be read or is no text; it is named.
    """
    _refuse_folder(path)
    if not path.is_file():
        raise RecordError(f"{path}: no such file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: is not text in UTF-8: was the file damaged?") from error
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_object(line: str, *, where: str) -> dict[str, Any]:
    """Read a line that holds a JSON object.

    Raises:
        RecordError: not JSON, or JSON of another kind; `where` is named.
    """
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: not a JSON line ({error})") from error
    if not isinstance(body, dict):
        raise RecordError(f"{where}: expected a JSON object, found {type(body).__name__}")
    return body
