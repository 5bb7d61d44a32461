"""The results of a run as plain text, narrow enough for any terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from solon.messages import count_of
from solon.records import UNGRADED, Basis, Measures, PlannedCalls, RunEstimate, count_cut

if TYPE_CHECKING:
    from solon.tasks.checking import PoolFacts


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows in columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def pools_table(pools: "Sequence[PoolFacts]") -> str:
    """Return the table of a task's pools of prompts."""
    head = ["", "prompts", "goals", "categories", "imperatives", "begin alike"]
    rows = [
        [
            pool.name,
            *map(str, (pool.prompts, pool.goals, len(pool.categories))),
            f"{pool.imperatives:.0%}",
            f"{pool.opening_share:.1%}",
        ]
        for pool in pools
    ]
    return format_table([head, *rows])


def results_table(results: Mapping[str, Any]) -> str:
    """Return the table of every model in every evaluation: shares in per cent, intervals by goal below them."""
    models, names = results["models"], results["model_names"]
    parts = [_evaluation_table(evaluation, models, names) for evaluation in results["evaluations"]]
    minutes, seconds = divmod(round(results["total_seconds"]), 60)
    cost = f"{minutes} min {seconds} s, {results['cpu_seconds']:.0f} CPU seconds, {results['peak_rss_mb']:.0f} MiB"
    return "\n\n".join([*parts, cost])


def estimate_table(estimate: RunEstimate) -> str:
    """Return what a run is still to ask and train, a line for each stage and role, and what the numbers rest on."""
    head = [
        "stage",
        "role",
        "calls",
        "answered",
        "prompt tokens",
        "output tokens",
        "at most",
        "time",
        "cost",
        "at most",
    ]
    rows = [_calls_row(row, estimate.currency) for row in estimate.calls]
    rows += [
        [row.stage, "training", "", "", "", "", str(row.tokens), _said_time(row.seconds), "", ""]
        for row in estimate.training
    ]
    calls, money = list(estimate.calls), [row for row in estimate.calls if row.priced]
    known = [row.left for row in calls if row.left is not None]
    total = f"{sum(known)} calls at most are still to be made"
    if len(known) < len(calls):
        total += ", and those of graders that do not say how many"
    parts = [format_table([head, *rows]), "", f"{total}.", *_describe_bases(calls)]
    if money:
        told = [row for row in money if row.cost is not None and row.most_cost is not None]
        cost = sum(row.cost or 0.0 for row in told), sum(row.most_cost or 0.0 for row in told)
        if told:
            parts.append(
                f"Cost: {cost[0]:.4g} {estimate.currency}, at most {cost[1]:.4g}, tries that fail not counted."
            )
        lacking = sorted({row.role for row in money if row not in told})
        if lacking:
            parts.append(f"No price known, or not how much is read: {', '.join(lacking)}.")
    times = [row.seconds for row in estimate.calls] + [row.seconds for row in estimate.training]
    if None in times:
        parts.append("Time is not known where no run of this folder or of --from measured it.")
    return "\n".join(parts)


def _calls_row(row: PlannedCalls, currency: str | None) -> list[str]:
    calls = "not known" if row.calls is None else f"{'' if row.fixed else 'up to '}{row.calls}"
    costs = ["", ""]
    if row.priced:
        costs = ["no price known" if cost is None else f"{cost:.4g} {currency}" for cost in (row.cost, row.most_cost)]
    tokens = ["not known" if count is None else str(count) for count in (row.prompt_tokens, row.output_tokens)]
    most = "not known" if row.most_output_tokens is None else str(row.most_output_tokens)
    return [row.stage, row.role, calls, str(row.answered), *tokens, most, _said_time(row.seconds), *costs]


def _said_time(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


_BASES: Final[Mapping[Basis, str]] = {
    "tokenizer": "counted by the tokenizer",
    "sample": "counted by the tokenizer in a sample of prompts, where texts that are not known yet are left out",
    "characters": "estimated, four characters for a token, where texts that are not known yet are left out",
    "journal": "as long as the calls that a journal has",
    "limit": "as long as the limits allow",
}


def _describe_bases(rows: Sequence[PlannedCalls]) -> list[str]:
    """Say what the tokens of prompts, and of what is written, rest on."""
    lines = []
    for name, bases in (
        ("Prompts", [(row.prompt_basis, row) for row in rows]),
        ("Output", [(row.output_basis, row) for row in rows]),
    ):
        by_basis: dict[Basis, list[str]] = {}
        for basis, row in bases:
            if basis is not None:
                by_basis.setdefault(basis, []).append(f"{row.stage}/{row.role}")
        lines += [f"{name} {_BASES[basis]}: {', '.join(where)}." for basis, where in by_basis.items()]
    return lines


def _evaluation_table(evaluation: Mapping[str, Any], models: Mapping[str, Any], names: Mapping[str, str]) -> str:
    columns = Measures.model_validate(evaluation["measures"]).columns()
    blocks = {name: model["evaluations"].get(evaluation["name"], {}) for name, model in models.items()}
    first: Mapping[str, Any] = next((block for block in blocks.values() if block), {})
    sizes = ", ".join(
        f"{first[group]['n']} to {group} ({count_of(first[group]['goals'], 'goal')})"
        for group in evaluation["groups"]
        if group in first
    )
    beside = ", each compared with the base's" if evaluation.get("paired") else ""
    # A group's name stands over the first of its columns only.
    groups = ["" if i and columns[i - 1].group == column.group else column.group for i, column in enumerate(columns)]
    short = ["not graded" if column.name == UNGRADED else column.label for column in columns]
    lines = [["", *groups], ["%", *short]]
    for name, block in blocks.items():
        rates = [block.get(column.group, {}).get(column.name) for column in columns]
        lines.append(
            [names.get(name, name), *("-" if rate is None else f"{100 * rate['value']:.1f}" for rate in rates)]
        )
        lines.append(["", *("" if rate is None else _interval(rate) for rate in rates)])
    heading = f"{evaluation['name']}, answers: {sizes}{beside}"
    return "\n".join([heading, format_table(lines), _describe_cut(blocks, evaluation["groups"], names)])


def _describe_cut(blocks: Mapping[str, Mapping[str, Any]], groups: Iterable[str], names: Mapping[str, str]) -> str:
    """Say how many answers the token limit cut off, by model and group; they are in the rates as they stand."""
    parts, counted = [], False
    for name, block in blocks.items():
        cut = {group: count_cut(block[group]) for group in groups if group in block}
        counted |= any(count is not None for count in cut.values())
        if told := [f"{count} of {block[group]['n']} to {group}" for group, count in cut.items() if count]:
            parts.append(f"  {names.get(name, name)}: {', '.join(told)}")
    if not parts:
        return f"cut by the token limit: {'none' if counted else 'not counted'}"
    return "\n".join(["cut by the token limit:", *parts])


def _interval(rate: Mapping[str, float]) -> str:
    return f"{100 * rate['low']:.1f}-{100 * rate['high']:.1f}"
