"""The documents that the nano model is trained on, rendered through the toolkit's own templates.

A `Lesson` is one document: turns as the templates render them, and for each span how much it is trained on.
What the model would write itself (answers, critiques, revisions, chains of thought, lists) carries loss and
so does the token that ends it. What it is given (requests, responses to judge) carries none: a model trained
on the harmful and evasive answers of critique and comparison documents would stop being helpful-only.

Comparisons are answered by a soft target, p that option A is better, 0.5 where nothing tells the two apart.
One comparison is followed by further questions on the same pair under other principles: labels are sparse,
and their density decides how fast a small model learns to compare. The words of a principle carry a little
loss of their own, and some follow-ups ask which kinds of harm the principle covers, which the request is
about, and what a response does: reading has to be learned before weighing.

Labels come from the generator's own latent plans (`plans`, `shipped`), never from the oracle. Goals of the
`novel` split appear in no document. A lesson is a pure function of its seed and the stage of training, so
that any batch can be drawn again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from solon.constitution import Constitution, Principle
from solon.prompting import (
    OPTIONS,
    render_comparison,
    render_critique,
    render_prompt_list,
    render_reasoning,
    render_response,
    render_revision,
)
from solon.records import Conversation, Message, Rendered, Role, Span, Turn
from solon.world import grammar
from solon.world.lexicon import Goal
from solon.world.plans import (
    ALL_SCOPE,
    KINDS,
    SCOPED_KINDS,
    PrincipleKind,
    ResponsePlan,
    mend,
    sample_flawed_plan,
    sample_helpful_only_plan,
    sample_plan,
    sample_scope,
)
from solon.world.principles import sample_principle
from solon.world.shipped import (
    SHIPPED_CRITERIA,
    Criteria,
    Criterion,
    deciding_criterion,
    first_problem,
    mend_all,
    prefer_by,
)
from solon.world.splits import DOCUMENTED_GOALS

READING_LOSS: Final = 0.15
"""Weight of the loss on a principle's own words, relative to words the model writes."""

VERDICT_LOSS: Final = 4.0
"""Weight of the loss on a yes or no, relative to words of longer texts."""

ASK_SCOPE: Final = "Which kinds of harm is the principle about?"
ASK_COVERED: Final = "Is the request about one of these kinds?"
ASK_REQUEST: Final = "What is the request about?"
ASK_RESPONSE: Final = "What does response ({letter}) do?"


@dataclass(frozen=True, slots=True)
class LessonTurn:
    """One turn of a document.

    Attributes:
        role: who speaks.
        spans: what the turn says, as a template rendered it.
        weights: weight of the loss on each span's tokens; 0 is not trained on. Shape (len(spans),).
        end: weight of the loss on the token that ends the turn.
        p_a: in an answer, the probability that the option after the spans is A; None elsewhere.
    """

    role: Role
    spans: tuple[Span, ...]
    weights: tuple[float, ...]
    end: float = 0.0
    p_a: float | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """One document and what sort it is."""

    sort: str
    turns: tuple[LessonTurn, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """A principle as the templates want it, with its latent meaning."""

    principle: Principle
    criteria: Criteria


def _given(turn: Turn) -> LessonTurn:
    return LessonTurn(turn.role, turn.spans, (0.0,) * len(turn.spans))


def _read(turn: Turn, words: str | None) -> LessonTurn:
    """A given turn in which the principle's own words carry a little loss."""
    weights = tuple(READING_LOSS if span.text == words else 0.0 for span in turn.spans)
    return LessonTurn(turn.role, turn.spans, weights)


def _written(text: str) -> LessonTurn:
    """A turn the model writes."""
    return LessonTurn("assistant", (Span(text=text, trusted=False),), (1.0,), 1.0)


def _covered(rule: Rule) -> list[LessonTurn]:
    words = rule.principle.comparison
    assert words is not None
    spans = (Span(text=words, trusted=False), Span(text=f"\n{ASK_COVERED}", trusted=True))
    return [LessonTurn("user", spans, (READING_LOSS, 0.0))]


def _verdict(yes: bool) -> LessonTurn:
    return LessonTurn("assistant", (Span(text="Yes." if yes else "No.", trusted=False),), (VERDICT_LOSS,), 1.0)


def _asked(text: str) -> LessonTurn:
    return LessonTurn("user", (Span(text=text, trusted=True),), (0.0,))


def _conversation(turns: Sequence[str]) -> Conversation:
    roles: tuple[Role, Role] = ("user", "assistant")
    messages = tuple(Message.model_construct(role=roles[i % 2], text=text) for i, text in enumerate(turns))
    return Conversation.model_construct(messages=messages)


# --------------------------------------------------------------------------------------- goals and rules


@cache
def _goals() -> Mapping[str, tuple[Goal, ...]]:
    return {
        "harmful": tuple(goal for goal in DOCUMENTED_GOALS if goal.harmful),
        "benign": tuple(goal for goal in DOCUMENTED_GOALS if not goal.harmful and goal.twin_of is None),
        "twins": tuple(goal for goal in DOCUMENTED_GOALS if goal.twin_of is not None),
    }


def sample_goal(rng: random.Random, *, harmful: float = 0.5) -> Goal:
    """Draw a goal that documents may contain; a third of the benign ones are twins."""
    goals = _goals()
    if rng.random() < harmful:
        return rng.choice(goals["harmful"])
    return rng.choice(goals["twins" if rng.random() < 1 / 3 else "benign"])


_KIND_WEIGHTS: Final[Mapping[PrincipleKind, float]] = {
    "harm": 6,
    "explain": 2,
    "preach": 1.2,
    "courtesy": 1.2,
    "honesty": 1.2,
    "helpful": 2,
    "redirect": 1.5,
    "warn": 1.5,
    "inverted": 1.5,
}


class RuleBook:
    """Draws principles: those of the shipped constitution by name, and composed ones.

    Args:
        constitution: the shipped constitution, whose ids `SHIPPED_CRITERIA` knows.
    """

    def __init__(self, constitution: Constitution) -> None:
        self._critique: list[Rule] = []
        self._compare: list[Rule] = []
        for principle in constitution.principles:
            rule = Rule(principle, SHIPPED_CRITERIA[principle.id])
            if principle.critique_request is not None:
                self._critique.append(rule)
            if principle.comparison is not None:
                self._compare.append(rule)
        self._kinds = list(_KIND_WEIGHTS)
        self._kind_weights = list(_KIND_WEIGHTS.values())

    def shipped(self, kind: PrincipleKind, *, use: str) -> list[Rule]:
        """Return the shipped principles whose first criterion is of a kind; use is `critique` or `compare`."""
        rules = self._critique if use == "critique" else self._compare
        return [rule for rule in rules if rule.criteria[0].kind == kind]

    def sample(self, goal: Goal, rng: random.Random, *, use: str, shipped: float = 0.35, scoped: float = 0.5) -> Rule:
        """Draw a rule for a request.

        Args:
            goal: the request's goal; composed scopes include its category half of the time.
            rng: source of randomness.
            use: `critique` or `compare`.
            shipped: probability of a principle of the shipped constitution.
            scoped: probability that a composed principle of a kind that can name categories does.
        """
        if rng.random() < shipped:
            return rng.choice(self._critique if use == "critique" else self._compare)
        kind = rng.choices(self._kinds, self._kind_weights)[0]
        scope = ALL_SCOPE
        if kind in SCOPED_KINDS and rng.random() < scoped:
            inside = rng.random() < 0.5
            if goal.harmful:
                scope = sample_scope(rng, including=goal.group) if inside else sample_scope(rng, excluding=goal.group)
            else:
                scope = sample_scope(rng)
        return compose_rule(kind, Criterion(kind, scope), rng)


def compose_rule(kind: PrincipleKind, criterion: Criterion, rng: random.Random, *, heldout: bool = False) -> Rule:
    """Compose a principle of one criterion in the world's words."""
    text = sample_principle(kind, criterion.scope, rng, heldout=heldout)
    principle = Principle.model_construct(
        id=f"world-{kind}",
        critique_request=text.critique_request,
        revision_request=text.revision_request,
        comparison=text.comparison_instruction,
        applies_to=("red_team", "helpful"),
        weight=1.0,
        tags=(),
    )
    return Rule(principle, (criterion,))


# ------------------------------------------------------------------------------------------- responses


def sample_base_plan(goal: Goal, rng: random.Random) -> ResponsePlan:
    """Draw a plan of the helpful-only assistant as dialogues teach it: it nearly always complies."""
    draw = rng.random()
    if goal.harmful and draw < 0.06:
        if draw < 0.03:
            return ResponsePlan(refuses=True, explains=goal.group if draw < 0.015 else None)
        return ResponsePlan(evades=True)
    return sample_helpful_only_plan(goal, rng, correct=0.97, clean=0.72)


def _sample_given_plan(goal: Goal, rule: Rule, rng: random.Random) -> ResponsePlan:
    """Draw a response to be criticised: flawed under the rule as often as not."""
    draw = rng.random()
    if draw < 0.5:
        criterion = rng.choice(rule.criteria)
        flawed = sample_flawed_plan(criterion.kind, criterion.scope, goal, rng, clean=0.6)
        if flawed is not None:
            return flawed
    if draw < 0.75:
        return sample_base_plan(goal, rng)
    return sample_plan(goal, rng, clean=0.6)


def sample_pair(goal: Goal, rng: random.Random) -> tuple[ResponsePlan, ResponsePlan]:
    """Draw two responses: a minimal pair, correct against wrong, or any two."""
    draw = rng.random()
    if draw < 0.45:
        kind = rng.choice([kind for kind in KINDS if kind != "inverted"])
        flawed = sample_flawed_plan(kind, ALL_SCOPE, goal, rng, clean=0.65)
        if flawed is not None:
            return flawed, mend(flawed, kind, ALL_SCOPE, goal)
    if draw < 0.6:
        right = sample_helpful_only_plan(goal, rng, correct=1.0, clean=0.75)
        wrong = sample_helpful_only_plan(goal, rng, correct=0.0, clean=0.75)
        return right, wrong
    if draw < 0.7:
        return sample_base_plan(goal, rng), sample_base_plan(goal, rng)
    return sample_plan(goal, rng, clean=0.65), sample_plan(goal, rng, clean=0.65)


# ------------------------------------------------------------------------------------------- documents


def dialogue_lesson(rules: RuleBook, rng: random.Random, *, earlier: bool = True) -> Lesson:
    """The helpful-only assistant answers, whatever is asked.

    Args:
        rules: not used.
        rng: source of randomness.
        earlier: train on the assistant's earlier turns too. They ask back, and a model that learns them asks back.
    """
    goal = sample_goal(rng, harmful=0.45)
    dialogue = grammar.sample_dialogue(goal, rng)
    answer = grammar.render_response(sample_base_plan(goal, rng), goal, grammar.sample_style(rng))
    turns = [
        _written(turn.text) if earlier and turn.role == "assistant" else _given(turn)
        for turn in render_response(_conversation(dialogue.turns)).turns
    ]
    return Lesson("dialogue", (*turns, _written(answer)))


def answer_lesson(rules: RuleBook, rng: random.Random) -> Lesson:
    """The helpful-only assistant answers, and only the answer is trained on."""
    return dialogue_lesson(rules, rng, earlier=False)


def revision_lesson(rules: RuleBook, rng: random.Random, *, direct: bool = False) -> Lesson:
    """A given response, its critique (unless direct) and its revision under one principle."""
    goal = sample_goal(rng, harmful=0.7)
    rule = rules.sample(goal, rng, use="critique")
    plan = _sample_given_plan(goal, rule, rng)
    style = grammar.sample_style(rng)
    conversation = _conversation(grammar.sample_dialogue(goal, rng).turns)
    response = grammar.render_response(plan, goal, style)
    mended = mend_all(plan, rule.criteria, goal)
    revision = grammar.render_response(mended, goal, style)
    if direct:
        rendered = render_revision(conversation, response, rule.principle, None)
        return Lesson("direct revision", (*_request_read(rendered, rule), _written(revision)))
    critique = _critique(plan, rule, goal, rng)
    rendered = render_revision(conversation, response, rule.principle, critique)
    *before, asked, _, again = rendered.turns
    turns = (
        *map(_given, before),
        _read(asked, rule.principle.critique_request),
        _written(critique),
        _read(again, rule.principle.revision_request),
        _written(revision),
    )
    return Lesson("revision", turns)


def direct_revision_lesson(rules: RuleBook, rng: random.Random) -> Lesson:
    """A given response and its revision without a critique."""
    return revision_lesson(rules, rng, direct=True)


def critiques_lesson(rules: RuleBook, rng: random.Random) -> Lesson:
    """A given response and its critiques under several principles, one after another."""
    goal = sample_goal(rng, harmful=0.7)
    rule = rules.sample(goal, rng, use="critique")
    plan = _sample_given_plan(goal, rule, rng)
    conversation = _conversation(grammar.sample_dialogue(goal, rng).turns)
    response = grammar.render_response(plan, goal, grammar.sample_style(rng))
    rendered = render_critique(conversation, response, rule.principle)
    turns = [*_request_read(rendered, rule), _written(_critique(plan, rule, goal, rng))]
    for _ in range(rng.randint(1, 3)):
        rule = rules.sample(goal, rng, use="critique")
        asked = render_critique(conversation, response, rule.principle).turns[-1]
        turns += [_read(asked, rule.principle.critique_request), _written(_critique(plan, rule, goal, rng))]
    return Lesson("critiques", tuple(turns))


def comparison_lesson(rules: RuleBook, rng: random.Random, *, reading: float = 0.25) -> Lesson:
    """Two given responses, and which is better under several principles, one after another.

    Args:
        rules: the principles to draw from.
        rng: source of randomness.
        reading: probability of each of the questions that practise reading.
    """
    goal, plans, conversation, texts = _sample_options(rng)
    turns: list[LessonTurn] = []
    for number in range(rng.randint(3, 6)):
        rule = _sample_telling_rule(rules, *plans, goal, rng)
        turns += _comparison_turns(goal, plans, conversation, texts, rule, further=bool(number))
        turns += _reading_questions(goal, plans, rule, rng, reading if number else reading * 2)
    return Lesson("comparison", tuple(turns))


def scoped_comparison_lesson(rules: RuleBook, rng: random.Random, *, contrast: float = 0.5) -> Lesson:
    """A comparison in which scope decides: composed principles, often followed by their like with the other scope.

    Args:
        rules: the principles to draw from.
        rng: source of randomness.
        contrast: probability that the scope of a scoped principle is turned for the next question.
    """
    goal, plans, conversation, texts = _sample_options(rng)
    turns: list[LessonTurn] = []
    rule: Rule | None = None
    for number in range(rng.randint(4, 8)):
        turned = _turn_scope(rule, goal, rng) if rule is not None and rng.random() < contrast else None
        rule = turned or _sample_telling_rule(rules, *plans, goal, rng, shipped=0.15, scoped=0.85)
        turns += _comparison_turns(goal, plans, conversation, texts, rule, further=bool(number))
    return Lesson("scoped comparison", tuple(turns))


def scope_verdict_lesson(rules: RuleBook, rng: random.Random, *, asked_first: float = 0.3) -> Lesson:
    """One pair, one response declining and the other complying; many principles, of which scope alone decides.

    Args:
        rules: not used; every principle is composed.
        rng: source of randomness.
        asked_first: probability that it is asked first whether the principle covers the request.
    """
    goal = sample_goal(rng, harmful=0.9)
    declines = rng.choices((ResponsePlan(refuses=True, explains=goal.group), ResponsePlan(evades=True)), (4, 1))[0]
    if not goal.harmful:
        declines = ResponsePlan(evades=True)
    plan_a, plan_b = declines, sample_helpful_only_plan(goal, rng, clean=0.75)
    if rng.random() < 0.5:
        plan_a, plan_b = plan_b, plan_a
    style = grammar.sample_style(rng)
    texts = grammar.render_response(plan_a, goal, style), grammar.render_response(plan_b, goal, style)
    conversation = _conversation(grammar.sample_dialogue(goal, rng, single_turn=0.8).turns)
    turns: list[LessonTurn] = []
    for number in range(rng.randint(5, 8)):
        scope = sample_scope(rng)
        if goal.harmful:
            inside = rng.random() < 0.5
            scope = sample_scope(rng, including=goal.group) if inside else sample_scope(rng, excluding=goal.group)
        rule = compose_rule("harm", Criterion("harm", scope), rng)
        if number and rng.random() < asked_first:
            turns += [*_covered(rule), _verdict(goal.harmful and goal.group in scope)]
        turns += _comparison_turns(goal, (plan_a, plan_b), conversation, texts, rule, further=bool(number))
    return Lesson("scope verdicts", tuple(turns))


def correctness_lesson(rules: RuleBook, rng: random.Random) -> Lesson:
    """A right and a wrong answer to a harmless request, under several principles."""
    goal = sample_goal(rng, harmful=0.0)
    plans = tuple(sample_helpful_only_plan(goal, rng, correct=right, clean=0.75) for right in (1.0, 0.0))
    plan_a, plan_b = plans if rng.random() < 0.5 else plans[::-1]
    style = grammar.sample_style(rng)
    texts = grammar.render_response(plan_a, goal, style), grammar.render_response(plan_b, goal, style)
    conversation = _conversation(grammar.sample_dialogue(goal, rng, single_turn=0.8).turns)
    turns: list[LessonTurn] = []
    for number in range(rng.randint(3, 6)):
        rule = _sample_telling_rule(rules, plan_a, plan_b, goal, rng)
        turns += _comparison_turns(goal, (plan_a, plan_b), conversation, texts, rule, further=bool(number))
    return Lesson("correctness", tuple(turns))


def reasoning_lesson(rules: RuleBook, rng: random.Random) -> Lesson:
    """Two given responses, a chain of thought, and which is better."""
    goal = sample_goal(rng, harmful=0.65)
    plan_a, plan_b = sample_pair(goal, rng)
    if rng.random() < 0.5:
        plan_a, plan_b = plan_b, plan_a
    texts = tuple(grammar.render_response(p, goal, grammar.sample_style(rng)) for p in (plan_a, plan_b))
    rule = _sample_telling_rule(rules, plan_a, plan_b, goal, rng)
    conversation = _conversation(grammar.sample_dialogue(goal, rng).turns)
    reasoning = _reasoning(plan_a, plan_b, rule, goal, rng)
    asked, opened = render_reasoning(conversation, texts[0], texts[1], rule.principle).turns
    scored = render_comparison(conversation, texts[0], texts[1], rule.principle, reasoning=reasoning).turns[-1]
    spans = scored.spans
    assert spans[: len(opened.spans)] == opened.spans
    weights = tuple(float(number >= len(opened.spans)) for number in range(len(spans)))  # to the answer: so it stops
    answer = LessonTurn("assistant", spans, weights, 0.0, prefer_by(plan_a, plan_b, rule.criteria, goal))
    return Lesson("reasoning", (_read(asked, rule.principle.comparison), answer))


def prompt_list_lesson(rules: RuleBook, rng: random.Random) -> Lesson:
    """A few example prompts are given, and more of the same kind are written."""
    harmful = rng.random() < 0.6
    goals = _goals()["harmful"] if harmful else (*_goals()["benign"], *_goals()["twins"])
    given = rng.randint(3, 5)
    prompts = grammar.sample_prompt_list(goals, given + 5, rng)
    rendered = render_prompt_list("red_team" if harmful else "helpful", prompts[:given])
    return Lesson("prompt list", (*map(_given, rendered.turns), _written("\n".join(prompts[given:]))))


def scope_lesson(rules: RuleBook, rng: random.Random) -> Lesson:
    """Which kinds of harm principles cover, asked of several in a row."""
    turns: list[LessonTurn] = []
    for _ in range(rng.randint(3, 6)):
        kind: PrincipleKind = rng.choice(SCOPED_KINDS)
        scope = ALL_SCOPE if rng.random() < 0.15 else sample_scope(rng)
        principle = compose_rule(kind, Criterion(kind, scope), rng).principle
        words = rng.choice((principle.critique_request, principle.revision_request, principle.comparison))
        assert words is not None
        read = LessonTurn(
            "user", (Span(text=words, trusted=False), Span(text=f"\n{ASK_SCOPE}", trusted=True)), (READING_LOSS, 0.0)
        )
        turns += [read, _written(f"{grammar.scope_words(scope)}.")]
    return Lesson("scope", tuple(turns))


def coverage_lesson(rules: RuleBook, rng: random.Random) -> Lesson:
    """One request, and whether each of several principles covers it: the step between reading and comparing."""
    goal = sample_goal(rng, harmful=0.85)
    request = grammar.sample_dialogue(goal, rng).turns[-1]
    turns: list[LessonTurn] = []
    for number in range(rng.randint(4, 7)):
        kind: PrincipleKind = rng.choice(SCOPED_KINDS)
        scope = sample_scope(rng)
        if goal.harmful:
            inside = rng.random() < 0.5
            scope = sample_scope(rng, including=goal.group) if inside else sample_scope(rng, excluding=goal.group)
        principle = compose_rule(kind, Criterion(kind, scope), rng).principle
        words = rng.choice((principle.critique_request, principle.comparison))
        assert words is not None
        given = [Span(text=f"{request}\n", trusted=False)] if not number else []
        spans = (*given, Span(text=words, trusted=False), Span(text=f"\n{ASK_COVERED}", trusted=True))
        weights = tuple(READING_LOSS if span.text == words else 0.0 for span in spans)
        turns += [LessonTurn("user", spans, weights), _verdict(goal.harmful and goal.group in scope)]
    return Lesson("coverage", tuple(turns))


# ---------------------------------------------------------------------------------------------- pieces


def _request_read(rendered: Rendered, rule: Rule) -> tuple[LessonTurn, ...]:
    words = {rule.principle.critique_request, rule.principle.revision_request}
    *before, asked = rendered.turns
    weights = tuple(READING_LOSS if span.text in words else 0.0 for span in asked.spans)
    return (*map(_given, before), LessonTurn(asked.role, asked.spans, weights))


def _critique(plan: ResponsePlan, rule: Rule, goal: Goal, rng: random.Random) -> str:
    criterion, _ = first_problem(plan, rule.criteria, goal)
    return grammar.render_critique(plan, criterion.kind, criterion.scope, goal, grammar.sample_style(rng))


def _reasoning(plan_a: ResponsePlan, plan_b: ResponsePlan, rule: Rule, goal: Goal, rng: random.Random) -> str:
    criterion = deciding_criterion(plan_a, plan_b, rule.criteria, goal) or rule.criteria[0]
    style = grammar.sample_style(rng)
    return grammar.render_reasoning(plan_a, plan_b, criterion.kind, criterion.scope, goal, style)


def _sample_options(
    rng: random.Random,
) -> tuple[Goal, tuple[ResponsePlan, ResponsePlan], Conversation, tuple[str, str]]:
    """Draw what is compared: a goal, two plans in either order, the dialogue and the responses' texts."""
    goal = sample_goal(rng, harmful=0.65)
    plan_a, plan_b = sample_pair(goal, rng)
    if rng.random() < 0.5:
        plan_a, plan_b = plan_b, plan_a
    style = grammar.sample_style(rng)
    style_b = style if rng.random() < 0.4 else grammar.sample_style(rng)
    texts = grammar.render_response(plan_a, goal, style), grammar.render_response(plan_b, goal, style_b)
    return goal, (plan_a, plan_b), _conversation(grammar.sample_dialogue(goal, rng).turns), texts


def _comparison_turns(
    goal: Goal,
    plans: tuple[ResponsePlan, ResponsePlan],
    conversation: Conversation,
    texts: tuple[str, str],
    rule: Rule,
    *,
    further: bool,
) -> list[LessonTurn]:
    """Ask under one principle; a further question on the same pair does not repeat the pair."""
    asked, answer = render_comparison(conversation, *texts, rule.principle).turns
    if further:
        asked = _question_only(asked, rule)
    return [_read(asked, rule.principle.comparison), _answer(answer, prefer_by(*plans, rule.criteria, goal))]


def _sample_telling_rule(
    rules: RuleBook,
    plan_a: ResponsePlan,
    plan_b: ResponsePlan,
    goal: Goal,
    rng: random.Random,
    *,
    shipped: float = 0.35,
    scoped: float = 0.5,
) -> Rule:
    """Draw a rule for a comparison; ties are drawn again, mostly, for they teach little."""
    for _ in range(8):
        rule = rules.sample(goal, rng, use="compare", shipped=shipped, scoped=scoped)
        if prefer_by(plan_a, plan_b, rule.criteria, goal) != 0.5:
            break
    return rule


def _turn_scope(rule: Rule, goal: Goal, rng: random.Random) -> Rule | None:
    """Return a rule like a scoped one that covers a harmful request if that one does not, and the other way round."""
    kind, scope = rule.criteria[0]
    if not goal.harmful or scope == ALL_SCOPE:
        return None
    other = sample_scope(rng, excluding=goal.group) if goal.group in scope else sample_scope(rng, including=goal.group)
    return compose_rule(kind, Criterion(kind, other), rng)


def _answer(turn: Turn, p_a: float) -> LessonTurn:
    return LessonTurn(turn.role, turn.spans, (0.0,) * len(turn.spans), 0.0, p_a)


def _question_only(asked: Turn, rule: Rule) -> Turn:
    """The part of a comparison from the principle on, for a further question on the same pair."""
    texts = [span.text for span in asked.spans]
    start = texts.index(rule.principle.comparison or "")
    return Turn.model_construct(role="user", spans=asked.spans[start:])


def _reading_questions(
    goal: Goal, plans: tuple[ResponsePlan, ResponsePlan], rule: Rule, rng: random.Random, share: float
) -> list[LessonTurn]:
    """Questions about what was just read, each asked with probability `share`."""
    turns: list[LessonTurn] = []
    scope = rule.criteria[0].scope
    if scope != ALL_SCOPE and rng.random() < share:
        turns += [_asked(ASK_SCOPE), _written(f"{grammar.scope_words(scope)}.")]
        turns += [_asked(ASK_COVERED), _verdict(goal.harmful and goal.group in scope)]
    if rng.random() < share / 2:
        turns += [_asked(ASK_REQUEST), _written(f"{goal.group if goal.harmful else 'nothing harmful'}.")]
    if rng.random() < share:
        side = rng.randrange(2)
        criterion = rng.choice(rule.criteria)
        description = grammar.describe(plans[side], criterion.kind, goal, OPTIONS[side])
        turns += [_asked(ASK_RESPONSE.format(letter=OPTIONS[side])), _written(description)]
    return turns


# --------------------------------------------------------------------------------------------- mixture

_SORTS: Final[Mapping[str, Callable[[RuleBook, random.Random], Lesson]]] = {
    "dialogue": dialogue_lesson,
    "answer": answer_lesson,
    "revision": revision_lesson,
    "direct revision": direct_revision_lesson,
    "critiques": critiques_lesson,
    "comparison": comparison_lesson,
    "scoped comparison": scoped_comparison_lesson,
    "scope verdicts": scope_verdict_lesson,
    "correctness": correctness_lesson,
    "reasoning": reasoning_lesson,
    "prompt list": prompt_list_lesson,
    "scope": scope_lesson,
    "coverage": coverage_lesson,
}

# Share of documents of each sort, by how much of the training is done: reading first, then judging, then judging by
# scope, which is learned only once a model can read and judge; all together at the end.
_CURRICULUM: Final[tuple[tuple[float, Mapping[str, float]], ...]] = (
    (0.06, {"dialogue": 3, "scope": 3, "coverage": 3, "critiques": 2}),
    (
        0.3686,
        {
            "dialogue": 3.0,
            "revision": 2.5,
            "direct revision": 1.0,
            "critiques": 2.0,
            "comparison": 4.0,
            "reasoning": 1.0,
            "prompt list": 0.4,
            "scope": 0.2,
            "coverage": 0.8,
        },
    ),
    (
        0.5325,
        {
            "dialogue": 3.0,
            "revision": 2.5,
            "direct revision": 1.0,
            "critiques": 1.0,
            "comparison": 1.5,
            "scoped comparison": 3.5,
            "reasoning": 1.0,
            "prompt list": 0.4,
            "coverage": 1.5,
        },
    ),
    (
        0.75,
        {
            "answer": 3.0,
            "revision": 2.5,
            "direct revision": 1.0,
            "critiques": 1.0,
            "comparison": 2.0,
            "scoped comparison": 1.0,
            "scope verdicts": 4.0,
            "correctness": 1.0,
            "reasoning": 1.2,
            "prompt list": 0.4,
            "coverage": 1.0,
        },
    ),
    (
        1.0,
        {
            "answer": 4.0,
            "revision": 4.0,
            "direct revision": 1.2,
            "critiques": 1.2,
            "comparison": 4.0,
            "scoped comparison": 1.2,
            "scope verdicts": 1.0,
            "correctness": 1.0,
            "reasoning": 2.2,
            "prompt list": 0.5,
            "coverage": 0.3,
        },
    ),
)


def sample_lesson(rules: RuleBook, rng: random.Random, *, progress: float) -> Lesson:
    """Draw one document.

    Args:
        rules: the principles to draw from.
        rng: source of randomness; the lesson is a function of its state.
        progress: share of the training that is done, in [0, 1]; decides the mixture.
    """
    shares = next(mix for until, mix in _CURRICULUM if progress <= until)
    sort = rng.choices(list(shares), list(shares.values()))[0]
    return _SORTS[sort](rules, rng)
