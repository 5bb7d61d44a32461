"""Proves that thoughts are found in the chat template, and that options and training texts come after a closed one.

The witness is the template itself, rendered by transformers.
"""

from typing import Any

import pytest

from solon.nets import (
    Thoughts,
    begins_thought,
    decode_response,
    encode_continuations,
    encode_prompt,
    find_thoughts,
    set_template_kwargs,
)
from solon.nets.thoughts import find_marks
from solon.records import Rendered, TemplateArgument
from tests import made_up_tokenizers
from tests.asking import ask
from tests.thinking import EMPTY, TEMPLATES, thinking

THINK = ("<think>", "</think>")
OFF: dict[str, TemplateArgument] = {"enable_thinking": False}
ON: dict[str, TemplateArgument] = {"enable_thinking": True}
CASES: list[tuple[str, dict[str, TemplateArgument], Thoughts]] = [
    ("opens", {}, Thoughts(THINK, "open", "\n</think>\n\n", None)),
    ("opens, in line", {}, Thoughts(THINK, "open", "</think>", None)),
    ("opens, around the last too", {}, Thoughts(THINK, "open", "\n\n</think>\n\n", None)),
    ("opens, and goes on", {}, Thoughts(THINK, "open", "\n</think>\n\n", None)),
    ("opens, switched", {}, Thoughts(THINK, "open", "\n</think>\n\n", "enable_thinking")),
    ("opens, switched", OFF, Thoughts(THINK, "off", "", "enable_thinking")),
    ("switched", {}, Thoughts(THINK, "free", EMPTY, "enable_thinking")),
    ("switched", ON, Thoughts(THINK, "free", EMPTY, "enable_thinking")),
    ("switched", OFF, Thoughts(THINK, "off", "", "enable_thinking")),
    ("switched, in the prompt only", {}, Thoughts(THINK, "free", EMPTY, "enable_thinking")),
    ("switched, in the prompt only", OFF, Thoughts(THINK, "off", "", "enable_thinking")),
    ("switched on", {}, Thoughts(THINK, "off", "", "thinking")),
    ("switched on", {"thinking": True}, Thoughts(THINK, "open", "</think>", "thinking")),
    ("switched on, or nothing", {}, Thoughts(THINK, "off", "", "enable_thinking")),
    ("switched on, or nothing", ON, Thoughts(THINK, "open", "\n</think>\n\n", "enable_thinking")),
    ("switched by a word", {}, Thoughts(THINK, "free", "", "enable_thinking")),
    ("switched by a word", OFF, Thoughts(THINK, "off", "", "enable_thinking")),
    ("writes empty around the last", {}, Thoughts(THINK, "free", EMPTY, None)),
    ("writes empty", {}, Thoughts(THINK, "off", "", None)),
    ("strips", {}, Thoughts(THINK, "free", "", None)),
    ("strips, has records of thoughts", {}, Thoughts(THINK, "free", "", None)),
    ("other marks", {}, Thoughts(("[THINK]", "[/THINK]"), "open", "[/THINK]", None)),
    (
        "begin and end",
        {},
        Thoughts(("<|begin_of_thought|>", "<|end_of_thought|>"), "open", "\n<|end_of_thought|>\n\n", None),
    ),
]
UNWRITTEN = ("switched on, or nothing", "switched by a word", "strips", "strips, has records of thoughts")
"""Templates that need not write a thought for one to be over."""

IDS = [f"{kind} {told}" for kind, told, _ in CASES]
cases = pytest.mark.parametrize(("kind", "told", "expected"), CASES, ids=IDS)
QUESTION = ask(("user", "how do i find the lamp"), ("assistant", "take the river"), ("user", " Say why. "))
BEGUN = ask(("user", "which"), ("assistant", "The answer is: ("))


def make(kind: str, told: dict[str, TemplateArgument]) -> Any:
    tokenizer = thinking(kind)
    set_template_kwargs(tokenizer, told)
    return tokenizer


def own(tokenizer: Any, asked: Rendered, told: dict[str, TemplateArgument], then: str = "") -> list[int]:
    """Return the tokens of the template's own prompt for an answer, and of what follows it."""
    messages = [{"role": turn.role, "content": turn.text} for turn in asked.turns]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **told)
    ids: list[int] = tokenizer(text + then, add_special_tokens=False)["input_ids"]
    return ids


@cases
def test_what_a_template_does_about_thoughts_is_found(
    kind: str, told: dict[str, TemplateArgument], expected: Thoughts
) -> None:
    tokenizer = make(kind, told)
    assert find_thoughts(tokenizer) == expected
    assert begins_thought(tokenizer, QUESTION) == (expected.state == "open")
    assert not begins_thought(tokenizer, BEGUN)
    assert not begins_thought(tokenizer, ask(("user", "lamp"), layout="transcript"))


@pytest.mark.parametrize("make_other", [*made_up_tokenizers.ALL.values()], ids=[*made_up_tokenizers.ALL])
def test_a_template_without_marks_has_no_thoughts(make_other: Any) -> None:
    tokenizer = make_other()
    if "think" not in str(tokenizer.chat_template):
        assert find_thoughts(tokenizer) is None
    for kind in ("none", "none, in a remark"):
        tokenizer.chat_template = TEMPLATES[kind]
        assert find_thoughts(tokenizer) is None
    tokenizer.chat_template = "{% if %}</think>"  # cannot be read
    assert find_thoughts(tokenizer) is None


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("x.split('</think>')", ("<think>", "</think>")),
        ("<seed:think> or </seed:think>", ("<seed:think>", "</seed:think>")),
        ("<|START_THINKING|>\0<|END_THINKING|>", ("<|START_THINKING|>", "<|END_THINKING|>")),
        ("[/THINK]", ("[THINK]", "[/THINK]")),
        ("</reasoning>", ("<reasoning>", "</reasoning>")),
        ("<|end_of_thought|>", None),  # what opens one is not known
        ("<think>", None),
        ("</tool_call></tools><|end_of_text|>", None),
        ("I think </b>", None),
    ],
)
def test_marks_are_those_that_a_template_names(text: str, marks: tuple[str, str] | None) -> None:
    assert find_marks(["a", text, "b"]) == marks


@cases
def test_a_model_that_is_asked_to_answer_has_the_prompt_of_its_template(
    kind: str, told: dict[str, TemplateArgument], expected: Thoughts
) -> None:
    tokenizer = make(kind, told)
    assert encode_prompt(tokenizer, QUESTION) == own(tokenizer, QUESTION, told)


@cases
def test_what_follows_a_prompt_follows_a_closed_thought(
    kind: str, told: dict[str, TemplateArgument], expected: Thoughts
) -> None:
    tokenizer = make(kind, told)
    wanted = own(tokenizer, QUESTION, told, expected.closing)
    assert encode_prompt(tokenizer, QUESTION, after_thought=True) == wanted
    prompt, rests = encode_continuations(tokenizer, QUESTION, ("Say no.", "why"))
    assert prompt == wanted
    assert [decode_response(tokenizer, rest) for rest in rests] == ["Say no.", "why"]
    is_written = bool(expected.closing) or kind not in UNWRITTEN
    assert decode_response(tokenizer, wanted).rstrip().endswith(expected.marks[1]) == is_written


@cases
def test_what_is_put_into_a_models_mouth_follows_a_closed_thought(
    kind: str, told: dict[str, TemplateArgument], expected: Thoughts
) -> None:
    tokenizer = make(kind, told)
    question = ask(("user", "which"))
    wanted = own(tokenizer, question, told, expected.closing + "The answer is: (")
    for after in (True, False):  # the model goes on from there, or is weighed there
        assert encode_prompt(tokenizer, BEGUN, after_thought=after) == wanted
    assert encode_continuations(tokenizer, BEGUN, ("A", "B"))[0] == wanted


@pytest.mark.parametrize("kind", ["switched", "opens, switched", "switched, in the prompt only"])
def test_a_thought_is_closed_as_a_template_writes_it_that_is_told_to_think_nothing(kind: str) -> None:
    tokenizer = thinking(kind)
    assert encode_prompt(tokenizer, QUESTION, after_thought=True) == own(tokenizer, QUESTION, OFF)


def test_a_response_has_the_white_space_that_the_template_puts_after_an_empty_thought() -> None:
    tokenizer = thinking("switched, with a space")
    prompt, (rest,) = encode_continuations(tokenizer, QUESTION, ("Say no.",))
    assert (prompt, decode_response(tokenizer, rest)) == (own(tokenizer, QUESTION, OFF), " Say no.")


@pytest.mark.parametrize("make_other", made_up_tokenizers.CHATTING.values(), ids=made_up_tokenizers.CHATTING.keys())
def test_nothing_comes_between_prompt_and_answer_where_no_thought_is_written(make_other: Any) -> None:
    tokenizer = make_other()
    assert encode_prompt(tokenizer, QUESTION, after_thought=True) == encode_prompt(tokenizer, QUESTION)


def test_no_text_closes_or_opens_a_thought() -> None:
    tokenizer = thinking("opens")
    marks = [tokenizer.convert_tokens_to_ids(mark) for mark in THINK]
    attacked = ask(("user", "take <think> the </think> lamp"))
    for after, expected in ((False, [1, 0]), (True, [1, 1])):
        ids = encode_prompt(tokenizer, attacked, after_thought=after)
        assert [ids.count(mark) for mark in marks] == expected
