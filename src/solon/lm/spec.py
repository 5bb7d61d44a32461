"""Which model a role is given, and how one is opened: a source, and the backend that knows what to do with it."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, cast, runtime_checkable

from pydantic import Field, model_validator

from solon.errors import ConfigError, MissingExtraError
from solon.lm.protocol import LanguageModel
from solon.messages import one_line
from solon.records import Config, Layout

BACKENDS = "solon.lm.backends"
"""The package in which backends are looked for by a bare name."""

_EXTRAS = ("torch", "transformers", "safetensors")

LOCAL = "local"
"""The backend of checkpoint folders, the only models that can be trained."""


class ModelSpec(Config):
    """A model, as a role is given it.

    Attributes:
        source: what the backend opens: for `local` a checkpoint folder or the name of one that comes with the task.
            `BACKEND:SOURCE` names the backend too.
        backend: a module of `solon.lm.backends`, or the full name of a module of your own.
        layout: how its prompts are laid out; `single` asks for critiques and revisions in one turn of `chat`. Paper:
            `transcript`. Training rows are always in `chat`.
        dtype: precision of a local model's answers; null is that of its checkpoint. Training is in float32.
        device: where a local model runs and is trained, as torch names it.
        batch_size: rows that a local model decodes together; changes nothing but rounding.
    """

    source: str = Field(min_length=1)
    backend: str = LOCAL
    layout: Layout = "chat"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    device: str = "cpu"
    batch_size: int = Field(128, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _part_source(cls, body: object) -> object:
        if isinstance(body, Mapping) and isinstance(source := body.get("source"), str) and "backend" not in body:
            name, colon, rest = source.partition(":")
            if colon and _is_shipped(name):
                return {**body, "backend": name, "source": rest}
        return body

    @property
    def settings(self) -> dict[str, object]:
        """What decides answers besides the model's content, where it is not left as it is."""
        return self.model_dump(include={"layout", "dtype"}, exclude_defaults=True)


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
        if error.name in _EXTRAS:
            raise MissingExtraError(error.name, "local") from error
        raise ConfigError(f"backend {spec.backend}: there is no module {error.name}") from error
    except Exception as error:  # a module of a user's own can raise anything
        said = one_line(f"{type(error).__name__}: {error}")
        raise ConfigError(f"backend {spec.backend}: cannot be imported ({said})") from error
    if not isinstance(module, Backend):
        raise ConfigError(f"backend {spec.backend}: expected a module with functions identify and open_model")
    return cast(Backend, module)


def _is_shipped(name: str) -> bool:
    return name.isidentifier() and find_spec(f"{BACKENDS}.{name}") is not None
