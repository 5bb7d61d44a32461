"""Proves what keeps a text from being built on, and that its failure says so for people and for the manifests."""

import pytest

from solon.records import Failure, Sampling, StopReason
from tests.scripts import make_sample


@pytest.mark.parametrize(
    ("text", "stop_reason", "fault"),
    [
        ("fine", "end", None),
        ("fine", "stop", None),
        ("", "end", "empty"),
        (" \n", "stop", "empty"),
        ("cut o", "length", "truncated"),
        ("", "length", "truncated"),
    ],
)
def test_a_text_is_at_fault_where_it_was_cut_off_or_says_nothing(
    text: str, stop_reason: StopReason, fault: str | None
) -> None:
    assert make_sample(text, stop_reason=stop_reason).fault == fault


def test_the_failure_of_a_text_says_what_it_should_have_been_and_which_call_wrote_it() -> None:
    cut = make_sample("cut o", stop_reason="length", sampling=Sampling(max_tokens=9)).model_copy(update={"call": "k"})
    assert Failure.of_text(cut, "critique", item="i", stage="s", where="round 2: ") == Failure(
        item="i", stage="s", reason="truncated_critique", detail="round 2: no end within 9 tokens", call="k"
    )
    assert Failure.of_text(make_sample(" "), "response", item="i", stage="s") == Failure(
        item="i", stage="s", reason="empty_response", detail="the model wrote nothing"
    )
