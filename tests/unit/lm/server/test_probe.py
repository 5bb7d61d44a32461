"""Proves what is found out about a server before anything is built on it, and what is refused then."""

import asyncio

import pytest

from solon.errors import CallFailedError, ModelError, ServerRefusedError
from solon.lm.server.findings import Findings
from solon.records import Sampling
from tests.servers.dialects import (
    ID,
    LlamaCpp,
    LlamaCppPython,
    OpenAI,
    Server,
    Sglang,
    Silent,
    TableTokens,
    TransformersServe,
    Vllm,
    refuse,
)
from tests.unit.lm.server.serving import OPTIONS, chat, connect


@pytest.mark.parametrize(
    ("server", "kind"),
    [
        (Vllm, "vllm"),
        (Sglang, "sglang"),
        (LlamaCpp, "llama.cpp"),
        (LlamaCppPython, "llama-cpp-python"),
        (OpenAI, "other"),
    ],
)
def test_a_server_is_known_by_what_it_says_of_itself(server, kind):
    findings = connect(server()).findings
    assert (findings.kind, findings.model) == (kind, "m")
    assert Findings.from_json(findings.to_json()) == findings


def test_a_server_without_a_list_of_models_is_asked_all_the_same():
    class Listless(Server):
        async def get(self, path):
            raise refuse(404, "Not Found")

    assert connect(Listless()).findings.kind == "other"


@pytest.mark.parametrize("listed", [None, [], {}, {"data": 3}, {"data": [None, {"id": 4}]}])
def test_a_list_that_is_none_is_no_list(listed, monkeypatch):
    from solon.lm.server.transport import Reply

    async def get(path):
        return Reply(listed, "http://scripted")

    server = Server()
    monkeypatch.setattr(server, "get", get)
    assert connect(server).findings.kind == "other"


@pytest.mark.parametrize("server", [Vllm, Sglang, LlamaCpp, LlamaCppPython])
def test_a_model_that_is_not_listed_is_refused_where_another_would_answer(server, monkeypatch):
    server = server()
    monkeypatch.setattr(server, "listed", lambda: {"id": "other", "owned_by": server.owner})
    with pytest.raises(ModelError, match="the server does not serve a model 'm': expected one of other"):
        connect(server)


@pytest.mark.parametrize("server", [OpenAI, TransformersServe])
def test_a_list_of_less_than_is_served_is_no_reason(server, monkeypatch):
    server = server()
    monkeypatch.setattr(server, "listed", lambda: {"id": "cached", "owned_by": server.owner})
    assert connect(server).findings.model == "m"


def test_a_list_that_does_not_come_is_none(monkeypatch):
    async def get(path):
        raise CallFailedError("500 after 6 tries")

    server = TransformersServe()
    monkeypatch.setattr(server, "get", get)
    assert connect(server).findings.dialect == "systemone"


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_is_said_at_once(status):
    class Locked(Server):
        async def get(self, path):
            raise refuse(status, "no key")

    with pytest.raises(ServerRefusedError, match="no key"):
        connect(Locked())


def test_what_is_found_is_what_the_server_does():
    findings = connect(Vllm(), ids=True).findings
    assert findings.model_dump() == {
        "kind": "vllm",
        "model": "m",
        "root": "org/m",
        "api": "completions",
        "layout": "chat",
        "tokenizer": "table",
        "limit": "max_tokens",
        "takes_seed": True,
        "draws": True,
        "continues": False,
        "counts_tokens": True,
        "raw": True,
        "context": 4096,
        "dialect": "completions logprob_token_ids",
        "votes": None,
        "fault": "",
    }


# ---------------------------------------------------------------------------------------- routes


def test_with_a_tokenizer_the_route_is_completions_where_the_server_takes_ids():
    assert connect(Vllm(), ids=True).findings.api == "completions"
    for server in (TransformersServe(), LlamaCppPython(), Vllm(down=("completions",))):
        findings = connect(server, ids=True).findings
        assert (findings.api, findings.tokenizer) == ("chat", "")


def test_token_ids_are_not_tried_where_an_error_would_be_waited_for():
    server = LlamaCppPython()
    connect(server, ids=True)
    connect(server, ids=True, layout="transcript")
    assert not [body for _, body in server.asked if isinstance(body.get("prompt"), list)]


def test_a_route_that_reads_other_tokens_than_were_sent_is_not_taken():
    class Adds(Server):
        def read_prompt(self, body):
            return [ID["</s>"], *super().read_prompt(body)]

    assert connect(Adds(), ids=True).findings.api == "chat"
    with pytest.raises(ModelError, match=r"completions read \d+ tokens where \d+ were sent as ids"):
        connect(Adds(), ids=True, api="completions")


def test_the_route_that_is_set_is_taken():
    assert connect(Vllm(), ids=True, api="chat").findings.api == "chat"
    with pytest.raises(ModelError, match=r"give the folder of the model's tokenizer as server\.tokenizer"):
        connect(Vllm(), api="completions")
    with pytest.raises(ModelError, match="chat cannot take: set"):
        connect(Vllm(), layout="transcript", api="chat")


def test_plain_text_needs_completions():
    with pytest.raises(ModelError, match=r"no text comes from .* 'm' that could be used: .*Not Found"):
        connect(OpenAI(), layout="transcript")


def test_a_server_that_writes_more_than_it_may_is_refused():
    class Fills(Server):
        def draw(self, body, ids):
            return super().draw({**body, "max_tokens": 40, "max_completion_tokens": 40}, ids)

    with pytest.raises(ModelError, match="wrote 40 tokens where 4 were allowed"):
        connect(Fills())


@pytest.mark.parametrize(
    "body",
    [None, [], "text", {}, {"choices": [{}]}, {"error": {"message": "loading"}}, {"detail": "no"}, "<html>"],
)
def test_a_server_that_answers_something_else_is_refused(body):
    with pytest.raises(ModelError, match="no text comes from the served model 'm'") as error:
        connect(Server(twist=lambda path, request, answer: body))
    assert not isinstance(error.value, CallFailedError)


class Greedy(Silent):
    """Says nothing against a temperature and writes greedily."""

    def draw(self, body, ids):
        return super().draw({**body, "temperature": 0}, ids)


def test_a_server_that_never_draws_is_found_out():
    model = connect(Greedy())
    assert not model.findings.draws
    assert asyncio.run(model.generate(chat(), Sampling(temperature=0.0, max_tokens=3), seed=0)).text
    with pytest.raises(ModelError, match="writes the same at every temperature") as error:
        asyncio.run(model.generate(chat(), Sampling(temperature=0.5, max_tokens=3), seed=0))
    assert not isinstance(error.value, CallFailedError)
    with pytest.raises(ModelError, match="no log-probabilities and draws the same answer every time"):
        asyncio.run(model.choose(chat(), OPTIONS))


def test_a_server_that_bounds_temperatures_or_shows_nothing_is_not_said_to_be_greedy():
    def bounded(path, request, answer):
        if request.get("temperature", 0) > 1:
            raise refuse(400, "temperature: at most 1")
        return answer

    def hidden(path, request, answer):
        answer["choices"][0]["message"]["content"] = ""
        return answer

    assert connect(Silent(twist=bounded)).findings.draws
    assert connect(Silent(twist=hidden, down=("systemone",))).findings.draws


# ------------------------------------------------------------------------------------- tokenizers


@pytest.mark.parametrize("server", [Vllm, Sglang, LlamaCpp])
def test_the_tokenizer_of_another_model_is_refused(server, monkeypatch):
    server = server()

    def tokenize(body):
        assert "prompt" in body or body.keys() == {"content", "add_special"}
        return {"tokens": [1, 2, 3]}

    monkeypatch.setattr(server, "routes", lambda: {**type(server).routes(server), "/tokenize": tokenize})
    with pytest.raises(ModelError, match=r"server\.tokenizer is not that of the served model 'm'"):
        connect(server, ids=True)


def test_a_space_before_the_first_word_makes_no_tokenizer_another(monkeypatch):
    server = Vllm()
    ids = TableTokens().text("Which letter comes first in the alphabet, A or B? Answer with one letter.")
    monkeypatch.setattr(server, "tokenize", lambda body: {"tokens": [ID[" "], *ids[1:]]})
    assert connect(server, ids=True).findings.tokenizer == "table"


# ---------------------------------------------------------------------------------------- identity


def test_the_identity_changes_with_all_that_decides_answers():
    identities = {
        connect(Vllm(), ids=True).identity,
        connect(Vllm()).identity,
        connect(Vllm(fields=())).identity,
        connect(Vllm(fields=("allowed_token_ids", "return_tokens_as_token_ids")), ids=True).identity,
        connect(Vllm(), ids=True, layout="single").identity,
        connect(Vllm(), ids=True, layout="transcript").identity,
        connect(Sglang(), ids=True).identity,
    }
    assert len(identities) == 7
    assert connect(Vllm(), ids=True).identity in identities


def test_one_connection_asks_little():
    for server, ids in ((Vllm(), True), (OpenAI(), False), (LlamaCpp(), True)):
        connect(server, ids=ids)
        assert len(server.asked) <= 10


def test_an_outage_while_connecting_is_no_reason_to_ask_otherwise():
    class Down(Server):
        async def post(self, path, body):
            raise CallFailedError("no answer after 6 tries")

    with pytest.raises(ModelError, match="no answer after 6 tries"):
        connect(Down())


def test_connecting_asks_nothing_of_a_prompts_log_probabilities():
    for server, ids in (
        (Vllm(), True),
        (Vllm(), False),
        (LlamaCpp(), True),
        (Sglang(), True),
        (TransformersServe(), False),
    ):
        connect(server, ids=ids)
        for _, body in server.asked:
            assert not body.keys() & {"echo", "prompt_logprobs"}
            assert body.get("logprob_start_len", -1) == -1
            assert 0 not in (body.get("max_tokens"), body.get("n_predict"))
