"""Configuration as people write it: a preset, `--set a.b=c` over it, and errors that name the nearest match.

Everything here works on plain nested dictionaries and on any pydantic model, so it knows no field by name.
What a configuration may hold is in `config`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from solon.errors import ConfigError
from solon.messages import Misfit, nearest

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Difference:
    """One field in which two configurations differ; `<absent>` where one of them lacks it."""

    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.field}: {_show(self.old)} -> {_show(self.new)}"


ABSENT = "<absent>"


def _show(value: Any) -> str:
    """Write a value as YAML would, on one line."""
    if value == ABSENT:
        return ABSENT
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("...").strip()


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """Read one `a.b=c`: the path, and the value as YAML reads it (`0.05` a number, `[a, b]` a list).

    Raises:
        ConfigError: no `=`, an empty path, or a value that is not YAML.
    """
    path, equals, value = text.partition("=")
    parts = tuple(part.strip() for part in path.split("."))
    if not equals or not all(parts):
        raise ConfigError(f"--set {text}: expected FIELD=VALUE, for example  --set ppo.kl_coef=0.05")
    try:
        return parts, yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or number that is none
        raise ConfigError(f"--set {text}: the value is not YAML: quote it") from error


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested dictionary over another; dictionaries are merged, every other value is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def nest(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return `{a: {b: value}}` for the path `(a, b)`."""
    for part in reversed(path):
        value = {part: value}
    return dict(value)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `("a.b", value)` for every leaf; an empty dictionary is a leaf."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{name}.")
        else:
            yield name, value


def find_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Return the fields in which two nested dictionaries differ, sorted by name."""
    before, after = dict(flatten(old)), dict(flatten(new))
    names = sorted(before.keys() | after.keys())
    pairs = ((name, before.get(name, ABSENT), after.get(name, ABSENT)) for name in names)
    return [Difference(name, a, b) for name, a, b in pairs if a != b]


def _model_at(model: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel] | None:
    """Return the model class that a path of field names leads to, through optional fields and dictionaries too."""
    steps = iter(path)
    for part in steps:
        field = model.model_fields.get(str(part))
        if field is None:
            return None
        if get_origin(field.annotation) is dict:
            next(steps, None)  # the key leads to the value, whose class is an argument as well
        candidates = (field.annotation, *get_args(field.annotation))
        inner = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if inner is None:
            return None
        model = inner
    return model


def validate(model: type[ModelT], tree: Mapping[str, Any], *, where: str) -> ModelT:
    """Build a configuration, or say which field is wrong, what it got and what is near.

    Raises:
        ConfigError: the first field that is unknown, missing or out of range.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        first = Misfit.of(error)
        if first.kind == "extra_forbidden":
            parent = _model_at(model, first.path[:-1])
            meant = "" if parent is None else f"; {nearest(str(first.path[-1]), parent.model_fields)}"
            raise ConfigError(f"{where}: unknown field {first.field!r}{meant}") from error
        if first.kind == "missing":
            raise ConfigError(f"{where}: field {first.field!r} is missing") from error
        got = "" if isinstance(first.found, Mapping) else f" (got {_show_input(first.found)})"
        raise ConfigError(f"{where}: {first.field or 'the configuration'}: {first.said}{got}") from error


def _show_input(value: Any) -> str:
    return repr(value) if isinstance(value, str | int | float | bool | list | tuple | None) else type(value).__name__
