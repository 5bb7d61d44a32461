"""The first stage: every prompt of the run, drawn before anything is made of it.

Departure from the paper (Bai et al. 2022, arXiv 2212.08073): each stage has prompts of its own. The paper's
comparisons used the prompts of its revisions, and its RL used them all.
"""

from solon.pipeline.config import PoolSizes
from solon.pipeline.stage import Outcome
from solon.pipeline.workbench import Workbench
from solon.pipeline.world_prompts import draw_evaluation_prompts, draw_training_prompts
from solon.records import Prompt, PromptKind, save_records
from solon.redteam import pool_prompts, prompts_from_constitution, refuse_evaluation_prompts

GROUPS = ("harmful", "benign", "twins")
_POOLS = ("revision", "comparisons", "ppo")
_KINDS: tuple[PromptKind, ...] = ("red_team", "helpful")


def draw_prompts(bench: Workbench) -> Outcome:
    """Draw the prompts of every stage; the constitution's own sample prompts go to the revision stage."""
    sizes = bench.config.prompts
    groups = {group: getattr(sizes.evaluation, group) for group in GROUPS}
    evaluation = draw_evaluation_prompts(groups, sizes.evaluation.splits, seed=bench.seed)
    own = prompts_from_constitution(bench.constitution).prompts
    pools: dict[str, list[Prompt]] = {"revision": list(own), "comparisons": [], "ppo": []}
    for kind in _KINDS:
        wanted = {name: _size(getattr(sizes, name), kind) for name in _POOLS}
        for name, drawn in draw_training_prompts(kind, wanted, seed=bench.seed).items():
            pools[name] += drawn
    measured = {prompt.id for prompts in evaluation.values() for prompt in prompts}
    counts = {"in": 0, "kept": 0, "duplicate": 0, "in_evaluation": 0}
    seen: set[str] = set()
    outputs = []
    for name, drawn in pools.items():
        fresh = [prompt for prompt in drawn if prompt.id not in seen]
        unmeasured = [prompt for prompt in fresh if prompt.id not in measured]
        pool = pool_prompts(unmeasured).prompts
        refuse_evaluation_prompts(pool)
        seen |= {prompt.id for prompt in pool}
        counts["in"] += len(drawn)
        counts["kept"] += len(pool)
        counts["in_evaluation"] += len(fresh) - len(unmeasured)
        counts["duplicate"] += len(drawn) - len(fresh) + len(unmeasured) - len(pool)
        outputs.append(bench.paths.records(f"prompts_{name}"))
        save_records(outputs[-1], pool)
    for group, prompts in evaluation.items():
        counts["in"] += len(prompts)
        counts["kept"] += len(prompts)
        outputs.append(bench.paths.records(f"prompts_{group}"))
        save_records(outputs[-1], prompts)
    return Outcome(tuple(outputs), counts=counts)


def _size(pool: PoolSizes, kind: PromptKind) -> int:
    return pool.red_team if kind == "red_team" else pool.helpful
