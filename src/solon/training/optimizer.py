"""The gradient of a batch in pieces, the optimizer, its learning rate over time, and one clipped step."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from solon.errors import ModelError
from solon.nets import Trainable
from solon.training.settings.loop import LearningRateSchedule


def build_adamw(
    model: Trainable, *, weight_decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.95)
) -> torch.optim.AdamW:
    """Build AdamW over a model's trainable weights; only matrices decay, norms and biases do not.

    The learning rate is set before each step by `take_step`.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, betas=betas, fused=True)


def learning_rate_at(
    step: int, *, total: int, peak: float, schedule: LearningRateSchedule, warmup_steps: int = 0
) -> float:
    """Return the learning rate of a step.

    Args:
        step: steps already taken, from 0.
        total: steps in all.
        peak: rate after warm-up.
        schedule: `constant`; `linear` or `cosine` fall to zero, which they would reach at step `total`.
        warmup_steps: the rate climbs linearly over this many steps, the first at peak / warmup_steps.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    progress = (step - warmup_steps) / max(1, total - warmup_steps)
    return peak * (1.0 - progress if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress)))


def accumulate(pieces: Iterable[Mapping[str, Tensor]]) -> dict[str, float]:
    """Add the gradient of a batch's losses to the weights, piece by piece, and return the sum of the pieces by name.

    Args:
        pieces: shares of the batch's means, each divided by the whole batch's count, so that they add up to what the
            batch read at once would give. The gradient is taken of those named `loss`, or `.../loss`.
    """
    sums: dict[str, float] = {}
    for piece in pieces:
        for name, share in piece.items():
            # Before the next piece is read, so that only one graph is in memory at a time.
            if name.rpartition("/")[2] == "loss":
                share.backward()  # type: ignore[no-untyped-call]
            sums[name] = sums.get(name, 0.0) + float(share.detach())
    return sums


def take_step(optimizer: torch.optim.Optimizer, *, learning_rate: float, max_grad_norm: float) -> float:
    """Clip the gradient, take one step and clear the gradient.

    Args:
        optimizer: over weights whose gradients are complete.
        learning_rate: for this step.
        max_grad_norm: a longer gradient is scaled down to this Euclidean norm, taken over all weights.

    Returns:
        The gradient's norm before clipping.

    Raises:
        ModelError: the norm is not finite; no step is taken.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    # Looked at before the step: afterwards the weights, and the next checkpoint, would be lost as well.
    norm = float(nn.utils.clip_grad_norm_(parameters, max_grad_norm))
    if not math.isfinite(norm):
        raise ModelError(f"the gradient's norm is {norm}: training has diverged; lower the learning rate")
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
