"""Supervised fine-tuning."""

from pydantic import Field

from solon.training.settings.loop import LearningRateSchedule, LoopConfig


class SFTConfig(LoopConfig):
    """How the base model is fine-tuned.

    The paper passes over its data once; it states no warm-up, decay or bound on gradients.

    Attributes:
        batch_size: examples per step. Paper: 1024; the default suits thousands of examples, not a million.
        learning_rate: peak rate of AdamW. Paper: half the pre-training rate, which it does not state.
        schedule: `constant` as in the paper; `linear` and `cosine` fall to zero.
        eval_fraction: share of the prompts, chosen by hash, whose examples are held out to measure loss on.
    """

    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(5e-4, gt=0.0)
    schedule: LearningRateSchedule = "constant"
    eval_fraction: float = Field(0.05, ge=0.0, lt=1.0)
