"""Says where nothing can be learnt from a feedback model's labels, so that nobody trains on them unwarned.

Of a share that chance may raise, the whole 95 % interval must lie beyond a bound; the prompts for one goal are one
cluster.
"""

from collections.abc import Sequence
from typing import Final

from solon.evaluation import clustered_rate
from solon.feedback import SURE, are_sure, contradict, order_logits
from solon.records import Comparison, PreferenceLabel

MOST_CONTRADICTIONS: Final = 0.1
"""Share of the comparisons with two sure votes in which these may contradict each other.

Of two sure votes that contradict each other one is wrong, so that beyond this bound at least one sure vote in twenty
is, by nothing but the order of the responses. A model that looks only at positions is at 1 and one that is sure at
random at 0.5; docs/stage_two.md says where the shipped base is.
"""

FEWEST_SURE: Final = 10
"""With fewer comparisons that have two sure votes, chance may well be all that is seen."""

MOST_TURNED: Final = 0.75
"""Share of all comparisons whose verdict may turn with the order, sure or not.

Between responses of equal worth a verdict turns as a coin does, in half of the comparisons; only the order takes it
further. Where it decides a share s and all else is a coin, s + (1 - s) / 2 turn, so beyond this bound it decides most.
"""

MOST_EVEN: Final = 0.95
"""Share of the labels that may be 0.5 exactly. It is what will be learnt from, and no estimate: it has no interval."""

_Read = tuple[tuple[float, float], str]
"""The log-odds that A is better in both orders, and the goal of the comparison."""


def describe_feedback(labels: Sequence[PreferenceLabel], comparisons: Sequence[Comparison]) -> list[str]:
    """Return what a user should know of the labels before anything is trained on them, a line each.

    That the feedback model judges by position: its sure votes contradict each other often, or else its verdicts turn
    with the order nearly always. And that nearly all labels are even.
    """
    cluster_of = {comparison.id: comparison.prompt.cluster for comparison in comparisons}
    labeled = [label for label in labels if label.status == "labeled"]
    read = [
        (logits, cluster_of[label.comparison_id])
        for label in labeled
        if (logits := order_logits(label.votes)) is not None
    ]
    found = (_describe_contradictions(read) or _describe_turning(read), _describe_even(labeled))
    return [text for text in found if text is not None]


def _count_contradictions(read: Sequence[_Read], bound: float) -> int | None:
    """Return how many contradict, None unless they are surely more than the bound allows."""
    turned = [contradict(logits) for logits, _ in read]
    rate = clustered_rate(turned, [goal for _, goal in read])
    return sum(turned) if rate.low > bound else None


def _describe_contradictions(read: Sequence[_Read]) -> str | None:
    sure = [(logits, goal) for logits, goal in read if are_sure(logits)]
    if len(sure) < FEWEST_SURE or (count := _count_contradictions(sure, MOST_CONTRADICTIONS)) is None:
        return None
    return (
        f"feedback: in {count} of the {len(sure)} comparisons in which the votes of both orders are sure "
        f"(above {SURE}) they contradict each other, which should be at most {MOST_CONTRADICTIONS:.0%}: "
        "the feedback model judges by the order of the responses rather than by the principle; the label of a "
        "contradiction is 0.5 and teaches nothing: choose another feedback model"
    )


def _describe_turning(read: Sequence[_Read]) -> str | None:
    if not read or (count := _count_contradictions(read, MOST_TURNED)) is None:
        return None
    return (
        f"feedback: in {count} of the {len(read)} comparisons asked in both orders the verdict turns with the order, "
        "and chance would turn half of them: the feedback model judges by the order of the responses rather than by "
        "the principle; the label of a contradiction is 0.5 and teaches nothing: choose another feedback model"
    )


def _describe_even(labeled: Sequence[PreferenceLabel]) -> str | None:
    even = sum(label.p_a == 0.5 for label in labeled)
    if even <= MOST_EVEN * len(labeled):
        return None
    return (
        f"feedback: {even} of the {len(labeled)} labels are exactly 0.5: there is nothing for the preference model to "
        "learn from: choose another feedback model, or a comparison or question that it understands in the constitution"
    )
