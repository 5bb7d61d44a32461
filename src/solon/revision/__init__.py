"""Stage 1: an initial response, its critiques and revisions, and the texts that SFT learns from."""

from solon.revision.chains import RevisionConfig, revise_response, run_revision
from solon.revision.filters import FILTERS, FilterName
from solon.revision.helpful import sample_helpful
from solon.revision.metrics import revision_metrics
from solon.revision.targets import count_revision_targets, filter_revisions, sft_targets

__all__ = [
    "FILTERS",
    "FilterName",
    "RevisionConfig",
    "count_revision_targets",
    "filter_revisions",
    "revise_response",
    "revision_metrics",
    "run_revision",
    "sample_helpful",
    "sft_targets",
]
