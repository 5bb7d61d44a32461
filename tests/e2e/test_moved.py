"""Proves that a checkpoint and a run are known by what is in them: no call is made again, and a conversation goes on,
wherever they were moved to, whatever they are called there, and from whatever folder they are named.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

from solon.records import EvalRecord, Manifest, RunHeader, RunPaths, load_records
from tests.e2e.conftest import call_solon
from tests.tiny_world import tiny_options

DATA_STAGES = ("revision", "comparisons", "feedback", "evaluation")


class Moved(NamedTuple):
    """Where a run and its checkpoint lie now, how the checkpoint is named, and from where."""

    run: Path
    model: Path
    named: Path
    here: Path


MOVES: dict[str, Callable[[Path], tuple[str, str, str | None]]] = {
    "the checkpoint is renamed": lambda _: ("run", "renamed", None),
    "the checkpoint is moved": lambda _: ("run", "away/model", None),
    "the run is moved": lambda _: ("away/run", "model", None),
    "both are": lambda _: ("away/run", "away/another model@9", None),
    "it is named from elsewhere": lambda _: ("run", "model", "elsewhere"),
}


@pytest.fixture
def start(tmp_path: Path, whole_run: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    """A finished run of a checkpoint that was named by a relative path."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole_run.model, "model")
    shutil.copytree(whole_run.folder, "run")
    done = call_solon("run", "--out", "run", *tiny_options(Path("model")))
    assert done.returncode == 0, done.stderr
    assert RunHeader.load(RunPaths(tmp_path / "run").header).config["models"]["assistant"]["source"] == "model"
    return RunPaths(tmp_path / "run")


def move(start: RunPaths, name: str, monkeypatch: pytest.MonkeyPatch) -> Moved:
    root = start.root.parent
    run, model, here = MOVES[name](root)
    for old, new in (("run", run), ("model", model)):
        (root / new).parent.mkdir(exist_ok=True)
        (root / old).rename(root / new)
    place = root / (here or ".")
    place.mkdir(exist_ok=True)
    monkeypatch.chdir(place)
    return Moved(root / run, root / model, Path(os.path.relpath(root / model)), place)


def forget_data_stages(paths: RunPaths) -> None:
    for stage in DATA_STAGES:
        paths.manifest(stage).unlink()


def read_answers(paths: RunPaths) -> list[EvalRecord]:
    """Return what was answered and graded, without the names that models have for people."""
    records = load_records(paths.records("evaluation"), EvalRecord)
    return [
        record.model_copy(update={"response": record.response.model_copy(update={"model": "", "call": ""})})
        for record in records
    ]


def counts(paths: RunPaths) -> list[tuple[int, int]]:
    manifests = [Manifest.load(paths.manifest(stage)) for stage in DATA_STAGES]
    assert all(manifest.model_calls for manifest in manifests)
    return [(manifest.model_calls, manifest.replayed_calls) for manifest in manifests]


@pytest.mark.parametrize("name", MOVES)
def test_no_call_is_made_again_and_the_answers_are_what_they_were(
    name: str, start: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = read_answers(start)
    moved = move(start, name, monkeypatch)
    paths = RunPaths(moved.run)
    forget_data_stages(paths)
    done = call_solon("run", "--out", moved.run, *tiny_options(moved.named))
    assert done.returncode == 0, done.stderr
    assert [calls - replayed for calls, replayed in counts(paths)] == [0, 0, 0, 0]
    assert read_answers(paths) == answers


@pytest.mark.parametrize("model", ["base", "sl-cai"])
@pytest.mark.parametrize("name", MOVES)
def test_a_conversation_goes_on_wherever_they_are(
    name: str, model: str, start: RunPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = call_solon("chat", start.root, "--model", model, stdin="How do I water a hedge?\n")
    assert said.returncode == 0, said.stderr
    moved = move(start, name, monkeypatch)
    if model == "base" and moved.model != start.root.parent / "model":
        lost = call_solon("chat", moved.run, "--model", "base", stdin="Hello?\n")
        assert (lost.returncode, lost.stderr.count("\n")) == (2, 1)
        assert "if it lies elsewhere now, give the run's command again with  --model PATH" in lost.stderr
        assert call_solon("run", "--out", moved.run, *tiny_options(moved.named)).returncode == 0
    again = call_solon("chat", moved.run, "--model", model, stdin="How do I water a hedge?\n")
    assert (again.returncode, again.stdout) == (0, said.stdout)


def test_another_checkpoint_under_the_old_name_is_told_from_it(start: RunPaths) -> None:
    file = start.root.parent / "model" / "config.json"
    file.write_text(file.read_text() + "\n")
    said = call_solon("chat", start.root, "--model", "base", stdin="Hello?\n")
    assert (said.returncode, said.stderr.count("\n")) == (2, 1)
    assert "is not the base model that" in said.stderr
