"""The first stage: every prompt of the run, had from the task before anything is made of it.

The prompts are drawn before the run's folder is claimed, so that a leak between training and evaluation, or a task
without prompts, is said while there is nothing to undo; the stage itself writes them down.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from solon.constitution import Constitution
from solon.evaluation import Evaluation
from solon.pipeline.config import RunConfig
from solon.pipeline.task import Pools, Task
from solon.records import EvalPrompt, Prompt
from solon.redteam import keep_evaluation_out, pool_prompts, prompts_from_constitution, refuse_evaluation_prompts

POOLS = ("revision", "comparisons", "ppo")
"""The stages that are given prompts to train on."""


@dataclass(frozen=True)
class RunPrompts:
    """All prompts of a run.

    Attributes:
        pools: training stage to its prompts.
        evaluations: what models are measured on.
        left_out: training stage to how many prompts it was not given, by reason.
    """

    pools: Mapping[str, Sequence[Prompt]]
    evaluations: Sequence[Evaluation]
    left_out: Mapping[str, Mapping[str, int]]

    @property
    def counts(self) -> dict[str, int]:
        """How many prompts went `in`, were `kept`, and were left out by reason, over all stages and evaluations."""
        counts = Counter(kept=len(self.asked) + sum(map(len, self.pools.values())))
        for reasons in self.left_out.values():
            counts.update(reasons)
        return {"in": counts.total(), **counts}

    @property
    def asked(self) -> list[EvalPrompt]:
        """The prompts of all evaluations, in order."""
        return [
            EvalPrompt(evaluation=evaluation.name, group=group, prompt=prompt)
            for evaluation in self.evaluations
            for group, prompts in evaluation.prompts.items()
            for prompt in prompts
        ]


def draw_prompts(task: Task, config: RunConfig, constitution: Constitution) -> RunPrompts:
    """Have the task give every stage its prompts; the constitution's own sample prompts go to the revision stage.

    A prompt that says the same as another of its stage is left out and counted. So is one that says, or nearly says,
    what the evaluation or the report's example says, where the configuration drops leaks.

    Raises:
        ConfigError: the task cannot give what is asked for, or a training prompt is a leak or of another split.
    """
    sizes = task.sizes.model_validate(config.prompts.evaluation)
    evaluations = task.evaluations(sizes, seed=config.seed)
    wanted: Pools = {name: getattr(config.prompts, name).model_dump() for name in POOLS}
    drawn = task.training_prompts(wanted, seed=config.seed)
    own = prompts_from_constitution(constitution)
    asked = [prompt for evaluation in evaluations for prompts in evaluation.prompts.values() for prompt in prompts]
    example = task.example()
    measured = asked if example is None else [*asked, example]
    pools: dict[str, Sequence[Prompt]] = {}
    left_out: dict[str, Mapping[str, int]] = {}
    for name in POOLS:
        given = [*own.prompts, *drawn[name]] if name == "revision" else drawn[name]
        distinct = pool_prompts(given)
        pool = keep_evaluation_out(distinct.prompts, measured, near=task.near_leaks, drop=config.prompts.drop_leaks)
        refuse_evaluation_prompts(pool.prompts)
        pools[name] = pool.prompts
        repeated = distinct.counts["duplicate"] + (own.counts["duplicate"] if name == "revision" else 0)
        leaks = {reason: count for reason, count in pool.counts.items() if reason not in ("in", "kept")}
        left_out[name] = {"duplicate": repeated, **leaks}
    return RunPrompts(pools, evaluations, left_out)


def describe_prompts(prompts: RunPrompts) -> str:
    """Return on one line how many prompts each stage trains on and was not given, and how many each group has."""
    stages = [f"{name} {_describe_pool(pool, prompts.left_out[name])}" for name, pool in prompts.pools.items()]
    groups = [f"{len(p)} in {e.name}/{group}" for e in prompts.evaluations for group, p in e.prompts.items()]
    return f"prompts to train on: {', '.join(stages)}; to measure on: {', '.join(groups)}"


def _describe_pool(pool: Sequence[Prompt], left_out: Mapping[str, int]) -> str:
    kinds = Counter(prompt.kind for prompt in pool)
    reasons = [f"{reason.replace('_', ' ')}: {count}" for reason, count in left_out.items() if count]
    rest = f" (left out, {', '.join(reasons)})" if reasons else ""
    return f"{kinds['red_team']} red-team and {kinds['helpful']} helpful{rest}"
