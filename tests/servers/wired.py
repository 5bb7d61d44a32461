"""A dialect of `dialects`, behind a socket: for runs that go through the whole transport."""

import asyncio

from solon.errors import ServerRefusedError
from tests.servers.dialects import Server
from tests.servers.scripted import ScriptedServer, Seen, Step, say


def serve(dialect: Server) -> ScriptedServer:
    """Return a server, not yet begun, that answers as a dialect does."""

    def plan(seen: Seen) -> Step:
        path = seen.path.removeprefix("/v1/")
        asked = dialect.get(path) if seen.body is None else dialect.post(path, seen.body)
        try:
            return say(200, asyncio.run(asked).body)
        except ServerRefusedError as error:
            return say(error.status, {"error": {"message": error.said}})

    def in_a_thread(seen: Seen) -> Step:  # the server has an event loop of its own in this one
        async def step(seen: Seen) -> object:
            return await (await asyncio.to_thread(plan, seen))(seen)

        return step  # type: ignore[return-value]

    return ScriptedServer(in_a_thread)
