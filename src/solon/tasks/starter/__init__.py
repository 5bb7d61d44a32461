"""The starter task: red-team, ordinary and twin prompts in our own words, for models that know English."""

from importlib.resources import files
from pathlib import Path

from solon.tasks.files import FileTask
from solon.tasks.files import load as load_file


def load(source: str) -> FileTask:
    """Return the starter task; what `--task` finds by its name."""
    return load_file(str(Path(str(files("solon.tasks.starter"))) / "task.yaml"), called=source)
