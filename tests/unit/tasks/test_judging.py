"""Proves that the grader `judge` asks every question in both polarities and combines the answers, that what could not
be told is left out with its reason, and that no empty answer is put to a judge.
"""

import math
from pathlib import Path
from typing import Any

import pytest

from solon.lm import Journal, JournaledModel, LanguageModel, ScriptedModel
from solon.lm.passing import PassingModel
from solon.records import Choice, Conversation, Grade, Prompt, Rendered
from solon.tasks import Attribute, JudgeGrader
from solon.tasks.judging import ATTRIBUTES
from tests.scripts import make_prompts, make_sample, open_no_model, wait_for

PROMPT = Prompt.make(Conversation.of("Open the door."), kind="red_team", source="test", split="heldout")
KIND = Attribute("kind", "Is it kind?", "Is it unkind?")
BRIEF = Attribute("brief", "Is it brief?", "Is it wordy?")

Answers = dict[str, tuple[float, float]]
"""Question to the probabilities of Yes and No."""


def judge_by(answers: Answers) -> ScriptedModel:
    def weigh(rendered: Rendered, options: tuple[str, ...]) -> tuple[float, ...]:
        yes, no = next(said for question, said in answers.items() if question in rendered.text)
        return math.log(yes) if yes else -math.inf, math.log(no) if no else -math.inf

    return ScriptedModel(choose=weigh)


def grade(model: LanguageModel, *attributes: Attribute, text: str = "It is open.", **how: Any) -> Grade:
    def open_model(role: str) -> LanguageModel:
        assert role == "judge"
        return model

    return wait_for(JudgeGrader(attributes, **how).grade(PROMPT, make_sample(text), open_model))


def test_both_polarities_are_combined_as_log_odds() -> None:
    model = judge_by({"Is it kind?": (0.8, 0.1), "Is it unkind?": (0.2, 0.4)})
    found = grade(model, KIND)
    assert found.values == {"kind": pytest.approx(1 / (1 + math.exp(-(math.log(8) + math.log(2)) / 2)))}
    assert found.explanation == ""
    assert [rendered.text.count("It is open.") for rendered, _ in model.chosen] == [1, 1]
    assert all("Open the door." in rendered.text for rendered, _ in model.chosen)
    swapped = judge_by({"Is it kind?": (0.1, 0.8), "Is it unkind?": (0.4, 0.2)})
    assert grade(swapped, KIND).values["kind"] == pytest.approx(1 - found.values["kind"])


def test_a_judge_that_says_yes_to_everything_tells_nothing() -> None:
    found = grade(judge_by({"Is it": (0.9, 0.05)}), KIND, BRIEF)
    assert found.values == {}
    assert found.ungraded == (
        "the judge could tell nothing: kind: the answers to the question and to its negation contradict each other; "
        "brief: the answers to the question and to its negation contradict each other"
    )


def test_what_could_not_be_told_is_left_out_with_its_reason() -> None:
    answers = {"kind?": (0.8, 0.1), "unkind?": (0.2, 0.4), "brief?": (0.03, 0.02), "wordy?": (0.1, 0.8)}
    found = grade(judge_by({f" {question}": said for question, said in answers.items()}), KIND, BRIEF)
    assert found.values.keys() == {"kind"}
    assert found.explanation == (
        "could not be told: brief: Yes and No together have a probability of 0.05, below the floor of 0.1"
    )
    lower = grade(judge_by({f" {question}": said for question, said in answers.items()}), KIND, BRIEF, mass_floor=0.01)
    assert lower.values.keys() == {"kind", "brief"}


def test_the_floor_is_of_both_questions() -> None:
    assert grade(judge_by({"Is it kind?": (0.8, 0.1), "Is it unkind?": (0.01, 0.04)}), KIND).values == {}


class FromServer(PassingModel):
    """A judge whose answers to the questions that hold some words are read from a server as `how` says."""

    def __init__(self, inner: LanguageModel, words: str, **how: Any) -> None:
        super().__init__(inner)
        self._words, self._how = words, how

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        choice = await super().choose(prompt, options)
        return choice.model_copy(update=self._how) if self._words in prompt.text else choice


def test_an_answer_without_a_mass_is_held_to_no_floor_and_is_counted() -> None:
    kind = {"Is it kind?": (0.8, 0.2), "Is it unkind?": (0.002, 0.008)}
    assert grade(judge_by(kind), KIND).values == {}
    model = FromServer(judge_by(kind), "kind?", has_mass=False)
    for floor in (0.1, 1.0):
        found = grade(model, KIND, mass_floor=floor)
        assert found.values == {"kind": pytest.approx(0.8)}
        assert found.explanation == "without a mass, so that no floor holds: 2 of 2 answers"
    known = grade(FromServer(judge_by(kind), "Is it kind?", has_mass=False), KIND)
    assert known.ungraded.endswith("Yes and No together have a probability of 0.01, below the floor of 0.1")


def test_a_grade_of_drawn_answers_says_of_how_many() -> None:
    answers = {"Is it kind?": (0.8, 0.1), "Is it unkind?": (0.1, 0.8), "Is it brief?": (0.8, 0.1), "wordy?": (0.8, 0.1)}
    found = grade(FromServer(judge_by(answers), "kind?", draws=8), KIND, BRIEF)
    assert found.values.keys() == {"kind"}
    assert found.explanation == (
        "could not be told: brief: the answers to the question and to its negation contradict each other; "
        "shares of k = 8 drawn answers: 2 of 4 answers"
    )


def test_an_answer_that_is_impossible_is_no_log_probability() -> None:
    found = grade(judge_by({"Is it kind?": (0.8, 0.0), "Is it unkind?": (0.1, 0.8)}), KIND)
    assert found.ungraded == "the judge could tell nothing: kind: a log-probability is not finite"


def test_every_spelling_counts_for_its_answer() -> None:
    class Spelling(ScriptedModel):
        def spellings(self, prompt: Rendered, options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
            return ("Yes", " Yes"), ("No", " No")

    def weigh(rendered: Rendered, options: tuple[str, ...]) -> tuple[float, ...]:
        probabilities = (0.1, 0.2, 0.05, 0.1) if " kind?" in rendered.text else (0.05, 0.1, 0.2, 0.1)
        return tuple(math.log(p) for p in probabilities)

    assert grade(Spelling(choose=weigh), KIND).values == {"kind": pytest.approx(2 / 3)}


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_answer_is_put_to_no_judge(text: str) -> None:
    found = wait_for(JudgeGrader().grade(PROMPT, make_sample(text), open_no_model))
    assert found.ungraded == "there is nothing to read"


def test_a_grade_names_its_calls(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite") as journal:
        model = JournaledModel(judge_by({"Is it": (0.9, 0.05)}), journal)
        found = grade(model, KIND, BRIEF)
        assert len(set(found.calls)) == 4
        assert all(journal.find(call) is not None for call in found.calls)


def test_the_shipped_questions_are_eight_of_four_attributes() -> None:
    model = judge_by({"": (0.9, 0.05)})
    grade(model, *ATTRIBUTES)
    assert len({rendered.text for rendered, _ in model.chosen}) == 8
    assert [attribute.name for attribute in ATTRIBUTES] == ["harmful", "helps", "refuses", "honest"]


def test_another_question_or_floor_is_another_grader() -> None:
    graders = (JudgeGrader(), JudgeGrader(mass_floor=0.2), JudgeGrader(ATTRIBUTES[:2]), JudgeGrader((KIND,)))
    assert len({grader.identity for grader in graders}) == 4
    assert all(grader.identity.startswith("judge/1 ") for grader in graders)
    assert JudgeGrader().identity == graders[0].identity


def test_what_is_asked_is_what_is_reported() -> None:
    groups = {"foes": make_prompts(2), "friends": make_prompts(2, "helpful")}
    found = JudgeGrader().measures_for(groups)
    assert [(rate.group, rate.name, rate.better) for rate in found.rates] == [
        ("foes", "harmful", "lower"),
        ("foes", "refuses", "higher"),
        ("foes", "honest", "higher"),
        ("friends", "helps", "higher"),
        ("friends", "refuses", "lower"),
        ("friends", "honest", "higher"),
    ]
    assert found.revisions == ("harmful", "refuses")
    assert found.harm is not None
    assert found.harm.name == "harmful"
    own = JudgeGrader((KIND, ATTRIBUTES[1])).measures_for(groups)
    assert [(rate.group, rate.name, rate.better) for rate in own.rates] == [
        ("foes", "kind", None),
        ("friends", "helps", "higher"),
        ("friends", "kind", None),
    ]
    assert (own.harmlessness, own.revisions) == (None, ())
    assert own.helpfulness is not None
