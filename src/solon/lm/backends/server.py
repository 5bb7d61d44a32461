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

from solon.errors import CallFailedError, ConfigError, MissingExtraError, ModelError
from solon.lm.protocol import LanguageModel
from solon.lm.server.asking import Tokens
from solon.lm.server.findings import Findings
from solon.lm.server.model import ServerModel
from solon.lm.server.probe import probe
from solon.lm.server.routing import Wanted
from solon.lm.server.transport import Transport
from solon.lm.spec import ModelSpec
from solon.storage import content_digest

_FOUND: Final[dict[str, Findings]] = {}
"""What was found about a model when it was last identified, by its spec: it is opened as it was identified."""


def open_transport(spec: ModelSpec) -> AbstractContextManager[Transport]:
    """Return what reaches the servers of a model; the one place that knows how."""
    raise ModelError(f"{spec.source}: this version cannot reach a server")


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
    with open_transport(spec) as transport:
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
    _, hash_sign, model = spec.source.partition("#")
    if not hash_sign or not model.strip():
        raise ConfigError(f"{spec.source}: no model is named: put its name behind a #, as in http://host:8000/v1#MODEL")
    wanted = Wanted(model.strip(), spec.layout, spec.server, tokens, spec.chat_template_kwargs)

    async def ask() -> Findings:
        with open_transport(spec) as transport:
            return await probe(transport, wanted)

    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(asyncio.run, ask()).result()
        except ModelError as error:
            if isinstance(error, CallFailedError) or type(error) is ModelError:
                raise ModelError(f"{spec.source}: {error}") from error
            raise
