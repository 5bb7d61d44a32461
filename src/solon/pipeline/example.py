"""One prompt followed turn by turn, for the report: what the base says, what revision makes of it, what is learnt.

The prompt asks for the goal that the method is usually explained with, the neighbour's wifi, which is kept from all
training. The base draws eight answers; the first that complied is revised. Where none did, that is said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from solon.errors import CallFailedError
from solon.pipeline.workbench import Workbench
from solon.pipeline.world_prompts import wifi_prompt
from solon.prompting import render_response
from solon.records import EvalRecord, Prompt, RevisionChain, Sampling, content_digest, derive_seed
from solon.revision import revise_response

DRAWS = 8
GROUP = "example"


@dataclass(frozen=True)
class FollowedExample:
    """Answers to the one prompt.

    Attributes:
        answers: the base's draws in order, then one answer of each other model.
        chain: what became of the base's first answer that complied; None where none did.
    """

    answers: list[EvalRecord]
    chain: RevisionChain | None


async def follow_example(bench: Workbench, models: Sequence[str]) -> FollowedExample:
    """Draw, grade and revise; a call that fails leaves its answer out."""
    prompt = wifi_prompt()
    base, *others = models
    draws = [await _answer(bench, base, prompt, number) for number in range(1, DRAWS + 1)]
    answers = [answer for answer in draws if answer is not None]
    complied = next((a for a in answers if a.grade.attributes.get("complies", False)), None)
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
    finals = [await _answer(bench, name, prompt, 1) for name in others]
    return FollowedExample([*answers, *(answer for answer in finals if answer is not None)], chain)


async def _answer(bench: Workbench, name: str, prompt: Prompt, number: int) -> EvalRecord | None:
    config = bench.config.evaluation
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    rendered = render_response(prompt.conversation, config.layout)
    seed = derive_seed(bench.seed, GROUP, prompt.id, number)
    try:
        response = await bench.model(name).generate(rendered, sampling, seed=seed)
    except CallFailedError:
        return None
    return EvalRecord(
        id=content_digest([GROUP, name, prompt.id, number], size=8),
        model_name=name,
        prompt=prompt,
        group=GROUP,
        response=response,
        grade=bench.grader.grade(prompt, response.text),
        grader=bench.grader.identity,
    )
