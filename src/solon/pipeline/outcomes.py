"""What the stages have in common when they sum up: results parted from failures, reasons counted, files saved."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from solon.errors import StageFailedError
from solon.pipeline.workbench import Workbench
from solon.records import Failure, Record, save_records

T = TypeVar("T")


def separate(results: Iterable[T | Failure]) -> tuple[list[T], list[Failure]]:
    """Part what came to something from what did not, each in order."""
    kept: list[T] = []
    failures: list[Failure] = []
    for result in results:
        if isinstance(result, Failure):
            failures.append(result)
        else:
            kept.append(result)
    return kept, failures


def count_reasons(failures: Iterable[Failure]) -> dict[str, int]:
    """Count failures by reason, sorted by name."""
    return dict(sorted(Counter(failure.reason for failure in failures).items()))


def save_all(bench: Workbench, files: Mapping[str, Sequence[Record]]) -> tuple[Path, ...]:
    """Write record files by name and return their paths."""
    for name, records in files.items():
        save_records(bench.paths.records(name), records)
    return tuple(bench.paths.records(name) for name in files)


def numbers_of(summary: Any) -> dict[str, float]:
    """Return the numbers of a training summary, those that are None left out."""
    return {name: float(value) for name, value in summary.model_dump().items() if isinstance(value, int | float)}


def require(items: Sequence[object], stage: str, problem: str) -> None:
    """Stop the run where nothing came of a stage.

    Raises:
        StageFailedError: `items` is empty.
    """
    if not items:
        raise StageFailedError(f"{stage}: {problem}: the stages after it would have nothing to learn from")
