"""The transport over HTTP: tries until there is an answer, where there is room, within limits of time and pace.

One call at a time passes the turnstile, the calls that were tried before first: it takes a place at the server with
the least to do, and waits for the pace. Only then does its time begin to run, so that a call does not fail for having
waited behind others; it runs too while every server is dead. How many are under way at a server, and whether it is left
alone, `load` decides; what an answer is, `faults`.

A key is put on a request where it leaves, if it leaves for the server that the key is meant for; whatever else the
client library would send along from the environment is taken off there. Redirects are not followed, proxies of the
environment are not used. Each new connection is held to `check_peer` before a byte is sent over it.

Connections belong to an event loop. A run has one for each stage, so a transport opens connections anew in each, and
has them closed when the loop shuts down its asynchronous generators, as `asyncio.run` does at its end. What it has
learnt about the servers it keeps.
"""

import asyncio
import json
import random
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import httpx2
import openai

from solon.errors import CallFailedError, ModelError, ServerRefusedError, ServerUnreachableError
from solon.lm.server.address import Address, check_peer, root_of
from solon.lm.server.faults import LONGEST_WAIT, Answer, Fault, describe, read_answer
from solon.lm.server.keys import OPENAI, Key, find_keys
from solon.lm.server.load import Server, Window
from solon.lm.server.pace import Pace, Turnstile
from solon.lm.server.transport import Reply, TransportSettings
from solon.lm.tries import Try, note_try
from solon.storage import Closing

_FIRST_WAIT: Final = 0.5
_LONGEST_BACKOFF: Final = 30.0
"""Seconds at most between the first two tries, and between any, where the server asks for none."""

_JITTER = random.Random()
"""Apart from the draws of the program: how long was waited decides no answer."""

_CONNECT_SECONDS = 10.0
_KEPT_ALIVE = 4.0
"""Seconds for which an idle connection is kept; servers close theirs after 5 and more."""

_SENT = frozenset({"host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent"})
_SENT_TO_OPENAI = frozenset({"openai-organization", "openai-project"})

_ADVICE = {
    400: "the request does not suit this server: see its documentation, or its log",
    401: "name the environment variable that holds its key as key_env",
    403: "see whether the key may use this model",
    404: "see whether the base URL (often with /v1) and the name of the model are right",
    413: "shorten the prompts, or raise the limit of the server",
    422: "the request does not suit this server: see its documentation, or its log",
    501: "the server cannot do this with this model",
}

Method = Literal["GET", "POST"]


@dataclass
class _Call:
    """A call under way.

    Attributes:
        path: as it was asked for.
        content: the body as it is sent; empty for none.
        deadline: when it is given up, by the clock of the event loop; None before its first request.
        tries: requests that reached a server.
        faults: the last at each server.
    """

    method: Method
    path: str
    content: bytes
    deadline: float | None = None
    tries: int = 0
    faults: dict[str, Fault] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class ServerTransport(Closing):
    """Sends requests to a model on servers; see `Transport`.

    Args:
        address: where the model is.
        settings: limits of time, tries and pace.
        keys: the key of each base URL that has one; by default those that the settings say, from the environment.

    Raises:
        ConfigError: a key is not there.
    """

    def __init__(
        self,
        address: Address,
        settings: TransportSettings | None = None,
        *,
        keys: Mapping[str, Key] | None = None,
    ) -> None:
        self._settings = settings if settings is not None else TransportSettings()
        self._keys = find_keys(address, self._settings.key_env) if keys is None else keys
        most = self._settings.max_concurrency
        self._servers = tuple(Server(base, Window(most)) for base in address.bases)
        self._context = ssl.create_default_context()
        self._session: _Session | None = None
        self._is_closed = False

    async def post(self, path: str, body: Mapping[str, object]) -> Reply:
        """Send a body and return the answer; see `Transport.post`."""
        content = json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
        return await self._make(_Call("POST", path, content))

    async def get(self, path: str) -> Reply:
        """Fetch a page; see `Transport.get`."""
        return await self._make(_Call("GET", path, b""))

    def close(self) -> None:
        """Take no more calls. Connections are closed with the event loop; `aclose` closes them now."""
        self._is_closed = True

    async def aclose(self) -> None:
        """Take no more calls, and close the connections."""
        self.close()
        if self._session is not None:
            await self._session.aclose()

    async def _make(self, call: _Call) -> Reply:
        session = await self._open_session()
        while True:
            async with session.place(call) as server:
                outcome = await session.send(server, call)
            if isinstance(outcome, Answer):
                return Reply(body=outcome.body, server=server.base)
            call.faults[server.base] = outcome
            await self._wait_for_next(call, server, outcome)

    async def _wait_for_next(self, call: _Call, server: Server, fault: Fault) -> None:
        """Wait until a call may be tried again.

        Raises:
            ServerRefusedError, CallFailedError: it may not.
        """
        where = f"{server.base}: {call}"
        if fault.is_final:
            advice = _ADVICE.get(fault.status or 0, "see the server's documentation")
            if fault.reason == "no_quota":
                advice = "the account has no quota left, and waiting does not help: add credit, or use another key"
            elif fault.status is not None and 300 <= fault.status < 400:
                advice = "give where it leads as the base URL, if that is meant"
            raise ServerRefusedError(f"{where}: {fault}: {advice}", status=fault.status or 0, said=fault.said)
        if not fault.may_retry:
            raise CallFailedError(f"{where}: {fault}: the server says that it is not to be tried again")
        if call.tries >= self._settings.max_tries:
            raise CallFailedError(f"{self._describe(call)}: no answer in {call.tries} tries: see the servers' logs")
        if fault.reason == "unreachable":
            return  # nothing was sent: the next server that has room can be asked at once
        wait = fault.wait
        if wait is None:
            wait = _JITTER.uniform(0, min(_LONGEST_BACKOFF, _FIRST_WAIT * 2.0 ** min(call.tries - 1, 30)))
        elif wait > LONGEST_WAIT:
            raise CallFailedError(
                f"{where}: {fault}: the server asks to wait {wait:.0f} s, more than the {LONGEST_WAIT:.0f} s that a "
                "call waits: run again then, with a lower requests_per_minute"
            )
        left = (call.deadline or 0.0) - asyncio.get_running_loop().time()
        if wait > left:
            raise self._give_up(call)
        await asyncio.sleep(wait)

    def _give_up(self, call: _Call) -> CallFailedError:
        within = f"{self._settings.total_seconds:g} s"
        faults = self._last_faults(call).values()
        if not call.tries and faults and all(fault.reason == "unreachable" for fault in faults):
            return ServerUnreachableError(
                f"{self._describe(call)}: no server was reached within {within}: see whether it runs, and whether the "
                "base URL is right"
            )
        return CallFailedError(
            f"{self._describe(call)}: no answer within {within} and {call.tries} tries: see whether the servers run "
            "and are quick enough, or raise total_seconds"
        )

    def _describe(self, call: _Call) -> str:
        return f"{call}: {'; '.join(f'{base}: {fault}' for base, fault in self._last_faults(call).items())}"

    def _last_faults(self, call: _Call) -> dict[str, Fault]:
        """Return the last fault of each server that has one: of a call, or of any if the server rests."""
        faults = {
            server.base: call.faults.get(server.base, server.last_fault if server.rest_ends is not None else None)
            for server in self._servers
        }
        return {base: fault for base, fault in faults.items() if fault is not None}

    async def _open_session(self) -> "_Session":
        if self._is_closed:
            raise ModelError("this model was closed: open it again")
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.loop is not loop:
            clients = {
                base: _open_client(base, self._keys.get(base), self._context, self._settings)
                for base in (server.base for server in self._servers)
            }
            self._session = _Session(loop, self._servers, clients, self._settings, self._give_up)
            await self._session.open()
        return self._session


class _Session:
    """What a transport has in one event loop: connections, and the calls that wait.

    Args:
        loop: the event loop.
        servers: with what was learnt of them before.
        clients: one of each base URL.
        settings: limits of time, tries and pace.
        give_up: returns the failure of a call whose time is over.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        servers: tuple[Server, ...],
        clients: Mapping[str, openai.AsyncOpenAI],
        settings: TransportSettings,
        give_up: Callable[[_Call], CallFailedError],
    ) -> None:
        self.loop = loop
        self._servers = servers
        self._settings = settings
        self._give_up = give_up
        self._clients = clients
        self._turnstile = Turnstile()
        self._pace = Pace(settings.requests_per_minute, settings.tokens_per_minute)
        self._change: asyncio.Future[None] = loop.create_future()
        self._clocks: set[asyncio.Timeout] = set()  # of calls whose time does not run yet
        self._holder = self._hold_open()
        for server in servers:
            server.under_way = 0  # another event loop's went with it

    async def open(self) -> None:
        """Have the connections closed at the latest when the event loop shuts down."""
        await anext(self._holder)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._holder.aclose()

    async def _hold_open(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            for client in self._clients.values():
                await client.close()

    @asynccontextmanager
    async def place(self, call: _Call) -> AsyncIterator[Server]:
        """Wait for a place at a server, and have it within.

        Raises:
            CallFailedError: the call's time is over.
        """
        try:
            async with self._running_clock(call), self._turnstile.passing(is_new=call.deadline is None):
                server = await self._take_place()
                try:
                    await self._pace.wait(len(call.content))
                except BaseException:
                    self._give_place_back(server)
                    raise
        except TimeoutError as error:
            raise self._give_up(call) from error
        if call.deadline is None:
            call.deadline = self.loop.time() + self._settings.total_seconds
        try:
            yield server
        finally:
            self._give_place_back(server)

    async def _take_place(self) -> Server:
        """Wait until a server has room; only whoever has the turn is here."""
        while True:
            now = self.loop.time()
            free = [server for server in self._servers if server.has_room(now)]
            if free and sum(server.under_way for server in self._servers) < self._settings.max_concurrency:
                server = min(free, key=lambda server: server.load)
                server.under_way += 1
                return server
            waits = [server.opens_at - now for server in self._servers if server.opens_at > now]
            self._change = self.loop.create_future()
            await asyncio.wait([self._change], timeout=min(waits, default=None))

    def _give_place_back(self, server: Server) -> None:
        server.under_way -= 1
        if not self._change.done():
            self._change.set_result(None)

    @asynccontextmanager
    async def _running_clock(self, call: _Call) -> AsyncIterator[None]:
        """End the wait of a call when its time is over; that of a new one runs only while every server is dead."""
        async with asyncio.timeout_at(call.deadline) as clock:
            if call.deadline is None:
                self._clocks.add(clock)
                if self._are_dead():
                    clock.reschedule(self.loop.time() + self._settings.total_seconds)
            try:
                yield
            finally:
                self._clocks.discard(clock)

    def _are_dead(self) -> bool:
        return all(server.rest_ends is not None for server in self._servers)

    async def send(self, server: Server, call: _Call) -> Answer | Fault:
        """Make one try, and take note of it."""
        assert call.deadline is not None
        begun, clock = self.loop.time(), time.time()
        were_dead, was_full = self._are_dead(), server.is_full
        outcome: Answer | Fault = Fault("cancelled", "", may_retry=False, maybe_paid=True)
        status: int | None = None
        try:
            try:
                async with asyncio.timeout(min(self._settings.timeout_seconds, call.deadline - begun)):
                    response = await self._request(server, call)
                status = response.status_code
                outcome = read_answer(status, response.headers, response.content)
            except TimeoutError:
                outcome = Fault("timeout", f"after {self.loop.time() - begun:.1f} s", maybe_paid=True)
            except openai.APIConnectionError as error:
                outcome = _network_fault(error)
            except ModelError as error:  # of the hook: nothing was sent
                outcome = Fault("unreachable", describe(error))
                raise
            return outcome
        finally:
            fault = outcome if isinstance(outcome, Fault) else None
            self._learn(server, call, outcome, begun, was_full=was_full, were_dead=were_dead)
            answer = outcome if isinstance(outcome, Answer) else None
            note_try(
                Try(
                    server=server.base,
                    begun=clock,
                    seconds=self.loop.time() - begun,
                    status=status,
                    fault=None if fault is None else fault.reason,
                    said="" if fault is None else fault.said,
                    maybe_paid=fault is not None and fault.maybe_paid,
                    prompt_tokens=None if answer is None else answer.prompt_tokens,
                    generated_tokens=None if answer is None else answer.generated_tokens,
                    cached_tokens=None if answer is None else answer.cached_tokens,
                )
            )

    def _learn(
        self, server: Server, call: _Call, outcome: Answer | Fault, begun: float, *, was_full: bool, were_dead: bool
    ) -> None:
        """Take note of what became of a try: for the server, the pace, and the clocks of those who wait."""
        now = self.loop.time()
        if isinstance(outcome, Answer):
            server.answered(begun, now, was_full=was_full)
            if outcome.prompt_tokens is not None or outcome.generated_tokens is not None:
                self._pace.correct(len(call.content), (outcome.prompt_tokens or 0) + (outcome.generated_tokens or 0))
        elif outcome.reason != "cancelled":
            server.failed(outcome, begun, now)
        call.tries += not (isinstance(outcome, Fault) and outcome.reason == "unreachable")
        if (are_dead := self._are_dead()) != were_dead:
            for clock in self._clocks:
                clock.reschedule(now + self._settings.total_seconds if are_dead else None)

    async def _request(self, server: Server, call: _Call) -> httpx2.Response:
        client = self._clients[server.base]
        url = root_of(server.base) + call.path if call.path.startswith("/") else f"{server.base}/{call.path}"
        try:
            if call.method == "GET":
                return await client.get(url, cast_to=httpx2.Response)
            return await client.post(url, cast_to=httpx2.Response, content=call.content)
        except openai.APIStatusError as error:
            return error.response


def _network_fault(error: openai.APIConnectionError) -> Fault:
    """Return what a failure below HTTP is; no connection came about, or it broke and the work may have been done."""
    cause = error.__cause__
    said = describe(f"{type(cause).__name__}: {cause}" if cause is not None else error)
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout):
        return Fault("unreachable", said)
    if isinstance(cause, httpx2.TimeoutException):
        return Fault("timeout", said, maybe_paid=True)
    return Fault("broken", said, maybe_paid=True)


def _open_client(
    base: str, key: Key | None, context: ssl.SSLContext, settings: TransportSettings
) -> openai.AsyncOpenAI:
    """Return a client of one server; it tries once, and has nothing from the environment."""
    http = httpx2.AsyncClient(
        verify=context,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx2.Timeout(None, connect=min(_CONNECT_SECONDS, settings.timeout_seconds)),
        limits=httpx2.Limits(keepalive_expiry=_KEPT_ALIVE),
        event_hooks={"request": [_make_hook(base, key)]},
    )
    return openai.AsyncOpenAI(
        api_key="put on by the hook",
        admin_api_key="",
        base_url=base,
        max_retries=0,
        timeout=http.timeout,
        http_client=http,
    )


def _make_hook(base: str, key: Key | None) -> Callable[[httpx2.Request], Any]:
    """Return what is done to every request before it leaves."""
    meant = httpx2.URL(base)
    sent = _SENT | _SENT_TO_OPENAI if base.startswith(f"{OPENAI}/") else _SENT

    async def prepare(request: httpx2.Request) -> None:
        for name in set(request.headers) - sent:
            del request.headers[name]
        request.headers["user-agent"] = "solon"
        if (request.url.scheme, request.url.host, request.url.port) != (meant.scheme, meant.host, meant.port):
            raise ModelError(f"{base}: a request was about to go to {request.url.host}: nothing is sent there")
        if key is not None:
            request.headers["authorization"] = f"Bearer {key.value.get_secret_value()}"
        request.extensions["trace"] = check

    async def check(event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            stream = info["return_value"]
            try:
                check_peer(base, stream.get_extra_info("server_addr")[0])
            except ModelError:
                await stream.aclose()
                raise

    return prepare
