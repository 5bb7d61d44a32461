"""Proves that the tests of evaluation and its statistics would notice: each wrong version is caught by one of them."""

from collections.abc import Callable
from typing import Any

import pytest

from solon.evaluation import grading, statistics, summary
from tests.mutating import assert_killed
from tests.properties import test_intervals
from tests.reference import test_statistics as reference
from tests.unit.evaluation import test_grading, test_summary

Mutant = tuple[Any, str, str, Callable[[], Any]]

MUTANTS: dict[str, Mutant] = {
    "the normal interval": (
        statistics.wilson_interval,
        "square / (4.0 * count)",
        "0.0",
        lambda: reference.test_wilson_is_that_of_scipy(17, 40),
    ),
    "Wilson around the share itself": (
        statistics.wilson_interval,
        "(share + square / 2.0) / (1.0 + square)",
        "share",
        lambda: reference.test_wilson_is_that_of_scipy(3, 10),
    ),
    "clusters are ignored": (
        statistics.effective_count,
        "n / max(1.0, design_effect)",
        "n",
        reference.test_clustered_intervals_hold_the_truth,
    ),
    "the variance of clusters without its factor": (
        statistics.clustered_variance,
        "len(names) / (len(names) - 1) * math.fsum",
        "math.fsum",
        reference.test_effective_count_is_the_definition,
    ),
    "clusters may add observations": (
        statistics.effective_count,
        "max(1.0, design_effect)",
        "max(0.01, design_effect)",
        test_intervals.test_clusters_never_make_more_of_the_observations_than_there_are,
    ),
    "where all agree each observation counts": (
        statistics.effective_count,
        "        return least",
        "        return float(n)",
        reference.test_none_of_many_answers_for_few_goals_is_worth_the_goals,
    ),
    "few clusters know their own spread": (
        statistics.effective_count,
        " * few_clusters",
        "",
        lambda: reference.test_intervals_over_few_goals_hold_the_truth(5, 30, 0.5),
    ),
    "clusters may be worth less than one each": (
        statistics.effective_count,
        "max(least, ",
        "max(0.0, ",
        reference.test_effective_count_is_the_definition,
    ),
    "unequal clusters count alike": (
        statistics.effective_count,
        "n * n / sum(size * size for size in sizes)",
        "float(len(sizes))",
        reference.test_none_of_many_answers_for_few_goals_is_worth_the_goals,
    ),
    "the interval forgets its clusters": (
        statistics.clustered_rate,
        "len(values), count)",
        "len(values), len(values))",
        lambda: reference.test_where_all_agree_each_cluster_counts_once(True),
    ),
    "the difference the other way round": (
        statistics.mean_difference,
        "differences = a - b",
        "differences = b - a",
        reference.test_paired_interval_is_that_of_scipy,
    ),
    "differences of one goal are independent": (
        statistics.mean_difference,
        "clustered_variance(differences, units)",
        "0.0",
        reference.test_a_paired_interval_by_goal_is_that_of_scipy_over_the_goals,
    ),
    "differences that cancel within a goal are certain": (
        statistics.mean_difference,
        "max(clustered_variance(differences, units), independent)",
        "clustered_variance(differences, units)",
        reference.test_goals_never_make_a_difference_surer_than_prompts_do,
    ),
    "the normal quantile": (
        statistics.mean_difference,
        "student_quantile(count - 1)",
        "Z_95",
        reference.test_paired_interval_is_that_of_scipy,
    ),
    "models are not paired": (
        statistics.mean_difference,
        "max(clustered_variance(differences, units), independent)",
        "(np.var(a, ddof=1) + np.var(b, ddof=1)) / n",
        reference.test_paired_intervals_hold_the_truth_and_pairing_narrows_them,
    ),
    "equal differences are certain": (
        statistics.mean_difference,
        "wilson_interval(0.0, count).high",
        "0.0",
        lambda: reference.test_equal_differences_are_not_certain(0.0, 4),
    ),
    "bins are not weighted": (
        statistics.expected_calibration_error,
        "np.abs(gaps).sum()",
        "np.abs(gaps).max()",
        lambda: reference.test_ece_is_the_definition(8),
    ),
    "the upper edge belongs to the bin": (
        statistics.expected_calibration_error,
        "np.minimum((p * bins).astype(np.int64), bins - 1)",
        "np.maximum(np.ceil(p * bins).astype(np.int64) - 1, 0)",
        reference.test_the_lower_edge_belongs_to_the_bin_and_one_to_the_last,
    ),
    "absolute errors": (statistics.brier_score, "(p - y) ** 2", "np.abs(p - y)", reference.test_published_values),
    "unparsed is a zero": (
        summary._rates,
        "if not record.grade.unparsed",
        "if True",
        test_summary.test_shape_and_values,
    ),
    "unparsed is a share of the readable": (
        summary._summarize_split,
        "_rate(rows, _unparsed)",
        "_rate([row for row in rows if not row.grade.unparsed], _unparsed)",
        test_summary.test_shape_and_values,
    ),
    "splits are pooled": (
        summary.summarize_model,
        "by_split[record.prompt.split].append",
        "by_split[main_split].append",
        test_summary.test_shape_and_values,
    ),
    "draws are independent": (
        summary._rate,
        "[record.prompt.cluster for record in records]",
        "[str(i) for i in range(len(records))]",
        test_summary.test_prompts_sampled_more_than_once_are_clusters,
    ),
    "prompts for one goal are independent": (
        summary._rate,
        "record.prompt.cluster for record",
        "record.prompt.id for record",
        test_summary.test_prompts_for_one_goal_are_clusters_and_counted,
    ),
    "differences forget their goals": (
        summary.paired_difference,
        "clusters=[cluster_of[prompt] for prompt in common]",
        "clusters=common",
        test_summary.test_differences_are_clustered_by_goal,
    ),
    "the draws of a prompt add up": (
        summary._means_by_prompt,
        "sum(said) / len(said)",
        "sum(said)",
        test_summary.test_a_prompt_sampled_more_than_once_counts_once_with_its_mean,
    ),
    "other groups count too": (
        summary._select,
        "r.group == group and ",
        "",
        test_summary.test_pairs_are_of_the_same_prompt_group_and_split,
    ),
    "other splits count too": (
        summary._select,
        "split is None or r.prompt.split == split",
        "True",
        test_summary.test_pairs_are_of_the_same_prompt_group_and_split,
    ),
    "paired by place": (
        summary.paired_difference,
        "[b[prompt] for prompt in common]",
        "list(b.values())[: len(common)]",
        test_summary.test_pairs_are_of_the_same_prompt_group_and_split,
    ),
    "every draw has one seed": (
        grading.run_evaluation,
        "item.prompt.id, item.draw)\n",
        "item.prompt.id)\n",
        test_grading.test_every_prompt_is_asked_and_graded_as_itself,
    ),
    "models draw apart": (
        grading.run_evaluation,
        "derive_seed(seed, STAGE,",
        "derive_seed(seed, model_name,",
        test_grading.test_models_draw_alike_on_the_same_prompt_and_are_told_apart,
    ),
}


@pytest.mark.parametrize("name", list(MUTANTS))
def test_mutant_is_killed(name: str) -> None:
    assert_killed(*MUTANTS[name])
