"""The four losses of the method: imitation, preference, policy and value."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from solon.algorithms.masks import check_same_shape, masked_mean
from solon.errors import ShapeError


class PolicyLoss(NamedTuple):
    """The clipped policy loss and what to watch beside it.

    Attributes:
        loss: to be minimised. Shape ().
        clipfrac: share of counted tokens whose gradient the clip removes, in [0, 1]. Shape ().
        approxkl: KL(old policy || policy) per token in nats, estimator k3. Shape ().
    """

    loss: Tensor
    clipfrac: Tensor
    approxkl: Tensor


class ValueLoss(NamedTuple):
    """The clipped value loss and how often the clip acted.

    Attributes:
        loss: to be minimised. Shape ().
        clipfrac: share of counted tokens whose gradient the clip removes, in [0, 1]. Shape ().
    """

    loss: Tensor
    clipfrac: Tensor


def sequence_nll(logprobs: Tensor, mask: Tensor, *, count: int | None = None) -> Tensor:
    """Return the negative log-likelihood per counted token, in nats.

        L = -(1/N) sum_t log pi(y_t | x, y_<t)

    Every counted token of the batch weighs the same, whichever sequence it is in.

    Args:
        logprobs: log-probability of each target token. Shape (B, T).
        mask: True where a target is to be learnt; in SFT the response and its end token. Shape (B, T).
        count: N of the whole batch where this is a piece of it; by default what counts here.

    Returns:
        The loss. Shape ().

    Raises:
        ShapeError: shapes differ.
    """
    check_same_shape(logprobs=logprobs, mask=mask)
    return -masked_mean(logprobs, mask, count=count)


def soft_preference_loss(
    scores_a: Tensor, scores_b: Tensor, targets: Tensor, *, centering_coef: float = 0.0, count: int | None = None
) -> Tensor:
    """Return the cross-entropy between soft labels and the Bradley-Terry model, in nats per pair.

        d = r_a - r_b
        L = (1/N) sum [ -p log sigmoid(d) - (1 - p) log sigmoid(-d) + c (r_a + r_b)^2 ]

    Its minimum over d is at sigmoid(d) = p: the label is met, not exceeded. A hard label is the case p in {0, 1}.
    Preferences leave the level of scores open; a positive `c` settles it near zero without touching d.

    Args:
        scores_a: score of response A of each pair, in preference-model units. Shape (B,).
        scores_b: score of response B. Shape (B,).
        targets: probability that A is better, in [0, 1]. Shape (B,).
        centering_coef: c; 0 leaves the level free.
        count: N of the whole batch where this is a piece of it; by default B.

    Returns:
        The loss. Shape ().

    Raises:
        ShapeError: shapes differ, or a target is outside [0, 1]; names the first offending pair.

    Reference: Bradley and Terry 1952; Bai et al. 2022 (arXiv 2212.08073), sections 4.1 and 4.3, for the soft labels;
    Eisenstein et al. 2023 (arXiv 2312.09244) for the centring term.
    """
    check_same_shape(scores_a=scores_a, scores_b=scores_b, targets=targets)
    outside = ~((targets >= 0.0) & (targets <= 1.0))
    if bool(outside.any()):
        row = int(outside.nonzero()[0, 0])
        raise ShapeError(f"targets row {row} is {float(targets[row])}: a target is a probability in [0, 1]")
    gap = scores_a - scores_b
    losses = -(targets * logsigmoid(gap) + (1.0 - targets) * logsigmoid(-gap))
    if centering_coef:
        losses = losses + centering_coef * (scores_a + scores_b).square()
    return losses.sum() / max(1, len(targets) if count is None else count)


def clipped_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip_range: float,
    count: int | None = None,
) -> PolicyLoss:
    """Return the clipped surrogate loss of the policy.

        rho_t = exp(logprobs_t - old_logprobs_t)
        L     = (1/N) sum_t max( -A_t rho_t, -A_t clip(rho_t, 1 - eps, 1 + eps) )

    The larger of the two is taken, so that the clip can only withhold a gain, never a correction: where the policy
    has moved the wrong way the gradient stays, however far it has moved. Where a gain is withheld, and where there is
    none to be had, the gradient is exactly zero, also where the ratio is too large for its type; a correction is then
    infinite, as is the loss.

    Args:
        logprobs: log-probability of each response token under the policy being trained. Shape (B, R).
        old_logprobs: the same under the policy that sampled it; carries no gradient. Shape (B, R).
        advantages: how much better than expected each token turned out. Shape (B, R).
        mask: True where a token counts. Shape (B, R).
        clip_range: eps, positive.
        count: N of the whole batch where this is a piece of it; by default what counts here.

    Returns:
        The loss, and two diagnostics without gradient, divided by the same N.

    Raises:
        ShapeError: shapes differ.

    Reference: Schulman et al. 2017 (arXiv 1707.06347), eq. 7; `approxkl` is estimator k3 of Schulman 2020
    (joschu.net/blog/kl-approx.html).
    """
    check_same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, mask=mask)
    log_ratio = torch.where(mask, logprobs - old_logprobs.detach(), 0.0)
    with torch.no_grad():
        ratio = log_ratio.exp()
        bounded = ratio.clamp(1.0 - clip_range, 1.0 + clip_range)
        is_clipped = -advantages * bounded > -advantages * ratio
    # Where nothing is to be learnt the ratio must not be differentiated: it may be infinite, and zero times infinity is
    # no zero.
    learns = ~is_clipped & (advantages != 0.0)
    ratio = torch.where(is_clipped, bounded, torch.where(learns, log_ratio, 0.0).exp())
    loss = masked_mean(-advantages * ratio, mask, count=count)
    with torch.no_grad():
        clipfrac = masked_mean(is_clipped.to(loss.dtype), mask, count=count)
        approxkl = masked_mean(torch.expm1(log_ratio) - log_ratio, mask, count=count)
    return PolicyLoss(loss, clipfrac, approxkl)


def clipped_value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor,
    *,
    clip_range: float,
    count: int | None = None,
) -> ValueLoss:
    """Return half the squared error of the value estimates, with the step from the old estimates clipped.

        V~_t = old_t + clip(V_t - old_t, -eps, eps)
        L    = (1/N) sum_t 1/2 max( (V_t - G_t)^2, (V~_t - G_t)^2 )

    Args:
        values: value before each token is emitted, from the model being trained. Shape (B, R).
        old_values: the same when the rollout was made; carries no gradient. Shape (B, R).
        returns: G_t, what the values should have been: advantage plus old value. Shape (B, R).
        mask: True where a token counts. Shape (B, R).
        clip_range: eps, positive, in units of the values.
        count: N of the whole batch where this is a piece of it; by default what counts here.

    Returns:
        The loss, and a diagnostic without gradient, divided by the same N.

    Raises:
        ShapeError: shapes differ.

    Reference: the value clipping of the PPO code that Schulman et al. 2017 (arXiv 1707.06347) published; studied in
    Engstrom et al. 2020 (arXiv 2005.12729), section 3.
    """
    check_same_shape(values=values, old_values=old_values, returns=returns, mask=mask)
    old_values = old_values.detach()
    near = old_values + (values - old_values).clamp(-clip_range, clip_range)
    plain = torch.where(mask, values - returns, 0.0).square()
    clipped = torch.where(mask, near - returns, 0.0).square()
    loss = 0.5 * masked_mean(torch.maximum(plain, clipped), mask, count=count)
    with torch.no_grad():
        clipfrac = masked_mean((clipped > plain).to(loss.dtype), mask, count=count)
    return ValueLoss(loss, clipfrac)
