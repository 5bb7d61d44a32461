"""Stage 2, the labels: the feedback model compares two responses under a principle, or judges each by itself.

Departure from the paper (Bai et al. 2022, arXiv 2212.08073, section 4): labels on helpful prompts come from the
feedback model too; the paper used people's. The feedback model is the base by default, as in the paper, and is never
SL-CAI.
"""

import asyncio

from solon.feedback import feedback_summary, preference_pairs, run_feedback
from solon.pipeline.artifacts import CONSTITUTION, FEEDBACK_MODEL, TEMPLATES, Records
from solon.pipeline.context import StageContext
from solon.pipeline.feedback_notices import describe_feedback
from solon.pipeline.graph import Stage
from solon.pipeline.manifests import Outcome
from solon.pipeline.stages.comparisons import COMPARISONS
from solon.records import PreferenceLabel, PreferencePair

LABELS = Records("preference_labels", PreferenceLabel, named_by="comparison_id")
PAIRS = Records("preference_pairs", PreferencePair)


def label(context: StageContext) -> Outcome:
    """Have the feedback model compare; join what it could tell with the texts."""
    comparisons = context.read(COMPARISONS)

    async def work() -> list[PreferenceLabel]:
        return await context.collect(
            run_feedback(
                comparisons,
                model=context.model(FEEDBACK_MODEL),
                constitution=context.constitution,
                config=context.config.feedback,
                seed=context.seed,
                max_failure_fraction=context.config.max_failure_fraction,
                on_progress=context.progress("labels"),
            )
        )

    labels = asyncio.run(work())
    pairs = preference_pairs(comparisons, labels)
    context.require(pairs, "no comparison could be labelled")
    summary = feedback_summary(labels)
    for warning in describe_feedback(labels, comparisons):
        context.notice(warning)
    metrics = {"feedback/unlabeled_frac": 1 - summary.pairs / max(1, summary.comparisons)}
    if summary.order_disagreement is not None:
        metrics["feedback/order_disagreement"] = summary.order_disagreement
        metrics["feedback/sure_contradictions"] = summary.sure_contradictions / summary.both_orders
    metrics["feedback/near_ties"] = summary.near_ties / summary.pairs
    if summary.mean_mass is not None:
        metrics["feedback/mean_mass"] = summary.mean_mass
    context.write({LABELS: labels, PAIRS: pairs})
    return Outcome(
        counts={"in": len(comparisons), "kept": len(pairs), **summary.unlabeled},
        failures={reason: n for reason, n in summary.unlabeled.items() if reason == "call_failed"},
        metrics=metrics,
    )


LABEL = Stage(
    "feedback",
    settings=("feedback", "max_failure_fraction"),
    reads=(CONSTITUTION, TEMPLATES, COMPARISONS, FEEDBACK_MODEL),
    writes=(LABELS, PAIRS),
    work=label,
    remedies={
        "truncated_response": "raise comparisons.max_tokens",
        "truncated_reasoning": "raise feedback.max_reasoning_tokens",
        "identical": "raise comparisons.temperature",
        "below_mass_floor": "lower feedback.mass_floor",
        "below_pointwise_mass_floor": "lower feedback.pointwise_mass_floor",
    },
)
