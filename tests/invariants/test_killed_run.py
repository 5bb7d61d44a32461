"""Proves that a run that is killed (SIGKILL, nothing can clean up) at any write or between any two items, and started
again with the same request, ends in the records of an uninterrupted run, byte for byte, and makes no journalled call
twice. Models are scripted here; with a tiny model it is in tests/e2e.
"""

import os
import random
import signal
import sqlite3
from types import SimpleNamespace

import pytest

from solon.cli.failpoints import arm_failpoint
from solon.pipeline.run import run
from solon.storage import watch_points
from tests.pipeline_fakes import SMALL, FakeModels, read_folder

STAGES = ["prompts", "revision", "sft", "comparisons", "feedback", "preference-model", "ppo", "evaluation", "report"]


def start(root, fakes):
    with fakes.installed():
        return run(out=root, preset="smoke", overrides={**SMALL, **fakes.assistant})


def data(root):
    return read_folder(root, "records/*.jsonl", "models/*/*", "constitution.json", "metrics/*")


def run_and_die(root, fakes, setting):
    """Run in a child that is killed at a point; return whether it was."""
    child = os.fork()
    if child == 0:
        try:
            arm_failpoint({"SOLON_FAILPOINT": setting})
            start(root, fakes)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(status := os.waitpid(child, 0)[1]) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run and every point it passed."""
    root = tmp_path_factory.mktemp("whole")
    points = []
    watch_points(points.append)
    try:
        start(root / "run", FakeModels(root / "fakes"))
    finally:
        watch_points(None)
    return SimpleNamespace(points=points, data=data(root / "run"), calls=count_calls(root / "run"))


def count_calls(root):
    path = root / "journal.sqlite"
    if not path.is_file():
        return 0
    with sqlite3.connect(path) as connection:
        try:
            return connection.execute("SELECT count(*) FROM calls").fetchone()[0]
        except sqlite3.OperationalError:
            return 0  # killed before the table was made


def points_of(stage, points):
    """Return name and number of pass of every point between the two writings of a stage's account."""
    name = f"manifest/{stage}.json"
    begin = points.index(f"write:{name}")
    end = len(points) - 1 - points[::-1].index(f"wrote:{name}")
    return [(point, points[: i + 1].count(point)) for i, point in enumerate(points) if begin <= i <= end]


def test_every_stage_passes_points_to_be_killed_at(whole):
    for stage in STAGES:
        assert len(points_of(stage, whole.points)) >= 4
    for stage in STAGES[1:-1]:
        assert any(name == f"progress:{stage}" for name, _ in points_of(stage, whole.points))


@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_a_stage_and_started_again_it_ends_the_same(tmp_path, whole, stage):
    fakes = FakeModels(tmp_path / "fakes")
    root = tmp_path / "run"
    rng = random.Random(f"killed in {stage}")
    for name, number in rng.sample(points_of(stage, whole.points), 3):
        run_and_die(root, fakes, f"{name}:{number}")
    before = count_calls(root)
    start(root, fakes)
    assert data(root) == whole.data
    assert count_calls(root) == whole.calls
    made = sum(len(model.generated) + len(model.chosen) for model in fakes.models)
    assert made == whole.calls - before


def test_killed_before_and_after_its_first_write_it_ends_the_same(tmp_path, whole):
    fakes = FakeModels(tmp_path / "fakes")
    for setting in ("write:*/run.yaml:1", "wrote:*/run.yaml:1", "write:*/constitution.json:1"):
        assert run_and_die(tmp_path / "run", fakes, setting)
    start(tmp_path / "run", fakes)
    assert data(tmp_path / "run") == whole.data


def test_killed_again_and_again_it_still_arrives(tmp_path, whole):
    fakes = FakeModels(tmp_path / "fakes")
    deaths = [run_and_die(tmp_path / "run", fakes, f"progress:*:{number}") for number in (15, 25, 30, 35, 45, 60, 85)]
    assert sum(deaths) >= 5
    start(tmp_path / "run", fakes)
    assert data(tmp_path / "run") == whole.data
