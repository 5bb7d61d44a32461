"""What a run tells whoever watches it. The command line draws it; a program may ignore it."""

from typing import Protocol

from solon.records import Manifest


class Observer(Protocol):
    """Someone who is told how a run goes. Nothing an observer does can change the run."""

    def notice(self, text: str) -> None:
        """Something the user should know: before the first stage, or by what a stage found."""
        ...

    def stage_started(self, stage: str) -> None:
        """A stage begins, or goes on after an interruption."""
        ...

    def stage_progressed(self, stage: str, part: str, done: int, total: int) -> None:
        """`done` of `total` items of a part of the stage are finished; `part` names what is being counted."""
        ...

    def stage_finished(self, manifest: Manifest, *, skipped: bool) -> None:
        """A stage is complete; `skipped` where it was so already."""
        ...


class NullObserver:
    """An observer that does nothing."""

    def notice(self, text: str) -> None:
        """Ignore it."""

    def stage_started(self, stage: str) -> None:
        """Ignore it."""

    def stage_progressed(self, stage: str, part: str, done: int, total: int) -> None:
        """Ignore it."""

    def stage_finished(self, manifest: Manifest, *, skipped: bool) -> None:
        """Ignore it."""
