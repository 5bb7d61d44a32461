"""How good a model is: answers to prompts kept from training, graded, with rates, intervals and differences."""

from solon.evaluation.grading import EvaluationConfig, Grader, run_evaluation
from solon.evaluation.statistics import (
    Difference,
    brier_score,
    clustered_rate,
    clustered_variance,
    effective_count,
    expected_calibration_error,
    mean_difference,
    student_quantile,
    wilson_interval,
)
from solon.evaluation.summary import (
    DEFAULT_MEASURES,
    Measures,
    paired_difference,
    summarize_model,
    summarize_models,
)
from solon.evaluation.table import COLUMNS, TableRow, table_rows

__all__ = [
    "COLUMNS",
    "DEFAULT_MEASURES",
    "Difference",
    "EvaluationConfig",
    "Grader",
    "Measures",
    "TableRow",
    "brier_score",
    "clustered_rate",
    "clustered_variance",
    "effective_count",
    "expected_calibration_error",
    "mean_difference",
    "paired_difference",
    "run_evaluation",
    "student_quantile",
    "summarize_model",
    "summarize_models",
    "table_rows",
    "wilson_interval",
]
