"""Proves that whatever a server answers is read without a crash: a call has a result that can be, or it has failed."""

import asyncio
import json
import math
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solon.errors import CallFailedError, ModelError, ServerRefusedError
from solon.lm.server import reading
from solon.records import Choice, Sample, Sampling
from tests.servers.dialects import (
    LlamaCpp,
    LlamaCppPython,
    OpenAI,
    Sglang,
    Silent,
    TransformersServe,
    Vllm,
)
from tests.unit.lm.server.serving import OPTIONS, chat, connect

NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([10**400, -9999.0, -3.4028234663852886e38, True, 0, -0.0, 1e-320])
)
LEAVES = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.text(max_size=4), st.sampled_from(["A", "B", "\ud83d", "token_id:4"])
)
NAMES = st.sampled_from(
    """
    choices logprobs content top_logprobs tokens token_logprobs message text finish_reason usage prompt_tokens meta_info
    output_token_logprobs output_token_ids_logprobs completion_probabilities id token logprob answers answer
    probabilities data score scores error detail token_ids completion_tokens diagnostics label_mass stop_reason refusal
    type value
    """.split()  # noqa: SIM905
)
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)

KINDS = {
    "vllm by ids": (Vllm, {}, True),
    "vllm allowed": (Vllm, {"fields": ("allowed_token_ids", "return_tokens_as_token_ids")}, True),
    "vllm top": (Vllm, {"fields": ("return_tokens_as_token_ids",)}, True),
    "vllm scoring": (Vllm, {"fields": (), "scores": True}, True),
    "vllm chat": (Vllm, {}, False),
    "sglang": (Sglang, {}, True),
    "sglang score": (Sglang, {"down": ("/generate",)}, True),
    "llama.cpp": (LlamaCpp, {}, True),
    "llama.cpp chat": (LlamaCpp, {}, False),
    "llama-cpp-python": (LlamaCppPython, {}, False),
    "openai": (OpenAI, {}, False),
    "decisions": (OpenAI, {"decides": True}, False),
    "systemone": (TransformersServe, {}, False),
    "votes": (Silent, {}, False),
}
CONNECTED = {}


def connected(name):
    """Return a server and the model behind it, connected once."""
    if name not in CONNECTED:
        kind, more, ids = KINDS[name]
        server = kind(**more)
        CONNECTED[name] = server, connect(server, ids=ids, votes=3)
    server, model = CONNECTED[name]
    server.asked.clear()
    server.twist = None
    return server, model


def places(value, path=()):
    """Yield the path of every part of a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*path, key))


def put(value, path, new):
    """Return a JSON value with another part at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(copy[path[0]], path[1:], new)
    return copy


def check(call):
    """Hold what comes of a call against what may."""
    try:
        found = asyncio.run(call)
    except CallFailedError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return None
    if isinstance(found, Choice):
        assert all(math.isfinite(value) and value <= 0.0 for value in found.logprobs)
        assert math.fsum(map(math.exp, found.logprobs)) <= 1.0 + 2e-3
        assert found.prompt_tokens >= 0
    else:
        assert found.prompt_tokens >= 0
        assert found.generated_tokens <= 5
        assert found.token_ids is None or found.logprobs is None or len(found.token_ids) == len(found.logprobs)
    kind = type(found)
    assert kind.from_json(found.to_json()) == found  # a record that a file can hold
    return found


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=30)
@given(body=ANYTHING)
def test_no_answer_of_any_kind_breaks_a_call(name, body):
    server, model = connected(name)
    server.twist = lambda path, request, answer: body
    assert not isinstance(check(model.choose(chat(), OPTIONS)), Sample)
    check(model.generate(chat(), Sampling(max_tokens=5), seed=1))


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=30)
@given(data=st.data())
def test_no_change_of_a_true_answer_breaks_a_call(name, data):
    server, model = connected(name)

    def twist(path, request, answer):
        where = data.draw(st.sampled_from(list(places(answer))))
        return put(answer, where, data.draw(ANYTHING))

    server.twist = twist
    check(model.choose(chat(), OPTIONS))
    check(model.generate(chat(), Sampling(max_tokens=5), seed=1))


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=30)
@given(body=ANYTHING)
def test_garbage_is_no_label(name, body):
    # Every part that could be a label's holds words; nothing that a server says in words is a number.
    server, model = connected(name)
    server.twist = lambda path, request, answer: without_numbers(body)
    with pytest.raises(CallFailedError):
        asyncio.run(model.choose(chat(), OPTIONS))


def without_numbers(value):
    if isinstance(value, dict):
        return {key: without_numbers(inner) for key, inner in value.items() if key not in ("text", "content")}
    if isinstance(value, list):
        return [without_numbers(inner) for inner in value]
    return str(value)[:20] if isinstance(value, int | float) else value


@settings(max_examples=30)
@given(bodies=st.lists(ANYTHING, min_size=1, max_size=4), after=st.integers(0, 6))
def test_no_answer_breaks_a_connection(bodies, after):
    count = iter(range(1000))

    def twist(path, request, answer):
        number = next(count)
        return answer if number < after else bodies[number % len(bodies)]

    for kind, more, ids in KINDS.values():
        with suppress(ModelError, ServerRefusedError):
            model = connect(kind(twist=twist, **more), ids=ids)
            assert json.loads(model.findings.to_json())


@given(value=ANYTHING, path=st.lists(st.one_of(NAMES, st.integers(-2, 3)), max_size=4))
def test_looking_into_anything_finds_something_or_nothing(value, path):
    found = reading.pick(value, *path)
    for look in (reading.as_list, reading.as_mapping, reading.as_text, reading.as_number, reading.as_count):
        look(found)
    number = reading.as_number(found)
    assert number is None or math.isfinite(number)
    logprob = reading.as_logprob(found)
    assert logprob is None or logprob > -9000.0
    text = reading.as_text(found)
    assert text is None or isinstance(text.encode(), bytes)
    said = reading.find_error(found)
    assert said is None or "\n" not in said
