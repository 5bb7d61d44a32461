"""The results of a run as plain text, for a terminal of any width or a file."""

from collections.abc import Mapping, Sequence
from typing import Any

_NAMES = {"base": "base", "sl-cai": "SL-CAI", "rl-cai": "RL-CAI"}
_COLUMNS = (
    ("harmful", "complies", "complies"),
    ("harmful", "refuses_and_explains", "explains"),
    ("harmful", "evades", "evades"),
    ("benign", "helps_correctly", "helps"),
    ("twins", "refused", "refused"),
    ("harmful", "unparsed", "unparsed"),
)
_GROUPS = ("", "harmful", "", "", "benign", "twins", "harmful")


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows in columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cell(block: Mapping[str, Any], group: str, key: str) -> str:
    rate = block.get(group, {}).get(key)
    if rate is None:
        return "-"
    half = 100 * (rate["high"] - rate["low"]) / 2
    return f"{100 * rate['value']:.1f} ±{half:.1f}"


def results_table(results: Mapping[str, Any]) -> str:
    """Return the table of every model on every evaluation split, in per cent with half widths of 95 % intervals."""
    models: Mapping[str, Any] = results["models"]
    parts = []
    splits = list(next(iter(models.values())).get("by_split", {})) or [None]
    for split in splits:
        blocks = {name: model if split is None else model["by_split"][split] for name, model in models.items()}
        first = next(iter(blocks.values()))
        sizes = ", ".join(f"{first[g]['n']} {g}" for g in ("harmful", "benign", "twins") if g in first)
        rows = [list(_GROUPS), ["%", *(heading for *_, heading in _COLUMNS)]]
        rows += [
            [_NAMES.get(name, name), *(_cell(block, group, key) for group, key, _ in _COLUMNS)]
            for name, block in blocks.items()
        ]
        parts.append(f"{split or 'all'}: {sizes} prompts\n{format_table(rows)}")
    minutes, seconds = divmod(round(results["total_seconds"]), 60)
    cost = f"{minutes} min {seconds} s, {results['cpu_seconds']:.0f} CPU seconds, {results['peak_rss_mb']:.0f} MiB"
    return "\n\n".join([*parts, cost])
