"""Proves that the tests of evaluation and its statistics would notice: each wrong version is caught by one of them."""

from collections.abc import Callable
from typing import Any

import pytest

from solon import calibration
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
    "what the limit cut off is counted among what was graded": (
        summary._cut,
        "float(record.response.cut",
        "None if not record.grade.graded else float(record.response.cut",
        test_summary.test_shape_and_values,
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
        calibration.expected_calibration_error,
        "np.abs(gaps).sum()",
        "np.abs(gaps).max()",
        lambda: reference.test_ece_is_the_definition(8),
    ),
    "the upper edge belongs to the bin": (
        calibration.expected_calibration_error,
        "place.astype(np.int64)",
        "np.ceil(place).astype(np.int64) - 1",
        reference.test_the_lower_edge_belongs_to_the_bin_and_one_to_the_last,
    ),
    "absolute errors": (calibration.brier_score, "(p - y) ** 2", "np.abs(p - y)", reference.test_published_values),
    "ungraded is a zero": (
        summary._rate,
        "told = [(value, record.prompt.cluster) for record in records if (value := read(record)) is not None]",
        "told = [(read(record) or 0.0, record.prompt.cluster) for record in records]",
        test_summary.test_shape_and_values,
    ),
    "a value that a grade lacks is a zero": (
        summary._value,
        "record.grade.value_of(name)",
        "None if record.grade.ungraded else record.grade.value_of(name) or 0.0",
        test_summary.test_a_value_that_some_grades_lack_is_counted_where_it_could_be_told,
    ),
    "ungraded is a share of the graded": (
        summary._ungraded,
        "float(not record.grade.graded)",
        "0.0 if record.grade.graded else None",
        test_summary.test_shape_and_values,
    ),
    "a number is a truth": (
        summary._value,
        "record.grade.value_of(name)",
        "record.grade.value_of(name) and 1.0",
        test_summary.test_numbers_in_zero_to_one_have_means_with_the_intervals_of_their_clusters,
    ),
    "evaluations are pooled": (
        summary.summarize_models,
        "[record.evaluation].append",
        "[evaluations[0].name].append",
        test_summary.test_shape_and_values,
    ),
    "the last evaluation is the main one": (
        summary.summarize_models,
        "evaluations[0].name",
        "evaluations[-1].name",
        test_summary.test_the_first_evaluation_is_the_main_one,
    ),
    "a measure is of the value that it is called": (
        summary.summarize,
        "measure.read for measure",
        "measure.name for measure",
        test_summary.test_any_names_of_values_will_do,
    ),
    "groups of which nothing could be told are left out": (
        summary.reported,
        "for group, _ in groups",
        "for group, _ in found",
        test_summary.test_groups_that_nothing_could_be_told_of_are_still_reported_as_not_graded,
    ),
    "a chain that broke off counts in every round": (
        summary.summarize_revisions,
        "grade.round == number]",
        "grade.round <= number]",
        test_summary.test_revisions_are_summed_round_by_round_over_the_chains_that_came_so_far,
    ),
    "draws are independent": (
        summary._rate,
        "[cluster for _, cluster in told]",
        "[str(i) for i in range(len(told))]",
        test_summary.test_prompts_sampled_more_than_once_are_clusters,
    ),
    "prompts for one goal are independent": (
        summary._rate,
        "record.prompt.cluster)",
        "record.prompt.id)",
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
        summary.paired_difference,
        "(r.evaluation, r.group) == (evaluation, group)",
        "r.evaluation == evaluation",
        test_summary.test_pairs_are_of_the_same_prompt_group_and_evaluation,
    ),
    "other evaluations count too": (
        summary.paired_difference,
        "(r.evaluation, r.group) == (evaluation, group)",
        "r.group == group",
        test_summary.test_pairs_are_of_the_same_prompt_group_and_evaluation,
    ),
    "paired by place": (
        summary.paired_difference,
        "[b[prompt] for prompt in common]",
        "list(b.values())[: len(common)]",
        test_summary.test_pairs_are_of_the_same_prompt_group_and_evaluation,
    ),
    "every draw has one seed": (
        grading.run_evaluation,
        "item.group, item.prompt.id, item.draw)\n",
        "item.group, item.prompt.id)\n",
        test_grading.test_every_prompt_is_asked_and_graded_as_itself,
    ),
    "models draw apart": (
        grading.run_evaluation,
        "derive_seed(seed, STAGE,",
        "derive_seed(seed, model_name,",
        test_grading.test_models_draw_alike_on_the_same_prompt_and_are_told_apart,
    ),
    "two evaluations are one": (
        grading.run_evaluation,
        "content_digest([evaluation.name, model_name,",
        "content_digest([model_name,",
        test_grading.test_one_prompt_in_two_evaluations_has_two_records_and_one_answer,
    ),
    "the reference is graded": (
        grading.grade_response,
        "grader.compare, prompt, response, reference,",
        "grader.compare, prompt, reference, response,",
        test_grading.test_a_pair_grader_sees_both_models_answer_the_same_draw,
    ),
    "what a grader raises is not said in one line": (
        grading.grade_response,
        "describe_error(error)",
        "str(error)",
        lambda: test_grading.test_a_grader_that_raises_is_named_in_one_line_with_the_prompt(ValueError("a\nb")),
    ),
    "what a grader gives is trusted": (
        grading.grade_response,
        "if not isinstance(grade, Grade)",
        "if False",
        lambda: test_grading.test_a_grader_that_gives_no_grade_is_named_with_what_it_gave({}, "dict"),
    ),
    "every response of a chain is its last": (
        grading.grade_revisions,
        "chain.response_after(number)",
        "chain.response_after(len(chain.steps))",
        test_grading.test_the_responses_of_a_chain_are_graded_after_each_revision_for_their_own_prompt,
    ),
}


@pytest.mark.parametrize("name", list(MUTANTS))
def test_mutant_is_killed(name: str) -> None:
    assert_killed(*MUTANTS[name])
