"""How a command ends when it cannot do what was asked.

Errors that a user can mend are one short message on stderr, written plainly so that a path in it is never broken
over lines, and exit code 2. An interruption ends with 130 and says how to go on. Anything else is a fault of the
program and keeps its traceback.
"""

import functools
import sys
from collections.abc import Callable
from typing import NoReturn, ParamSpec, TypeVar

from solon.errors import LimitReachedError, SolonError, StageFailedError, find_missing_extra
from solon.redaction import redact

P = ParamSpec("P")
R = TypeVar("R")

USAGE, FAILED, INTERRUPTED = 2, 1, 130


def printable(text: str) -> str:
    """Return text that is safe to print: control characters but newline and tab are shown, not sent.

    What a model or a file name says must not move the cursor or change the title of a terminal.
    """
    return "".join(c if c in "\n\t" or c.isprintable() else ascii(c)[1:-1] for c in text)


def fail(message: str, code: int = USAGE) -> NoReturn:
    """Print `error: message` on stderr and end with `code`."""
    sys.stderr.write(f"error: {printable(redact(message))}\n")
    raise SystemExit(code)


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command so that expected errors become a message and an exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (StageFailedError, LimitReachedError) as error:
            fail(str(error), FAILED)
        except SolonError as error:
            fail(str(error))
        except ModuleNotFoundError as error:
            if (missing := find_missing_extra(error)) is None:
                raise
            fail(str(missing))
        except KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output has gone: nobody is left to tell
            raise SystemExit(FAILED) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            fail(f"{where}{error.strerror or error}", FAILED)

    return wrapped
