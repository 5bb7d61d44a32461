"""Proves what the transport does with each thing that a server may do: what is tried again, when, where, and how often;
that nothing is lost or doubled; that each try is kept. All against a scripted server on loopback, by what it counted.
"""

import asyncio
import logging
import re
import socket
import sqlite3
import sys
import threading
import warnings
from collections import Counter, defaultdict
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from solon.errors import CallFailedError, ModelError, ServerRefusedError, ServerUnreachableError
from solon.lm import Journal, JournaledModel, read_tries
from solon.lm.server import client, load
from solon.lm.server.address import Address
from solon.lm.server.client import ServerTransport
from solon.lm.server.transport import Reply, TransportSettings
from solon.lm.tries import keeping_tries
from solon.records import Sampling
from tests.asking import ask
from tests.servers.scripted import ScriptedServer, answer, cut, hang, page, reset, say
from tests.unit.lm.server.serving import Served

QUOTA = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "x"}}


WAITING = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "os.system"})
"""What Python reports of itself, and what keeps its thread waiting for the system."""

_watches = []


def _report(event, _):
    for events, seen in _watches:
        if event in events:
            seen.append((event, asyncio._get_running_loop() is not None))


@contextmanager
def watching(events):
    """Return a list that fills with each of these events of the interpreter, and whether an event loop waits for it."""
    if not hasattr(watching, "hooked"):  # a hook cannot be taken off again
        sys.addaudithook(_report)
        watching.hooked = True
    watch = events, []
    _watches.append(watch)
    try:
        yield watch[1]
    finally:
        _watches.remove(watch)


@pytest.fixture(autouse=True)
def tiny_waits(monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(load, "FIRST_REST", 0.001)
    monkeypatch.setattr(load, "LONGEST_REST", 0.01)


def first(*steps, then=answer):
    """Do these steps, one for each request, and then another."""
    return lambda seen: steps[seen.number] if seen.number < len(steps) else then


def ask_servers(servers, work, **settings):
    """Do work with a transport to servers, and close its connections; return what came of it."""
    given = {"timeout_seconds": 30, "total_seconds": 60, **settings}

    async def run():
        transport = ServerTransport(Address(tuple(servers), "m"), TransportSettings(**given), keys={})
        try:
            return await work(transport)
        finally:
            await transport.aclose()

    return asyncio.run(run())


def post(server, path="chat/completions", body=None, **settings):
    return ask_servers([server.base], lambda transport: transport.post(path, body or {"n": 1}), **settings)


def test_a_body_goes_there_and_a_json_value_comes_back():
    with ScriptedServer(first(say(200, [1, None]))) as server:
        reply = post(server, body={"prompt": "Grüße \ud83d", "n": 1})
    assert reply == Reply(body=[1, None], server=server.base)
    assert server.seen[0].body == {"prompt": "Grüße \ud83d", "n": 1}
    assert server.seen[0].path == "/v1/chat/completions"
    assert server.seen[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(("path", "at"), [("/generate", "/generate"), ("completions", "/v1/completions")])
def test_a_path_is_the_bases_or_with_a_slash_the_roots(path, at):
    async def both(transport):
        await transport.post(path, {})
        return await transport.get(path)

    with ScriptedServer() as server:
        reply = ask_servers([server.base], both)
    assert [(seen.path, seen.request.method) for seen in server.seen] == [(at, "POST"), (at, "GET")]
    assert reply.body["echo"] is None


RETRIED = {
    **{f"status {status}": say(status, {"error": "x"}) for status in (408, 409, 429, 500, 502, 503, 504, 520)},
    "an empty 500": say(500, b""),
    "a page": page,
    "a reset": reset,
    "a cut body": cut,
    "no JSON": say(200, b"<html>please log in</html>"),
    "half of JSON": say(200, b'{"choices": ['),
    "nested too deep": say(200, b"[" * 100_000),
    "an error within 200": say(200, {"error": {"message": "overloaded"}}),
    "an error object within 200": say(200, {"object": "error", "message": "x", "code": 500}),
    "a 400 that should be retried": say(400, {}, x_should_retry="true"),
    "a wait in milliseconds": say(429, {}, retry_after_ms="1"),
    "a wait in seconds": say(429, {}, retry_after="0.001"),
    "a wait until a date that is past": say(503, {}, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    "a wait that cannot be read": say(429, {}, retry_after="soon", retry_after_ms="nan"),
}


@pytest.mark.parametrize("fault", RETRIED)
def test_what_may_pass_is_tried_again(fault):
    with ScriptedServer(first(RETRIED[fault], RETRIED[fault])) as server:
        assert post(server).body["echo"] == {"n": 1}
    assert len(server.seen) == 3


REFUSED = {
    **{
        f"status {status}": (say(status, {"error": "x"}), status) for status in (400, 401, 403, 404, 413, 415, 422, 501)
    },
    "no quota": (say(429, QUOTA), 429),
    "no quota, whatever else it says": (say(429, QUOTA, x_should_retry="true", retry_after="1"), 429),
    "no quota within 200": (say(200, QUOTA), 200),
    "another's refusal within 200": (say(200, {"error": {"message": "x", "code": 400}}), 200),
    "a redirect": (say(307, b"", location="http://localhost:1/v1"), 307),
    "a status that is not known": (say(418, b"teapot"), 418),
}


@pytest.mark.parametrize("refusal", REFUSED)
def test_what_would_not_pass_is_said_at_once(refusal):
    step, status = REFUSED[refusal]
    with ScriptedServer(first(step)) as server, pytest.raises(ServerRefusedError) as caught:
        post(server)
    assert len(server.seen) == 1
    assert caught.value.status == status
    assert str(caught.value).startswith(f"{server.base}: POST chat/completions: {status} ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "of A", "code": "model_not_found"}}, "of A"),
        ({"error": {"message": "of B", "type": "NotFoundError", "param": "model", "code": 404}}, "of B"),
        ({"error": "of C"}, "of C"),
        ({"object": "error", "message": "of D", "code": 404}, "of D"),
        ({"detail": "of F"}, "of F"),
        (
            {"detail": [{"loc": ["body", "n"], "msg": "missing"}, {"loc": ["body", 1], "msg": "bad"}, "else"]},
            "body.n: missing; body.1: bad; else",
        ),
        (b"<html>\n  plain  </html>", "<html> plain </html>"),
        (b"x" * 500, "x" * 199 + "…"),
        (b"", ""),
    ],
)
def test_the_servers_own_message_is_found_in_every_shape(body, said):
    with ScriptedServer(first(say(404, body))) as server, pytest.raises(ServerRefusedError) as caught:
        post(server)
    assert caught.value.said == said
    assert said in str(caught.value)


def test_a_server_that_says_not_to_try_again_is_not_tried_again():
    step = say(503, {"error": "no"}, x_should_retry="false")
    with ScriptedServer(first(step)) as server, pytest.raises(CallFailedError, match="not to be tried again"):
        post(server)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "wait",
    [
        {"retry_after": "121"},
        {"retry_after_ms": "410400000"},
        {"retry_after": format_datetime(datetime.now(UTC) + timedelta(hours=114), usegmt=True)},
    ],
)
def test_a_wait_beyond_the_cap_fails_the_call_at_once(wait):
    with ScriptedServer(first(say(429, {}, **wait))) as server, pytest.raises(CallFailedError, match="asks to wait"):
        post(server, total_seconds=10**6)
    assert len(server.seen) == 1


def test_a_wait_beyond_the_time_left_fails_the_call_at_once():
    with (
        ScriptedServer(first(say(429, {}, retry_after="100"))) as server,
        pytest.raises(CallFailedError, match=r"no answer within 50 s and 1 tries"),
    ):
        post(server, total_seconds=50)


def test_waits_are_those_asked_for_or_else_grow_up_to_a_bound(monkeypatch):
    waits, tops = [], []

    class Jitter:
        def uniform(self, low, high):
            tops.append((low, high))
            return 0.0

    async def sleep(seconds, *_, real=asyncio.sleep):
        if threading.current_thread() is not threading.main_thread():  # the server's
            return await real(seconds)
        waits.append(seconds)
        return await real(0)

    monkeypatch.setattr(client, "_JITTER", Jitter())
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.5)
    asked = [
        say(429, {}, retry_after_ms="2210", retry_after="3"),
        say(429, {}, retry_after="0.7"),
        say(503, {}, retry_after="2"),
    ]
    with ScriptedServer(first(*asked, *[page] * 8)) as server:
        monkeypatch.setattr(client.asyncio, "sleep", sleep)
        post(server, max_tries=20)
        monkeypatch.undo()
    assert [wait for wait in waits if wait] == [2.21, 0.7, 2.0]
    assert tops == [(0, top) for top in (4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0)]


def test_tries_are_bounded():
    with ScriptedServer(lambda seen: page) as server, pytest.raises(CallFailedError, match="no answer in 3 tries"):
        post(server, max_tries=3)
    assert len(server.seen) == 3


def test_a_silent_server_is_left_and_the_connection_closed():
    with ScriptedServer(first(hang)) as server:
        assert post(server, timeout_seconds=0.2).body["echo"] == {"n": 1}
        assert len(server.seen) == 2
        asyncio.run(until(lambda: server.left == 1))


async def until(holds):
    while not holds():
        await asyncio.sleep(0.005)


def test_a_call_that_is_cancelled_closes_its_connection_and_is_kept_as_maybe_paid():
    kept = []

    async def cancel(transport):
        with keeping_tries("key", lambda *made: kept.append(made)):
            task = asyncio.create_task(transport.post("completions", {}))
        await until(lambda: server.under_way == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: server.left == 1)
        return await transport.post("completions", {})

    with ScriptedServer(first(hang)) as server:
        ask_servers([server.base], cancel)
    (key, made), *_ = kept
    assert (key, made.fault, made.maybe_paid) == ("key", "cancelled", True)


@pytest.mark.slow
def test_of_many_calls_none_is_lost_doubled_or_made_again():
    """A quarter of the answers 429 or 500, one in fifty none at all."""

    def plan(seen):
        if seen.number % 50 == 7:
            return hang
        return {0: say(429, {}, retry_after_ms="1"), 4: page}.get(seen.number % 8, answer)

    kept = defaultdict(list)

    async def one(transport, n):
        with keeping_tries(str(n), lambda call, made: kept[call].append(made.fault)):
            return await transport.post("completions", {"n": n})

    async def many(transport):
        return await asyncio.gather(*(one(transport, n) for n in range(400)))

    with ScriptedServer(plan) as server:
        replies = ask_servers([server.base], many, timeout_seconds=0.5, total_seconds=600, max_tries=50)
    assert [reply.body["echo"]["n"] for reply in replies] == list(range(400))
    faults = Counter(fault for tries in kept.values() for fault in tries)
    assert faults[None] == 400
    assert all(tries[-1] is None for tries in kept.values())  # nothing is asked after an answer
    assert faults.total() == len(server.seen) > 500
    hung = sum(plan(seen) is hang for seen in server.seen)
    assert faults["timeout"] >= hung > 8
    assert 0 <= len(server.answered) - 400 <= faults["timeout"] - hung  # on a busy machine an answer may come too late
    assert {body["n"] for body in server.answered} == set(range(400))


def test_as_many_calls_are_under_way_as_the_server_has_slots_and_not_many_more():
    async def many(transport):
        return await asyncio.gather(*(transport.post("completions", {"n": n}) for n in range(200)))

    with ScriptedServer(slots=8, seconds=0.02) as server:
        ask_servers([server.base], many)
    assert server.most_busy == 8
    assert server.most_at_once <= 32


def test_never_more_calls_than_allowed_are_under_way():
    async def many(transport):
        return await asyncio.gather(*(transport.post("completions", {"n": n}) for n in range(60)))

    with ScriptedServer(slots=3, seconds=0.005) as a, ScriptedServer(slots=3, seconds=0.005) as b:
        ask_servers([a.base, b.base], many, max_concurrency=3)
    assert a.most_at_once + b.most_at_once <= 4
    assert max(a.most_at_once, b.most_at_once) <= 3
    assert len(a.seen) + len(b.seen) == 60


def test_calls_go_where_there_is_the_least_to_do():
    async def many(transport):
        return await asyncio.gather(*(transport.post("completions", {"n": n}) for n in range(300)))

    with ScriptedServer(slots=8, seconds=0.005) as quick, ScriptedServer(slots=1, seconds=0.05) as slow:
        ask_servers([slow.base, quick.base], many)
    assert len(quick.seen) + len(slow.seen) == 300
    assert len(quick.seen) > 2 * len(slow.seen) > 0


def test_calls_are_shared_out_among_servers_that_are_alike():
    async def many(transport):
        return await asyncio.gather(*(transport.post("completions", {"n": n}) for n in range(20)))

    with ScriptedServer(slots=4, seconds=0.005) as a, ScriptedServer(slots=4, seconds=0.005) as b:
        ask_servers([a.base, b.base], many, max_concurrency=2)
    assert len(a.seen) + len(b.seen) == 20
    assert (a.most_at_once, b.most_at_once) == (1, 1)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


def test_a_dead_server_is_left_out():
    async def many(transport):
        return await asyncio.gather(*(transport.post("completions", {"n": n}) for n in range(60)))

    dead = closed_port()
    with ScriptedServer() as server:
        replies = ask_servers([dead, server.base], many, max_tries=1)
    assert {reply.server for reply in replies} == {server.base}
    assert Counter(body["n"] for body in server.answered) == Counter(range(60))


def test_a_server_that_died_is_taken_back_with_a_single_call(monkeypatch):
    monkeypatch.setattr(load, "FIRST_REST", 0.02)
    phases = []

    def plan(seen):
        phases.append(dying.under_way)
        return reset if len(phases) <= 12 else answer

    async def many(transport):
        return await asyncio.gather(*(transport.post("completions", {"n": n}) for n in range(40)))

    with ScriptedServer(plan) as dying:
        replies = ask_servers([dying.base], many, max_tries=50)
    assert [reply.body["echo"]["n"] for reply in replies] == list(range(40))
    assert phases[8:13] == [1] * 5


def test_where_all_are_dead_calls_wait_and_then_name_each_servers_last_fault():
    async def two(transport):
        return await asyncio.gather(*(transport.post("completions", {"n": n}) for n in (1, 2)), return_exceptions=True)

    dead = [closed_port(), closed_port()]
    for error in ask_servers(dead, two, timeout_seconds=0.2, total_seconds=1.0, max_tries=50):
        assert isinstance(error, CallFailedError)
        assert " within 1 s" in str(error)
        for base in dead:  # on a busy machine the last try to connect may be cut short by the end of the call's time
            assert re.search(rf"{re.escape(base)}: (unreachable \(ConnectError|timeout)", str(error))


def test_calls_that_were_never_tried_do_not_wait_longer_for_dead_servers(monkeypatch):
    monkeypatch.setattr(load, "FIRST_REST", 1000.0)
    monkeypatch.setattr(load, "LONGEST_REST", 1000.0)

    async def several(transport):
        calls = [transport.post("completions", {"n": n}) for n in range(5)]
        async with asyncio.timeout(60):
            first_five = await asyncio.gather(*calls, return_exceptions=True)
            with pytest.raises(CallFailedError):
                await transport.post("completions", {"n": 6})
        return first_five

    base = closed_port()
    failed = ask_servers([base], several, timeout_seconds=0.2, total_seconds=0.3, max_concurrency=1)
    assert [type(error) for error in failed] == [ServerUnreachableError] * 5
    assert all(f"{base}: unreachable" in str(error) for error in failed)


def test_nothing_that_waits_for_the_system_is_done_in_the_event_loop():
    with ScriptedServer(first(say(500, {"error": "try again"}), reset)) as server:
        base = server.base.replace("127.0.0.1", "localhost")

        async def several(transport):
            with watching(WAITING) as seen:
                await asyncio.gather(*(transport.post("completions", {"n": n}) for n in range(12)))
            return seen

        seen = ask_servers([base], several)
    assert ("socket.getaddrinfo", False) in seen  # the name was looked up, by another thread
    assert not [event for event, in_loop in seen if in_loop]


def test_a_server_that_is_silent_was_reached():
    with ScriptedServer(lambda seen: hang) as silent:
        failed = ask_servers(
            [silent.base],
            lambda transport: asyncio.gather(*(transport.get("models") for _ in range(4)), return_exceptions=True),
            timeout_seconds=0.05,
            total_seconds=0.3,
            max_concurrency=1,
        )
    assert [type(error) for error in failed] == [CallFailedError] * 4


def test_a_server_that_comes_while_calls_wait_answers_them():
    async def wait(transport):
        calls = [asyncio.create_task(transport.post("completions", {"n": n})) for n in range(5)]
        await until(lambda: transport._servers[0].rest_ends is not None)
        with ScriptedServer(port=port) as server:
            replies = await asyncio.gather(*calls)
            await transport.aclose()
            assert len(server.seen) == 5
            return replies

    base = closed_port()
    port = int(base.split(":")[2].split("/")[0])
    replies = ask_servers([base], wait)
    assert [reply.body["echo"]["n"] for reply in replies] == list(range(5))


def test_a_call_does_not_fail_for_having_waited_behind_others():
    async def many(transport):
        return await asyncio.gather(*(transport.post("completions", {"n": n}) for n in range(40)))

    with ScriptedServer(slots=1, seconds=0.03) as server:
        replies = ask_servers([server.base], many, timeout_seconds=0.6, total_seconds=0.6, max_concurrency=2)
    assert len(replies) == len(server.seen) == 40


def test_a_call_that_was_tried_before_is_next():
    order = []

    def plan(seen):
        order.append(seen.body["n"])
        return page if order == [0] else answer

    async def many(transport):
        return await asyncio.gather(*(transport.post("completions", {"n": n}) for n in range(50)))

    with ScriptedServer(plan, slots=1, seconds=0.005) as server:
        ask_servers([server.base], many, max_concurrency=1)
    assert order.index(0, 1) <= 5


def test_limits_per_minute_hold_back_what_is_sent(monkeypatch):
    limits = []

    class Limiter:
        def __init__(self, max_rate, time_period):
            self.max_rate, self.taken = max_rate, []
            limits.append((self, max_rate, time_period))

        async def acquire(self, amount=1):
            self.taken.append(amount)

    monkeypatch.setattr("solon.lm.server.pace.AsyncLimiter", Limiter)

    async def three(transport):
        for _ in range(3):
            await transport.post("completions", {"prompt": "x" * 387})  # 400 characters as JSON, 100 tokens

    with ScriptedServer() as server:
        ask_servers([server.base], three, requests_per_minute=30, tokens_per_minute=2400)
    (requests, *of_requests), (tokens, *of_tokens) = limits
    assert of_requests == [1.0, 2.0]
    assert of_tokens == [40.0, 1.0]
    assert requests.taken == [1, 1, 1]
    assert tokens.taken == [40, 40, 20, 5, 5]  # five a call, the server says: of the later ones too much is taken off


def test_one_transport_serves_several_event_loops_and_leaves_nothing_open():
    with ScriptedServer() as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        transport = ServerTransport(Address((server.base,), "m"), keys={})
        for n in range(3):
            assert asyncio.run(transport.post("completions", {"n": n})).body["echo"] == {"n": n}
        transport.close()
        with pytest.raises(ModelError, match="was closed"):
            asyncio.run(transport.post("completions", {}))


SLOW = 2.0


def test_nothing_waits_for_a_server_on_the_event_loop(caplog, tmp_path):
    """A server takes seconds to answer: who waited for it on the event loop would hold that for as long."""

    async def many(transport):
        with Journal(tmp_path / "j") as store:
            served = JournaledModel(Served(transport), store)
            for _ in range(2):
                await asyncio.gather(*(served.generate(ask(("user", "x")), Sampling(), seed=n) for n in range(16)))

    async def run():
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 0.9 * SLOW  # a busy machine takes a callback's time away, but not so much
        transport = ServerTransport(Address((server.base,), "m"), keys={})
        await many(transport)
        await transport.aclose()

    with (
        ScriptedServer(first(page, reset, cut), slots=32, seconds=SLOW) as server,
        caplog.at_level(logging.WARNING, "asyncio"),
    ):
        asyncio.run(run())
    assert [record.getMessage() for record in caplog.records if "took" in record.getMessage()] == []


def test_every_try_is_in_the_journal_with_its_calls_key(tmp_path):
    steps = [hang, say(429, {}, retry_after_ms="1"), cut, page, answer]

    async def run(transport):
        with Journal(tmp_path / "j") as store:
            return await JournaledModel(Served(transport), store).generate(ask(("user", "x")), Sampling(), seed=1)

    with ScriptedServer(first(*steps)) as server:
        sample = ask_servers([server.base], run, timeout_seconds=0.2, total_seconds=50)
    with closing(sqlite3.connect(tmp_path / "j")) as connection:
        rows = connection.execute(
            "SELECT call, server, status, fault, maybe_paid, prompt_tokens, generated_tokens FROM tries ORDER BY begun"
        ).fetchall()
    assert [row[2:] for row in rows] == [
        (None, "timeout", 1, None, None),
        (429, "rate_limited", 0, None, None),
        (None, "broken", 1, None, None),
        (500, "server_error", 0, None, None),
        (200, None, 0, 3, 2),
    ]
    assert {row[:2] for row in rows} == {(sample.call, server.base)}
    (totals,) = read_tries(tmp_path / "j")
    assert (totals.tries, totals.maybe_paid, totals.prompt_tokens, totals.generated_tokens) == (5, 2, 3, 2)
    assert totals.faults == {"broken": 1, "rate_limited": 1, "server_error": 1, "timeout": 1}


def test_a_body_that_is_no_json_is_a_fault_of_the_caller():
    with ScriptedServer() as server, pytest.raises(ValueError, match="not JSON compliant"):
        post(server, body={"temperature": float("nan")})
    assert server.seen == []
