"""Stage 2: two responses to one prompt, and soft labels for which is the better."""

from solon.feedback.comparing import ComparisonConfig, run_comparisons
from solon.feedback.labeling import (
    ASKS,
    FeedbackConfig,
    Labels,
    asking_principles,
    describe_lack,
    label_comparison,
    run_feedback,
    weigh_answers,
)
from solon.feedback.pairing import FeedbackSummary, feedback_summary, is_near_tie, preference_pairs
from solon.feedback.votes import (
    NEAR_TIE,
    SURE,
    are_sure,
    combine_pointwise,
    combine_votes,
    contradict,
    order_logits,
    weighed_logits,
)

__all__ = [
    "ASKS",
    "NEAR_TIE",
    "SURE",
    "ComparisonConfig",
    "FeedbackConfig",
    "FeedbackSummary",
    "Labels",
    "are_sure",
    "asking_principles",
    "combine_pointwise",
    "combine_votes",
    "contradict",
    "describe_lack",
    "feedback_summary",
    "is_near_tie",
    "label_comparison",
    "order_logits",
    "preference_pairs",
    "run_comparisons",
    "run_feedback",
    "weigh_answers",
    "weighed_logits",
]
