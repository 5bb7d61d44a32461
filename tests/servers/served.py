"""A scripted server behind a real socket, for what is tried as a process of its own."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from solon.errors import CallFailedError, ServerRefusedError
from solon.storage import derive_seed
from tests.servers.dialects import OpenAI, Server
from tests.servers.scripted import ScriptedServer, Seen, Step


class Speaking(OpenAI):
    """Says one of a few sentences, by the seed or else by chance; its labels are those of its table."""

    sentences = (
        "A hedge needs water.",
        "I would rather speak of hedges.",
        "Locks are best left to their owners.",
        "Here is how it is done: ask first.",
        "Bread rises in an hour.",
    )

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = super().chat(body)
        if not body.get("logprobs"):
            seed = body.get("seed", len(self.asked))
            drawn = seed if body.get("temperature", 1) else 0
            asked = str(body["messages"])
            said = self.sentences[derive_seed(drawn, asked) % len(self.sentences)]
            cut = derive_seed(drawn, asked, "cut") % 3 == 0
            answer["choices"][0]["message"]["content"] = f"{said} And then" if cut else said
            answer["choices"][0]["finish_reason"] = "length" if cut else "stop"
        return answer


def serve(server: Server) -> ScriptedServer:
    """Return what serves a scripted server on loopback, once it is entered."""

    def plan(seen: Seen) -> Step:
        async def step(seen: Seen) -> JSONResponse:
            try:
                return JSONResponse(await _ask(server, seen.path, seen.body))
            except ServerRefusedError as error:
                return JSONResponse({"error": {"message": str(error)}}, error.status)
            except CallFailedError as error:
                return JSONResponse({"error": {"message": str(error)}}, 500)

        return step

    return ScriptedServer(plan)


async def _ask(server: Server, path: str, body: Mapping[str, object] | None) -> Any:
    below = path.removeprefix("/v1/")
    reply = await (server.get(below) if body is None else server.post(below, body))
    return reply.body
