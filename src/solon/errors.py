"""The whole exception tree, so that a caller can catch as much or as little as it means to.

    SolonError
    ├── ConfigError (ValueError)            a configuration field, preset or --set is wrong
    ├── ConstitutionError (ValueError)      a constitution file is wrong: file, line, id, what to do
    ├── PromptingError (ValueError)         a template, a layout or a set of options cannot be rendered safely
    ├── RecordError (ValueError)            a stored record cannot be read, or would break its invariant
    ├── RunError (RuntimeError)             a run directory cannot be used as asked
    │   ├── StageFailedError                     more items of a stage failed than its bound allows
    │   └── LimitReachedError                    a run came to the limit on its calls, cost or hours
    ├── JournalError (RuntimeError)         the journal is locked, damaged or of another version
    ├── ModelError (RuntimeError)           a checkpoint or a server cannot be used
    │   ├── CallFailedError                 one call failed; recorded on its item, never a result
    │   │   └── ServerUnreachableError           no server that could answer it was reached
    │   └── ServerRefusedError              a server says no, and would say it again
    ├── ShapeError (ValueError)             tensors do not fit together; names the first offending row
    └── MissingExtraError (ImportError)     an optional dependency is absent; says the command that installs it

Leaves also inherit the builtin they replace. A message says where, what was expected, and what to do. Errors
that a user can mend are printed by the command line as one short message with exit code 2, a stage that failed, a limit
that was reached and an error of the operating system with 1.
"""

from collections.abc import Sequence
from typing import Any, Final

EXTRA_OF: Final = {
    "torch": "local",
    "transformers": "local",
    "tokenizers": "local",
    "safetensors": "local",
    "openai": "api",
    "httpx2": "api",
    "aiolimiter": "api",
}
"""Modules that an extra of this distribution brings, and which; without it, importing a room may fail at one."""


class SolonError(Exception):
    """Root of every error this package raises on purpose."""


class ConfigError(SolonError, ValueError):
    """A configuration value is unknown or out of range."""


class ConstitutionError(SolonError, ValueError):
    """A constitution cannot be read."""


class PromptingError(SolonError, ValueError):
    """A prompt cannot be rendered safely."""


class RecordError(SolonError, ValueError):
    """A record cannot be read or violates its own invariant."""


class RunError(SolonError, RuntimeError):
    """A run directory cannot be used as asked."""


class StageFailedError(RunError):
    """More items of a stage failed than its stated bound allows, or nothing came of them.

    Args:
        message: what is to be said.
        failures: those that broke the bound, or left nothing; none where nothing came of a stage for other reasons.

    Attributes:
        failures: likewise.
        results: what came of the items that were done, records and failures, in the order of the items.
    """

    def __init__(self, message: str, *, failures: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.failures = tuple(failures)
        self.results: Sequence[Any] = ()


class LimitReachedError(RunError):
    """A run came to a limit on what it may spend. No call is under way any more, and what was answered is kept."""


class JournalError(SolonError, RuntimeError):
    """The journal is locked by another process, damaged, or of another version."""


class ModelError(SolonError, RuntimeError):
    """A checkpoint or server cannot be used."""


class CallFailedError(ModelError):
    """One model call failed. It is recorded on the item that made it and is never stored as a result."""


class ServerUnreachableError(CallFailedError):
    """No connection to any server of a model came about, so that nothing was asked."""


class ServerRefusedError(ModelError):
    """A server answered that it will not do what it was asked, and would say the same again.

    Args:
        message: what was asked of which server, what it said, what to do.
        status: the HTTP status.
        said: the beginning of the server's own message.
    """

    def __init__(self, message: str, *, status: int, said: str) -> None:
        super().__init__(message)
        self.status = status
        self.said = said


class ShapeError(SolonError, ValueError):
    """Tensors do not fit together."""


class MissingExtraError(SolonError, ImportError):
    """An optional dependency is missing.

    Args:
        package: the module that could not be imported.
        extra: the extra of this distribution that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: {advise_install(extra)}")
        self.package = package
        self.extra = extra


def find_missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """Return what to say where the module that is not there comes with an extra; None of any other module."""
    return MissingExtraError(error.name, EXTRA_OF[error.name]) if error.name in EXTRA_OF else None


def advise_install(extra: str) -> str:
    """Return how an extra of this distribution is installed."""
    return f"run  pip install '.[{extra}]'  in a checkout of solon"
