"""Proves that a thought is kept apart from the response that follows it, and from nothing else."""

import pytest

from solon.lm import ScriptedModel, Thinking, keep_thought_apart, respond
from solon.lm.backends.scripted import Reply
from solon.records import Conversation, Failure, Sample, Sampling
from tests.scripts import make_sample, wait_for

FREE, BEGUN = Thinking("<think>", "</think>"), Thinking("<think>", "</think>", begun=True)


def answer(reply: Reply, thinking: Thinking | None, **options: bool) -> Sample:
    model = ScriptedModel(lambda *_: reply, thinking=thinking)
    return wait_for(respond(model, Conversation.of("q"), Sampling(max_tokens=9), seed=1, **options))


@pytest.mark.parametrize(
    ("text", "thinking", "thought", "response"),
    [
        ("<think>\nWell.\n</think>\n\nSay no. ", FREE, "Well.", "Say no. "),
        ("\n<think>Well.</think>Say no.", FREE, "Well.", "Say no."),
        ("<think>\n\n</think>\n\nSay no.", FREE, "", "Say no."),
        ("<think>a</think>\n<think>b</think>\nc", FREE, "a\n\nb", "c"),
        ("<think>a <think> b</think> c </think> d", FREE, "a <think> b", "c </think> d"),
        ("Well.\n</think>\n\nSay no.", BEGUN, "Well.", "Say no."),
        ("</think>Say no.", BEGUN, "", "Say no."),
        ("<think>\nWell.\n</think>\n\nSay no.", BEGUN, "Well.", "Say no."),  # opened again by the model
    ],
)
def test_a_thought_is_kept_beside_the_response(text: str, thinking: Thinking, thought: str, response: str) -> None:
    said = answer(text, thinking)
    assert (said.thought, said.text, said.fault) == (thought, response, None)
    assert said == answer(text, None).model_copy(update={"text": response, "thought": thought})


@pytest.mark.parametrize("text", [" Say no.", "Say </think> no.", "No <think>\nWell.\n</think>\n\nSay no.", ""])
def test_a_response_without_a_thought_before_it_is_left_as_it_is(text: str) -> None:
    assert answer(text, FREE) == answer(text, None)


@pytest.mark.parametrize("text", ["<think>Well.</think>Say no.", "Well.</think>Say no.", "<think>Well"])
def test_text_of_a_model_without_marks_is_never_cut(text: str) -> None:
    sample = make_sample(text)
    assert keep_thought_apart(sample, None) is sample
    assert keep_thought_apart(sample, Thinking("[THINK]", "[/THINK]")) == sample


@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize(("text", "thinking"), [("<think>Well. And so", FREE), ("Well. And so", BEGUN), ("", BEGUN)])
def test_a_thought_that_never_ends_is_a_response_that_did_not_end(text: str, thinking: Thinking, trim: bool) -> None:
    for reason, said in (("length", "no end of its thought within 9 tokens"), ("end", "the model ended within its")):
        sample = answer((text, reason), thinking, trim=trim)
        assert (sample.text, sample.fault, sample.thought_closed, sample.trimmed) == ("", "truncated", False, False)
        assert sample.thought == text.removeprefix("<think>")
        failure = Failure.of_text(sample, "response", item="i", stage="s")
        assert failure.reason == "truncated_response"
        assert failure.detail.startswith(said)


def test_a_response_that_was_cut_after_its_thought_is_trimmed_without_it() -> None:
    reply = ("<think>First. Second. Thi</think>It is so. And it", "length")
    plain, trimmed = answer(reply, FREE), answer(reply, FREE, trim=True)
    assert (plain.text, plain.fault) == ("It is so. And it", "truncated")
    assert (trimmed.text, trimmed.fault, trimmed.thought) == ("It is so.", None, "First. Second. Thi")
    nothing = answer(("<think>First. Second.</think>And it", "length"), FREE, trim=True)
    assert (nothing.text, nothing.fault) == ("And it", "truncated")


def test_a_thought_and_no_response_is_an_empty_one() -> None:
    sample = answer("<think>Well.</think>\n", FREE)
    assert (sample.text, sample.fault, sample.thought_closed) == ("", "empty", True)


def test_a_record_says_so_only_where_there_was_a_thought() -> None:
    plain = make_sample("x")
    assert "thought" not in plain.to_json()
    for thought, closed in (("Well.", True), ("", True), ("Well.", False)):
        sample = plain.model_copy(update={"thought": thought, "thought_closed": closed})
        assert Sample.from_json(sample.to_json()) == sample
