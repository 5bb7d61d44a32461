"""The first stage: every prompt of the run, drawn before anything is made of it.

Departure from the paper (Bai et al. 2022, arXiv 2212.08073): each stage has prompts of its own. The paper's
comparisons used the prompts of its revisions, and its RL used them all and many generated ones besides.
"""

from collections import Counter
from itertools import chain

from solon.pipeline.config import PoolSizes
from solon.pipeline.outcomes import save_all
from solon.pipeline.stage import Outcome
from solon.pipeline.workbench import Workbench
from solon.pipeline.world_prompts import draw_evaluation_prompts, draw_training_prompts, wifi_prompt
from solon.records import Prompt, PromptKind
from solon.redteam import prompt_key, prompts_from_constitution, refuse_evaluation_prompts

GROUPS = ("harmful", "benign", "twins")
_POOLS = ("revision", "comparisons", "ppo")
_KINDS: tuple[PromptKind, ...] = ("red_team", "helpful")


def draw_prompts(bench: Workbench) -> Outcome:
    """Draw the prompts of every stage; the constitution's own sample prompts go to the revision stage.

    A prompt that says the same as one of another stage, as one of the evaluation, or as the report's example, is
    left out and counted.
    """
    sizes = bench.config.prompts
    groups = {group: getattr(sizes.evaluation, group) for group in GROUPS}
    evaluation = draw_evaluation_prompts(groups, sizes.evaluation.splits, seed=bench.seed)
    asked = [*chain.from_iterable(evaluation.values()), wifi_prompt()]
    measured = {prompt_key(prompt.conversation) for prompt in asked}
    own = prompts_from_constitution(bench.constitution)
    pools: dict[str, list[Prompt]] = {"revision": list(own.prompts), "comparisons": [], "ppo": []}
    for kind in _KINDS:
        wanted = {name: _size(getattr(sizes, name), kind) for name in _POOLS}
        for name, drawn in draw_training_prompts(kind, wanted, seed=bench.seed).items():
            pools[name] += drawn
    counts = Counter(kept=0, duplicate=own.counts["duplicate"], in_evaluation=0)
    files: dict[str, list[Prompt]] = {}
    seen: set[str] = set()
    for name, drawn in pools.items():
        pool: list[Prompt] = []
        for prompt in drawn:
            key = prompt_key(prompt.conversation)
            fate = "in_evaluation" if key in measured else "duplicate" if key in seen else "kept"
            counts[fate] += 1
            if fate == "kept":
                pool.append(prompt)
                seen.add(key)
        refuse_evaluation_prompts(pool, asked)
        files[f"prompts_{name}"] = pool
    for group, prompts in evaluation.items():
        counts["kept"] += len(prompts)
        files[f"prompts_{group}"] = prompts
    return Outcome(save_all(bench, files), counts={"in": counts.total(), **counts})


def _size(pool: PoolSizes, kind: PromptKind) -> int:
    return pool.red_team if kind == "red_team" else pool.helpful
