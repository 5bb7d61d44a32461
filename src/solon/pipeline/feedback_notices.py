"""Says where nothing can be learnt from a feedback model's labels, and what is not known of them, before training.

Of a share that chance may raise, the whole 95 % interval must lie beyond a bound; the prompts for one goal are one
cluster.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from solon.evaluation import clustered_rate
from solon.feedback import (
    SURE,
    FeedbackSummary,
    are_sure,
    contradict,
    feedback_summary,
    order_logits,
    weighed_logits,
)
from solon.messages import count_of
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
    with the order nearly always. That nearly all labels are even. And what a server left unknown of them.
    """
    cluster_of = {comparison.id: comparison.prompt.cluster for comparison in comparisons}
    labeled = [label for label in labels if label.status == "labeled"]

    def with_goals(found: Iterable[tuple[float, float] | None]) -> list[_Read]:
        goals = (cluster_of[label.comparison_id] for label in labeled)
        return [(logits, goal) for logits, goal in zip(found, goals, strict=True) if logits is not None]

    read = with_goals(order_logits(label.votes) for label in labeled)
    weighed = with_goals(map(weighed_logits, labeled))
    found = (_describe_contradictions(weighed) or _describe_turning(read), _describe_even(labeled))
    return [*(text for text in found if text is not None), *_describe_readings(feedback_summary(labels))]


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


def _describe_readings(summary: FeedbackSummary) -> Iterator[str]:
    """Yield what is not known of labels because of how a server was read, a line each."""
    if count := summary.labels_without_mass:
        yield (
            f"feedback: {count} of the {summary.pairs} labels {'comes' if count == 1 else 'come'} from servers that "
            "give no mass: whether the feedback model would have answered anything else is not known, and no floor "
            "holds for them"
        )
    for draws, count in summary.labels_by_draws.items():
        yield (
            f"feedback: {count} of the {summary.pairs} labels {'is a share' if count == 1 else 'are shares'} of "
            f"k = {count_of(draws, 'drawn answer')}: estimates, of whose votes nobody knows which are sure"
        )
