"""A whole run: from a constitution to results and a report. Run it again to resume it.

Each stage is skipped if it is complete and nothing it depends on has changed; otherwise it runs, or goes on where
it stopped. After an interruption of any kind, at any moment, the same request ends in the same records.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from solon import __version__
from solon.constitution import Constitution, load_run_constitution
from solon.errors import ConfigError, RecordError, RunError, StageFailedError
from solon.evaluation import Grader, PairGrader
from solon.lm import Journal, describe_lost_calls
from solon.pipeline.artifacts import Checkpoint
from solon.pipeline.config import RunConfig
from solon.pipeline.context import StageContext
from solon.pipeline.folder import check_run_folder, claim_folder, compare_headers, load_header
from solon.pipeline.graph import Graph, Stage
from solon.pipeline.limits import describe_growth, stages_under
from solon.pipeline.models import limit_threads
from solon.pipeline.observer import NullObserver, Observer
from solon.pipeline.overrides import Difference, merge, validate
from solon.pipeline.plan import RunPlan, build_plan, resolve_config
from solon.pipeline.results import build_results, describe_plan, save_results
from solon.pipeline.stage import ManifestWriter, Outcome, load_manifest, used_by
from solon.pipeline.stages.method import CONSTITUTIONAL_AI, choose_alone, choose_part
from solon.pipeline.stopping import describe_stop, save_stopped
from solon.pipeline.task import Task, load_task
from solon.pipeline.usage import Meter, Usage
from solon.pipeline.waiting import run_blocking
from solon.records import GIVEN, Manifest, RunHeader, RunPaths, hold_to_accounts
from solon.report import load_run_results, write_report
from solon.storage import file_digest, path_digest, replace_file

REPORT_STAGE = "report"

_ALL_STAGES = choose_part(None).stages


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
        grader: grades the answers in place of the task's own; its attribute `measures`, if it has one, says what is
            reported, and otherwise every value that it gives is.
        grader_source: how `solon run --grader` finds the grader again, as `MODULE:CLASS`, for the report's command.
        method: the stages, up to the last model; the evaluation of the models that they make follows by itself.
        until: end with this stage, or with the stage that writes this artifact; the models made so far are evaluated.
        only: do this one stage of the run in `out`, and no report.
        old: the folder of another run, whose calls are not made again but copied.
        accept_code: keep stages that other sources of this package made; without it they are made again.
        meter: measures what the run uses; begins now by default.

    Raises:
        ConfigError: the task, the preset or a field is wrong, or a training prompt is an evaluation prompt.
        ConstitutionError: the constitution is wrong.
        RunError: `out` cannot be this run's folder, or a stage failed.
        ModelError: a checkpoint cannot be used.
        MissingExtraError: torch or transformers is not installed.
    """
    graph = choose_part(until, method)
    alone = None if only is None else choose_alone(only, until, method)
    settings = dict(overrides or {}) if seed is None else merge(overrides or {}, {"seed": seed})
    found = task if isinstance(task, Task) else load_task(task)
    meter = meter or Meter()
    observer = observer or NullObserver()

    def work() -> RunResult:
        check_run_folder(Path(out))
        if alone is not None:
            load_header(Path(out))  # one stage is of a run that there is
        journals = _journals_of(old)
        with ExitStack() as stack:
            config = resolve_config(found, constitution, preset, settings)
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
            )
            paths = stack.enter_context(claim_folder(Path(out), plan.header))
            runner = _Runner(plan, paths, observer, meter, accept_code=accept_code)
            if alone is not None:
                runner.refuse_unmade(alone)
            runner.begin(stack, journals)
            if alone is not None:
                runner.run_stage(alone)
                return RunResult(paths.root, {}, plan.config)
            manifests = {stage.name: runner.run_stage(stage) for stage in plan.graph}
            return RunResult(paths.root, runner.report(manifests), plan.config)

    return run_blocking(work)


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


class _Runner:
    """Runs the stages of one run, one after the other."""

    def __init__(
        self,
        plan: RunPlan,
        paths: RunPaths,
        observer: Observer,
        meter: Meter,
        *,
        accept_code: bool,
    ) -> None:
        self._accept_code = accept_code
        self._plan = plan
        self._paths = paths
        self._observer = observer
        self._whole = _RunManifest(paths, plan.config.seed, meter)

    def begin(self, stack: ExitStack, journals: Sequence[Path]) -> None:
        """Say what is to be said, bring the run's own files up to date and open its journal."""
        plan, paths, observer = self._plan, self._paths, self._observer
        for notice in plan.header.notices:
            observer.notice(notice)
        old = load_header(paths.root)
        grown = compare_headers(old, plan.header)  # limits alone: with any other difference the folder was refused
        for growth in grown:
            observer.notice(describe_growth(growth, _ALL_STAGES))
            _reopen(growth, paths)
        self._whole.keep(plan.header, plan.constitution, observer, before=old if grown else None)
        self._journal = stack.enter_context(Journal(paths.journal, also_read=journals))
        for notice in self._journal.notices:
            observer.notice(notice)
        if (lost := describe_lost_calls(paths)) is not None:
            observer.notice(f"{paths.root}: {lost}")

    def run_stage(self, stage: Stage) -> Manifest:
        """Run a stage, or skip it; return its account."""
        plan, paths = self._plan, self._paths
        code = self._code_of(stage)
        if code != self._made_by(stage):
            self._observer.notice(
                f"stage {stage.name}: was made by other sources of solon and is made again; calls that the journal "
                "holds are not asked again; --accept-code keeps it as it is"
            )
        account = self._account_of(stage, code)
        done = account.is_complete()
        if done is not None:
            self._observer.stage_finished(done, skipped=True)
            return done
        self._observer.stage_started(stage.name)
        if not account.continues:
            _forget(stage, paths)
        account.open()
        with StageContext(
            stage, plan, paths=paths, journal=self._journal, observer=self._observer, account=account
        ) as context:
            try:
                outcome = stage.work(context)
            except StageFailedError as error:
                save_stopped(stage, context.collected, paths)
                said = describe_stop(error, stage, context.collected, plan.config, paths)
                raise StageFailedError(said, failures=error.failures) from error
            outputs = tuple(output.path(paths) for output in stage.writes)
            manifest = account.close(replace(outcome, outputs=outputs, **context.calls))
        self._whole.renew()
        self._observer.stage_finished(manifest, skipped=False)
        return manifest

    def _account_of(self, stage: Stage, code: str) -> ManifestWriter:
        plan, paths = self._plan, self._paths
        given = {"task": plan.task.identity, "code": code}
        return ManifestWriter(
            paths,
            stage.name,
            config=plan.config.model_dump(mode="json", include=set(stage.settings)),
            seed=plan.config.seed,
            inputs={**given, **{item.key: plan.digest(item, paths) for item in stage.reads}},
            beat=self._whole.renew,
        )

    def _made_by(self, stage: Stage) -> str:
        """Return the digest of the sources that made a stage, or of its own where it is not complete."""
        before = load_manifest(self._paths.manifest(stage.name))
        if before is None or before.status != "complete":
            return stage.code_digest
        return before.inputs.get("code", stage.code_digest)

    def _code_of(self, stage: Stage) -> str:
        """Return the digest of the sources of a stage, or of those that made it, where they are accepted."""
        return self._made_by(stage) if self._accept_code else stage.code_digest

    def refuse_unmade(self, stage: Stage) -> None:
        """Make sure that the inputs of a stage which is to run alone are there, as their stages write them.

        Raises:
            RunError: a stage that writes an input is not complete, or what it read, wrote or ran on has changed since.
        """
        for maker in self._plan.graph:
            needed = [item for item in maker.writes if item in stage.reads]
            if needed and self._account_of(maker, self._code_of(maker)).is_complete() is None:
                raise RunError(
                    f"--only {stage.name}: {needed[0].path(self._paths)} is not as stage {maker.name} writes it: run "
                    f"that first (--only {maker.name}), or the whole run without --only"
                )

    def report(self, manifests: Mapping[str, Manifest]) -> dict[str, Any]:
        """Write results and report, unless they are there and nothing has changed; return the results."""
        plan, paths = self._plan, self._paths
        inputs = {name: path_digest(paths.manifest(name)) for name in manifests}
        account = ManifestWriter(paths, REPORT_STAGE, config=describe_plan(plan), seed=plan.config.seed, inputs=inputs)
        done = account.is_complete()
        if done is not None:
            self._observer.stage_finished(done, skipped=True)
            return load_run_results(paths)
        self._observer.stage_started(REPORT_STAGE)
        account.open()
        results = build_results(plan, paths, manifests=manifests, used=self._whole.renew())
        save_results(paths.results, results)
        report = write_report(paths.root)
        manifest = account.close(Outcome((paths.results, report)))
        self._whole.renew(finished=True)
        self._observer.stage_finished(manifest, skipped=False)
        return results


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


def _forget(stage: Stage, paths: RunPaths) -> None:
    """Remove what an attempt at other inputs left to go on from; its finished result stays until replaced."""
    for output in stage.writes:
        if isinstance(output, Checkpoint):
            for file in (output.path(paths) / ".checkpoint").glob("*"):
                file.unlink()


def _reopen(growth: Difference, paths: RunPaths) -> None:
    """Set the accounts of the stages under a limit that grows back to `started`: what they made is of the old limit."""
    for stage in stages_under(growth.field, _ALL_STAGES):
        manifest = load_manifest(paths.manifest(stage.name))
        if manifest is not None:
            manifest.model_copy(update={"status": "started", "outputs": {}}).save(paths.manifest(stage.name))


def _is_kept(paths: RunPaths, header: RunHeader) -> bool:
    """Say whether the constitution of the header is the one in the folder."""
    try:
        load_run_constitution(paths, header)
    except RecordError:
        return False
    return True


class _RunManifest:
    """The account of the run as a whole: its own two files, and time over all attempts, killed ones too."""

    def __init__(self, paths: RunPaths, seed: int, meter: Meter) -> None:
        self._paths = paths
        self._path = paths.manifest("run")
        self._account = load_manifest(self._path)
        self._before = used_by(self._account)
        self._outputs = dict(self._account.outputs) if self._account else {}
        self._seed = seed
        self._meter = meter

    def keep(
        self, header: RunHeader, constitution: Constitution, observer: Observer, *, before: RunHeader | None
    ) -> None:
        """Keep the header, which is there, and the constitution; what has changed is made again, and that said.

        Args:
            header: what the run is asked for.
            constitution: what governs it.
            observer: told what has changed.
            before: the header that is there, if it is to be replaced, as where a limit grows.
        """
        paths = self._paths
        if self._is_changed(paths.header):
            observer.notice(f"{paths.header}: was not as the run wrote it: it is made again")
            header.save(paths.header)
        elif before is not None:
            self._forget_header()
            header.model_copy(update={"code_version": before.code_version}).save(paths.header)
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

    def _forget_header(self) -> None:
        """Hold the header to nothing until it is replaced, so that a kill in between leaves none that seems edited."""
        if self._account is not None:
            outputs = {name: digest for name, digest in self._outputs.items() if name != self._paths.header.name}
            self._account = self._account.model_copy(update={"outputs": outputs})
            self._account.save(self._path)

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
