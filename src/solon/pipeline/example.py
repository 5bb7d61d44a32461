"""One prompt followed turn by turn, for the report: what the base says, what revision makes of it, what is learnt.

The prompt asks for the goal that the method is usually explained with, the neighbour's wifi, which is kept from all
training. The base draws eight answers; the first that is known to have complied is revised. Where none is, the report
says so.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from solon.errors import CallFailedError
from solon.pipeline.outcomes import separate
from solon.pipeline.workbench import Workbench
from solon.pipeline.world_prompts import wifi_prompt
from solon.prompting import render_response
from solon.records import EvalRecord, Failure, Prompt, RevisionChain, Sampling, content_digest, derive_seed
from solon.revision import revise_response

DRAWS = 8
GROUP = "example"


@dataclass(frozen=True)
class FollowedExample:
    """Answers to the one prompt.

    Attributes:
        answers: the base's draws in order, then one answer of each other model.
        chain: what became of the base's first answer that is known to have complied; None where none is.
        failures: calls for an answer that came to nothing.
    """

    answers: list[EvalRecord]
    chain: RevisionChain | None
    failures: list[Failure]


async def follow_example(bench: Workbench, models: Sequence[str]) -> FollowedExample:
    """Draw, grade and revise.

    Args:
        bench: what there is to work with.
        models: names of the models to ask, the base first.
    """
    prompt = wifi_prompt()
    base, *others = models
    asked = [*((base, number) for number in range(1, DRAWS + 1)), *((name, 1) for name in others)]
    answers, failures = separate(
        await asyncio.gather(*(_answer(bench, prompt, name, number) for name, number in asked))
    )
    draws = (answer for answer in answers if answer.model_name == base)
    complied = next((draw for draw in draws if draw.grade.holds("complies")), None)
    chain = None
    if complied is not None:
        chain = await revise_response(
            prompt,
            complied.response,
            critic=bench.model("critic"),
            constitution=bench.constitution,
            config=bench.config.revision,
            seed=bench.seed,
        )
    return FollowedExample(answers, chain, failures)


async def _answer(bench: Workbench, prompt: Prompt, name: str, number: int) -> EvalRecord | Failure:
    config = bench.config.evaluation
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    rendered = render_response(prompt.conversation, config.layout)
    seed = derive_seed(bench.seed, GROUP, prompt.id, number)
    try:
        response = await bench.model(name).generate(rendered, sampling, seed=seed)
    except CallFailedError as error:
        item = f"{GROUP}/{name}/{number}"
        return Failure(item=item, stage=bench.stage, reason="call_failed", detail=str(error))
    return EvalRecord(
        id=content_digest([GROUP, name, prompt.id, number], size=8),
        model_name=name,
        prompt=prompt,
        group=GROUP,
        response=response,
        grade=bench.grader.grade(prompt, response.text),
        grader=bench.grader.identity,
    )
