"""What each stage of a run costs in one checkout of this package and in another, run in turn on one machine.

A smoke run of every stage is made from the sources of either checkout, one after the other, several times. Of each
stage the least processor time is kept, with peak memory and the time by the clock, since what a busy machine adds is
never negative. The ratio is NEW over OLD.

    python -m benchmarks.stages OLD NEW [--repeats 3] [--preset smoke]

OLD and NEW are checkouts (`git worktree add ../old COMMIT`). Both run on the packages of this environment.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

WHOLE = "run"
MEMORY = "peak_rss_mb"


def measure(checkout: Path, preset: str) -> dict[str, tuple[float, float, float]]:
    """Return stage to processor seconds, seconds and peak memory in MiB of one run."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "solon", "run", "--preset", preset, "--out", str(out)]
        environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, cwd=folder, capture_output=True)
        accounts = [json.loads(file.read_text()) for file in sorted((out / "manifest").glob("*.json"))]
    return {a["stage"]: (a["cpu_seconds"], a["seconds"], a["metrics"].get(MEMORY, 0.0)) for a in accounts}


def main() -> None:
    """Print a line for each stage."""
    parser = argparse.ArgumentParser(prog="benchmarks.stages", description=__doc__.partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--preset", default="smoke")
    given = parser.parse_args()
    runs: dict[Path, list[dict[str, tuple[float, float, float]]]] = {given.old: [], given.new: []}
    for _ in range(given.repeats):
        for checkout, found in runs.items():
            found.append(measure(checkout.resolve(), given.preset))
    print(f"{'stage':18} {'CPU s':>15} {'ratio':>6} {'wall s':>15} {'MiB':>13}")
    for stage in runs[given.new][0]:
        (cpu_old, wall_old, mib_old), (cpu_new, wall_new, mib_new) = (
            [min(run[stage][place] for run in found if stage in run) for place in range(3)] for found in runs.values()
        )
        ratio = cpu_new / max(cpu_old, 1e-9)
        name = "whole run" if stage == WHOLE else stage
        cpu, wall = f"{cpu_old:.2f} -> {cpu_new:.2f}", f"{wall_old:.1f} -> {wall_new:.1f}"
        print(f"{name:18} {cpu:>15} {ratio:6.2f} {wall:>15} {f'{mib_old:.0f} -> {mib_new:.0f}':>13}")


if __name__ == "__main__":
    main()
