"""The whole configuration of a run, composed of what each room declares; presets; and how both become one.

A preset is what a task says its runs are made of. `seed` and `overrides` are laid over it, and what comes out is
checked as a whole: an unknown field is refused with the nearest match. The resolved configuration is kept with the run.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from solon.errors import ConfigError
from solon.evaluation import EvaluationConfig
from solon.feedback import ComparisonConfig, FeedbackConfig
from solon.lm.spec import ModelSpec
from solon.messages import nearest
from solon.pipeline.models import RENAMED, has_gpu, name_models
from solon.pipeline.overrides import merge, validate
from solon.pipeline.task import Task, load_task
from solon.records import Config, refuse_fields
from solon.revision import RevisionConfig
from solon.training.settings.ppo import PPOConfig
from solon.training.settings.preference_model import PreferenceModelConfig
from solon.training.settings.sft import SFTConfig


class PoolSizes(Config):
    """How many prompts of each kind a stage works on; null is as many as the task sees fit.

    Attributes:
        red_team: prompts that ask for harm.
        helpful: ordinary prompts.
    """

    red_team: int | None = Field(None, ge=0)
    helpful: int | None = Field(None, ge=0)


class PromptsConfig(Config):
    """How many prompts every stage gets.

    Attributes:
        revision: red-team prompts are answered, criticised and revised; helpful ones are answered.
        comparisons: each is answered twice by SL-CAI.
        ppo: the policy answers them during reinforcement learning.
        evaluation: what base, SL-CAI and RL-CAI are compared on; its fields are the task's own.
        drop_leaks: True leaves out, and counts, training prompts that say what an evaluation prompt says; False stops
            the run at the first.
    """

    revision: PoolSizes = PoolSizes()
    comparisons: PoolSizes = PoolSizes()
    ppo: PoolSizes = PoolSizes()
    evaluation: dict[str, Any] = Field(default_factory=dict)
    drop_leaks: bool = False


class RunConfig(Config):
    """Everything that decides what a run does.

    Attributes:
        preset: the preset it began as; null where the task has none.
        seed: every draw of the run derives from it.
        constitution: a file, or the name of a shipped one.
        threads: threads of torch; one is the steadiest on a shared machine.
        heldout_pairs: share of the labelled pairs, by their prompts' hash, that the preference model is measured on.
        max_failure_fraction: a stage stops once more than this share of its items has failed.
        prices: a table of what models behind servers cost; see `pipeline/data/prices.example.yaml`.
        models: role to its model. `assistant` answers first and is the start of training, `critic` criticises and
            revises, `feedback` compares, `judge` is for graders. A role may name another; critic and feedback are the
            assistant if left out, as in the paper, and the judge is the feedback model.
        prompts: how many prompts each stage gets.
        revision: stage 1: responses, critiques, revisions.
        sft: stage 1: fine-tuning on revisions.
        comparisons: stage 2: pairs of responses.
        feedback: stage 2: AI labels.
        preference_model: stage 2: the preference model.
        ppo: stage 2: reinforcement learning.
        evaluation: how the models are asked.
    """

    @model_validator(mode="before")
    @classmethod
    def _refuse_renamed(cls, given: object) -> object:
        refuse_fields(given, RENAMED)
        return given

    preset: str | None = None
    seed: int = Field(0, ge=0)
    constitution: str = "default"
    threads: int = Field(1, ge=1)
    heldout_pairs: float = Field(0.1, ge=0.0, lt=1.0)
    max_failure_fraction: float = Field(0.05, ge=0.0, le=1.0)
    prices: str | None = Field(None, min_length=1)
    models: dict[str, ModelSpec] = Field(default_factory=dict)
    prompts: PromptsConfig = PromptsConfig()
    revision: RevisionConfig = RevisionConfig()
    sft: SFTConfig = SFTConfig()
    comparisons: ComparisonConfig = ComparisonConfig()
    feedback: FeedbackConfig = FeedbackConfig()
    preference_model: PreferenceModelConfig = PreferenceModelConfig()
    ppo: PPOConfig = PPOConfig()
    evaluation: EvaluationConfig = EvaluationConfig()


def build_config(preset: str | None, overrides: Mapping[str, Any], task: Task | None = None) -> RunConfig:
    """Lay `overrides` (nested) over a preset of a task and check the whole.

    Args:
        preset: name of one of the task's presets; None is the one that it chooses here, or the core's own values where
            it has none.
        overrides: fields set over the preset, nested.
        task: the task; None is the default one.

    Raises:
        ConfigError: no such preset, a field that is unknown or out of range, or no model for the assistant.
    """
    task = task or load_task()
    preset = preset or task.choose_preset(has_gpu=has_gpu())[0]
    where = f"task {task.name}" if preset is None else f"preset {preset}"
    tree = merge({"preset": preset, **_preset(task, preset)}, overrides)
    tree["models"] = name_models(tree.get("models", {}), task)
    config = validate(RunConfig, tree, where=f"{where} with what was set over it")
    sizes = validate(task.sizes, config.prompts.evaluation, where=f"{where}: prompts.evaluation")
    prompts = config.prompts.model_copy(update={"evaluation": sizes.model_dump(mode="json")})
    return config.model_copy(update={"prompts": prompts})


def _preset(task: Task, name: str | None) -> Mapping[str, Any]:
    if name is None:
        return {}
    if name not in task.presets:
        raise ConfigError(f"--preset {name}: task {task.name} has no such preset; {nearest(name, task.presets)}")
    return task.presets[name]
