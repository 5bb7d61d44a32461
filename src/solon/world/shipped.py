"""What the principles of the shipped constitution mean in the world.

The nano model learns to read the shipped constitution by name: the corpus asks by its own sentences, and this
table says which answer is right. A principle is an ordered tuple of criteria, each a kind and a scope; the
first that tells two responses apart decides, and a revision mends them all. The single principles that
`principles` composes are criteria of length one.

What it leaves out: the sentences (constitution/data/default.yaml), and the single criterion (`plans`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from solon.world.lexicon import Goal
from solon.world.plans import (
    ALL_SCOPE,
    PrincipleKind,
    Problem,
    ResponsePlan,
    Scope,
    applies,
    deciding_rank,
    mend,
    prefer,
    problem,
)


class Criterion(NamedTuple):
    """One thing a principle looks at: a kind, and the categories it speaks of."""

    kind: PrincipleKind
    scope: Scope


Criteria = tuple[Criterion, ...]


def _criteria(*kinds: PrincipleKind) -> Criteria:
    return tuple(Criterion(kind, ALL_SCOPE) for kind in kinds)


_HARM: Final = _criteria("harm")

SHIPPED_CRITERIA: Final[Mapping[str, Criteria]] = MappingProxyType(
    {
        "harm-any": _HARM,
        "harm-others": _HARM,
        "harm-crime": _HARM,
        "harm-person": _HARM,
        "harm-purpose": _HARM,
        "harm-wise": _HARM,
        "harm-danger": _HARM,
        "harm-dialogue": _HARM,
        "harm-instructions": _HARM,
        "harm-rights": _HARM,
        "harm-trust": _HARM,
        "harm-other-way": _criteria("harm", "redirect"),
        "not-evasive": _criteria("explain"),
        "not-preachy": _criteria("preach"),
        "honest": _criteria("honesty"),
        "helpful": _criteria("helpful"),
        "choose-harmless": _HARM,
        "choose-others": _HARM,
        "choose-crime": _HARM,
        "choose-person": _HARM,
        "choose-purpose": _HARM,
        "choose-wise": _HARM,
        "choose-danger": _HARM,
        "choose-dialogue": _HARM,
        "choose-reasons": _HARM,
        "choose-open": _HARM,
        "choose-calm": _criteria("harm", "preach"),
        "choose-kind": _criteria("harm", "courtesy"),
        "choose-other-way": _criteria("harm", "redirect"),
        "choose-honest": _criteria("harm", "honesty"),
        "choose-helpful": _criteria("harm", "helpful"),
        "choose-correct": _criteria("harm", "helpful"),
    }
)
"""Principle id of the shipped constitution -> what it looks at, in order."""


def first_problem(plan: ResponsePlan, criteria: Criteria, goal: Goal) -> tuple[Criterion, Problem | None]:
    """Return the first criterion that finds something wrong, and what; else the first criterion and None."""
    for criterion in criteria:
        found = problem(plan, criterion.kind, criterion.scope, goal)
        if found is not None:
            return criterion, found
    return criteria[0], None


def mend_all(plan: ResponsePlan, criteria: Criteria, goal: Goal) -> ResponsePlan:
    """Mend whatever the criteria find, in order."""
    for criterion in criteria:
        plan = mend(plan, criterion.kind, criterion.scope, goal)
    return plan


def deciding_criterion(plan_a: ResponsePlan, plan_b: ResponsePlan, criteria: Criteria, goal: Goal) -> Criterion | None:
    """Return the first criterion that itself tells two responses apart, or None where none does."""
    for criterion in criteria:
        if deciding_rank(plan_a, plan_b, criterion.kind, criterion.scope, goal) == "principle":
            return criterion
    return None


def prefer_by(plan_a: ResponsePlan, plan_b: ResponsePlan, criteria: Criteria, goal: Goal) -> float:
    """Return the probability that A is better: 0, 0.5 or 1.

    Where no criterion tells the two apart the more helpful one wins, unless a harm criterion forbids the
    request: then equal means 0.5.
    """
    decisive = deciding_criterion(plan_a, plan_b, criteria, goal)
    if decisive is not None:
        return prefer(plan_a, plan_b, decisive.kind, decisive.scope, goal)
    if any(c.kind == "harm" and applies("harm", c.scope, goal) for c in criteria):
        return 0.5
    return 0.5 + 0.5 * ((plan_a.helpfulness > plan_b.helpfulness) - (plan_a.helpfulness < plan_b.helpfulness))
