"""From latent attributes to text: requests and dialogues, responses, critiques, chains of thought.

Mechanism: what a text says is fixed by its plan, how it says it by a *style*, one integer of 128 random
bits from `sample_style`. Each slot of a text reads its own byte of the style to choose a phrasing. So two
plans rendered with one style share every sentence that they agree on, which is what makes a revision a
revision: `render_response(mend(plan, ...), goal, style)` copies what was kept, word for word, wrong props
included. Everything is pure: the same plan, goal and style give the same text.

A dialogue is a tuple of turns, human first and last, the assistant in between. Its target is the last goal
that a human turn names: small talk may come before it, a benign question of a documented `train` goal with
its answer too, and later turns may only ask to go on.

What it leaves out: what principles sound like (`principles`), templates (`solon.prompting`), and any reading
of text (`oracle`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solon.world import phrases
from solon.world.lexicon import CATEGORY_BY_NAME, CATEGORY_NAMES, GOALS_BY_GROUP, Goal
from solon.world.phrases import Bank
from solon.world.plans import (
    ALL_SCOPE,
    SCOPED_KINDS,
    PrincipleKind,
    Problem,
    ResponsePlan,
    Scope,
    applies,
    deciding_rank,
    prefer,
    problem,
)
from solon.world.splits import select_goals

STYLE_BITS: Final = 128

# Bytes of a style; each slot has its own, so that changing one attribute leaves the others' wording alone.
_TONE, _TONE_LAST, _STEP_ONE, _STEP_TWO, _ECHO, _WRONG, _REFUSE, _EXPLAIN = range(8)
_REDIRECT, _ALTERNATIVE, _WARN, _PREACH, _OVERCLAIM, _CRITIQUE_REQUEST, _CRITIQUE_SCOPE, _FINDING = range(8, 16)


def sample_style(rng: random.Random) -> int:
    """Draw the style of one text: 128 bits, a byte to a slot."""
    return rng.getrandbits(STYLE_BITS)


def _byte(style: int, slot: int) -> int:
    return (style >> (8 * slot)) & 255


def _pick(bank: Bank, style: int, slot: int) -> str:
    return bank[((style >> (8 * slot)) & 255) % len(bank)]


# ------------------------------------------------------------------------------------------- dialogues


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A request in context: turns that alternate human, assistant, ..., human, and the goal they come to."""

    goal: Goal
    turns: tuple[str, ...]

    @property
    def human_turns(self) -> tuple[str, ...]:
        """The human's turns, in order."""
        return self.turns[::2]


def sample_ask(goal: Goal, rng: random.Random) -> str:
    """Draw one human turn that asks for `goal`: the question, at times greeted, thanked or explained."""
    ask = rng.choice(phrases.ASKS).format(goal=goal.text)
    draw = rng.random()
    if draw < 0.35:
        return ask
    if draw < 0.50:
        return f"{rng.choice(phrases.GREETINGS)} {ask}"
    if draw < 0.60:
        return f"{ask} {rng.choice(phrases.THANKS)}"
    if draw < 0.80:
        return f"{rng.choice(phrases.PURPOSES)} {ask}"
    if draw < 0.95:
        return f"{ask} {rng.choice(phrases.PURPOSES)}"
    return f"{rng.choice(phrases.GREETINGS)} {ask} {rng.choice(phrases.THANKS)}"


_DISTRACTORS: Final[tuple[Goal, ...]] = select_goals("train", harmful=False)


def sample_dialogue(goal: Goal, rng: random.Random, *, single_turn: float = 0.6) -> Dialogue:
    """Draw a dialogue that asks for `goal`.

    Args:
        goal: what the human wants.
        rng: source of randomness.
        single_turn: probability of one human turn; the rest have two or three, with the request in any.
    """
    ask = sample_ask(goal, rng)
    if rng.random() < single_turn:
        return Dialogue(goal, (ask,))
    small_talk = (rng.choice(phrases.SMALL_TALK), rng.choice(phrases.SMALL_TALK_REPLIES))
    follow_up = (rng.choice(phrases.ACKNOWLEDGEMENTS), rng.choice(phrases.FOLLOW_UPS))
    shape = rng.randrange(6)
    if shape == 0:
        return Dialogue(goal, (*small_talk, ask))
    if shape == 1:
        return Dialogue(goal, (ask, *follow_up))
    if shape == 2:
        return Dialogue(goal, (*_sample_answered_question(goal, rng), ask))
    if shape == 3:
        return Dialogue(goal, (*small_talk, ask, *follow_up))
    if shape == 4:
        aside = (rng.choice(phrases.ASIDES), rng.choice(phrases.ASIDE_REPLIES))
        return Dialogue(goal, (ask, follow_up[0], *aside, follow_up[1]))
    return Dialogue(goal, (*small_talk, *_sample_answered_question(goal, rng), ask))


def _sample_answered_question(goal: Goal, rng: random.Random) -> tuple[str, str]:
    """Draw a benign question of the train split, other than `goal`, with its correct answer."""
    other = rng.choice(_DISTRACTORS)
    while other is goal:
        other = rng.choice(_DISTRACTORS)
    ask = rng.choice(phrases.ASKS).format(goal=other.text)
    return ask, render_response(ResponsePlan(complies="correct"), other, sample_style(rng))


def sample_distinct_dialogues(
    goals: Sequence[Goal], n: int, rng: random.Random, *, single_turn: float = 0.6
) -> list[Dialogue]:
    """Draw `n` dialogues of which no two have the same turns, as evenly over `goals` as `n` allows.

    Args:
        goals: goals to ask for; each is used n / len(goals) times, rounded up or down.
        n: how many.
        rng: source of randomness.
        single_turn: probability of one human turn.

    Raises:
        ValueError: the goals do not have that many wordings between them.
    """
    if not goals:
        raise ValueError("no goals to draw dialogues from: pass at least one")
    order = rng.sample(goals, len(goals))
    seen: set[tuple[str, ...]] = set()
    drawn: list[Dialogue] = []
    for index in range(n):
        for _ in range(1000):
            dialogue = sample_dialogue(order[index % len(order)], rng, single_turn=single_turn)
            if dialogue.turns not in seen:
                break
        else:
            raise ValueError(f"{len(goals)} goals have fewer than {n} distinct dialogues: ask for fewer")
        seen.add(dialogue.turns)
        drawn.append(dialogue)
    return drawn


def sample_prompt_list(
    goals: Sequence[Goal], n: int, rng: random.Random, *, distinct_goals: bool = True
) -> tuple[str, ...]:
    """Draw `n` single-turn prompts, for documents that list red-team or benign prompts.

    Args:
        goals: goals to ask for.
        n: how many; at most `len(goals)` where goals are to be distinct.
        rng: source of randomness.
        distinct_goals: no goal twice in the list.
    """
    chosen = rng.sample(goals, n) if distinct_goals else rng.choices(goals, k=n)
    return tuple(sample_ask(goal, rng) for goal in chosen)


# ------------------------------------------------------------------------------------------- responses


def wrong_steps(goal: Goal, style: int) -> tuple[str, str]:
    """Return the prop and action of a wrong answer: the prop, the action or both are another goal's."""
    byte = _byte(style, _WRONG)
    peers = GOALS_BY_GROUP[goal.group]
    prop, action = goal.prop, goal.action
    which = byte % 3
    index = byte
    while which != 1 and prop == goal.prop:
        prop = peers[index % len(peers)].prop
        index += 1
    index = byte * 7
    while which != 0 and action == goal.action:
        action = peers[index % len(peers)].action
        index += 1
    return prop, action


def _render_steps(plan: ResponsePlan, goal: Goal, style: int) -> list[str]:
    echo = _byte(style, _ECHO) % 2 == 0
    if plan.complies == "vague":
        bank = phrases.VAGUE_ECHO if echo else phrases.VAGUE
        return [_pick(bank, style, _STEP_ONE).format(goal=goal.text)]
    prop, action = (goal.prop, goal.action) if plan.complies == "correct" else wrong_steps(goal, style)
    first = _pick(phrases.STEP_ONE_ECHO if echo else phrases.STEP_ONE, style, _STEP_ONE)
    second = _pick(phrases.STEP_TWO, style, _STEP_TWO)
    return [first.format(goal=goal.text, prop=prop), second.format(action=action)]


def render_response(plan: ResponsePlan, goal: Goal, style: int) -> str:
    """Write the response of a plan to a goal.

    The order is fixed: tone, then the steps (or the refusal with its reason, or the evasion), the
    alternative, the warning, the overclaim, the preaching; a bit of the style moves tone to the end.
    """
    sentences: list[str] = []
    if plan.complies != "no":
        sentences = _render_steps(plan, goal, style)
    elif plan.refuses:
        sentences.append(_pick(phrases.REFUSALS, style, _REFUSE))
        if plan.explains is not None:
            category = CATEGORY_BY_NAME[plan.explains]
            explanation = _pick(phrases.EXPLANATIONS, style, _EXPLAIN)
            sentences.append(explanation.format(name=category.name, reason=category.reason))
    else:
        sentences.append(_pick(phrases.EVASIONS, style, _REFUSE))
    if plan.redirects is not None:
        alternative = _pick(CATEGORY_BY_NAME[plan.redirects].alternatives, style, _ALTERNATIVE)
        sentences.append(_pick(phrases.REDIRECTIONS, style, _REDIRECT).format(alternative=alternative))
    if plan.warns:
        sentences.append(_pick(phrases.WARNINGS, style, _WARN))
    if plan.overclaims:
        sentences.append(_pick(phrases.OVERCLAIMS, style, _OVERCLAIM))
    if plan.preaches:
        sentences.append(_pick(phrases.PREACHINGS, style, _PREACH))
    if plan.tone != "neutral":
        bank = phrases.COURTESIES if plan.tone == "courteous" else phrases.RUDENESSES
        sentences.insert(len(sentences) if _byte(style, _TONE_LAST) % 2 else 0, _pick(bank, style, _TONE))
    return " ".join(sentences)


# ------------------------------------------------------------------------------------------- critiques


def scope_words(scope: Scope) -> str:
    """Name the categories of a scope by their canonical names, in the world's order: "theft and fraud"."""
    if scope == ALL_SCOPE:
        return phrases.ALL_SCOPE_WORDS
    return phrases.join_words(tuple(name for name in CATEGORY_NAMES if name in scope))


def state_request(goal: Goal, style: int) -> str:
    """Write the sentence that says what a request is about: a category of harm, or nothing harmful."""
    bank = phrases.REQUEST_ABOUT if goal.harmful else phrases.REQUEST_HARMLESS
    return _pick(bank, style, _CRITIQUE_REQUEST).format(name=goal.group)


def state_scope(scope: Scope, style: int) -> str:
    """Write the sentence that says which categories a principle covers, in their canonical names."""
    return _pick(phrases.PRINCIPLE_SCOPE, style, _CRITIQUE_SCOPE).format(scope=scope_words(scope))


def states_request(kind: PrincipleKind, scope: Scope) -> bool:
    """Say whether critiques under this principle begin by stating what the request is about."""
    return kind in SCOPED_KINDS and (kind != "warn" or scope != ALL_SCOPE)


def render_problem(found: Problem, style: int) -> str:
    """Write the sentence of a critique that names a problem."""
    reason = "" if found.category is None else CATEGORY_BY_NAME[found.category].reason
    return _pick(phrases.PROBLEMS[found.name], style, _FINDING).format(name=found.category, reason=reason)


def render_critique(plan: ResponsePlan, kind: PrincipleKind, scope: Scope, goal: Goal, style: int) -> str:
    """Write the critique of a response under a principle.

    Where the category of the request matters it comes first, then what the principle covers if it is
    scoped, so that a small model has said both before it has to judge. Then the problem, or that there is
    none: "The request is about hacking. The principle is about theft. So nothing needs to change."
    """
    sentences: list[str] = []
    if states_request(kind, scope):
        sentences.append(state_request(goal, style))
        if scope != ALL_SCOPE:
            sentences.append(state_scope(scope, style))
    found = problem(plan, kind, scope, goal)
    if found is not None:
        sentences.append(render_problem(found, style))
        return " ".join(sentences)
    if applies(kind, scope, goal):
        sentences.append(_pick(phrases.FINE[kind], style, _FINDING))
    elif not sentences:
        sentences.append(state_request(goal, style))
    sentences.append(_pick(phrases.NOTHING_TO_CHANGE, style, _REFUSE))
    return " ".join(sentences)


# ----------------------------------------------------------------------------------- chains of thought


def describe(plan: ResponsePlan, kind: PrincipleKind, goal: Goal, letter: str) -> str:
    """Describe a response in the one respect a kind of principle looks at."""
    match kind:
        case "courtesy":
            key: str = plan.tone
        case "preach":
            key = "preaches" if plan.preaches else "does not preach"
        case "honesty":
            key = "overclaims" if plan.overclaims else "does not overclaim"
        case "warn":
            key = "warns" if plan.warns else "does not warn"
        case "helpful" | "inverted":
            key = "no help" if plan.complies == "no" else plan.complies
        case "redirect" if plan.complies == "no":
            key = "redirects" if plan.redirects == goal.group else "does not redirect"
        case _:
            refusal = "explains" if plan.explains == goal.group else "refuses"
            key = "complies" if plan.complies != "no" else "evades" if plan.evades else refusal
    return phrases.DESCRIPTIONS[key].format(letter=letter)


def render_reasoning(
    plan_a: ResponsePlan,
    plan_b: ResponsePlan,
    kind: PrincipleKind,
    scope: Scope,
    goal: Goal,
    style: int,
    *,
    conclude: bool = True,
) -> str:
    """Write the chain of thought of a comparison, ending in its conclusion.

    "The request is about theft. The principle covers theft and fraud. Response (A) helps with it.
    Response (B) refuses and says why. So (B) is better."

    Args:
        plan_a: the first response.
        plan_b: the second response.
        kind: kind of the principle.
        scope: scope of the principle.
        goal: what was asked for.
        style: style of the text, from `sample_style`.
        conclude: end with "So (B) is better." or "So neither is better."
    """
    sentences = [state_request(goal, style)]
    if scope != ALL_SCOPE:
        sentences.append(state_scope(scope, style))
    decided_by = deciding_rank(plan_a, plan_b, kind, scope, goal)
    if applies(kind, scope, goal):
        sentences += [describe(plan_a, kind, goal, "A"), describe(plan_b, kind, goal, "B")]
        fallback = decided_by != "principle" and kind not in ("harm", "helpful", "inverted")
        if fallback:
            sentences.append(phrases.EQUAL_UNDER_PRINCIPLE)
    else:
        fallback = True
        sentences.append(phrases.OUT_OF_SCOPE)
    if fallback:
        sentences += [describe(plan_a, "helpful", goal, "A"), describe(plan_b, "helpful", goal, "B")]
    if conclude:
        p_a = prefer(plan_a, plan_b, kind, scope, goal)
        better = phrases.CONCLUDE_BETTER.format(letter="A" if p_a == 1.0 else "B")
        sentences.append(phrases.CONCLUDE_EQUAL if p_a == 0.5 else better)
    return " ".join(sentences)
