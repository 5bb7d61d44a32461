"""Proves that PPO's own code learns what it should: the known best policy of a KL-penalised bandit.

The policy that maximises  E[score] - kl_coef * KL(policy || reference)  is the reference times exp(score / kl_coef),
normalised. Nothing here is scaled unless the test is about scaling; the KL coefficient is fixed; the step decays.
"""

import pytest
import torch

from solon.training.ppo import PPOConfig
from solon.training.rollout import ScoreScale
from tests.laws.bandits import AS_IT_IS, Bandit, divergence, total_variation
from tests.tolerances import BANDIT_TOTAL_VARIATION, FLOAT32_SAME

PLAIN = PPOConfig(
    iterations=100,
    responses_per_iteration=192,
    minibatches=2,
    learning_rate=0.1,
    value_learning_rate=0.1,
    value_clip_range=1.0,
    schedule="linear",
    kl_coef=0.5,
    standardize_advantages=False,
)
NUMBERS = torch.Generator().manual_seed(20)
ONE_TOKEN_REFERENCE = torch.randn(9, 8, generator=NUMBERS)
ONE_TOKEN_SCORES = torch.randn(8, generator=NUMBERS)
TWO_TOKEN_REFERENCE = torch.randn(5, 4, generator=NUMBERS)
TWO_TOKEN_SCORES = torch.randn(4, 4, generator=NUMBERS)


def one_token() -> Bandit:
    return Bandit(ONE_TOKEN_REFERENCE, lambda responses: ONE_TOKEN_SCORES[responses[:, 0]])


def two_tokens() -> Bandit:
    return Bandit(TWO_TOKEN_REFERENCE, lambda both: TWO_TOKEN_SCORES[both[:, 0], both[:, 1]], length=2)


def distance(bandit: Bandit, config: PPOConfig, scale: ScoreScale = AS_IT_IS, **options: object) -> float:
    policy = bandit.solve(config, seed=1, scale=scale, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        return total_variation(bandit.distribution(policy.logprobs()), bandit.optimum(config.kl_coef, scale))


def test_the_reference_is_far_from_the_optimum_to_begin_with() -> None:
    for bandit in (one_token(), two_tokens()):
        assert total_variation(bandit.distribution(bandit.reference), bandit.optimum(PLAIN.kl_coef)) > 0.2


def test_the_optimum_beats_its_neighbours() -> None:
    """The closed form itself, checked: no nearby policy has a higher score minus penalty."""
    bandit = one_token()
    best = bandit.optimum(0.5).double()

    def objective(policy: torch.Tensor) -> float:
        reference = bandit.distribution(bandit.reference).double()
        return float((policy * (ONE_TOKEN_SCORES.double() - 0.5 * (policy / reference).log())).sum())

    for seed in range(20):
        noise = torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert objective(torch.softmax(best.log() + 0.1 * noise, dim=0)) < objective(best)


@pytest.mark.slow
@pytest.mark.parametrize("make", [one_token, two_tokens])
def test_ppo_reaches_the_known_optimum(make: object) -> None:
    """With two tokens, credit has to find its way to the first through the value model and GAE."""
    assert distance(make(), PLAIN) <= BANDIT_TOTAL_VARIATION  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("make", [one_token, two_tokens])
def test_standardised_advantages_have_the_same_optimum(make: object) -> None:
    config = PLAIN.model_copy(update={"standardize_advantages": True})
    assert distance(make(), config) <= BANDIT_TOTAL_VARIATION  # type: ignore[operator]


@pytest.mark.slow
def test_standardised_scores_move_the_optimum_as_if_the_penalty_were_scaled() -> None:
    """Dividing scores by 2 doubles the price of a nat; subtracting their mean changes nothing."""
    scale = ScoreScale(0.7, 2.0)
    bandit = one_token()
    torch.testing.assert_close(bandit.optimum(0.5, scale), bandit.optimum(1.0), rtol=FLOAT32_SAME, atol=FLOAT32_SAME)
    assert distance(bandit, PLAIN, scale) <= BANDIT_TOTAL_VARIATION


@pytest.mark.slow
def test_several_epochs_of_clipped_steps_have_the_same_optimum() -> None:
    config = PLAIN.model_copy(update={"epochs": 3, "learning_rate": 0.05, "iterations": 60})
    assert distance(two_tokens(), config) <= BANDIT_TOTAL_VARIATION


@pytest.mark.slow
@pytest.mark.parametrize("start", [None, torch.zeros(9, 8)])
def test_a_huge_penalty_pins_the_policy_to_the_reference(start: torch.Tensor | None) -> None:
    """From the reference it does not leave; from elsewhere it comes back."""
    bandit = one_token()
    policy = bandit.solve(PLAIN.model_copy(update={"kl_coef": 1000.0}), seed=1, start=start)
    with torch.no_grad():
        found = bandit.distribution(policy.logprobs())
    assert total_variation(found, bandit.distribution(bandit.reference)) <= BANDIT_TOTAL_VARIATION
    assert divergence(bandit, policy) < 1e-3
