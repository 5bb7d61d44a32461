"""Whether two run folders hold the same run: what to ask of a change that should change nothing.

Compared are the records, the training curves and the numbers of `results.json`: prompts, texts, token ids, log
probabilities, labels, losses, grades, rates. Not compared is what may differ between two runs of the same work: times
and memory, keys of calls, identities and digests of models and graders, versions of code and records (`SKIPPED`). Ids
of records may have new names, as long as one old id is always one new id, and one new id one old.

Rows are compared in their order. Where a file has more rows in one folder than in the other, equal rows are matched
first, so that one row too many is one difference. A field that only NEW has is no difference while it is null, and a
file that only NEW has is none while it is empty; both are listed. A run whose results are of schema 2 is read as one
of today (`older_runs`); fields and files that it has not yet are listed too.

Log probabilities of one text depend, in the last digits, on what else was in its batch. Where a change orders the work
otherwise, `--logprobs-within` says how far apart they may be.

    python -m benchmarks.same_run OLD NEW [--losses-within 1e-5] [--logprobs-within 1e-5]

Exit code 0: the same. 1: something differs. 2: they cannot be compared.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.older_runs import NEW_FILES, NOT_YET, Files, Row, bring_up_to_date, is_older
from solon.errors import RunError
from solon.records import RunPaths

# Names that changed from one version to another, the old one first. A file is named from the run folder; a field by its
# file in OLD and the path of its keys in a row of OLD, places in lists left out: ("records/a.jsonl", "steps.text").
RENAMED_FILES: Final[Mapping[str, str]] = {}
RENAMED_FIELDS: Final[Mapping[tuple[str, str], str]] = {
    ("metrics/preference-model.jsonl", "pm/ece"): "pm/ece_10_mirrored",
    ("results.json", "preference_model.ece"): "ece_10_mirrored",
}

SKIPPED: Final = re.compile(
    "schema|code_version|call|model|model_names|labeler|grader|digest|stages|usage|currency|peak_rss_mb|.*seconds|.*_per_second"
)
"""Keys whose values are not compared; `stages` of the results is what each stage cost and how it is shown, `usage`
and `currency` what each role cost, and `model_names` what tables call its models."""

IDS: Final = frozenset({"id", "prompt_id", "comparison_id", "chain_id", "item"})
"""Keys that name a record; `principle_id` is not one, since a principle's id is what was drawn."""

LOGPROBS: Final = re.compile(r"logprobs\[\d+\]|logprob_[ab]")
"""Keys of log probabilities: of tokens, and of the two options of a vote."""

_RESULTS = "results.json"
_SHOWN = 60


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = _Absent()


class Difference(NamedTuple):
    """One value that differs: the row by its id in OLD, or else its number; the field; and both values."""

    row: str
    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.row}, {self.field}: {_shorten(self.old)} | {_shorten(self.new)}"


class FileReport(NamedTuple):
    """What became of one file: its rows in OLD and in NEW, the first difference of each row that differs, notes."""

    name: str
    rows: tuple[int, int]
    different: list[Difference]
    notes: list[str]

    def __str__(self) -> str:
        said = f"equal ({self.rows[0]} rows)"
        if self.different:
            said = f"{len(self.different)} rows differ, of {self.rows[0]} and {self.rows[1]}; first {self.different[0]}"
        return "; ".join([f"{self.name}: {said}", *self.notes])


class RowComparison:
    """Compares the rows of one file.

    Args:
        name: of the file in OLD.
        ids: old id to new id, and `new_ids` the other way round, as the files before this one used them.
        within: how far apart two floats may be, relative to the larger or absolute; 0 demands equality.
        logprobs_within: the same of log probabilities.
        not_yet: fields that OLD could not have, as a pattern of their paths.
    """

    def __init__(
        self,
        name: str,
        ids: dict[str, str],
        new_ids: dict[str, str],
        within: float = 0.0,
        logprobs_within: float = 0.0,
        not_yet: re.Pattern[str] | None = None,
    ) -> None:
        self.name = name
        self.within = within
        self.logprobs_within = logprobs_within
        self.not_yet = not_yet
        self.added: set[str] = set()
        self.newer: set[str] = set()
        self._ids, self._new_ids = ids, new_ids

    def compare(self, old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
        """Yield each value that differs, as its path, the old one and the new one."""
        if isinstance(old, dict) and isinstance(new, dict):
            yield from self._compare_dicts(old, new, path)
        elif isinstance(old, list) and isinstance(new, list):
            for index, (one, other) in enumerate(zip_longest(old, new, fillvalue=ABSENT)):
                yield from self.compare(one, other, f"{path}[{index}]")
        elif not self._agree(old, new, path.rpartition(".")[2]):
            yield path, old, new

    def _compare_dicts(self, old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> Iterator[Any]:
        left = dict(new)
        for key, value in old.items():
            inner = f"{path}.{key}" if path else key
            renamed = RENAMED_FIELDS.get((self.name, re.sub(r"\[\d+\]", "", inner)), key)
            other = left.pop(key if key in new else renamed, ABSENT)
            if not SKIPPED.fullmatch(key):
                yield from self.compare(value, other, inner)
        for key, value in left.items():
            inner = f"{path}.{key}" if path else key
            if value is None:
                self.added.add(re.sub(r"\[\d+\]", "[]", inner))
            elif self.not_yet is not None and self.not_yet.fullmatch(inner):
                self.newer.add(re.sub(r"\[\d+\]", "[]", inner))
            elif not SKIPPED.fullmatch(key):
                yield inner, ABSENT, value

    def _agree(self, old: Any, new: Any, key: str) -> bool:
        if key in IDS and isinstance(old, str) and isinstance(new, str):
            return self._ids.setdefault(old, new) == new and self._new_ids.setdefault(new, old) == old
        if isinstance(old, float) and isinstance(new, float):
            both_nan = math.isnan(old) and math.isnan(new)
            within = self.logprobs_within if LOGPROBS.fullmatch(key) else self.within
            return both_nan or math.isclose(old, new, rel_tol=within, abs_tol=within)
        return isinstance(old, bool) == isinstance(new, bool) and bool(old == new)


def compare_runs(old: Path, new: Path, *, losses_within: float = 0.0, logprobs_within: float = 0.0) -> list[FileReport]:
    """Compare two run folders file by file; a file that one of them lacks is compared as one without rows.

    Args:
        old: folder of the run that is held to be right.
        new: folder of the other.
        losses_within: how far apart the floats of training curves and results may be, relative or absolute.
        logprobs_within: the same of the log probabilities of records.

    Raises:
        RunError: a folder is no finished run, a file cannot be read, or both are one folder.
    """
    if old.resolve() == new.resolve():
        raise RunError(f"{old} and {new} are one folder: name the folders of two runs")
    old_files, new_files = _load(old), _load(new)
    grown = is_older(old_files) and not is_older(new_files)
    if grown:
        old_files = bring_up_to_date(old_files)
    places = {name: name if name in new_files else RENAMED_FILES.get(name, name) for name in old_files}
    places |= {name: name for name in new_files if name not in places.values()}
    # Results are last: by then the rows of all records have said which id is which.
    places[_RESULTS] = places.pop(_RESULTS)
    ids: tuple[dict[str, str], dict[str, str]] = ({}, {})
    reports = []
    for name, place in places.items():
        within = 0.0 if name.startswith("records/") else losses_within
        comparison = RowComparison(name, *ids, within, logprobs_within, NOT_YET if grown else None)
        rows, new_rows = old_files.get(name, []), new_files.get(place, [])
        expected = grown and name in NEW_FILES and name not in old_files
        different = [] if expected else list(_compare_rows(comparison, rows, new_rows))
        notes = [f"new and null: {field}" for field in sorted(comparison.added)]
        notes += [f"not in OLD yet: {field}" for field in sorted(comparison.newer)]
        notes += [f"not in OLD yet: {len(new_rows)} rows"] * expected
        notes += ["only in NEW"] * (name not in old_files and not expected) + ["only in OLD"] * (place not in new_files)
        reports.append(FileReport(name, (len(rows), len(new_rows)), different, notes))
    if moved := sum(one != other for one, other in ids[0].items()):
        reports[-1].notes.append(f"{moved} ids of the run have new names")
    return reports


def _compare_rows(comparison: RowComparison, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Difference]:
    """Yield the first difference of each row that differs."""
    for number, (one, other) in enumerate(_match(old, new), 1):
        row = _name(one if one is not ABSENT else other, number)
        if one is ABSENT or other is ABSENT:
            yield Difference(row, "the whole row", one, other)
        # Every value is looked at even after the first difference, so that all ids of the row are known.
        elif found := list(comparison.compare(one, other)):
            yield Difference(row, *found[0])


def _match(old: Sequence[Any], new: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    if len(old) == len(new):
        yield from zip(old, new, strict=True)
        return
    said = [_content(row) for row in old], [_content(row) for row in new]
    for _, i1, i2, j1, j2 in SequenceMatcher(None, *said, autojunk=False).get_opcodes():
        yield from zip_longest(old[i1:i2], new[j1:j2], fillvalue=ABSENT)


def _content(value: Any) -> str:
    """Return what a row says, without ids and what is skipped, as a text to match equal rows by."""

    def keep(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: keep(v) for k, v in value.items() if not (SKIPPED.fullmatch(k) or k in IDS or v is None)}
        return [keep(item) for item in value] if isinstance(value, list) else value

    return json.dumps(keep(value), sort_keys=True)


def _name(row: Any, number: int) -> str:
    names = [f"{key} {row[key]}" for key in ("id", "comparison_id", "item", "step") if key in row]
    return names[0] if names else f"row {number}"


def _load(folder: Path) -> Files:
    """Return the rows of every file of a run that is compared; `results.json` is one row."""
    if not (folder / _RESULTS).is_file():
        raise RunError(f"{folder}: holds no {_RESULTS}: name the folder of a finished run")
    paths = RunPaths(folder)
    found = sorted([*paths.records("*").parent.glob("*.jsonl"), *paths.metrics("*").parent.glob("*.jsonl")])
    if not found:
        raise RunError(f"{folder}: holds no records/*.jsonl and no metrics/*.jsonl: is the folder whole?")
    return {path.relative_to(folder).as_posix(): _read(path) for path in (*found, folder / _RESULTS)}


def _read(path: Path) -> list[Row]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read as text ({error})") from error
    if path.name == _RESULTS:
        return [_parse(text, str(path))]
    return [_parse(line, f"{path}:{number}") for number, line in enumerate(text.split("\n"), 1) if line]


def _parse(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise RunError(f"{where}: is not JSON: is the file whole?") from error
    if not isinstance(row, dict):
        raise RunError(f"{where}: expected a JSON object, found {type(row).__name__}")
    return row


def _shorten(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= _SHOWN else said[: _SHOWN - 1] + "…"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what became of each file; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--losses-within", type=float, default=0.0, help="tolerance of training curves and results")
    parser.add_argument("--logprobs-within", type=float, default=0.0, help="tolerance of log probabilities of records")
    given = parser.parse_args(arguments)
    within = {name: getattr(given, name) for name in ("losses_within", "logprobs_within")}
    for name, value in within.items():
        if not value >= 0.0:
            parser.error(f"--{name.replace('_', '-')} must be at least 0, not {value}")
    try:
        reports = compare_runs(given.old, given.new, **within)
    except RunError as error:
        print(error, file=sys.stderr)
        return 2
    for report in reports:
        print(report)
    return int(any(report.different for report in reports))


if __name__ == "__main__":
    sys.exit(main())
