"""Proves that a loop killed by SIGKILL and started again ends with the same bytes as one that was never touched.

Weights, tokenizer, metrics and sample texts are compared, on a CPU, across processes: the killed run lives in a child
of another process, the resumed one here.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from solon.nets import init_scorer_from_policy, load_tokenizer, save_scorer
from tests.invariants.loops_to_kill import LOOPS, run_loop
from tests.tiny import build_tiny_policy

FIRST_STEP = {"step:2": 1, "step:5": 4, "write:2": 4, "wrote:2": 7, "write-out:1": 0, "wrote-out:1": 1}
"""Where a loop goes on after each death: at the start where there is no checkpoint (any more), 0 for after its last."""

TASKS = [f"{loop}@{death}" for loop in LOOPS for death in FIRST_STEP if loop != "ppo_head_only" or death == "step:5"]


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return all files but those that a killed process was about to move, which a run removes when it goes on."""
    files = (path for path in folder.rglob("*") if path.is_file())
    moving = re.compile(r"(^|/)\.[^/]+\.\d+\.(tmp|old)(/|$)")
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return {name: content for name, content in found.items() if not moving.search(name)}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    base = build_tiny_policy(folder / "models" / "base", layers=1)
    save_scorer(init_scorer_from_policy(base, seed=1), load_tokenizer(base), folder / "models" / "pm")
    done = subprocess.run(
        [sys.executable, "-m", "tests.invariants.loops_to_kill", str(folder), *TASKS],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    assert done.stdout.splitlines() == [f"{task} killed" for task in TASKS], done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory, killed: Path) -> dict[str, dict[str, bytes]]:
    results = {}
    for loop in LOOPS:
        folder = tmp_path_factory.mktemp(loop)
        run_loop(loop, killed / "models", folder)
        results[loop] = read_folder(folder)
    return results


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_killed_and_resumed_is_uninterrupted_to_the_byte(
    task: str, killed: Path, untouched: dict[str, dict[str, bytes]]
) -> None:
    loop, _, death = task.partition("@")
    folder = killed / task
    has_checkpoint = (folder / "out" / ".checkpoint" / "state.safetensors").is_file()
    assert has_checkpoint == (FIRST_STEP[death] != 1)
    assert (folder / "out" / "model.safetensors").exists() == (death == "wrote-out:1")
    progress: list[tuple[int, int]] = []
    run_loop(loop, killed / "models", folder, lambda done, total: progress.append((done, total)))
    first, total = progress[0]
    assert first == (FIRST_STEP[death] or 1 + (total - 1) // 3 * 3)
    assert read_folder(folder) == untouched[loop]


@pytest.mark.slow
def test_running_twice_is_the_same_run_and_another_seed_is_not(
    killed: Path, untouched: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    run_loop("ppo", killed / "models", tmp_path)
    assert read_folder(tmp_path) == untouched["ppo"]
    assert untouched["ppo"]["out/model.safetensors"] != untouched["ppo_head_only"]["out/model.safetensors"]
