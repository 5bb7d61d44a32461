"""Runs the stages of one run, one after the other, and writes its results and report.

Each stage is skipped if it is complete and nothing it depends on has changed; otherwise it runs, or goes on where
it stopped.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from solon.errors import LimitReachedError, RunError, StageFailedError
from solon.lm import Caps, Journal, Spending, describe_lost_calls, read_uses
from solon.messages import count_of
from solon.pipeline.artifacts import ASSISTANT, Checkpoint
from solon.pipeline.context import StageContext
from solon.pipeline.estimate import estimate_run
from solon.pipeline.folder import compare_headers, load_header
from solon.pipeline.graph import Graph, Stage
from solon.pipeline.limits import describe_growth, stages_under
from solon.pipeline.manifests import ManifestWriter, Outcome, load_manifest
from solon.pipeline.observer import Observer
from solon.pipeline.own_files import keep_own_files
from solon.pipeline.plan import RunPlan
from solon.pipeline.results import build_results, describe_plan, save_results
from solon.pipeline.stages.comparisons import describe_stand_in
from solon.pipeline.stopping import describe_stop, save_stopped
from solon.pipeline.usage import Meter
from solon.records import Manifest, RunHeader, RunPaths
from solon.report import load_run_results, write_report
from solon.storage import path_digest, replace_file

REPORT_STAGE = "report"


class Runner:
    """One run whose folder is claimed.

    Args:
        plan: what the run is.
        paths: its folder.
        observer: learns how it goes.
        meter: measures what the run uses.
        method: every stage of the run's method, those after its end too: what they made under a limit that grows is of
            the old one.
        accept_code: keep stages that other sources of this package made.
        caps: what the run may spend.
    """

    def __init__(
        self,
        plan: RunPlan,
        paths: RunPaths,
        observer: Observer,
        meter: Meter,
        *,
        method: Graph,
        accept_code: bool = False,
        caps: Caps | None = None,
    ) -> None:
        self._plan = plan
        self._paths = paths
        self._observer = observer
        self._stages = method.stages
        self._accept_code = accept_code
        self._caps = caps or Caps()
        self._meter = meter
        self._run_manifest = ManifestWriter(paths, "run", seed=plan.config.seed, meter=meter)

    def begin(self, stack: ExitStack, journals: Sequence[Path]) -> None:
        """Say what is to be said, bring the run's own files up to date and open its journal.

        Args:
            stack: closes the journal.
            journals: of other runs, which are asked after it.
        """
        plan, paths, observer = self._plan, self._paths, self._observer
        stand_in = describe_stand_in(plan.graph, plan.header.models[ASSISTANT.key].source)
        for notice in (*plan.header.notices, *stand_in):
            observer.notice(notice)
        old = load_header(paths.root)
        grown = compare_headers(old, plan.header)  # limits alone: with any other difference the folder was refused
        for growth in grown:
            observer.notice(describe_growth(growth, self._stages))
            _reopen(stages_under(growth.field, self._stages), paths)
        is_other = grown or _models(old) != _models(plan.header)
        keep_own_files(
            paths, plan.header, plan.constitution, self._run_manifest, observer, before=old if is_other else None
        )
        self._journal = stack.enter_context(Journal(paths.journal, also_read=journals))
        self._keep_estimate(journals)
        self._spending = self._open_account()
        for notice in self._journal.notices:
            observer.notice(notice)
        if (lost := describe_lost_calls(paths)) is not None:
            observer.notice(f"{paths.root}: {lost}")

    def run_stage(self, stage: Stage) -> Manifest:
        """Run a stage, or skip it; return its manifest.

        Raises:
            StageFailedError: too many of its items failed, or nothing came of them.
            LimitReachedError: what is left of it may not be spent.
        """
        plan, paths, observer = self._plan, self._paths, self._observer
        writer = self._writer_of(stage)
        if writer.is_of_other_code:
            observer.notice(
                f"stage {stage.name}: was made by other sources of solon and is made again; calls that the journal "
                "holds are not asked again; --accept-code keeps it as it is"
            )
        done = writer.is_complete()
        if done is not None:
            if writer.accepts_other_code:
                observer.notice(f"stage {stage.name}: was made by other sources of solon and is kept, by --accept-code")
            observer.stage_finished(done, skipped=True)
            return done
        observer.stage_started(stage.name)
        if not writer.continues:
            _forget(stage, paths)
        writer.save("started")
        with StageContext(
            stage, plan, paths, journal=self._journal, observer=observer, manifest=writer, spending=self._spending
        ) as context:
            try:
                outcome = stage.work(context)
            except StageFailedError as error:
                save_stopped(stage, context.collected, paths)
                said = describe_stop(error, stage, context.collected, plan.config, paths)
                raise StageFailedError(said, failures=error.failures) from error
            except LimitReachedError as error:
                writer.save("started")
                self._run_manifest.save("started")
                raise LimitReachedError(f"{stage.name}: {self._describe_limit(error)}") from error
            self._journal.flush()
            manifest = writer.close(outcome, [output.path(paths) for output in stage.writes], context.counter)
        self._run_manifest.save("started")
        observer.stage_finished(manifest, skipped=False)
        return manifest

    def _keep_estimate(self, journals: Sequence[Path]) -> None:
        """Keep what the run is expected to ask, once: at its first start."""
        if self._paths.plan.is_file():
            return
        plan, folders = self._plan, [self._paths.root, *(journal.parent for journal in journals)]
        estimate = estimate_run(
            plan.graph,
            plan.known,
            plan.models,
            task=plan.task.identity,
            prices=plan.prices,
            folders=folders,
            tokenizers=plan.tokenizers,
        )
        with replace_file(self._paths.plan) as temporary:
            temporary.write_text(estimate.to_json() + "\n", encoding="utf-8")

    def _open_account(self) -> Spending:
        """Return what this run has spent at earlier starts, under its limits."""
        uses, spent = read_uses(self._paths.journal), 0.0
        for use in uses:
            if (price := self._plan.price_of(use.role)) is not None:
                spent += price.counted(use.tries) + price.uncounted(use.tries)
        made = sum(use.made for use in uses)
        return Spending(self._caps, calls=made, cost=spent, read_hours=lambda: self._meter.read().seconds / 3600)

    def _describe_limit(self, reached: LimitReachedError) -> str:
        """Say which limit was reached, what was spent and how to go on."""
        option = str(reached).split()[0]
        spent = [f"{count_of(self._spending.calls, 'call')} made in all"]
        if self._plan.prices is not None:
            spent.append(f"{self._spending.cost:.4g} {self._plan.prices.currency} spent at most")
        spent.append(f"{self._meter.read().seconds / 3600:.2g} hours since this start")
        again = "the same command" if option == "--max-hours" else f"the same command with a higher {option}"
        return (
            f"stopped, as what comes next would pass {reached}: {', '.join(spent)}; what was done is kept, and {again} "
            "goes on"
        )

    def _writer_of(self, stage: Stage) -> ManifestWriter:
        plan, paths = self._plan, self._paths
        given = {"task": plan.task.identity, "code": stage.code_digest}
        return ManifestWriter(
            paths,
            stage.name,
            config=plan.config.model_dump(mode="json", include=set(stage.settings)),
            seed=plan.config.seed,
            inputs={**given, **{item.key: plan.digest(item, paths) for item in stage.reads}},
            accept_code=self._accept_code,
            on_renewal=lambda: self._run_manifest.save("started"),
        )

    def refuse_unmade(self, stage: Stage) -> None:
        """Make sure that the inputs of a stage which is to run alone are there, as their stages write them.

        Raises:
            RunError: a stage that writes an input is not complete, or what it read, wrote or ran on has changed since.
        """
        for maker in self._plan.graph:
            needed = [item for item in maker.writes if item in stage.reads]
            if needed and self._writer_of(maker).is_complete() is None:
                raise RunError(
                    f"--only {stage.name}: {needed[0].path(self._paths)} is not as stage {maker.name} writes it: run "
                    f"that first (--only {maker.name}), or the whole run without --only"
                )

    def report(self, manifests: Mapping[str, Manifest]) -> dict[str, Any]:
        """Write results and report, unless they are there and nothing has changed; return the results."""
        plan, paths, observer = self._plan, self._paths, self._observer
        inputs = {name: path_digest(paths.manifest(name)) for name in manifests}
        writer = ManifestWriter(paths, REPORT_STAGE, config=describe_plan(plan), seed=plan.config.seed, inputs=inputs)
        done = writer.is_complete()
        if done is not None:
            observer.stage_finished(done, skipped=True)
            return load_run_results(paths)
        observer.stage_started(REPORT_STAGE)
        writer.save("started")
        self._run_manifest.save("started")
        results = build_results(plan, paths, manifests=manifests, used=self._run_manifest.used)
        save_results(paths.results, results)
        manifest = writer.close(Outcome(), (paths.results, write_report(paths.root)))
        self._run_manifest.save("complete")
        observer.stage_finished(manifest, skipped=False)
        return results


def _forget(stage: Stage, paths: RunPaths) -> None:
    """Remove what an attempt at other inputs left to go on from; its finished result stays until replaced."""
    for output in stage.writes:
        if isinstance(output, Checkpoint):
            for file in (output.path(paths) / ".checkpoint").glob("*"):
                file.unlink()


def _models(header: RunHeader) -> object:
    """Return what a header says of models, where they lie and what they cost, which is to be as it was last seen."""
    return header.models, header.places, header.prices, header.config.get("prices")


def _reopen(stages: Sequence[Stage], paths: RunPaths) -> None:
    """Set the manifests of the stages under a limit that grows back to `started`: what they made is of the old one."""
    for stage in stages:
        manifest = load_manifest(paths.manifest(stage.name))
        if manifest is not None:
            manifest.model_copy(update={"status": "started", "outputs": {}}).save(paths.manifest(stage.name))
