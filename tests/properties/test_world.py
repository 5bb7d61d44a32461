"""Proves the laws that tie the world together, over all goals, plans, kinds, scopes and styles.

The oracle recovers from the text alone what the generator meant; it never raises, and text outside the
grammar is `unparsed`. Mending leaves no problem and is idempotent; preferring A to B is not preferring B.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solon.world import grammar, oracle, plans
from solon.world.lexicon import ALL_GOALS, CATEGORY_NAMES, GOALS_BY_GROUP

GOALS = st.sampled_from(ALL_GOALS)
STYLES = st.integers(0, 2**grammar.STYLE_BITS - 1)
KINDS = st.sampled_from(plans.KINDS)
SCOPES = st.just(plans.ALL_SCOPE) | st.frozensets(st.sampled_from(CATEGORY_NAMES), min_size=1, max_size=4)
SEEDS = st.integers(0, 2**32)
ATTRIBUTES = (
    "complies",
    "refuses",
    "explains",
    "redirects",
    "evades",
    "tone",
    "warns",
    "preaches",
    "overclaims",
)


@st.composite
def planned(draw, n=1):
    goal = draw(GOALS)
    return goal, *(draw(st.sampled_from(plans.valid_plans(goal))) for _ in range(n))


def attributes(thing):
    return {name: getattr(thing, name) for name in ATTRIBUTES}


@pytest.mark.parametrize("group", list(GOALS_BY_GROUP))
def test_the_oracle_recovers_every_combination_of_attributes(group):
    rng = random.Random(group)
    for index, plan in enumerate(plans.valid_plans(GOALS_BY_GROUP[group][0])):
        for _ in range(3):
            goal = GOALS_BY_GROUP[group][(index + rng.randrange(64)) % len(GOALS_BY_GROUP[group])]
            text = grammar.render_response(plan, goal, grammar.sample_style(rng))
            grade = oracle.grade_response(grammar.sample_dialogue(goal, rng).turns, text)
            assert grade.parsed, text
            assert grade.goal is goal
            assert attributes(grade) == attributes(plan), text


@given(planned(), STYLES, SEEDS)
@settings(max_examples=300)
def test_the_oracle_recovers_a_response_to_a_dialogue(case, style, seed):
    goal, plan = case
    grade = oracle.grade_response(
        grammar.sample_dialogue(goal, random.Random(seed)).turns, grammar.render_response(plan, goal, style)
    )
    assert grade.parsed
    assert attributes(grade) == attributes(plan)


@given(GOALS, SEEDS)
def test_requests_parse_back_to_their_goal(goal, seed):
    assert oracle.parse_request(grammar.sample_dialogue(goal, random.Random(seed)).turns) is goal
    assert oracle.parse_request(grammar.sample_ask(goal, random.Random(seed))) is goal


@given(planned(), KINDS, SCOPES, STYLES)
@settings(max_examples=400)
def test_critiques_say_what_the_generator_meant(case, kind, scope, style):
    goal, plan = case
    text = grammar.render_critique(plan, kind, scope, goal, style)
    grade = oracle.grade_critique(text)
    found = plans.problem(plan, kind, scope, goal)
    if found is None:
        assert grade.verdict == "nothing", text
    else:
        assert (grade.verdict, grade.problem) == ("problem", found.name), text
        assert grade.category in (found.category, None), text
    if grammar.states_request(kind, scope):
        assert grade.request_category == (goal.group if goal.harmful else "harmless")
        assert grade.scope == (None if scope == plans.ALL_SCOPE else scope)


@given(planned(), KINDS, SCOPES)
@settings(max_examples=400)
def test_mending_leaves_no_problem_keeps_the_rest_and_is_idempotent(case, kind, scope):
    goal, plan = case
    mended = plans.mend(plan, kind, scope, goal)
    assert plans.problem(mended, kind, scope, goal) is None
    assert plans.mend(mended, kind, scope, goal) == mended
    assert (mended == plan) == (plans.problem(plan, kind, scope, goal) is None)
    if kind != "courtesy":
        assert mended.tone == plan.tone
    if kind != "warn":
        assert mended.warns == plan.warns
    if kind != "preach":
        assert mended.preaches == plan.preaches
    assert mended in plans.valid_plans(goal)


@given(planned(), KINDS, SCOPES)
@settings(max_examples=400)
def test_a_mended_response_is_preferred_to_the_one_it_mends(case, kind, scope):
    goal, plan = case
    mended = plans.mend(plan, kind, scope, goal)
    expected = 0.5 if mended == plan else 1.0
    assert plans.prefer(mended, plan, kind, scope, goal) == expected


@given(planned(n=3), KINDS, SCOPES)
@settings(max_examples=400)
def test_preferences_are_antisymmetric_and_transitive(case, kind, scope):
    goal, a, b, c = case

    def prefer(x, y):
        return plans.prefer(x, y, kind, scope, goal)

    assert prefer(a, b) + prefer(b, a) == 1.0
    assert prefer(a, a) == 0.5
    if prefer(a, b) >= 0.5 and prefer(b, c) >= 0.5:
        assert prefer(a, c) >= 0.5


@given(planned(n=2), KINDS, SCOPES, STYLES)
def test_chains_of_thought_end_in_the_preferred_response(case, kind, scope, style):
    goal, a, b = case
    text = grammar.render_reasoning(a, b, kind, scope, goal, style)
    better = {1.0: "So (A) is better.", 0.0: "So (B) is better.", 0.5: "So neither is better."}
    assert text.endswith(better[plans.prefer(a, b, kind, scope, goal)])
    assert text.count("Response (A)") == text.count("Response (B)") >= 1


@given(planned(n=2), KINDS, SCOPES, STYLES)
def test_a_chain_of_thought_describes_the_difference_that_decides(case, kind, scope, style):
    """If one response is better, the last thing said of each differs; if neither is, it is the same."""
    goal, a, b = case
    said = grammar.render_reasoning(a, b, kind, scope, goal, style, conclude=False).split("Response (")
    last = {part[0]: part[3:].split(".")[0] for part in said if part[:2] in ("A)", "B)")}
    if plans.prefer(a, b, kind, scope, goal) != 0.5:
        assert last["A"] != last["B"]
    else:
        assert last["A"] == last["B"]


@given(st.text(), st.lists(st.text(), max_size=3))
def test_the_oracle_never_raises_on_any_text(text, turns):
    oracle.parse_request(turns)
    oracle.parse_request(text)
    oracle.grade_response(turns, text)
    oracle.grade_answer(ALL_GOALS[0], text)
    oracle.parse_scope(text)
    oracle.grade_critique(text)


@given(st.text(), st.sampled_from(["\u00a7", "xyzzy.", "Human:", "\n"]), GOALS)
def test_any_text_with_something_foreign_in_it_is_unparsed(text, foreign, goal):
    valid = ("I cannot help you with this.", "The response is rude to the person who asks.", "How do I fry an egg?")
    for broken in (foreign, f"{foreign} {text}", *(f"{before} {foreign}" for before in (text, *valid))):
        assert not oracle.grade_answer(goal, broken).parsed
        assert not oracle.grade_response((broken,), "Who can say?").parsed
        assert oracle.grade_critique(broken).verdict == "unparsed"
        assert oracle.parse_request(broken) is None


@given(planned(), STYLES, st.data())
@settings(max_examples=300)
def test_a_broken_response_is_unparsed_or_loses_what_was_broken(case, style, data):
    """Replace one word by a foreign one: no attribute of the broken sentence may survive."""
    goal, plan = case
    words = grammar.render_response(plan, goal, style).split()
    index = data.draw(st.integers(0, len(words) - 1))
    words[index] = "xyzzy" + words[index][-1] if words[index][-1] in ".?!" else "xyzzy"
    grade = oracle.grade_answer(goal, " ".join(words))
    assert not grade.parsed
    assert "xyzzy" in grade.unparsed
