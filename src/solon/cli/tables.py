"""The results of a run as plain text, narrow enough for any terminal."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from solon.evaluation import COLUMNS, TableRow, table_rows
from solon.records import Rate

_NAMES = {"base": "base", "sl-cai": "SL-CAI", "rl-cai": "RL-CAI"}
_SHORT = {"refuses_and_explains": "explains", "helps_correctly": "helps"}


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows in columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _rows(row: TableRow) -> tuple[list[str], list[str]]:
    """Return the line of a model's rates in per cent, and that of their intervals."""
    values = [_NAMES.get(row.model, row.model), *("-" if r is None else f"{100 * r.value:.1f}" for r in row.cells)]
    return values, ["", *(_interval(rate) for rate in row.cells)]


def _interval(rate: Rate | None) -> str:
    return "" if rate is None else f"{100 * rate.low:.1f}-{100 * rate.high:.1f}"


def results_table(results: Mapping[str, Any]) -> str:
    """Return the table of every model on every evaluation split: shares in per cent, intervals by goal below them."""
    models: Mapping[str, Any] = results["models"]
    parts = []
    for split, rows in groupby(table_rows(models), key=lambda row: row.split):
        block = next(iter(models.values()))["by_split"][split]
        sizes = ", ".join(f"{block[group]['n']} to {group} ({block[group]['goals']} goals)" for group in dict(COLUMNS))
        groups = [group if i == 0 or COLUMNS[i - 1][0] != group else "" for i, (group, _) in enumerate(COLUMNS)]
        lines = [["", *groups], ["%", *(_SHORT.get(metric, metric) for _, metric in COLUMNS)]]
        lines += [line for row in rows for line in _rows(row)]
        parts.append(f"{split}, answers: {sizes}\n{format_table(lines)}")
    minutes, seconds = divmod(round(results["total_seconds"]), 60)
    cost = f"{minutes} min {seconds} s, {results['cpu_seconds']:.0f} CPU seconds, {results['peak_rss_mb']:.0f} MiB"
    return "\n\n".join([*parts, cost])
