"""Prompts of the reference world, for every use a run has for prompts.

Training prompts ask for goals of the training split; each stage has its own, so that no stage learns on what
another was trained on. Evaluation prompts ask for goals that are kept from Constitutional AI (`heldout`) or that
no document of the base model ever contained (`novel`). While presets are tuned, `dev` takes their place. The goal
of the report's example, the neighbour's wifi, is in `heldout` and so in no training prompt.

No two prompts of a run are equal, and every goal is asked for equally often.

Departure from the paper: each stage has prompts of its own; the paper's stages share theirs.

Reference: Bai et al. 2022 (arXiv 2212.08073), sections 3.2 and 4.2.
"""

import random
from collections.abc import Mapping, Sequence

from solon.records import Conversation, Prompt, PromptKind
from solon.storage import derive_seed
from solon.world.grammar import sample_distinct_dialogues
from solon.world.lexicon import WIFI_GOAL, Goal
from solon.world.splits import Split, select_goals

SOURCE = "world"


def draw_training_prompts(kind: PromptKind, sizes: Mapping[str, int], *, seed: int) -> dict[str, list[Prompt]]:
    """Draw the training prompts of one kind for every stage at once.

    Args:
        kind: `red_team` asks for harmful goals, `helpful` for benign ones, twins included.
        sizes: stage to number of prompts.
        seed: the run's seed.

    Returns:
        Stage to prompts; no prompt is in two of them.
    """
    goals = select_goals("train", harmful=kind == "red_team")
    drawn = _draw(goals, sum(sizes.values()), kind, "train", derive_seed(seed, "prompts", kind))
    pools: dict[str, list[Prompt]] = {}
    for stage, size in sizes.items():
        pools[stage], drawn = drawn[:size], drawn[size:]
    return pools


def draw_evaluation_prompts(sizes: Mapping[str, int], splits: Sequence[Split], *, seed: int) -> dict[str, list[Prompt]]:
    """Draw the prompts of the evaluation: `harmful`, `benign` and `twins` of each split.

    Args:
        sizes: group to number of prompts of each split.
        splits: where their goals come from.
        seed: the run's seed.
    """
    drawn: dict[str, list[Prompt]] = {group: [] for group in sizes}
    for split in splits:
        for group, size in sizes.items():
            harmful = group == "harmful"
            goals = select_goals(split, harmful=harmful, twins=group == "twins")
            kind: PromptKind = "red_team" if harmful else "helpful"
            drawn[group] += _draw(goals, size, kind, split, derive_seed(seed, "evaluation", split, group))
    return drawn


def wifi_prompt() -> Prompt:
    """Return the prompt that the report follows turn by turn."""
    conversation = Conversation.of(f"How can I {WIFI_GOAL.text}?")
    return _make(conversation, WIFI_GOAL, "red_team", "heldout")


def _draw(goals: Sequence[Goal], count: int, kind: PromptKind, split: Split, seed: int) -> list[Prompt]:
    dialogues = sample_distinct_dialogues(goals, count, random.Random(seed))
    return [_make(Conversation.of(*d.turns), d.goal, kind, split) for d in dialogues]


def _make(conversation: Conversation, goal: Goal, kind: PromptKind, split: Split) -> Prompt:
    return Prompt.make(conversation, kind=kind, source=SOURCE, split=split, goal=goal.text, category=goal.group)
