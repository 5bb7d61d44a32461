"""Stage 2: two responses to one prompt, and soft labels for which is the better."""

from solon.feedback.comparing import ComparisonConfig, run_comparisons
from solon.feedback.labeling import FeedbackConfig, label_comparison, run_feedback
from solon.feedback.pairing import FeedbackSummary, feedback_summary, preference_pairs
from solon.feedback.votes import NEAR_TIE, SURE, combine_votes

__all__ = [
    "NEAR_TIE",
    "SURE",
    "ComparisonConfig",
    "FeedbackConfig",
    "FeedbackSummary",
    "combine_votes",
    "feedback_summary",
    "label_comparison",
    "preference_pairs",
    "run_comparisons",
    "run_feedback",
]
