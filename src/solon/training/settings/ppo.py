"""Reinforcement learning."""

from typing import Final, Self

from pydantic import Field, model_validator

from solon.records import Config, refuse_fields
from solon.training.settings.loop import LearningRateSchedule

_OTHER_DRAWS: Final = dict.fromkeys(
    ("temperature", "top_p", "min_p"),
    "cannot be set: rollouts are drawn from the policy's whole distribution at temperature 1, by whose "
    "log-probabilities the importance ratio divides; another temperature or truncation draws from another distribution "
    "and biases the ratios, truncation by the mass that was cut: leave it out",
)
"""What the data stages can set and PPO cannot, and why."""


class PPOConfig(Config):
    """How the policy is trained against the preference model.

    Attributes:
        iterations: rounds of sampling and learning. Paper: not stated.
        responses_per_iteration: responses sampled per round. Paper: not stated.
        responses_per_prompt: how many of them answer the same prompt; prompts are drawn without replacement until all
            had their turn. More of them cost less, since they share the prompt's tokens. Paper: not stated.
        epochs: passes over a round's responses. Paper: not stated.
        minibatches: steps per pass. Paper: not stated.
        learning_rate: peak rate of the policy's AdamW. Paper: not stated.
        value_learning_rate: peak rate of the value model's AdamW. Paper: not stated.
        schedule: `constant`, or `linear` and `cosine`, which fall to zero over the run. Paper: not stated.
        kl_coef: price of one nat from SL-CAI, in standard deviations of SL-CAI's scores. Paper: 0.001, in units of
            its own preference model.
        clip_range: how far the ratio of probabilities may pay. Paper: not stated; 0.2 is that of Schulman et al. 2017.
        value_clip_range: how far a value may move in one rollout, in standard deviations. Paper: not stated.
        gamma: discount per token. Paper: not stated; 1, since a response is judged as a whole.
        gae_lambda: between one-step (0) and Monte Carlo (1) advantages. Paper: not stated.
        standardize_advantages: centre and scale advantages over each rollout. Paper: not stated.
        missing_end_penalty: a response that does not end scores at most this, in standard deviations.
        max_grad_norm: longer gradients are scaled down to it, policy and value model apart. Paper: not stated.
        train_value_trunk: True trains a whole second copy of the preference model as the value model; False trains
            only a head on the preference model's own features, at a fifth of the cost.
        max_response_tokens: a response is cut off there. Paper: not stated.
        max_prompt_tokens: a prompt longer than this is left out, and counted.
        microbatch_tokens: tokens that go through a network at once, padding included; memory and speed only. A thousand
            keep a small model's activations in a core's cache; a GPU wants more.
        sample_every: iterations between texts written beside the metrics.
        checkpoint_every: iterations between checkpoints; changes nothing in the result.
    """

    iterations: int = Field(50, ge=1)
    responses_per_iteration: int = Field(96, ge=1)
    responses_per_prompt: int = Field(2, ge=1)
    epochs: int = Field(1, ge=1)
    minibatches: int = Field(2, ge=1)
    learning_rate: float = Field(2e-4, gt=0.0)
    value_learning_rate: float = Field(2e-4, gt=0.0)
    schedule: LearningRateSchedule = "linear"
    kl_coef: float = Field(0.05, ge=0.0)
    clip_range: float = Field(0.2, gt=0.0)
    value_clip_range: float = Field(0.2, gt=0.0)
    gamma: float = Field(1.0, ge=0.0, le=1.0)
    gae_lambda: float = Field(0.95, ge=0.0, le=1.0)
    standardize_advantages: bool = True
    missing_end_penalty: float = -2.0
    max_grad_norm: float = Field(0.5, gt=0.0)
    train_value_trunk: bool = True
    max_response_tokens: int = Field(64, ge=1)
    max_prompt_tokens: int = Field(256, ge=1)
    microbatch_tokens: int = Field(1024, ge=1)
    sample_every: int = Field(10, ge=1)
    checkpoint_every: int = Field(10, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _refuse_other_draws(cls, given: object) -> object:
        refuse_fields(given, _OTHER_DRAWS)
        return given

    @model_validator(mode="after")
    def _whole_prompts(self) -> Self:
        prompts, rest = divmod(self.responses_per_iteration, self.responses_per_prompt)
        if rest or prompts < self.minibatches:
            raise ValueError(
                f"responses_per_iteration {self.responses_per_iteration} must be a multiple of responses_per_prompt "
                f"{self.responses_per_prompt}, with at least a prompt for each of {self.minibatches} minibatches"
            )
        return self
