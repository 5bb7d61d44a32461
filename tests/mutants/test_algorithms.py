"""Proves that the tests of the numerics would notice: each wrong version below is caught by one of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from solon import algorithms
from solon.algorithms import masks
from solon.calibration import expected_calibration_error
from tests.gradients import test_losses as gradients
from tests.mutating import assert_killed
from tests.reference import formulas, test_formulas, test_statistics
from tests.unit.algorithms import test_algorithms as unit

Mutant = tuple[Any, str, str, Callable[[], Any]]

MUTANTS: dict[str, Mutant] = {
    "sign of the ratio": (
        algorithms.clipped_policy_loss,
        "logprobs - old_logprobs.detach()",
        "old_logprobs.detach() - logprobs",
        lambda: formulas.check_policy_loss(algorithms.clipped_policy_loss),
    ),
    "the better of plain and clipped": (
        algorithms.clipped_policy_loss,
        "-advantages * bounded > -advantages * ratio",
        "-advantages * bounded < -advantages * ratio",
        lambda: formulas.check_policy_loss(algorithms.clipped_policy_loss),
    ),
    "what is clipped is differentiated": (
        algorithms.clipped_policy_loss,
        "bounded, torch.where(learns, log_ratio, 0.0).exp()",
        "bounded, log_ratio.exp()",
        lambda: gradients.test_the_policy_gradient_is_right_at_any_ratio(104.0, 2.0),
    ),
    "what has no advantage is differentiated": (
        algorithms.clipped_policy_loss,
        " & (advantages != 0.0)",
        "",
        lambda: gradients.test_the_policy_gradient_is_right_at_any_ratio(104.0, 0.0),
    ),
    "a correction is withheld far away": (
        algorithms.clipped_policy_loss,
        "learns = ~is_clipped",
        "learns = ~is_clipped & ratio.isfinite()",
        lambda: gradients.test_the_policy_gradient_is_right_at_any_ratio(104.0, -1.5),
    ),
    "scaled by what is only rounding": (
        algorithms.standardize,
        "mask & (std != 0.0)",
        "mask",
        lambda: unit.test_equal_values_are_no_spread_however_their_mean_is_rounded(2.7, torch.float64),
    ),
    "clipped above only": (
        algorithms.clipped_policy_loss,
        "ratio.clamp(1.0 - clip_range, 1.0 + clip_range)",
        "ratio.clamp(max=1.0 + clip_range)",
        lambda: formulas.check_policy_loss(algorithms.clipped_policy_loss),
    ),
    "no clip at all": (
        algorithms.clipped_policy_loss,
        "ratio.clamp(1.0 - clip_range, 1.0 + clip_range)",
        "ratio",
        lambda: formulas.check_policy_loss(algorithms.clipped_policy_loss),
    ),
    "k3 of the other direction": (
        algorithms.clipped_policy_loss,
        "torch.expm1(log_ratio) - log_ratio",
        "torch.expm1(-log_ratio) + log_ratio",
        lambda: formulas.check_policy_loss(algorithms.clipped_policy_loss),
    ),
    "value clip takes the smaller": (
        algorithms.clipped_value_loss,
        "torch.maximum(plain, clipped)",
        "torch.minimum(plain, clipped)",
        lambda: formulas.check_value_loss(algorithms.clipped_value_loss),
    ),
    "value clip around the return": (
        algorithms.clipped_value_loss,
        "old_values + (values - old_values).clamp",
        "returns + (values - returns).clamp",
        lambda: formulas.check_value_loss(algorithms.clipped_value_loss),
    ),
    "value loss without its half": (
        algorithms.clipped_value_loss,
        "0.5 * masked_mean",
        "masked_mean",
        lambda: formulas.check_value_loss(algorithms.clipped_value_loss),
    ),
    "GAE bootstraps from padding": (
        algorithms.gae_advantages,
        "values = torch.where(mask, values, 0.0)",
        "values = values.clone()",
        lambda: formulas.check_gae(algorithms.gae_advantages),
    ),
    "GAE never bootstraps": (
        algorithms.gae_advantages,
        "next_value = values[:, t]",
        "next_value = torch.zeros_like(values[:, t])",
        lambda: formulas.check_gae(algorithms.gae_advantages),
    ),
    "GAE forgets the discount": (
        algorithms.gae_advantages,
        "gamma * gae_lambda * next_advantage",
        "gae_lambda * next_advantage",
        lambda: formulas.check_gae(algorithms.gae_advantages),
    ),
    "GAE one token late": (
        algorithms.gae_advantages,
        "rewards[:, t] + gamma * next_value",
        "rewards[:, max(0, t - 1)] + gamma * next_value",
        lambda: formulas.check_gae(algorithms.gae_advantages),
    ),
    "KL is paid instead of charged": (
        algorithms.kl_penalty_rewards,
        "mask, -kl_coef *",
        "mask, kl_coef *",
        lambda: formulas.check_penalty_rewards(algorithms.kl_penalty_rewards),
    ),
    "score one token early": (
        algorithms.kl_penalty_rewards,
        "(lengths - 1).unsqueeze",
        "(lengths - 2).clamp(min=0).unsqueeze",
        lambda: formulas.check_penalty_rewards(algorithms.kl_penalty_rewards),
    ),
    "score at the end of the padding": (
        algorithms.kl_penalty_rewards,
        "(lengths - 1).unsqueeze",
        "torch.full_like(lengths, mask.shape[1] - 1).unsqueeze",
        lambda: formulas.check_penalty_rewards(algorithms.kl_penalty_rewards),
    ),
    "swapped a and b": (
        algorithms.soft_preference_loss,
        "scores_a - scores_b",
        "scores_b - scores_a",
        lambda: formulas.check_preference_loss(algorithms.soft_preference_loss),
    ),
    "hard labels": (
        algorithms.soft_preference_loss,
        "targets * logsigmoid(gap) + (1.0 - targets) * logsigmoid(-gap)",
        "targets.round() * logsigmoid(gap) + (1.0 - targets.round()) * logsigmoid(-gap)",
        lambda: formulas.check_preference_loss(algorithms.soft_preference_loss),
    ),
    "only A counts": (
        algorithms.soft_preference_loss,
        "targets * logsigmoid(gap) + (1.0 - targets) * logsigmoid(-gap)",
        "targets * logsigmoid(gap)",
        lambda: formulas.check_preference_loss(algorithms.soft_preference_loss),
    ),
    "centring the gap": (
        algorithms.soft_preference_loss,
        "(scores_a + scores_b).square()",
        "(scores_a - scores_b).square()",
        lambda: formulas.check_preference_loss(algorithms.soft_preference_loss),
    ),
    "likelihood instead of its negative": (
        algorithms.sequence_nll,
        "-masked_mean",
        "masked_mean",
        lambda: formulas.check_sequence_nll(algorithms.sequence_nll),
    ),
    "mean over padding too": (
        masks.masked_mean,
        "int(mask.sum()) if count is None",
        "mask.numel() if count is None",
        lambda: formulas.check_sequence_nll(algorithms.sequence_nll),
    ),
    "mask inverted": (
        masks.masked_sum,
        "torch.where(mask, values, 0.0)",
        "torch.where(mask, 0.0, values)",
        lambda: formulas.check_sequence_nll(algorithms.sequence_nll),
    ),
    "mask off by one": (
        masks.masked_sum,
        "torch.where(mask, values, 0.0)",
        "torch.where(mask.roll(1, dims=-1), values, 0.0)",
        lambda: formulas.check_sequence_nll(algorithms.sequence_nll),
    ),
    "count of the piece instead of the batch": (
        masks.masked_mean,
        "int(mask.sum()) if count is None else count",
        "int(mask.sum())",
        unit.test_pieces_with_the_whole_count_add_up_to_the_batch,
    ),
    "standardised without centring": (
        algorithms.standardize,
        "(wide - mean) /",
        "wide /",
        unit.test_standardize_centres_and_scales,
    ),
    "rounding is taken for a spread": (
        algorithms.standard_deviation,
        "_ROUNDING * torch",
        "0 * torch",
        lambda: unit.test_equal_values_are_no_spread_however_their_mean_is_rounded(2.7, torch.float64),
    ),
    "padding is read": (
        masks.masked_sum,
        "torch.where(mask, values, 0.0)",
        "(values * mask)",
        unit.test_padding_is_never_read_and_gets_no_gradient,
    ),
    "variance explained of the values": (
        algorithms.explained_variance,
        "standard_deviation(returns, mask)",
        "standard_deviation(values, mask)",
        unit.test_explained_variance,
    ),
    "k1 of the other direction": (
        algorithms.kl_k1,
        "logprobs - ref_logprobs, 0.0",
        "ref_logprobs - logprobs, 0.0",
        lambda: test_formulas.test_kl_estimators_average_to_the_divergence(algorithms.kl_k1),
    ),
    "k3 of the reference": (
        algorithms.kl_k3,
        "torch.expm1(-difference) + difference",
        "torch.expm1(difference) - difference",
        lambda: test_formulas.test_kl_estimators_average_to_the_divergence(algorithms.kl_k3),
    ),
    "calibration one way round": (
        expected_calibration_error,
        "np.concatenate([y, 1.0 - y])",
        "np.concatenate([y, y])",
        lambda: formulas.check_calibration(algorithms.calibration_error),
    ),
    "calibration without bins": (
        expected_calibration_error,
        "np.clip(place.astype(np.int64), 0, bins - 1)",
        "np.zeros(len(p), np.int64)",
        lambda: formulas.check_calibration(algorithms.calibration_error),
    ),
    "calibration of the wrong response": (
        algorithms.calibration_error,
        "torch.where(gaps >= 0.0, targets, 1.0 - targets)",
        "targets",
        lambda: formulas.check_calibration(algorithms.calibration_error),
    ),
    "calibration depends on who is A": (
        expected_calibration_error,
        "np.where(p <= 0.5, up, down)",
        "np.where(p < 0.5, up, down)",
        lambda: test_statistics.test_a_tie_cancels_itself_if_mirrored(10),
    ),
    "a tie counts as right": (
        algorithms.preference_accuracy,
        "torch.sign(gaps[clear]) *",
        "torch.sign(gaps[clear] + 1e-9) *",
        unit.test_accuracy_counts_clear_pairs_only_and_a_tie_as_half,
    ),
}


@pytest.mark.parametrize("name", list(MUTANTS))
def test_mutant_is_killed(name: str) -> None:
    assert_killed(*MUTANTS[name])


def test_every_function_of_the_room_has_a_mutant() -> None:
    mutated = {mutant[0].__name__ for mutant in MUTANTS.values()}
    exempt = {"PolicyLoss", "ValueLoss", "PreferenceAccuracy", "check_prefix_mask", "check_same_shape"}
    assert set(algorithms.__all__) - mutated == exempt
