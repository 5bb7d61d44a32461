"""What every record shares: frozen, strict about unknown fields, versioned, content-addressed, JSON in and out.

A record is a pydantic model that cannot be changed after it is made. `content_digest` names content, so equal
content has equal ids on every machine. A record file is JSON lines; the first key of each line is `schema`,
so that a file written by an earlier version either loads or says which version it needs.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from solon.errors import RecordError
from solon.records.points import pass_point


def content_digest(value: Any, *, size: int = 16) -> str:
    """Return a stable hexadecimal digest of any JSON-serialisable value.

    Args:
        value: strings, numbers, lists and dicts; keys are sorted, so their order does not matter.
        size: bytes of digest; the result has twice as many characters.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def derive_seed(*parts: str | int) -> int:
    """Derive a 63-bit seed from what a draw is for, so that it depends on nothing else (not on order or batch)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def count_of(number: int, word: str) -> str:
    """Return a number with a regular noun for people: `1 goal`, `2 goals`."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def describe_misfit(error: ValidationError, *within: str) -> str:
    """Say the first thing that is wrong with the fields of a record: which field, under `within`, and what."""
    first = error.errors()[0]
    field = ".".join(" ".join(str(part).split())[:60] for part in (*within, *first["loc"]))
    said = first["msg"].removeprefix("Value error, ")
    if first["type"] == "string_unicode":
        said = "holds half of a character (a lone surrogate, such as \\ud83d without its other half): write it whole"
    return f"{field}: {said}" if field else said


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


class Record(BaseModel):
    """Root of all records.

    Subclasses declare fields only, plus pure functions of them. `SCHEMA` grows when a stored field changes
    its meaning. Text is text: half of a surrogate pair, which no file in UTF-8 can hold, is refused in every field.
    """

    # A bound on length, even this one, makes pydantic read each string as UTF-8 and refuse lone surrogates.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, ser_json_inf_nan="constants", str_min_length=0)
    SCHEMA: ClassVar[int] = 1

    def to_json(self) -> str:
        """Return one line of JSON, keys in declared order, `schema` first."""
        body = {"schema": self.SCHEMA, **self.model_dump(mode="json")}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str, *, where: str = "a record") -> Self:
        """Read one line written by `to_json`.

        Raises:
            RecordError: not JSON, another schema version, or fields that do not fit; `where` is named.
        """
        body = read_object(line, where=where)
        found = body.pop("schema", None)
        if found != cls.SCHEMA:
            raise RecordError(
                f"{where}: {cls.__name__} schema {found!r}, this version reads {cls.SCHEMA}: "
                f"read it with a version of solon that reads schema {found!r}; the run's manifest names its writer"
            )
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise RecordError(f"{where}: {describe_misfit(error, cls.__name__)}") from error


RecordT = TypeVar("RecordT", bound=Record)


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


def save_records(path: Path, records: Iterable[Record]) -> int:
    """Write records as JSON lines, whole or not at all; return how many."""
    count = 0
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(record.to_json() + "\n")
            count += 1
    return count


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


def load_records(path: Path, kind: type[RecordT]) -> list[RecordT]:
    """Read a file written by `save_records`.

    Raises:
        RecordError: the file is missing, is no text, or a line does not fit; file and line are named.
    """
    lines = read_text(path).removesuffix("\n").split("\n")
    return [kind.from_json(line, where=f"{path}:{number}") for number, line in enumerate(lines, 1) if line]
