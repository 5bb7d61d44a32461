"""What is open until it is closed, for use in a `with` statement."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """Root of what is closed at the end of a `with` statement, however that ends."""

    @abstractmethod
    def close(self) -> None:
        """Close it; may be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
