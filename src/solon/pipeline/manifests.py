"""The manifests that stages and runs leave, and what the work of a stage came to.

The manifest of a stage (`manifest/<stage>.json`) says `started` before there is any data and `complete`, with the
sha256 of everything written, after all of it. A complete stage is skipped if its configuration, the digests of its
inputs and the digests of its outputs are what its manifest says; otherwise it runs again, and is itself responsible for
going on where it stopped (data stages replay the journal, training stages have checkpoints). The manifest of the run as
a whole (`manifest/run.json`) holds its two own files and sums its time.

Time is summed over attempts. So that an attempt that is killed is counted too, the manifest on disk is renewed
every few seconds while the stage makes progress.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from solon import __version__
from solon.errors import RecordError
from solon.lm import CallCounter
from solon.pipeline.usage import Meter, Usage
from solon.records import Manifest, RunPaths
from solon.storage import file_digest, list_files

RENEWAL_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """What the work of a stage came to.

    Attributes:
        counts: `in`, `kept`, and one entry for each reason why an item was left out; in = kept + left out.
        failures: items that came to nothing, by reason.
        metrics: numbers worth a line in the report.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def load_manifest(path: Path) -> Manifest | None:
    """Read a manifest; None if there is none to be believed, which is the same as not having begun."""
    try:
        return Manifest.load(path)
    except RecordError:
        return None


class ManifestWriter:
    """The manifest of a stage, or of the run as a whole, while it runs.

    Args:
        paths: the run's folder.
        stage: the stage's name.
        seed: the run's seed.
        config: the part of the configuration it depends on.
        inputs: name to digest of everything it reads; `code` are the sources it runs on.
        meter: measures what this attempt uses; begins now by default.
        accept_code: take the sources that made a complete stage for its own.
        on_renewal: called whenever the manifest on disk is renewed.
    """

    def __init__(
        self,
        paths: RunPaths,
        stage: str,
        *,
        seed: int,
        config: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        meter: Meter | None = None,
        accept_code: bool = False,
        on_renewal: Callable[[], object] = lambda: None,
    ) -> None:
        self._root = paths.root
        self._path = paths.manifest(stage)
        self.before = load_manifest(self._path)
        """The manifest of an earlier attempt."""
        self.outputs: dict[str, str] = {}
        """Relative path to sha256 of what was written."""
        given = dict(inputs or {})
        made_by = self._complete.inputs.get("code") if self._complete is not None else None
        differs = made_by is not None and made_by != given.get("code")
        self.is_of_other_code = differs and not accept_code
        """Whether a complete stage was made by other sources than it would run on, and these are not accepted."""
        self.accepts_other_code = differs and accept_code
        """Whether it was, and they are."""
        if made_by is not None and accept_code:
            given["code"] = made_by
        self._new = Manifest(
            stage=stage, status="started", config=dict(config or {}), seed=seed, inputs=given, code_version=__version__
        )
        self._on_renewal = on_renewal
        self._meter = meter or Meter()
        self._renewed = 0.0

    @property
    def _complete(self) -> Manifest | None:
        return self.before if self.before is not None and self.before.status == "complete" else None

    def is_complete(self) -> Manifest | None:
        """Return the manifest on disk if the stage is complete and nothing it read or wrote has changed."""
        done = self._complete
        if done is None or not self.continues:
            return None
        files = {self._root / name: digest for name, digest in done.outputs.items()}
        unchanged = all(file.is_file() and file_digest(file) == digest for file, digest in files.items())
        return done if unchanged else None

    @property
    def continues(self) -> bool:
        """Whether an earlier attempt had the same configuration and inputs, so that what it left is of use."""
        old, new = self.before, self._new
        return old is not None and (old.config, old.seed, old.inputs) == (new.config, new.seed, new.inputs)

    @property
    def used(self) -> Usage:
        """What all attempts have used so far."""
        used = self._meter.read()
        if self.before is None:
            return used
        before = self.before
        return used.plus(Usage(before.seconds, before.cpu_seconds, before.metrics.get("peak_rss_mb", 0.0)))

    def renew(self) -> None:
        """Bring the times on disk up to date, at most every few seconds."""
        seconds = self._meter.read().seconds
        if seconds - self._renewed >= RENEWAL_SECONDS:
            self._renewed = seconds
            self.save("started")
            self._on_renewal()

    def close(self, outcome: Outcome, outputs: Sequence[Path], counter: CallCounter | None = None) -> Manifest:
        """Say on disk that the stage is complete.

        Args:
            outcome: what its work came to.
            outputs: files and folders it wrote.
            counter: the calls it used.
        """
        files = [file for path in outputs for file in list_files(path)]
        self.outputs = {file.relative_to(self._root).as_posix(): file_digest(file) for file in files}
        return self.save("complete", outcome, counter)

    def amend(self, outputs: Mapping[str, str]) -> None:
        """Say of other files that they were written; of an earlier attempt's manifest nothing else is changed."""
        self.outputs = dict(outputs)
        if self.before is not None and self.before.outputs != outputs:
            self.before = self.before.model_copy(update={"outputs": self.outputs})
            self.before.save(self._path)

    def save(
        self, status: Literal["started", "complete"], outcome: Outcome | None = None, counter: CallCounter | None = None
    ) -> Manifest:
        """Write the manifest as things are."""
        used, outcome, counter = self.used, outcome or Outcome(), counter or CallCounter()
        manifest = self._new.model_copy(
            update={
                "status": status,
                "outputs": self.outputs,
                "counts": dict(outcome.counts),
                "failures": dict(outcome.failures),
                "metrics": {**outcome.metrics, "peak_rss_mb": round(used.peak_rss_mb, 1)},
                "model_calls": counter.calls,
                "replayed_calls": counter.replayed,
                "tokens": counter.tokens,
                "seconds": round(used.seconds, 3),
                "cpu_seconds": round(used.cpu_seconds, 3),
            }
        )
        manifest.save(self._path)
        return manifest
