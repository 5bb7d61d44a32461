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

from solon.errors import CallFailedError, MissingExtraError, ModelError
from solon.lm.protocol import LanguageModel
from solon.lm.server.address import Address, parse_address
from solon.lm.server.asking import Tokens
from solon.lm.server.findings import Findings
from solon.lm.server.model import ServerModel
from solon.lm.server.probe import probe
from solon.lm.server.routing import Wanted
from solon.lm.server.transport import Transport, TransportSettings
from solon.lm.spec import ModelSpec
from solon.storage import content_digest

_FOUND: Final[dict[str, Findings]] = {}
"""What was found about a model when it was last identified, by its spec: it is opened as it was identified."""


_PROBE_SECONDS: Final = 60.0
"""For how long a probe waits for a server at most: a name that is mistyped is said while its user looks on."""


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


@contextmanager
def open_model(spec: ModelSpec) -> Iterator[LanguageModel]:
    """Ask a server what it can do, unless that was done when it was identified, and open it; see `Backend`."""
    tokens = _load_tokens(spec)
    found = _FOUND.get(_key(spec)) or _find_out(spec, tokens)
    with open_transport(parse_address(spec.source), spec.server) as transport:
        yield ServerModel(transport, found, spec.server, tokens=tokens, template_kwargs=spec.chat_template_kwargs)


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
    limits = {name: min(getattr(spec.server, name), _PROBE_SECONDS) for name in ("timeout_seconds", "total_seconds")}

    async def ask() -> Findings:
        with open_transport(address, spec.server.model_copy(update=limits)) as transport:
            return await probe(transport, wanted)

    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(asyncio.run, ask()).result()
        except ModelError as error:
            if isinstance(error, CallFailedError) or type(error) is ModelError:
                raise ModelError(f"{spec.source}: {error}") from error
            raise
