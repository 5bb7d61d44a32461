"""Proves that the tests of thoughts would notice: each wrong version below is caught by one of them."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from solon.evaluation import grading
from solon.lm import thoughts as apart
from solon.lm.backends.local import LocalModel
from solon.nets import thoughts, tokenizer
from solon.pipeline import models
from solon.records import TemplateArgument
from solon.training.batching import RowEncoder
from tests.mutating import assert_killed
from tests.unit.lm import test_thoughts as splitting
from tests.unit.lm.backends import test_local_thoughts as local
from tests.unit.nets import test_thoughts as templates
from tests.unit.pipeline import test_thoughts as runs
from tests.unit.training import test_thoughts as rows

Test = Callable[[Path], Any]


def found(kind: str, told: dict[str, TemplateArgument] | None = None) -> Test:
    """Run what is found of a template, and what is made of its prompts."""
    ((_, _, expected),) = [case for case in templates.CASES if case[:2] == (kind, told or {})]

    def run(folder: Path) -> None:
        for test in (
            templates.test_what_a_template_does_about_thoughts_is_found,
            templates.test_a_model_that_is_asked_to_answer_has_the_prompt_of_its_template,
            templates.test_what_follows_a_prompt_follows_a_closed_thought,
            templates.test_what_is_put_into_a_models_mouth_follows_a_closed_thought,
        ):
            test(kind, told or {}, expected)

    return run


def split(text: str, thinking: apart.Thinking, thought: str, response: str) -> Test:
    return lambda folder: splitting.test_a_thought_is_kept_beside_the_response(text, thinking, thought, response)


def unfinished(folder: Path) -> None:
    splitting.test_a_thought_that_never_ends_is_a_response_that_did_not_end("Well. And so", splitting.BEGUN, True)


def graded(folder: Path) -> None:
    runs.run_lost(folder)
    runs.test_a_thought_that_never_ends_is_graded_as_what_could_not_be_told(folder / "run")


def noted(kind: str, said: list[str]) -> Test:
    return lambda folder: runs.test_a_model_that_may_think_is_named_before_the_run(kind, said, folder)


def spaced() -> None:
    templates.test_a_response_has_the_white_space_that_the_template_puts_after_an_empty_thought()


def counted(folder: Path) -> None:
    local.test_the_tokens_of_a_response_are_those_after_the_thought("Say no.", folder)


FUNCTIONS: dict[str, tuple[Any, str, str, Test]] = {
    "a thought that the template opened is a response": (
        apart.keep_thought_apart,
        "begun or ",
        "",
        split("Well.\n</think>\n\nSay no.", splitting.BEGUN, "Well.", "Say no."),
    ),
    "a mark in a response opens a thought": (
        apart.keep_thought_apart,
        "rest.lstrip().startswith(thinking.opens)",
        "thinking.opens in rest",
        lambda folder: splitting.test_a_response_without_a_thought_before_it_is_left_as_it_is(
            "No <think>\nWell.\n</think>\n\nSay no."
        ),
    ),
    "a thought that never ends is an empty response": (
        apart.keep_thought_apart,
        '"thought_closed": closed',
        '"thought_closed": True',
        unfinished,
    ),
    "a second thought is a response": (
        apart.keep_thought_apart,
        "while closed and (begun or rest.lstrip().startswith(thinking.opens))",
        "if begun or rest.lstrip().startswith(thinking.opens)",
        split("<think>a</think>\n<think>b</think>\nc", splitting.FREE, "a\n\nb", "c"),
    ),
    "white space stands before a response": (
        apart.keep_thought_apart,
        "after.lstrip()",
        "after",
        split("</think>\nSay no.", splitting.BEGUN, "", "Say no."),
    ),
    "a grader is asked about a thought": (grading.grade_response, "sample.thought_closed", "True", graded),
    "what closes a thought opens it": (
        thoughts.find_marks,
        'closes.replace("/", "", 1)',
        "closes",
        lambda folder: templates.test_marks_are_those_that_a_template_names("[/THINK]", ("[THINK]", "[/THINK]")),
    ),
    "a mark that nothing opens": (
        thoughts.find_marks,
        " in written",
        "",
        lambda folder: templates.test_marks_are_those_that_a_template_names("<|end_of_thought|>", None),
    ),
    "a thought that goes on is closed by nothing": (
        thoughts.find_closing,
        "begun[: len(begun) - len(begun.lstrip())]",
        "begun",
        found("opens, and goes on"),
    ),
    "an example that says something else": (
        thoughts.find_closing,
        "example.startswith(asked) and",
        "",
        found("switched on", {"thinking": True}),
    ),
    "a thought that is closed is open": (
        thoughts.ends_in_thought,
        "text.rfind(opens) > text.rfind(closes)",
        "opens in text",
        found("writes empty"),
    ),
    "thoughts that were turned off are open": (
        tokenizer._find_thoughts,
        "or off == pieces",
        "",
        found("switched by a word", templates.OFF),
    ),
    "a name that changes nothing turns thoughts off": (
        tokenizer._find_switch,
        "if on != off",
        "if True",
        found("strips, has records of thoughts"),
    ),
    "what the template writes around an answer is passed over": (
        tokenizer._find_thoughts,
        "[*off[-1:], answered]",
        "off[-1:]",
        found("writes empty around the last"),
    ),
    "options stand inside an open thought": (
        tokenizer.encode_continuations,
        "then=text, after_thought=True",
        "then=text",
        found("opens"),
    ),
    "an open turn begins a thought": (
        tokenizer.begins_thought,
        ' or rendered.turns[-1].role == "assistant"',
        "",
        found("opens"),
    ),
    "a transcript begins a thought": (
        tokenizer.begins_thought,
        'rendered.layout == "transcript" or ',
        "",
        found("opens"),
    ),
    "thoughts that are off are named": (
        models._describe_thoughts,
        ' or thoughts.state == "off"',
        "",
        lambda folder: runs.test_it_is_told_apart_by_role_and_by_what_it_is_told(folder),
    ),
    "a model that is not trained is": (
        models._describe_thoughts,
        "if is_trained and thoughts.closing",
        "if thoughts.closing",
        lambda folder: runs.test_it_is_told_apart_by_role_and_by_what_it_is_told(folder),
    ),
    "rows without an empty thought are said to have one": (
        models._describe_thoughts,
        "is_trained and thoughts.closing",
        "is_trained",
        noted("strips", ["lets it think before it answers", f"learns answers without one: {runs.RAISE}"]),
    ),
}
METHODS: dict[str, tuple[Any, tuple[Any, str, str, Test]]] = {
    "an open turn stands where a thought would begin": (
        tokenizer._Encoder,
        (tokenizer._Encoder._close_thought, "if before and not", "if False and not", found("opens")),
    ),
    "an open turn stands after two thoughts": (
        tokenizer._Encoder,
        (
            tokenizer._Encoder._close_thought,
            "begun = asked if",
            "begun = begun + asked if",
            found("switched, in the prompt only", templates.OFF),
        ),
    ),
    "the closed thought is between prompt and answer": (
        tokenizer._Encoder,
        (tokenizer._Encoder.lead, " + asked.closing", "", lambda folder: spaced()),
    ),
    "training samples inside an open thought": (
        RowEncoder,
        (
            RowEncoder.prompt,
            ", after_thought=True",
            "",
            lambda folder: rows.test_a_row_holds_the_response_after_an_empty_thought("opens", {}, rows.EMPTY, folder),
        ),
    ),
    "the tokens of a thought are learnt": (
        LocalModel,
        (LocalModel._keep_thought_apart, "count if", "0 if", counted),
    ),
}


def in_folders(test: Test, tmp_path: Path) -> Callable[[], Any]:
    """Give every call a folder of its own."""
    runs_so_far = count()

    def run() -> Any:
        folder = tmp_path / str(next(runs_so_far))
        folder.mkdir()
        return test(folder)

    return run


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_mutant_function_is_killed(name: str, tmp_path: Path) -> None:
    function, old, new, test = FUNCTIONS[name]
    assert_killed(function, old, new, in_folders(test, tmp_path))


@pytest.mark.parametrize("name", list(METHODS))
def test_mutant_method_is_killed(name: str, tmp_path: Path) -> None:
    owner, (function, old, new, test) = METHODS[name]
    assert_killed(function, old, new, in_folders(test, tmp_path), owner)
