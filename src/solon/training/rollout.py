"""What PPO knows about its own responses before it learns from them: the rollout, and the targets made of it.

Each network reads each response once; the policy's log-probabilities come from the sampler, which had them anyway. The
reference, the preference model and the value model share one padded batch. What stands before a stop string is another
text than what was sampled, and is read once more for its score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from solon.algorithms import gae_advantages, kl_penalty_rewards, masked_mean, standard_deviation, standardize
from solon.errors import ModelError
from solon.nets import CausalLM, Scorer, Trainable
from solon.training.batching import TokenBatch, TokenRow, pack_rows, plan_microbatches
from solon.training.forward import can_share_prompts, read_logprobs, read_scores, read_trunk, read_values


@dataclass(frozen=True)
class Rollout:
    """Responses of one iteration and what every network made of them.

    Attributes:
        rows: query and response of each, as tokens. Length B.
        scored: the same rows as the preference model reads them, each up to an end token. Length B.
        ended: True where the policy ended its response, False where it was cut off. Shape (B,).
        mask: True where a response has a token; a prefix of each row. Shape (B, R).
        logprobs: of each token under the policy that sampled it. Shape (B, R).
        ref_logprobs: of each token under the reference. Shape (B, R).
        scores: of each whole response by the preference model, in its units. Shape (B,).
        values: before each token, in preference-model units, not standardised. Shape (B, R).
        features: what the preference model's trunk says before each token, where the value model is a head on it;
            None where the value model has its own trunk. Shape (B, R, width).
    """

    rows: tuple[TokenRow, ...]
    scored: tuple[TokenRow, ...]
    ended: Tensor
    mask: Tensor
    logprobs: Tensor
    ref_logprobs: Tensor
    scores: Tensor
    values: Tensor
    features: Tensor | None = None


class ScoreScale(NamedTuple):
    """Mean and standard deviation that scores and values are standardised by; frozen for a whole run.

    Attributes:
        mean: in preference-model units.
        std: in preference-model units, positive.
    """

    mean: float
    std: float

    @classmethod
    def of(cls, scores: Tensor) -> "ScoreScale":
        """Measure the scale of scores; those that differ by no more than rounding have standard deviation 1.

        Raises:
            ModelError: a score is not finite; names the first.
        """
        wrong = (~scores.isfinite()).nonzero()
        if len(wrong):
            row = int(wrong[0, 0])
            raise ModelError(
                f"the score of response {row} is {float(scores[row])}: the preference model has diverged; train it "
                "again at a lower learning rate"
            )
        std = float(standard_deviation(scores, torch.ones_like(scores, dtype=torch.bool)))
        return cls(float(scores.double().mean()), std if std > 0.0 else 1.0)

    def apply(self, values: Tensor) -> Tensor:
        """Return `values` in standard deviations above the mean."""
        return (values - self.mean) / self.std


class Targets(NamedTuple):
    """What the policy and the value model learn from a rollout; standardised units.

    Attributes:
        rewards: per token, KL penalty included. Shape (B, R).
        advantages: as the policy loss uses them. Shape (B, R).
        old_values: values before learning. Shape (B, R).
        returns: what the values should have been. Shape (B, R).
    """

    rewards: Tensor
    advantages: Tensor
    old_values: Tensor
    returns: Tensor


class ValueModel:
    """The value before each token: the preference model read in the middle of a response, and trained further.

    Args:
        scorer: the preference model, frozen.
        network: a second copy of it to train whole; None trains only a copy of its head, on features that scoring
            computes anyway.
    """

    def __init__(self, scorer: Scorer, network: Scorer | None) -> None:
        self.network = network
        self.head: nn.Linear | None = None
        self.trained: Trainable
        if network is None:
            own = scorer.score
            self.trained = self.head = nn.Linear(own.in_features, 1, bias=False, device=own.weight.device)
            self.head.load_state_dict({"weight": own.weight.detach().float()})
        else:
            self.trained = network

    def read(self, batch: TokenBatch, features: Tensor | None) -> Tensor:
        """Return values in preference-model units, with gradient. Shape (B, R)."""
        if self.network is not None:
            return read_values(self.network, batch)
        assert self.head is not None
        assert features is not None
        values: Tensor = self.head(features).squeeze(-1)
        return values * batch.response_mask


def read_rollout(
    rows: Sequence[TokenRow],
    ended: Sequence[bool],
    logprobs: Sequence[Sequence[float]],
    *,
    stopped: Mapping[int, TokenRow],
    reference: CausalLM,
    scorer: Scorer,
    value: ValueModel,
    end: int,
    absent: Tensor | None,
    microbatch_tokens: int,
) -> Rollout:
    """Let reference, preference model and value model read sampled responses.

    A response that was cut off is scored as if it had ended there, which is how the preference model knows texts;
    nothing else sees the added end token. One that a stop string ended is scored as it stands before the string.

    Args:
        rows: query and response of each, as sampled.
        ended: whether each response came to an end: has its own end token, or a stop string.
        logprobs: of each response token, from the sampler.
        stopped: place of each response that a stop string ended, to its row up to there with the end token.
        reference: the policy's reference.
        scorer: the preference model.
        value: the value model.
        end: the end token.
        absent: rows of policy and reference that stand for no token; None where there are none.
        microbatch_tokens: tokens that go through a network at once.
    """
    # Of the responses as sampled: what the loop learns from has no end token that the policy did not write.
    lengths = torch.tensor([row.response_length for row in rows])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    closed = [
        row if has_end else TokenRow((*row.ids, end), row.prompt_length)
        for row, has_end in zip(rows, ended, strict=True)
    ]
    scored = [stopped.get(place, row) for place, row in enumerate(closed)]
    ref_logprobs, values = torch.zeros(mask.shape), torch.zeros(mask.shape)
    scores = torch.zeros(len(rows))
    features: Tensor | None = None
    share = can_share_prompts(reference) and can_share_prompts(scorer)
    with torch.no_grad():
        for group in plan_microbatches(closed, max_tokens=microbatch_tokens, share_prompts=share):
            batch = pack_rows([closed[index] for index in group], share_prompts=share, device=reference.device)
            # The added end token is read with the rest, and cut off here: it may stand one past the longest response.
            width = min(mask.shape[1], batch.response_mask.shape[1])
            ref_logprobs[group, :width] = read_logprobs(reference, batch, absent)[:, :width].cpu()
            if value.network is None:
                # One pass of the frozen trunk for both, kept for learning: it would say the same again.
                hidden, score = _features_and_scores(scorer, batch)
                if features is None:
                    features = torch.zeros(*mask.shape, hidden.shape[-1], device=hidden.device)
                features[group, :width] = hidden[:, :width]
                values[group, :width] = value.read(batch, hidden)[:, :width].cpu()
            else:
                score = read_scores(scorer, batch)
                values[group, :width] = value.read(batch, None)[:, :width].cpu()
            scores[group] = score.cpu()
        # These scores take the place of those above, which are of a text that goes on with the stop string.
        apart = list(stopped)
        texts = [scored[place] for place in apart]
        for group in plan_microbatches(texts, max_tokens=microbatch_tokens, share_prompts=share):
            batch = pack_rows([texts[index] for index in group], share_prompts=share, device=reference.device)
            scores[[apart[index] for index in group]] = read_scores(scorer, batch).cpu()
    # The policy's own are those that the sampler drew by, and had anyway.
    behaviour = torch.zeros(mask.shape)
    behaviour[mask] = torch.tensor([value for row in logprobs for value in row])
    # Where a response was cut off, the networks have read one token more than it has: that is masked away.
    return Rollout(
        rows=tuple(rows),
        scored=tuple(scored),
        ended=torch.tensor(list(ended)),
        mask=mask,
        logprobs=behaviour,
        ref_logprobs=torch.where(mask, ref_logprobs, 0.0),
        scores=scores,
        values=torch.where(mask, values, 0.0),
        features=features,
    )


def compute_targets(
    rollout: Rollout,
    scale: ScoreScale,
    *,
    kl_coef: float,
    missing_end_penalty: float,
    gamma: float,
    gae_lambda: float,
    standardize_advantages: bool,
) -> Targets:
    """Turn scores into rewards, rewards into advantages and returns.

    A response that did not end earns what it would have earned ended, but never more than the penalty: leaving the
    end away can then not pay, however bad the text.

    Args:
        rollout: what was sampled.
        scale: what scores and values are standardised by.
        kl_coef: price of one nat from the reference, in standard deviations of the score.
        missing_end_penalty: upper bound of the score of a response that does not end, in standard deviations.
        gamma: discount per token.
        gae_lambda: as in `gae_advantages`.
        standardize_advantages: centre and scale the advantages over all tokens of the rollout. Returns are not.
    """
    # The penalty is in standard deviations, so it bounds scores after scaling; and before the price of KL is charged,
    # which a response that does not end pays on top.
    scores = scale.apply(rollout.scores)
    scores = torch.where(rollout.ended, scores, scores.clamp(max=missing_end_penalty))
    rewards = kl_penalty_rewards(scores, rollout.logprobs, rollout.ref_logprobs, rollout.mask, kl_coef=kl_coef)
    old_values = torch.where(rollout.mask, scale.apply(rollout.values), 0.0)
    advantages = gae_advantages(rewards, old_values, rollout.mask, gamma=gamma, gae_lambda=gae_lambda)
    # Returns of the advantages as they are: the value model is to foretell rewards, which standardising would take the
    # level and the unit from. The policy's step is to depend on neither.
    returns = advantages + old_values
    if standardize_advantages:
        advantages = standardize(advantages, rollout.mask)
    return Targets(rewards, advantages, old_values, returns)


def mean_entropy(rollout: Rollout) -> float:
    """Estimate the policy's entropy in nats per token from the tokens it sampled: the mean of -log pi(token)."""
    return float(-masked_mean(rollout.logprobs, rollout.mask))


def _features_and_scores(scorer: Scorer, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """Return the trunk's output before each response token (B, R, width) and each text's score (B,), in one pass."""
    hidden = read_trunk(scorer, batch)
    score: Tensor = scorer.score(hidden[batch.last]).squeeze(-1).float()
    return batch.to_responses(hidden[batch.sources].float()), score
