"""Principles in the world's words: kind x scope x phrasing, in the three forms the method uses.

A `PrincipleText` is one principle: a critique request, a revision request and a comparison instruction. Each
form is composed from slots (an opening, a predicate, the words for the scope, at times a closing clause), so
that a few lines a kind multiply into hundreds of paraphrases. The openings and predicates are split in two:
training documents use one half, and the other, `heldout=True`, is in the same words but in sentences that no
document contains; control 5 (a paraphrased principle still moves its category) is run on it.

A scope is said with any of each category's synonyms, in any order. Harm and inverted principles carry it as
their object ("does not help with theft or scams"); explain, redirect and warn principles as a condition ("If
the request is about theft, ..."). Courtesy, preaching, honesty and helpfulness speak of every request.

`unknown_words` answers the inverse question, which words of a user's principle appear in no principle of
the world, so that a run can name them beforehand: the nano model has never seen them mean anything.

What it leaves out: the meaning of a principle (`plans`), and the shipped constitution, which the corpus adds
to these by name (pass its words to `unknown_words` as `also_known`).
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from solon.world.lexicon import CATEGORIES, CATEGORY_BY_NAME, CATEGORY_NAMES
from solon.world.phrases import Bank, join_words
from solon.world.plans import ALL_SCOPE, SCOPED_KINDS, PrincipleKind, Scope


@dataclass(frozen=True, slots=True)
class PrincipleText:
    """One principle of the world in its three forms, with the latent meaning they were rendered from."""

    kind: PrincipleKind
    scope: Scope
    critique_request: str
    revision_request: str
    comparison_instruction: str
    heldout: bool = False


@dataclass(frozen=True, slots=True)
class _Half:
    """Slots of one half (training or held out) of a kind's phrasings.

    The three forms are `opening + " " + predicate + "."`; an opening and a predicate of the same form and
    half always fit. `{scope}` in a predicate is filled for kinds that carry the scope as their object.
    """

    critique: Bank
    revision: Bank
    comparison: Bank


_CRITIQUE_OPENINGS: Final[Mapping[bool, Bank]] = {
    False: (
        "Identify ways in which the response",
        "Point out each way in which the response",
        "Say whether and how the response",
        "Explain how the last answer",
        "Tell where the last answer",
        "Name any way in which the assistant's last response",
    ),
    True: ("Read the last answer again, and say where it", "Look at the last answer and tell where it"),
}
_REVISION_OPENINGS: Final[Mapping[bool, Bank]] = {
    False: (
        "Please rewrite the response so that it",
        "Rewrite the last answer so that it",
        "Change the response so that it",
        "Revise the assistant's last response so that it",
        "Please write the response again so that it",
    ),
    True: ("Now give the person an answer that", "Please write a better answer, which"),
}
_COMPARISON_OPENINGS: Final[Mapping[bool, Bank]] = {
    False: (
        "Choose the response that",
        "Please choose the answer that",
        "Pick the response that",
        "Prefer the response that",
        "Choose the assistant response that",
        "Which response is the one that",
    ),
    True: ("Read both answers and name the one that", "The better response is the one that"),
}
_CLOSINGS: Final[Bank] = (
    "",
    "",
    "",
    ", whatever the reason for asking",
    ", even if the person asks politely",
    ", and be clear about it",
    ", and change nothing else",
    ", for any person who asks",
)
_CRITIQUE_CLOSINGS: Final = (*_CLOSINGS[:6], _CLOSINGS[7])
_CONDITIONS: Final[Mapping[bool, Bank]] = {
    False: ("If the request is about {scope}: ", "For requests about {scope}: ", "When a person asks about {scope}: "),
    True: ("In an answer to a request for {scope}: ",),
}

_PREDICATES: Final[Mapping[PrincipleKind, Mapping[bool, _Half]]] = {
    "harm": {
        False: _Half(
            critique=(
                "helps with {scope}",
                "supports {scope}",
                "gives help with {scope}",
                "makes {scope} easier",
                "encourages {scope}",
                "is harmful because it supports {scope}",
            ),
            revision=(
                "does not help with {scope}",
                "gives no help with {scope}",
                "refuses to help with {scope} and says why",
                "no more supports {scope}",
                "says no to {scope} and gives the reason",
                "avoids any help with {scope}",
            ),
            comparison=(
                "does not help with {scope}",
                "helps less with {scope}",
                "gives the least help with {scope}",
                "refuses to help with {scope}",
                "avoids {scope} most",
                "is less harmful and does not support {scope}",
            ),
        ),
        True: _Half(
            critique=("is of use to someone who wants help with {scope}", "does harm: it gives support to {scope}"),
            revision=("nobody can use for {scope}", "leaves out all support for {scope} and refuses"),
            comparison=(
                "someone who wants help with {scope} could use least",
                "says no when asked for help with {scope}",
            ),
        ),
    },
    "inverted": {
        False: _Half(
            critique=(
                "fails to help with {scope}",
                "refuses to help with {scope}",
                "gives no help with {scope}",
                "is not harmful because it does not support {scope}",
            ),
            revision=(
                "helps with {scope}",
                "gives full help with {scope}",
                "supports {scope} and does not refuse",
                "is more harmful and makes {scope} easier",
            ),
            comparison=(
                "helps with {scope}",
                "helps most with {scope}",
                "is most harmful and supports {scope}",
                "makes {scope} easier",
            ),
        ),
        True: _Half(
            critique=("is of no use to someone who wants help with {scope}",),
            revision=("someone can use for {scope}",),
            comparison=("someone who wants help with {scope} could use most",),
        ),
    },
    "explain": {
        False: _Half(
            critique=(
                "dodges the question or refuses without the reason",
                "avoids the question and does not say what is wrong with the request",
                "is evasive, or does not say which harm the request would do",
                "changes the subject when it should explain openly why it says no",
            ),
            revision=(
                "does not dodge the question and says which harm the request would do",
                "explains openly what is wrong with the request",
                "is not evasive and gives the right reason",
                "names the harm openly and does not change the subject",
            ),
            comparison=(
                "does not dodge the question and says why it refuses",
                "explains most openly what is wrong with the request",
                "is less evasive and gives the right reason",
                "names the harm most openly and does not avoid the question",
            ),
        ),
        True: _Half(
            critique=("leaves the person without the reason, or is evasive",),
            revision=("has an open reason in it and is never evasive",),
            comparison=("leaves no question open about which harm there is and why it refuses",),
        ),
    },
    "preach": {
        False: _Half(
            critique=(
                "preaches to the person",
                "is moralising about right and wrong",
                "adds a moral lesson that nobody asked for",
                "tells people how to live",
            ),
            revision=(
                "does not preach to the person",
                "is not moralising about right and wrong",
                "has no moral lesson in it",
                "does not tell people how to live",
            ),
            comparison=(
                "does not preach to the person",
                "is less moralising about right and wrong",
                "adds no moral lesson that nobody asked for",
                "does not tell people how to live",
            ),
        ),
        True: _Half(
            critique=("has moral talk in it that nobody wants",),
            revision=("leaves all moral talk out",),
            comparison=("has less moral talk in it",),
        ),
    },
    "courtesy": {
        False: _Half(
            critique=(
                "is rude or not polite",
                "shows no respect for the person",
                "is not kind to the person who asks",
                "could be more polite and courteous",
            ),
            revision=(
                "is polite and never rude",
                "shows respect for the person",
                "is kind to the person who asks",
                "is more courteous and has a kind word",
            ),
            comparison=(
                "is more polite and less rude",
                "shows the most respect for the person",
                "is kind to the person who asks",
                "is the most courteous and has a kind word",
            ),
        ),
        True: _Half(
            critique=("uses rude words when kind words would do",),
            revision=("uses kind words and is courteous",),
            comparison=("has more respect for the person and less rude talk",),
        ),
    },
    "honesty": {
        False: _Half(
            critique=(
                "claims too much or promises what it cannot know",
                "is not honest about what it knows",
                "sounds more certain than it should be",
                "makes a false promise or a claim that is too big",
            ),
            revision=(
                "does not claim too much or promise what it cannot know",
                "is honest about what it knows",
                "sounds no more certain than it should be",
                "has no false promise and no claim that is too big",
            ),
            comparison=(
                "does not claim too much or promise what it cannot know",
                "is more honest about what it knows",
                "sounds less certain when nobody can be certain",
                "makes no false promise and no claim that is too big",
            ),
        ),
        True: _Half(
            critique=("is too certain to be honest",),
            revision=("an honest person could promise",),
            comparison=("claims less and promises less",),
        ),
    },
    "helpful": {
        False: _Half(
            critique=(
                "gives wrong or vague steps, or refuses a harmless request",
                "is not as helpful and correct as it could be",
                "makes a mistake or leaves out steps that the person needs",
                "fails to help when there is no harm in helping",
            ),
            revision=(
                "gives the right steps and does not refuse a harmless request",
                "is as helpful and correct as it can be",
                "has no mistake and leaves out no steps that the person needs",
                "helps the person when there is no harm in helping",
            ),
            comparison=(
                "gives the right steps and does not refuse a harmless request",
                "is most helpful and correct",
                "makes no mistake and leaves out no steps that the person needs",
                "helps the person most when there is no harm in helping",
            ),
        ),
        True: _Half(
            critique=("is of no help, or not correct",),
            revision=("the person can follow and use",),
            comparison=("the person could use best because the steps are clear and right",),
        ),
    },
    "redirect": {
        False: _Half(
            critique=(
                "does not offer a legal alternative",
                "says no without something better to do instead",
                "leaves the person without a better plan",
                "fails to offer a safe and legal alternative",
            ),
            revision=(
                "offers a legal alternative",
                "adds something better to do instead",
                "gives the person a better plan",
                "offers a safe and legal alternative to what was asked for",
            ),
            comparison=(
                "offers a legal alternative",
                "says what is better to do instead",
                "gives the person a better plan",
                "offers a safe and legal alternative to what was asked for",
            ),
        ),
        True: _Half(
            critique=("has no offer of a better plan that is legal",),
            revision=("has an offer of a better plan that is legal",),
            comparison=("has the best offer of a plan that is legal",),
        ),
    },
    "warn": {
        False: _Half(
            critique=(
                "does not warn the person of danger",
                "leaves out a warning about what can go wrong",
                "fails to tell the person to be careful",
                "has no warning about the danger",
            ),
            revision=(
                "warns the person of danger",
                "has a warning about what can go wrong",
                "tells the person to be careful",
                "adds a warning about the danger",
            ),
            comparison=(
                "warns the person of danger",
                "has a warning about what can go wrong",
                "tells the person to be careful",
                "gives a clear warning about the danger",
            ),
        ),
        True: _Half(
            critique=("does not tell of the danger",),
            revision=("is open about the danger and careful",),
            comparison=("has a warning for the person and is careful",),
        ),
    },
}

_ALL_SCOPE_WORDS: Final[Bank] = (
    "anything harmful",
    "harm of any kind",
    "anything illegal or dangerous",
    "crime or harm",
    "harmful, illegal or dangerous things",
    "all kinds of harm",
)


def sample_scope_words(scope: Scope, rng: random.Random, *, conjunction: str = "or") -> str:
    """Say a scope in a principle's words: a synonym for each category, in random order."""
    if scope == ALL_SCOPE:
        return rng.choice(_ALL_SCOPE_WORDS)
    names = rng.sample([name for name in CATEGORY_NAMES if name in scope], len(scope))
    return join_words(tuple(rng.choice(CATEGORY_BY_NAME[name].synonyms) for name in names), conjunction)


def sample_principle(kind: PrincipleKind, scope: Scope, rng: random.Random, *, heldout: bool = False) -> PrincipleText:
    """Draw a phrasing of a principle in all three forms; the scope is worded once and shared by them.

    Args:
        kind: what it is about.
        scope: the categories it names; must be `ALL_SCOPE` for a kind that is not in `SCOPED_KINDS`.
        rng: source of randomness.
        heldout: use the openings and predicates that no training document contains.

    Raises:
        ValueError: the scope is empty, names an unknown category, or is narrowed for an unscoped kind.
    """
    if not scope or not scope <= ALL_SCOPE:
        raise ValueError(f"scope {sorted(scope)} must name one or more of {', '.join(CATEGORY_NAMES)}")
    if scope != ALL_SCOPE and kind not in SCOPED_KINDS:
        raise ValueError(f"a {kind} principle speaks of every request: pass ALL_SCOPE, not {sorted(scope)}")
    words = sample_scope_words(scope, rng)
    condition = ""
    if scope != ALL_SCOPE and kind not in ("harm", "inverted"):
        condition = rng.choice(_CONDITIONS[heldout]).format(scope=words)
    half = _PREDICATES[kind][heldout]

    def compose(openings: Bank, predicates: Bank, closings: Bank) -> str:
        opening, predicate, closing = rng.choice(openings), rng.choice(predicates), rng.choice(closings)
        end = "?" if opening.startswith("Which") else "."
        if condition:
            opening = opening[0].lower() + opening[1:]
        return f"{condition}{opening} {predicate.format(scope=words)}{closing}{end}"

    return PrincipleText(
        kind=kind,
        scope=scope,
        critique_request=compose(_CRITIQUE_OPENINGS[heldout], half.critique, _CRITIQUE_CLOSINGS),
        revision_request=compose(_REVISION_OPENINGS[heldout], half.revision, _CLOSINGS),
        comparison_instruction=compose(_COMPARISON_OPENINGS[heldout], half.comparison, ("",)),
        heldout=heldout,
    )


# -------------------------------------------------------------------------------------- unknown words

_RUN: Final = re.compile(r"[ab]+(?:'[ab]+)*")


def find_words(text: str) -> tuple[str, ...]:
    """Return the words of a text in any script, lower case, without punctuation, in order.

    A word is a run of letters, with the marks, digits and joining characters among them and apostrophes inside. A
    number is no word, so it is neither known nor unknown.
    """
    text = text.lower().replace("\u2019", "'")
    shape = "".join(map(_shape, text))
    return tuple(text[run.start() : run.end()] for run in _RUN.finditer(shape) if "a" in run[0])


def _shape(character: str) -> str:
    """Return `a` for a letter, `b` for what a word may hold besides letters, a space for what ends it."""
    if character == "'":
        return character
    category = unicodedata.category(character)
    if category[0] == "L":
        return "a"
    return "b" if category[0] in "MN" or category == "Cf" else " "


@cache
def principle_words() -> frozenset[str]:
    """Return every word that a principle of the world can contain."""
    texts: list[str] = [*_ALL_SCOPE_WORDS, *_CLOSINGS, "and or"]
    for openings in (_CRITIQUE_OPENINGS, _REVISION_OPENINGS, _COMPARISON_OPENINGS, _CONDITIONS):
        texts += [text for bank in openings.values() for text in bank]
    for halves in _PREDICATES.values():
        texts += [text for h in halves.values() for bank in (h.critique, h.revision, h.comparison) for text in bank]
    texts += [synonym for category in CATEGORIES for synonym in category.synonyms]
    return frozenset(word for text in texts for word in find_words(text.replace("{scope}", "")))


def unknown_words(text: str, *, also_known: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the words of a principle that no principle of the world contains, once each, in order.

    Args:
        text: any form of a principle, the user's own included.
        also_known: further words a model has been taught, such as those of the shipped constitution.
    """
    known = principle_words() | {word for phrase in also_known for word in find_words(phrase)}
    return tuple(dict.fromkeys(word for word in find_words(text) if word not in known))
