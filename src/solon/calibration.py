"""How far probabilities are from what came true: the expected calibration error and the Brier score.

There is one definition of each in this package. The value of the first depends on the bins and on whether predictions
are entered both ways round, so neither has a default, and a number that is shown says both. Plain numpy, for rooms that
do without torch.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solon.errors import ShapeError


def expected_calibration_error(predicted: ArrayLike, observed: ArrayLike, *, bins: int, mirror: bool) -> float:
    """Return the expected calibration error of probabilities.

        ECE = sum_b (n_b / N) | mean observed in b - mean predicted in b |

    Bin b of B holds b/B <= p < (b+1)/B, the last one p = 1 as well (index min(floor(p * B), B - 1) in float64);
    an empty bin adds nothing.

    Mirrored, each prediction is entered both ways round, p with y and 1 - p with 1 - y: for choices between two, where
    it means nothing which is called the first. The bins are mirrored too: below 1/2 a bin holds its upper edge in place
    of its lower one. Both ways of p = 1/2 are in one bin, where they cancel.

    Args:
        predicted: probabilities, in [0, 1]. Shape (N,).
        observed: outcomes, 0 or 1, or soft ones between. Shape (N,).
        bins: number of bins B.
        mirror: whether each prediction is entered both ways round.

    Raises:
        ShapeError: shapes differ, or there is no prediction, or one is not in [0, 1].

    Reference: Guo et al. 2017 (arXiv 1706.04599), eq. 3, with soft labels for outcomes where there are such.
    """
    p, y = _rows(predicted, observed)
    place = p * bins
    if mirror:
        # The distance from 1/2 is taken once for both ways round, so that p and 1 - p always land in mirrored bins.
        distance = (np.maximum(p, 1.0 - p) - 0.5) * bins
        up, down = bins / 2 + distance, np.ceil(bins / 2 - distance) - 1
        place = np.concatenate([np.where(p >= 0.5, up, down), np.where(p <= 0.5, up, down)])
        p, y = np.concatenate([p, 1.0 - p]), np.concatenate([y, 1.0 - y])
    index = np.clip(place.astype(np.int64), 0, bins - 1)
    gaps = np.bincount(index, weights=y - p, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def brier_score(predicted: ArrayLike, observed: ArrayLike) -> float:
    """Return the mean squared error of probabilities, mean (p - y)^2.

    Args:
        predicted: probabilities, in [0, 1]. Shape (N,).
        observed: outcomes, 0 or 1, or soft ones between. Shape (N,).

    Raises:
        ShapeError: shapes differ, or there is no prediction, or one is not in [0, 1].

    Reference: Brier 1950, "Verification of forecasts expressed in terms of probability".
    """
    p, y = _rows(predicted, observed)
    return float(np.mean((p - y) ** 2))


def _rows(predicted: ArrayLike, observed: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p, y = np.asarray(predicted, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or len(p) == 0:
        raise ShapeError(f"expected two rows of one length, at least 1, found shapes {p.shape} and {y.shape}")
    outside = np.flatnonzero(~((p >= 0.0) & (p <= 1.0)))
    if len(outside):
        raise ShapeError(f"row {outside[0]}: a probability must be in [0, 1], found {p[outside[0]]}")
    return p, y
