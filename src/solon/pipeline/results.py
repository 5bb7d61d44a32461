"""`results.json`: the numbers of a run, computed from its records and manifests alone.

Each rate is `{"value", "low", "high"}` with a 95 % interval that takes the prompts for one goal as a cluster. Counts
are numbers. KL is in nats per response. Times are summed over attempts and run up to the writing of this file.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from solon.evaluation import (
    Evaluation,
    Grader,
    PairGrader,
    asks_of,
    clustered_rate,
    limits_of,
    reported,
    summarize_models,
    summarize_revisions,
)
from solon.feedback import (
    FeedbackSummary,
    are_sure,
    contradict,
    feedback_summary,
    is_near_tie,
    order_logits,
    weighed_logits,
)
from solon.lm import RoleUse, read_uses
from solon.pipeline.artifacts import ASSISTANT, Checkpoint, Curve, Role
from solon.pipeline.feedback_notices import describe_feedback
from solon.pipeline.graph import Stage
from solon.pipeline.plan import RunPlan
from solon.pipeline.stages.comparisons import COMPARISONS, describe_stand_in
from solon.pipeline.stages.evaluation import ANSWERS, REVISION_GRADES
from solon.pipeline.stages.feedback import LABELS
from solon.pipeline.stages.method import name_method
from solon.pipeline.stages.ppo import PPO
from solon.pipeline.stages.preference_model import TRAIN_PREFERENCE_MODEL
from solon.pipeline.usage import Usage
from solon.records import (
    RESULTS_SCHEMA,
    Comparison,
    Manifest,
    PlannedCalls,
    PreferenceLabel,
    RunEstimate,
    RunPaths,
    TokenCounts,
    UsageResults,
)
from solon.storage import replace_file

Block = dict[str, Any]

_ACCURACY = {"value": "accuracy", "low": "accuracy_low", "high": "accuracy_high"}


def describe_plan(plan: RunPlan) -> Block:
    """Return what results and report say that stands in no stage's manifest; where it changes, they are made again."""
    task = plan.task
    return {
        "task": {"name": task.name, "identity": task.identity, "title": task.title, "about": task.about},
        "evaluations": [
            {"name": e.name, "caption": e.caption, **describe_grader(e.grader)} for e in plan.prompts.evaluations
        ],
        "grader_source": plan.grader_source,
        "until": plan.until,
        "method": name_method(plan.graph),
        "prices": None if plan.prices is None else plan.prices.origin.digest,
    }


def build_results(plan: RunPlan, paths: RunPaths, *, manifests: Mapping[str, Manifest], used: Usage) -> Block:
    """Return the content of `results.json`; None stands for a stage that was not run.

    Args:
        plan: what the run is.
        paths: the run's folder, all its records written.
        manifests: stage to its manifest, in order.
        used: what the whole run used.
    """
    config, rules, said = plan.config, plan.constitution, describe_plan(plan)
    evaluations = plan.prompts.evaluations
    asked: tuple[Role | Checkpoint, ...] = (ASSISTANT, *plan.graph.assistants())
    models = summarize_models(ANSWERS.load(paths), evaluations)
    labels = LABELS.load(paths) if LABELS in plan.graph.records() else []
    feedback = feedback_summary(labels)
    comparisons = COMPARISONS.load(paths) if labels else []
    names = [stage.name for stage in plan.graph]
    uses = [use for use in read_uses(paths.journal) if use.stage in names]
    uses.sort(key=lambda use: names.index(use.stage))
    planned = {(row.stage, row.role): row for row in _load_estimate(paths)}
    return {
        "schema": RESULTS_SCHEMA,
        "seed": config.seed,
        "temperature": config.evaluation.temperature,
        "top_p": config.evaluation.top_p if config.evaluation.top_p < 1.0 else None,
        "min_p": config.evaluation.min_p or None,
        "task": said["task"],
        "evaluations": [_evaluation(evaluation, models) for evaluation in evaluations],
        "grader_source": said["grader_source"],
        "until": said["until"],
        "method": said["method"],
        "model_names": {model.name: model.title or model.name for model in asked},
        "notices": [
            *describe_stand_in(plan.graph, config.models[ASSISTANT.key].source),
            *describe_feedback(labels, comparisons),
        ],
        "models": models,
        "stages": {stage.name: _stage(stage, manifests[stage.name]) for stage in plan.graph},
        "usage": [_usage(use, plan, planned.get((use.stage, use.role))) for use in uses],
        "currency": None if plan.prices is None else plan.prices.currency,
        "human_inputs": {
            "principles": len(rules.principles),
            "exemplars": len(rules.revision_exemplars) + len(rules.comparison_exemplars),
            "prompts": len(rules.red_team_prompts) + len(rules.helpful_prompts),
            "labels": 0,
        },
        "ai_labels": feedback.pairs,
        "feedback": _feedback(feedback, labels, comparisons) if labels else None,
        "preference_model": _preference_model(manifests.get(TRAIN_PREFERENCE_MODEL.name)),
        "ppo": _ppo(manifests.get(PPO.name)),
        "revisions": summarize_revisions(REVISION_GRADES.load(paths), evaluations[0].measures.revisions),
        "total_seconds": round(used.seconds, 3),
        "cpu_seconds": round(used.cpu_seconds, 3),
        "peak_rss_mb": round(used.peak_rss_mb, 1),
    }


def _load_estimate(paths: RunPaths) -> Sequence[PlannedCalls]:
    """Return what was expected when the run began; nothing where no such file can be read, as of an earlier version."""
    if not paths.plan.is_file():
        return ()
    return RunEstimate.from_json(paths.plan.read_text(encoding="utf-8"), where=str(paths.plan)).calls


def _usage(use: RoleUse, plan: RunPlan, planned: PlannedCalls | None) -> Block:
    """Return what a role was asked in a stage, beside what was expected."""
    tries, price = use.tries, plan.price_of(use.role)
    answered = tries.tries - tries.failed
    told = TokenCounts(prompt=tries.prompt_tokens, generated=tries.generated_tokens)
    expected = None
    if planned is not None and planned.prompt_tokens is not None and planned.output_tokens is not None:
        expected = TokenCounts(prompt=planned.prompt_tokens, generated=planned.output_tokens)
    block = UsageResults(
        stage=use.stage,
        role=use.role,
        calls=use.calls,
        made=use.made,
        tokens=TokenCounts(prompt=use.prompt_tokens, generated=use.generated_tokens),
        planned_calls=None if planned is None else planned.left,
        planned_tokens=expected,
        tries=tries.tries,
        failed_tries=tries.failed,
        maybe_paid=tries.maybe_paid,
        uncounted=tries.uncounted,
        counted=told if answered > tries.uncounted else None,
        cached=tries.cached_tokens,
        cost=None if price is None else price.counted(tries),
        uncounted_cost=None if price is None else price.uncounted(tries),
        planned_cost=None if planned is None else planned.cost,
    )
    return block.model_dump(mode="json")


def _evaluation(evaluation: Evaluation, models: Mapping[str, Block]) -> Block:
    """Return what an evaluation is and reports, for tables and pages to be drawn from."""
    blocks = [model["evaluations"].get(evaluation.name, {}) for model in models.values()]
    return {
        "name": evaluation.name,
        "caption": evaluation.caption,
        "grader": evaluation.grader.identity,
        **describe_grader(evaluation.grader),
        "groups": {group: len(prompts) for group, prompts in evaluation.prompts.items()},
        "measures": reported(evaluation.measures, blocks).model_dump(mode="json"),
        "paired": isinstance(evaluation.grader, PairGrader),
    }


def describe_grader(grader: Grader | PairGrader) -> Block:
    """Return what a grader states of itself: the roles that it asks, None where it does not say, and its limits."""
    asks = asks_of(grader)
    return {"asks": None if asks is None else list(asks), "limits": limits_of(grader)}


def save_results(path: Path, results: Block) -> None:
    """Write the results, whole or not at all."""
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _feedback(summary: FeedbackSummary, labels: Sequence[PreferenceLabel], comparisons: Sequence[Comparison]) -> Block:
    """Return how the labels came out; the prompts for one goal are a cluster of the intervals."""
    cluster_of = {comparison.id: comparison.prompt.cluster for comparison in comparisons}
    labeled = [label for label in labels if label.status == "labeled"]
    goals = [cluster_of[label.comparison_id] for label in labeled]
    read, weighed = [order_logits(label.votes) for label in labeled], map(weighed_logits, labeled)
    turned = [None if logits is None else contradict(logits) for logits in read]
    surely = [None if logits is None else contradict(logits) and are_sure(logits) for logits in weighed]
    return {
        "pairs": summary.comparisons,
        "goals": len(set(cluster_of.values())),
        "order_disagreement": _share(turned, goals),
        "sure_contradictions": _share(surely, goals),
        "both_sure": summary.both_sure if summary.both_weighed else None,
        "near_ties": _share([is_near_tie(label) for label in labeled], goals),
        "unlabeled": sum(summary.unlabeled.values()),
        "dialects": summary.labels_by_dialect or None,
    }


def _share(values: Sequence[bool | None], clusters: Sequence[str]) -> Block | None:
    """Return the rate of what is true among the values that could be told, None where none could."""
    known = [(value, cluster) for value, cluster in zip(values, clusters, strict=True) if value is not None]
    if not known:
        return None
    rate = clustered_rate([value for value, _ in known], [cluster for _, cluster in known])
    return rate.model_dump()


def _preference_model(manifest: Manifest | None) -> Block | None:
    """Return the numbers of the preference model; what could not be measured is not among its metrics, and None.

    The interval is that of its account: over the clear pairs' effective number, the prompts for one goal as a cluster.
    """
    if manifest is None:
        return None
    metrics = manifest.metrics
    told = {end: metrics.get(name) for end, name in _ACCURACY.items()}
    rate = None if None in told.values() else told
    return {"accuracy": rate, "ece_10_mirrored": metrics.get("ece_10_mirrored")}


def _ppo(manifest: Manifest | None) -> Block | None:
    if manifest is None:
        return None
    numbers = {key: manifest.metrics.get(key) for key in ("kl", "score_first", "score_last")}
    return {"iterations": int(manifest.metrics["iterations"]), **numbers}


def _stage(stage: Stage, manifest: Manifest) -> Block:
    """Return what a stage used, and how the report shows what it left; that is declared in its page."""
    curves = [output for output in stage.writes if isinstance(output, Curve) and output.charts]
    return {
        "seconds": manifest.seconds,
        "model_calls": manifest.model_calls,
        "tokens": {"prompt": manifest.tokens.prompt, "generated": manifest.tokens.generated},
        "failures": sum(manifest.failures.values()),
        "charts": {curve.name: [chart.model_dump(mode="json") for chart in curve.charts] for curve in curves},
        "figures": [figure.model_dump(mode="json") for figure in stage.figures],
    }
