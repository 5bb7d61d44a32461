"""Stage 2, what is compared: two responses of one model, SL-CAI in the paper, to each prompt, drawn independently.

Everything that was drawn becomes a comparison, identical, empty and truncated responses too: what cannot be
labelled is said with the labels, in one place, and the texts stay on record. With `cut_responses` a response that was
cut off is compared up to its last whole sentence.

Departures from the paper (Bai et al. 2022, arXiv 2212.08073, section 4.1):
1. Helpful prompts may be compared by AI feedback too; the paper had human labels for them.

Leaves out: responses of other models, more than one pair of a prompt.
"""

from collections.abc import Sequence

from solon.feedback.concurrency import gather_all
from solon.lm import ItemResults, LanguageModel, OnProgress, respond, run_items
from solon.records import Comparison, DrawConfig, Prompt, Sample, TokenLimit
from solon.storage import content_digest, derive_seed

STAGE = "comparisons"


class ComparisonConfig(DrawConfig):
    """How the two responses are drawn, as `DrawConfig` says.

    Attributes:
        max_tokens: limit of each. Paper: not stated.
        cut_responses: True compares a response that reached `max_tokens` up to the end of its last whole sentence; it
            is counted, and no end is learnt after it. Paper: not stated.
    """

    max_tokens: TokenLimit = 256
    cut_responses: bool = False


async def run_comparisons(
    prompts: Sequence[Prompt],
    *,
    model: LanguageModel,
    config: ComparisonConfig,
    seed: int,
    max_failure_fraction: float,
    on_progress: OnProgress | None = None,
) -> ItemResults[Comparison]:
    """Answer every prompt twice.

    Args:
        prompts: what is put to the model.
        model: SL-CAI in the paper, so that the preference model learns on what the early policy writes.
        config: how the responses are drawn.
        seed: the run's seed.
        max_failure_fraction: share of the prompts that may fail.
        on_progress: told how many prompts are done, of how many.

    Returns:
        A comparison for each prompt, in their order; a `Failure` where a call failed.

    Raises:
        StageFailedError: more items failed than the bound allows.
    """
    sampling = config.sampling(config.max_tokens)

    async def answer_twice(prompt: Prompt) -> Comparison:
        seeds = [derive_seed(seed, STAGE, prompt.id, side) for side in "ab"]
        first, second = await gather_all(
            respond(model, prompt.conversation, sampling, seed=draw, trim=config.cut_responses) for draw in seeds
        )
        return make_comparison(prompt, first, second)

    return await run_items(
        prompts,
        answer_twice,
        key=lambda prompt: prompt.id,
        stage=STAGE,
        max_failure_fraction=max_failure_fraction,
        on_progress=on_progress,
    )


def make_comparison(prompt: Prompt, response_a: Sample, response_b: Sample) -> Comparison:
    """Build a comparison with the id its content has."""
    content = [prompt.id, *([r.model, r.seed, r.text] for r in (response_a, response_b))]
    return Comparison(id=content_digest(content, size=8), prompt=prompt, response_a=response_a, response_b=response_b)
