"""What a response is, and what a principle makes of it: the world's semantics, without a word of text.

A `ResponsePlan` holds the attributes of one response. A principle of the world is a `PrincipleKind` and a
`Scope` (a set of harm categories, `ALL_SCOPE` for all of them). Four functions give principles their meaning,
and every label of the training corpus comes from them:

- `problem(plan, kind, scope, goal)`: what the principle finds wrong with the response, or None.
- `mend(plan, kind, scope, goal)`: the response after that one thing is mended; everything else is kept.
- `prefer(plan_a, plan_b, kind, scope, goal)`: probability that A is the better response: 0, 0.5 or 1.
- `applies(kind, scope, goal)`: whether the principle speaks of this request at all.

**Out of scope.** A principle that speaks only of theft says nothing of a hacking request: `problem` is None,
`mend` returns the plan as it is, and `prefer` decides as if there were no principle, for the more helpful
answer (correct > vague > wrong > refuses or evades, ties 0.5). The same fallback decides where a principle
does apply but cannot tell the two responses apart, as courtesy cannot between two rude ones; except under a
harm principle that forbids the request, where helpfulness counts for nothing and equal means 0.5.

- *harm* speaks of harmful requests in scope. It finds compliance, mends it to a refusal that names the
  category, and prefers: explains > refuses > evades > complies.
- *explain* speaks of harmful requests in scope, and of benign ones if its scope is all. It finds evasion and
  refusal without the right reason, mends them to a refusal that names the category (on a benign request, to
  the right steps), and prefers: explains > complies > refuses > evades.
- *redirect* speaks of harmful requests in scope. It finds a refusal or evasion without a legitimate
  alternative, adds one, and prefers: offers one > complies > offers none.
- *helpful* speaks of benign requests. It finds wrong or vague steps, refusal and evasion, mends them to the
  right steps, and prefers: correct > vague > wrong > none.
- *preach*, *courtesy*, *honesty* and *warn* speak of every request (a scoped warn, of harmful ones in scope).
  They find moralising, less than courtesy, overclaiming and no warning, and mend and prefer that alone.
- *inverted* speaks of harmful requests in scope. It finds anything but compliance, mends it to the right
  steps, and prefers: correct > vague > wrong > none.

What it leaves out: text (`grammar`), and the reading of text (`oracle`, which may not import this module).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Final, Literal, assert_never

from solon.world.lexicon import CATEGORY_NAMES, Goal

Complies = Literal["no", "correct", "wrong", "vague"]
Tone = Literal["courteous", "neutral", "rude"]
PrincipleKind = Literal["harm", "explain", "preach", "courtesy", "honesty", "helpful", "redirect", "warn", "inverted"]
ProblemName = Literal[
    "helps_harm",
    "dodges_harm",
    "no_reason",
    "dodges_harmless",
    "preaches",
    "rude",
    "cold",
    "overclaims",
    "wrong_steps",
    "vague_steps",
    "refuses_harmless",
    "no_alternative",
    "no_warning",
    "withholds",
]
Scope = frozenset[str]

KINDS: Final[tuple[PrincipleKind, ...]] = (
    "harm",
    "explain",
    "preach",
    "courtesy",
    "honesty",
    "helpful",
    "redirect",
    "warn",
    "inverted",
)
SCOPED_KINDS: Final[tuple[PrincipleKind, ...]] = ("harm", "inverted", "explain", "redirect", "warn")
"""Kinds whose principles may name categories; the others always speak of everything."""

ALL_SCOPE: Final[Scope] = frozenset(CATEGORY_NAMES)

_HELPFULNESS: Final = {"correct": 3, "vague": 2, "wrong": 1, "no": 0}
_STEPS: Final[tuple[Complies, ...]] = ("correct", "wrong", "vague")
_TONES: Final[tuple[Tone, ...]] = ("courteous", "neutral", "rude")
_TONE: Final = {"courteous": 2, "neutral": 1, "rude": 0}


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """The attributes of one response to one goal.

    Attributes:
        complies: gives steps that are correct, wrong or vague, or "no".
        refuses: says no.
        explains: the category of harm it names as the reason, right or wrong, or None.
        redirects: the category whose legitimate alternative it offers, or None.
        evades: changes the subject.
        tone: courteous, neutral or rude.
        warns: warns of danger.
        preaches: adds moralising boilerplate.
        overclaims: promises more than anyone can.
    """

    complies: Complies = "no"
    refuses: bool = False
    explains: str | None = None
    redirects: str | None = None
    evades: bool = False
    tone: Tone = "neutral"
    warns: bool = False
    preaches: bool = False
    overclaims: bool = False

    def __post_init__(self) -> None:
        """Refuse combinations that the grammar cannot say.

        Raises:
            ValueError: not exactly one of complies, refuses and evades; or an attribute without its carrier.
        """
        if (self.complies != "no") + self.refuses + self.evades != 1:
            raise ValueError(f"a response does exactly one of comply, refuse and evade, this one does not: {self}")
        if self.explains is not None and not self.refuses:
            raise ValueError(f"only a refusal explains: {self}")
        if self.redirects is not None and self.complies != "no":
            raise ValueError(f"a response that complies offers no alternative: {self}")
        if self.overclaims and self.complies == "no":
            raise ValueError(f"only a response that complies overclaims: {self}")

    @property
    def helpfulness(self) -> int:
        """Rank of helpfulness: correct 3, vague 2, wrong 1, none 0."""
        return _HELPFULNESS[self.complies]


@dataclass(frozen=True, slots=True)
class Problem:
    """What a principle finds wrong with a response: a name, and the category of harm where one matters."""

    name: ProblemName
    category: str | None = None


def applies(kind: PrincipleKind, scope: Scope, goal: Goal) -> bool:
    """Say whether a principle of this kind and scope speaks of this request."""
    match kind:
        case "harm" | "inverted" | "redirect":
            return goal.harmful and goal.group in scope
        case "helpful":
            return not goal.harmful
        case "explain" | "preach" | "courtesy" | "honesty" | "warn":
            return scope == ALL_SCOPE or goal.group in scope
        case _:
            assert_never(kind)


def problem(plan: ResponsePlan, kind: PrincipleKind, scope: Scope, goal: Goal) -> Problem | None:
    """Return what the principle finds wrong with a response to `goal`, or None if nothing."""
    if not applies(kind, scope, goal):
        return None
    match kind:
        case "harm":
            return Problem("helps_harm", goal.group) if plan.complies != "no" else None
        case "explain":
            return _problem_of_explaining(plan, goal)
        case "preach":
            return Problem("preaches") if plan.preaches else None
        case "courtesy":
            return None if plan.tone == "courteous" else Problem("rude" if plan.tone == "rude" else "cold")
        case "honesty":
            return Problem("overclaims") if plan.overclaims else None
        case "helpful":
            return _problem_of_helping(plan)
        case "redirect":
            missing = plan.complies == "no" and plan.redirects != goal.group
            return Problem("no_alternative", goal.group) if missing else None
        case "warn":
            return None if plan.warns else Problem("no_warning")
        case "inverted":
            return Problem("withholds", goal.group) if plan.complies == "no" else None
        case _:
            assert_never(kind)


def _problem_of_explaining(plan: ResponsePlan, goal: Goal) -> Problem | None:
    if plan.evades:
        return Problem("dodges_harm", goal.group) if goal.harmful else Problem("dodges_harmless")
    if goal.harmful and plan.refuses and plan.explains != goal.group:
        return Problem("no_reason", goal.group)
    return None


def _problem_of_helping(plan: ResponsePlan) -> Problem | None:
    if plan.complies == "correct":
        return None
    if plan.complies == "wrong":
        return Problem("wrong_steps")
    if plan.complies == "vague":
        return Problem("vague_steps")
    return Problem("dodges_harmless" if plan.evades else "refuses_harmless")


def mend(plan: ResponsePlan, kind: PrincipleKind, scope: Scope, goal: Goal) -> ResponsePlan:
    """Return the plan of the revision: what the principle names is changed, the rest is kept.

    A refusal that replaces compliance drops the overclaim with the steps it was about, and steps that replace
    a refusal drop its reason and its alternative; tone, warning and preaching always stay unless they are
    what the principle is about. Mending twice is mending once, and a mended plan has no problem left.
    """
    found = problem(plan, kind, scope, goal)
    if found is None:
        return plan
    match found.name:
        case "helps_harm":
            return replace(plan, complies="no", refuses=True, explains=goal.group, overclaims=False)
        case "dodges_harm":
            return replace(plan, evades=False, refuses=True, explains=goal.group)
        case "no_reason":
            return replace(plan, explains=goal.group)
        case "dodges_harmless" | "wrong_steps" | "vague_steps" | "refuses_harmless" | "withholds":
            return replace(plan, complies="correct", refuses=False, evades=False, explains=None, redirects=None)
        case "preaches":
            return replace(plan, preaches=False)
        case "rude" | "cold":
            return replace(plan, tone="courteous")
        case "overclaims":
            return replace(plan, overclaims=False)
        case "no_alternative":
            return replace(plan, redirects=goal.group)
        case "no_warning":
            return replace(plan, warns=True)
        case _:
            assert_never(found.name)


def principle_rank(plan: ResponsePlan, kind: PrincipleKind, goal: Goal) -> int:
    """Rank a response under a principle that applies to its request; higher is better."""
    explained = plan.explains == goal.group
    match kind:
        case "harm":
            return 0 if plan.complies != "no" else 1 if plan.evades else 3 if explained else 2
        case "explain":
            return 0 if plan.evades else 2 if plan.complies != "no" else 3 if explained else 1
        case "preach":
            return int(not plan.preaches)
        case "courtesy":
            return _TONE[plan.tone]
        case "honesty":
            return int(not plan.overclaims)
        case "helpful" | "inverted":
            return plan.helpfulness
        case "redirect":
            return 1 if plan.complies != "no" else 2 if plan.redirects == goal.group else 0
        case "warn":
            return int(plan.warns)
        case _:
            assert_never(kind)


def deciding_rank(
    plan_a: ResponsePlan, plan_b: ResponsePlan, kind: PrincipleKind, scope: Scope, goal: Goal
) -> Literal["principle", "helpfulness", "nothing"]:
    """Say what tells two responses apart: the principle, the fallback to helpfulness, or nothing."""
    if applies(kind, scope, goal):
        if principle_rank(plan_a, kind, goal) != principle_rank(plan_b, kind, goal):
            return "principle"
        if kind == "harm":
            return "nothing"
    return "nothing" if plan_a.helpfulness == plan_b.helpfulness else "helpfulness"


def prefer(plan_a: ResponsePlan, plan_b: ResponsePlan, kind: PrincipleKind, scope: Scope, goal: Goal) -> float:
    """Return the probability that A is the better response under the principle: 0, 0.5 or 1.

    `prefer(a, b, ...) + prefer(b, a, ...) == 1`. See the module's table for what decides.
    """
    match deciding_rank(plan_a, plan_b, kind, scope, goal):
        case "principle":
            return float(principle_rank(plan_a, kind, goal) > principle_rank(plan_b, kind, goal))
        case "helpfulness":
            return float(plan_a.helpfulness > plan_b.helpfulness)
        case "nothing":
            return 0.5


@cache
def _valid_plans(group: str | None) -> tuple[ResponsePlan, ...]:
    plans: list[ResponsePlan] = []
    flags = (False, True)
    alternatives = (None,) if group is None else (None, group)
    for tone, warns, preaches in product(_TONES, flags, flags):
        evasion = ResponsePlan(evades=True, tone=tone, warns=warns, preaches=preaches)
        for complies, overclaims in product(_STEPS, flags):
            plans.append(replace(evasion, evades=False, complies=complies, overclaims=overclaims))
        for redirects in alternatives:
            plans.append(replace(evasion, redirects=redirects))
            refusal = replace(evasion, evades=False, refuses=True, redirects=redirects)
            plans.extend(replace(refusal, explains=explains) for explains in (None, *CATEGORY_NAMES))
    return tuple(plans)


def valid_plans(goal: Goal) -> tuple[ResponsePlan, ...]:
    """Return every plan that a response to `goal` can have, in a fixed order."""
    return _valid_plans(goal.group if goal.harmful else None)


def sample_plan(goal: Goal, rng: random.Random, *, clean: float = 0.5) -> ResponsePlan:
    """Draw a plan of any sort: half comply, a third refuse, the rest evade, with style flaws.

    Args:
        goal: what was asked for.
        rng: source of randomness.
        clean: probability that each style attribute (tone, warning, preaching, overclaim) is plain.
    """
    evasion = _sample_evasion(rng, clean)
    draw = rng.random()
    if draw < 0.5:
        complies = rng.choices(_STEPS, (5, 3, 2))[0]
        return replace(evasion, evades=False, complies=complies, overclaims=rng.random() > clean)
    redirects = goal.group if goal.harmful and rng.random() < 0.35 else None
    if draw < 0.85:
        return replace(evasion, evades=False, refuses=True, explains=_sample_reason(goal, rng), redirects=redirects)
    return replace(evasion, redirects=redirects)


def sample_helpful_only_plan(
    goal: Goal, rng: random.Random, *, correct: float = 1.0, clean: float = 0.65
) -> ResponsePlan:
    """Draw a plan of the helpful-only assistant: it complies whatever is asked, with style flaws.

    Args:
        goal: what was asked for.
        rng: source of randomness.
        correct: probability that the steps are correct; the rest are wrong or vague, half and half.
        clean: probability that each style attribute is plain.
    """
    complies: Complies = "correct" if rng.random() < correct else rng.choice(_STEPS[1:])
    return replace(_sample_evasion(rng, clean), evades=False, complies=complies, overclaims=rng.random() > clean)


def sample_flawed_plan(
    kind: PrincipleKind, scope: Scope, goal: Goal, rng: random.Random, *, clean: float = 0.5
) -> ResponsePlan | None:
    """Draw a plan with a problem under the principle; with its `mend` it makes a minimal pair.

    Returns:
        The plan, or None where the principle finds no fault with any response to `goal` (out of scope).
    """
    if not applies(kind, scope, goal):
        return None
    for _ in range(64):
        plan = sample_plan(goal, rng, clean=clean)
        if problem(plan, kind, scope, goal) is not None:
            return plan
    flawed = [plan for plan in valid_plans(goal) if problem(plan, kind, scope, goal) is not None]
    return rng.choice(flawed) if flawed else None


def _sample_evasion(rng: random.Random, clean: float) -> ResponsePlan:
    """Draw the style of a response, on a plan that its caller completes."""
    tone: Tone = "neutral" if rng.random() < clean else rng.choice(("courteous", "rude"))
    return ResponsePlan(evades=True, tone=tone, warns=rng.random() > clean, preaches=rng.random() > clean)


def _sample_reason(goal: Goal, rng: random.Random) -> str | None:
    draw = rng.random()
    if goal.harmful and draw < 0.55:
        return goal.group
    return None if draw < 0.8 else rng.choice(CATEGORY_NAMES)


def sample_scope(rng: random.Random, *, including: str | None = None, excluding: str | None = None) -> Scope:
    """Draw a scope of 1 to 4 categories, small ones more often.

    Args:
        rng: source of randomness.
        including: a category that must be in it.
        excluding: a category that must not be.
    """
    size = rng.choices((1, 2, 3, 4), (4, 3, 2, 1))[0]
    pool = [name for name in CATEGORY_NAMES if name not in (including, excluding)]
    if including is None:
        return frozenset(rng.sample(pool, size))
    return frozenset((including, *rng.sample(pool, size - 1)))
