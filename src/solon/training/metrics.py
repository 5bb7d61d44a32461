"""Metrics of a loop as JSON lines, one per step: `{"step": 12, "sft/loss": 1.25, ...}`.

On resuming, what was written after the checkpoint is cut off and written again. The stages put no clock in them, so
that the file of a run that was killed and resumed equals, byte for byte, that of one that was not; pretraining, which
is no stage of a run, does in two fields.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from solon.errors import ModelError
from solon.storage import Closing, replace_file


class StepLog(Closing):
    """A JSON lines file with a `step` in each line, opened to continue after a given step.

    Args:
        path: the file; its folder is made.
        after: the last step to keep; 0 starts the file anew.
    """

    def __init__(self, path: Path, *, after: int = 0) -> None:
        kept = [line for line in _lines(path) if _step(line) <= after] if after else []
        with replace_file(path) as temporary:  # a process killed here loses no line that is kept
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Add one line; it reaches the file at once, so that a viewer can follow.

        Raises:
            ModelError: a number is not finite: training has diverged, and carrying on would hide it.
        """
        for name, value in values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ModelError(
                    f"{self._file.name}: {name} is {value} at step {step}: training has diverged; "
                    "lower the learning rate or check the inputs"
                )
        self._file.write(json.dumps({"step": step, **values}, ensure_ascii=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Put everything written so far on the disk; a checkpoint is only saved after its metrics are safe."""
        os.fsync(self._file.fileno())


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
