"""The starter task on a real model: the shipped recipe with several seeds, and others beside it.

Each run is one `solon run` in a process of its own, in a folder of its own; one that is finished is not run again, and
one that was interrupted goes on. The table has the recipe's rates over the answers of all seeds together, with the
intervals of `solon run`, which take the answers for one goal, of whatever seed, as a cluster, and each seed's own.

    recipe     what `--preset small` does: direct revisions
    critique   a critique first, then the revision by it
    guided     revisions by a model that never sees the response: guided writing, not the method
    whole      the recipe up to RL-CAI

    python -m benchmarks.starter_run [--model models/smollm2] [--recipes recipe=0,1,2 critique=0 guided=0 whole=0]
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.whole_run import MODELS, format_rate, pool_rates
from solon.records import EvalRecord, RunPaths, load_records

COLUMNS = {
    "harmful: refuses on topic": ("harmful", "refuses_on_topic"),
    "and gives a reason": ("harmful", "refuses_and_explains"),
    "and gives steps after it": ("harmful", "steps_after_refusal"),
    "benign: refuses": ("benign", "refuses"),
    "twins: refuses": ("twins", "refuses"),
}
RECIPES = {
    "recipe": (),
    "critique": ("--set", "revision.direct=false"),
    "guided": ("--set", "models.critic.backend=benchmarks.guided_writing"),
    "whole": (),
}
PLAN = ("recipe=0,1,2", "critique=0", "guided=0", "whole=0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="models/smollm2")
    parser.add_argument("--recipes", nargs="+", default=list(PLAN), metavar="NAME=SEED,...")
    parser.add_argument("--runs", type=Path, default=Path("runs/starter-seeds"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="as of `solon run`, for all")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    plan = {name: [int(seed) for seed in seeds.split(",")] for name, _, seeds in map(split_plan, arguments.recipes)}
    results = {}
    for name, seeds in plan.items():
        folders = [run(name, seed, arguments) for seed in seeds]
        results[name] = {"seeds": seeds, **summarise(folders)}
        print(f"{name}, seeds {', '.join(map(str, seeds))}", *format_table(results[name]), sep="\n", flush=True)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def split_plan(text: str) -> tuple[str, str, str]:
    """Part `recipe=0,1` into its name, the sign and its seeds."""
    name, sign, seeds = text.partition("=")
    if name not in RECIPES or not seeds:
        raise SystemExit(f"expected one of {', '.join(RECIPES)} with seeds, as in recipe=0,1; found {text}")
    return name, sign, seeds


def run(name: str, seed: int, arguments: argparse.Namespace) -> Path:
    """Run one recipe with one seed, up to where it is to go, and return its folder."""
    # The whole graph goes on in the folder of the recipe's seed, where that has been run.
    folder: Path = arguments.runs / f"{'recipe' if name == 'whole' else name}-{seed}"
    words = ["--task", "starter", "--preset", "small", "--constitution", "small", "--model", arguments.model]
    words += [] if name == "whole" else ["--until", "sl-cai"]
    overrides = [word for override in arguments.overrides for word in ("--set", override)]
    command = [sys.executable, "-m", "solon", "run", *words, *RECIPES[name], *overrides]
    if not is_finished(folder, whole=name == "whole"):
        subprocess.run([*command, "--seed", str(seed), "--out", str(folder)], check=True)
    return folder


def is_finished(folder: Path, *, whole: bool) -> bool:
    """Say whether a folder holds what a recipe is to come to."""
    results = RunPaths(folder).results
    if not results.is_file():
        return False
    return not whole or "rl-cai" in json.loads(results.read_text(encoding="utf-8"))["models"]


def summarise(folders: Sequence[Path]) -> dict[str, Any]:
    """Return the rates of every model over all runs, each run's own, and what each run cost."""
    answers = [load_records(RunPaths(folder).records("evaluation"), EvalRecord) for folder in folders]
    made = [name for name in MODELS if any(record.model_name == name for record in answers[0])]
    results = [json.loads(RunPaths(folder).results.read_text(encoding="utf-8")) for folder in folders]
    return {
        "rates": {
            model: pool_rates([[r for r in records if r.model_name == model] for records in answers], COLUMNS)
            for model in made
        },
        "cost": [{name: each[name] for name in ("total_seconds", "cpu_seconds", "peak_rss_mb")} for each in results],
        "revision": [json.loads((folder / "manifest" / "revision.json").read_text())["counts"] for folder in folders],
    }


def format_table(result: Mapping[str, Any]) -> list[str]:
    """Return a recipe's rates as a table, a row for each model, and what its runs cost."""
    lines = ["", "| | " + " | ".join(COLUMNS) + " |", "|---|" + "---|" * len(COLUMNS)]
    for model, rates in result["rates"].items():
        lines.append(f"| {MODELS[model]} | " + " | ".join(map(format_rate, rates.values())) + " |")
    lines.append("")
    for seed, cost in zip(result["seeds"], result["cost"], strict=True):
        minutes, cpu, memory = cost["total_seconds"] / 60, cost["cpu_seconds"] / 60, cost["peak_rss_mb"]
        lines.append(f"seed {seed}: {minutes:.0f} minutes, {cpu:.0f} CPU minutes, {memory:.0f} MiB")
    return lines


if __name__ == "__main__":
    main()
