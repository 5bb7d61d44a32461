"""Proves that metrics and checkpoints keep exactly what they say: cut to a step, whole or absent, never pickled."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from solon.errors import ModelError, RunError
from solon.training.checkpoint import Checkpoint, copy_to_own_storage, seeded, unique_tensors
from solon.training.metrics import StepLog
from solon.training.optimizer import build_adamw, learning_rate_at, take_step


class Tied(nn.Module):
    """Two matrices that are one, a vector, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.word = nn.Parameter(torch.randn(3, 4))
        self.head = self.word
        self.scale = nn.Parameter(torch.ones(4))
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.word.T) @ self.head * self.scale


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
    model(x).square().sum().backward()
    take_step(optimizer, learning_rate=0.01, max_grad_norm=1.0)


def test_a_checkpoint_continues_bitwise(tmp_path: Path) -> None:
    with seeded(1):
        one = Tied()
        optimizer = build_adamw(one, weight_decay=0.1)
        for number in range(3):
            step(one, optimizer, number)
        one.seen += 5.0
        Checkpoint(tmp_path, "id").save(3, {"m": one}, {"m": optimizer}, {"note": [1.5, "x"]})
        step(one, optimizer, 9)
        drawn = torch.rand(3)
    with seeded(2):
        two = Tied()
        other = build_adamw(two, weight_decay=0.1)
        resumed = Checkpoint(tmp_path, "id").restore({"m": two}, {"m": other})
        assert resumed == (3, {"note": [1.5, "x"]})
        assert two.head is two.word
        step(two, other, 9)
        assert torch.equal(torch.rand(3), drawn)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


def test_nothing_saved_is_nothing_restored(tmp_path: Path) -> None:
    model = Tied()
    assert Checkpoint(tmp_path, "id").restore({"m": model}, {}) is None


def test_a_checkpoint_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    model = Tied()
    checkpoint = Checkpoint(tmp_path, "id")
    checkpoint.save(1, {"m": model}, {}, {})
    with pytest.raises(RunError, match=re.escape(str(checkpoint.path)) + ".*another configuration, seed, data"):
        Checkpoint(tmp_path, "other").restore({"m": model}, {})
    assert checkpoint.path.is_file()
    checkpoint.path.write_bytes(b"not safetensors")
    with pytest.raises(ModelError, match="cannot be read"):
        checkpoint.restore({"m": model}, {})
    checkpoint.remove()
    assert not checkpoint.folder.exists()


def test_the_file_is_safetensors_and_json_only(tmp_path: Path) -> None:
    model = Tied()
    optimizer = build_adamw(model)
    step(model, optimizer, 0)
    checkpoint = Checkpoint(tmp_path, "id")
    checkpoint.save(1, {"m": model}, {"m": optimizer}, {})
    assert [path.name for path in checkpoint.folder.iterdir()] == ["state.safetensors"]
    header = checkpoint.path.read_bytes()[8:]
    length = int.from_bytes(checkpoint.path.read_bytes()[:8], "little")
    assert "optimizer/m/0/exp_avg" in json.loads(header[:length])


def test_tied_weights_are_kept_once_and_stay_tied_in_their_own_memory() -> None:
    model = Tied()
    assert set(unique_tensors(model)) == {"word", "scale", "seen"}
    before = model.word.data_ptr()
    copy_to_own_storage(model)
    assert model.head is model.word
    assert model.word.data_ptr() != before


def test_seeding_a_loop_leaves_the_caller_where_it_was() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded(99):
        torch.rand(7)
    assert torch.equal(torch.rand(2), expected)


def test_metrics_after_the_checkpoint_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "sft.jsonl"
    with StepLog(path) as log:
        for number in range(1, 6):
            log.write(number, {"sft/loss": 1.0 / number})
    whole = path.read_text()
    with path.open("a") as file:
        file.write('{"step": 6, "sft/lo')  # killed in the middle of a line
    with StepLog(path, after=3) as log:
        for number in range(4, 6):
            log.write(number, {"sft/loss": 1.0 / number})
        log.sync()
    assert path.read_text() == whole
    with StepLog(path):
        pass
    assert path.read_text() == ""


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_stops_training_by_name(tmp_path: Path, value: float) -> None:
    with StepLog(tmp_path / "m.jsonl") as log, pytest.raises(ModelError, match=r"sft/loss is .* at step 4: .*diverged"):
        log.write(4, {"sft/loss": value})


def test_learning_rates_over_time() -> None:
    def rates(schedule: str, warmup: int = 0) -> list[float]:
        return [
            learning_rate_at(s, total=4, peak=2.0, schedule=schedule, warmup_steps=warmup)  # type: ignore[arg-type]
            for s in range(4)
        ]

    assert rates("constant") == [2.0, 2.0, 2.0, 2.0]
    assert rates("linear") == [2.0, 1.5, 1.0, 0.5]
    assert rates("cosine") == pytest.approx([2.0, 1.0 + math.sqrt(0.5), 1.0, 1.0 - math.sqrt(0.5)])
    assert rates("linear", warmup=2) == [1.0, 2.0, 2.0, 1.0]


def test_a_step_clips_over_all_weights_and_decays_matrices_only() -> None:
    model = Tied()
    with torch.no_grad():
        model.word.fill_(1.0)
    optimizer = build_adamw(model, weight_decay=0.5)
    model.word.grad, model.scale.grad = torch.zeros(3, 4), torch.zeros(4)
    assert take_step(optimizer, learning_rate=0.1, max_grad_norm=1.0) == 0.0
    assert torch.allclose(model.word, torch.full((3, 4), 0.95))
    assert torch.equal(model.scale, torch.ones(4))
    assert model.word.grad is None
    model.word.grad, model.scale.grad = torch.full((3, 4), 3.0), torch.full((4,), 4.0)
    assert take_step(optimizer, learning_rate=0.1, max_grad_norm=1.0) == pytest.approx(math.sqrt(12 * 9 + 4 * 16))
    first_moment = optimizer.state[model.word]["exp_avg"]
    assert float(first_moment[0, 0]) == pytest.approx(0.1 * 3.0 / math.sqrt(12 * 9 + 4 * 16), rel=1e-4)
    model.word.grad = torch.full((3, 4), math.nan)
    before = model.word.detach().clone()
    with pytest.raises(ModelError, match="diverged"):
        take_step(optimizer, learning_rate=0.1, max_grad_norm=1.0)
    assert torch.equal(model.word, before)
