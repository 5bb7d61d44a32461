"""How good a preference model's probabilities are: right on clear pairs, and as sure as they should be."""

from typing import NamedTuple

import torch
from torch import Tensor

from solon.algorithms.masks import check_same_shape
from solon.calibration import expected_calibration_error
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


def calibration_error(gaps: Tensor, targets: Tensor, *, bins: int) -> float:
    """Return the mirrored `expected_calibration_error` of sigmoid(gap) against soft labels.

    Which response of a pair is called A means nothing, so each pair is entered both ways round: swapping A and B
    changes nothing.

    Args:
        gaps: score of A minus score of B. Shape (B,).
        targets: probability that A is better, in [0, 1]. Shape (B,).
        bins: number of bins, equally wide in predicted probability.

    Raises:
        ShapeError: shapes differ, or there is no pair, of which no error can be told.
    """
    check_same_shape(gaps=gaps, targets=targets)
    if gaps.numel() == 0:
        raise ShapeError("expected at least one pair to measure calibration on")
    # A is the response with the better score, so that a swapped pair has the same probability to the last bit.
    targets = targets.double()
    predicted, observed = torch.sigmoid(gaps.double().abs()), torch.where(gaps >= 0.0, targets, 1.0 - targets)
    return expected_calibration_error(predicted.cpu(), observed.cpu(), bins=bins, mirror=True)
