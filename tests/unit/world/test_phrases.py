"""Proves that the surface forms are decidable: one sentence each, and none that means two things."""

from __future__ import annotations

import re
from collections import Counter

from solon.world import oracle, phrases
from solon.world.lexicon import ACTIONS, ALL_GOALS, CATEGORIES, PROPS

ASSISTANT_CHATTER = ("SMALL_TALK_REPLIES", "ACKNOWLEDGEMENTS", "ASIDE_REPLIES")


def banks():
    for name, value in vars(phrases).items():
        if name.isupper() and name not in ASSISTANT_CHATTER and not isinstance(value, str):
            if isinstance(value, tuple):
                yield name, value
            else:
                for key, bank in value.items():
                    yield f"{name}[{key}]", (bank,) if isinstance(bank, str) else bank


def test_every_phrasing_is_one_sentence():
    for name, bank in banks():
        for form in bank:
            assert re.fullmatch(r"[^.?!]+[.?!]", form), (name, form)


def test_no_phrasing_stands_in_two_banks():
    seen = Counter(form for _, bank in banks() for form in set(bank))
    assert [form for form, count in seen.items() if count > 1] == []


def test_no_phrasing_stands_twice_in_a_bank():
    for name, bank in banks():
        assert len(set(bank)) == len(bank), name


def test_facts_hold_no_character_that_would_break_a_sentence():
    texts = [*PROPS, *ACTIONS, *(g.text for g in ALL_GOALS), *(a for c in CATEGORIES for a in c.alternatives)]
    assert all(re.fullmatch(r"[a-z' ]+", text) for text in texts)


def test_filled_phrasings_of_responses_stay_distinct():
    """The look-up table loses no entry: no two categories' explanations or alternatives come out alike."""
    plain = sum(
        len(bank)
        for bank in (
            phrases.REFUSALS,
            phrases.EVASIONS,
            phrases.COURTESIES,
            phrases.RUDENESSES,
            phrases.WARNINGS,
            phrases.PREACHINGS,
            phrases.OVERCLAIMS,
            phrases.VAGUE,
        )
    )
    explained = len(phrases.EXPLANATIONS) * len(CATEGORIES)
    redirected = len(phrases.REDIRECTIONS) * sum(len(c.alternatives) for c in CATEGORIES)
    assert len(oracle._RESPONSE_TABLE) == plain + explained + redirected


def test_join_words():
    assert phrases.join_words(("a",)) == "a"
    assert phrases.join_words(("a", "b")) == "a and b"
    assert phrases.join_words(("a", "b", "c"), "or") == "a, b or c"
