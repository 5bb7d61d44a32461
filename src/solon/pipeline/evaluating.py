"""The last stage before the report: the three models on prompts that no stage was trained on."""

import asyncio
from typing import Any

from solon.evaluation import run_evaluation
from solon.pipeline.example import follow_example
from solon.pipeline.outcomes import count_reasons, save_all, separate
from solon.pipeline.prompt_pools import GROUPS
from solon.pipeline.stage import Outcome
from solon.pipeline.workbench import Workbench
from solon.records import EvalRecord, Failure, Prompt, load_records

MODELS = ("base", "sl-cai", "rl-cai")


def evaluate(bench: Workbench) -> Outcome:
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
    records, failures = separate(answers)
    all_failures = [*failures, *example.failures]
    outputs = {
        "evaluation": records,
        "failures_evaluation": all_failures,
        "example": example.answers,
        "example_chain": [example.chain] if example.chain is not None else [],
    }
    return Outcome(
        save_all(bench, outputs),
        counts={"in": len(answers), "kept": len(records), **count_reasons(failures)},
        failures=count_reasons(all_failures),
        **bench.calls,
    )
