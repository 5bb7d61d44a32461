"""Proves that a failpoint ends the process at the named point, at the counted pass, and that a wrong one is refused."""

import os
import signal
import subprocess
import sys

import pytest

from solon.cli.failpoints import arm_failpoint
from solon.errors import ConfigError
from solon.records import Span, save_records
from solon.storage import pass_point, watch_points

CHILD = """
import os, sys
from pathlib import Path
from solon.cli.failpoints import arm_failpoint
from solon.records import Span, save_records
arm_failpoint(os.environ)
for n in range(3):
    save_records(Path(sys.argv[1]) / "records" / f"{n}.jsonl", [Span(text="x", trusted=True)])
"""


def run_child(folder, setting):
    environment = {**os.environ, "SOLON_FAILPOINT": setting}
    done = subprocess.run([sys.executable, "-c", CHILD, str(folder)], env=environment, capture_output=True, text=True)
    kept = sorted(p.name for p in (folder / "records").iterdir() if not p.name.startswith("."))
    return done, kept


@pytest.mark.parametrize(
    ("setting", "kept"),
    [
        ("write:records/*:1", []),
        ("wrote:records/*:1", ["0.jsonl"]),
        ("write:records/?.jsonl:3", ["0.jsonl", "1.jsonl"]),
        ("write:records/1.jsonl:1", ["0.jsonl"]),
    ],
)
def test_the_process_is_killed_before_or_after_a_write(tmp_path, setting, kept):
    done, found = run_child(tmp_path, setting)
    assert done.returncode == -signal.SIGKILL
    assert found == kept


def test_points_can_be_listed(tmp_path):
    done, kept = run_child(tmp_path, "list")
    assert done.returncode == 0
    assert done.stderr.splitlines()[:2] == ["point write:records/0.jsonl", "point wrote:records/0.jsonl"]
    assert kept == ["0.jsonl", "1.jsonl", "2.jsonl"]


@pytest.mark.parametrize("setting", ["write", "write:", "write:x", "write:0", ":1", "write:-1"])
def test_a_wrong_setting_is_refused(setting):
    with pytest.raises(ConfigError, match="SOLON_FAILPOINT"):
        arm_failpoint({"SOLON_FAILPOINT": setting})


def test_nothing_is_watched_by_default(tmp_path):
    arm_failpoint({})
    pass_point("anything")
    seen = []
    watch_points(seen.append)
    try:
        save_records(tmp_path / "a.jsonl", [Span(text="x", trusted=True)])
    finally:
        watch_points(None)
    save_records(tmp_path / "b.jsonl", [Span(text="x", trusted=True)])
    assert seen == [f"write:{tmp_path.name}/a.jsonl", f"wrote:{tmp_path.name}/a.jsonl"]
