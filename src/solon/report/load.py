"""Reads a run folder for its report, and nothing else: a report can be made again years later, without torch."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from solon.constitution import Constitution, load_run_constitution
from solon.errors import RecordError, RunError
from solon.lm import describe_lost_calls
from solon.messages import describe_misfit
from solon.records import (
    BASE,
    MADE_AGAIN,
    RESULTS_SCHEMA,
    EvalPrompt,
    EvalRecord,
    FilteredRevision,
    Manifest,
    PreferenceLabel,
    Results,
    RevisionChain,
    RunHeader,
    RunPaths,
    hold_to_manifests,
    load_records,
)
from solon.report.work import Work, count_work, read_stage
from solon.storage import file_digest, read_object, read_text

Row = Mapping[str, float]


@dataclass(frozen=True)
class Example:
    """The example that the report follows turn by turn.

    Attributes:
        draws: answers of the base to the one prompt, in order; a call that failed brought none.
        chain: critiques and revisions of the draw that was revised; None where none was.
        finals: one answer of each trained model to the same prompt.
    """

    draws: Sequence[EvalRecord]
    chain: RevisionChain | None
    finals: Sequence[EvalRecord]


@dataclass(frozen=True)
class RunData:
    """Everything a report shows.

    Attributes:
        folder: name of the run folder.
        header: what was asked for.
        results: `results.json`.
        constitution: what the run was governed by.
        draws: principle id to how often it was drawn for a critique, and for a comparison.
        filtered: each filter that was set to the revisions that it kept from being learnt.
        manifests: the manifests of the stages, in order.
        curves: name of a metrics file to its rows.
        example: the example turn by turn, where the base answered it at all.
        lost_calls: what the journal lacks, for people; None where nothing.
        asked: the prompts of the evaluations.
        answers: the answers to them that were kept.
        work: what was done, in counts.
    """

    folder: str
    header: RunHeader
    results: Mapping[str, Any]
    constitution: Constitution
    draws: Mapping[str, tuple[int, int]]
    filtered: Mapping[str, Sequence[FilteredRevision]]
    manifests: Sequence[Manifest]
    curves: Mapping[str, Sequence[Row]]
    example: Example | None
    lost_calls: str | None
    asked: Sequence[EvalPrompt]
    answers: Sequence[EvalRecord]
    work: Work


def load_run_data(root: Path) -> RunData:
    """Read a finished run.

    Raises:
        RunError: the folder is no run, the run is not finished, or a file of it cannot be read.
    """
    paths = RunPaths(root)
    if not paths.header.is_file():
        raise RunError(f"{root}: is not the folder of a run (it holds no run.yaml)")
    if not paths.results.is_file():
        raise RunError(f"{root}: this run is not finished (it holds no results.json): resume it with  solon run")
    try:
        header = RunHeader.load(paths.header)
        constitution = load_run_constitution(paths, header)
        results = load_run_results(paths)
        hold_to_manifests(paths, paths.header.name, paths.constitution.name, "records/", "metrics/")
        stages = results["stages"]
        manifests = [Manifest.load(paths.manifest(stage)) for stage in stages]
        answers = read_stage(paths, stages, "evaluation", "evaluation", EvalRecord)
        return RunData(
            folder=root.resolve().name,
            header=header,
            results=results,
            constitution=constitution,
            draws=_count_draws(paths, stages),
            filtered=_load_filtered(paths, header, stages),
            manifests=manifests,
            curves=_load_curves(paths),
            example=_load_example(paths, constitution),
            lost_calls=describe_lost_calls(paths),
            asked=read_stage(paths, stages, "evaluation", "prompts_evaluation", EvalPrompt),
            answers=answers,
            work=count_work(paths, stages, answers),
        )
    except RecordError as error:
        raise RunError(f"{root}: this run cannot be reported on: {error}") from error


def load_run_results(paths: RunPaths) -> dict[str, Any]:
    """Read the `results.json` of a run.

    Raises:
        RecordError: it or a manifest cannot be read, is of another version, lacks something, or is not as the run wrote
            it; or a stage was done again after it. The file is named.
    """
    path = paths.results
    results = _read_results(path)
    hold_to_manifests(paths, path.name)
    manifest = paths.manifest("report")
    for stage, digest in Manifest.load(manifest).inputs.items() if manifest.is_file() else ():
        if not paths.manifest(stage).is_file() or file_digest(paths.manifest(stage)) != digest:
            raise RecordError(
                f"{paths.manifest(stage)}: is not the manifest that {path.name} was made from: give the run's command "
                "again, which goes on from there"
            )
    return results


def _read_results(path: Path) -> dict[str, Any]:
    try:
        text = read_text(path)
        results = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: is not JSON ({error}): {MADE_AGAIN}") from error
    schema = results.get("schema") if isinstance(results, dict) else None
    if schema != RESULTS_SCHEMA:
        raise RecordError(
            f"{path}: schema {schema!r}, this version reads {RESULTS_SCHEMA}: "
            f"read it with a version of solon that reads schema {schema!r}; run.yaml names its writer"
        )
    try:
        Results.model_validate_json(text, strict=True)  # strict, but a list of JSON may be a tuple
    except ValidationError as error:
        raise RecordError(f"{path}: {describe_misfit(error)}: {MADE_AGAIN}") from error
    return dict(results)


def _count_draws(paths: RunPaths, stages: Collection[str]) -> dict[str, tuple[int, int]]:
    """Count what the stages drew of this run; files of a stage that is not of it are of an earlier one."""
    critiques: Counter[str] = Counter()
    comparisons: Counter[str] = Counter()
    if "revision" in stages:
        for chain in load_records(paths.records("revision_chains"), RevisionChain):
            critiques.update(step.principle_id for step in chain.steps)
    if "feedback" in stages:
        for label in load_records(paths.records("preference_labels"), PreferenceLabel):
            comparisons.update({vote.principle_id for vote in label.readings})
    return {name: (critiques[name], comparisons[name]) for name in critiques | comparisons}


def _load_filtered(paths: RunPaths, header: RunHeader, stages: Collection[str]) -> dict[str, list[FilteredRevision]]:
    """Group what was filtered by its filter; a run of a version that had no filters has no file of it."""
    path = paths.records("filtered_revisions")
    if "revision" not in stages or not path.is_file():
        return {}
    names = header.config.get("revision", {}).get("filters", ())
    found: dict[str, list[FilteredRevision]] = {name: [] for name in names}
    for revision in load_records(path, FilteredRevision):
        found.setdefault(revision.filter, []).append(revision)
    return found


def _load_curves(paths: RunPaths) -> dict[str, list[Row]]:
    curves: dict[str, list[Row]] = {}
    for file in sorted((paths.root / "metrics").glob("*.jsonl")):
        lines = enumerate(read_text(file).split("\n"), 1)
        curves[file.stem] = [_row(line, f"{file}:{number}") for number, line in lines if line]
    return curves


def _row(line: str, where: str) -> Row:
    row = read_object(line, where=where)
    try:
        return {key: float(value) for key, value in row.items() if isinstance(value, int | float)}
    except OverflowError as error:
        raise RecordError(f"{where}: holds a number that is too large") from error


def _load_example(paths: RunPaths, constitution: Constitution) -> Example | None:
    if not paths.records("example").is_file():
        return None
    records = load_records(paths.records("example"), EvalRecord)
    chains = load_records(paths.records("example_chain"), RevisionChain)
    draws = [r for r in records if r.model_name == BASE]
    if not draws:
        return None
    known = {principle.id for principle in constitution.principles}
    for step in (step for chain in chains for step in chain.steps):
        if step.principle_id not in known:
            raise RecordError(f"{paths.records('example_chain')}: principle '{step.principle_id}' is not of this run")
    finals = [r for r in records if r.model_name != BASE]
    return Example(draws=draws, chain=chains[0] if chains else None, finals=finals)
