"""Proves that every loss and estimator equals its formula in the paper, computed in float64 by other means."""

import itertools
import math

import pytest
import torch

from solon import algorithms
from tests.reference import formulas
from tests.tolerances import FLOAT64_EXACT


def test_sequence_nll_is_the_mean_over_counted_tokens() -> None:
    formulas.check_sequence_nll(algorithms.sequence_nll)


def test_soft_preference_loss_is_bradley_terry_cross_entropy() -> None:
    formulas.check_preference_loss(algorithms.soft_preference_loss)


def test_policy_loss_is_equation_7() -> None:
    formulas.check_policy_loss(algorithms.clipped_policy_loss)


def test_value_loss_takes_the_worse_of_plain_and_clipped() -> None:
    formulas.check_value_loss(algorithms.clipped_value_loss)


def test_gae_is_equation_16_as_a_sum_and_as_weighted_returns() -> None:
    formulas.check_gae(algorithms.gae_advantages)


def test_rewards_are_the_score_at_the_end_minus_the_penalty_everywhere() -> None:
    formulas.check_penalty_rewards(algorithms.kl_penalty_rewards)


def test_calibration_error_is_the_binned_gap_of_means() -> None:
    formulas.check_calibration(algorithms.calibration_error)


@pytest.mark.parametrize("estimate", [algorithms.kl_k1, algorithms.kl_k3])
def test_kl_estimators_average_to_the_divergence(estimate: object) -> None:
    """Exact, not sampled: the estimator's expectation over every token that the policy could have drawn."""
    policy = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64)
    reference = torch.tensor([0.1, 0.3, 0.4, 0.2], dtype=torch.float64)
    truth = math.fsum(p * math.log(p / q) for p, q in zip(policy.tolist(), reference.tolist(), strict=True))
    each = estimate(policy.log()[:, None], reference.log()[:, None], torch.ones(4, 1, dtype=torch.bool))  # type: ignore[operator]
    assert float((policy * each).sum()) == pytest.approx(truth, rel=FLOAT64_EXACT)


def test_summed_rewards_average_to_score_minus_penalised_divergence() -> None:
    """Over all 27 three-token responses of a toy policy, so that nothing is left to chance."""
    policy = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]], dtype=torch.float64)
    reference = torch.tensor([[0.3, 0.3, 0.4], [0.5, 0.4, 0.1], [0.2, 0.5, 0.3]], dtype=torch.float64)
    texts = list(itertools.product(range(3), repeat=3))
    new = torch.tensor([[policy[t, w].log() for t, w in enumerate(text)] for text in texts])
    ref = torch.tensor([[reference[t, w].log() for t, w in enumerate(text)] for text in texts])
    scores = torch.tensor([float(sum(text)) for text in texts], dtype=torch.float64)
    mask = torch.ones(27, 3, dtype=torch.bool)
    rewards = algorithms.kl_penalty_rewards(scores, new, ref, mask, kl_coef=0.4)
    found = float((new.sum(1).exp() * rewards.sum(1)).sum())
    divergence = float((policy * (policy / reference).log()).sum())
    score = float((new.sum(1).exp() * scores).sum())
    assert found == pytest.approx(score - 0.4 * divergence, rel=FLOAT64_EXACT)
