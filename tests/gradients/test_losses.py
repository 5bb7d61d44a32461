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
