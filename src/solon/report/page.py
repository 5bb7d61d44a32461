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

from solon.records import GIVEN, EvalRecord, Failure, Manifest, RunPaths, replace_file
from solon.report.charts import SMALL, Line, Point, draw_lines, draw_points
from solon.report.load import Example, Row, RunData, load_run_data

MODEL_NAMES = {"base": "Base", "sl-cai": "SL-CAI", "rl-cai": "RL-CAI"}

_RESULT_COLUMNS = (
    ("harmful", "complies", "Harmful: complies"),
    ("harmful", "refuses_and_explains", "Harmful: refuses and explains"),
    ("harmful", "evades", "Harmful: evades"),
    ("benign", "helps_correctly", "Benign: helps correctly"),
    ("twins", "refused", "Benign twins: refused"),
    ("harmful", "unparsed", "Harmful: unreadable"),
    ("benign", "unparsed", "Benign: unreadable"),
)
_CURVES = (
    ("sft", "SFT: loss per response token (nats)", ("sft/loss", "sft/eval_loss")),
    ("preference-model", "Preference model: loss (nats)", ("pm/loss", "pm/heldout_loss")),
    ("preference-model", "Preference model: accuracy on clear held-out pairs", ("pm/accuracy",)),
    ("ppo", "PPO: preference-model score", ("objective/score",)),
    ("ppo", "PPO: KL to SL-CAI (nats per response)", ("objective/kl",)),
    ("ppo", "PPO: entropy of the policy (nats per token)", ("policy/entropy",)),
    ("ppo", "PPO: clipped fraction", ("policy/clipfrac", "value/clipfrac")),
)
_GROUPS = (("harmful", "harmful"), ("benign", "benign"), ("twins", "benign twin"))
_MOST_POINTS = 300

UNMEASURED = "–"
"""What stands where there was nothing to measure."""


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
    view = {
        "title": "Constitutional AI: a run on the reference world",
        "organism": str(run.results["grader"]).startswith("world-oracle"),
        "nano": run.header.models["base"].source == "nano",
        "notices": [*run.header.notices, *run.results["notices"]],
        "result_tables": list(_result_tables(models)),
        "frontier": _frontier(models),
        "example": _example(run, run.example) if run.example is not None else None,
        "category_table": _category_table(models),
        "attribute_tables": list(_attribute_tables(models)),
        "revisions": _revisions(run.results.get("revisions", [])),
        "feedback_rows": list(_feedback_rows(run.results)),
        "charts": list(_training_charts(run.curves)),
        "books": [_book(manifest) for manifest in run.manifests if "in" in manifest.counts],
        "stages": [_stage_row(manifest) for manifest in run.manifests],
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


def _contents(view: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    sections = (
        ("results", "Results", True),
        ("frontier", "Frontier", True),
        ("example", "Turn by turn", view["example"]),
        ("categories", "Categories", view["category_table"]),
        ("attributes", "How they answer", view["attribute_tables"]),
        ("revisions", "Revisions", view["revisions"]),
        ("feedback", "Feedback", True),
        ("curves", "Training", view["charts"]),
        ("books", "Books", True),
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
    return f"{block['n']} to {word} prompts for {block['goals']} goals"


def _result_table(caption: str, blocks: Mapping[str, Mapping[str, Any]]) -> Table:
    def cells(block: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [_percent(block[group][key]) for group, key, _ in _RESULT_COLUMNS]

    counts = next(iter(blocks.values()))
    sizes = ", ".join(_count(counts[group], word) for group, word in _GROUPS)
    rows = [(MODEL_NAMES.get(name, name), cells(block)) for name, block in blocks.items()]
    return Table(f"{caption} (answers: {sizes})", [heading for *_, heading in _RESULT_COLUMNS], rows)


_SPLIT_CAPTIONS = {
    "heldout": "Goals kept from Constitutional AI, known to the base",
    "novel": "Combinations that no document of the base ever contained",
    "dev": "Goals of the development split",
}


def _result_tables(models: Mapping[str, Any]) -> Iterator[Table]:
    for split in dict.fromkeys(split for model in models.values() for split in model["by_split"]):
        blocks = {name: model["by_split"][split] for name, model in models.items() if split in model["by_split"]}
        yield _result_table(_SPLIT_CAPTIONS.get(split, split), blocks)


def _category_table(models: Mapping[str, Any]) -> Table | None:
    goals = {name: block["goals"] for model in models.values() for name, block in model["by_category"].items()}
    if not goals:
        return None
    rows = [
        (
            f"{name} ({goals[name]} goals)",
            [_percent(model["by_category"].get(name, {}).get("complies")) for model in models.values()],
        )
        for name in sorted(goals)
    ]
    return Table("Share of harmful prompts complied with", [MODEL_NAMES.get(name, name) for name in models], rows)


def _attribute_tables(models: Mapping[str, Any]) -> Iterator[Table]:
    for group in ("harmful", "benign"):
        found = {name: model["attributes"].get(group, {}) for name, model in models.items()}
        names = sorted({name for rates in found.values() for name in rates})
        if names:
            rows = [(name.replace("_", " "), [_percent(rates.get(name)) for rates in found.values()]) for name in names]
            yield Table(f"Answers to {group} prompts", [MODEL_NAMES.get(name, name) for name in models], rows)


def _frontier(models: Mapping[str, Any]) -> Markup:
    points = []
    for index, (name, model) in enumerate(models.items()):
        helps, complies = model["benign"]["helps_correctly"], model["harmful"]["complies"]
        if helps is None or complies is None:
            continue
        across = (helps["value"], helps["low"], helps["high"])
        up = (1 - complies["value"], 1 - complies["high"], 1 - complies["low"])
        points.append(Point(MODEL_NAMES.get(name, name), index, across, up))
    title = "Harmlessness against helpfulness of each model"
    return draw_points("frontier-chart", title, points, x_label="helpfulness", y_label="harmlessness")


def _revisions(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if not rounds:
        return None
    lines = []
    for key, label in (("complies", "complies"), ("refuses_and_explains", "refuses and explains")):
        measured = [row for row in rounds if row[key] is not None]
        values, lows, highs = ([row[key][end] for row in measured] for end in ("value", "low", "high"))
        lines.append(Line(label, [float(row["round"]) for row in measured], values, lows, highs))
    title = "Share of stage-1 answers that comply, and that refuse and explain, by number of revisions"
    keys = ("complies", "refuses_and_explains", "unparsed")
    rows = [(f"after {row['round']} ({row['n']} answers)", [_percent(row[key]) for key in keys]) for row in rounds]
    caption = f"Answers: {_count(rounds[0], 'red-team')}; a chain that broke off counts up to its last revision"
    return {
        "chart": draw_lines("revisions-chart", title, lines, x_label="revisions", y_label="share"),
        "table": Table(caption, ["complies", "refuses and explains", "unreadable"], rows),
    }


# ------------------------------------------------------------------------------------------- training


def _feedback_rows(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    feedback, model, ppo = results["feedback"], results["preference_model"], results["ppo"]
    yield "Pairs compared", f"{feedback['pairs']}, for {feedback['goals']} goals"
    yield "Verdict changes with the order of the two", _with_interval(feedback["order_disagreement"])
    yield "Verdict changes, both verdicts being sure (above 0.75)", _with_interval(feedback["sure_contradictions"])
    yield "Labels near a tie (0.4 to 0.6)", _with_interval(feedback["near_ties"])
    yield "Unlabeled", str(feedback["unlabeled"])
    yield "Preference model: agrees with clear held-out labels", _with_interval(model["accuracy"])
    yield "Preference model: expected calibration error", _number(model["ece"], 3)
    yield "PPO iterations", str(ppo["iterations"])
    yield "PPO: KL to SL-CAI at the end, nats per response", _number(ppo["kl"], 2)
    yield (
        "PPO: score at the start and at the end",
        f"{_number(ppo['score_first'], 2)} → {_number(ppo['score_last'], 2)}",
    )


def _number(value: float | None, digits: int) -> str:
    return UNMEASURED if value is None else f"{value:.{digits}f}"


def _with_interval(rate: Mapping[str, float] | None) -> str:
    value, interval = _percent(rate)
    return f"{value} % ({interval})" if interval else value


def _thin(rows: Sequence[Row], key: str) -> tuple[list[float], list[float]]:
    """Return steps and values of a curve, averaged over neighbours where there are too many to draw."""
    kept = [(row.get("step", float(index)), row[key]) for index, row in enumerate(rows) if key in row]
    size = -(-len(kept) // _MOST_POINTS) or 1
    groups = [kept[start : start + size] for start in range(0, len(kept), size)]
    return [group[-1][0] for group in groups], [sum(v for _, v in group) / len(group) for group in groups]


def _training_charts(curves: Mapping[str, Sequence[Row]]) -> Iterator[dict[str, Any]]:
    for number, (name, caption, keys) in enumerate(_CURVES):
        lines = [Line(key, *_thin(curves.get(name, ()), key)) for key in keys]
        svg = draw_lines(f"curve-{number}", caption, lines, x_label="step", y_label="", size=SMALL)
        if svg:
            yield {"svg": svg, "caption": caption}


# ---------------------------------------------------------------------------------------- the example


def _example(run: RunData, example: Example) -> dict[str, Any]:
    shown = example.complied[0] if example.complied else example.draws[0]
    principles = {principle.id: principle for principle in run.constitution.principles}
    chain = example.chain
    steps = [
        {
            "principle": step.principle_id,
            "critique_request": principles[step.principle_id].critique_request,
            "critique": None if step.critique is None else step.critique.text,
            "revision_request": principles[step.principle_id].revision_request,
            "revision": step.revision.text,
        }
        for step in (chain.steps if chain is not None else ())
    ]
    return {
        "prompt": "\n".join(m.text for m in shown.prompt.conversation.messages),
        "answer": shown.response.text,
        "chosen": bool(example.complied),
        "draws": len(example.draws),
        "complied": _describe_compliance(example),
        "grade": describe_grade(shown),
        "steps": steps,
        "broken_off": _describe_failure(chain.failure) if chain is not None and chain.failure is not None else "",
        "finals": [
            {
                "name": MODEL_NAMES.get(record.model_name, record.model_name),
                "text": record.response.text,
                "grade": describe_grade(record),
                "tone": _tone(record),
            }
            for record in example.finals
        ],
    }


def _describe_compliance(example: Example) -> str:
    """Say in how many answers the base complied, out of those of which the grader could tell."""
    draws, told, complied = len(example.draws), len(example.told), len(example.complied)
    if not told:
        return "gave no answer of which the grader could tell whether it complies"
    if told == draws:
        return f"complied in {complied} of {draws}" if complied else "complied in none of them"
    return f"complied in {complied or 'none'} of the {told} answers of which the grader could tell"


def _describe_failure(failure: Failure) -> str:
    return f"{failure.reason.replace('_', ' ')}: {failure.detail}"


def _tone(record: EvalRecord) -> str:
    """Return the class that colours an answer: `harm`, `good`, or nothing where the grader could not tell."""
    complies = record.grade.holds("complies")
    return "" if complies is None else "harm" if complies else "good"


def describe_grade(record: EvalRecord) -> str:
    """Say in a few words how an answer was graded."""
    if record.grade.unparsed:
        return "could not be read by the grader"
    held = [name.replace("_", " ") for name, value in record.grade.attributes.items() if value]
    return ", ".join(held) or "none of the grader's attributes"


# ----------------------------------------------------------------------------------------- the tables


def _book(manifest: Manifest) -> dict[str, str]:
    counts = dict(manifest.counts)
    taken, kept = counts.pop("in"), counts.pop("kept", 0)
    left_out = sum(counts.values())
    reasons = ", ".join(f"{reason.replace('_', ' ')}: {count}" for reason, count in counts.items() if count)
    balance = "balances" if taken == kept + left_out else f"off by {taken - kept - left_out}"
    return {
        "stage": manifest.stage,
        "taken": f"{taken}",
        "kept": f"{kept}",
        "left_out": reasons or "none",
        "balance": balance,
    }


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
    words = [w for w in (principle.critique_request, principle.revision_request, principle.comparison) if w]
    return {
        "id": principle.id,
        "words": words,
        "revisions": revisions if principle.critique_request else UNMEASURED,
        "comparisons": comparisons if principle.comparison else UNMEASURED,
    }


def _command(run: RunData) -> str:
    header = run.header
    words = ["solon", "run", "--preset", str(header.config["preset"]), "--seed", str(run.results["seed"])]
    source = header.constitution.source
    if source != "default":
        words += ["--constitution", "YOUR-FILE" if source == GIVEN else source]
    for name, value in header.overrides.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([*words, "--out", "A-NEW-FOLDER"])
