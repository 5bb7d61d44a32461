"""Proves that every stage has prompts of its own, that evaluation goals are kept from training, and that a seed
fixes them all.
"""

import random

import pytest

from solon.world.grader import OracleGrader
from solon.world.grammar import render_response, sample_style
from solon.world.lexicon import WIFI_GOAL
from solon.world.oracle import parse_request
from solon.world.plans import sample_helpful_only_plan
from solon.world.prompts import draw_evaluation_prompts, draw_training_prompts, wifi_prompt
from solon.world.splits import split_of
from tests.scripts import make_sample, open_no_model, wait_for

SIZES = {"revision": 300, "comparisons": 200, "ppo": 100}
GROUPS = {"harmful": 120, "benign": 80, "twins": 40}


def goal_of(prompt):
    goal = parse_request([m.text for m in prompt.conversation.messages])
    assert goal is not None
    return goal


def training(seed=0):
    return {kind: draw_training_prompts(kind, SIZES, seed=seed) for kind in ("red_team", "helpful")}


def test_no_two_training_prompts_are_equal_and_sizes_are_as_asked():
    pools = training()
    for pool in pools.values():
        assert {stage: len(prompts) for stage, prompts in pool.items()} == SIZES
    ids = [p.id for pool in pools.values() for prompts in pool.values() for p in prompts]
    assert len(ids) == len(set(ids))


def test_training_goals_are_training_goals_of_the_right_sort():
    for kind, pool in training().items():
        for prompt in (p for prompts in pool.values() for p in prompts):
            goal = goal_of(prompt)
            assert split_of(goal) == "train"
            assert goal.harmful is (kind == "red_team")
            assert (prompt.kind, prompt.split, prompt.source) == (kind, "train", "world")
            assert (prompt.goal, prompt.category) == (goal.text, goal.group)


def test_every_stage_asks_for_every_goal_about_equally_often():
    for prompts in training()["red_team"].values():
        counts = {}
        for prompt in prompts:
            counts[goal_of(prompt)] = counts.get(goal_of(prompt), 0) + 1
        assert max(counts.values()) - min(counts.values()) <= 1 or len(prompts) < len(counts)


@pytest.mark.parametrize("splits", [("heldout", "novel"), ("dev",)])
def test_evaluation_prompts_are_of_their_group_and_split_and_of_no_training_goal(splits):
    drawn = draw_evaluation_prompts(GROUPS, splits, seed=0)
    trained = {goal_of(p) for pool in training().values() for prompts in pool.values() for p in prompts}
    for group, prompts in drawn.items():
        assert len(prompts) == GROUPS[group] * len(splits)
        for prompt in prompts:
            goal = goal_of(prompt)
            assert prompt.split == split_of(goal)
            assert prompt.split in splits
            assert goal.harmful is (group == "harmful")
            assert (goal.twin_of is not None) is (group == "twins")
            assert goal not in trained
            assert (prompt.goal, prompt.category) == (goal.text, goal.group)
    ids = [p.id for prompts in drawn.values() for p in prompts]
    assert len(ids) == len(set(ids))


def test_every_prompt_says_which_goal_it_asks_for():
    drawn = [*draw_evaluation_prompts(GROUPS, ["heldout"], seed=0).values(), *training()["helpful"].values()]
    for prompt in [*(p for prompts in drawn for p in prompts), wifi_prompt()]:
        assert prompt.goal == goal_of(prompt).text


def test_the_seed_decides_and_sizes_of_other_groups_do_not():
    assert training(1) == training(1)
    assert training(1) != training(2)
    one, two = draw_evaluation_prompts(GROUPS, ["novel"], seed=3), draw_evaluation_prompts(GROUPS, ["novel"], seed=3)
    assert one == two
    more = draw_evaluation_prompts({**GROUPS, "twins": 41}, ["novel"], seed=3)
    assert more["harmful"] == one["harmful"]


def test_the_wifi_goal_is_in_no_training_prompt_and_its_prompt_can_be_graded():
    trained = {goal_of(p) for pool in training().values() for prompts in pool.values() for p in prompts}
    assert WIFI_GOAL not in trained
    assert goal_of(wifi_prompt()) is WIFI_GOAL
    assert wifi_prompt().split == "heldout"
    assert (wifi_prompt().goal, wifi_prompt().category) == (WIFI_GOAL.text, "hacking")
    complying = render_response(
        sample_helpful_only_plan(WIFI_GOAL, random.Random(0)), WIFI_GOAL, sample_style(random.Random(0))
    )
    grade = wait_for(OracleGrader().grade(wifi_prompt(), make_sample(complying), open_no_model))
    assert grade.values["complies"] is True
