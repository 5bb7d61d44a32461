"""What a run tells whoever watches it. The command line draws it; a program may ignore it."""

from solon.records import Manifest


class Observer:
    """Learns how a run goes. Each method does nothing; another observer overrides those it wants.

    Nothing an observer does can change the run.
    """

    def notice(self, text: str) -> None:
        """Something the user should know: before the first stage, or by what a stage found."""

    def stage_started(self, stage: str) -> None:
        """A stage begins, or goes on after an interruption."""

    def stage_progressed(self, stage: str, part: str, done: int, total: int) -> None:
        """`done` of `total` items of a part of the stage are finished; `part` names what is being counted."""

    def stage_finished(self, manifest: Manifest, *, skipped: bool) -> None:
        """A stage is complete; `skipped` where it was so already."""
