"""Proves that tests of reading would notice: without any one kind of words, and with a bound another, one fails."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import xstest
from solon import reading
from tests.mutating import assert_killed
from tests.unit import test_reading as unit
from tests.unit.benchmarks import test_xstest


def every(test: Callable[[str], None]) -> Callable[[], None]:
    """Return a test over all the texts that it is parametrized by."""
    (mark,) = test.pytestmark  # type: ignore[attr-defined]

    def run() -> None:
        for text in mark.args[1]:
            test(text)

    return run


REFUSALS = every(unit.test_refusals)
STEPS = every(unit.test_who_declines_and_gives_steps_all_the_same_does_not_refuse)
ANSWERS = every(unit.test_answers_and_mentions_are_no_refusals)
LOOPS = every(unit.test_loops)
ABOUT = every(unit.test_what_begins_by_speaking_about_a_response_is_told)
NOT_ABOUT = every(unit.test_other_texts_do_not_speak_about_a_response)
NO_LOOPS = every(unit.test_what_is_said_twice_or_briefly_is_no_loop)

KINDS = {
    "_DECLINES": REFUSALS,
    "_CONDEMNS": REFUSALS,
    "_FIRST_STEP": STEPS,
    "_NO_STEPS": REFUSALS,
    "_REASONS": every(unit.test_reasons),
    "_LEAKS": every(unit.test_words_of_the_prompt_leak),
    "_ABOUT_RESPONSE": ABOUT,
}
"""Kinds of words to the test that holds each of them."""


EACH_KIND = [
    pytest.param(name, number, id=f"{name[1:].lower()}-{number}")
    for name in KINDS
    for number in range(len(getattr(reading, name)))
]


@pytest.mark.parametrize(("name", "number"), EACH_KIND)
def test_every_kind_of_words_is_held_by_a_test(name: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    KINDS[name]()
    kinds = getattr(reading, name)
    monkeypatch.setattr(reading, name, kinds[:number] + kinds[number + 1 :])
    with pytest.raises(AssertionError):
        KINDS[name]()


MUTANTS: dict[str, tuple[Any, str, str, Callable[[], Any]]] = {
    "a mention refuses": (reading._unquoted, '_QUOTED.sub(" ", ', "(", ANSWERS),
    "an answer in quotation marks is a mention": (reading._unquoted, ".lstrip(_LEAD)", "", REFUSALS),
    "curly apostrophes are letters": (reading._unquoted, ".translate(_STRAIGHT)", "", REFUSALS),
    "a no counts anywhere": (reading._find_no, "_DECLINED_WITHIN", "99", ANSWERS),
    "a no counts in the first sentence only": (reading._find_no, "_DECLINED_WITHIN", "1", REFUSALS),
    "a judgement counts anywhere": (reading._condemns, "_CONDEMNED_WITHIN", "99", ANSWERS),
    "who helps all the same refuses": (reading.refuses, "not _gives_steps(plain[declined:])", "True", STEPS),
    "a word of caution refuses": (
        reading.refuses,
        " and not _gives_steps(plain)",
        "",
        unit.test_a_judgement_among_steps_is_a_word_of_caution,
    ),
    "steps without a no": (
        reading.gives_steps_after_refusal,
        "declined is not None and _gives_steps(plain[declined:])",
        "_gives_steps(plain)",
        ANSWERS,
    ),
    "one step is a list": (reading._gives_steps, "len(steps) > 1", "bool(steps)", unit.test_a_single_step_is_no_list),
    "a mention gives a reason": (
        reading.gives_reason,
        "_unquoted(text)",
        "text",
        every(unit.test_a_bare_no_gives_no_reason),
    ),
    "every answer misses a request of nothing": (
        reading.is_on_topic,
        "if asked else None",
        "if asked else False",
        every(unit.test_of_a_request_without_content_words_it_cannot_be_told),
    ),
    "any answer is on topic": (
        reading.is_on_topic,
        "not asked.isdisjoint(content_words(text))",
        "True",
        unit.test_on_topic,
    ),
    "a part of a word is named": (
        reading.names_word,
        """f" {' '.join(split_words(word))} \"""",
        "' '.join(split_words(word))",
        unit.test_words_are_found_whole,
    ),
    "twice is a loop": (reading.repeats, "count >= _LOOP", "count > 1", NO_LOOPS),
    "a word said three times is a loop": (
        reading.repeats,
        " and len(words) >= _SHORTEST_SENTENCE",
        "",
        NO_LOOPS,
    ),
    "numbers of a list make other sentences": (
        reading.repeats,
        're.sub(_MARK, "", match[0], flags=re.IGNORECASE)',
        "match[0]",
        LOOPS,
    ),
    "a loop has to be of sentences": (reading.repeats, "any(_has_run(words, size)", "any(False", LOOPS),
    "a short run is a loop": (reading._has_run, "max(_LOOP * size, _SHORTEST_LOOP)", "_LOOP * size", NO_LOOPS),
    "a run need not be unbroken": (reading._has_run, "else 0", "else run", NO_LOOPS),
    "a curly apostrophe hides a leak": (
        reading.leaks_template,
        ".translate(_STRAIGHT)",
        "",
        every(unit.test_words_of_the_prompt_leak),
    ),
    "a text is about a response from its first sentence": (
        reading.speaks_of_response,
        "_SPOKEN_WITHIN",
        "1",
        ABOUT,
    ),
    "a text is about a response anywhere": (reading.speaks_of_response, "_SPOKEN_WITHIN", "99", NOT_ABOUT),
    "nothing stands before a response": (
        reading.speaks_of_response,
        '_BEFORE_IT.sub("", sentence[0], count=1)',
        "sentence[0]",
        ABOUT,
    ),
    "a response is meant wherever it is named": (
        reading.speaks_of_response,
        "_any_of(_ABOUT_RESPONSE).match(",
        're.search("(?i)response", ',
        NOT_ABOUT,
    ),
    "any word for a response in the request is one": (
        reading.speaks_of_response,
        "None if all(",
        "None if any(",
        unit.test_a_request_that_is_about_one_of_two_things_is_not_about_both,
    ),
    "your response is one of the request": (
        reading.speaks_of_response,
        '_WHO_ANSWERS.sub(" ", request.translate(_STRAIGHT))',
        "request",
        ABOUT,
    ),
    "no request is about a response": (
        reading.speaks_of_response,
        "return None if",
        "return True if",
        lambda: unit.test_where_the_request_is_about_a_response_too_it_cannot_be_told(
            "What do good responses have?", "The response has no anger."
        ),
    ),
    "kappa without chance": (
        xstest.compute_agreement,
        "(observed - expected) / (1.0 - expected)",
        "observed",
        test_xstest.test_kappa_is_cohens,
    ),
    "a partial refusal is a full one": (
        xstest.read_by_rules,
        "PARTIAL if",
        "REFUSAL if",
        test_xstest.test_the_rules_have_three_classes,
    ),
    "both halves are one": (
        xstest.half_of,
        "HALVES[1 - hashlib.sha256(prompt.encode()).digest()[-1] % 2]",
        "HALVES[0]",
        test_xstest.test_a_prompt_is_in_one_half_and_about_as_often_in_the_other,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_killed(name: str) -> None:
    assert_killed(*MUTANTS[name])
