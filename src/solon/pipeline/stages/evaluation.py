"""What follows any part of the method: the base and the models made so far, on prompts that no stage was trained on."""

import asyncio
from collections.abc import Sequence

from solon.evaluation import PairGrader, grade_revisions, run_evaluation
from solon.lm import ItemResults
from solon.pipeline.artifacts import (
    ASSISTANT,
    CONSTITUTION,
    CRITIC,
    GRADERS,
    MODELS,
    TEMPLATES,
    Checkpoint,
    Records,
    Role,
)
from solon.pipeline.context import StageContext
from solon.pipeline.example import FollowedExample, follow_example
from solon.pipeline.graph import Graph, Stage
from solon.pipeline.manifests import Outcome
from solon.pipeline.stages.prompts import EVALUATION_PROMPTS, REVISION_PROMPTS
from solon.pipeline.stages.revision import CHAINS
from solon.records import EvalRecord, Failure, RevisionChain, RevisionGrade, count_reasons

ANSWERS = Records("evaluation", EvalRecord)
REVISION_GRADES = Records("revision_grades", RevisionGrade, named_by="chain_id")
FAILURES = Records("failures_evaluation", Failure, named_by="item")
EXAMPLE = Records("example", EvalRecord)
EXAMPLE_CHAIN = Records("example_chain", RevisionChain)


def evaluate_models(graph: Graph) -> Stage:
    """Return the stage that evaluates the base and every assistant that a graph makes."""
    models: tuple[Role | Checkpoint, ...] = (ASSISTANT, *graph.assistants())
    revised = (CHAINS, REVISION_PROMPTS) if CHAINS in graph.records() else ()

    def evaluate(context: StageContext) -> Outcome:
        """Ask the models the same prompts and grade their answers; grade the revisions; follow one prompt."""

        async def work() -> tuple[ItemResults[EvalRecord], ItemResults[RevisionGrade], FollowedExample]:
            answers = ItemResults([answer for model in models for answer in await _ask(context, model)])
            grades = await _grade_revisions(context) if revised else ItemResults[RevisionGrade]([])
            return answers, grades, await follow_example(context, models)

        answers, grades, example = asyncio.run(work())
        failures = [*answers.failures, *grades.failures, *example.failures]
        context.write(
            {
                ANSWERS: answers.kept,
                REVISION_GRADES: grades.kept,
                FAILURES: failures,
                EXAMPLE: example.answers,
                EXAMPLE_CHAIN: [example.chain] if example.chain is not None else [],
            }
        )
        return Outcome(
            counts={"in": len(answers.results), "kept": len(answers.kept), **count_reasons(answers.failures)},
            failures=count_reasons(failures),
        )

    return Stage(
        "evaluation",
        settings=("evaluation", "revision", "max_failure_fraction"),
        reads=(CONSTITUTION, TEMPLATES, EVALUATION_PROMPTS, *revised, GRADERS, MODELS, CRITIC, *models),
        writes=(ANSWERS, REVISION_GRADES, FAILURES, EXAMPLE, EXAMPLE_CHAIN),
        work=evaluate,
    )


async def _ask(context: StageContext, model: Role | Checkpoint) -> Sequence[EvalRecord | Failure]:
    """Ask one model the prompts of every evaluation; the base is what pair graders compare the others with."""
    answers: list[EvalRecord | Failure] = []
    for evaluation in context.prompts.evaluations:
        paired = isinstance(evaluation.grader, PairGrader)
        if paired and model == ASSISTANT:
            continue
        found = await context.collect(
            run_evaluation(
                model.name,
                context.model(model),
                evaluation,
                context.config.evaluation,
                reference=context.model(ASSISTANT) if paired else None,
                open_model=context.model_of,
                seed=context.seed,
                max_failure_fraction=context.config.max_failure_fraction,
                on_progress=context.progress(f"{model.name}, {evaluation.name}"),
            )
        )
        answers += found.results
    return answers


async def _grade_revisions(context: StageContext) -> ItemResults[RevisionGrade]:
    """Grade the responses of stage 1 as the main evaluation grades answers, where it follows revisions at all."""
    main, *_ = context.prompts.evaluations
    if not main.measures.revisions:
        return ItemResults([])
    return await context.collect(
        grade_revisions(
            context.read(CHAINS),
            context.read(REVISION_PROMPTS),
            main,
            open_model=context.model_of,
            max_failure_fraction=context.config.max_failure_fraction,
            on_progress=context.progress("revisions"),
        )
    )
