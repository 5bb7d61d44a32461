"""Proves that a real server is read as it is: transformers serve, asked in memory, on a tiny random checkpoint. It
accepts `logprobs` and gives none, so labels come by `/v1/systemone`, without a mass, and are those of its own pipeline.

Needs the packages of `transformers[serving]`; in the matrix of `make test-full`.
"""

import asyncio
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from solon.errors import CallFailedError, ModelError, ServerRefusedError
from solon.lm.server.dialects import ChatByText
from solon.lm.server.routing import TRIED, ask, lay_out_question
from solon.lm.server.transport import Reply
from solon.records import Sampling
from tests.unit.lm.server.serving import OPTIONS, chat, connect, transcript

pytestmark = pytest.mark.full


class Served:
    """The application of a server, called without a network."""

    def __init__(self, application: Any, name: str) -> None:
        self.application = application
        self.name = name

    async def post(self, path: str, body: Mapping[str, object]) -> Reply:
        return await self.call("POST", path, json.dumps(body).encode())

    async def get(self, path: str) -> Reply:
        return await self.call("GET", path, b"")

    async def call(self, method: str, path: str, body: bytes) -> Reply:
        sent: list[Any] = []
        asked = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if not asked:
                await asyncio.Event().wait()
            return asked.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        path = path if path.startswith("/") else f"/v1/{path}"
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": headers}
        scope |= {"query_string": b"", "http_version": "1.1", "scheme": "http", "client": ("x", 1), "server": ("x", 2)}
        try:
            await self.application(scope, receive, send)
        except Exception as error:  # what a client sees as 500, again and again
            raise CallFailedError(f"{path}: {error}") from error
        status = next(message["status"] for message in sent if message["type"] == "http.response.start")
        text = b"".join(message.get("body", b"") for message in sent).decode()
        if status >= 400:
            raise ServerRefusedError(f"refused with {status}: {text[:200]}", status=status, said=text[:200])
        return Reply(json.loads(text), "http://in-memory")


@pytest.fixture(scope="module")
def served(tiny_model_dir: Path) -> Any:
    pytest.importorskip("fastapi", reason="transformers serve needs  pip install 'transformers[serving]'")
    pytest.importorskip("accelerate", reason="transformers serve needs  pip install accelerate")
    import uvicorn
    from transformers.cli.serve import Serve

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.Server, "run", lambda self: None)  # the application is called, not listened for
        server = Serve(force_model=str(tiny_model_dir), device="cpu", dtype="float32")
    yield Served(server.server.config.app, str(tiny_model_dir))
    server._generation_state.shutdown()
    server._model_manager.shutdown()


def test_its_labels_are_those_of_its_own_pipeline(served: Served, tiny_model_dir: Path) -> None:
    from transformers import pipeline

    model = connect(served)
    assert (model.findings.dialect, model.findings.fault) == ("systemone", "")
    decide = pipeline("decision", model=str(tiny_model_dir), device="cpu", dtype="float32")
    for text in ("it rains", "take the lamp today", "<|end|> A"):
        prompt = chat(untrusted=text)
        choice = asyncio.run(model.choose(prompt, OPTIONS))
        assert not choice.has_mass
        state = f"Which is better? {text}\n\nThe answer is: (".replace("<|end|>", "<\\|end|>")
        question = {"type": "choice", "instructions": "Which option does the text go on with?"}
        asked = {"state": state, "questions": {"answer": {**question, "criteria": dict.fromkeys(OPTIONS)}}}
        shares = decide(asked)["answer"]["probabilities"]
        assert [math.exp(value) for value in choice.logprobs] == pytest.approx([shares[option] for option in OPTIONS])
        assert shares["A"] != shares["B"]


def test_it_is_not_read_by_log_probabilities_that_do_not_come(served: Served) -> None:
    model = connect(served)
    asked = ask(model.findings, lay_out_question("chat", TRIED[0]), None, {})
    with pytest.raises(Exception, match="the server gave no log-probabilities"):
        asyncio.run(ChatByText(model.findings.limit).look(served, served.name, asked, OPTIONS))


def test_it_writes_and_does_not_draw_where_the_model_does_not_say_so(served: Served) -> None:
    model = connect(served, layout="transcript")
    prompt = transcript("take the lamp")
    sample = asyncio.run(model.generate(prompt, Sampling(max_tokens=5, temperature=0.0), seed=1))
    assert sample.text
    assert 0 < sample.generated_tokens <= 5
    with pytest.raises(ModelError, match="do_sample true in the model's generation_config"):
        asyncio.run(model.generate(prompt, Sampling(max_tokens=5), seed=1))
