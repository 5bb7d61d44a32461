"""The numerics: pure tensor functions without models, files or state.

Every function carries its equation, its shapes and units, and the paper it comes from. Shapes in capitals: `B`
sequences, `T` tokens, `R` response tokens, `V` vocabulary. Masks are boolean and True means *counts*. Log-probs are
natural logarithms, a KL is in nats, and every loss is to be minimised.

Losses are means over counted tokens (or pairs). Where a batch is worked through in pieces, each piece is given the
`count` of the whole batch, so that the pieces' losses, and their gradients, add up to the batch's: accumulating eight
pieces of one is then one batch of eight.
"""

from solon.algorithms.advantages import (
    explained_variance,
    gae_advantages,
    standard_deviation,
    standardize,
)
from solon.algorithms.calibration import PreferenceAccuracy, calibration_error, preference_accuracy
from solon.algorithms.kl import kl_k1, kl_k3, kl_penalty_rewards
from solon.algorithms.losses import (
    PolicyLoss,
    ValueLoss,
    clipped_policy_loss,
    clipped_value_loss,
    sequence_nll,
    soft_preference_loss,
)
from solon.algorithms.masks import check_prefix_mask, check_same_shape, masked_mean, masked_sum

__all__ = [
    "PolicyLoss",
    "PreferenceAccuracy",
    "ValueLoss",
    "calibration_error",
    "check_prefix_mask",
    "check_same_shape",
    "clipped_policy_loss",
    "clipped_value_loss",
    "explained_variance",
    "gae_advantages",
    "kl_k1",
    "kl_k3",
    "kl_penalty_rewards",
    "masked_mean",
    "masked_sum",
    "preference_accuracy",
    "sequence_nll",
    "soft_preference_loss",
    "standard_deviation",
    "standardize",
]
