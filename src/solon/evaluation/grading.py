"""Put prompts to a model and have its answers graded.

The grader decides everything from prompt and response; what a response is worth for training is no business of
this room. A response that the grader can tell nothing about is a graded outcome of its own, `ungraded`; an empty one
and one that was cut off are the grader's to judge like any other. Where a model's thought did not end there is no
response, and no grader is asked. A call that failed brings no record, only a failure.

The draws of two models on one prompt share their seed, so that models which agree also draw alike and their
difference is measured the more closely; on each model alone the draws are independent.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from pydantic import Field

from solon.errors import ConfigError, RunError, SolonError
from solon.evaluation.protocol import Evaluation, Grader, OpenModel, PairGrader
from solon.lm import ItemResults, LanguageModel, OnProgress, respond, run_items
from solon.messages import describe_error
from solon.records import (
    DrawConfig,
    EvalRecord,
    Grade,
    Prompt,
    RevisionChain,
    RevisionGrade,
    Sample,
    TokenLimit,
)
from solon.storage import content_digest, derive_seed

STAGE = "evaluation"


class EvaluationConfig(DrawConfig):
    """How a model is asked; its answers are drawn as `DrawConfig` says. Paper: temperature 1, and 0 beside it.

    Attributes:
        max_tokens: limit of a response. Paper: not stated.
        samples_per_prompt: responses to each prompt; intervals take them as of one cluster. Paper: 256 for 64 prompts.
    """

    max_tokens: TokenLimit = 256
    samples_per_prompt: int = Field(1, ge=1)


class _Item(NamedTuple):
    group: str
    prompt: Prompt
    draw: int

    @property
    def key(self) -> str:
        return f"{self.group}/{self.prompt.id}/{self.draw}"


async def run_evaluation(
    model_name: str,
    model: LanguageModel,
    evaluation: Evaluation,
    config: EvaluationConfig,
    *,
    reference: LanguageModel | None = None,
    open_model: OpenModel,
    seed: int,
    max_failure_fraction: float,
    on_progress: OnProgress | None = None,
) -> ItemResults[EvalRecord]:
    """Ask one model everything that an evaluation asks and have its answers graded as they come.

    Args:
        model_name: what records call the model, e.g. `sl-cai`.
        model: the model.
        evaluation: prompts and grader.
        config: how the model is asked.
        reference: with whose answers a `PairGrader` compares; asked the same, with the same seeds.
        open_model: opens the models that a grader asks.
        seed: the run's seed; the same for every model that is to be compared.
        max_failure_fraction: share of the draws that may fail.
        on_progress: told how many draws are done, of how many.

    Returns:
        A record for each draw, group by group and prompt by prompt; a `Failure` where a call failed.

    Raises:
        StageFailedError: more items failed than the bound allows.
        RunError: the grader raised an error of its own.
    """
    sampling = config.sampling(config.max_tokens)
    items = [
        _Item(group, prompt, draw)
        for group, members in evaluation.prompts.items()
        for prompt in members
        for draw in range(1, config.samples_per_prompt + 1)
    ]

    async def answer(asked: LanguageModel, item: _Item) -> Sample:
        draw = derive_seed(seed, STAGE, item.group, item.prompt.id, item.draw)
        return await respond(asked, item.prompt.conversation, sampling, seed=draw)

    async def ask(item: _Item) -> EvalRecord:
        response = await answer(model, item)
        beside = None if reference is None else await answer(reference, item)
        return EvalRecord(
            id=content_digest([evaluation.name, model_name, item.group, item.prompt.id, item.draw], size=8),
            evaluation=evaluation.name,
            model_name=model_name,
            prompt=item.prompt,
            group=item.group,
            response=response,
            grade=await grade_response(evaluation.grader, item.prompt, response, open_model, reference=beside),
            grader=evaluation.grader.identity,
            reference=beside,
        )

    return await run_items(
        items,
        ask,
        key=lambda item: item.key,
        stage=STAGE,
        max_failure_fraction=max_failure_fraction,
        on_progress=on_progress,
    )


async def grade_revisions(
    chains: Sequence[RevisionChain],
    prompts: Sequence[Prompt],
    evaluation: Evaluation,
    *,
    open_model: OpenModel,
    max_failure_fraction: float,
    on_progress: OnProgress | None = None,
) -> ItemResults[RevisionGrade]:
    """Grade the responses of stage 1 after 0, 1, 2, ... revisions as an evaluation grades answers.

    Nothing is trained on these grades. A chain that broke off is graded up to its last revision.

    Args:
        chains: what stage 1 made.
        prompts: the prompts it was asked.
        evaluation: whose grader grades.
        open_model: opens the models that the grader asks.
        max_failure_fraction: share of the grades that may fail.
        on_progress: told how many are done, of how many.

    Raises:
        StageFailedError: more items failed than the bound allows.
        RunError: the grader raised an error of its own.
    """
    by_id = {prompt.id: prompt for prompt in prompts}
    items = [(chain, number) for chain in chains for number in range(len(chain.steps) + 1)]

    async def look(item: tuple[RevisionChain, int]) -> RevisionGrade:
        chain, number = item
        prompt = by_id[chain.prompt_id]
        response = chain.response_after(number)
        return RevisionGrade(
            chain_id=chain.id,
            round=number,
            prompt=prompt,
            grade=await grade_response(evaluation.grader, prompt, response, open_model),
            grader=evaluation.grader.identity,
            cut=response.cut,
        )

    return await run_items(
        items,
        look,
        key=lambda item: f"{item[0].id}/{item[1]}",
        stage=STAGE,
        max_failure_fraction=max_failure_fraction,
        on_progress=on_progress,
    )


async def grade_response(
    grader: Grader | PairGrader,
    prompt: Prompt,
    response: Sample,
    open_model: OpenModel,
    *,
    reference: Sample | None = None,
) -> Grade:
    """Have one response graded; a `PairGrader` needs a reference to compare it with.

    Ungraded without asking where no response was begun, its own or the reference's.

    Raises:
        ConfigError: a pair grader without a reference.
        RunError: the grader raised an error of its own, or gave no `Grade`; what the run did so far is kept.
    """
    if not all(sample.thought_closed for sample in (response, reference) if sample is not None):
        return Grade(ungraded="the model's thought did not end: there is no response")
    ask: Callable[[], Awaitable[Grade]]
    if not isinstance(grader, PairGrader):
        ask = partial(grader.grade, prompt, response, open_model)
    elif reference is not None:
        ask = partial(grader.compare, prompt, response, reference, open_model)
    else:
        raise ConfigError(f"grader {grader.identity} compares two responses: there is one only")
    mend = "mend it and run the same command again; what is done is kept"
    try:
        grade: Any = await ask()  # what a user's code returns need not be what it promised
    except SolonError:
        raise
    except (Exception, SystemExit) as error:  # a user's own code: anything can come out of it
        said = describe_error(error)
        raise RunError(
            f"grader {grader.identity}: failed on prompt {prompt.id} with {type(error).__name__}: {said}: {mend}"
        ) from error
    if not isinstance(grade, Grade):
        kind = type(grade).__name__
        raise RunError(f"grader {grader.identity}: gave {kind} instead of a Grade for prompt {prompt.id}: {mend}")
    return grade
