"""Graders by the name of their class, and the grader that stands in where there is none."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from solon.errors import ConfigError
from solon.evaluation import Grader, OpenModel, PairGrader
from solon.records import Grade, Measures, Prompt, Sample


class NoGrader:
    """Keeps answers and grades none of them."""

    @property
    def identity(self) -> str:
        """Name of the grader, as records and results give it."""
        return "none"

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
    except Exception as error:  # importing and making a user's class can raise anything
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"grader {name}: cannot be made from {folder}: {said}") from error
    if not isinstance(made, Grader | PairGrader):
        raise ConfigError(
            f"grader {name}: needs an `identity`, and `async def grade(self, prompt, response, open_model)` or "
            "`async def compare(self, prompt, response, reference, open_model)`"
        )
    return made


def measures_of(grader: Grader | PairGrader) -> Measures:
    """Return what a grader's class says is to be reported, in its attribute `measures`; without one, every value."""
    return getattr(grader, "measures", Measures())
