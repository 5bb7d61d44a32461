"""The preference model."""

from pydantic import Field

from solon.training.settings.loop import LearningRateSchedule, LoopConfig


class PreferenceModelConfig(LoopConfig):
    """How the preference model is trained; an example is a pair. The paper states none of these.

    Attributes:
        centering_coef: weight of the squared sum of a pair's scores, which settles their level. Paper: none, so 0.
        clear_margin: accuracy is measured on held-out pairs whose label is at least this far from 0.5.
    """

    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(3e-4, gt=0.0)
    schedule: LearningRateSchedule = "linear"
    centering_coef: float = Field(0.0, ge=0.0)
    clear_margin: float = Field(0.25, ge=0.0, le=0.5)
