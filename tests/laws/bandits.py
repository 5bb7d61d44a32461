"""Small decision problems whose best policy under a KL penalty is known in closed form, for PPO's own code to solve.

The policy and the value model are tables behind the interface that PPO uses, so that whatever they fail to learn is
the fault of the arithmetic and not of a network.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from solon.algorithms import kl_k1
from solon.training.batching import TokenRow
from solon.training.learner import Learner, update
from solon.training.ppo import PPOConfig
from solon.training.rollout import Rollout, ScoreScale, ValueModel, compute_targets

AS_IT_IS = ScoreScale(0.0, 1.0)
"""Scores are not scaled."""


class _Trunk(nn.Module):
    """Says which token was read last, and nothing else."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> Any:
        hidden = nn.functional.one_hot(input_ids, self.tokens).to(torch.get_default_dtype())
        return SimpleNamespace(last_hidden_state=hidden)


class Table(nn.Module):
    """A row of numbers for each token that may have been read last: logits of the next one, or a value."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.base_model = _Trunk(rows.shape[0])
        self.score = nn.Linear(*rows.shape, bias=False)
        with torch.no_grad():
            self.score.weight.copy_(rows.T)
        self.device = torch.device("cpu")
        self.config = SimpleNamespace(model_type="table")

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> Any:
        return SimpleNamespace(logits=self.score(self.base_model(input_ids, use_cache).last_hidden_state))

    def get_output_embeddings(self) -> nn.Linear:
        return self.score

    def logprobs(self) -> Tensor:
        """Log-probability of each next token after each token. Shape (V + 1, V)."""
        return torch.log_softmax(self.score.weight.T, dim=-1)


class Bandit:
    """Responses of a fixed number of tokens to one query, a score for each, and a reference policy.

    Args:
        reference: logits of the next token after each token, the last row after the query, which is token V and
            never part of a response. Shape (V + 1, V).
        score: score of each response. Takes (B, R) tokens, returns (B,).
        length: R.
    """

    def __init__(self, reference: Tensor, score: Callable[[Tensor], Tensor], length: int = 1) -> None:
        self.query, self.length, self.score = reference.shape[1], length, score
        self.reference = torch.log_softmax(reference, dim=-1)
        self.responses = torch.cartesian_prod(*[torch.arange(self.query)] * length).reshape(-1, length)

    def distribution(self, logprobs: Tensor) -> Tensor:
        """Return the probability of every response under a table of log-probabilities."""
        return self._along(logprobs, self.responses).sum(dim=1).exp()

    def optimum(self, kl_coef: float, scale: ScoreScale = AS_IT_IS) -> Tensor:
        """Return the best policy: the reference times exp(score / kl_coef), normalised."""
        weights = (
            self._along(self.reference, self.responses).sum(dim=1) + scale.apply(self.score(self.responses)) / kl_coef
        )
        return torch.softmax(weights, dim=0)

    def solve(
        self, config: PPOConfig, *, seed: int, start: Tensor | None = None, scale: ScoreScale = AS_IT_IS
    ) -> Table:
        """Run PPO's own targets and updates on sampled responses; return the policy it ends with."""
        policy = Table(self.reference if start is None else start)
        learner = Learner.build(policy, ValueModel(policy, Table(torch.zeros(self.query + 1, 1))), absent=None)
        draws = torch.Generator().manual_seed(seed)
        for iteration in range(config.iterations):
            rollout = self._sample(learner, config.responses_per_iteration, draws)
            targets = compute_targets(
                rollout,
                scale,
                kl_coef=config.kl_coef,
                missing_end_penalty=config.missing_end_penalty,
                gamma=config.gamma,
                gae_lambda=config.gae_lambda,
                standardize_advantages=config.standardize_advantages,
            )
            update(learner, rollout, targets, scale, config, iteration=iteration, seed=seed)
        return policy

    @torch.no_grad()
    def _sample(self, learner: Learner, count: int, draws: torch.Generator) -> Rollout:
        table = learner.policy.logprobs()
        tokens = torch.full((count, 1), self.query)
        for _ in range(self.length):
            drawn = torch.multinomial(table[tokens[:, -1]].exp(), 1, generator=draws)
            tokens = torch.cat([tokens, drawn], dim=1)
        responses = tokens[:, 1:]
        values = learner.value.trained.score.weight[0][tokens[:, :-1]]  # type: ignore[union-attr, index]
        rows = tuple(TokenRow(tuple(row), 1) for row in tokens.tolist())
        return Rollout(
            rows=rows,
            scored=rows,
            ended=torch.ones(count, dtype=torch.bool),
            mask=torch.ones(count, self.length, dtype=torch.bool),
            logprobs=self._along(table, responses),
            ref_logprobs=self._along(self.reference, responses),
            scores=self.score(responses),
            values=values,
        )

    def _along(self, logprobs: Tensor, responses: Tensor) -> Tensor:
        before = torch.cat([torch.full_like(responses[:, :1], self.query), responses[:, :-1]], dim=1)
        return logprobs[before, responses]


def total_variation(one: Tensor, other: Tensor) -> float:
    """Half the summed difference of two distributions, in [0, 1]."""
    return float((one - other).abs().sum() / 2)


def divergence(bandit: Bandit, policy: Table) -> float:
    """KL(policy || reference) in nats per response, exactly: over every response, weighted by its probability."""
    with torch.no_grad():
        logprobs = bandit._along(policy.logprobs(), bandit.responses)
        reference = bandit._along(bandit.reference, bandit.responses)
        each = kl_k1(logprobs, reference, torch.ones_like(logprobs, dtype=torch.bool))
        return float((logprobs.sum(dim=1).exp() * each).sum())
