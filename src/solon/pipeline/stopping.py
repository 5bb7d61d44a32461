"""What a stage that stops leaves behind: the records it has and its failures, and an error that says what to do.

Its manifest stays at `started`, so the next attempt does the stage again, from the journal, and replaces these files.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from solon.errors import StageFailedError
from solon.pipeline.artifacts import Records
from solon.pipeline.config import RunConfig
from solon.pipeline.graph import Stage
from solon.pipeline.limits import LIMITS
from solon.records import Failure, FilteredRevision, PreferenceLabel, RevisionChain, RunPaths


def save_stopped(stage: Stage, records: Sequence[Any], paths: RunPaths) -> None:
    """Write what a stage has into its record files: each kind into the first file of it, every other file empty.

    Args:
        stage: the stage that stopped.
        records: what came of its items so far, failures among them.
        paths: the run's folder.
    """
    left = [*(record for record in records if not isinstance(record, Failure)), *_failures_in(records)]
    kinds: set[type] = set()
    for output in stage.writes:
        if isinstance(output, Records):
            output.save(paths, [record for record in left if type(record) is output.kind and output.kind not in kinds])
            kinds.add(output.kind)


def describe_stop(
    error: StageFailedError, stage: Stage, records: Sequence[Any], config: RunConfig, paths: RunPaths
) -> str:
    """Say why a stage stopped, which setting would help, and where its failures can be read.

    Args:
        error: what stopped it.
        stage: the stage.
        records: what came of its items so far, failures among them.
        config: the run's configuration.
        paths: the run's folder.
    """
    counted = Counter(failure.reason for failure in error.failures) or Counter(_reasons_in(records))
    if not counted:
        return str(error)
    reason = max(sorted(counted), key=lambda name: counted[name])
    parts = [str(error), f"{counted[reason]} of {counted.total()} failures on record are {reason}"]
    remedy = stage.remedies.get(reason, "raise max_failure_fraction" if error.failures else "")
    if remedy:
        parts[-1] += f": {_describe_remedy(remedy, config, paths)}"
    if reason == "call_failed":
        parts.append("the same command again asks again for what failed")
    filtered = any(isinstance(record, FilteredRevision) for record in error.failures)
    kinds = (FilteredRevision,) if filtered else (Failure, PreferenceLabel)
    files = [output.path(paths) for output in stage.writes if isinstance(output, Records) and output.kind in kinds]
    return "; ".join([*parts, *(f"they can be read in {file}" for file in files)])


def _describe_remedy(remedy: str, config: RunConfig, paths: RunPaths) -> str:
    """Say what to do to a field, what it is now, and in which folder the run may be asked for with another value."""
    field = remedy.split()[-1]
    now: Any = config
    for part in field.split("."):
        now = getattr(now, part)
    where = "in this folder" if field in LIMITS else f"in a new folder with --from {paths.root}"
    return f"{remedy} (now {', '.join(now) if isinstance(now, tuple) else now}) {where}"


def _failures_in(records: Sequence[Any]) -> Iterator[Failure]:
    """Yield failures, and those that a chain survived."""
    for record in records:
        failure = record.failure if isinstance(record, RevisionChain) else record
        if isinstance(failure, Failure):
            yield failure


def _reasons_in(records: Sequence[Any]) -> Iterator[str]:
    yield from (failure.reason for failure in _failures_in(records))
    yield from (record.reason for record in records if isinstance(record, PreferenceLabel) and record.reason)
