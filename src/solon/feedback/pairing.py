"""From labels to what a preference model learns, and what a person should know about the labels first."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from solon.errors import RecordError
from solon.feedback.votes import NEAR_TIE, are_sure, contradict, find_vote_fault, order_logits, weighed_logits
from solon.records import Comparison, PreferenceLabel, PreferencePair, Record

_Name = TypeVar("_Name", str, int)


class FeedbackSummary(Record):
    """What became of the comparisons, and how much their order decided.

    Attributes:
        comparisons: how many were put to feedback; comparisons = pairs + all that are unlabeled.
        pairs: how many were labelled.
        unlabeled: how many were not, by reason.
        both_orders: labelled comparisons that were asked in both orders; pointwise labels are not among them. Where
            there is none, the counts below that are of these say nothing.
        order_disagreements: of these, those in which one order prefers A and the other B. Most are near ties, in which
            a breath decides; what tells of a model that judges by position is how many of them are sure.
        both_weighed: of `both_orders`, those without a vote that is a share of drawn answers, of which nobody knows how
            sure it is.
        both_sure: of `both_weighed`, those in which each order prefers a response with more than `votes.SURE`.
        sure_contradictions: of these, those in which one order prefers A and the other B.
        near_ties: labelled comparisons whose label, before any clamp, lies within `votes.NEAR_TIE`.
        first_choices: of the disagreements, those in which both orders prefer the response shown first; in the
            others both prefer the one shown second.
        mean_mass: mean, over the valid votes whose mass is known, of the probability of the two options, or answers,
            together; None without any.
        votes_with_mass: how many votes these are.
        votes_without_mass: valid votes whose mass is not known: no floor holds for them.
        labels_without_mass: labelled comparisons with such a vote.
        labels_by_dialect: dialect to the labelled comparisons with a vote that was read by it.
        labels_by_draws: number of draws to the labelled comparisons with a vote that is a share of so many.
    """

    comparisons: int
    pairs: int
    unlabeled: dict[str, int]
    both_orders: int
    both_weighed: int
    order_disagreements: int
    both_sure: int
    sure_contradictions: int
    near_ties: int
    first_choices: int
    mean_mass: float | None
    votes_with_mass: int
    votes_without_mass: int
    labels_without_mass: int
    labels_by_dialect: dict[str, int]
    labels_by_draws: dict[int, int]

    @property
    def order_disagreement(self) -> float | None:
        """Share of the labelled comparisons whose two orders disagree on the winner; None without any."""
        return self.order_disagreements / self.both_orders if self.both_orders else None


def preference_pairs(comparisons: Iterable[Comparison], labels: Iterable[PreferenceLabel]) -> list[PreferencePair]:
    """Join labelled comparisons with their labels, in the order of the comparisons; unlabeled ones are left out.

    Raises:
        RecordError: a comparison has no label or two, or a label has no comparison.
    """
    by_id: dict[str, PreferenceLabel] = {}
    for label in labels:
        if label.comparison_id in by_id:
            raise RecordError(f"comparison {label.comparison_id} has two labels: give one")
        by_id[label.comparison_id] = label
    pairs = []
    for comparison in comparisons:
        label_of = by_id.pop(comparison.id, None)
        if label_of is None:
            raise RecordError(f"comparison {comparison.id} has no label: give the labels of these comparisons")
        if label_of.p_a is not None:
            pairs.append(
                PreferencePair(
                    id=comparison.id,
                    prompt=comparison.prompt,
                    response_a=comparison.response_a.text,
                    response_b=comparison.response_b.text,
                    target=label_of.p_a,
                    tokens_a=comparison.response_a.tokens,
                    tokens_b=comparison.response_b.tokens,
                    ended_a=not comparison.response_a.cut,
                    ended_b=not comparison.response_b.cut,
                )
            )
    if by_id:
        raise RecordError(f"label of {next(iter(by_id))} belongs to no comparison: give the comparisons it is of")
    return pairs


def is_near_tie(label: PreferenceLabel) -> bool:
    """Return whether a label, before any clamp, lies within `NEAR_TIE`; a comparison without one is no tie."""
    p = label.p_a_unclamped
    return p is not None and NEAR_TIE[0] <= p <= NEAR_TIE[1]


def feedback_summary(labels: Sequence[PreferenceLabel]) -> FeedbackSummary:
    """Count labels, the reasons where there is none, and how often the two orders disagree.

    The winner of an order is the sign of its mean log-odds over principles. Where an order has no winner, being
    exactly even, it disagrees with nothing.
    """
    labeled = [label for label in labels if label.status == "labeled"]
    both = [logits for label in labeled if (logits := order_logits(label.votes)) is not None]
    disagreements = [logits for logits in both if contradict(logits)]
    weighed = [logits for label in labeled if (logits := weighed_logits(label)) is not None]
    sure = [logits for logits in weighed if are_sure(logits)]
    votes = (vote for label in labels for vote in label.readings)
    valid = [vote.mass for vote in votes if find_vote_fault(vote, mass_floor=0.0) is None]
    masses = [mass for mass in valid if mass is not None]
    return FeedbackSummary(
        comparisons=len(labels),
        pairs=len(labeled),
        unlabeled=_count(label.reason for label in labels if label.status == "unlabeled"),
        both_orders=len(both),
        both_weighed=len(weighed),
        order_disagreements=len(disagreements),
        both_sure=len(sure),
        sure_contradictions=sum(map(contradict, sure)),
        near_ties=sum(is_near_tie(label) for label in labeled),
        first_choices=sum(shown_first > 0.0 for shown_first, _ in disagreements),
        mean_mass=math.fsum(masses) / len(masses) if masses else None,
        votes_with_mass=len(masses),
        votes_without_mass=len(valid) - len(masses),
        labels_without_mass=sum(not label.has_mass for label in labeled),
        labels_by_dialect=_count(name for label in labeled for name in label.dialects),
        labels_by_draws=_count(draws for label in labeled for draws in label.draws),
    )


def _count(found: Iterable[_Name]) -> dict[_Name, int]:
    """Count equal things, in their order."""
    return dict(sorted(Counter(found).items()))
