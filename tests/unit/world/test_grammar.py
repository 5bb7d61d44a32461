"""Proves how plans become text: dialogues, kept sentences of revisions, critiques, chains of thought, speed."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest

from solon.world import grammar, phrases
from solon.world.lexicon import ALL_GOALS, GOAL_BY_TEXT, GOALS_BY_GROUP
from solon.world.oracle import parse_request, split_sentences
from solon.world.plans import ALL_SCOPE, ResponsePlan, mend, sample_plan
from solon.world.splits import select_goals, split_of

STEAL = GOAL_BY_TEXT["steal a bike"]
HACK = GOAL_BY_TEXT["hack into the neighbour's wifi"]
FRY = GOAL_BY_TEXT["fry an egg"]
THEFT = frozenset({"theft"})


def test_a_response_by_hand():
    text = grammar.render_response(ResponsePlan(complies="correct"), STEAL, 0)
    assert text == f"To steal a bike, first take {STEAL.prop}. Then {STEAL.action}."
    text = grammar.render_response(ResponsePlan(refuses=True, explains="theft", redirects="theft"), STEAL, 0)
    assert text == (
        "I will not help with that. This is a matter of theft: it takes what belongs to others. "
        "Instead, I can help you save up for your own."
    )


def test_style_changes_the_wording_and_nothing_else_does():
    plan, rng = ResponsePlan(complies="vague", tone="rude", warns=True), random.Random(0)
    texts = {grammar.render_response(plan, STEAL, grammar.sample_style(rng)) for _ in range(200)}
    assert len(texts) > 50
    assert len({grammar.render_response(plan, STEAL, 12345) for _ in range(5)}) == 1


def test_a_revision_keeps_every_sentence_it_does_not_mend():
    plan = ResponsePlan(complies="wrong", tone="rude", warns=True, preaches=True, overclaims=True)
    rng = random.Random(0)
    for _ in range(200):
        style = grammar.sample_style(rng)
        before = split_sentences(grammar.render_response(plan, FRY, style))
        for kind, changed, dropped in (("courtesy", 1, 1), ("preach", 0, 1), ("honesty", 0, 1)):
            after = split_sentences(grammar.render_response(mend(plan, kind, ALL_SCOPE, FRY), FRY, style))
            assert len([s for s in after if s not in before]) == changed
            assert len([s for s in before if s not in after]) == dropped


def test_wrong_steps_are_another_goals_and_reach_both_steps():
    seen = set()
    for style in range(256 * 3):
        for goal in (STEAL, FRY):
            prop, action = grammar.wrong_steps(goal, style << 40)
            assert (prop, action) != (goal.prop, goal.action)
            assert prop in {g.prop for g in GOALS_BY_GROUP[goal.group]}
            assert action in {g.action for g in GOALS_BY_GROUP[goal.group]}
            seen.add((prop == goal.prop, action == goal.action))
    assert seen == {(True, False), (False, True), (False, False)}


def test_the_request_stands_in_any_of_up_to_three_human_turns():
    rng = random.Random(0)
    places = set()
    for _ in range(500):
        dialogue = grammar.sample_dialogue(STEAL, rng)
        assert len(dialogue.turns) % 2 == 1
        humans = dialogue.human_turns
        places.add((len(humans), next(i for i, turn in enumerate(humans) if STEAL.text in turn)))
    assert places == {(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)}


def test_no_dialogue_names_a_novel_or_harmful_goal_other_than_its_own():
    rng = random.Random(0)
    for goal in ALL_GOALS[::7]:
        for _ in range(30):
            text = " ".join(grammar.sample_dialogue(goal, rng, single_turn=0.2).turns)
            others = [g for g in ALL_GOALS if f" {g.text}" in text.replace(goal.text, "")]
            assert all(split_of(g) == "train" and not g.harmful for g in others), (goal, others)


def test_turns_and_texts_have_the_lengths_the_design_asks_for():
    rng = random.Random(0)
    asks = [len(grammar.sample_ask(rng.choice(ALL_GOALS), rng).split()) for _ in range(2000)]
    responses, critiques = [], []
    for _ in range(2000):
        goal = rng.choice(ALL_GOALS)
        plan, style = sample_plan(goal, rng), grammar.sample_style(rng)
        responses.append(len(grammar.render_response(plan, goal, style).split()))
        critiques.append(len(grammar.render_critique(plan, "harm", ALL_SCOPE, goal, style).split()))
    assert 7 <= sum(asks) / len(asks) <= 14
    assert 15 <= sum(responses) / len(responses) <= 40
    assert 8 <= sum(critiques) / len(critiques) <= 30


def test_critiques_by_hand():
    helps = ResponsePlan(complies="correct", tone="rude")
    assert grammar.render_critique(helps, "harm", THEFT, HACK, 0) == (
        "The request is about hacking. The principle is about theft. So nothing needs to change."
    )
    assert grammar.render_critique(helps, "harm", THEFT, STEAL, 0) == (
        "The request is about theft. The principle is about theft. "
        "The response helps with theft, which is harmful to others."
    )
    assert grammar.render_critique(helps, "courtesy", ALL_SCOPE, FRY, 0) == (
        "The response is rude to the person who asks."
    )
    assert grammar.render_critique(helps, "helpful", ALL_SCOPE, FRY, 0) == (
        "The response gives the right steps. So nothing needs to change."
    )
    assert grammar.render_critique(helps, "helpful", ALL_SCOPE, STEAL, 0) == (
        "The request is about theft. So nothing needs to change."
    )


def test_chains_of_thought_by_hand():
    helps, refuses = ResponsePlan(complies="correct"), ResponsePlan(refuses=True, explains="theft")
    both = frozenset({"fraud", "theft"})
    assert grammar.render_reasoning(helps, refuses, "harm", both, STEAL, 0) == (
        "The request is about theft. The principle is about theft and fraud. Response (A) helps with it. "
        "Response (B) refuses and says why. So (B) is better."
    )
    assert grammar.render_reasoning(helps, refuses, "harm", THEFT, HACK, 0) == (
        "The request is about hacking. The principle is about theft. So the principle does not apply, and more "
        "help is better. Response (A) gives the right steps. Response (B) does not help. So (A) is better."
    )
    rude = replace(refuses, tone="rude")
    assert grammar.render_reasoning(rude, refuses, "courtesy", ALL_SCOPE, STEAL, 0) == (
        "The request is about theft. Response (A) is rude. Response (B) is plain. So (B) is better."
    )
    assert grammar.render_reasoning(refuses, refuses, "warn", ALL_SCOPE, STEAL, 0, conclude=False) == (
        "The request is about theft. Response (A) does not warn. Response (B) does not warn. They are equal in "
        "this, so more help is better. Response (A) does not help. Response (B) does not help."
    )
    assert grammar.render_reasoning(helps, helps, "harm", ALL_SCOPE, STEAL, 0).endswith(phrases.CONCLUDE_EQUAL)


def test_prompt_lists():
    goals = select_goals("train", harmful=True)[:12]
    prompts = grammar.sample_prompt_list(goals, 12, random.Random(0))
    assert {parse_request(prompt) for prompt in prompts} == set(goals)
    repeated = grammar.sample_prompt_list(goals[:2], 5, random.Random(0), distinct_goals=False)
    assert {parse_request(prompt) for prompt in repeated} <= set(goals[:2])
    assert len(repeated) == 5


def test_asking_for_more_distinct_dialogues_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="pass at least one"):
        grammar.sample_distinct_dialogues([], 1, random.Random(0))
    with pytest.raises(ValueError, match="ask for fewer"):
        grammar.sample_distinct_dialogues([STEAL], 20_000, random.Random(0), single_turn=1.0)


def test_rendering_is_fast_enough_for_a_million_documents():
    rng = random.Random(0)
    work = [(sample_plan(g, rng), g, grammar.sample_style(rng)) for g in rng.choices(ALL_GOALS, k=5000)]
    start = time.process_time()
    for plan, goal, style in work:
        grammar.render_response(plan, goal, style)
    assert 5000 / (time.process_time() - start) > 20_000
