"""What the work of a stage has at hand: the run's configuration, artifacts, models, prompts and someone to tell.

A stage can read and write what it declares and nothing else. Models are opened for one stage and closed after it, so
that no more than a stage needs is in memory. Each is wrapped by the run's journal, and what it was asked is counted.
"""

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from solon.errors import ConfigError, StageFailedError
from solon.lm import (
    ItemResults,
    Journal,
    JournaledModel,
    LanguageModel,
    ModelSpec,
    OnProgress,
    find_backend,
    with_system_prompt,
)
from solon.messages import nearest
from solon.pipeline.artifacts import ASSISTANT, MODELS, Checkpoint, Curve, Input, Output, Records, RecordT, Role
from solon.pipeline.observer import Observer
from solon.pipeline.stage import ManifestWriter
from solon.records import RunPaths, TokenCounts
from solon.storage import pass_point

if TYPE_CHECKING:
    from solon.pipeline.graph import Stage
    from solon.pipeline.plan import RunPlan

FoundT = TypeVar("FoundT", bound=ItemResults[Any] | list[Any])


class StageContext:
    """Everything a stage works with; one for each stage.

    Args:
        stage: the stage.
        plan: what the run is.
        paths: the run's folder.
        journal: where calls are kept.
        observer: told how it goes.
        account: renewed on progress.
    """

    def __init__(
        self,
        stage: "Stage",
        plan: "RunPlan",
        *,
        paths: RunPaths,
        journal: Journal,
        observer: Observer,
        account: ManifestWriter,
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
        self._account = account
        self._stack = ExitStack()
        self._open: dict[str, JournaledModel] = {}
        self._collected: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    def model(self, model: Role | Checkpoint) -> LanguageModel:
        """Open a model that the stage declares to read; two roles that were given the same share it."""
        self._declared(model, self.stage.reads)
        return self._opened(self._plan.model(model, self._paths))

    def _opened(self, spec: ModelSpec) -> LanguageModel:
        key = spec.model_dump_json(exclude={"system_prompt"})  # which is put before what the opened model is asked
        if key not in self._open:
            inner = self._stack.enter_context(find_backend(spec).open_model(spec))
            self._open[key] = JournaledModel(inner, self._journal)
        return with_system_prompt(self._open[key], spec.system_prompt)

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
            raise ConfigError(f"there is no model for the role {role!r} here; {nearest(role, known)}")
        return self._opened(self._plan.models[role])

    def progress(self, part: str) -> OnProgress:
        """Return what to call with done and total of a part of this stage."""

        def tell(done: int, total: int) -> None:
            pass_point(f"progress:{self.stage.name}")
            self._observer.stage_progressed(self.stage.name, part, done, total)
            self._account.renew()

        return tell

    def notice(self, text: str) -> None:
        """Tell whoever watches something they should know."""
        self._observer.notice(text)

    async def collect(self, part: Awaitable[FoundT]) -> FoundT:
        """Return what comes of the items of a part of this stage; it is kept in case the stage stops, here or later."""
        try:
            found = await part
        except StageFailedError as error:
            self._collected += error.results
            raise
        self._collected += found.results if isinstance(found, ItemResults) else found
        return found

    @property
    def collected(self) -> Sequence[Any]:
        """What was collected, records and failures, in the order in which it came."""
        return self._collected

    @property
    def calls(self) -> dict[str, Any]:
        """Calls and tokens of all models so far, as `Outcome` takes them."""
        counters = [model.counter for model in self._open.values()]
        return {
            "model_calls": sum(c.calls for c in counters),
            "replayed_calls": sum(c.replayed for c in counters),
            "tokens": TokenCounts(
                prompt=sum(c.prompt_tokens for c in counters), generated=sum(c.generated_tokens for c in counters)
            ),
        }

    def _declared(self, artifact: Input | Output, among: Sequence[Input | Output]) -> None:
        if artifact not in among:
            raise LookupError(f"stage {self.stage.name} does not declare {artifact}")
