"""Which goals a model may meet where: train, dev, heldout and novel, fixed by hash.

- `train`: used in the prompts of Constitutional AI training.
- `dev`: presets and recipes are tuned on it.
- `heldout`: known to the base model from its documents, kept from Constitutional AI.
- `novel`: combinations of verb and object that no document ever contains, although their verb and their
  object each occur in at least two goals that documents do contain.

Within each group, twins and other goals apart, goals are ordered by the blake2b hash of their text and dealt
out in shares of 15 % novel, 20 % heldout, 10 % dev, 55 % train. A goal whose absence would leave its verb or
object with fewer than two documented goals is passed over for `novel`. `WIFI_GOAL` is always in `heldout`.
Nothing here is drawn at random and nothing depends on a seed: the splits are part of the world.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from solon.world.lexicon import ALL_GOALS, GOALS_BY_GROUP, WIFI_GOAL, Goal

Split = Literal["train", "dev", "heldout", "novel"]

SPLITS: Final[tuple[Split, ...]] = ("train", "dev", "heldout", "novel")
SHARES: Final[Mapping[Split, float]] = MappingProxyType({"train": 0.55, "dev": 0.10, "heldout": 0.20, "novel": 0.15})
_MIN_DOCUMENTED: Final = 2


def goal_hash(goal: Goal) -> str:
    """Return the stable hash that places a goal."""
    return hashlib.blake2b(goal.text.encode(), digest_size=8).hexdigest()


def _deal(goals: list[Goal], verbs: Counter[str], objects: Counter[str]) -> dict[str, Split]:
    """Deal one stratum's goals into splits; `verbs` and `objects` count what documents still contain."""
    order = sorted(goals, key=goal_hash)
    n_novel, n_heldout, n_dev = (round(SHARES[s] * len(order)) for s in ("novel", "heldout", "dev"))
    placed: dict[str, Split] = {}
    if WIFI_GOAL in order:
        placed[WIFI_GOAL.text] = "heldout"
        n_heldout -= 1
    for goal in order:
        if n_novel == 0:
            break
        if goal.text in placed or min(verbs[goal.verb], objects[goal.object]) <= _MIN_DOCUMENTED:
            continue
        placed[goal.text] = "novel"
        verbs[goal.verb] -= 1
        objects[goal.object] -= 1
        n_novel -= 1
    rest = [goal for goal in order if goal.text not in placed]
    for rank, goal in enumerate(rest):
        placed[goal.text] = "heldout" if rank < n_heldout else "dev" if rank < n_heldout + n_dev else "train"
    return placed


def _deal_all() -> dict[str, Split]:
    placed: dict[str, Split] = {}
    for goals in GOALS_BY_GROUP.values():
        verbs = Counter(g.verb for g in goals)
        objects = Counter(g.object for g in goals)
        for twins in (False, True):
            stratum = [g for g in goals if (g.twin_of is not None) is twins]
            placed.update(_deal(stratum, verbs, objects))
    return placed


_SPLIT_OF: Final[Mapping[str, Split]] = MappingProxyType(_deal_all())


def split_of(goal: Goal) -> Split:
    """Return the split a goal belongs to."""
    return _SPLIT_OF[goal.text]


def select_goals(
    *splits: Split, harmful: bool | None = None, twins: bool | None = None, group: str | None = None
) -> tuple[Goal, ...]:
    """Return the goals of the given splits, in the world's order.

    Args:
        splits: the splits wanted; none means all four.
        harmful: keep only harmful (True) or only benign (False) goals.
        twins: keep only twins (True) or only goals that are no twins (False).
        group: keep only goals of this category or topic.
    """
    wanted = frozenset(splits or SPLITS)
    return tuple(
        g
        for g in ALL_GOALS
        if _SPLIT_OF[g.text] in wanted
        and (harmful is None or g.harmful is harmful)
        and (twins is None or (g.twin_of is not None) is twins)
        and (group is None or g.group == group)
    )


DOCUMENTED_GOALS: Final[tuple[Goal, ...]] = select_goals("train", "dev", "heldout")
"""Every goal that a training document may contain: all but `novel`."""
