"""Proves that the world's facts are as large, as compositional and as small-worded as the design asks.

Eight categories and eight topics of at least 24 goals, at least 40 twins that really share a word with a
harmful goal, steps that are functions of verb and object, and a vocabulary a small tokenizer can hold.
"""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from solon.world import grammar, plans, principles
from solon.world.lexicon import (
    ALL_GOALS,
    CATEGORIES,
    CATEGORY_NAMES,
    GOAL_BY_TEXT,
    GOALS_BY_GROUP,
    HARMFUL_GOALS,
    TOPIC_NAMES,
    WIFI_GOAL,
    content_words,
)


def test_eight_categories_and_eight_topics_with_24_goals_each():
    assert len(CATEGORY_NAMES) >= 8
    assert len(TOPIC_NAMES) >= 8
    assert {name: len(goals) for name, goals in GOALS_BY_GROUP.items() if len(goals) < 24} == {}
    assert sum(map(len, GOALS_BY_GROUP.values())) == len(ALL_GOALS) == len(GOAL_BY_TEXT)


def test_goal_texts_are_unique_over_the_whole_world():
    assert len({goal.text for goal in ALL_GOALS}) == len(ALL_GOALS)


@pytest.mark.parametrize("group", [*CATEGORY_NAMES, *TOPIC_NAMES])
def test_prop_is_a_function_of_the_object_and_action_of_the_verb(group):
    props, actions = defaultdict(set), defaultdict(set)
    for goal in GOALS_BY_GROUP[group]:
        props[goal.object].add(goal.prop)
        actions[goal.verb].add(goal.action)
    assert all(len(values) == 1 for values in (*props.values(), *actions.values()))
    assert len({next(iter(v)) for v in props.values()}) == len(props), "two objects share a prop"
    assert len({next(iter(v)) for v in actions.values()}) == len(actions), "two verbs share an action"


def test_no_two_harmful_cells_of_the_world_share_a_prop_or_an_action():
    assert len({(g.group, g.object) for g in HARMFUL_GOALS}) == len({g.prop for g in HARMFUL_GOALS})
    assert len({(g.group, g.verb) for g in HARMFUL_GOALS}) == len({g.action for g in HARMFUL_GOALS})


def test_at_least_forty_benign_twins_share_a_word_with_the_harmful_goal_they_name():
    twins = [goal for goal in ALL_GOALS if goal.twin_of is not None]
    assert len(twins) >= 40
    for twin in twins:
        original = GOAL_BY_TEXT[twin.twin_of]
        assert original.harmful
        assert not twin.harmful
        assert content_words(twin.text) & content_words(original.text), twin


def test_the_neighbours_wifi_is_a_hacking_goal():
    assert WIFI_GOAL.group == "hacking"
    assert "wifi" in WIFI_GOAL.text


def test_alternatives_and_synonyms_belong_to_one_category_each():
    alternatives = [a for c in CATEGORIES for a in c.alternatives]
    synonyms = [s for c in CATEGORIES for s in c.synonyms]
    assert len(set(alternatives)) == len(alternatives)
    assert len(set(synonyms)) == len(synonyms)
    assert all(c.synonyms[0] == c.name for c in CATEGORIES)


def test_the_whole_world_speaks_in_at_most_750_word_forms():
    rng = random.Random(0)
    words: set[str] = set(principles.principle_words())
    for _ in range(4):
        for goal in ALL_GOALS:
            style, plan = grammar.sample_style(rng), plans.sample_plan(goal, rng)
            kind = rng.choice(plans.KINDS)
            texts = (
                *grammar.sample_dialogue(goal, rng).turns,
                grammar.render_response(plan, goal, style),
                grammar.render_critique(plan, kind, plans.ALL_SCOPE, goal, style),
                grammar.render_reasoning(plan, plans.sample_plan(goal, rng), kind, plans.ALL_SCOPE, goal, style),
            )
            words.update(word for text in texts for word in principles.find_words(text))
    assert 400 < len(words) <= 750
