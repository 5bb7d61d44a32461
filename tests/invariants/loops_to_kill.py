"""Runs one loop on tiny data, in a process of its own that may be told to kill itself on the way.

    python -m tests.invariants.loops_to_kill FOLDER LOOP DEATH

DEATH is `step:N` (after progress N), `write:N` or `wrote:N` (just before or after the N-th checkpoint is moved into
place), or the same of the result: `write-out:1`, `wrote-out:1`. The signal is SIGKILL, from the process to itself, so
nothing is cleaned up.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from solon.nets import load_policy, load_scorer
from solon.storage import watch_points
from solon.training.ppo import PPOConfig, run_ppo
from solon.training.preference_model import PreferenceModelConfig, run_preference_model
from solon.training.sft import SFTConfig, run_sft
from tests.tiny import make_example, make_pair, make_prompt

LOOPS = ("sft", "preference_model", "ppo", "ppo_head_only")


def run_loop(loop: str, models: Path, folder: Path, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Run a loop from `models` (which holds `base` and `pm`) into `folder`."""
    out, metrics = folder / "out", folder / "metrics.jsonl"
    if loop == "sft":
        config = SFTConfig(batch_size=4, evaluate_every=3, eval_fraction=0.2, checkpoint_every=3, schedule="cosine")
        examples = [make_example(number) for number in range(60)]
        run_sft(models / "base", examples, config, out, seed=7, metrics=metrics, on_progress=on_progress)
    elif loop == "preference_model":
        config = PreferenceModelConfig(batch_size=3, evaluate_every=4, checkpoint_every=3, weight_decay=0.1)
        pairs = [make_pair(number) for number in range(30)]
        run_preference_model(
            models / "base", pairs[:24], pairs[24:], config, out, seed=7, metrics=metrics, on_progress=on_progress
        )
    else:
        config = PPOConfig(
            iterations=8,
            responses_per_iteration=6,
            max_response_tokens=8,
            sample_every=2,
            checkpoint_every=3,
            train_value_trunk=loop == "ppo",
        )
        run_ppo(
            models / "base",
            models / "pm",
            [make_prompt(number) for number in range(10)],
            config,
            out,
            seed=7,
            metrics=metrics,
            on_progress=on_progress,
            value_out=folder / "value",
        )


def die_at(death: str) -> Callable[[int, int], None]:
    """Arrange for this process to be killed; return the progress function that does it for `step:N`."""
    where, _, number = death.partition(":")
    moment, _, file = where.partition("-")
    passed = 0

    def point(name: str) -> None:
        nonlocal passed
        kind, _, path = name.partition(":")
        if kind == moment and path.endswith(f"/{file}" if file else ".checkpoint/state.safetensors"):
            passed += 1
            if passed == int(number):
                os.kill(os.getpid(), signal.SIGKILL)

    def progress(done: int, total: int) -> None:
        if where == "step" and done == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    watch_points(point)
    return progress


def main() -> None:
    """Run each LOOP:DEATH in a child of its own, so that torch is imported once for all of them."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    load_policy(folder / "models" / "base")  # so that transformers' own imports happen once, before any child
    load_scorer(folder / "models" / "pm")
    for task in sys.argv[2:]:
        loop, _, death = task.partition("@")
        child = os.fork()
        if child == 0:
            run_loop(loop, folder / "models", folder / task, die_at(death))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(task, "killed" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else status)


if __name__ == "__main__":
    main()
