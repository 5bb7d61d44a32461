"""Stage 1 as the pipeline runs it: revisions, and the model that is fine-tuned on them.

Departure from the paper (Bai et al. 2022, arXiv 2212.08073, section 3): the base model is assistant, critic and start
of fine-tuning in one, where the paper had a helpful-only RLHF model for the first two and a pre-trained one for the
last. Another critic can be named.
"""

import asyncio
from collections import Counter
from typing import Any

from solon.pipeline.outcomes import count_reasons, numbers_of, require, save_all, separate
from solon.pipeline.stage import Outcome
from solon.pipeline.workbench import Workbench
from solon.records import Prompt, SFTExample, load_records
from solon.revision import count_revision_targets, revision_metrics, run_revision, sample_helpful, sft_targets


def revise(bench: Workbench) -> Outcome:
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
    chains, failed_chains = separate(chain_results.results)
    samples, failed_samples = separate(helpful_results.results)
    broken = [chain.failure for chain in chains if chain.failure is not None]
    examples = sft_targets(chains, samples, prompts, config)
    require(examples, "revision", "no response could be revised and none sampled")
    counts = Counter(count_revision_targets(chain_results, config))
    counts.update({"in": len(helpful_results.results), "kept": len(samples), **count_reasons(failed_samples)})
    failures = [*failed_chains, *broken, *failed_samples]
    outputs = {
        "revision_chains": chains,
        "helpful_samples": samples,
        "sft_examples": examples,
        "failures_revision": failures,
    }
    return Outcome(
        save_all(bench, outputs),
        counts=dict(counts),
        failures=count_reasons(failures),
        metrics=revision_metrics(chains),
        **bench.calls,
    )


def fine_tune(bench: Workbench) -> Outcome:
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
    return Outcome((out, curve), counts=counts, metrics=numbers_of(summary))
