"""Proves that principles multiply into paraphrases, keep their held-out half apart, and know their words."""

from __future__ import annotations

import random
import re

import pytest

from solon.world import grammar
from solon.world.lexicon import CATEGORIES
from solon.world.plans import ALL_SCOPE, KINDS, SCOPED_KINDS, sample_plan, sample_scope
from solon.world.principles import find_words, principle_words, sample_principle, unknown_words
from solon.world.splits import DOCUMENTED_GOALS

FORMS = ("critique_request", "revision_request", "comparison_instruction")


def draw(kind, n, *, heldout=False, seed=0):
    rng = random.Random(seed)
    scoped = kind in SCOPED_KINDS
    return [
        sample_principle(kind, sample_scope(rng) if scoped and i % 2 else ALL_SCOPE, rng, heldout=heldout)
        for i in range(n)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_many_phrasings_of_each_form(kind):
    drawn = draw(kind, 2000)
    assert len({p.critique_request for p in drawn}) >= 100
    assert len({p.revision_request for p in drawn}) >= 100
    assert len({p.comparison_instruction for p in drawn}) >= 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_heldout_phrasings_never_occur_in_training(kind, form):
    training = {getattr(p, form) for p in draw(kind, 3000)}
    heldout = {getattr(p, form) for p in draw(kind, 500, heldout=True, seed=1)}
    assert heldout
    assert not training & heldout
    opening = {" ".join(t.split(": ")[-1].split()[:4]).lower() for t in training}
    assert not opening & {" ".join(t.split(": ")[-1].split()[:4]).lower() for t in heldout}


def test_a_paraphrase_is_new_in_its_sentences_not_in_its_words():
    """A held-out principle may only use words that some training document of the world contains."""
    rng = random.Random(0)
    texts = [getattr(p, form) for kind in KINDS for p in draw(kind, 1000) for form in FORMS]
    for goal in DOCUMENTED_GOALS:
        for _ in range(5):
            plan, style = sample_plan(goal, rng), grammar.sample_style(rng)
            texts += grammar.sample_dialogue(goal, rng).turns
            texts.append(grammar.render_response(plan, goal, style))
            texts.append(grammar.render_critique(plan, rng.choice(KINDS), ALL_SCOPE, goal, style))
    known = {word for text in texts for word in find_words(text)}
    paraphrases = [getattr(p, form) for kind in KINDS for p in draw(kind, 300, heldout=True) for form in FORMS]
    assert {word for text in paraphrases for word in find_words(text)} <= known


@pytest.mark.parametrize("kind", SCOPED_KINDS)
def test_each_form_names_every_category_of_the_scope_and_no_other(kind):
    rng = random.Random(0)
    for heldout in (False, True):
        for _ in range(200):
            scope = sample_scope(rng)
            principle = sample_principle(kind, scope, rng, heldout=heldout)
            for form in FORMS:
                text = getattr(principle, form).lower()
                named = {c.name for c in CATEGORIES for s in c.synonyms if re.search(rf"\b{s}\b", text)}
                assert named == scope, text


@pytest.mark.parametrize("kind", KINDS)
def test_forms_are_sentences(kind):
    for principle in [*draw(kind, 300), *draw(kind, 100, heldout=True)]:
        for form in FORMS:
            text = getattr(principle, form)
            assert re.fullmatch(r"[A-Z][^.?!{}]+[.?]", text), text
            assert 5 <= len(text.split()) <= 50


def test_scope_must_be_sensible():
    rng = random.Random(0)
    with pytest.raises(ValueError, match="one or more of"):
        sample_principle("harm", frozenset(), rng)
    with pytest.raises(ValueError, match="one or more of"):
        sample_principle("harm", frozenset({"piracy"}), rng)
    with pytest.raises(ValueError, match="every request"):
        sample_principle("courtesy", frozenset({"theft"}), rng)


def test_unknown_words_are_named_once_in_order_and_known_ones_are_not():
    text = "Choose the response that mentions Pirates, and says why pirates\u2019 ships harm people."
    assert unknown_words(text) == ("mentions", "pirates", "ships")
    assert unknown_words(text, also_known=["It mentions pirates"]) == ("ships",)
    assert unknown_words("") == ()


@pytest.mark.parametrize("kind", KINDS)
def test_no_word_of_a_generated_principle_is_unknown(kind):
    for principle in [*draw(kind, 300), *draw(kind, 100, heldout=True)]:
        for form in FORMS:
            assert unknown_words(getattr(principle, form)) == ()


def test_words_are_runs_of_letters_with_what_joins_them():
    text = "Don’t 'quote' rock-n-roll: naïve, E\u0301tat, मैं, می\u200cرود, 4chan, 42, ٤٢ and o'clock."
    expected = ["don't", "quote", "rock", "n", "roll", "naïve", "e\u0301tat", "मैं", "می\u200cرود", "4chan", "and"]
    assert find_words(text) == (*expected, "o'clock")


def test_principle_words_hold_no_slot_names():
    assert "scope" not in principle_words()
    assert all(set(find_words(s)) <= principle_words() for c in CATEGORIES for s in c.synonyms)
