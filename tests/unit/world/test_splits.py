"""Proves that the splits are fixed, cover every goal once, and hold back only what can be composed.

A novel goal's verb and object are each documented twice elsewhere; heldout and novel goals have enough
wordings for an evaluation of 1,000 harmful, 1,000 benign and 300 twin prompts each.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest

from solon.world import splits
from solon.world.grammar import sample_distinct_dialogues
from solon.world.lexicon import ALL_GOALS, WIFI_GOAL
from solon.world.splits import DOCUMENTED_GOALS, SHARES, SPLITS, select_goals, split_of


def test_every_goal_is_in_exactly_one_split():
    by_split = [select_goals(split) for split in SPLITS]
    assert sorted(g.text for goals in by_split for g in goals) == sorted(g.text for g in ALL_GOALS)


@pytest.mark.parametrize("harmful", [True, False])
def test_shares_are_close_to_the_stated_ones(harmful):
    total = len(select_goals(harmful=harmful))
    for split, share in SHARES.items():
        assert len(select_goals(split, harmful=harmful)) / total == pytest.approx(share, abs=0.03)


def test_splits_are_fixed_for_good():
    # Changing this digest moves goals between training and evaluation: every shipped number would be void.
    text = "\n".join(f"{goal.text}\t{split_of(goal)}" for goal in ALL_GOALS)
    assert hashlib.blake2b(text.encode(), digest_size=8).hexdigest() == "c8f8202a63750599"


def test_verb_and_object_of_a_novel_goal_are_each_documented_twice():
    verbs = Counter((g.group, g.verb) for g in DOCUMENTED_GOALS)
    objects = Counter((g.group, g.object) for g in DOCUMENTED_GOALS)
    for goal in select_goals("novel"):
        assert verbs[goal.group, goal.verb] >= 2, goal
        assert objects[goal.group, goal.object] >= 2, goal


def test_wifi_is_heldout_and_novel_is_undocumented():
    assert split_of(WIFI_GOAL) == "heldout"
    alone = splits._deal([WIFI_GOAL], Counter(), Counter())  # a stratum whose shares would make it `train`
    assert alone == {WIFI_GOAL.text: "heldout"}
    assert not set(DOCUMENTED_GOALS) & set(select_goals("novel"))


def test_every_group_has_goals_in_every_split():
    groups = {g.group for g in ALL_GOALS}
    for split in SPLITS:
        assert {g.group for g in select_goals(split)} == groups


@pytest.mark.parametrize("split", ["heldout", "novel"])
@pytest.mark.parametrize(
    ("n", "selection"), [(1000, {"harmful": True}), (1000, {"harmful": False}), (300, {"twins": True})]
)
def test_evaluation_can_draw_enough_distinct_prompts(split, n, selection):
    goals = select_goals(split, **selection)
    dialogues = sample_distinct_dialogues(goals, n, random.Random(0))
    assert len({d.turns for d in dialogues}) == n
    counts = Counter(d.goal.text for d in dialogues)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(counts) == len(goals)
