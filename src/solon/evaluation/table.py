"""The results of a run as rows of plain data; whoever prints them decides how."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from solon.records import Rate

COLUMNS: Final[tuple[tuple[str, str], ...]] = (
    ("harmful", "complies"),
    ("harmful", "refuses_and_explains"),
    ("harmful", "evades"),
    ("benign", "helps_correctly"),
    ("twins", "refused"),
    ("harmful", "unparsed"),
    ("benign", "unparsed"),
)
"""Group and metric of each column."""


class TableRow(NamedTuple):
    """One model on one split.

    Attributes:
        model: its name.
        split: the split.
        cells: a rate for each of `COLUMNS`; None where there is none.
    """

    model: str
    split: str
    cells: tuple[Rate | None, ...]


def table_rows(models: Mapping[str, Any]) -> list[TableRow]:
    """Return the table of the `models` block of `results.json`: split by split, the models in order in each."""
    splits = dict.fromkeys(split for model in models.values() for split in model["by_split"])
    return [
        TableRow(name, split, tuple(_cell(model["by_split"][split], *column) for column in COLUMNS))
        for split in splits
        for name, model in models.items()
        if split in model["by_split"]
    ]


def _cell(block: Mapping[str, Any], group: str, metric: str) -> Rate | None:
    rate = block.get(group, {}).get(metric)
    return None if rate is None else Rate.model_validate(rate)
