"""A whole run: from a constitution to results and a report. Run it again to resume it.

Each stage is skipped if it is complete and nothing it depends on has changed; otherwise it runs, or goes on where
it stopped. After an interruption of any kind, at any moment, the same request ends in the same records.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from solon import __version__
from solon.constitution import SHIPPED, Constitution, check_constitution, load_constitution, load_run_constitution
from solon.errors import ConfigError, RecordError, RunError
from solon.evaluation import Grader, PairGrader
from solon.lm import Journal, describe_lost_calls
from solon.pipeline.config import RunConfig, build_config
from solon.pipeline.engine import Engine, LocalEngine, limit_threads
from solon.pipeline.folder import claim_folder, load_header, refuse_strangers
from solon.pipeline.observer import Observer, Silence
from solon.pipeline.overrides import flatten, merge, validate
from solon.pipeline.preflight import refuse_idle_stages, refuse_paired_revisions, refuse_unserved_prompts
from solon.pipeline.prompt_pools import RunPrompts, draw_prompts
from solon.pipeline.results import build_results, save_results
from solon.pipeline.stage import Account, Outcome, load_manifest, path_digest, used_by
from solon.pipeline.stages import STAGES, Stage
from solon.pipeline.task import Task, find_checkpoint, load_task, source_of
from solon.pipeline.usage import Meter, Usage
from solon.pipeline.waiting import call_without_loop
from solon.pipeline.workbench import Workbench
from solon.prompting import templates_digest
from solon.records import (
    GIVEN,
    Manifest,
    Measures,
    Origin,
    RunHeader,
    RunPaths,
    content_digest,
    file_digest,
    hold_to_accounts,
    replace_file,
)
from solon.report import load_run_results, write_report

REPORT_STAGE = "report"


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        folder: where everything is.
        results: the content of `results.json`.
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
    engine: Engine | None = None,
    grader: Grader | PairGrader | None = None,
    grader_source: str = GIVEN,
    meter: Meter | None = None,
) -> RunResult:
    """Run the whole method, or resume the run in `out`.

    Args:
        out: the run's folder: new, empty, or that of the same run.
        task: what is asked and how it is judged: a task, the name of one, or a YAML file; None is the default task.
        constitution: what governs the run, or where to load it from.
        preset: one of the task's presets; None is its first, or the core's own values where it has none.
        seed: seed of every draw; None is the preset's.
        overrides: fields set over the preset, nested, e.g. `{"ppo": {"kl_coef": 0.1}}`.
        observer: told how it goes.
        engine: opens and trains models; torch on this machine by default.
        grader: grades the answers in place of the task's own; its attribute `measures`, if it has one, says what is
            reported, and otherwise every value that it gives is.
        grader_source: how `solon run --grader` finds the grader again, as `MODULE:CLASS`, for the report's command.
        meter: measures what the run uses; begins now by default.

    Raises:
        ConfigError: the task, the preset or a field is wrong, or a training prompt is an evaluation prompt.
        ConstitutionError: the constitution is wrong.
        RunError: `out` cannot be this run's folder, or a stage failed.
        ModelError: a checkpoint cannot be used.
        MissingExtraError: torch or transformers is not installed.
    """
    request = _Request(
        root=Path(out),
        task=task if isinstance(task, Task) else load_task(task),
        constitution=constitution,
        preset=preset,
        settings=dict(overrides or {}) if seed is None else merge(overrides or {}, {"seed": seed}),
        grader=grader,
        grader_source="" if grader is None else grader_source,
    )
    meter = meter or Meter()
    return call_without_loop(lambda: _run(request, observer or Silence(), engine, meter))


@dataclass(frozen=True)
class _Request:
    """What a run was asked for."""

    root: Path
    task: Task
    constitution: Constitution | str | Path
    preset: str | None
    settings: Mapping[str, Any]
    grader: Grader | PairGrader | None
    grader_source: str


def _run(request: _Request, observer: Observer, engine: Engine | None, meter: Meter) -> RunResult:
    constitution, root, task = request.constitution, request.root, request.task
    for name, instead in (("constitution", "--constitution"), ("preset", "--preset")):
        if name in request.settings:
            raise ConfigError(f"{name} cannot be set over a preset: give it with {instead}")
    config = build_config(request.preset, merge(request.settings, {"constitution": _source_of(constitution)}), task)
    law = constitution if isinstance(constitution, Constitution) else load_constitution(constitution)
    prompts = _regrade(draw_prompts(task, config, law), request.grader)
    refuse_idle_stages(prompts, config)
    refuse_paired_revisions(prompts)
    refuse_unserved_prompts(prompts, law, law.name if config.constitution == GIVEN else config.constitution)
    refuse_strangers(root)
    with ExitStack() as stack:
        if engine is None:
            engine = LocalEngine()
            stack.enter_context(limit_threads(config.threads))
        checkpoints = {role: find_checkpoint(task, name) for role, name in _name_models(config).items()}
        header = _header(request, config, law, checkpoints, engine)
        paths = stack.enter_context(claim_folder(root, header))
        for notice in header.notices:
            observer.notice(notice)
        whole = _WholeRun(paths, config.seed, meter)
        whole.keep(header, law, observer)
        journal = stack.enter_context(Journal(paths.journal))
        for notice in journal.notices:
            observer.notice(notice)
        if (lost := describe_lost_calls(paths)) is not None:
            observer.notice(f"{paths.root}: {lost}")
        pipeline = _Pipeline(
            task=task,
            config=config,
            constitution=law,
            prompts=prompts,
            grader_source=request.grader_source,
            paths=paths,
            checkpoints=checkpoints,
            engine=engine,
            journal=journal,
            observer=observer,
            whole=whole,
        )
        manifests = {stage.name: pipeline.run_stage(stage) for stage in STAGES}
        results = pipeline.report(manifests)
    return RunResult(folder=root, results=results, config=config)


def _is_kept(paths: RunPaths, header: RunHeader) -> bool:
    """Say whether the constitution of the header is the one in the folder."""
    try:
        load_run_constitution(paths, header)
    except RecordError:
        return False
    return True


def _source_of(constitution: Constitution | str | Path) -> str:
    """Return where a constitution can be had again: the file, the name of a shipped one, or `GIVEN`."""
    if not isinstance(constitution, Constitution):
        return str(constitution)
    return next((name for name in SHIPPED if load_constitution(name).digest == constitution.digest), GIVEN)


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
        hold_to_accounts(paths, paths.header.name)
        results = load_run_results(paths)
    except (ConfigError, RecordError) as error:
        raise RunError(str(error)) from error
    return RunResult(folder=root, results=results, config=config)


def _regrade(prompts: RunPrompts, grader: Grader | PairGrader | None) -> RunPrompts:
    """Put a grader in the place of the task's own, with the measures that it declares."""
    if grader is None:
        return prompts
    measures = getattr(grader, "measures", Measures())
    return replace(prompts, evaluations=[replace(e, grader=grader, measures=measures) for e in prompts.evaluations])


def _name_models(config: RunConfig) -> dict[str, str]:
    """Return role to checkpoint as it was named; the base has every role that is given to no other model."""
    base = str(config.base_model)
    return {"base": base, "critic": config.critic_model or base, "feedback": config.feedback_model or base}


def _header(
    request: _Request,
    config: RunConfig,
    law: Constitution,
    checkpoints: Mapping[str, Path],
    engine: Engine,
) -> RunHeader:
    task, names = request.task, _name_models(config)
    models = {role: Origin(source=names[role], digest=engine.weights_digest(checkpoints[role])) for role in names}
    notices = (
        *engine.check_trainable(checkpoints["base"]),
        *check_constitution(law).notes,
        *task.notices(law, names),
    )
    return RunHeader(
        code_version=__version__,
        config=config.model_dump(mode="json"),
        task=Origin(source=source_of(task), name=task.name, digest=task.identity),
        constitution=Origin(source=config.constitution, name=law.name, digest=law.digest),
        models=models,
        overrides={name: value for name, value in flatten(request.settings) if name != "seed"},
        notices=notices,
    )


class _Pipeline:
    """Runs the stages of one run, one after the other."""

    def __init__(
        self,
        *,
        task: Task,
        config: RunConfig,
        constitution: Constitution,
        prompts: RunPrompts,
        grader_source: str,
        paths: RunPaths,
        checkpoints: Mapping[str, Path],
        engine: Engine,
        journal: Journal,
        observer: Observer,
        whole: "_WholeRun",
    ) -> None:
        self._task = task
        self._config = config
        self._prompts = prompts
        self._grader_source = grader_source
        self._constitution = constitution
        self._paths = paths
        self._given = checkpoints
        self._checkpoints = {**checkpoints, "sl-cai": paths.model("sl-cai"), "rl-cai": paths.model("rl-cai")}
        self._engine = engine
        self._journal = journal
        self._observer = observer
        self._whole = whole

    def run_stage(self, stage: Stage) -> Manifest:
        """Run a stage, or skip it; return its account."""
        account = Account(
            self._paths,
            stage.name,
            config=stage.settings(self._config),
            seed=self._config.seed,
            inputs={"task": self._task.identity, **{name: self._digest(name) for name in stage.reads}},
            beat=self._whole.renew,
        )
        done = account.is_complete()
        if done is not None:
            self._observer.stage_finished(done, skipped=True)
            return done
        self._observer.stage_started(stage.name)
        if not account.continues:
            self._forget_checkpoints(stage)
        account.open()
        with Workbench(
            stage=stage.name,
            config=self._config,
            constitution=self._constitution,
            paths=self._paths,
            checkpoints=self._checkpoints,
            engine=self._engine,
            prompts=self._prompts,
            example=self._task.example(),
            journal=self._journal,
            observer=self._observer,
            account=account,
        ) as bench:
            manifest = account.close(stage.work(bench))
        self._whole.renew()
        self._observer.stage_finished(manifest, skipped=False)
        return manifest

    def report(self, manifests: Mapping[str, Manifest]) -> dict[str, Any]:
        """Write results and report, unless they are there and nothing has changed; return the results."""
        inputs = {name: path_digest(self._paths.manifest(name)) for name in manifests}
        asked_with = {"grader_source": self._grader_source}  # stands in the report's command
        account = Account(self._paths, REPORT_STAGE, config=asked_with, seed=self._config.seed, inputs=inputs)
        done = account.is_complete()
        if done is not None:
            self._observer.stage_finished(done, skipped=True)
            return load_run_results(self._paths)
        self._observer.stage_started(REPORT_STAGE)
        account.open()
        results = build_results(
            self._paths,
            config=self._config,
            task=self._task,
            constitution=self._constitution,
            evaluations=self._prompts.evaluations,
            grader_source=self._grader_source,
            manifests=manifests,
            used=self._whole.renew(),
        )
        save_results(self._paths.results, results)
        report = write_report(self._paths.root)
        manifest = account.close(Outcome((self._paths.results, report)))
        self._whole.renew(finished=True)
        self._observer.stage_finished(manifest, skipped=False)
        return results

    def _digest(self, name: str) -> str:
        match name:
            case "constitution":
                return self._constitution.digest
            case "templates":
                return templates_digest()
            case "graders":
                graders = [[e.name, e.grader.identity, e.measures.to_json()] for e in self._prompts.evaluations]
                return content_digest(graders)
            case "base" | "critic" | "feedback":
                return self._engine.weights_digest(self._given[name])
            case "sl-cai" | "rl-cai" | "preference-model":
                return path_digest(self._paths.model(name))
            case _:
                return path_digest(self._paths.root / f"{name}.jsonl")

    def _forget_checkpoints(self, stage: Stage) -> None:
        """Remove what an attempt at other inputs left to go on from; its finished result stays until replaced."""
        model = {"sft": "sl-cai", "preference-model": "preference-model", "ppo": "rl-cai"}.get(stage.name)
        if model is not None:
            for file in (self._paths.model(model) / ".checkpoint").glob("*"):
                file.unlink()


class _WholeRun:
    """The account of the run as a whole: its own two files, and time over all attempts, killed ones too."""

    def __init__(self, paths: RunPaths, seed: int, meter: Meter) -> None:
        self._paths = paths
        self._path = paths.manifest("run")
        self._account = load_manifest(self._path)
        self._before = used_by(self._account)
        self._outputs = dict(self._account.outputs) if self._account else {}
        self._seed = seed
        self._meter = meter

    def keep(self, header: RunHeader, constitution: Constitution, observer: Observer) -> None:
        """Keep the header, which is there, and the constitution; what has changed is made again, and that said."""
        paths = self._paths
        if self._is_changed(paths.header):
            observer.notice(f"{paths.header}: was not as the run wrote it: it is made again")
            header.save(paths.header)
        missing = not paths.constitution.is_file()
        if missing or self._is_changed(paths.constitution) or not _is_kept(paths, header):
            with replace_file(paths.constitution) as temporary:
                temporary.write_text(constitution.to_json() + "\n", encoding="utf-8")
            if self._account is not None or not missing:  # a run that begins has none yet
                why = "was missing" if missing else "was not the constitution of this run"
                observer.notice(f"{paths.constitution}: {why}: it is made again")
        kept = {path.name: file_digest(path) for path in (paths.header, paths.constitution)}
        if self._account is not None and self._account.outputs != kept:
            self._account.model_copy(update={"outputs": kept}).save(self._path)
        self._outputs = kept

    def _is_changed(self, file: Path) -> bool:
        return self._outputs.get(file.name, file_digest(file)) != file_digest(file)

    def renew(self, *, finished: bool = False) -> Usage:
        """Bring the account on disk up to date and return what the run has used so far."""
        used = self._meter.read().plus(self._before)
        manifest = Manifest(
            stage="run",
            status="complete" if finished else "started",
            config={},
            seed=self._seed,
            inputs={},
            outputs=self._outputs,
            code_version=__version__,
            metrics={"peak_rss_mb": round(used.peak_rss_mb, 1)},
            seconds=round(used.seconds, 3),
            cpu_seconds=round(used.cpu_seconds, 3),
        )
        manifest.save(self._path)
        return used
