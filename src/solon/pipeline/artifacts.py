"""What stages read and write: record files, checkpoints, and what a run is given.

An artifact is declared once, in the page of the stage that writes it, and named there; whoever reads it imports it
from there. What a graph of stages holds, what `show` can find, which models can be talked to and what is to be
forgotten when a stage begins anew all follow from these declarations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from solon.records import BASE, Chart, Record, RunPaths, load_records, save_records

RecordT = TypeVar("RecordT", bound=Record)


@dataclass(frozen=True)
class Records(Generic[RecordT]):
    """A file of records of one type.

    Attributes:
        name: name of the file below `records/`, without its ending.
        kind: what each line holds.
        named_by: the field, or property, that names a record for people.
    """

    name: str
    kind: type[RecordT]
    named_by: str = "id"

    @property
    def key(self) -> str:
        """What manifests call it."""
        return f"records/{self.name}"

    def path(self, paths: RunPaths) -> Path:
        """Return where it lies in a run."""
        return paths.records(self.name)

    def load(self, paths: RunPaths) -> list[RecordT]:
        """Read it.

        Raises:
            RecordError: it is missing, or a line does not fit.
        """
        return load_records(self.path(paths), self.kind)

    def save(self, paths: RunPaths, records: Sequence[RecordT]) -> Path:
        """Write it, whole or not at all, and return where it lies."""
        save_records(self.path(paths), records)
        return self.path(paths)


@dataclass(frozen=True)
class Checkpoint:
    """A model folder.

    Attributes:
        name: name of the folder below `models/`.
        title: what tables and pages call the model; its name where empty.
        answers: whether it can be asked, as an assistant; False for models that score.
    """

    name: str
    title: str = ""
    answers: bool = True

    @property
    def key(self) -> str:
        """What manifests call it."""
        return self.name

    def path(self, paths: RunPaths) -> Path:
        """Return where it lies in a run."""
        return paths.model(self.name)


@dataclass(frozen=True)
class Curve:
    """A file of training metrics.

    Attributes:
        name: name of the file below `metrics/`, without its ending.
        charts: how the report draws it, a chart each; none for a file that is not drawn.
    """

    name: str
    charts: tuple[Chart, ...] = ()

    def path(self, paths: RunPaths) -> Path:
        """Return where it lies in a run."""
        return paths.metrics(self.name)


@dataclass(frozen=True)
class Given:
    """Something that a run is given and that no stage writes: its digest alone is read here."""

    key: str


@dataclass(frozen=True)
class Role:
    """A model that a run is given for a role.

    Attributes:
        key: the role, as configurations and manifests call it.
        name: what records and results call the model.
        title: what tables and pages call it; its name where empty.
    """

    key: str
    name: str
    title: str = ""


CONSTITUTION = Given("constitution")
TEMPLATES = Given("templates")
GRADERS = Given("graders")
MODELS = Given("models")
"""The models of all roles, for a stage that opens one by a name that only the run knows."""

ASSISTANT = Role("assistant", BASE, title="Base")
"""First answerer and start of training: before training, the base of all comparisons."""

CRITIC = Role("critic", "critic")
FEEDBACK_MODEL = Role("feedback", "feedback")
JUDGE = Role("judge", "judge")

Input = Records[Any] | Checkpoint | Given | Role
Output = Records[Any] | Checkpoint | Curve
