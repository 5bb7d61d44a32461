"""From chains and helpful samples to what SFT learns, and the books of it.

With `targets: all` every revision is a target, with `last` that of the last round only: a chain that failed before
it has no such target, and its earlier revisions do not stand in for it. What a round that failed would have brought
is counted under its reason, so that  in = kept + every reason  holds on targets.

Reference: Bai et al. 2022 (arXiv 2212.08073), sections 1.2, 3.1 and 3.4.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from solon.errors import RecordError
from solon.lm import ItemResults
from solon.records import Failure, HelpfulSample, Prompt, RevisionChain, SFTExample
from solon.revision.chains import RevisionConfig
from solon.storage import content_digest


def sft_targets(
    chains: Iterable[RevisionChain],
    helpful: Iterable[HelpfulSample],
    prompts: Iterable[Prompt],
    config: RevisionConfig,
) -> list[SFTExample]:
    """Return what SFT learns: revisions as answers to their prompts, and helpful samples.

    Critiques and initial responses are never targets.

    Args:
        chains: revised responses; rounds after `config.rounds` are passed over, so that one set of chains gives
            SL-CAI-n for every n up to its own.
        helpful: responses to ordinary requests.
        prompts: the prompts that both answer.
        config: which revisions are targets.

    Raises:
        RecordError: a chain or sample answers a prompt that is not among `prompts`.
    """
    known = {prompt.id: prompt for prompt in prompts}

    def prompt_of(prompt_id: str, what: str) -> Prompt:
        if prompt_id not in known:
            raise RecordError(f"{what} answers prompt {prompt_id}, which was not given: give the prompts of its stage")
        return known[prompt_id]

    examples = []
    for chain in chains:
        conversation = prompt_of(chain.prompt_id, f"chain {chain.id}").conversation
        for number in _target_rounds(chain, config):
            revision = chain.response_after(number)
            examples.append(
                SFTExample(
                    id=content_digest(["revision", chain.id, number, revision.text], size=8),
                    prompt_id=chain.prompt_id,
                    conversation=conversation,
                    response=revision.text,
                    source="revision",
                    chain_id=chain.id,
                    round=number,
                    tokens=revision.tokens,
                )
            )
    for sample in helpful:
        prompt = prompt_of(sample.prompt_id, f"helpful sample {sample.id}")
        examples.append(
            SFTExample(
                id=content_digest(["helpful", sample.id, sample.response.text], size=8),
                prompt_id=prompt.id,
                conversation=prompt.conversation,
                response=sample.response.text,
                source="helpful",
                tokens=sample.response.tokens,
            )
        )
    return examples


def count_revision_targets(results: ItemResults[RevisionChain], config: RevisionConfig) -> dict[str, int]:
    """Return the books of revision targets: `in`, `kept`, and one entry for each reason; in = kept + reasons."""
    each = config.rounds if config.targets == "all" else 1
    left_out: Counter[str] = Counter()
    kept = 0
    for item in results.results:
        failure, found = (item, 0) if isinstance(item, Failure) else (item.failure, len(_target_rounds(item, config)))
        kept += found
        if found < each:
            left_out[failure.reason if failure is not None else "not_reached"] += each - found
    return {"in": each * len(results.results), "kept": kept, **dict(sorted(left_out.items()))}


def revision_metrics(chains: Sequence[RevisionChain]) -> dict[str, float]:
    """Return what the revisions look like: how many changed nothing, how many chains are whole, how many began cut off.

    `revision/unchanged_frac` is the share of steps whose revision is the response it began with, letter for letter;
    `revision/whole_frac` the share of chains in which no round failed; `revision/cut_responses` the number of chains
    whose initial response was cut off by the limit and revised up to its last whole sentence. Without any, none of them
    is there.
    """
    pairs = [
        (chain.response_after(number - 1).text, chain.response_after(number).text)
        for chain in chains
        for number in range(1, len(chain.steps) + 1)
    ]
    metrics: dict[str, float] = {}
    if pairs:
        metrics["revision/unchanged_frac"] = sum(before == after for before, after in pairs) / len(pairs)
    if chains:
        metrics["revision/whole_frac"] = sum(chain.failure is None for chain in chains) / len(chains)
        metrics["revision/cut_responses"] = float(sum(chain.initial_response.trimmed for chain in chains))
    return metrics


def _target_rounds(chain: RevisionChain, config: RevisionConfig) -> range:
    first = 1 if config.targets == "all" else config.rounds
    return range(first, min(len(chain.steps), config.rounds) + 1)
