"""What a network says of one row by itself, by transformers' own whole forward pass: no batch, no padding, no mask.

The oracle of everything that reads rows together. It knows nothing of the package.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def logprobs_alone(policy: Any, ids: Sequence[int]) -> Tensor:
    """Return the log-probability of each token but the first, given those before it; float64. Shape (T - 1,)."""
    every = policy(torch.tensor([list(ids)])).logits[0].double().log_softmax(-1)
    return every[:-1].gather(1, torch.tensor(list(ids[1:]))[:, None]).squeeze(1)


@torch.no_grad()
def score_alone(scorer: Any, ids: Sequence[int]) -> Tensor:
    """Return what a sequence classifier with one label says of the whole row; float64. Shape ()."""
    return scorer(torch.tensor([list(ids)])).logits[0, 0].double()


def values_alone(scorer: Any, ids: Sequence[int]) -> Tensor:
    """Return the score of each beginning of the row, read anew: the value before the token after it. Shape (T,)."""
    return torch.stack([score_alone(scorer, ids[: length + 1]) for length in range(len(ids))])
