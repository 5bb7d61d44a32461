"""`results.json`: the numbers of a run, computed from its records and accounts alone.

Each rate is `{"value", "low", "high"}` with a 95 % interval. Counts are numbers. KL is in nats per response. Times
are summed over attempts and run up to the writing of this file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from solon.constitution import Constitution
from solon.evaluation import Grader, summarize_models, wilson_interval
from solon.feedback import feedback_summary
from solon.pipeline.config import RunConfig
from solon.pipeline.positions import describe_contradictions
from solon.pipeline.usage import Usage
from solon.records import (
    RESULTS_SCHEMA,
    EvalRecord,
    Manifest,
    PreferenceLabel,
    Prompt,
    RevisionChain,
    RunPaths,
    load_records,
    replace_file,
)

Block = dict[str, Any]


def build_results(
    paths: RunPaths,
    *,
    config: RunConfig,
    constitution: Constitution,
    grader: Grader,
    manifests: Mapping[str, Manifest],
    used: Usage,
) -> Block:
    """Return the content of `results.json`.

    Args:
        paths: the run's folder, all its records written.
        config: the run's configuration.
        constitution: what it was run with.
        grader: the grader of the evaluation; grades the revisions here, which nothing is trained on any more.
        manifests: stage to account, in order.
        used: what the whole run used.
    """
    answers = load_records(paths.records("evaluation"), EvalRecord)
    labels = load_records(paths.records("preference_labels"), PreferenceLabel)
    chains = load_records(paths.records("revision_chains"), RevisionChain)
    prompts = {prompt.id: prompt for prompt in load_records(paths.records("prompts_revision"), Prompt)}
    feedback = feedback_summary(labels)
    warning = describe_contradictions(feedback)
    return {
        "schema": RESULTS_SCHEMA,
        "seed": config.seed,
        "temperature": config.evaluation.temperature,
        "grader": grader.identity,
        "notices": [] if warning is None else [warning],
        "models": summarize_models(answers, main_split=config.prompts.evaluation.splits[0]),
        "stages": {name: _stage(manifest) for name, manifest in manifests.items()},
        "human_inputs": {
            "principles": len(constitution.principles),
            "exemplars": len(constitution.revision_exemplars) + len(constitution.comparison_exemplars),
            "prompts": len(constitution.red_team_prompts) + len(constitution.helpful_prompts),
            "labels": 0,
        },
        "ai_labels": feedback.pairs,
        "feedback": {
            "pairs": feedback.comparisons,
            "order_disagreement": _rate(feedback.order_disagreements, feedback.both_orders),
            "sure_contradictions": _rate(feedback.sure_contradictions, feedback.both_orders),
            "both_sure": feedback.both_sure,
            "near_ties": _rate(feedback.near_ties, feedback.pairs),
            "unlabeled": sum(feedback.unlabeled.values()),
        },
        "preference_model": _preference_model(manifests["preference-model"]),
        "ppo": _ppo(manifests["ppo"]),
        "revisions": grade_revisions(chains, prompts, grader),
        "total_seconds": round(used.seconds, 3),
        "cpu_seconds": round(used.cpu_seconds, 3),
        "peak_rss_mb": round(used.peak_rss_mb, 1),
    }


def save_results(path: Path, results: Block) -> None:
    """Write the results, whole or not at all."""
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def grade_revisions(chains: Sequence[RevisionChain], prompts: Mapping[str, Prompt], grader: Grader) -> list[Block]:
    """Return how harmful the answers of stage 1 are after 0, 1, 2, ... revisions.

    A chain that broke off counts up to its last revision. Rates are over the answers of which the grader could tell,
    `unparsed` over all.
    """
    rounds = max((len(chain.steps) for chain in chains), default=-1)
    blocks = []
    for number in range(rounds + 1):
        reached = [chain for chain in chains if len(chain.steps) >= number]
        grades = [grader.grade(prompts[c.prompt_id], c.response_after(number).text) for c in reached]
        blocks.append(
            {
                "round": number,
                "n": len(reached),
                "complies": _share(grade.holds("complies") for grade in grades),
                "refuses_and_explains": _share(grade.holds("refuses_and_explains") for grade in grades),
                "unparsed": _share(grade.unparsed for grade in grades),
            }
        )
    return blocks


def _share(values: Iterable[bool | None]) -> Block | None:
    """Return the rate of what is true among the values that could be told, None where none could."""
    told = [value for value in values if value is not None]
    return _rate(sum(told), len(told))


def _rate(count: float, of: float) -> Block | None:
    if not of:
        return None
    rate = wilson_interval(count / of, of)
    return {"value": rate.value, "low": rate.low, "high": rate.high}


def _preference_model(manifest: Manifest) -> Block:
    """Return the numbers of the preference model; what could not be measured is not among its metrics, and None."""
    metrics = manifest.metrics
    accuracy, clear = metrics.get("accuracy"), metrics["clear_pairs"]
    return {"accuracy": None if accuracy is None else _rate(accuracy * clear, clear), "ece": metrics.get("ece")}


def _ppo(manifest: Manifest) -> Block:
    numbers = {key: manifest.metrics.get(key) for key in ("kl", "score_first", "score_last")}
    return {"iterations": int(manifest.metrics["iterations"]), **numbers}


def _stage(manifest: Manifest) -> Block:
    return {
        "seconds": manifest.seconds,
        "model_calls": manifest.model_calls,
        "tokens": {"prompt": manifest.tokens.prompt, "generated": manifest.tokens.generated},
        "failures": sum(manifest.failures.values()),
    }
