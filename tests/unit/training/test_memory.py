"""Proves that each training holds as many bytes a parameter as `pipeline.machine` says, by counting them at a step:
the weights of all models that are alive, gradients, moments of AdamW.
"""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.nets import count_parameters
from solon.pipeline.machine import TRAINING_BYTES
from solon.training import learner, optimizer, steps
from solon.training.ppo import PPOConfig, run_ppo
from solon.training.preference_model import PreferenceModelConfig, run_preference_model
from solon.training.sft import SFTConfig, run_sft
from tests.tiny import build_tiny_policy, make_example, make_pair, make_prompt

PPO = {"iterations": 2, "responses_per_iteration": 4, "minibatches": 1, "max_response_tokens": 4}
SLACK = 0.03
"""Share by which heads of single scores, and weights that no single network has, may move the count."""


def weights() -> Iterator[torch.nn.Parameter]:
    return (found for found in gc.get_objects() if type(found) is torch.nn.Parameter and not found.is_meta)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes held at each step of training, after it; gradients as they were before it."""
    gc.collect()
    before = {id(weight) for weight in weights()}
    found: list[int] = []
    optimizers: dict[int, torch.optim.Optimizer] = {}

    def counted(given: torch.optim.Optimizer, **options: Any) -> float:
        alive = {id(weight): weight for weight in weights() if id(weight) not in before}.values()
        optimizers[id(given)] = given
        gradients = sum(weight.grad.nbytes for weight in alive if weight.grad is not None)
        norm = optimizer.take_step(given, **options)
        moments = [value for each in optimizers.values() for state in each.state.values() for value in state.values()]
        found.append(
            sum(weight.nbytes for weight in alive)
            + gradients
            + sum(moment.nbytes for moment in moments if moment.dim())
        )
        return norm

    monkeypatch.setattr(steps, "take_step", counted)
    monkeypatch.setattr(learner, "take_step", counted)
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory")
    build_tiny_policy(folder / "base", width=64)
    pairs = [make_pair(number) for number in range(2)]
    metrics = folder / "m.jsonl"
    run_preference_model(folder / "base", pairs, [], PreferenceModelConfig(), folder / "pm", seed=1, metrics=metrics)
    return folder


def each_of(held: list[int], models: Path) -> float:
    return max(held) / count_parameters(models / "base")


def test_fine_tuning(models: Path, tmp_path: Path, held: list[int]) -> None:
    examples = [make_example(number) for number in range(4)]
    run_sft(models / "base", examples, SFTConfig(), tmp_path / "out", seed=1, metrics=tmp_path / "m.jsonl")
    assert each_of(held, models) == pytest.approx(TRAINING_BYTES["SL-CAI"], rel=SLACK)


def test_the_preference_model(models: Path, tmp_path: Path, held: list[int]) -> None:
    pairs, config = [make_pair(number) for number in range(2)], PreferenceModelConfig()
    run_preference_model(models / "base", pairs, [], config, tmp_path / "out", seed=1, metrics=tmp_path / "m.jsonl")
    assert each_of(held, models) == pytest.approx(TRAINING_BYTES["SL-CAI"], rel=SLACK)


@pytest.mark.parametrize(("own_trunk", "what"), [(False, "RL-CAI"), (True, "RL-CAI with ppo.train_value_trunk")])
def test_ppo(models: Path, tmp_path: Path, held: list[int], own_trunk: bool, what: str) -> None:
    config, prompts = PPOConfig(**PPO, train_value_trunk=own_trunk), [make_prompt(number) for number in range(2)]
    run_ppo(models / "base", models / "pm", prompts, config, tmp_path / "out", seed=1, metrics=tmp_path / "m.jsonl")
    assert each_of(held, models) == pytest.approx(TRAINING_BYTES[what], rel=SLACK)
