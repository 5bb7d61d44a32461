"""Stage 2, the labels: the feedback model compares two responses under a principle, or judges each by itself.

Departure from the paper (Bai et al. 2022, arXiv 2212.08073, section 4): labels on helpful prompts come from the
feedback model too; the paper used people's. The feedback model is the base by default, as in the paper, and is never
SL-CAI.
"""

import asyncio
from collections.abc import Iterator

from solon.constitution import Principle
from solon.feedback import asking_principles, feedback_summary, preference_pairs, run_feedback
from solon.pipeline.artifacts import CONSTITUTION, FEEDBACK_MODEL, TEMPLATES, Records
from solon.pipeline.context import StageContext
from solon.pipeline.feedback_notices import describe_feedback
from solon.pipeline.graph import Stage
from solon.pipeline.manifests import Outcome
from solon.pipeline.requests import LEAST, Known, Pool, Request
from solon.pipeline.stages.comparisons import COMPARISONS
from solon.prompting import LayoutLike, render_comparison, render_question, render_reasoning
from solon.records import Conversation, PreferenceLabel, PreferencePair, PromptKind, Rendered

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
    if summary.both_weighed:
        metrics["feedback/sure_contradictions"] = summary.sure_contradictions / summary.both_weighed
    metrics["feedback/near_ties"] = summary.near_ties / summary.pairs
    if summary.mean_mass is not None:
        metrics["feedback/mean_mass"] = summary.mean_mass
    metrics["feedback/votes_with_mass"] = summary.votes_with_mass
    metrics["feedback/votes_without_mass"] = summary.votes_without_mass
    for draws, count in summary.labels_by_draws.items():
        metrics[f"feedback/labels_of_{draws}_draws"] = count
    context.write({LABELS: labels, PAIRS: pairs})
    return Outcome(
        counts={"in": len(comparisons), "kept": len(pairs), **summary.unlabeled},
        failures={reason: n for reason, n in summary.unlabeled.items() if reason == "call_failed"},
        metrics=metrics,
    )


def foresee(known: Known) -> Iterator[Request]:
    """Say what is asked: about two responses, or about each alone, under every principle that applies."""
    kinds: tuple[PromptKind, ...] = ("red_team", "helpful")
    for kind in kinds:
        pool = Pool.of(known.prompts.pools["comparisons"], kind)
        principles = asking_principles(known.constitution, known.config.feedback.labels, kind)
        for principle in principles:
            yield from _foresee_label(known, pool, principle, len(principles))


def _foresee_label(known: Known, pool: Pool, principle: Principle, of: int) -> Iterator[Request]:
    config, response = known.config.feedback, "comparisons.max_tokens"
    exemplars = known.constitution.comparison_exemplars[: config.exemplars]
    remedy = "shorten the principle or its longest prompts"
    sides = 1 if config.labels == "comparison" and config.orders == "ab" else 2
    calls = sides * min(config.principles_per_comparison, of) / of

    def render_alone(asked: Conversation, layout: LayoutLike) -> Rendered:
        return render_question(asked, LEAST, principle, layout=layout)

    def render_thought(asked: Conversation, layout: LayoutLike) -> Rendered:
        return render_reasoning(asked, LEAST, LEAST, principle, layout=layout, exemplars=exemplars)

    def render_both(asked: Conversation, layout: LayoutLike) -> Rendered:
        reasoning = LEAST if config.chain_of_thought else None
        return render_comparison(
            asked, LEAST, LEAST, principle, layout=layout, exemplars=exemplars, reasoning=reasoning
        )

    if config.labels == "pointwise":
        yield Request(
            FEEDBACK_MODEL, "a question", pool, render_alone, None, (response,), principle.id, remedy, calls=calls
        )
        return
    if exemplars:
        remedy += ", or show fewer exemplars with  --set feedback.exemplars=N"
    both: tuple[str, ...] = (response, response)
    if config.chain_of_thought:
        reasoning = "feedback.max_reasoning_tokens"
        yield Request(
            FEEDBACK_MODEL, "reasoning", pool, render_thought, reasoning, both, principle.id, remedy, calls=calls
        )
        both = (*both, reasoning)
    yield Request(FEEDBACK_MODEL, "a comparison", pool, render_both, None, both, principle.id, remedy, calls=calls)


LABEL = Stage(
    "feedback",
    settings=("feedback", "max_failure_fraction"),
    reads=(CONSTITUTION, TEMPLATES, COMPARISONS, FEEDBACK_MODEL),
    writes=(LABELS, PAIRS),
    work=label,
    asks=foresee,
    remedies={
        "truncated_response": "raise comparisons.max_tokens",
        "truncated_reasoning": "raise feedback.max_reasoning_tokens",
        "identical": "raise comparisons.temperature",
        "below_mass_floor": "lower feedback.mass_floor",
        "below_pointwise_mass_floor": "lower feedback.pointwise_mass_floor",
    },
)
