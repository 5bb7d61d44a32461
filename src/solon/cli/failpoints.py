"""Ends the process at a chosen point, for the kill tests: `SOLON_FAILPOINT=NAME:COUNT`.

The process kills itself (SIGKILL, so nothing can clean up) when a point whose name matches the pattern NAME is
passed for the COUNT-th time. Points are listed by `SOLON_FAILPOINT=list`, which writes each name to stderr as it
is passed. A pattern may hold `*` and `?`.
"""

import fnmatch
import os
import signal
import sys
from collections.abc import Mapping

from solon.errors import ConfigError

VARIABLE = "SOLON_FAILPOINT"


def arm_failpoint(environment: Mapping[str, str]) -> None:
    """Watch for the point that the environment names, if it names one.

    Raises:
        ConfigError: the variable is set and is not NAME:COUNT.
    """
    setting = environment.get(VARIABLE)
    if not setting:
        return
    from solon.storage import watch_points

    if setting == "list":
        watch_points(lambda name: print(f"point {name}", file=sys.stderr, flush=True))
        return
    pattern, _, count = setting.rpartition(":")
    if not pattern or not count.isdigit() or int(count) < 1:
        raise ConfigError(f"{VARIABLE}={setting}: expected NAME:COUNT, for example  write:records/*:2")
    remaining = int(count)

    def watch(name: str) -> None:
        nonlocal remaining
        if fnmatch.fnmatchcase(name, pattern):
            remaining -= 1
            if remaining == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    watch_points(watch)
