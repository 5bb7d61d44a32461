"""How a run looks while it goes: bars with rates and time left on a terminal, plain lines elsewhere."""

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TextIO

from solon.cli.errors import printable
from solon.pipeline.observer import Observer
from solon.records import Manifest
from solon.storage import Closing

if TYPE_CHECKING:
    from rich.progress import TaskID

PLAIN_SECONDS = 10.0


class Display(Observer, Closing):
    """An observer that draws, from `__enter__` to `close`."""

    @abstractmethod
    def _say(self, text: str) -> None:
        """Print a line."""

    def notice(self, text: str) -> None:
        """Print it."""
        self._say(f"note: {text}")

    def stage_finished(self, manifest: Manifest, *, skipped: bool) -> None:
        """Print what it did."""
        self._say(summarize_stage(manifest, skipped=skipped))

    def close(self) -> None:
        """Stop drawing and leave the terminal as it was; may be called twice."""


def make_observer(stream: TextIO) -> Display:
    """Return bars if `stream` is a terminal, plain lines otherwise."""
    return Bars(stream) if stream.isatty() else PlainLines(stream)


def format_seconds(seconds: float) -> str:
    """Write a duration as `0:07` or `1:02:03`."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summarize_stage(manifest: Manifest, *, skipped: bool) -> str:
    """Say in one line what a finished stage did."""
    if skipped:
        return f"{manifest.stage}: done before, nothing has changed"
    parts = [f"{manifest.seconds:.1f} s"]
    if "kept" in manifest.counts:
        parts.append(f"kept {manifest.counts['kept']} of {manifest.counts['in']}")
    if manifest.model_calls:
        replayed = f", {manifest.replayed_calls} of them replayed" if manifest.replayed_calls else ""
        parts.append(f"{manifest.model_calls} model calls{replayed}")
    failures = sum(manifest.failures.values())
    if failures:
        parts.append(f"{failures} failed")
    return f"{manifest.stage}: {', '.join(parts)}"


@dataclass
class _Course:
    """How a part of a stage goes: when it was first seen, how far it was then, when it was last said, how far it is."""

    began: float
    at: int
    said: float
    done: int


class PlainLines(Display):
    """One line when a stage begins, one every few seconds while it runs, one when it ends.

    Args:
        stream: where lines go.
        clock: seconds, for rates.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._parts: dict[tuple[str, str], _Course] = {}

    def _say(self, text: str) -> None:
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()

    def stage_started(self, stage: str) -> None:
        """Print its name."""
        self._say(f"{stage}: started")

    def stage_progressed(self, stage: str, part: str, done: int, total: int) -> None:
        """Print how far it is, at most every few seconds."""
        now = self._clock()
        course = self._parts.get((stage, part))
        if course is None or done < course.done:
            self._parts[stage, part] = _Course(began=now, at=done, said=now, done=done)
            return
        course.done = done
        if now - course.said < PLAIN_SECONDS:
            return
        course.said = now
        rate = (done - course.at) / max(now - course.began, 1e-9)
        left = f", {format_seconds((total - done) / rate)} left" if rate > 0 else ""
        self._say(f"{stage}: {part} {done}/{total}, {rate:.1f}/s{left}")


class Bars(Display):
    """A bar for the part of the stage that is running; a line for every stage that is done."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
        from rich.progress import TimeRemainingColumn as TimeLeft
        from rich.text import Text

        class Rate(ProgressColumn):
            """Items per second."""

            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                return Text("" if speed is None else f"{speed:.1f}/s")

        self._console = Console(file=stream, soft_wrap=True, highlight=False, markup=False)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeLeft(),
            TextColumn("left"),
            console=self._console,
            transient=True,
            refresh_per_second=4,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def close(self) -> None:
        """Remove the bar."""
        self._bars.stop()

    def _say(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def stage_started(self, stage: str) -> None:
        """Show an empty bar."""
        self._clear()
        self._tasks[""] = self._bars.add_task(stage, total=None)

    def stage_progressed(self, stage: str, part: str, done: int, total: int) -> None:
        """Move the bar of a part, and take it away at its end; parts side by side have a bar each."""
        if (waiting := self._tasks.pop("", None)) is not None:
            self._bars.remove_task(waiting)
        if part not in self._tasks:
            self._tasks[part] = self._bars.add_task(f"{stage}: {part}", total=total)
        self._bars.update(self._tasks[part], completed=done, total=total)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(part))

    def stage_finished(self, manifest: Manifest, *, skipped: bool) -> None:
        """Replace the bar by a line."""
        self._clear()
        super().stage_finished(manifest, skipped=skipped)

    def _clear(self) -> None:
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks = {}
