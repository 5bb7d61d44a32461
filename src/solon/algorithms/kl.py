"""How far the policy is from its reference: the penalty it pays per token, and estimates of the divergence.

All estimates are of KL(policy || reference), from tokens that the policy sampled, in nats.
"""

import torch
from torch import Tensor

from solon.algorithms.masks import check_prefix_mask, check_same_shape
from solon.errors import ShapeError


def kl_penalty_rewards(
    scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, *, kl_coef: float
) -> Tensor:
    """Credit each token with its KL penalty, and the last one with the score as well.

        r_t = -kl_coef * (logprobs_t - ref_logprobs_t) + score * [t is the last counted token]

    Summed over a response this is score - kl_coef * k1, whose expectation is score - kl_coef * KL(policy || ref): the
    policy that maximises it is the reference times exp(score / kl_coef), up to a constant.

    Args:
        scores: score of each whole response, in preference-model units. Shape (B,).
        logprobs: log-probability of each token under the policy that sampled it. Shape (B, R).
        ref_logprobs: the same under the reference. Shape (B, R).
        mask: True where a token counts; a prefix of each row, at least one token long. Shape (B, R).
        kl_coef: price of one nat, in preference-model units.

    Returns:
        Reward per token, exactly 0 where `mask` is False. Shape (B, R).

    Raises:
        ShapeError: shapes differ, `mask` is not a prefix mask, or a row counts no token; names the first such row.

    Reference: Ziegler et al. 2019 (arXiv 1909.08593), eq. 2, spread over tokens as in Ouyang et al. 2022
    (arXiv 2203.02155), section 3.5.
    """
    check_same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs, mask=mask)
    check_prefix_mask(mask)
    if scores.shape != mask.shape[:1]:
        raise ShapeError(
            f"scores has shape {tuple(scores.shape)}, expected ({mask.shape[0]},): one for each row of mask"
        )
    lengths = mask.sum(dim=1)
    if bool((lengths == 0).any()):
        row = int((lengths == 0).nonzero()[0, 0])
        raise ShapeError(f"mask row {row} counts no token: its score has nowhere to go")
    rewards = torch.where(mask, -kl_coef * (logprobs - ref_logprobs), 0.0)
    return rewards.scatter_add(1, (lengths - 1).unsqueeze(1), scores.to(rewards.dtype).unsqueeze(1))


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Estimate KL(policy || ref) of each response by the plain log-ratio.

        k1 = sum_t (logprobs_t - ref_logprobs_t)

    Unbiased; a single response may come out negative.

    Args:
        logprobs: log-probability of each sampled token under the policy that sampled it. Shape (B, R).
        ref_logprobs: the same under the reference. Shape (B, R).
        mask: True where a token counts. Shape (B, R).

    Returns:
        Nats per response. Shape (B,).

    Raises:
        ShapeError: shapes differ.

    Reference: Schulman 2020 (joschu.net/blog/kl-approx.html), estimator k1.
    """
    check_same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs, mask=mask)
    return torch.where(mask, logprobs - ref_logprobs, 0.0).sum(dim=1)


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Estimate KL(policy || ref) of each response with less variance, token by token.

        k3 = sum_t (exp(-d_t) - 1 + d_t),   d_t = logprobs_t - ref_logprobs_t

    Unbiased for the sum of the per-token divergences at the visited states, and never negative.

    Args:
        logprobs: log-probability of each sampled token under the policy that sampled it. Shape (B, R).
        ref_logprobs: the same under the reference. Shape (B, R).
        mask: True where a token counts. Shape (B, R).

    Returns:
        Nats per response. Shape (B,).

    Raises:
        ShapeError: shapes differ.

    Reference: Schulman 2020 (joschu.net/blog/kl-approx.html), estimator k3.
    """
    check_same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs, mask=mask)
    difference = torch.where(mask, logprobs - ref_logprobs, 0.0)
    return (torch.expm1(-difference) + difference).sum(dim=1)
