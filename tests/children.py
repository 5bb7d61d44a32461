"""Child processes that tests send signals to."""

import signal
import subprocess
from collections.abc import Sequence
from typing import Any


def start_child(command: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
    """Start a process that hears an interruption, whoever started the tests.

    What ignores SIGINT has children that ignore it: a shell does in what it starts in the background, as in
    `nohup make test &`. So it is heard here while the child is started; a handler is not inherited, being heard is.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, text=True, **options)
    finally:
        signal.signal(signal.SIGINT, before)
