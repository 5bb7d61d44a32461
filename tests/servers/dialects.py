"""Scripted servers, one for each dialect, that answer from a table in the shapes and with the limits of the real ones.

They are played through the `Transport` interface, in memory. `Model` is what they serve: a distribution over the ids of
a small vocabulary for every prompt. A server that is given messages lays its own chat template around them and reads
control strings in whatever they hold as control tokens, as real servers do. `twist` changes an answer before it goes
out: it plays the lies.
"""

import json
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from solon.errors import CallFailedError, ServerRefusedError
from solon.lm.server.transport import Reply
from solon.lm.thoughts import Thinking
from solon.records import Rendered

CONTROL = ("<|im_start|>", "<|im_end|>", "</s>", "[INST]")
WORDS = (
    "A",
    " A",
    "B",
    " B",
    "a",
    " a",
    "Yes",
    " Yes",
    "yes",
    "No",
    " No",
    "no",
    "The",
    " the",
    "user",
    "assistant",
    "In",
)
VOCABULARY = (*CONTROL, *WORDS, *(chr(code) for code in (10, *range(32, 127)) if chr(code) not in WORDS))
ID = {text: index for index, text in enumerate(VOCABULARY)}
END = ID["<|im_end|>"]
_LONGEST = sorted(map(re.escape, VOCABULARY[len(CONTROL) :]), key=len, reverse=True)
_WORDS = re.compile("|".join([*_LONGEST, "."]), re.DOTALL)
_WITH_CONTROL = re.compile("|".join([*map(re.escape, CONTROL), *_LONGEST, "."]), re.DOTALL)

Twist = Callable[[str, dict[str, Any], Any], Any]


def tokenize(text: str, *, control: bool) -> list[int]:
    """Cut text into tokens, the longest first; control strings are control tokens only where that is said."""
    return [ID.get(token, ID["?"]) for token in (_WITH_CONTROL if control else _WORDS).findall(text)]


def lay_out(messages: Sequence[Mapping[str, str]], *, is_open: bool = False) -> str:
    """Put the chat template around messages."""
    text = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages)
    return text.removesuffix("<|im_end|>\n") if is_open else f"{text}<|im_start|>assistant\n"


class TableTokens:
    """The tokenizer of `Model`, as `solon.lm.server.asking.Tokens`."""

    digest = "table"
    vocabulary = "table"
    control = CONTROL

    def prompt(self, rendered: Rendered) -> list[int]:
        if rendered.layout == "transcript":
            return tokenize(rendered.text, control=False)
        is_open = rendered.turns[-1].role == "assistant"
        ids: list[int] = []
        for turn in rendered.turns:
            ids += [ID["<|im_start|>"], *tokenize(f"{turn.role}\n", control=False)]
            ids += [*tokenize(turn.text, control=False), END, ID["\n"]]
        return ids[:-2] if is_open else [*ids, ID["<|im_start|>"], *tokenize("assistant\n", control=False)]

    def options(self, rendered: Rendered, texts: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        return self.prompt(rendered), [tokenize(text, control=False) for text in texts]

    def text(self, text: str) -> list[int]:
        return tokenize(text, control=False)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(VOCABULARY[index] for index in ids)

    def knows(self, index: int) -> bool:
        return index < len(VOCABULARY)

    def is_control(self, index: int) -> bool:
        return index < len(CONTROL)

    def thinking(self, rendered: Rendered) -> Thinking | None:
        return None


class Model:
    """A distribution over the vocabulary for every prompt: drawn from the prompt's own ids, labels made likely.

    Args:
        likely: texts of tokens to what is added to their logits.
        table: a text that a prompt may hold, to the probabilities of tokens after it; the rest is shared out.
    """

    def __init__(
        self, likely: Mapping[str, float] | None = None, table: Mapping[str, Mapping[str, float]] | None = None
    ) -> None:
        self.likely = {"A": 6.0, "B": 6.0, "Yes": 4.0, " Yes": 3.0, "No": 4.0, " No": 3.0} if likely is None else likely
        self.table = table or {}
        self._drawn: dict[str, list[float]] = {}

    def logprobs(self, ids: Sequence[int]) -> list[float]:
        """Return the natural log-probability of every token after a prompt."""
        prompt = "".join(VOCABULARY[index] for index in ids)
        for part, shares in self.table.items():
            if part in prompt:
                rest = (1.0 - math.fsum(shares.values())) / (len(VOCABULARY) - len(shares))
                found = [shares.get(text, rest) for text in VOCABULARY]
                return [math.log(share) if share > 0.0 else -math.inf for share in found]
        if prompt not in self._drawn:
            self._drawn[prompt] = self._draw(prompt)
        return list(self._drawn[prompt])

    def _draw(self, prompt: str) -> list[float]:
        rng = random.Random(prompt)
        logits = [rng.gauss(0.0, 1.0) + self.likely.get(text, 0.0) for text in VOCABULARY]
        total = math.log(math.fsum(map(math.exp, logits)))
        return [logit - total for logit in logits]

    def write(self, ids: Sequence[int], *, limit: int, temperature: float, seed: int) -> list[int]:
        """Draw a continuation, its end token included."""
        written: list[int] = []
        while len(written) < limit and END not in written:
            logprobs = self.logprobs([*ids, *written])
            if temperature == 0.0:
                written.append(logprobs.index(max(logprobs)))
            else:
                rng = random.Random(f"{seed}:{len(written)}")
                weights = [math.exp(value / temperature) for value in logprobs]
                written += rng.choices(range(len(weights)), weights)
        return written


def refuse(status: int, said: str) -> ServerRefusedError:
    return ServerRefusedError(f"refused with {status}: {said}", status=status, said=said)


def sent(value: float) -> float:
    """Return a log-probability as vLLM sends it."""
    return -9999.0 if value == -math.inf else value


class Server:
    """A server of a `Model`.

    Args:
        model: what it serves.
        twist: changes an answer before it goes out; is given the path and the request too.
        down: routes that it does not have, though its kind does.

    Attributes:
        asked: path and body of every request.
    """

    name = "m"
    owner = "someone"
    knows: frozenset[str] = frozenset()
    """Fields beyond OpenAI's that it looks at; others it drops without a word."""

    def __init__(self, model: Model | None = None, *, twist: Twist | None = None, down: Sequence[str] = ()) -> None:
        self.model = model or Model()
        self.twist = twist
        self.down = down
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def routes(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        return {"completions": self.completions, "chat/completions": self.chat}

    async def post(self, path: str, body: Mapping[str, object]) -> Reply:
        request = json.loads(json.dumps(body))
        self.asked.append((path, request))
        route = None if path in self.down else self.routes().get(path)
        if route is None:
            raise refuse(404, "Not Found")
        if request.get("model", self.name) != self.name:
            raise refuse(404, f"The model `{request['model']}` does not exist.")
        answer = json.loads(json.dumps(route(request)))
        return Reply(answer if self.twist is None else self.twist(path, request, answer), "http://scripted")

    async def get(self, path: str) -> Reply:
        if path != "models":
            raise refuse(404, "Not Found")
        return Reply({"object": "list", "data": [self.listed()]}, "http://scripted")

    def listed(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": 1764000000, "owned_by": self.owner}

    # ------------------------------------------------------------------------------ what is read

    def read_prompt(self, body: Mapping[str, Any]) -> list[int]:
        prompt = body["prompt"]
        return list(prompt) if isinstance(prompt, list) else tokenize(prompt, control=True)

    def read_messages(self, body: Mapping[str, Any]) -> list[int]:
        return tokenize(lay_out(body["messages"]), control=True)

    def logprobs_of(self, body: Mapping[str, Any], ids: Sequence[int]) -> tuple[list[float], int]:
        """Return the log-probabilities that are reported after a prompt, and the token that is generated."""
        logprobs = self.model.logprobs(ids)
        return logprobs, logprobs.index(max(logprobs))

    def draw(self, body: Mapping[str, Any], ids: Sequence[int]) -> tuple[list[int], str]:
        limit = body.get("max_completion_tokens", body.get("max_tokens", 16))
        temperature, seed = body.get("temperature", 1), body.get("seed", len(self.asked))
        written = self.model.write(ids, limit=limit, temperature=temperature, seed=seed)
        return written, "stop" if written and written[-1] == END else "length"

    def spoken(self, written: Sequence[int]) -> str:
        return "".join(VOCABULARY[index] for index in written if index != END)

    def usage(self, ids: Sequence[int], written: Sequence[int]) -> dict[str, int]:
        read, wrote = len(ids), len(written)
        return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}

    def token(self, index: int, body: Mapping[str, Any]) -> str:
        return VOCABULARY[index]

    # ------------------------------------------------------------------------------- OpenAI's own

    most_completions = 5
    most_chat = 20

    def named(self, body: Mapping[str, Any]) -> list[int] | None:
        """Return the ids that log-probabilities are asked of; None for the likeliest."""
        return None

    def candidates(self, body: Mapping[str, Any], logprobs: list[float], count: int) -> list[int]:
        wanted = self.named(body)
        return sorted(range(len(logprobs)), key=lambda i: -logprobs[i])[:count] if wanted is None else wanted

    def completions(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = self.read_prompt(body)
        written, reason = self.draw(body, ids)
        choice: dict[str, Any] = {"index": 0, "text": self.spoken(written), "finish_reason": reason, "logprobs": None}
        if body.get("logprobs") is not None:
            if body["logprobs"] > self.most_completions:
                raise refuse(400, "logprobs is too large")
            logprobs, sampled = self.logprobs_of(body, ids)
            shown = self.candidates(body, logprobs, body["logprobs"])
            top = {self.token(i, body): sent(logprobs[i]) for i in [sampled, *shown]}
            tokens = [self.token(i, body) for i in written]
            values = [sent(self.model.logprobs([*ids, *written[:n]])[i]) for n, i in enumerate(written)]
            values[:1] = [sent(logprobs[written[0]])] if written else []
            choice["logprobs"] = {"tokens": tokens, "token_logprobs": values, "text_offset": [0], "top_logprobs": [top]}
        return {
            "id": "cmpl-1",
            "object": "text_completion",
            "model": self.name,
            "choices": [choice | self.beside(body, written, reason)],
            "usage": self.usage(ids, written),
        }

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = self.read_messages(body)
        written, reason = self.draw(body, ids)
        message = {"role": "assistant", "content": self.spoken(written), "refusal": None}
        choice: dict[str, Any] = {"index": 0, "finish_reason": reason, "message": message, "logprobs": None}
        if body.get("logprobs"):
            if body.get("top_logprobs", 0) > self.most_chat:
                raise refuse(400, "top_logprobs is too large")
            logprobs, sampled = self.logprobs_of(body, ids)
            shown = self.candidates(body, logprobs, body.get("top_logprobs", 0))
            items = [self.item(i, logprobs) for i in shown]
            choice["logprobs"] = {"content": [{**self.item(sampled, logprobs), "top_logprobs": items}], "refusal": None}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": self.name,
            "choices": [choice | self.beside(body, written, reason)],
            "usage": self.usage(ids, written),
        }

    def item(self, index: int, logprobs: list[float]) -> dict[str, Any]:
        text = VOCABULARY[index]
        return {"token": text, "logprob": sent(logprobs[index]), "bytes": list(text.encode())}

    def beside(self, body: Mapping[str, Any], written: list[int], reason: str) -> dict[str, Any]:
        """Return what a choice holds beyond OpenAI's fields."""
        return {}

    # --------------------------------------------------------------------------- label templates

    def read_question(self, state: str, instructions: str, options: Sequence[str]) -> tuple[list[float], float]:
        """Return the options' shares among themselves and their share of everything, after the server's template."""
        letters = "ABCDEFGHIJ"[: len(options)]
        listed = "\n".join(f"{letter}: {option}" for letter, option in zip(letters, options, strict=True))
        messages = [{"role": "user", "content": f"{state}\n\n{instructions}\n{listed}"}]
        logprobs = self.model.logprobs(tokenize(lay_out(messages), control=True))
        shares = [math.exp(logprobs[ID[letter]]) for letter in letters]
        return [share / math.fsum(shares) for share in shares], math.fsum(shares)


class OpenAI(Server):
    """Chat with the likeliest tokens; with `decisions` only these, as of a model without log-probabilities."""

    owner = "openai"

    def __init__(
        self, model: Model | None = None, *, decides: bool = False, refuses: bool = False, **more: Any
    ) -> None:
        super().__init__(model, **more)
        self.decides = decides
        self.refuses = refuses

    def routes(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        routes: dict[str, Callable[[dict[str, Any]], Any]] = {"chat/completions": self.chat}
        return routes | ({"decisions": self.decisions} if self.decides else {})

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        if "max_tokens" in body:
            raise refuse(400, "Unsupported parameter: max_tokens, use max_completion_tokens")
        if self.decides and body.get("logprobs"):
            raise refuse(400, "logprobs is not supported with this model")
        return super().chat(body)

    def decisions(self, body: dict[str, Any]) -> dict[str, Any]:
        answers: list[dict[str, Any]] = []
        for question in body["questions"]:
            options = [choice["value"] for choice in question["choices"]]
            shares, _ = self.read_question(body["input"], question["instructions"], options)
            listed = [{"value": o, "probability": round(s, 2)} for o, s in zip(options, shares, strict=True)]
            answer = {"type": "choice", "choice": options[shares.index(max(shares))], "probabilities": listed}
            refused = {"type": "refusal"}
            answers.append({**(refused if self.refuses else {**answer, "confidence": 0.5}), "name": question["name"]})
        return {"model": self.name, "answers": answers, "usage": {"input_tokens": 210, "output_tokens": 0}}


class Vllm(Server):
    """vLLM: ids in, ids out, named tokens, a mode of log-probabilities.

    Args:
        fields: fields beyond OpenAI's that this version looks at.
        processed: log-probabilities are those after masks.
        scores, decides: it has `/generative_scoring`; `/v1/systemone`.
    """

    owner = "vllm"
    most_completions = 20
    FIELDS = ("logprob_token_ids", "allowed_token_ids", "return_tokens_as_token_ids", "return_token_ids", "continue")

    def __init__(
        self,
        model: Model | None = None,
        *,
        fields: Sequence[str] = FIELDS,
        processed: bool = False,
        scores: bool = False,
        decides: bool = False,
        context: int = 4096,
        **more: Any,
    ) -> None:
        super().__init__(model, **more)
        self.fields, self.processed, self.scores, self.decides, self.context = (
            fields,
            processed,
            scores,
            decides,
            context,
        )

    def routes(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        routes = super().routes() | {"/tokenize": self.tokenize}
        routes |= {"/generative_scoring": self.score} if self.scores else {}
        return routes | ({"systemone": self.systemone} if self.decides else {})

    def listed(self) -> dict[str, Any]:
        return super().listed() | {"root": "org/m", "parent": None, "max_model_len": self.context}

    def tokenize(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = tokenize(body["prompt"], control=True)
        return {"count": len(ids), "max_model_len": self.context, "tokens": ids, "token_strs": None}

    def read_messages(self, body: Mapping[str, Any]) -> list[int]:
        is_open = bool(body.get("continue_final_message")) and "continue" in self.fields
        return tokenize(lay_out(body["messages"], is_open=is_open), control=True)

    def allowed(self, body: Mapping[str, Any]) -> list[int] | None:
        return body.get("allowed_token_ids") if "allowed_token_ids" in self.fields else None

    def logprobs_of(self, body: Mapping[str, Any], ids: Sequence[int]) -> tuple[list[float], int]:
        logprobs = self.model.logprobs(ids)
        allowed = self.allowed(body)
        if allowed is None:
            return logprobs, logprobs.index(max(logprobs))
        sampled = max(allowed, key=lambda i: logprobs[i])
        if self.processed:
            total = math.log(math.fsum(math.exp(logprobs[i]) for i in allowed))
            logprobs = [value - total if i in allowed else -math.inf for i, value in enumerate(logprobs)]
        return logprobs, sampled

    def draw(self, body: Mapping[str, Any], ids: Sequence[int]) -> tuple[list[int], str]:
        if self.allowed(body) is not None:
            return [self.logprobs_of(body, ids)[1]], "length"
        return super().draw(body, ids)

    def named(self, body: Mapping[str, Any]) -> list[int] | None:
        return body.get("logprob_token_ids") if "logprob_token_ids" in self.fields else None

    def token(self, index: int, body: Mapping[str, Any]) -> str:
        asks = body.get("return_tokens_as_token_ids") and "return_tokens_as_token_ids" in self.fields
        return f"token_id:{index}" if asks else VOCABULARY[index]

    def beside(self, body: Mapping[str, Any], written: list[int], reason: str) -> dict[str, Any]:
        ids = body.get("return_token_ids") and "return_token_ids" in self.fields
        return {"stop_reason": None, "token_ids": written if ids else None}

    def score(self, body: dict[str, Any]) -> dict[str, Any]:
        data = []
        for number, item in enumerate(body["items"]):
            ids = [*body["query"], *item][: self.context]
            share = math.exp(self.model.logprobs(ids)[body["label_token_ids"][0]])
            data.append({"index": number, "object": "score", "score": share})
        return {
            "object": "list",
            "model": self.name,
            "data": data,
            "usage": {"prompt_tokens": len(ids), "total_tokens": 1},
        }

    def systemone(self, body: dict[str, Any]) -> dict[str, Any]:
        if unknown := body.keys() - {"model", "state", "questions", "instructions"}:
            raise refuse(400, f"unknown fields {sorted(unknown)}")
        answers, diagnostics = {}, {}
        for name, question in body["questions"].items():
            options = list(question["criteria"])
            shares, mass = self.read_question(body["state"], question["instructions"], options)
            answers[name] = {
                "type": "choice",
                "choice": options[shares.index(max(shares))],
                "probabilities": dict(zip(options, shares, strict=True)),
                "confidence": max(shares) * mass,
            }
            diagnostics[name] = {"label_mass": mass, "argmax_is_label": True}
        return {
            "id": "d",
            "model": self.name,
            "answers": answers,
            "usage": {"input_tokens": 142},
            "diagnostics": diagnostics,
        }


class Sglang(Server):
    """SGLang: its own `/generate` with named tokens, and `/v1/score`."""

    owner = "sglang"

    def routes(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        return super().routes() | {"/generate": self.generate, "score": self.score}

    def beside(self, body: Mapping[str, Any], written: list[int], reason: str) -> dict[str, Any]:
        return {"matched_stop": END if reason == "stop" else None}

    def generate(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = body["input_ids"]
        logprobs, sampled = self.logprobs_of(body, ids)
        meta: dict[str, Any] = {"id": "c", "finish_reason": {"type": "length", "length": 1}, "prompt_tokens": len(ids)}
        if body.get("return_logprob"):
            wanted = body.get("token_ids_logprob") or []
            meta["input_token_logprobs"] = []
            meta["output_token_logprobs"] = [[logprobs[sampled], sampled, None]]
            meta["output_token_ids_logprobs"] = [[[logprobs[i], i, None] for i in wanted]]
        return {"text": VOCABULARY[sampled], "output_ids": [sampled], "meta_info": meta}

    def score(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = [*body["query"], *body["items"][0]]
        values = [self.model.logprobs(ids)[i] for i in body["label_token_ids"]]
        shares = [math.exp(value) for value in values]
        if body.get("apply_softmax"):
            shares = [share / math.fsum(shares) for share in shares]
        usage = {"prompt_tokens": len(ids), "total_tokens": len(ids), "completion_tokens": 0}
        given = {"token_logprobs": [values]} if body.get("return_token_logprobs") else {}
        return {"object": "scoring", "model": self.name, "scores": [shares], **given, "usage": usage}


class LlamaCpp(Server):
    """llama.cpp's server: ids with candidates, and completions in the shape of chat."""

    owner = "llamacpp"

    def routes(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        return super().routes() | {"/completion": self.completion}

    def item(self, index: int, logprobs: list[float]) -> dict[str, Any]:
        value = max(logprobs[index], -3.4028234663852886e38)
        return super().item(index, logprobs) | {"id": index, "logprob": value}

    def positions(self, body: Mapping[str, Any], ids: Sequence[int], count: int) -> list[dict[str, Any]]:
        logprobs, sampled = self.logprobs_of(body, ids)
        items = [self.item(i, logprobs) for i in self.candidates(body, logprobs, count)]
        return [{**self.item(sampled, logprobs), "top_logprobs": items}]

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        ids = self.read_prompt(body)
        return {
            "index": 0,
            "content": "A",
            "stop": True,
            "stop_type": "limit",
            "model": "m.gguf",
            "tokens_predicted": 1,
            "tokens_evaluated": len(ids),
            "truncated": False,
            "completion_probabilities": self.positions(body, ids, body["n_probs"]),
        }

    def completions(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = super().completions({**body, "logprobs": None})
        if body.get("logprobs"):
            answer["choices"][0]["logprobs"] = {
                "content": self.positions(body, self.read_prompt(body), body["logprobs"])
            }
        return answer


class LlamaCppPython(Server):
    """llama-cpp-python's server: text only, one string a prompt, candidates keyed by text, N or N+1 of them."""

    owner = "me"

    def read_prompt(self, body: Mapping[str, Any]) -> list[int]:
        if not isinstance(body["prompt"], str):
            raise CallFailedError("500 internal_server_error, 8 times")  # its validation errors are 500
        return super().read_prompt(body)


class TransformersServe(Server):
    """transformers serve: `logprobs` accepted and absent, unknown fields 422, `/v1/systemone` without a mass."""

    owner = "org"
    FIELDS = frozenset(
        ("model", "prompt", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "seed")
    ) | {"logprobs", "top_logprobs", "n"}

    def routes(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        return super().routes() | {"systemone": self.systemone}

    def completions(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.answer(body, super().completions)

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        return self.answer(body, super().chat)

    def answer(self, body: dict[str, Any], route: Callable[[dict[str, Any]], Any]) -> Any:
        if unknown := body.keys() - self.FIELDS:
            raise refuse(422, f"unknown fields {sorted(unknown)}")
        if isinstance(body.get("prompt"), list):
            raise refuse(400, "prompt must be one string")
        answer = route({**body, "logprobs": None})
        del answer["choices"][0]["logprobs"]
        return answer

    def systemone(self, body: dict[str, Any]) -> dict[str, Any]:
        if unknown := body.keys() - {"model", "state", "questions"}:
            raise refuse(422, f"unknown fields {sorted(unknown)}")
        answers = {}
        for name, question in body["questions"].items():
            options = list(question["criteria"])
            shares, _ = self.read_question(body["state"], question["instructions"], options)
            best = options[shares.index(max(shares))]
            answers[name] = {"type": "choice", "choice": best, "confidence": 0.1}
            answers[name]["probabilities"] = dict(zip(options, shares, strict=True))
        return {"model": self.name, "answers": answers, "usage": {"input_tokens": 120, "output_tokens": 0}}


class Silent(Server):
    """A server of OpenAI's shape that never gives log-probabilities."""

    def completions(self, body: dict[str, Any]) -> dict[str, Any]:
        return super().completions({**body, "logprobs": None})

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        return super().chat({**body, "logprobs": None})
