"""How good a model is: answers to prompts kept from training, graded, with rates, intervals and differences."""

from solon.calibration import brier_score, expected_calibration_error
from solon.evaluation.graders import asks_of, calls_of, check_grader, limits_of, measures_of, weighs_of
from solon.evaluation.grading import EvaluationConfig, grade_response, grade_revisions, run_evaluation
from solon.evaluation.protocol import Evaluation, Grader, OpenModel, PairGrader
from solon.evaluation.statistics import (
    Difference,
    clustered_rate,
    clustered_variance,
    effective_count,
    mean_difference,
    student_quantile,
    wilson_interval,
)
from solon.evaluation.summary import (
    paired_difference,
    reported,
    summarize,
    summarize_models,
    summarize_revisions,
)

__all__ = [
    "Difference",
    "Evaluation",
    "EvaluationConfig",
    "Grader",
    "OpenModel",
    "PairGrader",
    "asks_of",
    "brier_score",
    "calls_of",
    "check_grader",
    "clustered_rate",
    "clustered_variance",
    "effective_count",
    "expected_calibration_error",
    "grade_response",
    "grade_revisions",
    "limits_of",
    "mean_difference",
    "measures_of",
    "paired_difference",
    "reported",
    "run_evaluation",
    "student_quantile",
    "summarize",
    "summarize_models",
    "summarize_revisions",
    "weighs_of",
    "wilson_interval",
]
