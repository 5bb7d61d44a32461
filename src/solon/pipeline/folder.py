"""The folder of a run: claimed by one process, one run for ever, nothing of anyone else's overwritten.

A folder is a run if it holds `run.yaml`. An absent or empty folder may become one; any other folder, and a file,
is refused. A run that exists is resumed if it was asked for the same thing: the header on disk is compared with
the new one field by field, and a difference is shown and refused; but a limit on what models write may grow. Where the
constitution, own templates and the checkpoints lie does not matter, only what is in them. A run that has made nothing
yet, as one whose model could not be asked, keeps nobody out: its folder is taken over by whatever is asked for next.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from solon.errors import JournalError, RecordError, RunError
from solon.lm import describe_lost_calls, read_keys
from solon.pipeline.artifacts import ASSISTANT, CRITIC, FEEDBACK_MODEL
from solon.pipeline.limits import is_growth
from solon.pipeline.manifests import load_manifest
from solon.pipeline.overrides import Difference, find_differences
from solon.pipeline.stages.prompts import DRAW_PROMPTS
from solon.records import RunHeader, RunPaths
from solon.storage import take_lock

_LOCK = ".lock"
_NOT_COMPARED = ("preset", "constitution", "models", "threads", "prices")
ROUNDING_ONLY = {"source", "device", "batch_size", "server"}
"""Fields of a model that may differ: where it lies, which its digest does not depend on, and how it is computed.

What decides a served model's answers is in its digest."""

_COMPARED_ROLES = (ASSISTANT.key, CRITIC.key, FEEDBACK_MODEL.key)
"""Roles that data and trained models come from. Under other graders, and models that they ask, answers that are there
are graded again."""


def _comparable(header: RunHeader) -> dict[str, Any]:
    """Return what must be equal for two headers to ask for the same run."""
    config = {name: value for name, value in header.config.items() if name not in _NOT_COMPARED}
    digests = {"task": header.task.digest, "constitution": header.constitution.digest}
    digests |= {f"models.{role}": origin.digest for role, origin in header.models.items() if role in _COMPARED_ROLES}
    if header.templates is not None:
        digests["templates"] = header.templates.digest
    models = {
        role: {name: value for name, value in spec.items() if name not in ROUNDING_ONLY}
        for role, spec in header.config.get("models", {}).items()
        if role in _COMPARED_ROLES
    }
    return {**config, "models": models, "digest": digests}


def compare_headers(old: RunHeader, new: RunHeader) -> list[Difference]:
    """Return the fields in which two runs were asked for different things; empty if one resumes the other."""
    return find_differences(_comparable(old), _comparable(new))


def load_header(root: Path) -> RunHeader:
    """Read the header of the run in `root`.

    Raises:
        RunError: `root` is missing, a file, or not a run.
    """
    if not root.exists():
        raise RunError(f"{root}: no such folder: expected that of a run")
    if not root.is_dir():
        raise RunError(f"{root}: is a file, not the folder of a run")
    paths = RunPaths(root)
    if not paths.header.is_file():
        raise RunError(f"{root}: is not the folder of a run (it holds no run.yaml)")
    try:
        return RunHeader.load(paths.header)
    except RecordError as error:
        raise RunError(str(error)) from error


def is_empty(root: Path) -> bool:
    """Say whether a folder holds nothing but what an attempt killed in its first moment may have left."""
    return all(entry.name == _LOCK or _is_temporary(entry) for entry in root.iterdir())


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _remove_leftovers(root: Path) -> None:
    """Remove what a killed process was about to move into place; its files are found by their hidden names.

    But a folder that was moved aside for a new one that never came is moved back.
    """
    for old in root.rglob(".*.old"):
        home = old.with_name(old.name.removeprefix(".").rsplit(".", 2)[0])
        if not home.exists():
            old.rename(home)
    for leftover in [*root.rglob(".*.tmp"), *root.rglob(".*.old")]:
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def check_run_folder(root: Path) -> None:
    """Make sure that `root` can be the folder of a run: absent, empty, or a run already.

    Raises:
        RunError: it is a file, or a folder of something else.
    """
    if root.exists() and not root.is_dir():
        raise RunError(f"{root}: is a file: give --out a folder")
    if root.is_dir() and not (root / "run.yaml").exists() and not is_empty(root):
        raise RunError(f"{root}: is not empty and holds no run: give --out a new or empty folder")


def _has_made_something(paths: RunPaths) -> bool:
    """Say whether a run has an answer, a model or a finished stage to lose; yes where that cannot be told.

    The prompts are none: they are drawn at every attempt, before anything else.
    """
    manifests = [path for path in paths.root.glob("manifest/*.json") if path != paths.manifest(DRAW_PROMPTS.name)]
    done = [path for path in manifests if (found := load_manifest(path)) is not None and found.status == "complete"]
    if done or paths.results.exists() or any(path.is_file() for path in paths.root.glob("models/**/*")):
        return True
    try:
        holds_calls = paths.journal.is_file() and paths.journal.stat().st_size > 0 and bool(read_keys(paths.journal))
        return holds_calls or describe_lost_calls(paths) is not None  # of a journal that was taken away
    except (JournalError, RecordError):
        return True


def _compare_requests(paths: RunPaths, header: RunHeader) -> list[Difference]:
    """Return what the run in a folder would lose its place for; nothing where it is the same run, or a limit grows.

    Raises:
        RunError: it was asked for something else and has made something.
    """
    differences = compare_headers(load_header(paths.root), header)
    if all(is_growth(difference) for difference in differences):
        return []
    if _has_made_something(paths):
        lines = "\n".join(f"  {difference}" for difference in differences)
        raise RunError(
            f"{paths.root}: holds a run that was asked for something else (old -> new):\n{lines}\n"
            "nothing was changed: give --out another folder, or ask for the same as before"
        )
    return differences


def _clear(paths: RunPaths) -> None:
    """Remove what a run that has made nothing says of itself; its header is for the next to replace."""
    own = (paths.constitution, paths.plan)
    for file in [*paths.root.glob("manifest/*.json"), *paths.root.glob("records/*.jsonl"), *own]:
        file.unlink(missing_ok=True)


@contextmanager
def lock_folder(root: Path) -> Iterator[None]:
    """Hold a folder for this process, by a lock file in it.

    Raises:
        RunError: another process holds it.
    """
    try:
        lock = take_lock(root / _LOCK)
    except BlockingIOError as error:
        raise RunError(f"{root}: {error.strerror} is working here: wait for it, or end it") from error
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def claim_folder(
    root: Path, header: RunHeader, notice: Callable[[str], object] = lambda said: None
) -> Iterator[RunPaths]:
    """Hold `root` as the folder of the run described by `header`, new or resumed.

    Args:
        root: the folder.
        header: what the run is asked for.
        notice: told where a run that had made nothing gave way.

    Raises:
        RunError: the folder cannot be this run's, or another process holds it; nothing was changed.
    """
    check_run_folder(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{root}: cannot be made: {error.strerror or error}") from error
    paths = RunPaths(root)
    if paths.header.exists():
        _compare_requests(paths, header)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock_folder(root))
        except PermissionError as error:
            raise RunError(f"{root}: cannot be written to: {error.strerror or error}") from error
        gives_way = _compare_requests(paths, header) if paths.header.exists() else []
        _remove_leftovers(root)
        if gives_way:
            # Cleared before the header is replaced: a kill in between leaves the old run, which still has made nothing.
            _clear(paths)
            said = "; ".join(map(str, gives_way))
            notice(f"{root}: held a run that had made nothing yet, of another request ({said}): it is begun anew")
        if gives_way or not paths.header.exists():
            header.save(paths.header)
        yield paths
