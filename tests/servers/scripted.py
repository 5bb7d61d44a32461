"""A server that does what a test says: answers, errors, pages, silence, resets; and counts what it saw.

It runs in a thread, on loopback, at a port that the system chooses.
"""

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

Step = Callable[["Seen"], Awaitable[Response]]
Plan = Callable[["Seen"], Step]


@dataclass
class Seen:
    """A request as the server saw it."""

    number: int
    path: str
    headers: dict[str, str]
    body: Any
    request: Request


@dataclass
class ScriptedServer:
    """Serves by a plan, which says for each request what is done with it.

    Attributes:
        plan: the plan; an answer that repeats the body by default.
        slots: requests that are worked on at once, each for `seconds`; None for no bound.
        port: where it listens; 0 for one that is free.
        seen: requests, in order of arrival.
        answered: their bodies, where a whole answer was given.
        most_at_once: most requests that were under way at one time.
        left: requests whose client went before an answer.
    """

    plan: Plan = field(default=lambda seen: answer)
    slots: int | None = None
    seconds: float = 0.0
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    answered: list[Any] = field(default_factory=list)
    under_way: int = 0
    most_at_once: int = 0
    busy: int = 0
    most_busy: int = 0
    left: int = 0

    def __enter__(self) -> "ScriptedServer":
        self._free = asyncio.Semaphore(self.slots) if self.slots is not None else None
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self.root = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.base = f"{self.root}/v1"
        app = Starlette(routes=[Route("/{path:path}", self._serve, methods=["GET", "POST"])])
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", http=_Protocol)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve(sockets=[self._socket])))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()

    async def _serve(self, request: Request) -> Response:
        content = await request.body()
        body = json.loads(content) if content else None
        seen = Seen(len(self.seen), request.url.path, dict(request.headers), body, request)
        self.seen.append(seen)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            if self._free is None:
                return await self._do(seen)
            async with self._free:
                self.busy += 1
                self.most_busy = max(self.most_busy, self.busy)
                try:
                    await asyncio.sleep(self.seconds)
                    return await self._do(seen)
                finally:
                    self.busy -= 1
        finally:
            self.under_way -= 1

    async def _do(self, seen: Seen) -> Response:
        step = self.plan(seen)
        response = await step(seen)
        if step is answer:
            self.answered.append(seen.body)
        if step is hang:
            self.left += 1
        return response


class _Protocol(H11Protocol):
    """Lets a step reach the connection, to break it."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


async def answer(seen: Seen) -> Response:
    """Answer with the body that was sent."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return JSONResponse({"echo": seen.body, "usage": usage})


def say(status: int, body: object, **headers: str) -> Step:
    """Answer with a status, JSON (or bytes as they are) and headers, `_` in their names for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def step(seen: Seen) -> Response:
        if isinstance(body, bytes):
            return Response(body, status, headers=named)
        return JSONResponse(body, status, headers=named)

    return step


async def hang(seen: Seen) -> Response:
    """Say nothing until the client has gone."""
    while (await seen.request.receive())["type"] != "http.disconnect":
        pass
    return Response()


async def reset(seen: Seen) -> Response:
    """Break the connection before an answer."""
    seen.request.state.transport.abort()
    return Response()


async def cut(seen: Seen) -> Response:
    """Break the connection in the middle of an answer."""

    async def half() -> Any:
        yield b'{"echo": '
        await asyncio.sleep(0)  # so that this much is sent
        seen.request.state.transport.abort()
        await asyncio.Event().wait()  # until it is noticed

    return StreamingResponse(half(), media_type="application/json", headers={"content-length": "1000"})


async def page(seen: Seen) -> Response:
    """Answer with the page of a proxy."""
    return HTMLResponse("<html><title>502</title>" + "<p>Bad gateway</p>" * 100, 500)


async def echo_key(seen: Seen) -> Response:
    """Refuse, and repeat the key."""
    given = seen.headers.get("authorization", "")
    return JSONResponse({"error": {"message": f"Incorrect API key provided: {given}", "code": "invalid_api_key"}}, 401)
