"""Metrics of the revisions of stage 1."""

from collections.abc import Sequence

from solon.records import RevisionChain


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
