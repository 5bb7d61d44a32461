"""What training a model came to."""

from solon.records import Record


class TrainingSummary(Record):
    """What came of training; each method adds its own numbers."""

    def numbers(self) -> dict[str, float]:
        """Return the numbers, those that could not be measured left out."""
        return {name: float(value) for name, value in self.model_dump().items() if isinstance(value, int | float)}
