"""What the work of a stage has at hand: the run's configuration, folder, models, prompts and someone to tell.

Models are opened for one stage and closed after it, so that no more than a stage needs is in memory. Each is
wrapped by the run's journal, and what it was asked is counted.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from solon.constitution import Constitution
from solon.lm import Journal, JournaledModel, LanguageModel, OnProgress
from solon.pipeline.config import RunConfig
from solon.pipeline.engine import Engine
from solon.pipeline.observer import Observer
from solon.pipeline.stage import Account
from solon.records import Prompt, RunPaths, TokenCounts, pass_point

if TYPE_CHECKING:
    from solon.pipeline.prompt_pools import RunPrompts


class Workbench:
    """Everything a stage works with; one for each stage.

    Args:
        stage: the stage's name.
        config: the whole configuration.
        constitution: the constitution.
        paths: the run's folder.
        checkpoints: role (`base`, `critic`, `feedback`, `sl-cai`, `rl-cai`) to checkpoint folder.
        engine: opens and trains models.
        prompts: every prompt of the run, and its evaluations.
        example: the prompt that the report follows turn by turn; None for none.
        journal: where calls are kept.
        observer: told how it goes.
        account: renewed on progress.
    """

    def __init__(
        self,
        *,
        stage: str,
        config: RunConfig,
        constitution: Constitution,
        paths: RunPaths,
        checkpoints: Mapping[str, Path],
        engine: Engine,
        prompts: "RunPrompts",
        example: Prompt | None,
        journal: Journal,
        observer: Observer,
        account: Account,
    ) -> None:
        self.stage = stage
        self.config = config
        self.seed = config.seed
        self.constitution = constitution
        self.paths = paths
        self.checkpoints = checkpoints
        self.engine = engine
        self.prompts = prompts
        self.example = example
        self._journal = journal
        self._observer = observer
        self._account = account
        self._open = ExitStack()
        self._models: dict[Path, JournaledModel] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def model(self, role: str) -> LanguageModel:
        """Return the model of a role; two roles of one checkpoint share it."""
        path = self.checkpoints[role]
        if path not in self._models:
            inner = self._open.enter_context(self.engine.open_model(path))
            self._models[path] = JournaledModel(inner, self._journal)
        return self._models[path]

    def progress(self, part: str) -> OnProgress:
        """Return what to call with done and total of a part of this stage."""

        def tell(done: int, total: int) -> None:
            pass_point(f"progress:{self.stage}")
            self._observer.stage_progressed(self.stage, part, done, total)
            self._account.renew()

        return tell

    def notice(self, text: str) -> None:
        """Tell whoever watches something they should know."""
        self._observer.notice(text)

    @property
    def calls(self) -> dict[str, Any]:
        """Calls and tokens of all models so far, as `Outcome` takes them."""
        counters = [model.counter for model in self._models.values()]
        return {
            "model_calls": sum(c.calls for c in counters),
            "replayed_calls": sum(c.replayed for c in counters),
            "tokens": TokenCounts(
                prompt=sum(c.prompt_tokens for c in counters), generated=sum(c.generated_tokens for c in counters)
            ),
        }
