"""The step of PPO: what the policy and the value model learn from one rollout.

Each of the two has its own weights, optimizer and gradient clip, so neither loss needs a weight against the other.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from solon.algorithms import PolicyLoss, ValueLoss, clipped_policy_loss, clipped_value_loss
from solon.nets import CausalLM, Network, Trainable
from solon.storage import derive_seed
from solon.training.batching import pack_rows, plan_microbatches, shuffle_order
from solon.training.forward import can_share_prompts, read_logprobs
from solon.training.optimizer import accumulate, build_adamw, learning_rate_at, take_step
from solon.training.rollout import Rollout, ScoreScale, Targets, ValueModel
from solon.training.settings.ppo import PPOConfig


class Learner(NamedTuple):
    """The two networks that learn, each with its own optimizer.

    Attributes:
        policy: the causal model that is trained.
        value: the value model.
        policy_optimizer: over the policy's weights.
        value_optimizer: over the value model's trained weights.
        absent: rows of the policy's embeddings that stand for no token; None where there are none.
    """

    policy: CausalLM
    value: ValueModel
    policy_optimizer: torch.optim.Optimizer
    value_optimizer: torch.optim.Optimizer
    absent: Tensor | None

    @classmethod
    def build(cls, policy: CausalLM, value: ValueModel, absent: Tensor | None) -> "Learner":
        """Give each network an optimizer of its own."""
        return cls(policy, value, build_adamw(policy), build_adamw(value.trained), absent)

    @property
    def can_share_prompts(self) -> bool:
        """Whether responses to one prompt may lie in one sequence for both networks."""
        networks: list[Network] = [self.policy] if self.value.network is None else [self.policy, self.value.network]
        return all(map(can_share_prompts, networks))

    @property
    def models(self) -> dict[str, Trainable]:
        """What a checkpoint keeps of the networks."""
        return {"policy": self.policy, "value": self.value.trained}

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """What a checkpoint keeps of the optimizers."""
        return {"policy": self.policy_optimizer, "value": self.value_optimizer}


def update(
    learner: Learner,
    rollout: Rollout,
    targets: Targets,
    scale: ScoreScale,
    config: PPOConfig,
    *,
    iteration: int,
    seed: int,
) -> dict[str, float]:
    """Learn from a rollout: `config.epochs` passes of `config.minibatches` steps each.

    Args:
        learner: trained in place.
        rollout: what was sampled.
        targets: made of it.
        scale: what values are standardised by.
        config: how.
        iteration: from 0; decides the learning rate and, with the seed, the minibatches.
        seed: of the run.

    Returns:
        Metrics, averaged over the steps: `policy/...` and `value/...`.
    """
    total = config.iterations * config.epochs * config.minibatches
    together = config.responses_per_prompt
    prompts = len(rollout.rows) // together
    sums: dict[str, float] = {}
    steps = 0
    for epoch in range(config.epochs):
        # Prompts are shuffled, not responses: those to one prompt stay in a minibatch, where they share its tokens.
        order = shuffle_order(prompts, seed=derive_seed(seed, "minibatches", iteration), epoch=epoch)
        for index in range(config.minibatches):
            # Counted over the whole run, since the schedule falls over the whole run.
            step = (iteration * config.epochs + epoch) * config.minibatches + index
            part = order[index * prompts // config.minibatches : (index + 1) * prompts // config.minibatches]
            rows = [prompt * together + place for prompt in part for place in range(together)]
            # Both gradients over all microbatches, then a step of each: the clip is of the whole minibatch's gradient.
            found = accumulate(_pieces(learner, rollout, targets, scale, rows, config))
            for name, optimizer, peak in (
                ("policy", learner.policy_optimizer, config.learning_rate),
                ("value", learner.value_optimizer, config.value_learning_rate),
            ):
                rate = learning_rate_at(step, total=total, peak=peak, schedule=config.schedule)
                found[f"{name}/learning_rate"] = rate
                found[f"{name}/grad_norm"] = take_step(
                    optimizer, learning_rate=rate, max_grad_norm=config.max_grad_norm
                )
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value
            steps += 1
    return {name: value / steps for name, value in sums.items()}


def _pieces(
    learner: Learner,
    rollout: Rollout,
    targets: Targets,
    scale: ScoreScale,
    minibatch: Sequence[int],
    config: PPOConfig,
) -> Iterator[dict[str, Tensor]]:
    """Yield each microbatch's share of what is lost, and of what is reported, by policy and by value model."""
    # Over the whole minibatch, so that every token weighs the same in whatever microbatch it falls.
    count = int(rollout.mask[list(minibatch)].sum())
    learnt = [rollout.rows[row] for row in minibatch]
    share = learner.can_share_prompts
    for group in plan_microbatches(learnt, max_tokens=config.microbatch_tokens, share_prompts=share):
        rows = [minibatch[place] for place in group]
        batch = pack_rows([learnt[place] for place in group], share_prompts=share, device=learner.policy.device)
        width = batch.response_mask.shape[1]

        def part(values: Tensor, rows: Sequence[int] = rows, width: int = width) -> Tensor:
            return values[list(rows), :width].to(learner.policy.device)

        policy = clipped_policy_loss(
            read_logprobs(learner.policy, batch, learner.absent),
            part(rollout.logprobs),
            part(targets.advantages),
            batch.response_mask,
            clip_range=config.clip_range,
            count=count,
        )
        # Learnt from before the value model reads, so that only one of the two graphs is in memory.
        yield _name("policy", policy)
        features = None if rollout.features is None else part(rollout.features)
        value = clipped_value_loss(
            scale.apply(learner.value.read(batch, features)),
            part(targets.old_values),
            part(targets.returns),
            batch.response_mask,
            clip_range=config.value_clip_range,
            count=count,
        )
        yield _name("value", value)


def _name(network: str, found: PolicyLoss | ValueLoss) -> dict[str, Tensor]:
    return {f"{network}/{key}": number for key, number in found._asdict().items()}
