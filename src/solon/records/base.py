"""What every record shares: frozen, strict about unknown fields, versioned, content-addressed, JSON in and out.

A record is a pydantic model that cannot be changed after it is made. `content_digest` names content, so equal
content has equal ids on every machine. A record file is JSON lines; the first key of each line is `schema`,
so that a file written by an earlier version either loads or says which version it needs. `Config` is what a user
may set: frozen and strict too, but without a version or a file of its own.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from solon.errors import RecordError
from solon.messages import describe_misfit
from solon.storage import read_object, read_text, replace_file


def refuse_fields(given: object, reasons: Mapping[str, str]) -> None:
    """Say why fields cannot be set, where a configuration would say only that it has none of such a name.

    Args:
        given: what the configuration is made of, before it is looked at.
        reasons: name to the rest of a sentence that begins with it.

    Raises:
        ValueError: one of them is given.
    """
    for name, reason in reasons.items():
        if isinstance(given, Mapping) and name in given:
            raise ValueError(f"{name} {reason}")


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


class Config(BaseModel):
    """Root of all configurations: frozen, and strict about unknown fields; no number in it is infinite or none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


RecordT = TypeVar("RecordT", bound=Record)


def save_records(path: Path, records: Iterable[Record]) -> int:
    """Write records as JSON lines, whole or not at all; return how many."""
    count = 0
    with replace_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(record.to_json() + "\n")
            count += 1
    return count


def load_records(path: Path, kind: type[RecordT]) -> list[RecordT]:
    """Read a file written by `save_records`.

    Raises:
        RecordError: the file is missing, is no text, or a line does not fit; file and line are named.
    """
    lines = read_text(path).removesuffix("\n").split("\n")
    return [kind.from_json(line, where=f"{path}:{number}") for number, line in enumerate(lines, 1) if line]
