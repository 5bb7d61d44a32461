"""Proves that the tests of the shipped graders would notice: each wrong version is caught by one of them."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from solon.evaluation import graders as checking
from solon.pipeline import models
from solon.tasks import graders, judging, measuring, rules
from tests.mutating import assert_killed
from tests.unit.tasks import test_judging, test_rules, test_shipped_graders


def in_a_folder(test: Callable[..., None], *args: Any) -> Callable[[], None]:
    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            test(Path(folder), *args)

    return run


def values() -> None:
    (mark,) = test_rules.test_values_are_what_the_text_does.pytestmark  # type: ignore[attr-defined]
    for text, true in mark.args[1]:
        test_rules.test_values_are_what_the_text_does(text, true)


RULES, JUDGE = rules.RuleGrader, judging.JudgeGrader

MUTANTS: dict[str, tuple[Any, str, str, Callable[[], Any], type | None]] = {
    "an evasive refusal is on topic": (
        RULES.grade,
        'values["refuses"] and on_topic',
        'values["refuses"]',
        values,
        RULES,
    ),
    "a refusal explains itself": (
        RULES.grade,
        'values["refuses_on_topic"] and values["gives_reason"]',
        'values["refuses_on_topic"]',
        values,
        RULES,
    ),
    "the last turn alone is the request": (
        RULES.grade,
        "prompt.conversation.asked",
        "prompt.conversation.messages[-1].text",
        test_rules.test_the_topic_is_that_of_all_the_user_said,
        RULES,
    ),
    "the assistant's words are the request": (
        RULES.grade,
        "prompt.conversation.asked",
        '" ".join(message.text for message in prompt.conversation.messages)',
        test_rules.test_the_topic_is_that_of_all_the_user_said,
        RULES,
    ),
    "an unknown topic is missed": (
        RULES.grade,
        "is_on_topic(prompt.conversation.asked, text)) is not None",
        "bool(is_on_topic(prompt.conversation.asked, text))) is not None",
        test_rules.test_of_a_request_without_content_the_topic_is_left_out,
        RULES,
    ),
    "half a sentence is graded": (
        RULES.grade,
        "response.cut and len(",
        "False and len(",
        test_rules.test_an_answer_that_was_cut_is_graded_if_it_said_anything,
        RULES,
    ),
    "a short answer is ungraded": (
        RULES.grade,
        "response.cut and len(",
        "len(",
        test_rules.test_an_answer_that_was_cut_is_graded_if_it_said_anything,
        RULES,
    ),
    "nothing is named": (
        RULES.grade,
        "if self._words:",
        "if False:",
        in_a_folder(test_rules.test_words_of_a_file_are_looked_for),
        RULES,
    ),
    "twins are harmful": (
        measuring._kind_of,
        "> len(prompts)",
        "> -1",
        test_rules.test_groups_of_any_name_are_measured_by_their_kind,
        None,
    ),
    "one red-team prompt makes a group": (
        measuring._kind_of,
        "> len(prompts)",
        "> 1",
        test_rules.test_a_group_of_both_kinds_is_of_the_kind_of_most,
        None,
    ),
    "one polarity is enough": (
        JUDGE._combine,
        "exp(-(has + has_not) / 2.0)",
        "exp(-has)",
        test_judging.test_both_polarities_are_combined_as_log_odds,
        JUDGE,
    ),
    "the negation is read as the question": (
        JUDGE._combine,
        "negated.logprobs[1] - negated.logprobs[0]",
        "negated.logprobs[0] - negated.logprobs[1]",
        test_judging.test_both_polarities_are_combined_as_log_odds,
        JUDGE,
    ),
    "a contradiction is averaged": (
        JUDGE._combine,
        "if contradict((has, has_not)):",
        "if False:",
        test_judging.test_a_judge_that_says_yes_to_everything_tells_nothing,
        JUDGE,
    ),
    "the floor is of the question alone": (
        JUDGE._combine,
        "for answer in (asked, negated)",
        "for answer in (asked,)",
        test_judging.test_the_floor_is_of_both_questions,
        JUDGE,
    ),
    "a mass that is not known is none at all": (
        JUDGE._combine,
        "[answer.mass for answer in (asked, negated) if answer.mass is not None]",
        "[answer.mass or 0.0 for answer in (asked, negated)]",
        test_judging.test_an_answer_without_a_mass_is_held_to_no_floor_and_is_counted,
        JUDGE,
    ),
    "nothing is said of an answer without a mass": (
        judging._describe_readings,
        "sum(not answer.has_mass for answer in answers)",
        "0",
        test_judging.test_an_answer_without_a_mass_is_held_to_no_floor_and_is_counted,
        None,
    ),
    "what is impossible is a number": (
        JUDGE._combine,
        "not all(map(isfinite, logprobs))",
        "False",
        test_judging.test_an_answer_that_is_impossible_is_no_log_probability,
        JUDGE,
    ),
    "an empty answer is judged": (
        JUDGE.grade,
        "is_blank(response.text)",
        "False",
        lambda: test_judging.test_an_empty_answer_is_put_to_no_judge(""),
        JUDGE,
    ),
    "the feedback model judges": (
        JUDGE.grade,
        "open_model(JUDGE)",
        'open_model("feedback")',
        test_judging.test_the_shipped_questions_are_eight_of_four_attributes,
        JUDGE,
    ),
    "a floor is no part of a grader": (
        JUDGE.__init__,
        "content_digest([asked, mass_floor], size=8)",
        "content_digest([asked], size=8)",
        test_judging.test_another_question_or_floor_is_another_grader,
        JUDGE,
    ),
    "short names are modules": (
        graders.load_grader,
        "if name in SHIPPED:",
        "if False:",
        in_a_folder(test_shipped_graders.test_short_names),
        None,
    ),
    "nothing is said of the judge": (
        models.describe_judges,
        "JUDGE.key in (asks_of(evaluation.grader) or ())",
        "False",
        in_a_folder(test_shipped_graders.test_a_judge_that_is_the_feedback_model_is_said),
        None,
    ),
    "any judge is suspected": (
        models.describe_judges,
        "models[JUDGE.key].digest != models[FEEDBACK_MODEL.key].digest",
        "False",
        in_a_folder(test_shipped_graders.test_another_judge_is_not),
        None,
    ),
    "no grader measures groups": (
        checking.measures_of,
        'not hasattr(grader, "measures_for") or ',
        "True or ",
        test_shipped_graders.test_a_grader_may_measure_the_groups_there_are,
        None,
    ),
    "groups go before what is declared": (
        checking.measures_of,
        ' or hasattr(grader, "measures"):',
        ":",
        test_shipped_graders.test_a_grader_may_measure_the_groups_there_are,
        None,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_killed(name: str) -> None:
    function, old, new, test, owner = MUTANTS[name]
    assert_killed(function, old, new, test, owner)
