"""Files of prompts as entries that know their line: plain text, JSON lines, a JSON array, CSV.

What a file is follows from the end of its name; whether JSON is an array or lines, from its first character. Every
file is text in UTF-8, with or without a mark at its beginning, its lines ended in any of the three ways. What an
entry says is the concern of `solon.redteam.forms`.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from solon.errors import RecordError
from solon.redteam.forms import Turn, split_speakers

_SPACE: Final = re.compile(r"[ \t\n]*")
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Entry(NamedTuple):
    """What may be one prompt: a line, an item of an array, or a row, with column names for keys and `where` it is."""

    body: Any
    where: str


def read_entries(path: Path) -> Iterator[Entry]:
    """Read a file of prompts, entry by entry; empty lines are passed over.

    Raises:
        RecordError: the file cannot be read, is of no known form, or is damaged; file and line are named.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        known = ", ".join(suffix for suffix in _READERS if suffix)
        raise RecordError(f"{path}: expected a name that ends in {known}: convert the file, or rename it")
    return read(_read_text(path), path)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror or error})") from error
    if data.startswith(_UTF16):
        raise RecordError(f"{path}:1: is text in UTF-16: save it as UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecordError(f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8: save it as UTF-8") from error
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise RecordError(f"{path}:{line}: holds a NUL character: expected text in UTF-8, found a binary file")
    return text


def _read_plain(text: str, path: Path) -> Iterator[Entry]:
    """Yield a prompt a line; a text with answers is a whole dialogue, and one prompt."""
    before, *turns = split_speakers(text)
    if any(turn.speaker == "Assistant" for turn in turns):
        yield _read_dialogue(text, before, turns, path)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield Entry(line.strip(), f"{path}:{number}")


def _read_dialogue(text: str, before: Turn, turns: Sequence[Turn], path: Path) -> Entry:
    """Return a text with answers as one entry, unless it holds more than one dialogue or other prompts beside it."""

    def where(turn: Turn) -> str:
        return f"{path}:{text.count(chr(10), 0, turn.begin) + 1}"

    first = turns[0]
    if before.said or first.speaker != "Human":
        raise RecordError(
            f"{where(first)}: begins with '{first.speaker}:', and the file does not begin with 'Human:': a file of "
            "plain text is one dialogue, or one prompt on each line without answers: use .jsonl for both"
        )
    if again := next((turn for turn in turns[1:] if turn.lines > 2 and turn.speaker == "Human"), None):
        raise RecordError(
            f"{where(again)}: begins another dialogue after more than one empty line: a file of plain text is one: "
            "write each into a file of its own, or on a line of a .jsonl file; or take the empty lines out"
        )
    return Entry(text, where(first))


def _read_json(text: str, path: Path) -> Iterator[Entry]:
    if text.lstrip().startswith("["):
        yield from _read_array(text, path)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{path}:{number}"
            value, end = _parse(line, _skip(line, 0), where)
            if _skip(line, end) < len(line):
                raise RecordError(f"{where}: is not a line of JSON: more follows after the first value")
            yield Entry(value, where)


def _read_array(text: str, path: Path) -> Iterator[Entry]:
    """Yield the items of the array one by one, each with the line it begins on."""
    at = _skip(text, text.index("[") + 1)
    counted, line = 0, 1
    while not text.startswith("]", at):
        line += text.count("\n", counted, at)
        counted, where = at, f"{path}:{line}"
        value, end = _parse(text, at, where)
        yield Entry(value, where)
        end = _skip(text, end)
        at = _skip(text, end + 1) if text.startswith(",", end) else end
        if at == end and not text.startswith("]", end):
            raise RecordError(f"{where}: expected ',' or ']' after this prompt of the array: is the file whole?")
    if _skip(text, at + 1) < len(text):
        line += text.count("\n", counted, at)
        raise RecordError(f"{path}:{line}: more follows after the array: keep one array, or one object on each line")


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _parse(text: str, at: int, where: str) -> tuple[Any, int]:
    try:
        return json.JSONDecoder(object_pairs_hook=_refuse_repeats).raw_decode(text, at)
    except RecursionError as error:
        raise RecordError(f"{where}: is not a line of JSON that can be read: it is nested too deeply") from error
    except ValueError as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        advice = "expected one object on each line, or one array of prompts in the whole file"
        raise RecordError(f"{where}: is not a line of JSON ({reason}): {advice}") from error


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"the key {repeated!r} is there twice")
    return dict(pairs)


def _read_csv(text: str, path: Path) -> Iterator[Entry]:
    rows = _csv_rows(text, path)
    header_line, header = next(rows, (1, []))
    names = [name.strip() for name in header]
    if repeated := next((name for name in names if name and names.count(name) > 1), None):
        raise RecordError(f"{path}:{header_line}: two columns are called {repeated!r}: rename or remove one")
    for line, cells in rows:
        if len(cells) != len(names):
            raise RecordError(
                f"{path}:{line}: has {len(cells)} cells and the header {len(names)}: "
                "put quotation marks around a text that holds commas"
            )
        # An empty cell says nothing, and a column without a name is the row number some programs write.
        body = {name: cell if cell.strip() else None for name, cell in zip(names, cells, strict=True) if name}
        yield Entry(body, f"{path}:{line}")


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty, with the line it begins on."""
    reader = csv.reader(io.StringIO(text), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            advice = "close every quotation mark, and double one that stands within a text"
            raise RecordError(f"{path}:{line}: cannot be read as CSV ({error}): {advice}") from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield line, cells


_READERS: Final[Mapping[str, Callable[[str, Path], Iterator[Entry]]]] = {
    ".jsonl": _read_json,
    ".json": _read_json,
    ".csv": _read_csv,
    ".txt": _read_plain,
    "": _read_plain,
}
