"""Stage 2 as the pipeline runs it: comparisons, AI labels, the preference model, reinforcement learning.

Departure from the paper (Bai et al. 2022, arXiv 2212.08073, section 4): labels on helpful prompts come from the
feedback model too; the paper used people's. The feedback model is the base by default, as in the paper, and is never
SL-CAI.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from solon.feedback import feedback_summary, preference_pairs, run_comparisons, run_feedback
from solon.pipeline.outcomes import count_reasons, numbers_of, require, save_all, separate
from solon.pipeline.positions import describe_contradictions
from solon.pipeline.stage import Outcome
from solon.pipeline.workbench import Workbench
from solon.records import Comparison, PreferenceLabel, PreferencePair, Prompt, derive_seed, load_records


def compare(bench: Workbench) -> Outcome:
    """Have SL-CAI answer every prompt twice."""
    prompts = load_records(bench.paths.records("prompts_comparisons"), Prompt)

    async def work() -> Any:
        return await run_comparisons(
            prompts,
            model=bench.model("sl-cai"),
            config=bench.config.comparisons,
            seed=bench.seed,
            max_failure_fraction=bench.config.max_failure_fraction,
            on_progress=bench.progress("pairs"),
        )

    comparisons, failures = separate(asyncio.run(work()).results)
    return Outcome(
        save_all(bench, {"comparisons": comparisons, "failures_comparisons": failures}),
        counts={"in": len(prompts), "kept": len(comparisons), **count_reasons(failures)},
        failures=count_reasons(failures),
        **bench.calls,
    )


def label(bench: Workbench) -> Outcome:
    """Have the feedback model compare; join what it could tell with the texts."""
    comparisons = load_records(bench.paths.records("comparisons"), Comparison)

    async def work() -> list[PreferenceLabel]:
        return await run_feedback(
            comparisons,
            model=bench.model("feedback"),
            constitution=bench.constitution,
            config=bench.config.feedback,
            seed=bench.seed,
            max_failure_fraction=bench.config.max_failure_fraction,
            on_progress=bench.progress("labels"),
        )

    labels = asyncio.run(work())
    pairs = preference_pairs(comparisons, labels)
    require(pairs, "feedback", "no comparison could be labelled")
    summary = feedback_summary(labels)
    warning = describe_contradictions(summary)
    if warning is not None:
        bench.notice(warning)
    metrics = {"feedback/unlabeled_frac": 1 - summary.pairs / max(1, summary.comparisons)}
    if summary.order_disagreement is not None:
        metrics["feedback/order_disagreement"] = summary.order_disagreement
        metrics["feedback/sure_contradictions"] = summary.sure_contradictions / summary.both_orders
    metrics["feedback/near_ties"] = summary.near_ties / summary.pairs
    if summary.mean_mass is not None:
        metrics["feedback/mean_mass"] = summary.mean_mass
    return Outcome(
        save_all(bench, {"preference_labels": labels, "preference_pairs": pairs}),
        counts={"in": len(comparisons), "kept": len(pairs), **summary.unlabeled},
        failures={reason: n for reason, n in summary.unlabeled.items() if reason == "call_failed"},
        metrics=metrics,
        **bench.calls,
    )


def hold_out_pairs(pairs: Sequence[PreferencePair], share: float) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Part pairs to learn from and pairs to measure on, by the hash of their prompt."""
    bound = share * 2**63
    held = [pair for pair in pairs if derive_seed("pair held out", pair.prompt.id) < bound]
    names = {pair.id for pair in held}
    return [pair for pair in pairs if pair.id not in names], held


def train_preference_model(bench: Workbench) -> Outcome:
    """Train the preference model, starting as SL-CAI."""
    pairs = load_records(bench.paths.records("preference_pairs"), PreferencePair)
    learnt, held = hold_out_pairs(pairs, bench.config.heldout_pairs)
    out, curve = bench.paths.model("preference-model"), bench.paths.metrics("preference-model")
    summary = bench.engine.run_preference_model(
        bench.checkpoints["sl-cai"],
        learnt,
        held,
        bench.config.preference_model,
        out,
        seed=bench.seed,
        metrics=curve,
        on_progress=bench.progress("steps"),
    )
    counts = {
        "in": len(pairs),
        "kept": summary.pairs,
        "held_out_to_measure": summary.heldout_pairs,
        "too_long": summary.left_out,
    }
    return Outcome((out, curve), counts=counts, metrics=numbers_of(summary))


def reinforce(bench: Workbench) -> Outcome:
    """Train RL-CAI against the preference model."""
    prompts = load_records(bench.paths.records("prompts_ppo"), Prompt)
    out, value, curve = bench.paths.model("rl-cai"), bench.paths.model("value"), bench.paths.metrics("ppo")
    summary = bench.engine.run_ppo(
        bench.checkpoints["sl-cai"],
        bench.paths.model("preference-model"),
        prompts,
        bench.config.ppo,
        out,
        seed=bench.seed,
        metrics=curve,
        on_progress=bench.progress("iterations"),
        value_out=value,
    )
    left_out = summary.prompts_left_out
    counts = {"in": len(prompts), "kept": len(prompts) - left_out, "too_long": left_out}
    texts = curve.with_name(f"{curve.stem}_samples.jsonl")
    return Outcome((out, value, curve, texts), counts=counts, metrics=numbers_of(summary))
