"""The stages of a run, in order, each a page: what it reads, what it does, what it writes.

    prompts           draws every prompt of the run
    revision          stage 1: responses, critiques, revisions; helpful samples; what SFT learns from
    sft               stage 1: SL-CAI
    comparisons       stage 2: two responses of SL-CAI to each prompt
    feedback          stage 2: AI labels, by the base model and never by SL-CAI
    preference-model  stage 2: the preference model
    ppo               stage 2: RL-CAI
    evaluation        base, SL-CAI and RL-CAI on prompts kept from training; the report's example

Departures from the paper (Bai et al. 2022, arXiv 2212.08073):
1. Each stage has prompts of its own. The paper's comparisons used the prompts of its revisions, its RL used them all.
2. Labels on helpful prompts come from the feedback model too; the paper used people's.
3. The base model is assistant, critic, feedback model and start of fine-tuning in one, where the paper had a
   helpful-only RLHF model for the first two and a pre-trained one for the others.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from solon.errors import StageFailedError
from solon.evaluation import run_evaluation
from solon.feedback import feedback_summary, preference_pairs, run_comparisons, run_feedback
from solon.pipeline.config import PoolSizes, RunConfig
from solon.pipeline.example import follow_example
from solon.pipeline.stage import Outcome
from solon.pipeline.workbench import Workbench
from solon.pipeline.world_prompts import draw_evaluation_prompts, draw_training_prompts
from solon.records import (
    Comparison,
    EvalRecord,
    Failure,
    PreferenceLabel,
    PreferencePair,
    Prompt,
    PromptKind,
    SFTExample,
    derive_seed,
    load_records,
    save_records,
)
from solon.redteam import pool_prompts, prompts_from_constitution, refuse_evaluation_prompts
from solon.revision import count_revision_targets, revision_metrics, run_revision, sample_helpful, sft_targets

T = TypeVar("T")

MODELS = ("base", "sl-cai", "rl-cai")
GROUPS = ("harmful", "benign", "twins")
_POOLS = ("revision", "comparisons", "ppo")
_KINDS: tuple[PromptKind, ...] = ("red_team", "helpful")


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline.

    Attributes:
        name: its name, that of its account too.
        settings: the part of the configuration it depends on.
        reads: record files and checkpoints it reads, `records/x` or a role.
        work: does it.
    """

    name: str
    settings: Callable[[RunConfig], Mapping[str, Any]]
    reads: tuple[str, ...]
    work: Callable[[Workbench], Outcome]


def _settings(*names: str) -> Callable[[RunConfig], Mapping[str, Any]]:
    def pick(config: RunConfig) -> Mapping[str, Any]:
        return config.model_dump(mode="json", include=set(names))

    return pick


def _separate(results: Iterable[T | Failure]) -> tuple[list[T], list[Failure]]:
    """Part what came to something from what did not, each in order."""
    kept: list[T] = []
    failures: list[Failure] = []
    for result in results:
        if isinstance(result, Failure):
            failures.append(result)
        else:
            kept.append(result)
    return kept, failures


def _reasons(failures: Iterable[Failure]) -> dict[str, int]:
    return dict(sorted(Counter(failure.reason for failure in failures).items()))


# -------------------------------------------------------------------------------------------- prompts


def _draw_prompts(bench: Workbench) -> Outcome:
    """Draw the prompts of every stage; the constitution's own sample prompts go to the revision stage."""
    sizes = bench.config.prompts
    groups = {group: getattr(sizes.evaluation, group) for group in GROUPS}
    evaluation = draw_evaluation_prompts(groups, sizes.evaluation.splits, seed=bench.seed)
    own = prompts_from_constitution(bench.constitution).prompts
    pools: dict[str, list[Prompt]] = {"revision": list(own), "comparisons": [], "ppo": []}
    for kind in _KINDS:
        wanted = {name: _size(getattr(sizes, name), kind) for name in _POOLS}
        for name, drawn in draw_training_prompts(kind, wanted, seed=bench.seed).items():
            pools[name] += drawn
    measured = {prompt.id for prompts in evaluation.values() for prompt in prompts}
    counts = {"in": 0, "kept": 0, "duplicate": 0, "in_evaluation": 0}
    seen: set[str] = set()
    outputs = []
    for name, drawn in pools.items():
        fresh = [prompt for prompt in drawn if prompt.id not in seen]
        unmeasured = [prompt for prompt in fresh if prompt.id not in measured]
        pool = pool_prompts(unmeasured).prompts
        refuse_evaluation_prompts(pool)
        seen |= {prompt.id for prompt in pool}
        counts["in"] += len(drawn)
        counts["kept"] += len(pool)
        counts["in_evaluation"] += len(fresh) - len(unmeasured)
        counts["duplicate"] += len(drawn) - len(fresh) + len(unmeasured) - len(pool)
        outputs.append(bench.paths.records(f"prompts_{name}"))
        save_records(outputs[-1], pool)
    for group, prompts in evaluation.items():
        counts["in"] += len(prompts)
        counts["kept"] += len(prompts)
        outputs.append(bench.paths.records(f"prompts_{group}"))
        save_records(outputs[-1], prompts)
    return Outcome(tuple(outputs), counts=counts)


def _size(pool: PoolSizes, kind: PromptKind) -> int:
    return pool.red_team if kind == "red_team" else pool.helpful


# ------------------------------------------------------------------------------------------ stage one


def _revise(bench: Workbench) -> Outcome:
    """Answer, criticise and revise red-team prompts; answer helpful ones; choose what SFT learns from."""
    prompts = load_records(bench.paths.records("prompts_revision"), Prompt)
    config, fraction = bench.config.revision, bench.config.max_failure_fraction

    async def work() -> tuple[Any, Any]:
        chains = await run_revision(
            [p for p in prompts if p.kind == "red_team"],
            assistant=bench.model("base"),
            critic=bench.model("critic"),
            constitution=bench.constitution,
            config=config,
            seed=bench.seed,
            max_failure_fraction=fraction,
            on_progress=bench.progress("chains"),
        )
        helpful = await sample_helpful(
            [p for p in prompts if p.kind == "helpful"],
            assistant=bench.model("base"),
            config=config,
            seed=bench.seed,
            max_failure_fraction=fraction,
            on_progress=bench.progress("helpful answers"),
        )
        return chains, helpful

    chain_results, helpful_results = asyncio.run(work())
    chains, failed_chains = _separate(chain_results.results)
    samples, failed_samples = _separate(helpful_results.results)
    broken = [chain.failure for chain in chains if chain.failure is not None]
    examples = sft_targets(chains, samples, prompts, config)
    _require(examples, "revision", "no response could be revised and none sampled")
    counts = Counter(count_revision_targets(chain_results, config))
    counts.update({"in": len(helpful_results.results), "kept": len(samples), **_reasons(failed_samples)})
    failures = [*failed_chains, *broken, *failed_samples]
    outputs = {
        "revision_chains": chains,
        "helpful_samples": samples,
        "sft_examples": examples,
        "failures_revision": failures,
    }
    return Outcome(
        _save(bench, outputs),
        counts=dict(counts),
        failures=_reasons(failures),
        metrics=revision_metrics(chains),
        **bench.calls,
    )


def _fine_tune(bench: Workbench) -> Outcome:
    """Train SL-CAI."""
    examples = load_records(bench.paths.records("sft_examples"), SFTExample)
    out, curve = bench.paths.model("sl-cai"), bench.paths.metrics("sft")
    summary = bench.engine.run_sft(
        bench.checkpoints["base"],
        examples,
        bench.config.sft,
        out,
        seed=bench.seed,
        metrics=curve,
        on_progress=bench.progress("steps"),
    )
    counts = {
        "in": len(examples),
        "kept": summary.examples,
        "held_out_to_measure": summary.eval_examples,
        "too_long": summary.left_out,
    }
    return Outcome((out, curve), counts=counts, metrics=_numbers(summary))


# ------------------------------------------------------------------------------------------ stage two


def _compare(bench: Workbench) -> Outcome:
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

    comparisons, failures = _separate(asyncio.run(work()).results)
    return Outcome(
        _save(bench, {"comparisons": comparisons, "failures_comparisons": failures}),
        counts={"in": len(prompts), "kept": len(comparisons), **_reasons(failures)},
        failures=_reasons(failures),
        **bench.calls,
    )


def _label(bench: Workbench) -> Outcome:
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
    _require(pairs, "feedback", "no comparison could be labelled")
    summary = feedback_summary(labels)
    metrics = {"feedback/unlabeled_frac": 1 - summary.pairs / max(1, summary.comparisons)}
    if summary.order_disagreement is not None:
        metrics["feedback/order_disagreement"] = summary.order_disagreement
    if summary.mean_mass is not None:
        metrics["feedback/mean_mass"] = summary.mean_mass
    return Outcome(
        _save(bench, {"preference_labels": labels, "preference_pairs": pairs}),
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


def _train_preference_model(bench: Workbench) -> Outcome:
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
    return Outcome((out, curve), counts=counts, metrics=_numbers(summary))


def _reinforce(bench: Workbench) -> Outcome:
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
    return Outcome((out, value, curve, texts), counts=counts, metrics=_numbers(summary))


# ----------------------------------------------------------------------------------------- evaluation


def _evaluate(bench: Workbench) -> Outcome:
    """Ask the three models the same prompts and grade their answers; follow one prompt turn by turn."""
    prompts = {group: load_records(bench.paths.records(f"prompts_{group}"), Prompt) for group in GROUPS}

    async def work() -> tuple[list[EvalRecord | Failure], Any]:
        answers: list[EvalRecord | Failure] = []
        for name in MODELS:
            found = await run_evaluation(
                name,
                bench.model(name),
                prompts,
                bench.grader,
                bench.config.evaluation,
                seed=bench.seed,
                max_failure_fraction=bench.config.max_failure_fraction,
                on_progress=bench.progress(name),
            )
            answers += found.results
        return answers, await follow_example(bench, MODELS)

    answers, example = asyncio.run(work())
    records, failures = _separate(answers)
    outputs = {
        "evaluation": records,
        "failures_evaluation": failures,
        "example": example.answers,
        "example_chain": [example.chain] if example.chain is not None else [],
    }
    return Outcome(
        _save(bench, outputs),
        counts={"in": len(answers), "kept": len(records), **_reasons(failures)},
        failures=_reasons(failures),
        **bench.calls,
    )


# ------------------------------------------------------------------------------------------- together


def _save(bench: Workbench, files: Mapping[str, Sequence[Any]]) -> tuple[Any, ...]:
    for name, records in files.items():
        save_records(bench.paths.records(name), records)
    return tuple(bench.paths.records(name) for name in files)


def _numbers(summary: Any) -> dict[str, float]:
    """Return the numbers of a training summary, those that are None left out."""
    return {name: float(value) for name, value in summary.model_dump().items() if isinstance(value, int | float)}


def _require(items: Sequence[object], stage: str, problem: str) -> None:
    if not items:
        raise StageFailedError(f"{stage}: {problem}: the stages after it would have nothing to learn from")


STAGES: tuple[Stage, ...] = (
    Stage("prompts", _settings("prompts"), ("constitution",), _draw_prompts),
    Stage(
        "revision",
        _settings("revision", "max_failure_fraction"),
        ("constitution", "templates", "records/prompts_revision", "base", "critic"),
        _revise,
    ),
    Stage("sft", _settings("sft"), ("templates", "records/sft_examples", "base"), _fine_tune),
    Stage(
        "comparisons",
        _settings("comparisons", "max_failure_fraction"),
        ("templates", "records/prompts_comparisons", "sl-cai"),
        _compare,
    ),
    Stage(
        "feedback",
        _settings("feedback", "max_failure_fraction"),
        ("constitution", "templates", "records/comparisons", "feedback"),
        _label,
    ),
    Stage(
        "preference-model",
        _settings("preference_model", "heldout_pairs"),
        ("templates", "records/preference_pairs", "sl-cai"),
        _train_preference_model,
    ),
    Stage(
        "ppo",
        _settings("ppo"),
        ("templates", "records/prompts_ppo", "sl-cai", "preference-model"),
        _reinforce,
    ),
    Stage(
        "evaluation",
        _settings("evaluation", "revision", "max_failure_fraction"),
        (
            "constitution",
            "templates",
            *(f"records/prompts_{group}" for group in GROUPS),
            "base",
            "critic",
            "sl-cai",
            "rl-cai",
        ),
        _evaluate,
    ),
)
