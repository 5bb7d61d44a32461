"""What a loop's checkpoint holds beside weights has the form it always had, so that a run of before can go on."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from solon.nets import init_scorer_from_policy, load_tokenizer, save_scorer
from tests.invariants.loops_to_kill import LOOPS, run_loop
from tests.tiny import build_tiny_policy

KEPT: dict[str, dict[str, Any]] = {
    "sft": {"steps": int, "before": dict, "after": dict, "loss_first": float, "loss_last": float},
    "ppo": {"scale": [float] * 2, "score": [float] * 3, "kl": [float] * 3, "ended": [float] * 3},
}
KEPT["preference_model"] = KEPT["sft"]
KEPT["ppo_head_only"] = KEPT["ppo"]


class StopError(Exception):
    """Ends a loop from outside."""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_checkpoint_holds_what_it_always_held(loop: str, tmp_path: Path) -> None:
    base = build_tiny_policy(tmp_path / "models" / "base", layers=1)
    save_scorer(init_scorer_from_policy(base, seed=1), load_tokenizer(base), tmp_path / "models" / "pm")

    def stop(done: int, total: int) -> None:
        if done == 5:  # after its last checkpoint but before its last step
            raise StopError

    with pytest.raises(StopError):
        run_loop(loop, tmp_path / "models", tmp_path / "run", stop)
    (path,) = (tmp_path / "run").rglob("state.safetensors")
    with safe_open(path, framework="pt") as file:
        extra = json.loads(file.metadata()["solon"])["extra"]
    shape = {key: list(map(type, value)) if isinstance(value, list) else type(value) for key, value in extra.items()}
    assert shape == KEPT[loop]
