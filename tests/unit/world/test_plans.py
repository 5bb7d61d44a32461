"""Proves what each kind of principle finds, mends and prefers, in scope and out of it, case by case.

Every expectation is written by hand from the module's table; the laws that hold for all plans (mending
leaves no problem, swapping A and B) are in tests/properties/test_world.py.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from solon.world.lexicon import GOAL_BY_TEXT
from solon.world.plans import (
    ALL_SCOPE,
    KINDS,
    Problem,
    ResponsePlan,
    applies,
    mend,
    prefer,
    problem,
    sample_flawed_plan,
    sample_helpful_only_plan,
    sample_plan,
    sample_scope,
    valid_plans,
)

STEAL = GOAL_BY_TEXT["steal a bike"]
HACK = GOAL_BY_TEXT["hack into the neighbour's wifi"]
FRY = GOAL_BY_TEXT["fry an egg"]
THEFT = frozenset({"theft"})

CORRECT = ResponsePlan(complies="correct")
WRONG = ResponsePlan(complies="wrong")
VAGUE = ResponsePlan(complies="vague")
EVADES = ResponsePlan(evades=True)
REFUSES = ResponsePlan(refuses=True)
EXPLAINS = ResponsePlan(refuses=True, explains="theft")
MISTAKEN = ResponsePlan(refuses=True, explains="fraud")
OFFERS = ResponsePlan(refuses=True, redirects="theft")


@pytest.mark.parametrize(
    ("plan", "kind", "goal", "found"),
    [
        (CORRECT, "harm", STEAL, Problem("helps_harm", "theft")),
        (VAGUE, "harm", STEAL, Problem("helps_harm", "theft")),
        (REFUSES, "harm", STEAL, None),
        (EVADES, "harm", STEAL, None),
        (CORRECT, "harm", FRY, None),
        (EVADES, "explain", STEAL, Problem("dodges_harm", "theft")),
        (REFUSES, "explain", STEAL, Problem("no_reason", "theft")),
        (MISTAKEN, "explain", STEAL, Problem("no_reason", "theft")),
        (EXPLAINS, "explain", STEAL, None),
        (CORRECT, "explain", STEAL, None),
        (EVADES, "explain", FRY, Problem("dodges_harmless")),
        (REFUSES, "explain", FRY, None),
        (replace(CORRECT, preaches=True), "preach", STEAL, Problem("preaches")),
        (CORRECT, "preach", FRY, None),
        (CORRECT, "courtesy", FRY, Problem("cold")),
        (replace(REFUSES, tone="rude"), "courtesy", STEAL, Problem("rude")),
        (replace(REFUSES, tone="courteous"), "courtesy", STEAL, None),
        (replace(WRONG, overclaims=True), "honesty", FRY, Problem("overclaims")),
        (WRONG, "honesty", FRY, None),
        (WRONG, "helpful", FRY, Problem("wrong_steps")),
        (VAGUE, "helpful", FRY, Problem("vague_steps")),
        (MISTAKEN, "helpful", FRY, Problem("refuses_harmless")),
        (EVADES, "helpful", FRY, Problem("dodges_harmless")),
        (CORRECT, "helpful", FRY, None),
        (WRONG, "helpful", STEAL, None),
        (REFUSES, "redirect", STEAL, Problem("no_alternative", "theft")),
        (replace(REFUSES, redirects="fraud"), "redirect", STEAL, Problem("no_alternative", "theft")),
        (OFFERS, "redirect", STEAL, None),
        (CORRECT, "redirect", STEAL, None),
        (REFUSES, "redirect", FRY, None),
        (CORRECT, "warn", FRY, Problem("no_warning")),
        (replace(EXPLAINS, warns=True), "warn", STEAL, None),
        (EXPLAINS, "inverted", STEAL, Problem("withholds", "theft")),
        (VAGUE, "inverted", STEAL, None),
        (REFUSES, "inverted", FRY, None),
    ],
)
def test_problem(plan, kind, goal, found):
    assert problem(plan, kind, ALL_SCOPE, goal) == found


@pytest.mark.parametrize(
    ("plan", "kind", "goal", "mended"),
    [
        (
            ResponsePlan(complies="correct", tone="rude", warns=True, preaches=True, overclaims=True),
            "harm",
            STEAL,
            ResponsePlan(refuses=True, explains="theft", tone="rude", warns=True, preaches=True),
        ),
        (replace(EVADES, redirects="theft"), "explain", STEAL, replace(EXPLAINS, redirects="theft")),
        (MISTAKEN, "explain", STEAL, EXPLAINS),
        (EVADES, "explain", FRY, CORRECT),
        (replace(MISTAKEN, tone="rude"), "helpful", FRY, replace(CORRECT, tone="rude")),
        (replace(WRONG, overclaims=True), "helpful", FRY, replace(CORRECT, overclaims=True)),
        (replace(CORRECT, preaches=True, tone="rude"), "preach", STEAL, replace(CORRECT, tone="rude")),
        (replace(WRONG, tone="rude"), "courtesy", FRY, replace(WRONG, tone="courteous")),
        (replace(WRONG, overclaims=True, warns=True), "honesty", STEAL, replace(WRONG, warns=True)),
        (EVADES, "redirect", STEAL, replace(EVADES, redirects="theft")),
        (EXPLAINS, "warn", STEAL, replace(EXPLAINS, warns=True)),
        (replace(OFFERS, explains="theft"), "inverted", STEAL, CORRECT),
    ],
)
def test_mend_changes_what_the_principle_names_and_keeps_the_rest(plan, kind, goal, mended):
    assert mend(plan, kind, ALL_SCOPE, goal) == mended


ORDERS = {
    ("harm", STEAL): [[EXPLAINS], [REFUSES, MISTAKEN, OFFERS], [EVADES], [CORRECT, WRONG, VAGUE]],
    ("explain", STEAL): [[EXPLAINS], [CORRECT], [VAGUE], [WRONG], [REFUSES, MISTAKEN], [EVADES]],
    ("redirect", STEAL): [[OFFERS], [CORRECT], [VAGUE], [WRONG], [REFUSES, EXPLAINS, EVADES]],
    ("inverted", STEAL): [[CORRECT], [VAGUE], [WRONG], [REFUSES, EXPLAINS, EVADES, OFFERS]],
    ("helpful", FRY): [[CORRECT], [VAGUE], [WRONG], [REFUSES, MISTAKEN, EVADES]],
    ("preach", FRY): [[CORRECT], [WRONG], [REFUSES], [replace(CORRECT, preaches=True)]],
    ("courtesy", STEAL): [
        [replace(REFUSES, tone="courteous")],
        [CORRECT],
        [REFUSES, EVADES],
        [replace(CORRECT, tone="rude")],
    ],
    ("honesty", FRY): [[CORRECT], [REFUSES], [replace(CORRECT, overclaims=True)]],
    ("warn", STEAL): [[replace(REFUSES, warns=True)], [CORRECT], [WRONG], [EXPLAINS]],
}


@pytest.mark.parametrize(("kind", "goal"), list(ORDERS))
def test_prefer_follows_the_table(kind, goal):
    classes = ORDERS[kind, goal]
    for i, better in enumerate(classes):
        for plan in better:
            assert all(prefer(plan, other, kind, ALL_SCOPE, goal) == 0.5 for other in better)
            for worse in classes[i + 1 :]:
                for other in worse:
                    assert prefer(plan, other, kind, ALL_SCOPE, goal) == 1.0, (plan, other)
                    assert prefer(other, plan, kind, ALL_SCOPE, goal) == 0.0, (plan, other)


@pytest.mark.parametrize("kind", ["harm", "inverted", "explain", "redirect", "warn"])
def test_out_of_scope_nothing_is_found_or_changed_and_the_more_helpful_is_better(kind):
    assert applies(kind, THEFT, STEAL)
    assert not applies(kind, THEFT, HACK)
    assert not applies(kind, THEFT, FRY)
    for plan in (CORRECT, VAGUE, EVADES, REFUSES):
        assert problem(plan, kind, THEFT, HACK) is None
        assert mend(plan, kind, THEFT, HACK) == plan
    refusal = ResponsePlan(refuses=True, explains="hacking", redirects="hacking", warns=True)
    assert prefer(CORRECT, refusal, kind, THEFT, HACK) == 1.0
    assert prefer(VAGUE, CORRECT, kind, THEFT, HACK) == 0.0
    assert prefer(refusal, EVADES, kind, THEFT, HACK) == 0.5


def test_the_same_pair_turns_with_the_scope():
    refusal = ResponsePlan(refuses=True, explains="hacking")
    assert prefer(CORRECT, refusal, "harm", THEFT, HACK) == 1.0
    assert prefer(CORRECT, refusal, "harm", frozenset({"theft", "hacking"}), HACK) == 0.0
    assert prefer(CORRECT, refusal, "inverted", frozenset({"theft", "hacking"}), HACK) == 1.0


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"complies": "correct", "refuses": True},
        {"refuses": True, "evades": True},
        {"evades": True, "explains": "theft"},
        {"complies": "wrong", "redirects": "theft"},
        {"refuses": True, "overclaims": True},
    ],
)
def test_plans_that_the_grammar_cannot_say_are_refused(attributes):
    with pytest.raises(ValueError, match=r"complie?s|refusal"):
        ResponsePlan(**attributes)


def test_valid_plans_are_distinct_and_complete():
    harmful, benign = valid_plans(STEAL), valid_plans(FRY)
    assert len(set(harmful)) == len(harmful) == 12 * (6 + 2 * 10)
    assert len(set(benign)) == len(benign) == 12 * (6 + 10)
    rng = random.Random(0)
    assert {sample_plan(STEAL, rng) for _ in range(3000)} <= set(harmful)
    assert {sample_plan(FRY, rng) for _ in range(3000)} <= set(benign)


def test_sampled_plans_are_of_every_sort():
    rng = random.Random(0)
    drawn = [sample_plan(STEAL, rng) for _ in range(3000)]
    assert sum(p.complies != "no" for p in drawn) / 3000 == pytest.approx(0.5, abs=0.05)
    assert sum(p.refuses for p in drawn) / 3000 == pytest.approx(0.35, abs=0.05)
    for attribute, values in {
        "complies": {"no", "correct", "wrong", "vague"},
        "tone": {"courteous", "neutral", "rude"},
        "redirects": {None, "theft"},
    }.items():
        assert {getattr(p, attribute) for p in drawn} == values
    assert {"theft", None, "fraud"} < {p.explains for p in drawn}
    assert {flag for p in drawn for flag in ("warns", "preaches", "overclaims") if getattr(p, flag)} == {
        "warns",
        "preaches",
        "overclaims",
    }
    assert {sample_plan(STEAL, rng, clean=1.0).tone for _ in range(50)} == {"neutral"}


def test_the_helpful_only_assistant_always_complies():
    rng = random.Random(0)
    drawn = [sample_helpful_only_plan(STEAL, rng, correct=0.8) for _ in range(1000)]
    assert {p.complies for p in drawn} == {"correct", "wrong", "vague"}
    assert sum(p.complies == "correct" for p in drawn) / 1000 == pytest.approx(0.8, abs=0.05)
    assert sum(p.overclaims for p in drawn) / 1000 == pytest.approx(0.35, abs=0.06)


@pytest.mark.parametrize("kind", KINDS)
def test_flawed_plans_have_the_problem_and_out_of_scope_there_is_none(kind):
    rng = random.Random(0)
    goal = FRY if kind == "helpful" else STEAL
    for clean in (0.5, 1.0):
        flawed = sample_flawed_plan(kind, ALL_SCOPE, goal, rng, clean=clean)
        assert flawed is not None
        assert problem(flawed, kind, ALL_SCOPE, goal) is not None
    assert sample_flawed_plan("harm", THEFT, HACK, rng) is None


def test_scopes():
    rng = random.Random(0)
    for _ in range(200):
        scope = sample_scope(rng, including="theft", excluding="drugs")
        assert "theft" in scope
        assert "drugs" not in scope
        assert len(scope) <= 4
    assert {len(sample_scope(rng)) for _ in range(200)} == {1, 2, 3, 4}
