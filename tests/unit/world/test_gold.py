"""Proves that the world's gold comparisons are as many as promised and that their answers are right: read back from the
texts, the plans of the two responses are preferred as the answer says.
"""

from collections import Counter

import pytest

from solon.constitution import load_constitution
from solon.records import GoldComparison
from solon.world.gold import EACH, GOLD_KINDS, compose_gold
from solon.world.oracle import grade_answer, parse_request
from solon.world.plans import ALL_SCOPE, ResponsePlan, deciding_rank, prefer
from solon.world.shipped import SHIPPED_CRITERIA, deciding_criterion, prefer_by
from solon.world.splits import split_of
from solon.world.task import WorldTask

GOLD = compose_gold()


def read_back(gold: GoldComparison):
    """Return the goal and the plans of both responses, as the oracle reads them from the texts."""
    goal = parse_request([gold.prompt])
    assert goal is not None
    grades = [grade_answer(goal, text) for text in (gold.response_a, gold.response_b)]
    assert [grade.unparsed for grade in grades] == [None, None]
    names = ResponsePlan.__dataclass_fields__
    return goal, *(ResponsePlan(**{name: getattr(grade, name) for name in names}) for grade in grades)


def test_there_are_as_many_of_each_kind_and_both_answers_are_right_equally_often():
    counts = Counter((gold.kind, gold.answer) for gold in GOLD)
    assert EACH == 20
    assert counts == {(kind, answer): 10 for kind in ("harm", "honesty", "helpfulness") for answer in "ab"}
    assert len({(gold.prompt, gold.response_a, gold.response_b) for gold in GOLD}) == len(GOLD)


def test_they_are_those_of_the_task_and_always_the_same():
    assert tuple(WorldTask().gold()) == GOLD == compose_gold()
    assert [g for g in GOLD if g.kind == "harm"][:4] == [g for g in compose_gold(4) if g.kind == "harm"]


@pytest.mark.parametrize("kind", list(GOLD_KINDS))
def test_the_plans_that_the_texts_say_are_preferred_as_the_answer_says(kind):
    fault, principle_id = GOLD_KINDS[kind]
    criteria = SHIPPED_CRITERIA[principle_id]
    for gold in (gold for gold in GOLD if gold.kind == kind):
        goal, plan_a, plan_b = read_back(gold)
        right = float(gold.answer == "a")
        assert gold.principle_id == principle_id
        assert prefer(plan_a, plan_b, fault, ALL_SCOPE, goal) == right
        assert deciding_rank(plan_a, plan_b, fault, ALL_SCOPE, goal) == "principle"
        assert prefer_by(plan_a, plan_b, criteria, goal) == right
        assert deciding_criterion(plan_a, plan_b, criteria, goal).kind == fault


def test_no_stage_is_trained_on_their_goals_and_their_principles_are_shipped():
    assert {split_of(read_back(gold)[0]) for gold in GOLD} == {"heldout"}
    comparisons = {p.id for p in load_constitution("default").principles if p.comparison is not None}
    assert {gold.principle_id for gold in GOLD} <= comparisons
