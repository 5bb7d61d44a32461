"""The account that a stage leaves, and what stages have in common when they sum up.

The account (`manifest/<stage>.json`) says `started` before there is any data and `complete`, with the sha256 of
everything written, after all of it. A complete stage is skipped if its configuration, the digests of its inputs
and the digests of its outputs are what its account says; otherwise it runs again, and is itself responsible for
going on where it stopped (data stages replay the journal, training stages have checkpoints).

Time is summed over attempts. So that an attempt that is killed is counted too, the account on disk is renewed
every few seconds while the stage makes progress.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from solon import __version__
from solon.errors import RecordError, StageFailedError
from solon.pipeline.usage import Meter, Usage
from solon.records import Failure, Manifest, Record, RunPaths, TokenCounts
from solon.storage import file_digest, list_files

HEARTBEAT_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """What the work of a stage came to.

    Attributes:
        outputs: files and folders it wrote.
        counts: `in`, `kept`, and one entry for each reason why an item was left out; in = kept + left out.
        failures: items that came to nothing, by reason.
        metrics: numbers worth a line in the report.
        model_calls: calls used, replayed ones included.
        replayed_calls: of these, how many were found in the journal.
        tokens: tokens of the calls used.
    """

    outputs: tuple[Path, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    model_calls: int = 0
    replayed_calls: int = 0
    tokens: TokenCounts = field(default_factory=TokenCounts)


def output_digests(root: Path, outputs: tuple[Path, ...]) -> dict[str, str]:
    """Return relative path to sha256 of every file among or below `outputs`."""
    files = (file for path in outputs for file in list_files(path))
    return {file.relative_to(root).as_posix(): file_digest(file) for file in files}


def load_manifest(path: Path) -> Manifest | None:
    """Read an account; None if there is none to be believed, which is the same as not having begun."""
    try:
        return Manifest.load(path)
    except RecordError:
        return None


class ManifestWriter:
    """The account of one stage while it runs.

    Args:
        paths: the run's folder.
        stage: the stage's name.
        config: the part of the configuration it depends on.
        seed: the run's seed.
        inputs: name to digest of everything it reads.
        beat: called whenever the account on disk is renewed.
    """

    def __init__(
        self,
        paths: RunPaths,
        stage: str,
        *,
        config: Mapping[str, Any],
        seed: int,
        inputs: Mapping[str, str],
        beat: Callable[[], object] = lambda: None,
    ) -> None:
        self._root = paths.root
        self._path = paths.manifest(stage)
        self._before = load_manifest(self._path)
        self._fresh = Manifest(
            stage=stage, status="started", config=dict(config), seed=seed, inputs=dict(inputs), code_version=__version__
        )
        self._beat = beat
        self._meter = Meter()
        self._last_beat = 0.0

    def is_complete(self) -> Manifest | None:
        """Return the account on disk if the stage is complete and nothing it read or wrote has changed."""
        before = self._before
        if before is None or before.status != "complete" or not self.continues:
            return None
        unchanged = all(
            (self._root / name).is_file() and file_digest(self._root / name) == digest
            for name, digest in before.outputs.items()
        )
        return before if unchanged else None

    @property
    def continues(self) -> bool:
        """Whether an earlier attempt had the same configuration and inputs, so that its leavings are of use."""
        old, new = self._before, self._fresh
        return old is not None and (old.config, old.seed, old.inputs) == (new.config, new.seed, new.inputs)

    def open(self) -> None:
        """Say on disk that the stage has started."""
        self._save("started", Outcome(()))

    def renew(self) -> None:
        """Bring the times on disk up to date, at most every few seconds."""
        seconds = self._meter.read().seconds
        if seconds - self._last_beat >= HEARTBEAT_SECONDS:
            self._last_beat = seconds
            self._save("started", Outcome(()))
            self._beat()

    def close(self, outcome: Outcome) -> Manifest:
        """Say on disk that the stage is complete."""
        return self._save("complete", outcome)

    def _save(self, status: Literal["started", "complete"], outcome: Outcome) -> Manifest:
        used = self._meter.read().plus(used_by(self._before))
        manifest = self._fresh.model_copy(
            update={
                "status": status,
                "outputs": output_digests(self._root, outcome.outputs),
                "counts": dict(outcome.counts),
                "failures": dict(outcome.failures),
                "metrics": {**outcome.metrics, "peak_rss_mb": round(used.peak_rss_mb, 1)},
                "model_calls": outcome.model_calls,
                "replayed_calls": outcome.replayed_calls,
                "tokens": outcome.tokens,
                "seconds": round(used.seconds, 3),
                "cpu_seconds": round(used.cpu_seconds, 3),
            }
        )
        manifest.save(self._path)
        return manifest


def used_by(manifest: Manifest | None) -> Usage:
    """Return what an account says was used so far."""
    if manifest is None:
        return Usage()
    return Usage(manifest.seconds, manifest.cpu_seconds, manifest.metrics.get("peak_rss_mb", 0.0))


def count_reasons(failures: Iterable[Failure]) -> dict[str, int]:
    """Count failures by reason, sorted by name."""
    return dict(sorted(Counter(failure.reason for failure in failures).items()))


def numbers_of(summary: Record) -> dict[str, float]:
    """Return the numbers of a training summary, those that are None left out."""
    return {name: float(value) for name, value in summary.model_dump().items() if isinstance(value, int | float)}


def require(items: Sequence[object], stage: str, problem: str) -> None:
    """Stop the run where nothing came of a stage.

    Raises:
        StageFailedError: `items` is empty.
    """
    if not items:
        raise StageFailedError(f"{stage}: {problem}: the stages after it would have nothing to learn from")
