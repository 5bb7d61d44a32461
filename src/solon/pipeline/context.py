"""What the work of a stage has at hand: the run's configuration, artifacts, models, prompts and observer.

A stage can read and write what it declares and nothing else. Models are opened for one stage and closed after it, so
that no more than a stage needs is in memory. Each is wrapped by the run's journal, and what it was asked is counted.
"""

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from solon.errors import ConfigError, StageFailedError
from solon.lm import (
    Account,
    CallCounter,
    ItemResults,
    Journal,
    JournaledModel,
    LanguageModel,
    ModelSpec,
    OnProgress,
    PartEndedError,
    Spending,
    find_backend,
    with_system_prompt,
    with_templates,
)
from solon.messages import nearest
from solon.pipeline.artifacts import ASSISTANT, MODELS, Checkpoint, Curve, Input, Output, Records, RecordT, Role
from solon.pipeline.manifests import ManifestWriter
from solon.pipeline.observer import Observer
from solon.prompting import Templates
from solon.records import Failure, FilteredRevision, RunPaths
from solon.storage import Closing, pass_point

if TYPE_CHECKING:
    from solon.pipeline.graph import Stage
    from solon.pipeline.plan import RunPlan

FoundT = TypeVar("FoundT", bound=ItemResults[Any] | list[Any])


class StageContext(Closing):
    """Everything a stage works with; one for each stage.

    Args:
        stage: the stage.
        plan: what the run is.
        paths: the run's folder.
        journal: where calls are kept.
        observer: told how it goes.
        manifest: renewed on progress.
        spending: what calls are counted against.
    """

    def __init__(
        self,
        stage: "Stage",
        plan: "RunPlan",
        paths: RunPaths,
        *,
        journal: Journal,
        observer: Observer,
        manifest: ManifestWriter,
        spending: Spending,
    ) -> None:
        self.stage = stage
        self.config = plan.config
        self.seed = plan.config.seed
        self.constitution = plan.constitution
        self.prompts = plan.prompts
        self.example = plan.task.example()
        self._plan = plan
        self._paths = paths
        self._journal = journal
        self._observer = observer
        self._manifest = manifest
        self._spending = spending
        self._stack = ExitStack()
        self._open: dict[str, JournaledModel] = {}
        self.counter = CallCounter()
        """The calls of all models so far."""
        self._collected: list[Any] = []

    def close(self) -> None:
        """Close the models."""
        self._stack.close()

    def read(self, records: Records[RecordT]) -> list[RecordT]:
        """Return the records of a file that the stage declares to read.

        Raises:
            RecordError: the file is missing, or a line does not fit.
        """
        self._declared(records, self.stage.reads)
        return records.load(self._paths)

    def write(self, files: Mapping[Records[Any], Sequence[Any]]) -> None:
        """Write record files that the stage declares to write."""
        for records, content in files.items():
            self._declared(records, self.stage.writes)
            records.save(self._paths, content)

    def path(self, output: Checkpoint | Curve) -> Path:
        """Return where a checkpoint or curve goes that the stage declares to write."""
        self._declared(output, self.stage.writes)
        return output.path(self._paths)

    def folder(self, model: Role | Checkpoint) -> Path:
        """Return the folder of a model that the stage declares to train from, or to train by."""
        self._declared(model, self.stage.trains)
        return Path(self._plan.model(model, self._paths).source)

    @property
    def assistant(self) -> ModelSpec:
        """What training starts from: whatever it makes is read, laid out and kept where the assistant is."""
        return self._plan.models[ASSISTANT.key]

    @property
    def layout(self) -> Templates:
        """How training rows are laid out: as what the assistant is asked."""
        return Templates(self.assistant.layout, self._plan.templates)

    def model(self, model: Role | Checkpoint) -> LanguageModel:
        """Open a model that the stage declares to read; two roles that were given the same share it."""
        self._declared(model, self.stage.reads)
        return self._opened(self._plan.model(model, self._paths), model.key)

    def _opened(self, spec: ModelSpec, role: str) -> LanguageModel:
        key = spec.model_dump_json(exclude={"system_prompt"})  # which is put before what the opened model is asked
        if key not in self._open:
            inner = self._stack.enter_context(find_backend(spec).open_model(spec))
            self._open[key] = JournaledModel(inner, self._journal, self.counter)
        prices = self._plan.prices
        account = Account(self.stage.name, role, self._spending, None if prices is None else prices.find(spec))
        model = self._open[key].on_account(account)
        return with_system_prompt(with_templates(model, self._plan.templates), spec.system_prompt)

    def model_of(self, role: str) -> LanguageModel:
        """Open the model of a role by its name, as graders ask for it.

        Raises:
            ConfigError: the stage has no such role.
        """
        self._declared(MODELS, self.stage.reads)
        made = {item.key: item for item in self.stage.reads if isinstance(item, Checkpoint)}
        if role in made:
            return self.model(made[role])
        if role not in self._plan.models:
            known = (*self._plan.models, *made)
            raise ConfigError(
                f"there is no model for the role {role!r} here; {nearest(role, known)}; "
                f"give it one with  --set models.{role}.source=SOURCE"
            )
        return self._opened(self._plan.models[role], role)

    def progress(self, part: str) -> OnProgress:
        """Return what to call with done and total of a part of this stage."""

        def report(done: int, total: int) -> None:
            pass_point(f"progress:{self.stage.name}")
            self._observer.stage_progressed(self.stage.name, part, done, total)
            self._manifest.renew()
            if self.stage.trains:  # where models are asked, calls under way are waited for
                self._spending.check_hours()

        return report

    def notice(self, text: str) -> None:
        """Give the observer something that the user should know."""
        self._observer.notice(text)

    async def collect(self, part: Awaitable[FoundT]) -> FoundT:
        """Return what comes of the items of a part of this stage; it is kept in case the stage stops, here or later."""
        try:
            found = await part
        except (StageFailedError, PartEndedError) as error:
            self._collected += error.results
            raise
        self.keep(found.results if isinstance(found, ItemResults) else found)
        return found

    def keep(self, found: Sequence[Any]) -> None:
        """Keep what came of this stage otherwise than of an item, in case the stage stops."""
        self._collected += found

    def require(
        self, found: Sequence[object], problem: str, because: Sequence[Failure | FilteredRevision] = ()
    ) -> None:
        """Stop the run where nothing came of this stage.

        Args:
            found: what came of it.
            problem: what is to be said where there is nothing.
            because: why there is nothing; where none is given, all failures of the stage.

        Raises:
            StageFailedError: nothing was found.
        """
        if not found:
            raise StageFailedError(
                f"{self.stage.name}: {problem}: the stages after it would have nothing to learn from",
                failures=because,
            )

    @property
    def collected(self) -> Sequence[Any]:
        """What was collected, records and failures, in the order in which it came."""
        return self._collected

    def _declared(self, artifact: Input | Output, among: Sequence[Input | Output]) -> None:
        if artifact not in among:
            raise LookupError(f"stage {self.stage.name} does not declare {artifact}")
