"""What a run says about itself as a whole, and the names of the files in its folder.

run.yaml           this header: what was asked for
constitution.json  the constitution it was run with
journal.sqlite     every model call of the data stages
records/*.jsonl    what the stages made
metrics/*.jsonl    training curves
models/            sl-cai, preference-model, value, rl-cai
manifest/*.json    the manifest of each stage, and of the run
plan.json          what the run was expected to ask when it began
results.json       the numbers
report.html        the page
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import yaml
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from solon.errors import RecordError
from solon.messages import describe_misfit, one_line
from solon.records.base import Record
from solon.storage import replace_file

RESULTS_SCHEMA: Final = 5
"""What `schema` says in the `results.json` that this version writes and reads."""

GIVEN: Final = "given"
"""The source of a task, constitution or grader that only a program has, which handed it over as an object."""

LABELS_ONLY: Final = "labels-only"
"""What results call the method that makes the data of both stages and trains nothing."""


class Origin(Record):
    """Where something came from, and exactly what it was.

    Attributes:
        source: a path or the name of something shipped, as it was given; or `GIVEN`.
        name: what it calls itself; empty where it has no name.
        digest: of its content; two runs with equal digests used the same thing.
        found: of a model behind a server, what was found about how it is asked and read, in words; empty, and left out,
            of all else.
    """

    source: str
    name: str = ""
    digest: str
    found: dict[str, str] = Field(default_factory=dict)

    @model_serializer(mode="wrap")
    def _leave_out(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        body: dict[str, Any] = dump(self)
        if not self.found:  # headers of runs without servers are what they were
            body.pop("found", None)
        return body


class OwnTemplates(Origin):
    """Templates that a run was given in the place of some of the package's.

    Attributes:
        texts: file, such as `chat/user.txt`, to its text; those alone that differ from the package's.
    """

    texts: dict[str, str]


class PriceOrigin(Origin):
    """A table of prices that a run was given; its name is its currency.

    Attributes:
        as_of: the earliest and the latest day of its prices.
    """

    as_of: tuple[str, str]


class RunHeader(Record):
    """What a run was asked to do. A folder holds one run, and this says which.

    Attributes:
        code_version: version of this package that began the run.
        config: the whole resolved configuration.
        task: what is asked and how it is judged.
        constitution: the constitution.
        models: role to its model; `assistant` is among them.
        places: role to where its checkpoint lay, as an absolute path; none for one that ships.
        overrides: what was set over the preset, as `a.b` to value.
        notices: what the user was told before the run, e.g. principles that the model's world does not know.
        templates: own templates of prompts, and where they came from; None, and left out, where there are none.
        prices: the table of prices; None, and left out, where there is none.
    """

    SCHEMA: ClassVar[int] = 3

    code_version: str
    config: dict[str, Any]
    task: Origin
    constitution: Origin
    models: dict[str, Origin]
    places: dict[str, str] = Field(default_factory=dict)
    overrides: dict[str, Any] = Field(default_factory=dict)
    notices: tuple[str, ...] = ()
    templates: OwnTemplates | None = None
    prices: PriceOrigin | None = None

    @property
    def own_templates(self) -> dict[str, str]:
        """File to the text that stands in the place of the package's."""
        return {} if self.templates is None else self.templates.texts

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if "preset" not in self.config:
            raise ValueError("config names no preset")
        if "assistant" not in self.models:
            raise ValueError("models names no assistant")
        return self

    def save(self, path: Path) -> None:
        """Write the header as YAML, whole or not at all."""
        body = {"schema": self.SCHEMA, **self.model_dump(mode="json")}
        for name in ("templates", "prices"):  # headers of runs without are what they were
            if body[name] is None:
                del body[name]
        with replace_file(path) as temporary:
            text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=100)
            temporary.write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a header written by `save`.

        Raises:
            RecordError: not a header, or of another version; the file is named.
        """
        try:
            body = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise RecordError(
                f"{path}: cannot be read as the header of a run: restore it from a copy, or use a new folder"
            ) from error
        if not isinstance(body, dict):
            raise RecordError(f"{path}: expected the header of a run, found {type(body).__name__}")
        found = body.pop("schema", None)
        if found != cls.SCHEMA:
            writer = one_line(body.get("code_version", "unknown"), 60)
            raise RecordError(
                f"{path}: is the header of a run of schema {found!r}, this version reads {cls.SCHEMA}: "
                f"read it with a version of solon that reads schema {found!r}; version {writer} wrote it"
            )
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            raise RecordError(f"{path}: {describe_misfit(error)}") from error


@dataclass(frozen=True)
class RunPaths:
    """Where everything in a run folder lies.

    Attributes:
        root: the folder.
    """

    root: Path

    @property
    def header(self) -> Path:
        """The header; a folder with one is a run."""
        return self.root / "run.yaml"

    @property
    def constitution(self) -> Path:
        """The constitution as one JSON record."""
        return self.root / "constitution.json"

    @property
    def journal(self) -> Path:
        """The journal of model calls."""
        return self.root / "journal.sqlite"

    @property
    def plan(self) -> Path:
        """What the run was expected to ask when it began."""
        return self.root / "plan.json"

    @property
    def results(self) -> Path:
        """The numbers of the run."""
        return self.root / "results.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.root / "report.html"

    def records(self, name: str) -> Path:
        """The record file called `name`."""
        return self.root / "records" / f"{name}.jsonl"

    def metrics(self, name: str) -> Path:
        """The training curve called `name`."""
        return self.root / "metrics" / f"{name}.jsonl"

    def model(self, name: str) -> Path:
        """The checkpoint called `name`."""
        return self.root / "models" / name

    def manifest(self, stage: str) -> Path:
        """The manifest of a stage."""
        return self.root / "manifest" / f"{stage}.json"
