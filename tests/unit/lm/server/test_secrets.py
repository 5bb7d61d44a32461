"""Proves that a key is sent to its servers alone, and that no failure leaves it in what is kept or shown."""

import asyncio
import base64
import io
import logging
import traceback
from urllib.parse import quote

import pytest

from solon.errors import ModelError, SolonError
from solon.lm import Journal, JournaledModel
from solon.lm.server import client, load
from solon.lm.server.address import Address
from solon.lm.server.client import ServerTransport
from solon.lm.server.keys import find_keys
from solon.lm.server.transport import TransportSettings
from solon.lm.tries import keeping_tries
from solon.records import Sampling
from tests.asking import ask
from tests.servers.scripted import ScriptedServer, answer, cut, echo_key, hang, page, reset, say
from tests.unit.lm.server.serving import Served

SENTINEL = "sk-sentinel/9+A'b\"c\\d==x7Q2"


def forms():
    raw = SENTINEL.encode()
    return {
        "raw": SENTINEL,
        "percent": quote(SENTINEL, safe=""),
        "repr": repr(SENTINEL)[1:-1],
        "json": SENTINEL.replace("\\", "\\\\").replace('"', '\\"'),
        **{f"base64 {n}": base64.b64encode(b"\0" * n + raw).decode()[4:-4] for n in range(3)},
        "base64 of the header": base64.b64encode(b"Bearer " + raw).decode()[12:-4],
        "half": SENTINEL[:10],
    }


def repeat(status):
    """Repeat the key in every form, raw ones broken over lines, in the body."""

    def step(seen):
        key = seen.headers["authorization"].removeprefix("Bearer ")
        said = [key, f"{key[:9]}\n{key[9:]}", quote(key, safe=""), repr(key), base64.b64encode(key.encode()).decode()]
        return say(status, {"error": {"message": " | ".join(said), "code": key}}, x_key=quote(key))(seen)

    return step


def at_the_cut(seen):
    """Repeat the key where a message is cut, so that half of it would be left."""
    key = seen.headers["authorization"].removeprefix("Bearer ")
    return say(500, ("x" * 185 + key).encode())(seen)


def in_a_long_page(seen):
    key = seen.headers["authorization"].removeprefix("Bearer ")
    return say(500, (" " * (32_000 - 10) + key).encode())(seen)


def redirect_with_key(seen):
    key = seen.headers["authorization"].removeprefix("Bearer ")
    return say(307, b"", location=f"http://127.0.0.1:1/?key={quote(key, safe='')}")(seen)


STEPS = {
    "401 that repeats it": echo_key,
    "401, all forms": repeat(401),
    "500, all forms": repeat(500),
    "200 with an error, all forms": repeat(200),
    "500 at the cut": at_the_cut,
    "500 in a long page": in_a_long_page,
    "page": page,
    "hang": hang,
    "reset": reset,
    "cut": cut,
    "redirect": redirect_with_key,
}


@pytest.fixture(autouse=True)
def tiny_waits(monkeypatch):
    monkeypatch.setattr(client, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(load, "FIRST_REST", 0.001)


@pytest.fixture
def debug_log():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.mark.parametrize("failure", [*STEPS, "refused connection"])
def test_no_failure_leaves_a_key_anywhere(failure, tmp_path, debug_log, monkeypatch):
    monkeypatch.setenv("SENTINEL_KEY", SENTINEL)
    said = []

    async def run(base):
        settings = TransportSettings(
            key_env="SENTINEL_KEY", timeout_seconds=0.2, total_seconds=1.0 if failure in STEPS else 0.3, max_tries=2
        )
        transport = ServerTransport(Address((base,), "m"), settings)
        with Journal(tmp_path / "journal.sqlite") as store:
            try:
                await JournaledModel(Served(transport), store).generate(ask(("user", "x")), Sampling(), seed=1)
            except SolonError as error:
                said.extend([str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)])
                said.extend(traceback.TracebackException.from_exception(error, capture_locals=False).format())
                logging.getLogger("solon").exception("failed")
        await transport.aclose()

    with ScriptedServer(lambda seen: STEPS[failure]) as server:
        base = server.base if failure in STEPS else "http://127.0.0.1:1/v1"
        asyncio.run(run(base))
    assert said
    kept = [path.read_bytes().decode("utf-8", "replace") for path in tmp_path.iterdir()]
    if failure in STEPS:
        assert server.seen[0].headers["authorization"] == f"Bearer {SENTINEL}"
    for text in ["\n".join(said), debug_log.getvalue(), *kept]:
        bare = "".join(text.split())
        assert [name for name, form in forms().items() if form in text or "".join(form.split()) in bare] == []


def test_the_debug_log_of_the_libraries_is_there_and_holds_no_key(debug_log, monkeypatch):
    monkeypatch.setenv("SENTINEL_KEY", SENTINEL)

    async def run(base):
        transport = ServerTransport(Address((base,), "m"), TransportSettings(key_env="SENTINEL_KEY"))
        await transport.post("completions", {})
        await transport.aclose()

    def with_cookie(seen):
        return say(200, {}, set_cookie=f"key={seen.headers['authorization']}")(seen)

    with ScriptedServer(lambda seen: with_cookie) as server:
        asyncio.run(run(server.base))
    said = debug_log.getvalue()
    assert "receive_response_headers" in said
    assert [name for name, form in forms().items() if form in said] == []


def test_a_key_is_sent_to_its_own_servers_alone(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "of-openai-123")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Mine: of-openai-123")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")

    async def run(transport):
        for _ in range(2):
            await transport.post("completions", {})
        await transport.aclose()

    def with_cookie(seen):
        return say(200, {}, set_cookie="id=1")(seen)

    with ScriptedServer(lambda seen: with_cookie) as server:
        for key_env in (None, "SENTINEL_KEY"):
            monkeypatch.setenv("SENTINEL_KEY", SENTINEL)
            settings = TransportSettings(key_env=key_env)
            asyncio.run(run(ServerTransport(Address((server.base,), "m"), settings)))
    for seen in server.seen:
        assert "of-openai-123" not in str(seen.headers)
        assert "cookie" not in seen.headers
    assert [seen.headers.get("authorization") for seen in server.seen] == [None, None, *[f"Bearer {SENTINEL}"] * 2]


def test_one_servers_key_is_not_sent_to_another_of_the_same_model():
    async def run(transport):
        await asyncio.gather(*(transport.post("completions", {}) for _ in range(8)))
        await transport.aclose()

    with ScriptedServer(slots=1) as mine, ScriptedServer(slots=1) as other:
        keys = find_keys(Address((mine.base,), "m"), "A_KEY", {"A_KEY": "key-of-mine"})
        asyncio.run(run(ServerTransport(Address((mine.base, other.base), "m"), keys=keys)))
    assert {seen.headers.get("authorization") for seen in mine.seen} == {"Bearer key-of-mine"}
    assert {seen.headers.get("authorization") for seen in other.seen} == {None}


def test_a_redirect_is_not_followed():
    async def run(transport):
        with pytest.raises(ModelError, match="a redirect, which is not followed, to http://127"):
            await transport.post("completions", {})
        await transport.aclose()

    with (
        ScriptedServer() as other,
        ScriptedServer(lambda seen: say(307, b"", location=f"{other.base}/completions")) as server,
    ):
        asyncio.run(run(ServerTransport(Address((server.base,), "m"), keys={})))
    assert other.seen == []


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    with ScriptedServer() as proxy, ScriptedServer() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.root)

        async def run(transport):
            await transport.post("completions", {})
            await transport.aclose()

        asyncio.run(run(ServerTransport(Address((server.base,), "m"), keys={})))
    assert (len(proxy.seen), len(server.seen)) == (0, 1)


def test_a_host_name_that_leads_to_a_metadata_address_is_sent_nothing(monkeypatch):
    """The address is looked at on the connection itself, so that no second answer of the name server can differ."""
    with ScriptedServer(lambda seen: answer) as server:
        refuse = ModelError(f"{server.base}: its host leads to 169.254.169.254, a link-local or metadata address")
        peers = []

        def check(base, peer):
            peers.append((base, peer))
            raise refuse

        monkeypatch.setattr(client, "check_peer", check)

        async def run(transport):
            with pytest.raises(ModelError, match="metadata address"):
                await transport.post("completions", {})
            await transport.aclose()

        kept = []
        with keeping_tries("key", lambda _, made: kept.append(made)):
            asyncio.run(run(ServerTransport(Address((server.base,), "m"), keys={})))
    assert [(made.fault, made.maybe_paid) for made in kept] == [("unreachable", False)]
    assert peers == [(server.base, "127.0.0.1")]
    assert server.seen == []


def test_a_key_given_in_place_of_its_variables_name_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="never the key itself") as caught:
        TransportSettings(key_env="sk-sentinel-123")
    assert "sentinel" not in str(caught.value)
