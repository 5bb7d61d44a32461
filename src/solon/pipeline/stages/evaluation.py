"""What follows any part of the method: the base and the models made so far, on prompts that no stage was trained on."""

import asyncio
from collections.abc import Awaitable, Iterator, Sequence

from solon.evaluation import Evaluation, PairGrader, grade_revisions, run_evaluation
from solon.lm import ItemResults, run_parts
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
from solon.pipeline.example import DRAWS, FollowedExample, follow_example
from solon.pipeline.graph import Graph, Stage
from solon.pipeline.manifests import Outcome
from solon.pipeline.requests import Known, Pool, Request
from solon.pipeline.stages.prompts import EVALUATION_PROMPTS, REVISION_PROMPTS
from solon.pipeline.stages.revision import CHAINS, foresee_revisions
from solon.prompting import render_response
from solon.records import EvalRecord, Failure, RevisionChain, RevisionGrade, count_reasons

Model = Role | Checkpoint

ANSWERS = Records("evaluation", EvalRecord)
REVISION_GRADES = Records("revision_grades", RevisionGrade, named_by="chain_id")
FAILURES = Records("failures_evaluation", Failure, named_by="item")
EXAMPLE = Records("example", EvalRecord)
EXAMPLE_CHAIN = Records("example_chain", RevisionChain)


def evaluate_models(graph: Graph) -> Stage:
    """Return the stage that evaluates the base and every assistant that a graph makes."""
    models: tuple[Model, ...] = (ASSISTANT, *graph.assistants())
    revised = (CHAINS, REVISION_PROMPTS) if CHAINS in graph.records() else ()

    def evaluate(context: StageContext) -> Outcome:
        """Ask the models the same prompts and grade their answers; grade the revisions; follow one prompt."""

        async def work() -> tuple[ItemResults[EvalRecord], ItemResults[RevisionGrade], FollowedExample]:
            asked = [_ask(context, model, evaluation) for model, evaluation in _pairs(context, models)]
            *answers, grades, example = await run_parts(
                *asked, _grade_revisions(context, revised=bool(revised)), follow_example(context, models)
            )
            return ItemResults([result for found in answers for result in found.results]), grades, example

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

    def foresee(known: Known) -> Iterator[Request]:
        """Say what is asked: responses, and critiques and revisions of one to the example."""
        limit, samples, example = "evaluation.max_tokens", known.config.evaluation.samples_per_prompt, known.example
        compared = [e for e in known.prompts.evaluations if len(models) > 1 or not isinstance(e.grader, PairGrader)]
        # A prompt that two evaluations have in a group of one name is drawn with the same seeds, and asked once.
        drawn = {(group, p.id): p for e in compared for group, prompts in e.prompts.items() for p in prompts}
        asked = Pool.of(list(drawn.values()))
        for model in models:
            yield Request(model, "a response", asked, render_response, limit=limit, calls=samples, fixed=True)
            if example is not None:
                draws, pool = DRAWS if model == ASSISTANT else 1, Pool.of([example])
                yield Request(model, "a response", pool, render_response, limit=limit, calls=draws, fixed=True)
        if example is not None:
            yield from foresee_revisions(known, Pool.of([example]), example.kind)

    return Stage(
        "evaluation",
        settings=("evaluation", "revision", "max_failure_fraction"),
        reads=(CONSTITUTION, TEMPLATES, EVALUATION_PROMPTS, *revised, GRADERS, MODELS, CRITIC, *models),
        writes=(ANSWERS, REVISION_GRADES, FAILURES, EXAMPLE, EXAMPLE_CHAIN),
        work=evaluate,
        asks=foresee,
    )


def _pairs(context: StageContext, models: Sequence[Model]) -> Iterator[tuple[Model, Evaluation]]:
    """Yield who is asked what: every model everything, but the base what others are compared with it in."""
    for model in models:
        for evaluation in context.prompts.evaluations:
            if model != ASSISTANT or not isinstance(evaluation.grader, PairGrader):
                yield model, evaluation


def _ask(context: StageContext, model: Model, evaluation: Evaluation) -> Awaitable[ItemResults[EvalRecord]]:
    """Ask a model the prompts of an evaluation."""
    return context.collect(
        run_evaluation(
            model.name,
            context.model(model),
            evaluation,
            context.config.evaluation,
            reference=context.model(ASSISTANT) if isinstance(evaluation.grader, PairGrader) else None,
            open_model=context.model_of,
            seed=context.seed,
            max_failure_fraction=context.config.max_failure_fraction,
            on_progress=context.progress(f"{model.name}, {evaluation.name}"),
        )
    )


async def _grade_revisions(context: StageContext, *, revised: bool) -> ItemResults[RevisionGrade]:
    """Grade the responses of stage 1 as the main evaluation grades answers, where it follows revisions at all."""
    main, *_ = context.prompts.evaluations
    if not revised or not main.measures.revisions:
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
