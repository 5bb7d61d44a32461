"""Proves that labels are right from every kind of server, read by the most exact dialect that it has, and that what is
not known is never a label: the witness is the table that the scripted server answers from.
"""

import asyncio
import math

import pytest

from solon.errors import CallFailedError, PromptingError
from solon.lm import find_spellings
from solon.lm.spelling import spell
from tests.servers.dialects import (
    ID,
    LlamaCpp,
    LlamaCppPython,
    Model,
    OpenAI,
    Server,
    Sglang,
    Silent,
    TableTokens,
    TransformersServe,
    Vllm,
    lay_out,
    tokenize,
)
from tests.unit.lm.server.serving import OPTIONS, chat, connect, transcript

OLDER = ("allowed_token_ids", "return_tokens_as_token_ids")
FOLDED = [{"role": "user", "content": "Which is better? it rains\n\nThe answer is: ("}]


def choose(model, prompt, options=OPTIONS):
    return asyncio.run(model.choose(prompt, options))


@pytest.mark.parametrize("layout", ["chat", "transcript"])
@pytest.mark.parametrize(
    ("server", "dialect"),
    [
        (lambda: Vllm(), "completions logprob_token_ids"),
        (lambda: Vllm(processed=True), "completions logprob_token_ids"),
        (lambda: Vllm(fields=OLDER), "completions allowed_token_ids"),
        (lambda: Vllm(fields=OLDER, processed=True), "completions return_tokens_as_token_ids"),
        (lambda: Vllm(fields=OLDER[1:]), "completions return_tokens_as_token_ids"),
        (lambda: Vllm(fields=(), scores=True), "generative_scoring"),
        (lambda: Sglang(), "generate token_ids_logprob"),
        (lambda: Sglang(down=("/generate",)), "score"),
        (lambda: LlamaCpp(), "completion n_probs"),
    ],
)
def test_with_token_ids_labels_are_those_of_a_model_in_this_process(server, dialect, layout):
    server = server()
    model = connect(server, layout=layout, ids=True)
    prompt = transcript() if layout == "transcript" else chat()
    choice = choose(model, prompt)
    truth = server.model.logprobs(TableTokens().prompt(prompt))
    assert (choice.dialect, choice.has_mass, choice.draws) == (dialect, True, None)
    assert choice.logprobs == pytest.approx([truth[ID["A"]], truth[ID["B"]]])
    assert choice.prompt_tokens == len(TableTokens().prompt(prompt))


@pytest.mark.parametrize("server", [Vllm, Sglang, LlamaCpp, LlamaCppPython, Server, OpenAI])
def test_without_token_ids_a_label_is_the_sum_of_its_listed_spellings(server):
    server = server()
    choice = choose(connect(server), chat())
    continued = lay_out(
        [FOLDED[0] | {"content": "Which is better? it rains"}, {"role": "assistant", "content": "The answer is: ("}],
        is_open=True,
    )
    ids = tokenize(continued if isinstance(server, Vllm) else lay_out(FOLDED), control=True)
    truth = server.model.logprobs(ids)
    likeliest = sorted(range(len(truth)), key=lambda i: -truth[i])[:20]
    sums = [math.fsum(math.exp(truth[ID[s]]) for s in spell(o) if ID.get(s) in likeliest) for o in OPTIONS]
    assert choice.dialect == "chat top_logprobs"
    assert choice.logprobs == pytest.approx([math.log(value) for value in sums])
    assert choice.has_mass


@pytest.mark.parametrize(
    ("server", "dialect"),
    [
        (Server, "completions top_logprobs"),
        (LlamaCppPython, "completions top_logprobs"),
        (LlamaCpp, "completion n_probs, by text"),
    ],
)
def test_plain_text_is_read_by_the_text_of_the_first_token(server, dialect):
    server = server()
    choice = choose(connect(server, layout="transcript"), transcript())
    truth = server.model.logprobs(tokenize(transcript().text, control=True))
    listed = 128 if isinstance(server, LlamaCpp) else 5
    likeliest = sorted(range(len(truth)), key=lambda i: -truth[i])[:listed]
    sums = [math.fsum(math.exp(truth[ID[s]]) for s in spell(o) if ID.get(s) in likeliest) for o in OPTIONS]
    assert choice.dialect == dialect
    assert choice.logprobs == pytest.approx([math.log(value) for value in sums])


@pytest.mark.parametrize(
    ("server", "has_mass", "rounding"),
    [
        (lambda: TransformersServe(), False, 0.0),
        (lambda: Vllm(decides=True, down=("x",), twist=drop_logprobs), True, 0.0),
        (lambda: OpenAI(decides=True), False, 0.0051),
    ],
)
def test_routes_with_a_template_of_their_own_give_shares_and_a_mass_only_where_there_is_one(server, has_mass, rounding):
    server = server()
    choice = choose(connect(server), chat())
    asked = server.asked[-1][1]
    state = asked.get("state", asked.get("input"))
    instructions = "Which option does the text go on with?"
    shares, mass = server.read_question(state, instructions, OPTIONS)
    assert state == FOLDED[0]["content"]
    assert choice.has_mass is has_mass
    expected = [share * mass if has_mass else share for share in shares]
    assert [math.exp(value) for value in choice.logprobs] == pytest.approx(expected, abs=rounding or 1e-9)


def drop_logprobs(path, request, answer):
    for choice in answer.get("choices", ()):
        choice.pop("logprobs", None)
    return answer


def test_a_template_of_the_servers_own_is_used_only_where_first_tokens_are_not_to_be_had():
    assert connect(Vllm(decides=True)).findings.dialect == "chat top_logprobs"
    assert connect(Vllm(decides=True), ids=True).findings.dialect == "completions logprob_token_ids"


def test_a_decision_of_two_decimals_is_never_without_any_doubt():
    sure = Model(table={"it rains": {"A": 0.9999}})
    choice = choose(connect(OpenAI(sure, decides=True)), chat())
    assert choice.logprobs == pytest.approx((math.log(1 / 1.005), math.log(0.005 / 1.005)))


def test_a_refused_decision_is_no_label():
    server = OpenAI(decides=True)
    model = connect(server)
    server.refuses = True
    with pytest.raises(CallFailedError, match="refusal"):
        choose(model, chat())


def test_scores_are_over_the_whole_vocabulary_where_they_are_all_that_comes():
    def twist(path, request, answer):
        answer.pop("token_logprobs", None)
        return answer

    server = Sglang(down=("/generate",), twist=twist)
    truth = server.model.logprobs(TableTokens().prompt(chat()))
    choice = choose(connect(server, ids=True), chat())
    assert choice.dialect == "score"
    assert choice.logprobs == pytest.approx([truth[ID["A"]], truth[ID["B"]]])


# -------------------------------------------------------------------------------------- drawn answers


@pytest.mark.parametrize("ids", [False, True])
def test_without_log_probabilities_answers_are_drawn_and_counted(ids):
    server = Silent(Model({"A": 6.0, "B": 5.0, " A": 2.0}))
    model = connect(server, ids=ids, votes=40)
    server.asked.clear()
    choice = choose(model, chat())
    draws = [body for _, body in server.asked]
    assert [body["max_completion_tokens" if not ids else "max_tokens"] for body in draws] == [1] * 40
    assert {body["temperature"] for body in draws} == {1.0}
    assert len({body["seed"] for body in draws}) == 40
    read = server.read_prompt if ids else server.read_messages
    texts = [server.spoken(server.draw(body, read(body))[0]) for body in draws]
    counts = [sum(text in spell(option) for text in texts) for option in OPTIONS]
    assert 0 < sum(counts) <= 40
    assert choice.logprobs == pytest.approx([math.log((count + 0.5) / (40 + 1.5)) for count in counts])
    assert (choice.dialect, choice.draws, choice.has_mass) == ("votes", 40, True)
    assert choose(model, chat()) == choice  # the seeds are the prompt's


def test_drawn_answers_of_which_none_is_an_option_are_no_label():
    server = Silent()
    model = connect(server)
    server.model = Model({"The": 20.0})
    with pytest.raises(CallFailedError, match="of 16 answers that were drawn none begins with 'A' or 'B'"):
        choose(model, chat())


def test_votes_are_finite_where_all_agree():
    server = Silent()
    model = connect(server)
    server.model = Model({"A": 40.0})
    choice = choose(model, chat())
    assert choice.logprobs == pytest.approx((math.log(16.5 / 17.5), math.log(0.5 / 17.5)))


# --------------------------------------------------------------------------------------- not known


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("share", [0.0, 1e-9])
def test_an_option_outside_the_likeliest_is_named_and_is_no_label(ids, share):
    # After one prompt B is far behind 20 others; after those of the probe it is among them.
    crowd = dict.fromkeys("cdefghijklmnopqrstuvwxyz", 0.02)
    server = Vllm(
        Model(table={"it rains": {**crowd, "A": 0.3, "B": share, " B": 0.0, "b": 0.0, " b": 0.0}}), fields=OLDER[1:]
    )
    model = connect(server, ids=ids)
    with pytest.raises(CallFailedError, match=r"option 'B' is not among the 2[01] tokens"):
        choose(model, chat())


def test_an_option_outside_the_likeliest_is_asked_for_by_name_where_the_server_takes_names():
    crowd = dict.fromkeys("cdefghijklmnopqrstuvwxyz", 0.02)
    table = Model(table={"it rains": {**crowd, "A": 0.3, "B": 1e-9}})
    for server in (Vllm(table), Vllm(table, fields=OLDER), Sglang(table)):
        assert choose(connect(server, ids=True), chat()).logprobs[1] == pytest.approx(math.log(1e-9))


@pytest.mark.parametrize("unknown", [-9999.0, -3.4028234663852886e38, None, float("-inf"), float("nan"), "low", True])
@pytest.mark.parametrize("server", [Vllm, Sglang, LlamaCpp])
def test_what_stands_for_no_number_is_no_label(server, unknown):
    said = {}

    def twist(path, request, answer):
        return replace_b(answer, unknown) if said else answer

    model = connect(server(twist=twist), ids=True)
    said["now"] = True
    with pytest.raises(CallFailedError, match="option 'B'"):
        choose(model, chat())


def replace_b(answer, value):
    """Give the token B another log-probability, wherever it stands."""
    if isinstance(answer, dict):
        found = {
            key: value if key == f"token_id:{ID['B']}" else replace_b(inner, value) for key, inner in answer.items()
        }
        if found.get("id") == ID["B"] and "logprob" in found:
            found["logprob"] = value
        if found.get("tokens") == [f"token_id:{ID['B']}"]:
            found["token_logprobs"] = [value]
        return found
    if isinstance(answer, list):
        if len(answer) == 3 and answer[1] == ID["B"]:
            return [value, *answer[1:]]
        return [replace_b(inner, value) for inner in answer]
    return answer


def test_a_mass_of_little_is_told_as_it_is():
    few = Model(table={"it rains": {"A": 0.012, "B": 0.008, "The": 0.9}})
    assert choose(connect(Vllm(few), ids=True), chat()).mass == pytest.approx(0.02)


def test_a_sum_that_rounding_puts_over_one_is_one():
    twisted = Model(table={"it rains": {"A": 0.6, "B": 0.4}})

    def twist(path, request, answer):
        top = answer["choices"][0]["logprobs"]["top_logprobs"][0] if request.get("logprob_token_ids") else {}
        top.update({key: value + 1e-6 for key, value in top.items()})
        return answer

    assert choose(connect(Vllm(twisted, twist=twist), ids=True), chat()).mass == 1.0


# ---------------------------------------------------------------------------------------- options


def test_options_are_weighed_as_a_whole_where_their_first_tokens_are_one():
    server = Vllm()
    model = connect(server, ids=True)
    options = ("Thex", "They")
    choice = choose(model, chat(), options)
    ids = TableTokens().prompt(chat())
    first = server.model.logprobs(ids)[ID["The"]]
    second = server.model.logprobs([*ids, ID["The"]])
    assert choice.logprobs == pytest.approx([first + second[ID["x"]], first + second[ID["y"]]])


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("options", [("A", "A"), ("A", "AB"), ("A", "")])
def test_options_that_cannot_be_told_apart_are_refused(options, ids):
    model = connect(Vllm(), ids=ids)
    with pytest.raises(PromptingError, match="cannot be told apart"):
        choose(model, chat(), options)


@pytest.mark.parametrize("ids", [False, True])
def test_an_option_with_a_space_before_is_another(ids):
    table = Model(table={"it rains": {"A": 0.5, " A": 0.1, "B": 0.2}})
    choice = choose(connect(Vllm(table), ids=ids), chat(), ("A", " A"))
    assert [math.exp(value) for value in choice.logprobs] == pytest.approx([0.5, 0.1], abs=0.005)


def test_with_token_ids_spellings_are_those_that_can_be_told_apart():
    model = connect(Vllm(), ids=True)
    assert find_spellings(model, chat(), ("Yes", "No")) == (("Yes", " Yes", "yes", " yes"), ("No", " No", "no", " no"))
    assert find_spellings(connect(Vllm()), chat(), ("Yes", "No")) == (("Yes",), ("No",))


def test_two_tokens_of_one_text_are_added_and_one_that_is_listed_twice_is_not():
    def twist(path, request, answer):
        item = answer["choices"][0].get("logprobs") or {}
        for position in item.get("content", ()):
            top = position["top_logprobs"]
            a = next((one for one in top if one["token"] == "A"), None)
            if a is not None:
                top += [dict(a), {**a, "logprob": math.log(0.05)}]
        return answer

    table = Model(table={"it rains": {"A": 0.5, "B": 0.4, " A": 0.0, "a": 0.0, " a": 0.0}})
    choice = choose(connect(Server(table, twist=twist)), chat())
    assert math.exp(choice.logprobs[0]) == pytest.approx(0.55, abs=1e-3)
