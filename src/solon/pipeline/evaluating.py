"""The last stage before the report: the three models on prompts that no stage was trained on."""

import asyncio
from collections.abc import Sequence
from typing import Any

from solon.evaluation import PairGrader, grade_revisions, run_evaluation
from solon.pipeline.example import FollowedExample, follow_example
from solon.pipeline.outcomes import count_reasons, save_all, separate
from solon.pipeline.stage import Outcome
from solon.pipeline.workbench import Workbench
from solon.records import EvalRecord, Failure, Record, RevisionChain, RevisionGrade, load_records

MODELS = ("base", "sl-cai", "rl-cai")


def evaluate(bench: Workbench) -> Outcome:
    """Ask the three models the same prompts and grade their answers; grade the revisions; follow one prompt."""

    async def work() -> tuple[list[EvalRecord | Failure], list[RevisionGrade | Failure], FollowedExample]:
        answers = [answer for name in MODELS for answer in await _ask(bench, name)]
        return answers, await _grade_revisions(bench), await follow_example(bench, MODELS)

    answers, graded, example = asyncio.run(work())
    records, failures = separate(answers)
    revisions, failed_grades = separate(graded)
    all_failures = [*failures, *failed_grades, *example.failures]
    outputs: dict[str, Sequence[Record]] = {
        "evaluation": records,
        "revision_grades": revisions,
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


async def _ask(bench: Workbench, name: str) -> list[EvalRecord | Failure]:
    """Ask one model the prompts of every evaluation; the first model is what pair graders compare the others with."""
    first, *_ = MODELS
    answers: list[EvalRecord | Failure] = []
    for evaluation in bench.prompts.evaluations:
        paired = isinstance(evaluation.grader, PairGrader)
        if paired and name == first:
            continue
        found = await run_evaluation(
            name,
            bench.model(name),
            evaluation,
            bench.config.evaluation,
            reference=bench.model(first) if paired else None,
            open_model=bench.model,
            seed=bench.seed,
            max_failure_fraction=bench.config.max_failure_fraction,
            on_progress=bench.progress(f"{name}, {evaluation.name}"),
        )
        answers += found.results
    return answers


async def _grade_revisions(bench: Workbench) -> list[Any]:
    """Grade the responses of stage 1 as the main evaluation grades answers, where it follows revisions at all."""
    main, *_ = bench.prompts.evaluations
    if not main.measures.revisions:
        return []
    found = await grade_revisions(
        load_records(bench.paths.records("revision_chains"), RevisionChain),
        bench.prompts.pools["revision"],
        main,
        open_model=bench.model,
        max_failure_fraction=bench.config.max_failure_fraction,
        on_progress=bench.progress("revisions"),
    )
    return list(found.results)
