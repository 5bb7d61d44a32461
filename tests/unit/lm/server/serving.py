"""What the tests of servers share: prompts, and a model that is connected to a scripted server."""

import asyncio
from typing import Any

from solon.lm import ScriptedModel
from solon.lm.server.model import ServerModel
from solon.lm.server.probe import probe
from solon.lm.server.routing import Wanted
from solon.lm.server.settings import ServerSettings
from solon.lm.server.transport import Transport
from solon.records import Layout, Rendered, Sample, Sampling, Span, Turn
from tests.servers.dialects import Server, TableTokens

OPTIONS = ("A", "B")


def chat(asked: str = "Which is better?", *, lead: str = "The answer is: (", untrusted: str = "it rains") -> Rendered:
    """Return a comparison in turns, whose answer the assistant has begun."""
    user = Turn(role="user", spans=(Span(text=asked + " ", trusted=True), Span(text=untrusted, trusted=False)))
    begun = Turn(role="assistant", spans=(Span(text=lead, trusted=True),))
    return Rendered(layout="chat", turns=(user, begun) if lead else (user,))


def transcript(asked: str = "Human: which is better?\n\nAssistant: The answer is: (") -> Rendered:
    return Rendered(layout="transcript", turns=(Turn(role="user", spans=(Span(text=asked, trusted=True),)),))


def connect(server: Server, *, layout: Layout = "chat", ids: bool = False, **settings: Any) -> ServerModel:
    """Probe a server and return the model behind it."""
    given, tokens = ServerSettings(**settings), TableTokens() if ids else None
    findings = asyncio.run(probe(server, Wanted(server.name, layout, given, tokens)))
    return ServerModel(server, findings, given, tokens=tokens)


class Served(ScriptedModel):
    """A model whose samples are what a server echoes."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(lambda *_: "yes")
        self._transport = transport

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        await self._transport.post("completions", {"n": seed})
        return await super().generate(prompt, sampling, seed=seed)
