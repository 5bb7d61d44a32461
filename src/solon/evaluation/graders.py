"""Whether an object can grade, said before any model is asked: a grader is a user's own code, and may be anything."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

from solon.errors import ConfigError
from solon.evaluation.protocol import Grader, PairGrader
from solon.messages import describe_error
from solon.records import Measures, Prompt

METHODS: Final = {
    "compare": ("prompt", "response", "reference", "open_model"),
    "grade": ("prompt", "response", "open_model"),
}
"""What a grader may be asked, and with what, in the order in which it is looked for."""


def check_grader(grader: object, where: str) -> Grader | PairGrader:
    """Return a grader of which everything is as a run needs it.

    Args:
        grader: what is to grade.
        where: what a message calls it.

    Raises:
        ConfigError: it is a class, its identity is no name, its method cannot be awaited or called, its measures are
            none, or what it says of itself is of another kind; says which.
    """
    if isinstance(grader, type):
        raise ConfigError(f"{where}: is a class: give a grader made of it, {grader.__name__}(...)")
    asked = ("identity", "measures", "asks", "weighs", "limits", *METHODS)
    try:
        found: dict[str, Any] = {name: getattr(grader, name, None) for name in asked}
    except (Exception, SystemExit) as error:  # a property of a user's class can raise anything
        said = f"{type(error).__name__}: {describe_error(error)}"
        raise ConfigError(f"{where}: cannot be asked what it is: {said}") from error
    name = next((name for name in METHODS if found[name] is not None), None)
    if name is None:
        raise ConfigError(f"{where}: needs {' or '.join(_signature(method) for method in reversed(METHODS))}")
    if not isinstance(found["identity"], str) or not found["identity"].strip():
        raise ConfigError(f"{where}: needs an `identity`, a text such as 'my-grader/1', not {_kind(found['identity'])}")
    _check_method(found[name], name, where)
    if hasattr(grader, "measures") and not isinstance(found["measures"], Measures):
        raise ConfigError(
            f"{where}: `measures` has to be a Measures of solon.records, not {_kind(found['measures'])}: "
            "leave it out to report every value"
        )
    _check_statements(found, where)
    made: Any = grader  # a protocol of which every part was looked at
    checked: Grader | PairGrader = made
    return checked


def measures_of(grader: Grader | PairGrader, prompts: Mapping[str, Sequence[Prompt]]) -> Measures:
    """Return what a grader says is to be reported of some groups of prompts.

    That is its attribute `measures`, or else what its method `measures_for` makes of the groups; without either, every
    value.

    Args:
        grader: a grader that was checked.
        prompts: group to its prompts.

    Raises:
        ConfigError: `measures_for` failed, or gave no `Measures`.
    """
    if not hasattr(grader, "measures_for") or hasattr(grader, "measures"):
        return getattr(grader, "measures", Measures())
    where = f"grader {grader.identity}: `measures_for`"
    try:
        measures: Any = grader.measures_for(prompts)
    except (Exception, SystemExit) as error:  # a user's own code: anything can come out of it
        raise ConfigError(f"{where} failed with {type(error).__name__}: {describe_error(error)}") from error
    if not isinstance(measures, Measures):
        raise ConfigError(f"{where} has to give a Measures of solon.records, not {_kind(measures)}")
    return measures


def limits_of(grader: Grader | PairGrader) -> str:
    """Return what a grader states that it cannot tell, for the reader of a report; empty where it states nothing."""
    limits: str | None = getattr(grader, "limits", None)
    return " ".join((limits or "").split())


def asks_of(grader: Grader | PairGrader) -> tuple[str, ...] | None:
    """Return the roles whose models a grader states that it asks; None where it states nothing."""
    asks = getattr(grader, "asks", None)
    return None if asks is None else tuple(asks)


def weighs_of(grader: Grader | PairGrader) -> tuple[str, ...]:
    """Return the roles by whose models a grader states that it has options weighed; none where it states nothing."""
    return tuple(getattr(grader, "weighs", None) or ())


def calls_of(grader: Grader | PairGrader) -> int | None:
    """Return how many calls a grader states to make for an answer at most; None where it states nothing."""
    calls = getattr(grader, "calls_per_answer", None)
    return calls if isinstance(calls, int) else None


def _check_statements(stated: Mapping[str, Any], where: str) -> None:
    """Refuse what a grader says of itself where it cannot be what it should be."""
    for name in ("asks", "weighs"):
        roles = stated[name]
        if roles is not None and not (isinstance(roles, list | tuple) and all(isinstance(role, str) for role in roles)):
            raise ConfigError(
                f"{where}: `{name}` has to be a tuple of roles, such as ('judge',), not {type(roles).__name__}"
            )
    limits = stated["limits"]
    if limits is not None and not isinstance(limits, str):
        raise ConfigError(
            f"{where}: `limits` has to be a text that says what it cannot tell, not {type(limits).__name__}"
        )


def _check_method(method: Any, name: str, where: str) -> None:
    try:
        inspect.signature(method).bind(*METHODS[name])
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where}: `{name}` cannot be called as {_signature(name)} is: {describe_error(error)}"
        ) from error
    if not inspect.iscoroutinefunction(inspect.unwrap(method)):
        raise ConfigError(f"{where}: `{name}` is not asynchronous: write {_signature(name)}")


def _signature(name: str) -> str:
    return f"`async def {name}(self, {', '.join(METHODS[name])})`"


def _kind(value: object) -> str:
    return "an empty one" if isinstance(value, str) else type(value).__name__
