"""Time, processor time and memory of the whole process tree; nothing is decided by them."""

import resource
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """What was used up between two moments.

    Attributes:
        seconds: wall time.
        cpu_seconds: user and system time of this process and of its children that have ended.
        peak_rss_mb: largest resident set so far, in MiB: this process's, or the largest child's if that is larger.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_mb: float = 0.0

    def plus(self, other: "Usage") -> "Usage":
        """Add times; keep the larger peak."""
        return Usage(
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            max(self.peak_rss_mb, other.peak_rss_mb),
        )


def read_usage() -> Usage:
    """Read the clocks of this process tree; only differences of `seconds` mean anything."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Usage(
        seconds=time.monotonic(),
        cpu_seconds=own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime,
        peak_rss_mb=max(own.ru_maxrss, children.ru_maxrss) / unit,
    )


class Meter:
    """Measures from the moment it is made.

    Args:
        whole_process: count the processor time that this process had used before, as the command line does.
    """

    def __init__(self, *, whole_process: bool = False) -> None:
        start = read_usage()
        self._start = Usage(start.seconds, 0.0 if whole_process else start.cpu_seconds)

    def read(self) -> Usage:
        """Return what was used since the start."""
        now = read_usage()
        return Usage(now.seconds - self._start.seconds, now.cpu_seconds - self._start.cpu_seconds, now.peak_rss_mb)
