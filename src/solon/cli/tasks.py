"""What `solon run` is asked to work on, from the words of the command line."""

import re
from pathlib import Path

from solon.errors import ConfigError
from solon.pipeline.task import Task, load_task
from solon.tasks import FileTask


def find_task(task: str | None, **files: Path | None) -> Task:
    """Return the task of a file or name, or one made of prompt files given on the command line.

    Args:
        task: what `--task` was given.
        files: role (`red_team`, `helpful`, `harmful`, `benign`) to file; None where it was not given.

    Raises:
        ConfigError: both a task and prompt files, a folder, or prompt files that make no task.
    """
    given = {role: path for role, path in files.items() if path is not None}
    if not given:
        return load_task(task)
    for role, path in given.items():
        if path.is_dir():
            raise ConfigError(f"--{role.replace('_', '-')} {path}: is a folder: give a file of prompts")
    if task is not None:
        option = next(iter(given)).replace("_", "-")
        raise ConfigError(f"--{option}: cannot be given beside --task: write the file into {task}")
    return FileTask.of_files(**given)


def default_folder(task: Task, preset: str | None) -> Path:
    """Return where a run lies that is told nothing: under the name of a task of files, or of a preset of the world.

    Raises:
        ConfigError: nothing of the name can stand in a path.
    """
    named = task.name if isinstance(task, FileTask) else preset or next(iter(task.presets), task.name)
    return Path("runs") / folder_name(named)


def folder_name(name: str) -> str:
    """Return the name of a run's folder for that of a preset or task: one step of a path, whatever the name holds.

    Raises:
        ConfigError: nothing of the name can stand in a path.
    """
    plain = re.sub(r"[^\w.]+", "-", name).strip("-.")
    if not plain:
        raise ConfigError(f"{name!r}: makes no name of a folder: give one with  --out DIR")
    return plain
