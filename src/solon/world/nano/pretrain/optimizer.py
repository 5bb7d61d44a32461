"""Muon for the layers' matrices, AdamW for the rest, each process on its own part of the parameters.

Reference: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; Loshchilov and Hutter 2019
(AdamW, arXiv 1711.05101).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from solon.world.nano.pretrain.config import PretrainConfig
from solon.world.nano.pretrain.weights import MATRICES, LlamaShape, count_matrices, count_parameters, view_weights

_ADAM_BETAS = (0.9, 0.95)
_ADAM_EPSILON = 1e-8
_MUON_MOMENTUM = 0.95


def orthogonalize(x: Tensor, steps: int = 5) -> Tensor:
    """Push the singular values of each matrix towards 1 by a quintic Newton-Schulz iteration.

        X <- a X + (b A + c A^2) X,    A = X X^T,    (a, b, c) = (3.4445, -4.7750, 2.0315)

    Args:
        x: matrices. Shape (B, M, K).
        steps: iterations; after 5 the singular values lie in about [0.7, 1.2].

    Reference: Jordan et al. 2024.
    """
    if x.shape[1] > x.shape[2]:
        return orthogonalize(x.transpose(1, 2), steps).transpose(1, 2)
    a, b, c = 3.4445, -4.7750, 2.0315
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


@dataclass(frozen=True, slots=True)
class TrainState:
    """Everything a step changes, as flat tensors in the order of `Weights`; shared where several processes train.

    Attributes:
        parameters: the weights.
        first: AdamW's first moment, Muon's momentum.
        second: AdamW's second moment of what AdamW updates: all, or what follows Muon's matrices.
    """

    parameters: Tensor
    first: Tensor
    second: Tensor

    @classmethod
    def build(cls, shape: LlamaShape, config: PretrainConfig, device: torch.device) -> "TrainState":
        """Build the state of a model of this shape, all zeros."""
        count = count_parameters(shape)
        adam = count - _count_muon(shape, config)
        return cls(*(torch.zeros(n, device=device) for n in (count, count, adam)))

    def tensors(self) -> dict[str, Tensor]:
        """Name the tensors, as a checkpoint does."""
        return {"parameters": self.parameters, "first": self.first, "second": self.second}


def _count_muon(shape: LlamaShape, config: PretrainConfig) -> int:
    return count_matrices(shape) if config.optimizer == "muon" else 0


def split_evenly(start: int, stop: int, parts: int) -> list[int]:
    """Return the `parts + 1` edges of equal parts of `range(start, stop)`, equal up to one."""
    return [start + (stop - start) * part // parts for part in range(parts + 1)]


def update_parameters(
    state: TrainState, gradient: Tensor, shape: LlamaShape, config: PretrainConfig, step: int, rank: int
) -> None:
    """Update this process's part of the parameters.

        Muon    m <- mu m + (1 - mu) g,    p <- (1 - r w) p - r sqrt(max(1, rows / columns)) orth(mu m + (1 - mu) g)
        AdamW   p <- (1 - r w) p - r m' / (sqrt(v') + epsilon),    m', v' the moments corrected for their start at 0

    with r the rate at this step and w the weight decay, which is 0 for what is not a layer's matrix.

    Args:
        state: changed in place.
        gradient: of the mean loss, clipped; in the order of `Weights`.
        shape: sizes of the model.
        config: rates, decay, and how many processes share the update.
        step: steps done before this one.
        rank: which process this is: Muon updates every `processes`-th matrix, AdamW one slice.
    """
    scale, muon = config.rate_scale(step), _count_muon(shape, config)
    if muon:
        rate = scale * config.muon_learning_rate
        views = [view_weights(flat, shape)[:MATRICES] for flat in (state.parameters, gradient, state.first)]
        for parameter, grad, momentum in zip(*views, strict=True):
            rows, columns = parameter.shape[-2:]
            p, g, m = (t.view(-1, rows, columns)[rank :: config.processes] for t in (parameter, grad, momentum))
            m.lerp_(g, 1 - _MUON_MOMENTUM)
            update = orthogonalize(torch.lerp(g, m, _MUON_MOMENTUM))
            p.mul_(1 - rate * config.weight_decay).add_(update, alpha=-rate * max(1.0, rows / columns) ** 0.5)
    low, high = split_evenly(muon, len(state.parameters), config.processes)[rank : rank + 2]
    decayed = state.parameters[low : max(low, min(high, count_matrices(shape)))]
    rate = scale * config.learning_rate
    decayed.mul_(1 - rate * config.weight_decay)
    beta1, beta2 = _ADAM_BETAS
    g, m, v = gradient[low:high], state.first[low:high], state.second[low - muon : high - muon]
    m.lerp_(g, 1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    denominator = (v / (1 - beta2 ** (step + 1))).sqrt_().add_(_ADAM_EPSILON)
    state.parameters[low:high].addcdiv_(m, denominator, value=-rate / (1 - beta1 ** (step + 1)))
