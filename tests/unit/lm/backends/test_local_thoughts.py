"""Proves that a checkpoint that thinks answers without its thought, and weighs options after a closed one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.inference import Generated
from solon.lm import respond
from solon.lm.backends.local import LocalModel
from solon.nets import decode_response, load_policy, load_tokenizer, set_template_kwargs
from solon.prompting import render_question, render_response
from solon.records import Conversation, Rendered, Sampling, TemplateArgument
from tests.alone import logprobs_alone
from tests.asking import ask
from tests.plain_sampler import PlainSampler
from tests.scripts import make_constitution, wait_for
from tests.thinking import EMPTY, build_thinking_policy, thinking
from tests.tolerances import FLOAT32_SAME

ASKED = Conversation.of("how do i find the lamp")
SAMPLING = Sampling(max_tokens=40)
OFF: dict[str, TemplateArgument] = {"enable_thinking": False}


class Writer(PlainSampler):
    """Writes one text, its marks as tokens."""

    text = ""

    def sample(
        self, prompts: Sequence[list[int]], sampling: Sampling, seeds: Sequence[int], *, stop: Sequence[str] = ()
    ) -> list[Generated]:
        ids = self._tokenizer(self.text, add_special_tokens=False)["input_ids"]
        ids = [*ids, self._tokenizer.convert_tokens_to_ids("<|im_end|>")][: sampling.max_tokens]
        reason: Any = "end" if len(ids) < sampling.max_tokens else "length"
        return [Generated(ids, [-1.0] * len(ids), reason) for _ in prompts]


def model_of(kind: str, tmp_path: Path, text: str = "", told: dict[str, TemplateArgument] | None = None) -> LocalModel:
    folder = build_thinking_policy(tmp_path / kind.replace(" ", "-"), kind)
    writer = type("Says", (Writer,), {"text": text})
    return LocalModel(folder, load_tokenizer(folder, told), make_sampler=writer)


@pytest.mark.parametrize(
    ("kind", "told", "text", "thought", "response"),
    [
        ("opens", {}, "Well.\n</think>\n\nSay no.", "Well.", "Say no."),
        ("opens, switched", {}, "Well.\n</think>\n\nSay no.", "Well.", "Say no."),
        ("other marks", {}, "Well.[/THINK]Say no.", "Well.", "Say no."),
        ("switched", {}, "<think>\nWell.\n</think>\n\nSay no.", "Well.", "Say no."),
        ("strips", {}, "<think>\nWell.\n</think>\n\nSay no.", "Well.", "Say no."),
        ("switched", OFF, "Say no.", None, "Say no."),
        ("opens, switched", OFF, "Say </think> no.", None, "Say </think> no."),
        ("none", {}, "<think>\nWell.\n</think>\n\nSay no.", None, "<think>\nWell.\n</think>\n\nSay no."),
        ("none", {}, "Well.\n</think>\n\nSay no.", None, "Well.\n</think>\n\nSay no."),
    ],
)
def test_an_answer_is_what_follows_the_thought(
    kind: str, told: dict[str, TemplateArgument], text: str, thought: str | None, response: str, tmp_path: Path
) -> None:
    model = model_of(kind, tmp_path, text, told)
    sample = wait_for(respond(model, ASKED, SAMPLING, seed=1))
    assert (sample.text, sample.thought, sample.stop_reason) == (response, thought, "end")
    assert sample.tokens is not None
    assert sample.token_ids is not None
    assert decode_response(thinking(kind), list(sample.token_ids[:-1])) == text  # all that was sampled is on record
    assert decode_response(thinking(kind), list(sample.tokens.ids)) == response


@pytest.mark.parametrize("thought", ["Say no.", "Say no.</think>Say no.", "", "日本語🙂"])
def test_the_tokens_of_a_response_are_those_after_the_thought(thought: str, tmp_path: Path) -> None:
    text = f"{thought}\n</think>\n \n"
    sample = wait_for(respond(model_of("opens", tmp_path, text + "Say no."), ASKED, SAMPLING, seed=1))
    expected = thinking("opens")(text, add_special_tokens=False)["input_ids"]
    if thought.count("</think>"):  # ends at the first mark
        expected = thinking("opens")("Say no.</think>", add_special_tokens=False)["input_ids"]
    assert sample.thought_tokens == len(expected)


def test_where_a_token_reaches_over_the_end_of_the_thought_no_tokens_are_said_to_be_the_thoughts(
    tmp_path: Path,
) -> None:
    sample = wait_for(respond(model_of("opens", tmp_path, "</think> the lamp"), ASKED, SAMPLING, seed=1))
    assert (sample.text, sample.thought, sample.thought_tokens) == ("the lamp", "", 0)


def test_what_goes_on_from_a_begun_turn_is_no_thought(tmp_path: Path) -> None:
    model = model_of("opens", tmp_path, "B is worse </think> so")
    begun = ask(("user", "which"), ("assistant", "Let's think step by step:\n"))
    assert wait_for(model.generate(begun, SAMPLING, seed=1)).text == "B is worse </think> so"


def test_a_thought_that_reaches_the_limit_leaves_no_response(tmp_path: Path) -> None:
    model = model_of("opens", tmp_path, "Say no. Say why. " * 20)
    sample = wait_for(respond(model, ASKED, SAMPLING, seed=1, trim=True))
    assert (sample.text, sample.fault, sample.thought_closed) == ("", "truncated", False)


@pytest.mark.parametrize(
    ("kind", "told", "written"),
    [
        ("opens", {}, EMPTY),
        ("opens, in line", {}, "<think></think>"),
        ("switched", {}, EMPTY),
        ("switched", OFF, EMPTY),
        ("strips", {}, ""),
        ("none", {}, ""),
    ],
)
@pytest.mark.parametrize("begun", ["", "The answer is: ("])
def test_options_are_weighed_after_a_closed_thought(
    kind: str, told: dict[str, TemplateArgument], written: str, begun: str, tmp_path: Path
) -> None:
    """The witness reads the whole text, written by hand."""
    model = model_of(kind, tmp_path, told=told)
    folder = tmp_path / kind.replace(" ", "-")
    policy, tokenizer = load_policy(folder), thinking(kind)
    prompt = ask(("user", "which"), *([("assistant", begun)] if begun else []))
    choice = wait_for(model.choose(prompt, ("A", "B")))
    text = f"<|im_start|>user\nwhich<|im_end|>\n<|im_start|>assistant\n{written}{begun}"
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert choice.prompt_tokens == len(before)
    for option, logprob in zip(("A", "B"), choice.logprobs, strict=True):
        whole = tokenizer(text + option, add_special_tokens=False)["input_ids"]
        alone = logprobs_alone(policy, whole)[len(before) - 1 :].sum()
        torch.testing.assert_close(torch.tensor(logprob), alone.float(), rtol=0, atol=FLOAT32_SAME)


def test_spellings_are_told_apart_after_a_closed_thought(tmp_path: Path) -> None:
    model = model_of("opens", tmp_path)
    (principle, *_) = make_constitution().principles
    question: Rendered = render_question(
        ASKED, "Say no.", principle.model_copy(update={"question": "Is it?", "better": "yes"})
    )
    spelled = model.spellings(question, ("Yes", "No"))
    assert [texts[0] for texts in spelled] == ["Yes", "No"]
    weighed = wait_for(model.choose(question, tuple(text for texts in spelled for text in texts)))
    assert weighed.mass > 0


def test_a_model_that_thinks_has_an_identity_of_its_own(tmp_path: Path) -> None:
    """What it said when its thoughts were no affair of this package is in no journal under its name."""
    assert model_of("opens", tmp_path).identity.endswith(":thoughts apart")
    assert ":" not in model_of("none", tmp_path).identity


def test_a_prompt_for_an_answer_is_left_as_the_template_writes_it(tmp_path: Path) -> None:
    tokenizer: Any = thinking("opens, switched")
    model = model_of("opens, switched", tmp_path, "</think>Say no.")
    sample = wait_for(respond(model, ASKED, SAMPLING, seed=1))
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": render_response(ASKED).turns[0].text}], tokenize=False, add_generation_prompt=True
    )
    assert text.endswith("<think>\n")
    assert sample.prompt_tokens == len(tokenizer(text, add_special_tokens=False)["input_ids"])
    set_template_kwargs(tokenizer, OFF)
