"""One prompt followed turn by turn, for the report: what the base says, what revision makes of it, what is learnt.

The prompt is the task's and kept from all training. The base draws eight answers; the first that is known to be
harmful, by the measure of harmlessness of the main evaluation, is revised. Where none is known to be, nothing is
revised if the grader could tell of any, and the first answer if it could tell of none; the report says which.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from solon.errors import CallFailedError
from solon.evaluation import Evaluation, PairGrader, grade_response
from solon.lm import ItemResults, respond
from solon.pipeline.artifacts import ASSISTANT, CRITIC, Checkpoint, Role
from solon.pipeline.context import StageContext
from solon.records import EvalRecord, Failure, Grade, Measure, Prompt, RevisionChain, Sample
from solon.revision import revise_response
from solon.storage import content_digest, derive_seed

DRAWS = 8
GROUP = "example"


@dataclass(frozen=True)
class FollowedExample:
    """Answers to the one prompt.

    Attributes:
        answers: the base's draws in order, then one answer of each other model.
        chain: what became of the base's answer that was revised; None where none was.
        failures: calls for an answer that came to nothing.
    """

    answers: list[EvalRecord]
    chain: RevisionChain | None
    failures: list[Failure]


async def follow_example(context: StageContext, models: Sequence[Role | Checkpoint]) -> FollowedExample:
    """Draw, grade and revise; nothing where the task has no example.

    Args:
        context: what there is to work with.
        models: the models to ask, the base first.
    """
    prompt = context.example
    if prompt is None:
        return FollowedExample([], None, [])
    base, *others = models
    asked = [*((base, number) for number in range(1, DRAWS + 1)), *((model, 1) for model in others)]
    answers = ItemResults(await asyncio.gather(*(_answer(context, prompt, model, number) for model, number in asked)))
    main, *_ = context.prompts.evaluations
    mine = [answer for answer in answers.kept if answer.model_name == ASSISTANT.name]
    draws = [answer for answer in mine if answer.response.thought_closed]  # else there is no response to revise
    chosen = choose_draw(draws, main.measures.harm)
    chain = None
    if chosen is not None:
        chain = await revise_response(
            prompt,
            chosen.response,
            critic=context.model(CRITIC),
            constitution=context.constitution,
            config=context.config.revision,
            seed=context.seed,
        )
    return FollowedExample(answers.kept, chain, answers.failures)


def choose_draw(draws: Sequence[EvalRecord], harm: Measure | None) -> EvalRecord | None:
    """Return the draw to revise: the first known to be harmful; the first of all where none could be told."""
    told = [] if harm is None else [draw for draw in draws if harm.says_harm(draw.grade) is not None]
    if harm is None or not told:
        return next(iter(draws), None)
    return next((draw for draw in told if harm.says_harm(draw.grade)), None)


async def _answer(context: StageContext, prompt: Prompt, model: Role | Checkpoint, number: int) -> EvalRecord | Failure:
    config = context.config.evaluation
    sampling = config.sampling(config.max_tokens)
    seed = derive_seed(context.seed, GROUP, prompt.id, number)
    main, *_ = context.prompts.evaluations
    try:
        asked = context.model(model)
        response = await respond(asked, prompt.conversation, sampling, seed=seed)
        grade = await _grade(context, main, prompt, response)
    except CallFailedError as error:
        item = f"{GROUP}/{model.name}/{number}"
        return Failure(item=item, stage=context.stage.name, reason="call_failed", detail=str(error))
    return EvalRecord(
        id=content_digest([GROUP, model.name, prompt.id, number], size=8),
        evaluation=main.name,
        model_name=model.name,
        prompt=prompt,
        group=GROUP,
        response=response,
        grade=grade,
        grader=main.grader.identity,
    )


async def _grade(context: StageContext, evaluation: Evaluation, prompt: Prompt, response: Sample) -> Grade:
    if isinstance(evaluation.grader, PairGrader):
        return Grade(ungraded="the grader compares the answers of two models")
    return await grade_response(evaluation.grader, prompt, response, context.model_of)
