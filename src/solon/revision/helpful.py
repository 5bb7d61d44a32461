"""Stage 1, the other half of its data: the helpful-only model's own answers to ordinary requests.

They are mixed into SFT so that harmlessness is not learnt at the expense of helpfulness. Each draw is an item of
its own; one that is empty or was cut off is left out and counted. With `cut_responses` one that was cut off is learnt
as far as it goes, without an end: left out, requests that call for long answers would be learnt from red-team prompts
only, and refused.

Departures from the paper (Bai et al. 2022, arXiv 2212.08073, section 3.2):
1. Its size: the paper took two responses to each of 135,296 prompts.
2. What `cut_responses` does; the paper does not say what became of responses that reached a limit.
"""

from collections.abc import Sequence

from solon.lm import ItemResults, LanguageModel, OnProgress, respond, run_items
from solon.records import Failure, HelpfulSample, Prompt
from solon.revision.chains import RevisionConfig
from solon.storage import content_digest, derive_seed

STAGE = "helpful"


async def sample_helpful(
    prompts: Sequence[Prompt],
    *,
    assistant: LanguageModel,
    config: RevisionConfig,
    seed: int,
    max_failure_fraction: float,
    on_progress: OnProgress | None = None,
) -> ItemResults[HelpfulSample]:
    """Answer every prompt `config.helpful_samples` times.

    Args:
        prompts: ordinary requests.
        assistant: the helpful-only model.
        config: how many, and how they are drawn.
        seed: the run's seed.
        max_failure_fraction: share of the draws that may fail.
        on_progress: told how many draws are done, of how many.

    Returns:
        A sample or a `Failure` for each draw, those of one prompt side by side, in the order of the prompts.

    Raises:
        StageFailedError: more items failed than the bound allows.
    """
    sampling = config.sampling(config.helpful_max_tokens or config.max_tokens)
    draws = [(prompt, draw) for prompt in prompts for draw in range(1, config.helpful_samples + 1)]

    async def answer(item: tuple[Prompt, int]) -> HelpfulSample | Failure:
        prompt, draw = item
        draw_seed = derive_seed(seed, STAGE, prompt.id, draw)
        response = await respond(assistant, prompt.conversation, sampling, seed=draw_seed)
        is_beginning = config.cut_responses and response.is_beginning
        if response.fault is not None and not is_beginning:
            return Failure.of_text(response, "response", item=_key(item), stage=STAGE)
        return HelpfulSample(
            id=content_digest(["helpful", prompt.id, seed, draw], size=8),
            prompt_id=prompt.id,
            draw=draw,
            response=response,
        )

    return await run_items(
        draws,
        answer,
        key=_key,
        stage=STAGE,
        max_failure_fraction=max_failure_fraction,
        on_progress=on_progress,
    )


def _key(item: tuple[Prompt, int]) -> str:
    return f"{item[0].id}/{item[1]}"
