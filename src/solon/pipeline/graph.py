"""Stages that declare what they read and write, and graphs of them: an ordered list that is checked, and nothing more.

What was once written by hand follows from the declarations: which stage is to be done again, what it forgets when it
begins anew, what `show` finds, which models can be talked to and are evaluated, and what a shorter run still does.
Another method is another list.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from solon.errors import ConfigError
from solon.messages import nearest
from solon.pipeline.artifacts import Checkpoint, Given, Input, Output, Records, Role
from solon.pipeline.manifests import Outcome
from solon.pipeline.sources import sources_digest
from solon.records import Figure, RunPaths

if TYPE_CHECKING:
    from solon.pipeline.context import StageContext
    from solon.pipeline.requests import Known, Request


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: its name, that of its manifest too.
        settings: fields of the configuration it depends on.
        reads: what it depends on.
        writes: what it makes.
        work: does it; what it wrote and asked is found out without its help.
        asks: says what it will ask of models, as far as that is known before the run; see `requests`.
        learns: returns how many tokens it trains on at most, all passes together; None where it does not train.
        trains: those it trains from or by, whose folders it needs.
        figures: what the report says of its account in numbers.
        remedies: reason of a failure to what helps against it, a verb and a field: `raise revision.max_tokens`.
    """

    name: str
    settings: tuple[str, ...]
    reads: tuple[Input, ...]
    writes: tuple[Output, ...]
    work: "Callable[[StageContext], Outcome]"
    asks: "Callable[[Known], Iterator[Request]] | None" = None
    learns: "Callable[[Known], int] | None" = None
    trains: tuple[Role | Checkpoint, ...] = ()
    figures: tuple[Figure, ...] = ()
    remedies: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def code_digest(self) -> str:
        """Digest of the sources that the stage runs on."""
        return sources_digest(self.work.__module__)


class Graph:
    """Stages in the order in which they run.

    Args:
        *stages: in order; whatever one reads, an earlier one writes, or the run is given.

    Raises:
        ValueError: a stage reads what nothing before it writes, trains from what it does not read, or two stages write
            the same.
    """

    def __init__(self, *stages: Stage) -> None:
        written: dict[Any, str] = {}
        for stage in stages:
            for item in stage.reads:
                if not isinstance(item, Given | Role) and item not in written:
                    raise ValueError(f"stage {stage.name} reads {item.key}, which no stage before it writes")
            for model in stage.trains:
                if model not in stage.reads:
                    raise ValueError(f"stage {stage.name} trains from {model.key}, which it does not read")
            for output in stage.writes:
                if output in written:
                    raise ValueError(f"stages {written[output]} and {stage.name} both write {output.name}")
                written[output] = stage.name
        self.stages = stages

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    def records(self) -> list[Records[Any]]:
        """Return every record file, in the order in which they are written."""
        return [item for stage in self.stages for item in stage.writes if isinstance(item, Records)]

    def checkpoints(self) -> list[Checkpoint]:
        """Return every model made here, in the order in which they are made."""
        return [item for stage in self.stages for item in stage.writes if isinstance(item, Checkpoint)]

    def assistants(self) -> list[Checkpoint]:
        """Return the models made here that can be asked."""
        return [item for item in self.checkpoints() if item.answers]

    def then(self, stage: Stage) -> "Graph":
        """Return this graph with one more stage at its end."""
        return Graph(*self.stages, stage)

    def until(self, name: str) -> "Graph":
        """Return the beginning of this graph that ends with a stage, or with the one that writes an artifact.

        Args:
            name: of a stage, a record file or a checkpoint; see `maker`.

        Raises:
            ConfigError: nothing is called so.
        """
        end = self.maker(name)
        if end is None:
            outputs = [output.name for stage in self.stages for output in stage.writes]
            known = dict.fromkeys([*(stage.name for stage in self.stages), *outputs])
            hint = nearest(PurePosixPath(name).stem, known)
            raise ConfigError(f"--until {name}: no stage and no artifact is called so; {hint}")
        return Graph(*self.stages[: self.stages.index(end) + 1])

    def maker(self, name: str) -> Stage | None:
        """Return the stage that is called so, or that writes what is; None where nothing is.

        Args:
            name: of a stage; or of an artifact, as it is declared, its file is called, or it lies in a run's folder.
        """
        name = PurePosixPath(name).as_posix()
        return next((stage for stage in self.stages if name in _names(stage)), None)

    def find(self, name: str) -> Stage:
        """Return a stage by its name.

        Raises:
            ConfigError: none is called so.
        """
        by_name = {stage.name: stage for stage in self.stages}
        if name not in by_name and (maker := self.maker(name)) is not None:
            raise ConfigError(f"--only {name}: is what a stage writes, and no stage: give  --only {maker.name}")
        if name not in by_name:
            raise ConfigError(f"--only {name}: no stage is called so; {nearest(name, by_name)}")
        return by_name[name]


def _names(stage: Stage) -> set[str]:
    places = [output.path(RunPaths(Path())) for output in stage.writes]
    files = {name for place in places for name in (place.name, place.as_posix())}
    return {stage.name, *(output.name for output in stage.writes), *files}
