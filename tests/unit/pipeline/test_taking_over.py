"""Proves that a run that has made nothing keeps nobody out of its folder, and that one that has made anything does."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import solon
from solon.errors import ModelError, RunError
from solon.lm import Journal
from solon.pipeline.folder import claim_folder
from solon.pipeline.manifests import load_manifest
from solon.records import Manifest, RunHeader, RunPaths
from solon.storage import watch_points
from tests.pipeline_fakes import SMALL, FakeModels, read_folder
from tests.unit.pipeline.test_run import Log

KEPT = ("run.yaml", "constitution.json", "records/*", "models/*/*", "metrics/*")


@pytest.fixture
def fakes(tmp_path: Path) -> FakeModels:
    return FakeModels(tmp_path / "fakes")


def start(out: Path, fakes: FakeModels, *, seed: int = 0, until: str | None = "revision") -> Log:
    log = Log()
    with fakes.installed():
        solon.run(out=out, preset="smoke", seed=seed, overrides={**SMALL, **fakes.assistant}, until=until, observer=log)
    return log


@contextmanager
def unopened(fakes: FakeModels) -> Iterator[None]:
    """Have the checkpoint be one of which it is seen only when it is opened that it cannot be asked."""
    own, model = fakes.open_model, fakes.base / "model.json"

    def fail(checkpoint: Path) -> Any:
        raise ModelError(f"{checkpoint}: cannot be opened")

    fakes.open_model = fail  # type: ignore[method-assign]
    whole = model.read_text()
    model.write_text('{"refuses": 0.5}')
    try:
        yield
    finally:
        fakes.open_model = own  # type: ignore[method-assign]
        model.write_text(whole)


@pytest.fixture
def failed(tmp_path: Path, fakes: FakeModels) -> RunPaths:
    """The folder of a run that drew its prompts and could not open its model."""
    with unopened(fakes), pytest.raises(ModelError, match="cannot be opened"):
        start(tmp_path / "run", fakes)
    paths = RunPaths(tmp_path / "run")
    assert load_manifest(paths.manifest("prompts")) is not None
    return paths


def held(paths: RunPaths) -> dict[str, bytes]:
    """Everything but locks and what SQLite keeps beside a file that is read."""
    files = read_folder(paths.root, "**/*")
    return {name: content for name, content in files.items() if not name.endswith((".lock", "-shm", "-wal"))}


@pytest.mark.parametrize("seed", [0, 3], ids=["another checkpoint", "another checkpoint and seed"])
def test_a_run_that_made_nothing_gives_way_and_the_next_is_as_one_in_a_new_folder(
    seed: int, failed: RunPaths, fakes: FakeModels, tmp_path: Path
) -> None:
    log = start(failed.root, fakes, seed=seed)
    fresh = start(tmp_path / "fresh", fakes, seed=seed)
    assert read_folder(failed.root, *KEPT) == read_folder(tmp_path / "fresh", *KEPT)
    (said,) = [notice for notice in log.notices if notice not in fresh.notices]
    assert said.startswith(f"{failed.root}: held a run that had made nothing yet, of another request (")
    assert said.endswith("): it is begun anew")
    assert "digest.models.assistant: " in said
    assert ("seed: 0 -> 3" in said) == (seed == 3)
    assert "\n" not in said
    assert start(failed.root, fakes, seed=seed).notices == fresh.notices


def test_the_same_request_goes_on_and_says_nothing(failed: RunPaths, fakes: FakeModels) -> None:
    before = held(failed)["run.yaml"]
    with unopened(fakes), pytest.raises(ModelError):
        start(failed.root, fakes)
    assert held(failed)["run.yaml"] == before


def add_call(paths: RunPaths) -> None:
    with Journal(paths.journal) as journal:
        asyncio.run(journal.add("k", "generate", "{}", "{}"))


def finish(paths: RunPaths) -> None:
    Manifest(stage="own", status="complete", config={}, seed=0, inputs={}, code_version="1").save(paths.manifest("own"))


def save(file: Callable[[RunPaths], Path], text: str) -> Callable[[RunPaths], None]:
    def write(paths: RunPaths) -> None:
        file(paths).parent.mkdir(parents=True, exist_ok=True)
        file(paths).write_text(text)

    return write


MADE: dict[str, Callable[[RunPaths], None]] = {
    "an answer": add_call,
    "a finished stage": finish,
    "a model": save(lambda paths: paths.model("sl-cai") / "config.json", "{}"),
    "a model to go on from": save(lambda paths: paths.model("sl-cai") / ".checkpoint" / "state", "x"),
    "a model that was about to be moved into place": save(lambda paths: paths.model(".sl-cai.7.old") / "w", "x"),
    "results": save(lambda paths: paths.results, "{}"),
    "answers whose journal is gone": save(
        lambda paths: paths.records("revision_chains"), json.dumps({"call": "0" * 64}, separators=(",", ":"))
    ),
    "a journal that cannot be read": save(lambda paths: paths.journal, "torn" * 2000),
}


@pytest.mark.parametrize("made", MADE)
def test_whatever_was_made_is_kept_from_another_request(made: str, failed: RunPaths, fakes: FakeModels) -> None:
    MADE[made](failed)
    before = held(failed)
    with pytest.raises(RunError, match="holds a run that was asked for something else") as refused:
        start(failed.root, fakes, seed=3)
    assert "seed: 0 -> 3" in str(refused.value)
    assert held(failed) == before


def test_a_journal_that_was_never_written_holds_nothing(failed: RunPaths, fakes: FakeModels) -> None:
    failed.journal.write_bytes(b"")
    start(failed.root, fakes, seed=3)
    assert RunHeader.load(failed.header).config["seed"] == 3


class KilledError(BaseException):
    """The process ended here."""


def test_a_kill_while_it_gives_way_leaves_a_folder_for_either_request(
    failed: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = RunHeader.load(failed.header)
    new = old.model_copy(update={"config": {**old.config, "seed": 3}})
    left, remove, steps = [0], Path.unlink, 0

    def step(*_: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KilledError

    def unlink(path: Path, missing_ok: bool = False) -> None:
        step()
        remove(path, missing_ok)

    def take_over(root: Path, steps: int) -> bool:
        """Take a folder over; say whether the process came that far."""
        left[0] = steps
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink)
            watch_points(step)
            try:
                with claim_folder(root, new):
                    return True
            except KilledError:
                return False
            finally:
                watch_points(None)

    while not take_over(Path(shutil.copytree(failed.root, tmp_path / f"{steps}")), steps):
        for number, header in enumerate((old, new)):
            root = Path(shutil.copytree(tmp_path / f"{steps}", tmp_path / f"{steps}, {number}"))
            with claim_folder(root, header) as paths:
                assert RunHeader.load(paths.header) == header
        steps += 1
    assert steps > len(list(failed.root.glob("records/*"))) + len(list(failed.root.glob("manifest/*")))
