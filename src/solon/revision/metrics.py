"""Metrics of the revisions of stage 1."""

from collections.abc import Sequence

from solon.records import RevisionChain


def revision_metrics(chains: Sequence[RevisionChain]) -> dict[str, float]:
    """Return what the revisions look like: how many changed nothing, and how many chains are whole.

    `revision/unchanged_frac` is the share of steps whose revision is the response it began with, letter for letter;
    `revision/whole_frac` the share of chains in which no round failed. Without any, neither is there.
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
    return metrics
