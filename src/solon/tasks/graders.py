"""Graders by the name of their class, and the grader that stands in where there is none."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from solon.errors import ConfigError
from solon.evaluation import Grader, OpenModel, PairGrader, check_grader
from solon.messages import describe_error
from solon.records import NOBODY, Grade, Prompt, Sample


class NoGrader:
    """Keeps answers and grades none of them."""

    @property
    def identity(self) -> str:
        """Name of the grader, as records and results give it."""
        return NOBODY

    async def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Grade:
        """Say that nobody graded."""
        return Grade(ungraded="no grader was given")


def load_grader(name: str, folder: Path) -> Grader | PairGrader:
    """Import a grader class, `module:Class`, from `folder` or the environment, and make one without arguments.

    Raises:
        ConfigError: it cannot be imported or made, or is no grader.
    """
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ConfigError(f"grader {name}: expected MODULE:CLASS, for example my_grader:MyGrader")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        made: Any = getattr(import_module(module), attribute)()
    except (Exception, SystemExit) as error:  # importing and making a user's class can raise anything
        said = f"{type(error).__name__}: {describe_error(error)}"
        raise ConfigError(f"grader {name}: cannot be made from {folder}: {said}") from error
    return check_grader(made, f"grader {name}")
