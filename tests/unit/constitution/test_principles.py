"""Proves what a principle and a constitution may be, what is derived from a sentence, and the facts told of them."""

import pytest
from pydantic import ValidationError

from solon.constitution import (
    Constitution,
    Principle,
    check_constitution,
    load_constitution,
    principle_from_sentence,
    sentence_id,
)
from solon.errors import ConstitutionError

STEP = Principle(id="step", critique_request="C?", revision_request="R.", applies_to=("red_team",), weight=3.0)
BOTH = Principle(id="both", critique_request="D?", revision_request="S.", comparison="W?")
PAIR = Principle(id="pair", comparison="V?", applies_to=("red_team",))
ASK = Principle(id="ask", question="Q?", better="no", applies_to=("helpful",))
TINY = Constitution(name="tiny", principles=(STEP, BOTH, PAIR), red_team_prompts=("a",), helpful_prompts=("b", "c"))


def test_principles_are_found_by_use_kind_and_id() -> None:
    assert TINY.critique_principles("red_team") == (STEP, BOTH)
    assert TINY.critique_principles("helpful") == (BOTH,)
    assert TINY.comparison_principles("red_team") == (BOTH, PAIR)
    assert TINY.comparison_principles("helpful") == (BOTH,)
    assert TINY.principle("pair") is PAIR
    with pytest.raises(ConstitutionError, match="tiny: no principle is called 'nobody'; there are step, both, pair"):
        TINY.principle("nobody")


def test_a_question_is_a_use_of_its_own() -> None:
    asking = Constitution(name="t", principles=(STEP, ASK))
    assert asking.question_principles("helpful") == (ASK,)
    assert asking.question_principles("red_team") == asking.comparison_principles("helpful") == ()
    with pytest.raises(ValidationError, match="no principle has a comparison or a question"):
        Constitution(name="t", principles=(STEP,))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"question": "Q?"}, "has a question but not which answer is better: add  better: yes"),
        ({"better": "no"}, "says which answer is better but has no question"),
        ({"comparison": "W?", "better": "yes"}, "says which answer is better but has no question"),
        ({"question": "Q?", "better": "maybe"}, "'yes' or 'no'"),
        ({}, "asks for nothing"),
    ],
)
def test_a_question_says_which_answer_is_better(fields: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Principle(id="x", **fields)  # type: ignore[arg-type]


def test_a_principle_without_a_question_is_written_as_before_there_were_any() -> None:
    assert load_constitution("default").digest == "58c84653fe5c87b246fc68cd0012a395"
    assert not {"question", "better"} & set(BOTH.model_dump())
    asking = Constitution(name="t", principles=(STEP, ASK))
    assert Constitution.from_json(asking.to_json()) == asking
    turned = ASK.model_copy(update={"better": "yes"})
    assert Constitution(name="t", principles=(STEP, turned)).digest != asking.digest


def test_a_constitution_cannot_be_changed_or_hold_one_id_twice() -> None:
    with pytest.raises(ValidationError):
        TINY.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="two principles are called 'both'"):
        Constitution(name="t", principles=(BOTH, BOTH))


def test_the_digest_survives_a_round_trip_and_looking_does_not_change_the_record() -> None:
    again = Constitution.from_json(TINY.to_json())
    assert again.digest == TINY.digest
    TINY.critique_principles("helpful")
    assert again == TINY
    assert again.to_json() == TINY.to_json()


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("Do not help with theft", "Do not help with theft."),
        ("  Be   honest!  ", "Be honest!"),
        ("不要说谎。", "不要说谎。"),
    ],
)
def test_a_sentence_becomes_a_whole_principle(sentence: str, said: str) -> None:
    principle = principle_from_sentence(sentence)
    assert principle.critique_request == f"{said} Say what is wrong with the response in this respect."
    assert principle.revision_request == f"{said} Rewrite the response so that it is right in this respect."
    assert principle.comparison == f"{said} Choose the response that is better in this respect."
    assert principle.weight == 1.0
    assert principle.applies_to == ("red_team", "helpful")


def test_a_sentence_that_looks_like_a_field_stays_a_sentence() -> None:
    principle = principle_from_sentence("Never write {{sentence}} twice")
    assert principle.comparison is not None
    assert principle.comparison.startswith("Never write {{sentence}} twice. Choose")


def test_the_id_of_a_sentence_is_a_slug_and_a_hash() -> None:
    assert sentence_id("Do not help with theft.") == sentence_id(" Do not help  with theft.")
    assert sentence_id("Do not help with theft.") != sentence_id("Do not help with theft!")
    assert sentence_id("Do not help with theft.").startswith("do-not-help-with-theft-")
    long = "Do not help anybody at all to do something that is harmful to other people"
    assert sentence_id(long).rpartition("-")[0] == "do-not-help-anybody-at-all-to-do"
    assert sentence_id(long) != sentence_id(f"{long} or animals")
    assert sentence_id("不要说谎。").startswith("principle-")
    assert sentence_id("A" * 200).startswith("a" * 40 + "-")


def test_facts_count_principles_and_share_out_draws() -> None:
    facts = check_constitution(TINY)
    assert facts.principles == 3
    assert facts.counts == {
        "critique": {"red_team": 2, "helpful": 1},
        "comparison": {"red_team": 2, "helpful": 1},
        "question": {"red_team": 0, "helpful": 0},
    }
    assert facts.shares["critique"] == {"red_team": {"step": 0.75, "both": 0.25}, "helpful": {"both": 1.0}}
    assert facts.prompts == {"red_team": 1, "helpful": 2}
    assert facts.digest == TINY.digest
    assert facts.notes == ()


def test_facts_note_what_its_author_may_not_have_meant() -> None:
    twin = PAIR.model_copy(update={"id": "twin"})
    notes = check_constitution(Constitution(name="t", principles=(STEP, PAIR, twin))).notes
    assert notes == (
        "no principle for comparison applies to helpful prompts: the feedback stage can do nothing with them",
        "principles 'pair' and 'twin' say the same: together they count twice",
    )
    assert check_constitution(load_constitution("default")).notes == ()
    helpful = STEP.model_copy(update={"applies_to": ("helpful",)})
    pair = PAIR.model_copy(update={"applies_to": ("red_team", "helpful")})
    (note,) = check_constitution(Constitution(name="t", principles=(helpful, pair))).notes
    assert note == "no principle for critique applies to red_team prompts: the revision stage can do nothing with them"
    both = STEP.model_copy(update={"applies_to": ("red_team", "helpful")})
    turned = ASK.model_copy(update={"id": "turned", "better": "yes"})
    assert check_constitution(Constitution(name="t", principles=(both, PAIR, ASK, turned))).notes == ()


@pytest.mark.parametrize("field", ["critique_request", "revision_request", "comparison", "question"])
def test_a_text_without_words_is_refused(field: str) -> None:
    texts = {"critique_request": "C?", "revision_request": "R.", "comparison": "W?", "better": "no", "question": "Q?"}
    texts[field] = " \n"
    with pytest.raises(ValidationError, match="has no words in it"):
        Principle(id="x", **texts)  # type: ignore[arg-type]
