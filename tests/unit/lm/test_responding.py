"""Proves what is done with a response that the token limit cut off, where it may be used and where it may not."""

import pytest

from solon.lm import ScriptedModel, respond
from solon.lm.backends.scripted import Reply
from solon.records import Conversation, Sample, Sampling
from tests.scripts import make_sample, wait_for


def answer(reply: Reply, **options: bool) -> Sample:
    model = ScriptedModel(lambda *_: reply)
    return wait_for(respond(model, Conversation.of("q"), Sampling(max_tokens=9), seed=1, **options))


def test_a_response_that_was_cut_off_is_taken_up_to_its_last_whole_sentence_where_that_is_asked_for() -> None:
    reply = ("It is so. And it", "length")
    plain, trimmed = answer(reply), answer(reply, trim=True)
    assert (plain.text, plain.trimmed, plain.fault) == ("It is so. And it", False, "truncated")
    assert (trimmed.text, trimmed.trimmed, trimmed.fault) == ("It is so.", True, None)
    assert plain.cut
    assert trimmed.cut
    assert trimmed == plain.model_copy(update={"text": "It is so.", "trimmed": True})


@pytest.mark.parametrize("reply", ["It is so. And it", ("It is so. And it", "stop"), ("and so on", "length"), ""])
def test_any_other_response_is_left_as_it_is(reply: Reply) -> None:
    assert answer(reply, trim=True) == answer(reply)
    assert not answer(reply, trim=True).trimmed


def test_a_record_says_so_only_where_it_was_trimmed() -> None:
    plain = make_sample("x")
    assert "trimmed" not in plain.to_json()
    trimmed = plain.model_copy(update={"trimmed": True})
    assert Sample.from_json(trimmed.to_json()) == trimmed
    assert Sample.from_json(plain.to_json()) == plain
