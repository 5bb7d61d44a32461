"""Proves that a server whose log-probabilities cannot be is found out at connect and refused for labels with what
failed, while it may still write; and that one which lies later leaves calls without a result, never a label.
"""

import asyncio
import math

import pytest

from solon.errors import CallFailedError, ModelError
from solon.records import Sampling
from tests.servers.dialects import (
    ID,
    LlamaCpp,
    LlamaCppPython,
    Model,
    Server,
    Sglang,
    TransformersServe,
    Vllm,
)
from tests.unit.lm.server.serving import OPTIONS, chat, connect

OLDER = ("allowed_token_ids", "return_tokens_as_token_ids")
READ = [
    (Vllm, {}, True),
    (Vllm, {"fields": OLDER[1:]}, True),
    (Vllm, {}, False),
    (Sglang, {}, True),
    (LlamaCpp, {}, True),
    (LlamaCpp, {}, False),
    (LlamaCppPython, {}, False),
    (Server, {}, False),
]
"""Servers whose token at temperature 0 is known beside its log-probability."""


def refused(server, *, ids, **settings):
    """Return why a server is refused for labels; it writes all the same."""
    model = connect(server, ids=ids, **settings)
    assert model.findings.dialect == ""
    with pytest.raises(ModelError, match="no labels are read from this server") as error:
        asyncio.run(model.choose(chat(), OPTIONS))
    assert type(error.value) is ModelError
    assert model.findings.fault in str(error.value)
    assert asyncio.run(model.generate(chat(), Sampling(max_tokens=4), seed=1)).text
    return model.findings.fault


def lie(kind, **more):
    """Return a server of a kind whose reported log-probabilities are something else, as `change` makes them."""
    change = more.pop("change")

    class Liar(kind):
        def logprobs_of(self, body, ids):
            logprobs, sampled = super().logprobs_of(body, ids)
            return change(self, ids, logprobs, sampled), sampled

        def draw(self, body, ids):
            written, reason = super().draw(body, ids)
            return written, reason

    return Liar(**more)


@pytest.mark.parametrize(("kind", "more", "ids"), READ)
def test_log_probabilities_of_the_next_position_are_found_out(kind, more, ids):
    def shifted(server, ids, logprobs, sampled):
        return server.model.logprobs([*ids, sampled])

    fault = refused(lie(kind, change=shifted, **more), ids=ids)
    assert "is not the likeliest by its own log-probabilities" in fault


@pytest.mark.parametrize(("kind", "more", "ids"), READ)
def test_probabilities_that_add_up_to_more_than_one_are_found_out(kind, more, ids):
    fault = refused(lie(kind, change=lambda s, i, values, t: [value / 3 for value in values], **more), ids=ids)
    assert "add up to" in fault


@pytest.mark.parametrize(("kind", "more", "ids"), READ)
def test_logits_in_their_place_are_found_out(kind, more, ids):
    fault = refused(lie(kind, change=lambda s, i, values, t: [value + 9 for value in values], **more), ids=ids)
    assert "above 0" in fault


@pytest.mark.parametrize(("kind", "more", "ids"), READ)
def test_equal_log_probabilities_are_found_out(kind, more, ids):
    fault = refused(lie(kind, change=lambda s, i, values, t: [-4.6] * len(values), **more), ids=ids)
    assert fault.endswith("the log-probabilities are all equal")


@pytest.mark.parametrize(("kind", "more", "ids"), READ)
def test_log_probabilities_that_no_prompt_changes_are_found_out(kind, more, ids):
    def constant(server, ids, logprobs, sampled):
        others = server.model.logprobs([])
        best = others.index(max(others))
        others[best], others[sampled] = others[sampled], others[best]
        return others

    server = lie(kind, change=constant, **more)
    server.model.likely = {"A": 9.0, "B": 5.0}
    assert refused(server, ids=ids).endswith("the same after two different prompts")


def test_a_scoring_route_is_held_to_the_same(monkeypatch):
    server = Vllm(fields=(), scores=True)
    monkeypatch.setattr(
        server, "score", lambda body: {"data": [{"score": 0.7}], "usage": {"prompt_tokens": len(body["query"]) + 1}}
    )
    assert "add up to 1.4" in refused(server, ids=True)


def test_log_probabilities_that_do_not_come_are_passed_over_and_not_believed():
    # Fields that are ignored: the answers are in texts, and it is by these that labels are read.
    assert connect(Vllm(fields=()), ids=True).findings.dialect == "completions top_logprobs"
    # Log-probabilities that are ignored: the answer has none.
    assert connect(TransformersServe(), ids=True).findings.dialect == "systemone"


def test_tokens_that_were_asked_for_and_come_only_sometimes_are_not_relied_on():
    seen = []

    def twist(path, request, answer):
        if request.get("logprob_token_ids"):
            seen.append(request["prompt"])
            if len(seen) == 2:
                answer["choices"][0]["logprobs"]["top_logprobs"][0].pop(f"token_id:{ID['B']}", None)
                answer["choices"][0]["logprobs"]["tokens"] = [f"token_id:{ID['A']}"]
        return answer

    table = Model(table={"comes last": {"A": 0.6, "B": 0.2}, "comes first": {"A": 0.5, "B": 0.3}})
    assert connect(Vllm(table, twist=twist), ids=True).findings.dialect == "completions allowed_token_ids"
    assert len(seen) == 2


def test_options_that_are_not_among_the_likeliest_are_no_reason_to_draw():
    fault = refused(Server(Model({"A": -9.0, "B": -9.0, " A": -9.0, "a": -9.0, " B": -9.0, " a": -9.0})), ids=False)
    assert fault == "chat top_logprobs: A and B are not both among the likeliest tokens"


def test_an_answer_that_chooses_against_its_own_probabilities_is_not_read():
    def twist(path, request, answer):
        if path == "systemone":
            (found,) = answer["answers"].values()
            found["choice"] = next(option for option in OPTIONS if option != found["choice"])
        return answer

    assert connect(TransformersServe(twist=twist)).findings.dialect == "votes"


# ----------------------------------------------------------------------------------- after the probe


@pytest.mark.parametrize("ids", [True, False])
def test_a_server_that_begins_to_lie_leaves_no_label(ids):
    change = {}

    def twist(path, request, answer):
        logprobs = answer["choices"][0].get("logprobs") if change else None
        for top in (logprobs or {}).get("top_logprobs", ()):
            top.update(dict.fromkeys(top, -0.1))
        for position in (logprobs or {}).get("content", ()):
            for item in position["top_logprobs"]:
                item["logprob"] = -0.1
        return answer

    model = connect(Vllm(twist=twist), ids=ids)
    change["now"] = True
    with pytest.raises(CallFailedError, match="add up to"):
        asyncio.run(model.choose(chat(), OPTIONS))


@pytest.mark.parametrize(
    ("server", "field"),
    [
        (lambda: Vllm(), "usage"),
        (lambda: Sglang(), "meta_info"),
        (lambda: LlamaCpp(), "tokens_evaluated"),
        (lambda: Sglang(down=("/generate",)), "usage"),
        (lambda: Vllm(fields=(), scores=True), "usage"),
    ],
)
def test_a_prompt_that_was_cut_is_seen_by_its_length(server, field):
    cut = {}
    server = server()

    def twist(path, request, answer):
        if cut:
            for part in (answer, answer.get("usage"), answer.get("meta_info")):
                for name in ("prompt_tokens", "tokens_evaluated"):
                    if part and name in part:
                        part[name] -= 1
        return answer

    server.twist = twist
    model = connect(server, ids=True)
    cut["now"] = True
    with pytest.raises(CallFailedError, match="the server read 45 tokens where 46 were sent"):
        asyncio.run(model.choose(chat(), OPTIONS))


def test_a_prompt_that_llama_cpp_says_it_cut_has_no_label():
    server = LlamaCpp()
    model = connect(server, ids=True)
    server.twist = lambda path, request, answer: {**answer, "truncated": True}
    with pytest.raises(CallFailedError, match="the server cut the prompt"):
        asyncio.run(model.choose(chat(), OPTIONS))


def test_a_prompt_longer_than_the_context_is_not_sent():
    server = Vllm(context=100)
    model = connect(server, ids=True)
    asked = len(server.asked)
    for call in (model.choose(chat("x" * 80), OPTIONS), model.generate(chat(), Sampling(max_tokens=80), seed=0)):
        with pytest.raises(CallFailedError, match="the model takes 100: shorten the prompt"):
            asyncio.run(call)
    assert len(server.asked) == asked


def test_a_call_that_was_broken_off_has_no_label():
    server = Sglang()
    model = connect(server, ids=True)
    reason = {"type": "abort", "message": "the queue is full", "status_code": 503}
    server.twist = lambda path, request, answer: {"meta_info": {"finish_reason": reason}}
    with pytest.raises(CallFailedError, match="the server broke the call off: the queue is full"):
        asyncio.run(model.choose(chat(), OPTIONS))


def test_the_readers_of_these_tests_see_what_the_table_says():
    # The witness of this file: without a lie every one of these servers is believed.
    for kind, more, ids in READ:
        assert connect(kind(**more), ids=ids).findings.dialect
    assert math.isclose(math.fsum(map(math.exp, Model().logprobs([ID["A"]]))), 1.0)
