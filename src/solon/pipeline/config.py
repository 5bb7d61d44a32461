"""The whole configuration of a run, composed of what each room declares; presets; and how both become one.

A preset is a YAML file of this package. `seed` and `overrides` are laid over it, and what comes out is checked as a
whole: an unknown field is refused with the nearest match. The resolved configuration is kept with the run.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from solon.errors import ConfigError
from solon.evaluation import EvaluationConfig
from solon.feedback import ComparisonConfig, FeedbackConfig
from solon.pipeline.overrides import merge, nearest, validate
from solon.pipeline.shipped import NANO
from solon.revision import RevisionConfig
from solon.training.ppo import PPOConfig
from solon.training.preference_model import PreferenceModelConfig
from solon.training.sft import SFTConfig

PRESETS = ("nano", "smoke")


class PoolSizes(BaseModel):
    """How many prompts of each kind a stage works on. The world has wordings for as many as may be asked for.

    Attributes:
        red_team: prompts that ask for harm.
        helpful: ordinary prompts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    red_team: int = Field(ge=0, le=100_000)
    helpful: int = Field(ge=0, le=100_000)


class EvaluationSizes(BaseModel):
    """How many prompts of each group, from each split, the models are evaluated on.

    Attributes:
        harmful: prompts that ask for harm.
        benign: ordinary prompts that are no twins.
        twins: ordinary prompts that share words with harmful ones.
        splits: where their goals come from, each once: `heldout` and `novel`; `dev` while a preset is tuned; never
            `train`. The first is the one at the top of the results.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    harmful: int = Field(ge=1, le=20_000)
    benign: int = Field(ge=1, le=20_000)
    twins: int = Field(ge=1, le=20_000)
    splits: tuple[Literal["heldout", "novel", "dev"], ...] = Field(("heldout", "novel"), min_length=1)

    @field_validator("splits")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("must name each split once")
        return value


class PromptsConfig(BaseModel):
    """How many prompts every stage gets. No prompt is given to two stages.

    Attributes:
        revision: red-team prompts are answered, criticised and revised; helpful ones are answered.
        comparisons: each is answered twice by SL-CAI.
        ppo: the policy answers them during reinforcement learning.
        evaluation: what base, SL-CAI and RL-CAI are compared on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    revision: PoolSizes
    comparisons: PoolSizes
    ppo: PoolSizes
    evaluation: EvaluationSizes


class RunConfig(BaseModel):
    """Everything that decides what a run does.

    Attributes:
        preset: the preset it began as.
        seed: every draw of the run derives from it.
        constitution: a file, or the name of a shipped one.
        base_model: checkpoint that is assistant and start of training; here and below, `nano` is the shipped one.
        critic_model: checkpoint that criticises and revises; None is the base, as in the paper.
        feedback_model: checkpoint that compares; None is the base, as in the paper; never SL-CAI.
        threads: threads of torch; one is the steadiest on a shared machine.
        heldout_pairs: share of the labelled pairs, by their prompts' hash, that the preference model is measured on.
        max_failure_fraction: a stage stops once more than this share of its items has failed.
        prompts: how many prompts each stage gets.
        revision: stage 1: responses, critiques, revisions.
        sft: stage 1: fine-tuning on revisions.
        comparisons: stage 2: pairs of responses.
        feedback: stage 2: AI labels.
        preference_model: stage 2: the preference model.
        ppo: stage 2: reinforcement learning.
        evaluation: how the models are asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    preset: str
    seed: int = Field(0, ge=0)
    constitution: str = "default"
    base_model: str = NANO
    critic_model: str | None = None
    feedback_model: str | None = None
    threads: int = Field(1, ge=1)
    heldout_pairs: float = Field(0.1, ge=0.0, lt=1.0)
    max_failure_fraction: float = Field(0.05, ge=0.0, le=1.0)
    prompts: PromptsConfig
    revision: RevisionConfig
    sft: SFTConfig
    comparisons: ComparisonConfig
    feedback: FeedbackConfig
    preference_model: PreferenceModelConfig
    ppo: PPOConfig
    evaluation: EvaluationConfig


def load_preset(name: str) -> dict[str, Any]:
    """Return what a preset sets.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"--preset {name}: no such preset{nearest(name, PRESETS)}")
    text = (files("solon.pipeline") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    loaded = yaml.safe_load(text)
    return {"preset": name, **loaded}


def build_config(preset: str, overrides: Mapping[str, Any]) -> RunConfig:
    """Lay `overrides` (nested) over a preset and check the whole.

    Raises:
        ConfigError: no such preset, or a field that is unknown or out of range.
    """
    return validate(
        RunConfig, merge(load_preset(preset), overrides), where=f"preset {preset} with what was set over it"
    )
