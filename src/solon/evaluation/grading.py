"""Put prompts to a model and have its answers graded.

The grader decides everything from prompt and response; what a response is worth for training is no business of
this room. A response that the grader cannot read is a graded outcome of its own, `unparsed`; an empty one and one
that was cut off are the grader's to judge like any other. A call that failed brings no record, only a failure.

The draws of two models on one prompt share their seed, so that models which agree also draw alike and their
difference is measured the more closely; on each model alone the draws are independent.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

from solon.lm import ItemResults, LanguageModel, OnProgress, run_items
from solon.prompting import render_response
from solon.records import EvalRecord, Grade, Layout, Prompt, Sampling, Temperature, content_digest, derive_seed

STAGE = "evaluation"


class Grader(Protocol):
    """Decides what a response does. Any attribute names will do; `Measures` says which of them are reported."""

    @property
    def identity(self) -> str:
        """Name of the grader, as records and results give it."""
        ...

    def grade(self, prompt: Prompt, response: str) -> Grade:
        """Grade a response to a prompt; one that cannot be read is `unparsed`, never a zero."""
        ...


class EvaluationConfig(BaseModel):
    """How a model is asked.

    Attributes:
        temperature: of every draw. Paper: 1, and 0 beside it.
        max_tokens: limit of a response. Paper: not stated.
        samples_per_prompt: responses to each prompt; intervals take them as of one cluster. Paper: 256 for 64 prompts.
        layout: how prompts are laid out. Paper: `transcript`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: Temperature = 1.0
    max_tokens: int = Field(256, ge=1)
    samples_per_prompt: int = Field(1, ge=1)
    layout: Layout = "chat"


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
    prompts: Mapping[str, Sequence[Prompt]],
    grader: Grader,
    config: EvaluationConfig,
    *,
    seed: int,
    max_failure_fraction: float,
    on_progress: OnProgress | None = None,
) -> ItemResults[EvalRecord]:
    """Ask one model everything and grade what it says.

    Args:
        model_name: what records call the model, e.g. `sl-cai`.
        model: the model.
        prompts: group to prompts, e.g. `harmful`, `benign`, `twins`.
        grader: grades each response as it comes.
        config: how the model is asked.
        seed: the run's seed; the same for every model that is to be compared.
        max_failure_fraction: share of the draws that may fail.
        on_progress: told how many draws are done, of how many.

    Returns:
        A record for each draw, group by group and prompt by prompt; a `Failure` where a call failed.

    Raises:
        StageFailedError: more items failed than the bound allows.
    """
    sampling = Sampling(temperature=config.temperature, max_tokens=config.max_tokens)
    items = [
        _Item(group, prompt, draw)
        for group, members in prompts.items()
        for prompt in members
        for draw in range(1, config.samples_per_prompt + 1)
    ]

    async def ask(item: _Item) -> EvalRecord:
        rendered = render_response(item.prompt.conversation, config.layout)
        response = await model.generate(
            rendered, sampling, seed=derive_seed(seed, STAGE, item.group, item.prompt.id, item.draw)
        )
        return EvalRecord(
            id=content_digest([model_name, item.group, item.prompt.id, item.draw], size=8),
            model_name=model_name,
            prompt=item.prompt,
            group=item.group,
            response=response,
            grade=grader.grade(item.prompt, response.text),
            grader=grader.identity,
        )

    return await run_items(
        items,
        ask,
        key=lambda item: item.key,
        stage=STAGE,
        max_failure_fraction=max_failure_fraction,
        on_progress=on_progress,
    )
