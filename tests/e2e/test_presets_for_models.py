"""Proves that the presets for models of one's own go through the whole graph, at sizes of seconds, on each device."""

import json
from pathlib import Path

import pytest
import torch

from solon.nets import load_policy
from tests.e2e.conftest import call_solon

SIZES = {
    "threads": 1,
    "models.assistant.batch_size": 16,
    "prompts.revision.red_team": 6,
    "prompts.revision.helpful": 6,
    "prompts.comparisons.red_team": 4,
    "prompts.comparisons.helpful": 4,
    "prompts.ppo.red_team": 4,
    "prompts.ppo.helpful": 4,
    "prompts.evaluation.at_most": 2,
    "revision.exemplars": 1,
    "revision.max_tokens": 12,
    "revision.helpful_max_tokens": 12,
    "revision.filters": [],
    "max_failure_fraction": 1.0,
    "comparisons.max_tokens": 12,
    "feedback.pointwise_mass_floor": 0.0,
    "heldout_pairs": 0.0,
    "ppo.iterations": 2,
    "ppo.responses_per_iteration": 4,
    "ppo.minibatches": 1,
    "ppo.max_response_tokens": 8,
    "evaluation.max_tokens": 12,
}
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")]
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("preset", ["small", "small-gpu"])
def test_a_preset_goes_through_the_whole_graph(preset: str, device: str, tiny_world: Path, tmp_path: Path) -> None:
    words = [word for name, value in SIZES.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    run = tmp_path / "run"
    done = call_solon(
        *("run", "--task", "starter", "--model", tiny_world, "--constitution", "small", "--preset", preset),
        *("--device", device, "--out", run, *words),
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((run / "results.json").read_text())
    assert set(results["models"]) == {"base", "sl-cai", "rl-cai"}
    assert all(set(groups) >= {"harmful", "benign", "twins"} for groups in results["models"].values())
    assert load_policy(run / "models" / "rl-cai").dtype == load_policy(tiny_world).dtype
