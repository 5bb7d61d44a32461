"""Child processes that tests send signals to."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def start_child(command: Sequence[str], **options: Any) -> "Iterator[subprocess.Popen[str]]":
    """Start a process that hears an interruption, whoever started the tests, and that never outlives the block.

    What ignores SIGINT has children that ignore it: a shell does in what it starts in the background, as in
    `nohup make test &`. So it is heard here while the child is started; a handler is not inherited, being heard is.

    A block that fails, or runs out of patience, would leave the child behind or wait for it: so it is killed.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, text=True, **options)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()  # does nothing to one that has been waited for
