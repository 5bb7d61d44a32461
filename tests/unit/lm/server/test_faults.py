"""Proves how a wait is read from headers, and that any answer at all is read as an answer or a fault."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.lm.server.faults import Answer, Fault, read_answer, read_wait

NOW = datetime(2026, 11, 26, 7, 28, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after-ms": "2210", "retry-after": "3"}, 2.21),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan", "retry-after-ms": "nan"}, None),
        ({"retry-after": "6m0s"}, None),
        ({"retry-after": "Thu, 26 Nov 2026 07:29:30 GMT"}, 90.0),
        ({"retry-after": "Thu, 26 Nov 2026 08:29:30 +0100"}, 90.0),
        ({"retry-after": "Thu, 26 Nov 2026 07:29:30 -0000"}, 90.0),
        ({"retry-after": "Thu, 26 Nov 2026 07:00:00 GMT"}, 0.0),
        ({"retry-after": "Thu, 99 Nov 2026 07:00:00 GMT"}, None),
    ],
)
def test_a_wait_is_read_in_each_form(headers, seconds):
    assert read_wait(headers, NOW) == (None if seconds is None else pytest.approx(seconds))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "code", "type", "usage", "object", "loc", "prompt_tokens"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(st.integers(200, 599), values, st.sampled_from(["", "true", "false", "x"]))
def test_whatever_is_answered_is_an_answer_or_a_fault_of_one_line(status, body, advice):
    found = read_answer(status, {"x-should-retry": advice, "retry-after": "1"}, json.dumps(body).encode())
    if isinstance(found, Answer):
        assert 200 <= status < 300
        assert found.body == body
    else:
        assert isinstance(found, Fault)
        assert "\n" not in str(found)
        assert found.may_retry is not found.is_final or advice == "false"


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        ({"usage": {"prompt_tokens": 9, "completion_tokens": 1}}, (9, 1)),
        ({"usage": {"input_tokens": 210, "output_tokens": 0}}, (210, 0)),
        ({"tokens_evaluated": 5, "tokens_predicted": 2}, (5, 2)),
        ({"meta_info": {"prompt_tokens": 4, "completion_tokens": 3}}, (4, 3)),
        ({"usage": {"prompt_tokens": None, "completion_tokens": "1"}}, (None, None)),
        ({"usage": None}, (None, None)),
        ([1], (None, None)),
    ],
)
def test_tokens_are_those_the_server_tells_of(body, counts):
    found = read_answer(200, {}, json.dumps(body).encode())
    assert (found.prompt_tokens, found.generated_tokens) == counts
