"""Which model a role is given, and how one is opened: a source, and the backend that knows what to do with it."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, Self, cast, runtime_checkable

from pydantic import Field, field_validator, model_validator

from solon.errors import ConfigError, find_missing_extra
from solon.lm.protocol import LanguageModel
from solon.lm.server.settings import ServerSettings
from solon.messages import one_line
from solon.records import Config, Layout, TemplateArgument

BACKENDS = "solon.lm.backends"
"""The package in which backends are looked for by a bare name."""

SERVER = "server"
"""The backend of models behind HTTP servers, which a source that is a URL names by itself."""

LOCAL = "local"
"""The backend of checkpoint folders, the only models that can be trained."""

_RESERVED = """
messages conversation conversations tools documents kwargs self loop add_generation_prompt continue_final_message
chat_template tokenize tokenizer_kwargs sanitize_control_tokens padding truncation max_length return_tensors return_dict
return_assistant_tokens_mask bos_token eos_token unk_token sep_token pad_token cls_token mask_token
additional_special_tokens raise_exception strftime_now range dict namespace cycler joiner lipsum
"""
RESERVED_KWARGS = frozenset(_RESERVED.split())
"""Names that a chat template has from elsewhere or that say how it is applied: no configuration may give them."""


class ModelSpec(Config):
    """A model, as a role is given it.

    Attributes:
        source: what the backend opens: for `local` a checkpoint folder or the name of one that comes with the task.
            for `server` a URL with the model's name behind a `#`. `BACKEND:SOURCE` names the backend too, and a URL is
            of `server`.
        backend: a module of `solon.lm.backends`, or the full name of a module of your own.
        layout: how its prompts are laid out, and its training rows; `transcript` needs no chat template, `single` asks
            for critiques and revisions in one turn of `chat`. Paper: `transcript`.
        dtype: precision of a local model's answers; null is that of its checkpoint. Training is in float32, rollouts of
            PPO included; the assistants that it makes are saved in the precision of the checkpoint it started from.
        device: where a local model runs and is trained, as torch names it.
        batch_size: rows that a local model decodes together; changes nothing but rounding.
        chat_template_kwargs: what its chat template is told beside the conversation, in prompts and in training rows.
        system_prompt: what comes before everything it is asked, and in its training rows; null for nothing.
        server: how a model behind a server is asked.
    """

    source: str = Field(min_length=1)
    backend: str = LOCAL
    layout: Layout = "chat"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    device: str = "cpu"
    batch_size: int = Field(128, ge=1)
    chat_template_kwargs: dict[str, TemplateArgument] = Field({})
    system_prompt: str | None = Field(None, min_length=1)
    server: ServerSettings = ServerSettings()

    @model_validator(mode="before")
    @classmethod
    def _part_source(cls, body: object) -> object:
        if isinstance(body, Mapping) and isinstance(source := body.get("source"), str) and "backend" not in body:
            if is_url(source):
                return {**body, "backend": SERVER}
            name, colon, rest = source.partition(":")
            if colon and _is_shipped(name):
                return {**body, "backend": name, "source": rest}
        return body

    @field_validator("chat_template_kwargs", mode="before")
    @classmethod
    def _check_kwargs(cls, given: object) -> object:
        for name, value in given.items() if isinstance(given, Mapping) else ():
            if not isinstance(name, str) or not name.isidentifier():
                raise ValueError(f"{one_line(repr(name), 40)} is no name that a chat template could look at")
            if name in RESERVED_KWARGS:
                raise ValueError(f"{name} is what a chat template has from elsewhere, and cannot be set: leave it out")
            if not isinstance(value, TemplateArgument):
                found = one_line(repr(value), 40)
                raise ValueError(f"{name}: expected true, false, a whole number or text, found {found}")
            if isinstance(value, str) and not value.isprintable():
                raise ValueError(f"{name}: expected text of one line, found {one_line(repr(value), 40)}")
        return given

    @field_validator("system_prompt", mode="before")
    @classmethod
    def _strip_prompt(cls, given: object) -> object:
        return given.strip() if isinstance(given, str) else given

    @model_validator(mode="after")
    def _check_server(self) -> Self:
        if self.backend == LOCAL and self.server != ServerSettings():
            raise ValueError("server: says how a server is asked, and this model is in this process: leave it out")
        return self

    @property
    def settings(self) -> dict[str, object]:
        """What decides answers besides the model's content, where it is not left as it is."""
        names = {"layout", "dtype", "chat_template_kwargs", "system_prompt"}
        return self.model_dump(include=names, exclude_defaults=True)


@runtime_checkable
class Backend(Protocol):
    """What the module of a backend offers."""

    def identify(self, spec: ModelSpec) -> str:
        """Return a digest that is equal only where the model is the same, without opening it.

        Raises:
            ModelError: there is no such model, or it cannot be used.
        """
        ...

    def open_model(self, spec: ModelSpec) -> AbstractContextManager[LanguageModel]:
        """Return the model, to be closed after use.

        Raises:
            ModelError: it cannot be used.
        """
        ...


@runtime_checkable
class ServedBackend(Backend, Protocol):
    """A backend that finds out by asking what its models can do; what it has found is not asked for again."""

    def describe(self, spec: ModelSpec) -> Mapping[str, str]:
        """Return what was found about a model, in words.

        Raises:
            ModelError: there is no such model, or it cannot be used.
        """
        ...

    def check_labels(self, spec: ModelSpec) -> None:
        """Make sure that a model's labels can be read.

        Raises:
            ModelError: they cannot; says why.
        """
        ...


def find_backend(spec: ModelSpec) -> Backend:
    """Return the backend of a model, by its name.

    Raises:
        ConfigError: there is no such module, or it is no backend.
    """
    name = f"{BACKENDS}.{spec.backend}" if _is_shipped(spec.backend) else spec.backend
    if (here := str(Path.cwd())) not in sys.path:  # a command finds what lies in its folder
        sys.path.insert(0, here)
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if (missing := find_missing_extra(error)) is not None:
            raise missing from error
        raise ConfigError(f"backend {spec.backend}: there is no module {error.name}") from error
    except Exception as error:  # a module of a user's own can raise anything
        said = one_line(f"{type(error).__name__}: {error}")
        raise ConfigError(f"backend {spec.backend}: cannot be imported ({said})") from error
    if not isinstance(module, Backend):
        raise ConfigError(f"backend {spec.backend}: expected a module with functions identify and open_model")
    return cast(Backend, module)


def is_url(source: str) -> bool:
    """Say whether a source is a URL, and so of the backend `server`, which says whether it can be asked there."""
    scheme, separator, _ = source.partition("://")
    return bool(separator) and scheme.isalnum()


def _is_shipped(name: str) -> bool:
    return name.isidentifier() and find_spec(f"{BACKENDS}.{name}") is not None
