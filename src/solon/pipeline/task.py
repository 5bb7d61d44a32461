"""What a run is asked, and how it is judged: the task. The pipeline knows no task by name.

A task is found by the name of an entry point in the group `solon.tasks`: a function that takes what `--task` was given
and returns a `Task`. A path to a YAML file goes to the entry point called `file`; no name at all to that called
`default`. `revision` and `feedback` never see a task: their functions take prompts and models.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from solon.constitution import Constitution
from solon.errors import ConfigError, ModelError
from solon.evaluation import Evaluation
from solon.messages import nearest
from solon.records import GIVEN, Config, GoldComparison, Prompt, PromptKind

GROUP = "solon.tasks"
"""The group of entry points in which tasks are found."""

Pools = Mapping[str, Mapping[PromptKind, int | None]]
"""Stage to kind of prompt to how many it wants; None is as many as the task sees fit."""


class NoSizes(Config):
    """The fields of `prompts.evaluation` of a task that has none."""


class Task(ABC):
    """What is asked and how it is judged; a task of your own is a subclass in one file.

    Attributes:
        name: what tables and pages call it.
        identity: exactly which task it is: equal identities have equal prompts. It stands in every manifest.
        source: how it was asked for: the name or file that finds it again; the name if left out.
        title: end of the report's title, "Constitutional AI: ...".
        about: what a reader of the report should know about the task first; empty for nothing.
        presets: name to the settings of a preset, laid over the core's own values.
        models: role to model where the run names none, as in the configuration's `models`; without an assistant, one
            must be given.
        sizes: the fields of `prompts.evaluation`, which are the task's own.
        near_leaks: whether a training prompt that nearly says what an evaluation prompt says is a leak, as it is
            among texts that people wrote; False where goals are kept apart by construction.
        says_counts: whether it is said before a run how many prompts it has, as where they come from files.
    """

    name: str
    identity: str
    source: str = ""
    title: str
    about: str = ""
    presets: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    models: Mapping[str, Any] = MappingProxyType({})
    sizes: type[BaseModel] = NoSizes
    near_leaks: bool = True
    says_counts: bool = False

    @abstractmethod
    def training_prompts(self, wanted: Pools, *, seed: int) -> Mapping[str, Sequence[Prompt]]:
        """Return the prompts of each stage that `wanted` names, in order."""

    @abstractmethod
    def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
        """Return what models are evaluated on, the main evaluation first; `sizes` is an instance of `self.sizes`."""

    def choose_preset(self, *, has_gpu: bool) -> tuple[str | None, str]:
        """Return the preset of a run that names none, and what is said of the choice; None where the task has none.

        Args:
            has_gpu: whether torch finds a GPU on this machine.
        """
        return next(iter(self.presets), None), ""

    def example(self) -> Prompt | None:
        """Return the prompt that the report follows turn by turn, kept from training; None for none."""
        return None

    def gold(self) -> Sequence[GoldComparison]:
        """Return comparisons of which it is known which response is better; none by default."""
        return ()

    def notices(self, constitution: Constitution, models: Mapping[str, str]) -> Sequence[str]:
        """Return what the user should know before the run; `models` is role to model as it was named."""
        return ()

    def find_model(self, name: str) -> Path | None:
        """Return the folder of a model that comes with the task; None where none is called so."""
        return None


def load_task(source: str | Path | None = None) -> Task:
    """Find a task by name, or read one from a file.

    Args:
        source: name of an entry point, or path of a YAML file; None is the default task.

    Raises:
        ConfigError: there is no such task, or the file is wrong.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    name = "default" if source is None else "file" if Path(source).suffix in (".yaml", ".yml") else str(source)
    if name not in found:
        known = sorted(found.keys() - {"file"})
        raise ConfigError(f"--task {source}: no such task; {nearest(name, known)}; a file of your own ends in .yaml")
    task: Task = found[name].load()(str(source))
    return task


def source_of(task: Task) -> str:
    """Return how a task is found again: as it was asked for, or by its name; `GIVEN` where only a program has it."""
    return task.source or (task.name if task.name in entry_points(group=GROUP).names else GIVEN)


def find_shipped_model(name: str) -> Path | None:
    """Return the folder of a model that ships with the package, by its name; None where none is called so."""
    return load_task().find_model(name)


def find_checkpoint(task: Task | None, name: str) -> Path:
    """Return the folder of a model: one that comes with the task or ships with the package, or the path itself.

    Args:
        task: the task; None for no more than what ships.
        name: name or path of the model.

    Raises:
        ModelError: there is no such folder.
    """
    path = (task.find_model(name) if task is not None else None) or find_shipped_model(name) or Path(name)
    if not path.is_dir():
        raise ModelError(f"{path}: no such checkpoint folder: give the path of a Hugging Face model folder")
    return path
