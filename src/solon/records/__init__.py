"""The nouns that flow between rooms: frozen, versioned, JSON-serialisable, without torch.

Rooms that must not import each other meet here. Read this package first: the pipeline can be understood from
the types alone.
"""

from solon.records.base import Config, Record, load_records, refuse_fields, save_records
from solon.records.calls import (
    MAY_GROW,
    Choice,
    DrawConfig,
    Failure,
    Sample,
    SampledTokens,
    Sampling,
    StopReason,
    TokenLimit,
    count_reasons,
)
from solon.records.conversation import (
    TRAIN,
    Conversation,
    Layout,
    Message,
    Prompt,
    PromptKind,
    Rendered,
    Role,
    Span,
    TemplateArgument,
    Turn,
)
from solon.records.evaluation import COUNTS, NOBODY, EvalPrompt, EvalRecord, Grade, Rate, RevisionGrade
from solon.records.manifest import MADE_AGAIN, Manifest, TokenCounts, hold_to_manifests
from solon.records.measures import CUT, UNGRADED, Axis, Measure, Measures
from solon.records.preference import (
    Comparison,
    GoldComparison,
    PointwiseVote,
    PreferenceLabel,
    PreferencePair,
    Vote,
)
from solon.records.results import BASE, AskedResults, Chart, Figure, Results, count_cut
from solon.records.revision import HelpfulSample, RevisionChain, RevisionStep, SFTExample
from solon.records.run import GIVEN, RESULTS_SCHEMA, Origin, OwnTemplates, RunHeader, RunPaths

__all__ = [
    "BASE",
    "COUNTS",
    "CUT",
    "GIVEN",
    "MADE_AGAIN",
    "MAY_GROW",
    "NOBODY",
    "RESULTS_SCHEMA",
    "TRAIN",
    "UNGRADED",
    "AskedResults",
    "Axis",
    "Chart",
    "Choice",
    "Comparison",
    "Config",
    "Conversation",
    "DrawConfig",
    "EvalPrompt",
    "EvalRecord",
    "Failure",
    "Figure",
    "GoldComparison",
    "Grade",
    "HelpfulSample",
    "Layout",
    "Manifest",
    "Measure",
    "Measures",
    "Message",
    "Origin",
    "OwnTemplates",
    "PointwiseVote",
    "PreferenceLabel",
    "PreferencePair",
    "Prompt",
    "PromptKind",
    "Rate",
    "Record",
    "Rendered",
    "Results",
    "RevisionChain",
    "RevisionGrade",
    "RevisionStep",
    "Role",
    "RunHeader",
    "RunPaths",
    "SFTExample",
    "Sample",
    "SampledTokens",
    "Sampling",
    "Span",
    "StopReason",
    "TemplateArgument",
    "TokenCounts",
    "TokenLimit",
    "Turn",
    "Vote",
    "count_cut",
    "count_reasons",
    "hold_to_manifests",
    "load_records",
    "refuse_fields",
    "save_records",
]
