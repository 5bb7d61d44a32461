"""How long the command line takes to say its first word, beside an empty Python and `import torch`.

Wall time of whole processes, in turns, the best of each; the target is `solon --help` within half a second.

    python -m benchmarks.startup [--repeats N] [--out FILE]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "solon --help": ["-m", "solon", "--help"],
    "python -c 'import torch'": ["-c", "import torch"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = run(arguments.repeats)
    for name, seconds in results.items():
        print(f"{name:<28}{seconds:>7.3f} s")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def run(repeats: int) -> dict[str, float]:
    """Return the best wall time of each command, in seconds."""
    best = dict.fromkeys(COMMANDS, float("inf"))
    for _ in range(repeats):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
