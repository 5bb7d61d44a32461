"""From rewards and values to advantages, and the two ways of putting numbers on a common scale."""

import torch
from torch import Tensor

from solon.algorithms.masks import check_prefix_mask, check_same_shape, masked_mean

_ROUNDING = 8
"""Standard deviation, in units of the last place of the values' size, up to which values are taken to be equal."""


def gae_advantages(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, gae_lambda: float) -> Tensor:
    """Estimate advantages by generalised advantage estimation.

        delta_t = r_t + gamma * V_{t+1} - V_t          (V after the last counted token is 0)
        A_t     = delta_t + gamma * gae_lambda * A_{t+1}

    Advantages are returned as estimated: centring and scaling is `standardize`, a separate decision. An episode ends
    with its last counted token, whether the response ended there or was cut off, so nothing is bootstrapped.

    Args:
        rewards: reward credited to each response token, in preference-model units. Shape (B, R).
        values: value estimated before each token is emitted. Shape (B, R).
        mask: True where a token counts; a prefix of each row. Shape (B, R).
        gamma: discount per token, in [0, 1].
        gae_lambda: 0 is one-step TD; 1 is Monte Carlo return minus value.

    Returns:
        Advantage per token, exactly 0 where `mask` is False. Shape (B, R).

    Raises:
        ShapeError: shapes differ, or `mask` is not a prefix mask; names the first offending row.

    Reference: Schulman et al. 2016 (arXiv 1506.02438), eq. 16.
    """
    check_same_shape(rewards=rewards, values=values, mask=mask)
    check_prefix_mask(mask)
    rewards = torch.where(mask, rewards, 0.0)
    values = torch.where(mask, values, 0.0)
    advantages = torch.zeros_like(rewards)
    next_advantage = next_value = rewards.new_zeros(rewards.shape[0])
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        next_advantage = delta + gamma * gae_lambda * next_advantage  # stays 0 until the last counted token
        next_value = values[:, t]
        advantages[:, t] = next_advantage
    return advantages


def standard_deviation(values: Tensor, mask: Tensor) -> Tensor:
    """Return the standard deviation of the counted values; exactly 0 where they differ by no more than rounding.

        sqrt(mean((x - mean)^2)),   0 where that is at most 8 units in the last place of sqrt(mean(x^2))

    The places are those of the values' own type. What equal values computed in another order differ by is no spread: to
    divide by it would make it the unit of everything.

    Args:
        values: any shape.
        mask: True where a value counts; same shape.

    Returns:
        Shape (), float64.

    Raises:
        ShapeError: shapes differ.
    """
    check_same_shape(values=values, mask=mask)
    wide = values.double()
    std = masked_mean((wide - masked_mean(wide, mask)).square(), mask).sqrt()
    size = masked_mean(wide.square(), mask).sqrt()
    return torch.where(std <= _ROUNDING * torch.finfo(values.dtype).eps * size, 0.0, std)


def standardize(values: Tensor, mask: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """Subtract the mean of the counted values and divide by their standard deviation.

        (x - mean) / (std + epsilon),   std over the counted values, divided by N

    Args:
        values: any shape.
        mask: True where a value counts; same shape.
        epsilon: added to the standard deviation.

    Returns:
        Counted values with mean 0 and standard deviation 1, or all 0 where they differ by no more than rounding;
        exactly 0 elsewhere. Same shape and type.

    Raises:
        ShapeError: shapes differ.
    """
    wide, std = values.double(), standard_deviation(values, mask)
    mean = masked_mean(wide, mask)
    return torch.where(mask & (std != 0.0), (wide - mean) / (std + epsilon), 0.0).to(values.dtype)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Return the share of the returns' variance that the values foretell.

        1 - Var(G - V) / Var(G)

    1 is perfect, 0 no better than a constant, negative worse than a constant.

    Args:
        values: value before each token. Shape (B, R).
        returns: what it should have been. Shape (B, R).
        mask: True where a token counts. Shape (B, R).

    Returns:
        The share; 0 where the returns differ by no more than rounding. Shape (), of the returns' type.

    Raises:
        ShapeError: shapes differ.
    """
    check_same_shape(values=values, returns=returns, mask=mask)
    total = standard_deviation(returns, mask).square()
    left = standard_deviation(returns.double() - values.double(), mask).square()
    return torch.where(total > 0.0, 1.0 - left / total, 0.0).to(returns.dtype)
