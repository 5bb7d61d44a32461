"""A whole run: from a constitution to results and a report. Run it again to resume it.

After an interruption of any kind, at any moment, the same request ends in the same records.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.constitution import Constitution
from solon.errors import ConfigError, RecordError, RunError
from solon.evaluation import Grader, PairGrader
from solon.lm import Caps
from solon.pipeline.blocking import run_blocking
from solon.pipeline.config import RunConfig
from solon.pipeline.estimate import estimate_run
from solon.pipeline.folder import check_run_folder, claim_folder, load_header
from solon.pipeline.graph import Graph
from solon.pipeline.models import has_gpu, limit_threads
from solon.pipeline.observer import Observer
from solon.pipeline.overrides import merge, validate
from solon.pipeline.plan import build_plan, gather_known, refuse_unpriced, resolve_config
from solon.pipeline.runner import Runner
from solon.pipeline.stages.method import CONSTITUTIONAL_AI, choose_alone, choose_part
from solon.pipeline.task import Task, load_task
from solon.pipeline.usage import Meter
from solon.records import GIVEN, RunEstimate, RunPaths, hold_to_manifests
from solon.report import load_run_results


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        folder: where everything is.
        results: the content of `results.json`; empty after one stage alone.
        config: what was run.
    """

    folder: Path
    results: dict[str, Any]
    config: RunConfig

    @property
    def report(self) -> Path:
        """The report."""
        return RunPaths(self.folder).report


def run(
    *,
    out: str | Path,
    task: Task | str | Path | None = None,
    constitution: Constitution | str | Path = "default",
    preset: str | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    observer: Observer | None = None,
    grader: Grader | PairGrader | None = None,
    grader_source: str = GIVEN,
    method: Graph = CONSTITUTIONAL_AI,
    until: str | None = None,
    only: str | None = None,
    old: str | Path | None = None,
    accept_code: bool = False,
    meter: Meter | None = None,
    templates: str | Path | Mapping[str, str] | None = None,
    caps: Caps | None = None,
) -> RunResult:
    """Run the whole method, or resume the run in `out`.

    Args:
        out: the run's folder: new, empty, or that of the same run.
        task: what is asked and how it is judged: a task, the name of one, or a YAML file; None is the default task.
        constitution: what governs the run, or where to load it from.
        preset: one of the task's presets; None is the one that it chooses for this machine, or the core's own values
            where it has none.
        seed: seed of every draw; None is the preset's.
        overrides: fields set over the preset, nested, e.g. `{"ppo": {"kl_coef": 0.1}}`.
        observer: told how it goes.
        grader: grades the answers in place of the task's own; its attribute `measures`, if it has one, says what is
            reported, and otherwise every value that it gives is.
        grader_source: how `solon run --grader` finds the grader again, as `MODULE:CLASS`, for the report's command.
        method: the stages, up to the last model; the evaluation of the models that they make follows by itself.
        until: end with this stage, or with the stage that writes this artifact; the models made so far are evaluated.
        only: do this one stage of the run in `out`, and no report.
        old: the folder of another run, whose calls are not made again but copied.
        accept_code: keep stages that other sources of this package made; without it they are made again.
        meter: measures what the run uses; begins now by default.
        templates: prompt templates in the place of some of the package's: their folder, or file, such as
            `chat/user.txt`, to text.
        caps: where the run is to stop: calls and cost over all its starts, hours of this one.

    Raises:
        ConfigError: the task, the preset, a field or a template is wrong, or a training prompt is an evaluation prompt.
        ConstitutionError: the constitution is wrong.
        RunError: `out` cannot be this run's folder, or a stage failed; a `LimitReachedError` where it came to a limit.
        ModelError: a checkpoint cannot be used.
        MissingExtraError: torch or transformers is not installed.
    """
    graph = choose_part(until, method)
    alone = None if only is None else choose_alone(only, until, method)
    settings = dict(overrides or {}) if seed is None else merge(overrides or {}, {"seed": seed})
    found = task if isinstance(task, Task) else load_task(task)
    meter = meter or Meter()
    observer = observer or Observer()

    def work() -> RunResult:
        check_run_folder(Path(out))
        if alone is not None:
            load_header(Path(out))  # one stage is of a run that there is
        journals = _journals_of(old)
        with ExitStack() as stack:
            chosen, said = (preset, "") if preset is not None else found.choose_preset(has_gpu=has_gpu())
            config = resolve_config(found, constitution, chosen, settings)
            stack.enter_context(limit_threads(config.threads))
            plan = build_plan(
                found,
                config,
                constitution,
                settings=settings,
                grader=grader,
                grader_source=grader_source,
                graph=graph,
                until=until,
                notes=(said,) if said else (),
                templates=templates,
            )
            refuse_unpriced(plan, caps or Caps())
            paths = stack.enter_context(claim_folder(Path(out), plan.header, observer.notice))
            whole = choose_part(None, method)
            runner = Runner(plan, paths, observer, meter, method=whole, accept_code=accept_code, caps=caps)
            if alone is not None:
                runner.refuse_unmade(alone)
            runner.begin(stack, journals)
            if alone is not None:
                runner.run_stage(alone)
                return RunResult(paths.root, {}, plan.config)
            manifests = {stage.name: runner.run_stage(stage) for stage in plan.graph}
            return RunResult(paths.root, runner.report(manifests), plan.config)

    return run_blocking(work)


def plan(
    *,
    out: str | Path,
    task: Task | str | Path | None = None,
    constitution: Constitution | str | Path = "default",
    preset: str | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    grader: Grader | PairGrader | None = None,
    method: Graph = CONSTITUTIONAL_AI,
    until: str | None = None,
    only: str | None = None,
    old: str | Path | None = None,
    templates: str | Path | Mapping[str, str] | None = None,
) -> RunEstimate:
    """Say what a run will ask, train and cost, and do nothing of it: no model is opened, no server asked.

    Args:
        out: the run's folder; what it holds already is not counted.
        task: as of `run`, like all that follows.
        constitution: what governs the run.
        preset: one of the task's presets.
        seed: seed of every draw.
        overrides: fields set over the preset.
        grader: grades the answers in place of the task's own.
        method: the stages.
        until: end with this stage.
        only: this one stage.
        old: the folder of another run.
        templates: own prompt templates.

    Raises:
        ConfigError, ConstitutionError, RunError, ModelError: as `run`.
    """
    graph = choose_part(until, method)
    alone = None if only is None else choose_alone(only, until, method)
    settings = dict(overrides or {}) if seed is None else merge(overrides or {}, {"seed": seed})
    found = task if isinstance(task, Task) else load_task(task)
    check_run_folder(Path(out))
    _journals_of(old)
    chosen = preset if preset is not None else found.choose_preset(has_gpu=has_gpu())[0]
    config = resolve_config(found, constitution, chosen, settings)
    known, models, prices = gather_known(found, config, constitution, grader, templates)
    folders = [Path(folder) for folder in (out, old) if folder is not None]
    estimate = estimate_run(graph, known, models, task=found.identity, prices=prices, folders=folders)
    if alone is None:
        return estimate
    parts = {
        "calls": tuple(row for row in estimate.calls if row.stage == alone.name),
        "training": tuple(row for row in estimate.training if row.stage == alone.name),
    }
    return estimate.model_copy(update=parts)


def load_run(folder: str | Path) -> RunResult:
    """Read a finished run.

    Raises:
        RunError: the folder holds no run, or one that is not finished, or of another version.
    """
    root = Path(folder)
    header = load_header(root)
    paths = RunPaths(root)
    if not paths.results.is_file():
        raise RunError(f"{root}: this run is not finished: run the same command again to resume it")
    try:
        config = validate(RunConfig, header.config, where=str(paths.header))
        hold_to_manifests(paths, paths.header.name)
        results = load_run_results(paths)
    except (ConfigError, RecordError) as error:
        raise RunError(str(error)) from error
    return RunResult(folder=root, results=results, config=config)


def _journals_of(old: str | Path | None) -> Sequence[Path]:
    """Return the journals of an old run.

    Raises:
        RunError: the folder is no run, or its journal is gone.
    """
    if old is None:
        return ()
    load_header(Path(old))
    journal = RunPaths(Path(old)).journal
    if not journal.is_file():
        raise RunError(f"--from {old}: the journal of this run, {journal.name}, is not there: leave --from out")
    return (journal,)
