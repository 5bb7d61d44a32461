"""How good a preference model's probabilities are: right on clear pairs, and as sure as they should be."""

from typing import NamedTuple

import torch
from torch import Tensor

from solon.algorithms.masks import check_same_shape
from solon.errors import ShapeError

_ROUNDING = 1e-6
"""A label of 0.7 is 0.2 away from 0.5, whatever its binary digits say."""


class PreferenceAccuracy(NamedTuple):
    """Agreement on clear pairs.

    Attributes:
        accuracy: share in [0, 1] of clear pairs ranked as labelled; a tie in scores is half right. None without any.
        pairs: number of clear pairs.
    """

    accuracy: float | None
    pairs: int


def preference_accuracy(gaps: Tensor, targets: Tensor, *, margin: float) -> PreferenceAccuracy:
    """Compare the sign of each score gap with its label, on pairs that are labelled clearly.

    Args:
        gaps: score of A minus score of B. Shape (B,).
        targets: probability that A is better, in [0, 1]. Shape (B,).
        margin: a pair is clear where |target - 0.5| is at least this.

    Raises:
        ShapeError: shapes differ.
    """
    check_same_shape(gaps=gaps, targets=targets)
    clear = ((targets - 0.5).abs() >= margin - _ROUNDING) & (targets != 0.5)
    pairs = int(clear.sum())
    if pairs == 0:
        return PreferenceAccuracy(None, 0)
    agreement = torch.sign(gaps[clear]) * torch.sign(targets[clear] - 0.5)
    return PreferenceAccuracy(float((agreement.double() * 0.5 + 0.5).mean()), pairs)


def calibration_error(gaps: Tensor, targets: Tensor, *, bins: int = 10) -> float:
    """Return the expected calibration error of sigmoid(gap) against soft labels.

        ECE = sum_b (n_b / N) | mean predicted in b - mean target in b |

    Bins are equally wide in predicted probability. Which response of a pair is called A means nothing, so each pair
    is entered both ways round (p with its target, 1 - p with 1 - target): swapping A and B changes nothing.

    Args:
        gaps: score of A minus score of B. Shape (B,).
        targets: probability that A is better, in [0, 1]. Shape (B,).
        bins: number of bins.

    Raises:
        ShapeError: shapes differ, or there is no pair, of which no error can be told.

    Reference: Guo et al. 2017 (arXiv 1706.04599), eq. 3, with soft labels in place of correctness.
    """
    check_same_shape(gaps=gaps, targets=targets)
    if gaps.numel() == 0:
        raise ShapeError("expected at least one pair to measure calibration on")
    gaps, targets = gaps.double(), targets.double()
    predicted = torch.sigmoid(torch.cat([gaps, -gaps]))
    wanted = torch.cat([targets, 1.0 - targets])
    # Distance from 0.5 is computed once for both ways round, so that p and 1 - p always land in mirrored bins; both
    # ways of a tie land in one bin, where they cancel.
    distance = (torch.sigmoid(gaps.abs()) - 0.5) * bins
    outward = torch.cat([gaps >= 0.0, gaps <= 0.0])
    distance = torch.cat([distance, distance])
    index = torch.where(outward, (bins / 2 + distance).floor(), (bins / 2 - distance).ceil() - 1)
    index = index.long().clamp(0, bins - 1)
    difference = torch.zeros(bins, dtype=torch.float64).index_add(0, index.cpu(), (predicted - wanted).cpu())
    return float(difference.abs().sum() / len(predicted))
