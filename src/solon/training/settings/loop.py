"""What the loops of SFT and the preference model have in common."""

from typing import Literal

from pydantic import Field

from solon.records import Config

LearningRateSchedule = Literal["constant", "linear", "cosine"]


class LoopConfig(Config):
    """How the loop runs; each method says how many examples a step has, at what rate and schedule.

    Attributes:
        epochs: passes over the examples.
        batch_size: examples per step.
        learning_rate: peak rate of AdamW.
        schedule: `constant`; `linear` and `cosine` fall to zero.
        warmup_steps: steps over which the rate climbs.
        weight_decay: on matrices.
        max_grad_norm: longer gradients are scaled down to it.
        evaluate_every: steps between measurements on what is held out; the first is before training, the last after it.
        max_tokens: an example with a longer text is left out, and counted.
        microbatch_tokens: tokens that go through the model at once, padding included; memory and speed only. A thousand
            keep a small model's activations in a core's cache; a GPU wants more.
        checkpoint_every: steps between checkpoints; changes nothing in the result.
    """

    epochs: int = Field(1, ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0.0)
    schedule: LearningRateSchedule
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0.0)
    max_grad_norm: float = Field(1.0, gt=0.0)
    evaluate_every: int = Field(50, ge=1)
    max_tokens: int = Field(512, ge=2)
    microbatch_tokens: int = Field(1024, ge=1)
    checkpoint_every: int = Field(50, ge=1)
