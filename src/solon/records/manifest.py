"""What a stage leaves behind about itself: enough to audit it, resume after it and report on it."""

from typing import Any, Literal

from pydantic import Field

from solon.records.base import Record


class TokenCounts(Record):
    """Tokens read and written by model calls."""

    prompt: int = 0
    generated: int = 0


class Manifest(Record):
    """The account of one stage.

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
