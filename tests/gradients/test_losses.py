"""Proves that the gradient of every loss is its derivative, by finite differences in float64.

The clipped losses have corners; points are drawn away from them, on both sides.
"""

import pytest
import torch
from torch.autograd import gradcheck

from solon import algorithms

MASK = torch.tensor([[True, True, True, False], [True, False, False, False], [True, True, True, True]])


def draw(*shape: int, seed: int, low: float = -1.0, high: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def test_sequence_nll() -> None:
    logprobs = draw(3, 4, seed=1, low=-5, high=0).requires_grad_()
    assert gradcheck(lambda x: algorithms.sequence_nll(x, MASK), logprobs)


@pytest.mark.parametrize("centering_coef", [0.0, 0.1])
def test_soft_preference_loss(centering_coef: float) -> None:
    a, b = draw(6, seed=2, low=-3, high=3).requires_grad_(), draw(6, seed=3, low=-3, high=3).requires_grad_()
    targets = torch.tensor([0.0, 0.2, 0.5, 0.6, 0.9, 1.0], dtype=torch.float64)
    assert gradcheck(lambda x, y: algorithms.soft_preference_loss(x, y, targets, centering_coef=centering_coef), (a, b))


def test_clipped_policy_loss_on_both_sides_of_the_clip() -> None:
    old = draw(3, 4, seed=4, low=-3, high=-1)
    steps = torch.tensor([[0.5, -0.5, 0.05, 0.0], [-0.05, 0.0, 0.0, 0.0], [0.5, -0.5, 0.1, -0.1]], dtype=torch.float64)
    advantages = torch.tensor([[1.0, 1.0, -1.0, 9.0], [0.5, 9.0, 9.0, 9.0], [-1.0, -2.0, 1.0, 0.0]]).double()
    new = (old + steps).requires_grad_()
    assert gradcheck(lambda x: algorithms.clipped_policy_loss(x, old, advantages, MASK, clip_range=0.2).loss, new)
    algorithms.clipped_policy_loss(new, old, advantages, MASK, clip_range=0.2).loss.backward()
    assert new.grad is not None
    # A token whose gain is clipped is left alone; one that moved the wrong way is still corrected.
    assert new.grad[0, 0] == 0.0
    assert new.grad[2, 1] == 0.0
    assert new.grad[2, 0] > 0.0
    assert new.grad[0, 1] < 0.0


@pytest.mark.parametrize("advantage", [2.0, 0.0, -1.5])
@pytest.mark.parametrize("log_ratio", [-1e4, -200.0, -0.3, -0.1, 0.0, 0.1, 0.3, 80.0, 88.0, 92.0, 104.0, 200.0, 1e4])
def test_the_policy_gradient_is_right_at_any_ratio(log_ratio: float, advantage: float) -> None:
    """Also where the ratio is too large for its type: a gain that is withheld is zero times it, a correction is not."""
    old = torch.tensor([[-2.0, -1.0]])
    new = (old + torch.tensor([[log_ratio, 0.0]])).requires_grad_()
    advantages, mask = torch.tensor([[advantage, 0.5]]), torch.ones(1, 2, dtype=torch.bool)
    loss = algorithms.clipped_policy_loss(new, old, advantages, mask, clip_range=0.2).loss
    loss.backward()
    wide = torch.tensor(log_ratio, dtype=torch.float64)
    gained = (advantage > 0.0 and log_ratio > 0.2) or (advantage < 0.0 and log_ratio < -0.2) or advantage == 0.0
    slope = 0.0 if gained else float((-advantage * wide.exp() / 2).float())
    bound = wide.exp().clamp(0.8, 1.2) if gained else wide.exp()
    value = 0.0 if advantage == 0.0 else float(-advantage * bound)
    assert new.grad is not None
    assert new.grad[0].tolist() == pytest.approx([slope, -0.25], rel=1e-5)
    assert float(loss.detach()) == pytest.approx(float(torch.tensor((value - 0.5) / 2).float()), rel=1e-5)


@pytest.mark.parametrize("gap", [-1e4, -100.0, -89.0, 89.0, 100.0, 1e4])
def test_no_estimate_or_loss_is_undefined_far_away(gap: float) -> None:
    """Too large for its type is infinite, which a loop refuses; it is never zero times infinity."""
    mask = torch.ones(1, 2, dtype=torch.bool)
    for function in (
        lambda x: algorithms.kl_k1(x, torch.zeros(1, 2), mask).sum(),
        lambda x: algorithms.kl_k3(x, torch.zeros(1, 2), mask).sum(),
        lambda x: algorithms.kl_penalty_rewards(torch.ones(1), x, torch.zeros(1, 2), mask, kl_coef=0.1).sum(),
        lambda x: algorithms.soft_preference_loss(x[0], -x[0], torch.tensor([0.0, 1.0])),
        lambda x: algorithms.clipped_value_loss(x, -x.detach(), torch.zeros(1, 2), mask, clip_range=0.2).loss,
    ):
        values = torch.tensor([[gap, 0.0]], requires_grad=True)
        value = function(values)
        value.backward()
        assert values.grad is not None
        assert not value.isnan()
        assert not values.grad.isnan().any()


def test_clipped_value_loss_on_both_sides_of_the_clip() -> None:
    old, returns = draw(3, 4, seed=5), draw(3, 4, seed=6)
    values = draw(3, 4, seed=7).requires_grad_()
    assert gradcheck(lambda x: algorithms.clipped_value_loss(x, old, returns, MASK, clip_range=0.3).loss, values)


def test_kl_penalty_through_the_policy() -> None:
    new, ref, scores = draw(3, 4, seed=8).requires_grad_(), draw(3, 4, seed=9), draw(3, seed=10)
    assert gradcheck(lambda x: algorithms.kl_penalty_rewards(scores, x, ref, MASK, kl_coef=0.3).sum(), new)
    assert gradcheck(lambda x: algorithms.kl_k1(x, ref, MASK).sum(), new)
    assert gradcheck(lambda x: algorithms.kl_k3(x, ref, MASK).sum(), new)


def test_old_quantities_carry_no_gradient() -> None:
    one = draw(3, 4, seed=12).requires_grad_()
    old = one.detach().clone().requires_grad_()
    algorithms.clipped_policy_loss(one, old, draw(3, 4, seed=13), MASK, clip_range=0.2).loss.backward()
    algorithms.clipped_value_loss(one, old, draw(3, 4, seed=14), MASK, clip_range=0.2).loss.backward()
    assert old.grad is None
