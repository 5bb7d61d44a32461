"""Which tokens count: checks that tensors fit together, and sums and means over the counted ones.

What a mask leaves out is never read, not even as zero times its value, so padding may hold anything: infinities and
NaNs included.
"""

import torch
from torch import Tensor

from solon.errors import ShapeError


def check_same_shape(**tensors: Tensor) -> None:
    """Raise unless all tensors have the shape of the first.

    Raises:
        ShapeError: names the first tensor that differs, and both shapes.
    """
    names = list(tensors)
    expected = tensors[names[0]].shape
    for name in names[1:]:
        if tensors[name].shape != expected:
            raise ShapeError(
                f"{name} has shape {tuple(tensors[name].shape)}, {names[0]} has {tuple(expected)}: they must be equal"
            )


def check_prefix_mask(mask: Tensor) -> None:
    """Raise unless each row of `mask` is some True followed by False only.

    Args:
        mask: boolean. Shape (B, R).

    Raises:
        ShapeError: not boolean, not two-dimensional, or a gap; names the first offending row.
    """
    if mask.dtype is not torch.bool or mask.dim() != 2:
        raise ShapeError(f"mask must be boolean of shape (B, R), found {mask.dtype} of shape {tuple(mask.shape)}")
    if mask.shape[1] < 2:
        return
    gaps = (mask[:, 1:] & ~mask[:, :-1]).any(dim=1)
    if bool(gaps.any()):
        row = int(gaps.nonzero()[0, 0])
        raise ShapeError(f"mask row {row} counts a token after one that does not count: it must be a prefix")


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum the counted values. Shape ()."""
    return torch.where(mask, values, 0.0).sum()


def masked_mean(values: Tensor, mask: Tensor, *, count: int | None = None) -> Tensor:
    """Average the counted values.

    Args:
        values: any shape.
        mask: True where a value counts; same shape.
        count: what to divide by; by default the number of counted values here. A piece of a larger batch passes the
            larger batch's number, so that pieces add up.

    Returns:
        The mean, 0 where nothing counts. Shape ().
    """
    return masked_sum(values, mask) / max(1, int(mask.sum()) if count is None else count)
