"""The stages of a run, in order, each a page: what it reads, what it does, what it writes.

    prompts           every prompt of the run
    revision          stage 1: responses, critiques, revisions; helpful samples; what SFT learns from
    sft               stage 1: SL-CAI
    comparisons       stage 2: two responses of SL-CAI to each prompt
    feedback          stage 2: AI labels, by the base model and never by SL-CAI
    preference-model  stage 2: the preference model
    ppo               stage 2: RL-CAI
    evaluation        the models on prompts kept from training; grades of the revisions; the report's example

Where a stage departs from the paper is said in its module.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from solon.pipeline.config import RunConfig
from solon.pipeline.evaluating import evaluate
from solon.pipeline.prompt_pools import save_prompts
from solon.pipeline.stage import Outcome
from solon.pipeline.stage_one import fine_tune, revise
from solon.pipeline.stage_two import compare, label, reinforce, train_preference_model
from solon.pipeline.workbench import Workbench


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline.

    Attributes:
        name: its name, that of its account too.
        settings: the part of the configuration it depends on.
        reads: what it depends on: `records/x`, the role of a checkpoint, `constitution`, `templates`, `graders`;
            and all depend on the task.
        work: does it.
    """

    name: str
    settings: Callable[[RunConfig], Mapping[str, Any]]
    reads: tuple[str, ...]
    work: Callable[[Workbench], Outcome]


def _settings(*names: str) -> Callable[[RunConfig], Mapping[str, Any]]:
    def pick(config: RunConfig) -> Mapping[str, Any]:
        return config.model_dump(mode="json", include=set(names))

    return pick


STAGES: tuple[Stage, ...] = (
    Stage("prompts", _settings("prompts"), ("constitution",), save_prompts),
    Stage(
        "revision",
        _settings("revision", "max_failure_fraction"),
        ("constitution", "templates", "records/prompts_revision", "base", "critic"),
        revise,
    ),
    Stage("sft", _settings("sft"), ("templates", "records/sft_examples", "base"), fine_tune),
    Stage(
        "comparisons",
        _settings("comparisons", "max_failure_fraction"),
        ("templates", "records/prompts_comparisons", "sl-cai"),
        compare,
    ),
    Stage(
        "feedback",
        _settings("feedback", "max_failure_fraction"),
        ("constitution", "templates", "records/comparisons", "feedback"),
        label,
    ),
    Stage(
        "preference-model",
        _settings("preference_model", "heldout_pairs"),
        ("templates", "records/preference_pairs", "sl-cai"),
        train_preference_model,
    ),
    Stage(
        "ppo",
        _settings("ppo"),
        ("templates", "records/prompts_ppo", "sl-cai", "preference-model"),
        reinforce,
    ),
    Stage(
        "evaluation",
        _settings("evaluation", "revision", "max_failure_fraction"),
        (
            "constitution",
            "templates",
            "records/prompts_evaluation",
            "records/prompts_revision",
            "records/revision_chains",
            "graders",
            "base",
            "critic",
            "sl-cai",
            "rl-cai",
        ),
        evaluate,
    ),
)
