"""What a stage leaves behind about itself: enough to audit it, resume after it and report on it."""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from solon.errors import RecordError
from solon.records.base import Record
from solon.records.run import RunPaths
from solon.storage import content_digest, file_digest, read_text, replace_file

MADE_AGAIN = "give the run's command again, which makes the file again"
"""What to do about a file of a run that is not what the run wrote."""


class TokenCounts(Record):
    """Tokens read and written by model calls."""

    prompt: int = 0
    generated: int = 0


class Manifest(Record):
    """The manifest of one stage.

    Attributes:
        stage: its name.
        status: `started` is written before any data, `complete` after all of it.
        config: resolved configuration of the stage.
        seed: the run's seed.
        inputs: name to digest of everything read (constitution, templates, weights, record files).
        outputs: relative path to sha256 of everything written.
        code_version: version of this package.
        counts: items in, kept, and for each reason left out; in = kept + left out.
        failures: items that came to nothing, by reason.
        metrics: numbers worth a line in the report.
        model_calls: calls used, replayed ones included.
        replayed_calls: of these, how many were found in a journal.
        tokens: tokens of the calls used.
        seconds: wall time, summed over attempts.
        cpu_seconds: processor time of this process and its children, summed over attempts.
    """

    stage: str
    status: Literal["started", "complete"]
    config: dict[str, Any]
    seed: int
    inputs: dict[str, str]
    outputs: dict[str, str] = Field(default_factory=dict)
    code_version: str
    counts: dict[str, int] = Field(default_factory=dict)
    failures: dict[str, int] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    model_calls: int = 0
    replayed_calls: int = 0
    tokens: TokenCounts = TokenCounts()
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write the manifest with a digest of itself, indented for people, whole or not at all."""
        body = {"schema": self.SCHEMA, **self.model_dump(mode="json")}
        with replace_file(path) as temporary:
            sealed = {**body, "digest": content_digest(body)}
            temporary.write_text(json.dumps(sealed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a manifest written by `save`, or by a version that wrote no digest.

        Raises:
            RecordError: it cannot be read, is of another version or is not what was written; the file is named.
        """
        text = read_text(path)
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path}: is not JSON ({error}): {MADE_AGAIN}") from error
        digest = body.pop("digest", None) if isinstance(body, dict) else None
        if digest is not None and digest != content_digest(body):
            raise RecordError(f"{path}: is not as the run wrote it, its digest is of something else: {MADE_AGAIN}")
        return cls.from_json(json.dumps(body), where=str(path))


def hold_to_manifests(paths: RunPaths, *places: str) -> None:
    """Make sure that files of a run are what its manifests say was written.

    What no manifest names yet, the files of a stage under way, is held to nothing.

    Args:
        paths: the run's folder.
        places: files relative to it; one that ends in a slash stands for every file below it.

    Raises:
        RecordError: a file is missing or has changed, or a manifest cannot be read; it is named.
    """
    for manifest in sorted(paths.manifest("").parent.glob("*.json")):
        for name, digest in Manifest.load(manifest).outputs.items():
            if not any(name == place or (place.endswith("/") and name.startswith(place)) for place in places):
                continue
            path = paths.root / name
            if not path.is_file():
                raise RecordError(f"{path}: is missing: {MADE_AGAIN}")
            if file_digest(path) != digest:
                raise RecordError(
                    f"{path}: is not as the run wrote it, the sha256 in {manifest.name} is another: {MADE_AGAIN}"
                )
