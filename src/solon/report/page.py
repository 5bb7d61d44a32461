"""Makes the report of a run: one HTML file that needs nothing else, not even a network.

The page has no script. Every text of the run goes through the template's escaping, so that markup in a response
stays text, and the content policy allows nothing but the page's own style sheet, by its hash.
"""

import base64
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from solon.messages import count_of
from solon.records import (
    CUT,
    GIVEN,
    LABELS_ONLY,
    NOBODY,
    UNGRADED,
    AskedResults,
    Axis,
    Chart,
    Figure,
    FilteredRevision,
    Manifest,
    Measures,
    RunPaths,
    TokenCounts,
    UsageResults,
    count_cut,
)
from solon.report.answers import CUT_OFF, SHOWN, compare_answers, write_conversation
from solon.report.charts import SMALL, Line, Point, draw_lines, draw_points
from solon.report.example import view_example
from solon.report.load import Row, RunData, load_run_data
from solon.report.opening import describe_meaning, describe_method
from solon.report.roles import describe_roles, describe_sharing, distinct_graders, gather_facts
from solon.storage import replace_file

_MOST_POINTS = 300
_FILTERED_SHOWN = 3

UNMEASURED = "–"
NOT_ASKED = "not asked in both orders"
DRAWN = "not told by drawn answers"
"""What stands where there was nothing to measure."""

_COUNTED = {
    "prompts": "prompts, of each stage and evaluation",
    "revision": "texts that fine-tuning might learn",
    "sft": "texts to learn",
    "comparisons": "prompts, a pair of responses for each",
    "feedback": "pairs of responses",
    "preference-model": "labelled pairs",
    "ppo": "prompts",
    "evaluation": "answers",
}
"""What each stage of the paper's method takes in."""

BALANCED = "balances"
"""What the page says of a stage whose items are all accounted for."""


@dataclass(frozen=True)
class Table:
    """A table of rates: a caption, column headings, and rows of a heading with cells of `(value, interval)`."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]


def write_report(root: str | Path) -> Path:
    """Write `report.html` of the run in `root` and return its path.

    Raises:
        RunError: the folder is no finished run, or a file of it cannot be read.
    """
    page = render_report(load_run_data(Path(root)))
    path = RunPaths(Path(root)).report
    with replace_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def render_report(run: RunData) -> str:
    """Return the page as text; equal data give equal pages."""
    templates = files("solon.report") / "templates"
    css = (templates / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((templates / "report.html.j2").read_text(encoding="utf-8"))
    view = _view(run)
    return template.render(css=Markup(css), policy=Markup(policy), run=run, results=run.results, **view)


def _view(run: RunData) -> dict[str, Any]:
    models: Mapping[str, Any] = run.results["models"]
    names = {name: run.results["model_names"].get(name, name) for name in models}
    evaluations = [AskedResults.model_validate(asked) for asked in run.results["evaluations"]]
    main, *_ = evaluations
    roles = describe_roles(run, evaluations)
    of_paper = run.results["method"] != GIVEN
    counts = [_item_counts(manifest, of_paper=of_paper) for manifest in run.manifests if "in" in manifest.counts]
    view = {
        "meaning": describe_meaning(gather_facts(run, evaluations)),
        "method": describe_method(
            list(run.results["stages"]),
            run.results["until"],
            direct=run.header.config.get("revision", {}).get("direct", False),
            labels_only=run.results["method"] == LABELS_ONLY,
        ),
        "roles": roles,
        "sharing": describe_sharing(run, roles),
        "limits": [(one.grader, one.limits) for one in distinct_graders(evaluations)],
        "comparisons": compare_answers(evaluations, run.asked, run.answers, names),
        "most_shown": SHOWN,
        "in_both_orders": run.results["feedback"] is not None
        and run.results["feedback"]["order_disagreement"] is not None,
        "title": f"Constitutional AI: {run.results['task']['title']}",
        "about": run.results["task"]["about"],
        "notices": [*run.header.notices, *run.results["notices"]],
        "graders": list(dict.fromkeys(evaluation.grader for evaluation in evaluations)),
        "nobody": NOBODY,
        "of_paper": of_paper,
        "drawn_at": _drawn_at(run.results),
        "result_tables": [_result_table(evaluation, models, names) for evaluation in evaluations],
        "shows_rates": any(evaluation.measures.rates for evaluation in evaluations),
        "shows_ungraded": any(evaluation.measures.ungraded for evaluation in evaluations),
        "frontier": _frontier(main.measures, models, names),
        "example": view_example(run.example, main.measures, run.constitution, names) if run.example else None,
        "category_table": _category_table(main.measures, models, names),
        "attribute_tables": list(_detail_tables(main.measures, models, names)),
        "revisions": _revisions(main.measures, run.results["revisions"]),
        "feedback_rows": [*_feedback_rows(run.results), *_figure_rows(run)],
        "charts": list(_training_charts(run)),
        "counts": counts,
        "balanced": all(row["balance"] == BALANCED for row in counts),
        "filters": [_filter_row(name, revisions) for name, revisions in run.filtered.items()],
        "cut_responses": _cut_responses(run.manifests),
        "stages": [_stage_row(manifest) for manifest in run.manifests],
        "usage": [_usage_row(row) for row in run.results.get("usage") or ()],
        "costs": _describe_costs(run),
        "totals": {
            "seconds": f"{run.results['total_seconds']:.1f}",
            "cpu_seconds": f"{run.results['cpu_seconds']:.1f}",
            "peak": f"{run.results['peak_rss_mb']:.0f}",
        },
        "principles": [_principle_row(run, principle) for principle in run.constitution.principles],
        "command": _command(run),
        "config": yaml.safe_dump(run.header.config, sort_keys=False, allow_unicode=True),
    }
    view["contents"] = list(_contents(view))
    return view


def _usage_row(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a line of the table of calls and cost; a role of this process has no tries and costs nothing."""
    use = UsageResults.model_validate(row)

    def show_tokens(counts: TokenCounts | None, otherwise: str) -> str:
        return otherwise if counts is None else f"{counts.prompt} + {counts.generated}"

    def show_cost(cost: float | None, otherwise: str) -> str:
        return otherwise if cost is None else f"{cost:.4g}"

    served = use.tries > 0
    tries = f"{use.tries}, {use.failed_tries} failed, {use.maybe_paid} of them perhaps paid" if served else ""
    perhaps = f" + at most {use.uncounted_cost:.4g}" if use.uncounted_cost else ""
    return {
        "stage": use.stage,
        "role": use.role,
        "calls": str(use.calls),
        "made": str(use.made),
        "planned_calls": "not known" if use.planned_calls is None else str(use.planned_calls),
        "tokens": show_tokens(use.tokens, ""),
        "counted": show_tokens(use.counted, "not counted") if served else "",
        "planned_tokens": show_tokens(use.planned_tokens, "not known"),
        "tries": tries,
        "cost": show_cost(use.cost, "no price known") + perhaps if served else "",
        "planned_cost": show_cost(use.planned_cost, "not known") if served else "",
    }


def _describe_costs(run: RunData) -> str:
    """Say which prices costs are by; empty without."""
    prices = run.header.prices
    if prices is None:
        return ""
    first, last = prices.as_of
    days = f"of {first}" if first == last else f"of {first} to {last}"
    return f"Costs are in {prices.name}, by the prices {days} in {prices.source} (digest {prices.digest})."


def _drawn_at(results: Mapping[str, Any]) -> str:
    """Say how the evaluation's answers were drawn: the temperature, and what cut its distribution."""
    cuts = [f"{name} {results[name]}" for name in ("top_p", "min_p") if results.get(name) is not None]
    return ", ".join([str(results["temperature"]), *cuts])


def _contents(view: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sections = (
        ("roles", "Who did what", True),
        ("results", "Results", True),
        ("limits", "What graders cannot tell", view["limits"]),
        ("frontier", "Frontier", view["frontier"]),
        ("answers", "Side by side", view["comparisons"]),
        ("example", "Turn by turn", view["example"]),
        ("categories", "Categories", view["category_table"]),
        ("attributes", "How they answer", view["attribute_tables"]),
        ("revisions", "Revisions", view["revisions"]),
        ("feedback", "Feedback", view["feedback_rows"]),
        ("curves", "Training", view["charts"]),
        ("counts", "Items", True),
        ("filters", "Filters", view["filters"]),
        ("stages", "Stages", True),
        ("constitution", "Constitution", True),
        ("reproduce", "Reproduce", True),
    )
    yield from ((name, heading) for name, heading, present in sections if present)


# ---------------------------------------------------------------------------------------------- rates


def _percent(rate: Mapping[str, float] | None) -> tuple[str, str]:
    """Write a rate and its interval in per cent; a dash where it was not measured."""
    if rate is None:
        return UNMEASURED, ""
    return f"{100 * rate['value']:.1f}", f"{100 * rate['low']:.1f} – {100 * rate['high']:.1f}"


def _count(block: Mapping[str, Any], word: str) -> str:
    """Say how many answers there are to what prompts, and for how many goals these ask."""
    return f"{block['n']} to {word} prompts for {count_of(block['goals'], 'goal')}"


def _result_table(asked: AskedResults, models: Mapping[str, Any], names: Mapping[str, str]) -> Table:
    columns = asked.measures.columns()
    blocks = {name: model["evaluations"].get(asked.name, {}) for name, model in models.items()}
    first: Mapping[str, Any] = next((block for block in blocks.values() if block), {})
    sizes = ", ".join(_count(first[group], group) for group in asked.groups if group in first)
    groups = [group for group in asked.groups if group in first]
    rows = [
        (
            names.get(name, name),
            [
                *(_percent(block.get(column.group, {}).get(column.name)) for column in columns),
                *(_describe_cut(block.get(group, {})) for group in groups),
            ],
        )
        for name, block in blocks.items()
    ]
    beside = "; each compared with the base’s to the same prompt" if asked.paired else ""
    headings = [*(column.caption for column in columns), *(f"{group}: {CUT_OFF}" for group in groups)]
    return Table(f"{asked.caption} (answers: {sizes}{beside})", headings, rows)


def _describe_cut(block: Mapping[str, Any]) -> tuple[str, str]:
    """Return how many of a group's answers the token limit cut off, and the interval of their share."""
    count = count_cut(block)
    return (UNMEASURED, "") if count is None else (f"{count} of {block['n']}", _percent(block[CUT])[1])


def _category_table(measures: Measures, models: Mapping[str, Any], names: Mapping[str, str]) -> Table | None:
    found = {name: model.get("by_category", {}) for name, model in models.items()}
    goals = {category: block["goals"] for blocks in found.values() for category, block in blocks.items()}
    if measures.by_category is None or not goals:
        return None
    measure = measures.find(*measures.by_category)
    rows = [
        (
            f"{category} ({count_of(goals[category], 'goal')})",
            [
                *(_percent(blocks.get(category, {}).get(measure.name)) for blocks in found.values()),
                *(_describe_cut(blocks.get(category, {})) for blocks in found.values()),
            ],
        )
        for category in sorted(goals)
    ]
    shown = [names.get(name, name) for name in models]
    return Table(measure.caption, [*shown, *(f"{name}: {CUT_OFF}" for name in shown)], rows)


def _detail_tables(measures: Measures, models: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[Table]:
    for group in measures.details:
        found = {name: model.get("values", {}).get(group, {}) for name, model in models.items()}
        values = sorted({name for rates in found.values() for name in rates})
        if values:
            rows = [(v.replace("_", " "), [_percent(rates.get(v)) for rates in found.values()]) for v in values]
            rows.insert(0, (CUT_OFF, [_describe_cut(model.get(group, {})) for model in models.values()]))
            yield Table(f"Answers to {group} prompts", [names.get(name, name) for name in models], rows)


def _frontier(measures: Measures, models: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the chart of the two axes with what they show; None where an axis is not declared or not measured."""
    right, up = measures.helpfulness, measures.harmlessness
    if right is None or up is None:
        return None
    points = []
    for index, (name, model) in enumerate(models.items()):
        across, above = _position(measures, right, model), _position(measures, up, model)
        if across is not None and above is not None:
            points.append(Point(names.get(name, name), index, across, above))
    if not points:
        return None
    title = "Harmlessness against helpfulness of each model"
    chart = draw_points("frontier-chart", title, points, x_label="helpfulness", y_label="harmlessness")
    cut = [_cut_of_model(names[name], model, (up.group, right.group)) for name, model in models.items()]
    return {"chart": chart, "right": right.caption, "up": up.caption, "cut": "; ".join(filter(None, cut))}


def _cut_of_model(name: str, model: Mapping[str, Any], groups: Sequence[str]) -> str:
    """Say how many of a model's answers to some groups the token limit cut off; empty where results do not say."""
    blocks = {group: model.get(group, {}) for group in dict.fromkeys(groups)}
    counts = {group: (count_cut(block), block.get("n")) for group, block in blocks.items()}
    said = [f"{cut} of {n} {group}" for group, (cut, n) in counts.items() if cut is not None]
    return f"{name} {', '.join(said)}" if said else ""


def _position(measures: Measures, axis: Axis, model: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """Return value, low and high of a model on an axis, where more is better."""
    rate = model.get(axis.group, {}).get(axis.name)
    if rate is None:
        return None
    if measures.find(axis.group, axis.name).better == "lower":
        return 1 - rate["value"], 1 - rate["high"], 1 - rate["low"]
    return rate["value"], rate["low"], rate["high"]


def _revisions(measures: Measures, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if not rounds:
        return None
    lines = []
    for key in measures.revisions:
        measured = [row for row in rounds if row[key] is not None]
        values, lows, highs = ([row[key][end] for row in measured] for end in ("value", "low", "high"))
        lines.append(Line(key.replace("_", " "), [float(row["round"]) for row in measured], values, lows, highs))
    keys = (*measures.revisions, UNGRADED)
    words = [key.replace("_", " ") for key in measures.revisions]
    rows = [
        (
            f"after {row['round']} ({count_of(row['n'], 'answer')})",
            [*(_percent(row[key]) for key in keys), _describe_cut(row)],
        )
        for row in rounds
    ]
    caption = (
        f"Answers: {_count(rounds[0], 'red-team')}; a chain that broke off, as where the token limit cut a revision "
        "off, counts up to its last revision"
    )
    title = f"Share of stage-1 answers by number of revisions: {', '.join(words)}"
    return {
        "heading": measures.revisions_caption or "Answers by number of revisions",
        "chart": draw_lines("revisions-chart", title, lines, x_label="revisions", y_label="share"),
        "table": Table(caption, [*words, "not graded", CUT_OFF], rows),
    }


# ------------------------------------------------------------------------------------------- training


def _feedback_rows(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if (feedback := results["feedback"]) is not None:
        yield "Pairs of responses", f"{feedback['pairs']}, for {count_of(feedback['goals'], 'goal')}"
        turned, surely = feedback["order_disagreement"], feedback["sure_contradictions"]
        untold = NOT_ASKED if turned is None else DRAWN
        for caption, share in (
            ("Verdict changes with the order of the two", turned),
            ("Verdict changes, both verdicts being sure (above 0.75)", surely),
        ):
            yield caption, untold if share is None else _with_interval(share)
        yield "Labels near a tie (0.4 to 0.6)", _with_interval(feedback["near_ties"])
        yield "Unlabeled", str(feedback["unlabeled"])
        if dialects := feedback.get("dialects"):
            yield "Labels read from servers, by dialect", ", ".join(f"{name}: {n}" for name, n in dialects.items())


def _figure_rows(run: RunData) -> Iterator[tuple[str, str]]:
    """Yield what the stages declare to be said of them, in the numbers of their accounts."""
    for manifest in run.manifests:
        for figure in run.results["stages"][manifest.stage]["figures"]:
            yield figure["caption"], _describe_figure(Figure.model_validate(figure), manifest.metrics)


def _describe_figure(figure: Figure, numbers: Mapping[str, float]) -> str:
    if not figure.share:
        return " → ".join(_number(numbers.get(name), figure.digits) for name in figure.metrics)
    (name,) = figure.metrics
    ends = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
    told = all(metric in numbers for metric in ends.values())
    return _with_interval({end: numbers[metric] for end, metric in ends.items()} if told else None)


def _number(value: float | None, digits: int) -> str:
    return UNMEASURED if value is None else f"{value:z.{digits}f}"


def _with_interval(rate: Mapping[str, float] | None) -> str:
    value, interval = _percent(rate)
    return f"{value} % ({interval})" if interval else value


def _thin(rows: Sequence[Row], key: str) -> tuple[list[float], list[float]]:
    """Return steps and values of a curve, averaged over neighbours where there are too many to draw."""
    kept = [(row.get("step", float(index)), row[key]) for index, row in enumerate(rows) if key in row]
    size = -(-len(kept) // _MOST_POINTS) or 1
    groups = [kept[start : start + size] for start in range(0, len(kept), size)]
    return [group[-1][0] for group in groups], [sum(v for _, v in group) / len(group) for group in groups]


def _training_charts(run: RunData) -> Iterator[dict[str, Any]]:
    """Draw the curves of the stages as these declare; a chart of metrics that were not measured is left out."""
    declared = (
        (curve, Chart.model_validate(chart))
        for stage in run.results["stages"].values()
        for curve, charts in stage["charts"].items()
        for chart in charts
    )
    for number, (curve, chart) in enumerate(declared):
        lines = [Line(key, *_thin(run.curves.get(curve, ()), key)) for key in chart.keys]
        svg = draw_lines(f"curve-{number}", chart.caption, lines, x_label="step", y_label="", size=SMALL)
        if svg:
            yield {"svg": svg, "caption": chart.caption}


# ----------------------------------------------------------------------------------------- the tables


def _item_counts(manifest: Manifest, *, of_paper: bool) -> dict[str, str]:
    counts = dict(manifest.counts)
    taken, kept = counts.pop("in"), counts.pop("kept", 0)
    left_out = sum(counts.values())
    reasons = ", ".join(f"{reason.replace('_', ' ')}: {count}" for reason, count in counts.items() if count)
    balance = BALANCED if taken == kept + left_out else f"off by {taken - kept - left_out}"
    return {
        "stage": manifest.stage,
        "counted": _COUNTED.get(manifest.stage, UNMEASURED) if of_paper else UNMEASURED,
        "taken": f"{taken}",
        "kept": f"{kept}",
        "left_out": reasons or "none",
        "balance": balance,
    }


def _filter_row(name: str, revisions: Sequence[FilteredRevision]) -> dict[str, Any]:
    """Return how many revisions a filter left out, and the first few of them."""
    examples = [
        {
            "request": write_conversation(revision.conversation),
            "round": revision.round,
            "text": revision.response,
        }
        for revision in revisions[:_FILTERED_SHOWN]
    ]
    return {"name": name, "count": len(revisions), "examples": examples}


def _cut_responses(manifests: Sequence[Manifest]) -> str:
    """Say how many responses each stage used that the token limit cut off; empty where none did."""
    used = {manifest.stage: int(manifest.metrics.get(f"{manifest.stage}/cut_responses", 0)) for manifest in manifests}
    return ", ".join(f"{stage}: {count}" for stage, count in used.items() if count)


def _stage_row(manifest: Manifest) -> dict[str, str]:
    return {
        "stage": manifest.stage,
        "seconds": f"{manifest.seconds:.1f}",
        "cpu_seconds": f"{manifest.cpu_seconds:.1f}",
        "calls": f"{manifest.model_calls:,}",
        "prompt": f"{manifest.tokens.prompt:,}",
        "generated": f"{manifest.tokens.generated:,}",
        "failures": f"{sum(manifest.failures.values())}",
    }


def _principle_row(run: RunData, principle: Any) -> dict[str, Any]:
    revisions, comparisons = run.draws.get(principle.id, (0, 0))
    asked = (principle.critique_request, principle.revision_request, principle.comparison, principle.question)
    words = [text for text in asked if text]
    return {
        "id": principle.id,
        "words": words,
        "revisions": revisions if principle.critique_request else UNMEASURED,
        "comparisons": comparisons if principle.comparison or principle.question else UNMEASURED,
    }


def _command(run: RunData) -> str:
    header = run.header
    words = ["solon", "run", "--seed", str(run.results["seed"])]
    source = header.task.source
    if source.startswith("--"):  # prompt files by their roles, as words of the command line
        words += shlex.split(source)
    elif source != "default":
        words += ["--task", _placeholder(source, "YOUR-TASK")]
    if header.config["preset"] is not None:
        words += ["--preset", str(header.config["preset"])]
    if run.results["grader_source"]:
        words += ["--grader", _placeholder(run.results["grader_source"], "YOUR-GRADER")]
    source = header.constitution.source
    if source != "default":
        words += ["--constitution", _placeholder(source, "YOUR-FILE")]
    if header.templates is not None:
        words += ["--templates", _placeholder(header.templates.source, "YOUR-TEMPLATES")]
    if run.results["method"] == LABELS_ONLY:
        words.append("--labels-only")
    if run.results["until"] is not None:
        words += ["--until", run.results["until"]]
    for name, value in header.overrides.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([*words, "--out", "A-NEW-FOLDER"])


def _placeholder(source: str, word: str) -> str:
    """Return a source, or a word in its place where a program had it as an object."""
    return word if source == GIVEN else source
