"""Proves what is sent for a text, and that any answer becomes a text with what is known of it, or a failed call."""

import asyncio

import pytest

from solon.errors import CallFailedError, ServerRefusedError
from solon.lm.thoughts import Thinking
from solon.records import Rendered, Sampling
from tests.servers.dialects import (
    END,
    ID,
    LlamaCpp,
    LlamaCppPython,
    Model,
    OpenAI,
    Server,
    Sglang,
    TableTokens,
    TransformersServe,
    Vllm,
    lay_out,
    refuse,
    tokenize,
)
from tests.unit.lm.server.serving import OPTIONS, chat, connect, transcript

SAMPLING = Sampling(temperature=0.7, max_tokens=6, top_p=0.9)


def generate(model, prompt=None, sampling=SAMPLING, seed=2**62 + 5):
    return asyncio.run(model.generate(prompt or chat(), sampling, seed=seed))


def with_stop(prompt: Rendered, *stop: str) -> Rendered:
    return prompt.model_copy(update={"stop": stop})


# ------------------------------------------------------------------------------------ what is sent


@pytest.mark.parametrize(
    ("server", "ids", "expected"),
    [
        (Vllm, True, {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1, "max_tokens": 6, "return_token_ids": True}),
        (Sglang, False, {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1, "max_tokens": 6}),
        (LlamaCpp, True, {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1, "max_tokens": 6}),
        (LlamaCppPython, False, {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1, "max_tokens": 6}),
        (TransformersServe, False, {"max_completion_tokens": 6}),
        (OpenAI, False, {"max_completion_tokens": 6}),
    ],
)
def test_all_that_decides_a_draw_is_sent(server, ids, expected):
    server = server()
    generate(connect(server, ids=ids), with_stop(chat(), "Human:"))
    _, body = server.asked[-1]
    assert body.items() >= {"temperature": 0.7, "top_p": 0.9, "stop": ["Human:"], "model": "m", **expected}.items()
    if "top_k" not in expected:
        assert not body.keys() & {"top_k", "min_p", "repetition_penalty", "repeat_penalty"}
    assert ("prompt" in body) is ids
    if ids:
        assert body["prompt"] == TableTokens().prompt(chat())


@pytest.mark.parametrize(
    ("server", "ids", "sent"),
    [(Vllm, True, 2**63 - 1), (Sglang, False, 1), (LlamaCpp, True, 1), (OpenAI, False, 1)],
)
def test_a_seed_goes_whole_where_it_is_taken_and_else_as_one_that_every_server_takes(server, ids, sent):
    server = server()
    generate(connect(server, ids=ids), seed=2**63 - 1)
    assert server.asked[-1][1]["seed"] == sent


def test_a_seed_decides_the_draw_and_another_another():
    model = connect(Vllm(), ids=True)
    texts = {generate(model, seed=seed).text for seed in range(8)}
    assert len(texts) > 4
    assert generate(model, seed=3) == generate(model, seed=3)


def test_a_server_that_refuses_seeds_is_asked_without():
    class NoSeeds(Server):
        def chat(self, body):
            if "seed" in body:
                raise refuse(400, "Unsupported parameter: seed")
            return super().chat(body)

    server = NoSeeds()
    model = connect(server)
    assert not model.findings.takes_seed
    assert generate(model).seed == 2**62 + 5
    assert "seed" not in server.asked[-1][1]


def test_a_limit_that_is_ignored_is_given_by_the_other_name():
    class Legacy(Server):
        def draw(self, body, ids):
            body = {name: value for name, value in body.items() if name != "max_completion_tokens"}
            return super().draw(body, ids)

    model = connect(Legacy(Model({"x": 9.0})))
    assert model.findings.limit == "max_tokens"
    assert generate(model).generated_tokens == 6


def test_no_more_stop_strings_are_sent_than_servers_take_and_all_of_them_end_the_text():
    server = Vllm()
    model = connect(server, ids=True)
    server.twist = lambda path, request, answer: with_choice(answer, text="one five two", token_ids=None)
    sample = generate(model, with_stop(chat(), "1", "2", "3", "4", "five"))
    assert server.asked[-1][1]["stop"] == ["1", "2", "3", "4"]
    assert (sample.text, sample.stop_reason) == ("one ", "stop")


# --------------------------------------------------------------------------------- what comes back


def with_choice(answer, **fields):
    return {**answer, "choices": [{**answer["choices"][0], **fields}]}


def with_message(answer, **fields):
    return with_choice(answer, message={**answer["choices"][0]["message"], **fields})


@pytest.mark.parametrize("server", [Vllm, Sglang, LlamaCpp, LlamaCppPython, TransformersServe, OpenAI])
def test_a_text_is_what_the_server_wrote(server):
    server = server()
    model = connect(server)
    sample = generate(model)
    _, body = server.asked[-1]
    written, _ = server.draw(body, server.read_messages(body))
    assert sample.text == server.spoken(written)
    assert sample.stop_reason == ("end" if written[-1] == END else "length")
    assert (sample.model, sample.seed, sample.sampling) == (model.identity, 2**62 + 5, SAMPLING)
    assert sample.prompt_tokens == len(server.read_messages(body))
    assert sample.generated_tokens == len(written)


def test_token_ids_and_their_log_probabilities_are_kept_where_they_are_given():
    server = Vllm(Model({"<|im_end|>": 6.0, "A": 6.0}))
    model = connect(server, ids=True)
    sample = next(found for seed in range(20) if (found := generate(model, seed=seed)).stop_reason == "end")
    ids = list(sample.token_ids)
    assert ids[-1] == END
    assert sample.text == TableTokens().decode(ids[:-1])
    prompt = TableTokens().prompt(chat())
    expected = [server.model.logprobs([*prompt, *ids[:n]])[index] for n, index in enumerate(ids)]
    assert sample.logprobs == pytest.approx(expected, abs=1e-6)
    assert sample.tokens.ids == tuple(ids[:-1])


def test_log_probabilities_after_temperature_are_not_taken_for_the_models():
    assert connect(Vllm(), ids=True).findings.raw is True
    model = connect(Vllm(processed=True), ids=True)
    assert model.findings.raw is False
    assert generate(model).logprobs is None


@pytest.mark.parametrize("given", [None, "text", [1, "2"], [1, -3], [True, 1], [1, 10**12], []])
def test_token_ids_that_are_not_all_there_are_none(given):
    server = Vllm()
    model = connect(server, ids=True)
    server.twist = lambda path, request, answer: with_choice(answer, text="ABA", token_ids=given)
    sample = generate(model)
    assert (sample.text, sample.token_ids, sample.logprobs, sample.vocabulary) == ("ABA", None, None, "")


def test_token_ids_without_the_end_token_are_not_taken_for_all():
    server = Vllm()
    model = connect(server, ids=True)
    server.twist = lambda p, r, answer: with_choice(
        answer, text="AB", token_ids=[ID["A"], ID["B"]], finish_reason="stop"
    )
    assert generate(model).tokens is None


@pytest.mark.parametrize(
    ("fields", "stops", "expected"),
    [
        ({"finish_reason": "length"}, (), "length"),
        ({"finish_reason": "stop"}, (), "end"),
        ({"finish_reason": "stop"}, ("Human:",), "stop"),
        ({"finish_reason": "stop", "stop_reason": None}, ("Human:",), "end"),
        ({"finish_reason": "stop", "stop_reason": "Human:"}, ("Human:",), "stop"),
        ({"finish_reason": "stop", "matched_stop": 7}, ("Human:",), "end"),
        ({"finish_reason": "stop", "matched_stop": "Human:"}, ("Human:",), "stop"),
        ({"finish_reason": {"type": "length", "length": 6}}, (), "length"),
    ],
)
def test_how_a_text_ended(fields, stops, expected):
    server = Server()
    model = connect(server)
    server.twist = lambda path, request, answer: with_choice(answer, **fields)
    assert generate(model, with_stop(chat(), *stops)).stop_reason == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda answer: with_choice(answer, finish_reason="content_filter"), "refusal: the server's content filter"),
        (lambda answer: with_choice(answer, finish_reason="tool_calls"), "called a tool"),
        (lambda answer: with_choice(answer, finish_reason="function_call"), "called a function"),
        (lambda answer: with_choice(answer, finish_reason="abort"), "broke the call off"),
        (lambda answer: with_choice(answer, finish_reason="repetition"), "repeats itself"),
        (lambda answer: with_choice(answer, finish_reason=None), "does not say how the answer ended"),
        (lambda answer: with_choice(answer, finish_reason="weary"), "does not say how the answer ended"),
        (lambda answer: with_message(answer, refusal="I will not."), r"refusal: I will not\."),
        (lambda answer: with_message(answer, tool_calls=[{"id": "1"}]), "called a tool"),
        (lambda answer: with_message(answer, content=None), "gave no text"),
        (lambda answer: with_message(answer, content=["parts"]), "gave no text"),
        (lambda answer: {**answer, "choices": []}, "does not say how the answer ended"),
        (lambda answer: {"error": {"message": "out of memory", "code": 500}}, "does not say how"),
        (lambda answer: {**answer, "usage": {"completion_tokens": 900}}, "wrote 900 tokens where 6 were allowed"),
    ],
)
def test_what_is_no_answer_is_the_failure_of_its_call(change, said):
    server = Server()
    model = connect(server)
    server.twist = lambda path, request, answer: change(answer)
    with pytest.raises(CallFailedError, match=said):
        generate(model)


def test_a_server_that_does_not_count_leaves_nothing_counted():
    def twist(path, request, answer):
        answer.pop("usage", None)
        return answer

    model = connect(Server(twist=twist))
    assert not model.findings.counts_tokens
    sample = generate(model)
    assert (sample.prompt_tokens, sample.generated_tokens) == (0, 0)
    with_ids = connect(Vllm(twist=twist), ids=True)
    assert generate(with_ids).prompt_tokens == len(TableTokens().prompt(chat()))
    assert generate(with_ids).generated_tokens == 6


def test_half_a_character_does_not_reach_a_record():
    server = Server()
    model = connect(server)
    server.twist = lambda path, request, answer: with_message(answer, content="one \ud83d two")
    assert generate(model).text == "one \ufffd two"


# -------------------------------------------------------------------------------------- thoughts


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_a_thought_beside_the_answer_is_kept_apart(name):
    server = Server()
    model = connect(server)
    server.twist = lambda path, request, answer: with_message(answer, content="yes", **{name: " it holds "})
    sample = generate(model)
    assert (sample.text, sample.thought, sample.thought_closed) == ("yes", "it holds", True)


def test_a_thought_that_the_limit_cut_off_leaves_no_answer():
    server = Server()
    model = connect(server)
    server.twist = lambda path, request, answer: with_choice(
        answer, finish_reason="length", message={"content": None, "reasoning_content": "it may"}
    )
    sample = generate(model)
    assert (sample.text, sample.thought, sample.fault) == ("", "it may", "truncated")


def test_a_thought_between_the_templates_marks_is_kept_apart(monkeypatch):
    monkeypatch.setattr(TableTokens, "thinking", lambda self, rendered: Thinking("<think>", "</think>"))
    server = Vllm()
    model = connect(server, ids=True)
    ids = tokenize("<think>so</think>A", control=True)
    server.twist = lambda path, request, answer: with_choice(answer, token_ids=ids)
    sample = generate(model)
    assert (sample.text, sample.thought, sample.token_ids) == ("A", "so", None)


# -------------------------------------------------------------------------------------- layouts


def test_an_open_turn_is_continued_where_the_server_does_that():
    server = Vllm()
    model = connect(server)
    generate(model)
    _, body = server.asked[-1]
    assert model.findings.continues
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant"]
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize("server", [lambda: Vllm(fields=()), Sglang, OpenAI])
def test_elsewhere_it_ends_the_users_message(server):
    # A server that accepts what asks it to continue and does not is among them.
    server = server()
    model = connect(server)
    generate(model)
    _, body = server.asked[-1]
    assert not model.findings.continues
    assert body["messages"] == [{"role": "user", "content": "Which is better? it rains\n\nThe answer is: ("}]
    assert "continue_final_message" not in body


def test_a_turn_that_is_closed_is_answered_in_the_next():
    server = Vllm()
    generate(connect(server), chat(lead=""))
    assert server.read_messages(server.asked[-1][1]) == tokenize(
        lay_out([{"role": "user", "content": "Which is better? it rains"}]), control=True
    )


def test_plain_text_goes_to_completions():
    server = Server()
    model = connect(server, layout="transcript")
    generate(model, transcript())
    assert server.asked[-1][0] == "completions"
    assert server.asked[-1][1]["prompt"] == transcript().text


# --------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("status", "kind"), [(400, CallFailedError), (413, CallFailedError), (422, CallFailedError)])
def test_a_prompt_that_is_refused_is_the_failure_of_its_item(status, kind):
    server = Server()
    model = connect(server)

    def twist(path, request, answer):
        raise refuse(status, "context_length_exceeded")

    server.twist = twist
    for call in (lambda: generate(model), lambda: asyncio.run(model.choose(chat(), OPTIONS))):
        with pytest.raises(kind, match="context_length_exceeded"):
            call()


@pytest.mark.parametrize("status", [401, 403, 404, 501])
def test_what_would_be_refused_to_every_item_ends_the_run(status):
    server = Server()
    model = connect(server)

    def twist(path, request, answer):
        raise refuse(status, "no")

    server.twist = twist
    for call in (lambda: generate(model), lambda: asyncio.run(model.choose(chat(), OPTIONS))):
        with pytest.raises(ServerRefusedError):
            call()
