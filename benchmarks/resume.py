"""How far a run of the nano model that was killed in every stage agrees with one that was not.

Both runs are the smoke preset with the same seed. One is killed with SIGKILL once in each stage, at a random moment
of it, and started again. Printed: files of records and their lines that differ, texts that differ, the largest
difference between two numbers that stand in the same place, model calls made twice, and whether the weights of the
trained models are equal to the bit.

    OMP_NUM_THREADS=1 python -m benchmarks.resume [--seed 1] [--runs runs/resume] [--out FILE]
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from solon.nets import weights_digest
from solon.records import RunPaths

STAGES = ("prompts", "revision", "sft", "comparisons", "feedback", "preference-model", "ppo", "evaluation", "report")
MODELS = ("sl-cai", "preference-model", "value", "rl-cai")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/resume"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    whole, killed = (RunPaths(arguments.runs / name) for name in ("whole", "killed"))
    command = [sys.executable, "-m", "solon", "run", "--preset", "smoke", "--seed", str(arguments.seed), "--out"]
    subprocess.run([*command, str(whole.root)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stages = _results(whole)["stages"]
    deaths = _run_killed([*command, str(killed.root)], {name: stage["seconds"] for name, stage in stages.items()})
    found = {"seed": arguments.seed, "killed_in": deaths, **_compare(whole, killed)}
    print(json.dumps(found, indent=1))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _results(paths: RunPaths) -> dict[str, Any]:
    return dict(json.loads(paths.results.read_text(encoding="utf-8")))


def _run_killed(command: list[str], seconds: dict[str, float]) -> list[str]:
    """Run to the end, killed once in each stage; return the stages in which it was still running then."""
    rng = random.Random(0)
    waiting, deaths = list(STAGES), []
    while True:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            stage = line.split(":")[0]
            if stage in waiting and line.endswith("started\n"):
                waiting = waiting[waiting.index(stage) + 1 :]
                time.sleep(rng.uniform(0.1, 0.7) * seconds.get(stage, 0.5))
                process.send_signal(signal.SIGKILL)
                deaths.append(stage)
                break
        process.stderr.close()
        code = process.wait()
        if code == 0:
            return deaths
        if code != -signal.SIGKILL:
            raise SystemExit(f"{' '.join(command)} ended with {code}")


def _compare(whole: RunPaths, killed: RunPaths) -> dict[str, Any]:
    lines = texts = different_lines = different_texts = 0
    largest = 0.0
    for path in sorted((whole.root / "records").glob("*.jsonl")):
        pairs = zip(_lines(path), _lines(killed.root / "records" / path.name), strict=True)
        for mine, other in pairs:
            lines += 1
            different_lines += mine != other
            for left, right in zip(_leaves(json.loads(mine)), _leaves(json.loads(other)), strict=True):
                if isinstance(left, float) and isinstance(right, float):
                    largest = max(largest, abs(left - right))
                else:
                    texts += 1
                    different_texts += left != right
    calls = [sum(stage["model_calls"] for stage in _results(paths)["stages"].values()) for paths in (whole, killed)]
    equal = {name: weights_digest(whole.model(name)) == weights_digest(killed.model(name)) for name in MODELS}
    return {
        "lines": lines,
        "lines_that_differ": different_lines,
        "texts_and_other_values": texts,
        "of_them_differ": different_texts,
        "largest_difference_of_numbers": largest,
        "model_calls": calls,
        "weights_equal": equal,
    }


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _leaves(value[key])
    elif isinstance(value, list):
        yield len(value)
        for item in value:
            yield from _leaves(item)
    else:
        yield value


if __name__ == "__main__":
    main()
