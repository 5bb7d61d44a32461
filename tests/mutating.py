"""Makes wrong versions of the package's own functions, so that a test can be seen to catch them."""

import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


def mutate(function: Any, old: str, new: str) -> Any:
    """Return `function` with `old` in its source replaced by `new`; `old` must occur exactly once."""
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{function.__qualname__}: {old!r} occurs {source.count(old)} times"
    made: dict[str, Any] = {}
    exec(
        compile(source.replace(old, new), inspect.getfile(inspect.unwrap(function)), "exec"),
        inspect.unwrap(function).__globals__,
        made,
    )
    return made[function.__name__]


@contextmanager
def in_place_of(function: Any, replacement: Any, owner: type | None = None) -> Iterator[None]:
    """Put `replacement` wherever the package or a test refers to `function`, or into the class `owner`."""
    with pytest.MonkeyPatch.context() as patch:
        if owner is not None:
            patch.setattr(owner, function.__name__, replacement)
        for name, module in list(sys.modules.items()):
            if (
                owner is None
                and name.startswith(("solon.", "tests."))
                and vars(module).get(function.__name__) is function
            ):
                patch.setattr(module, function.__name__, replacement)
        yield


def assert_killed(function: Any, old: str, new: str, test: Callable[[], Any], owner: type | None = None) -> None:
    """Pass if `test` succeeds as things are and fails under the mutant."""
    test()
    with in_place_of(function, mutate(function, old, new), owner):
        try:
            test()
        except (Exception, pytest.fail.Exception):
            return
    raise AssertionError(f"{function.__qualname__} with {new!r} in place of {old!r} survived")
