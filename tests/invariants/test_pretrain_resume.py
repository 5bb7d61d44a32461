"""Proves that a pretraining run killed with SIGKILL and started again ends bitwise equal to one left alone.

The run is killed from outside any exception handler, at a step that is not a checkpoint's, in one process and in two;
metrics after the checkpoint are written again, so that steps and losses of the two runs agree line by line.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, signal, sys
from pathlib import Path
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from solon.world.nano.pretrain import Document, PretrainConfig, run_pretrain

class Source:
    def __call__(self, step, seed):
        rng = np.random.default_rng([seed, step])
        while True:
            length = int(rng.integers(5, 40))
            weights = (rng.random(length) < 0.4).astype(np.float32)
            weights[0] = 0
            yield Document(rng.integers(0, 97, length).astype(np.int32), weights)

def kill_at(step):
    def on_log(line):
        if line.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
    return on_log

if __name__ == "__main__":
    out, processes, optimizer, step = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=97, hidden_size=64, intermediate_size=80, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True))
    config = PretrainConfig(steps=11, batch_tokens=600, chunk_tokens=150, warmup_steps=2, log_every=1,
                            checkpoint_every=4, optimizer=optimizer, processes=processes)
    run_pretrain(model, Source(), config, out, kill_at(step))
"""


def run(program: Path, out: Path, processes: int, optimizer: str, kill_step: int = -1) -> int:
    command = [sys.executable, str(program), str(out), str(processes), optimizer, str(kill_step)]
    return subprocess.run(command, timeout=300, check=False).returncode


def read_losses(out: Path) -> list[tuple[int, float, int]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["tokens"]) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "optimizer"), [(1, "muon"), (2, "muon"), (1, "adamw")])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, processes: int, optimizer: str) -> None:
    from safetensors import safe_open

    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(program, whole, processes, optimizer) == 0
    assert run(program, killed, processes, optimizer, kill_step=3) == -signal.SIGKILL
    assert not (killed / "checkpoint.safetensors").exists()
    assert run(program, killed, processes, optimizer, kill_step=7) == -signal.SIGKILL
    with safe_open(killed / "checkpoint.safetensors", "pt") as file:
        assert json.loads(file.metadata()["progress"])["step"] == 4
    assert [step for step, _, _ in read_losses(killed)] == [1, 2, 3, 4, 5, 6, 7]
    assert run(program, killed, processes, optimizer) == 0
    with (
        safe_open(whole / "checkpoint.safetensors", "pt") as a,
        safe_open(killed / "checkpoint.safetensors", "pt") as b,
    ):
        assert set(a.keys()) == set(b.keys()) == {"parameters", "first", "second"}
        for name in a.keys():  # noqa: SIM118 - not a dict
            assert a.get_tensor(name).equal(b.get_tensor(name)), name
    assert read_losses(whole) == read_losses(killed)
    assert sorted(path.name for path in killed.iterdir()) == ["checkpoint.safetensors", "metrics.jsonl"]
