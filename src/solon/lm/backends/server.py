"""A model behind one or several HTTP servers: vLLM, SGLang, llama.cpp, transformers, or what has OpenAI's shape.

A source is `http://host:8000/v1#model`. What the server can do is found by asking it (`solon.lm.server.probe`) whenever
a model is identified or opened, in an event loop of its own.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from solon.errors import CallFailedError, MissingExtraError, ModelError, ServerRefusedError, ServerUnreachableError
from solon.lm.protocol import LanguageModel
from solon.lm.server.address import Address, parse_address
from solon.lm.server.asking import Tokens
from solon.lm.server.findings import Findings
from solon.lm.server.model import ServerModel
from solon.lm.server.probe import probe
from solon.lm.server.routing import Wanted
from solon.lm.server.settings import ServerSettings
from solon.lm.server.transport import Transport, TransportSettings
from solon.lm.spec import ModelSpec
from solon.storage import content_digest

_FOUND: Final[dict[str, Findings]] = {}
"""What was found about a model when it was last identified, by its spec: it is opened as it was identified."""

_REACHED_SECONDS: Final = 5.0
_PROBE_SECONDS: Final = 60.0
"""For how long a probe waits until a server is reached, and then for each answer, at most: a name that is mistyped is
said while its user looks on."""


def open_transport(address: Address, settings: TransportSettings) -> AbstractContextManager[Transport]:
    """Return what reaches the servers of a model; the one place that knows how.

    Raises:
        ConfigError: a key is not there.
        MissingExtraError: the packages of the extra `api` are not installed.
    """
    try:
        from solon.lm.server.client import ServerTransport
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "openai", "api") from error
    return ServerTransport(address, settings)


def identify(spec: ModelSpec) -> str:
    """Return the digest of what a server says of its model; see `Backend`."""
    found = _find_out(spec, _load_tokens(spec))
    _FOUND[_key(spec)] = found
    return content_digest([found.identity, spec.chat_template_kwargs])


def describe(spec: ModelSpec) -> dict[str, str]:
    """Return what was found about a served model; see `ServedBackend`."""
    return _found(spec, _load_tokens(spec)).facts


def check_labels(spec: ModelSpec) -> None:
    """Refuse a server from which no labels are read; see `ServedBackend`."""
    found = _found(spec, _load_tokens(spec))
    if not found.dialect:
        raise ModelError(f"{spec.source}: {found.describe_lack()}")


@contextmanager
def open_model(spec: ModelSpec) -> Iterator[LanguageModel]:
    """Ask a server what it can do, unless that was done when it was identified, and open it; see `Backend`."""
    tokens = _load_tokens(spec)
    found = _found(spec, tokens)
    with open_transport(parse_address(spec.source), spec.server) as transport:
        yield ServerModel(transport, found, spec.server, tokens=tokens, template_kwargs=spec.chat_template_kwargs)


def _found(spec: ModelSpec, tokens: Tokens | None) -> Findings:
    key = _key(spec)
    if key not in _FOUND:
        _FOUND[key] = _find_out(spec, tokens)
    return _FOUND[key]


def _key(spec: ModelSpec) -> str:
    return spec.model_dump_json(exclude={"system_prompt"})


def _load_tokens(spec: ModelSpec) -> Tokens | None:
    if spec.server.tokenizer is None:
        return None
    try:
        from solon.lm.server.tokens import FolderTokens
    except ModuleNotFoundError as error:  # a server is asked without torch; its tokenizer is not read without
        raise MissingExtraError(error.name or "transformers", "local") from error
    return FolderTokens(Path(spec.server.tokenizer), spec.chat_template_kwargs)


def _find_out(spec: ModelSpec, tokens: Tokens | None) -> Findings:
    """Probe in a thread with an event loop of its own, as there may be one at work here."""
    address = parse_address(spec.source)
    wanted = Wanted(address.model, spec.layout, spec.server, tokens, spec.chat_template_kwargs)

    async def ask(first: Transport, transport: Transport) -> Findings:
        await _reach(first)
        return await probe(transport, wanted)

    # Transports outlive the event loop, so that it finds their connections and closes them at its end.
    with (
        open_transport(address, _within(spec.server, _REACHED_SECONDS)) as first,
        open_transport(address, _within(spec.server, _PROBE_SECONDS)) as transport,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            return pool.submit(lambda: asyncio.run(ask(first, transport))).result()
        except ModelError as error:
            if isinstance(error, CallFailedError) or type(error) is ModelError:
                raise ModelError(f"{spec.source}: {error}") from error
            raise


async def _reach(transport: Transport) -> None:
    """See that a server is there, whatever it says.

    Raises:
        ServerUnreachableError: none is.
    """
    try:
        await transport.get("models")
    except ServerUnreachableError:
        raise
    except (ServerRefusedError, CallFailedError):
        return


def _within(settings: ServerSettings, seconds: float) -> ServerSettings:
    limits = {name: min(getattr(settings, name), seconds) for name in ("timeout_seconds", "total_seconds")}
    return settings.model_copy(update=limits)
