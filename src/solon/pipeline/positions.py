"""Says where a feedback model judges by the order of the responses, so that nobody trains on its labels unwarned."""

from typing import Final

from solon.evaluation import wilson_interval
from solon.feedback import SURE, FeedbackSummary

MOST_CONTRADICTIONS: Final = 0.1
"""Share of the comparisons with two sure votes in which these may contradict each other.

Of two sure votes that contradict each other one is wrong, so that beyond this bound at least one sure vote in twenty
is, by nothing but the order of the responses. A model that looks only at positions is at 1 and one that is sure at
random at 0.5; docs/stage_two.md says where the shipped base is.
"""

FEWEST_SURE: Final = 10
"""With fewer comparisons that have two sure votes, chance may well be all that is seen."""


def describe_contradictions(feedback: FeedbackSummary) -> str | None:
    """Return what a user should know of a feedback model whose sure votes contradict each other often, or None.

    Often means that the whole 95 % interval of their share lies beyond `MOST_CONTRADICTIONS`, among no fewer than
    `FEWEST_SURE` comparisons, so that chance raises no alarm.
    """
    count, of = feedback.sure_contradictions, feedback.both_sure
    if of < FEWEST_SURE or wilson_interval(count / of, of).low <= MOST_CONTRADICTIONS:
        return None
    return (
        f"feedback: in {count} of the {of} comparisons in which the votes of both orders are sure (above {SURE}) they "
        f"contradict each other, which should be at most {MOST_CONTRADICTIONS:.0%}: the feedback model judges by "
        "the order of the responses rather than by the principle; the label of a contradiction is 0.5 and teaches "
        "nothing: choose another feedback_model"
    )
