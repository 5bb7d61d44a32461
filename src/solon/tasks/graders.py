"""Graders by the name of their class, and the grader that stands in where there is none."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from solon.errors import ConfigError
from solon.evaluation import Grader, OpenModel, PairGrader, check_grader
from solon.messages import describe_error
from solon.records import NOBODY, Grade, Prompt, Sample
from solon.tasks.judging import JudgeGrader
from solon.tasks.rules import RuleGrader

SHIPPED: Final[Mapping[str, Callable[[], Grader]]] = {"rules": RuleGrader, "judge": JudgeGrader}
"""Short name of a grader to what makes one."""


class NoGrader:
    """Keeps answers and grades none of them."""

    asks = ()

    @property
    def identity(self) -> str:
        """Name of the grader, as records and results give it."""
        return NOBODY

    async def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Grade:
        """Say that nobody graded."""
        return Grade(ungraded="no grader was given")


def load_grader(name: str, folder: Path) -> Grader | PairGrader:
    """Make a grader without arguments: a shipped one, or a class `module:Class` from `folder` or the environment.

    Raises:
        ConfigError: it cannot be imported or made, or is no grader.
    """
    if name in SHIPPED:
        return SHIPPED[name]()
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ConfigError(
            f"grader {name}: expected MODULE:CLASS, for example my_grader:MyGrader, or a shipped one: "
            f"{' or '.join(SHIPPED)}"
        )
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        made: Any = getattr(import_module(module), attribute)()
    except (Exception, SystemExit) as error:  # importing and making a user's class can raise anything
        said = f"{type(error).__name__}: {describe_error(error)}"
        raise ConfigError(f"grader {name}: cannot be made from {folder}: {said}") from error
    return check_grader(made, f"grader {name}")
