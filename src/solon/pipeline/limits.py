"""The limits on what models may write in the data stages: the one thing that may change when a run is asked for again.

A limit that was too low is found out by a run that stops at it. It may be raised in the same folder: what ended under
it is kept, and only what it cut is drawn again. A limit that is lowered asks for another run.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from pydantic import BaseModel

from solon.pipeline.config import RunConfig
from solon.pipeline.graph import Stage
from solon.pipeline.overrides import Difference
from solon.records import MAY_GROW


def _find_limits(config: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _find_limits(field.annotation, f"{prefix}{name}.")
        elif MAY_GROW in field.metadata:
            yield f"{prefix}{name}"


LIMITS: Final = frozenset(_find_limits(RunConfig))
"""The fields of the configuration that may grow."""


def is_growth(difference: Difference) -> bool:
    """Say whether two requests differ in a limit that the second raises."""
    old, new = difference.old, difference.new
    return difference.field in LIMITS and type(old) is type(new) is int and old < new


def stages_under(limit: str, stages: Sequence[Stage]) -> list[Stage]:
    """Return the stages that depend on a limit."""
    section, _, _ = limit.partition(".")
    return [stage for stage in stages if section in stage.settings]


def describe_growth(growth: Difference, stages: Sequence[Stage]) -> str:
    """Say what follows from a limit that grows."""
    under = [stage.name for stage in stages_under(growth.field, stages)]
    if not under:
        return f"{growth.field} grows from {growth.old} to {growth.new}: no stage of this method depends on it"
    which = f"stages {' and '.join(under)} are" if len(under) > 1 else f"stage {under[0]} is"
    return (
        f"{growth.field} grows from {growth.old} to {growth.new}: {which} made again; answers of local models that "
        "ended are kept, cut ones are drawn again"
    )
