"""Named points of a run at which someone may look in, and where a test may end the process.

Code that makes something durable passes a point just before and just after: `write:manifest/sft.json`, then
`wrote:manifest/sft.json`. Nobody watches by default and passing costs one comparison. The kill tests watch:
they end the process at a chosen point, run the same command again and compare the records.
"""

from collections.abc import Callable

_watcher: Callable[[str], None] | None = None


def watch_points(watcher: Callable[[str], None] | None) -> None:
    """Call `watcher` with the name of every point passed from now on; None stops watching."""
    global _watcher
    _watcher = watcher


def pass_point(name: str) -> None:
    """Say that execution has reached the point called `name`."""
    if _watcher is not None:
        _watcher(name)
