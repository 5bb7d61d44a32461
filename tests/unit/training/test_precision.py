"""Proves that what a run makes of a model is saved in that model's precision, and that it is trained in float32."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from solon.nets import load_policy, load_tokenizer, save_policy, stored_dtype
from solon.nets.folder import read_json_file
from solon.storage import replace_file
from solon.training.ppo import PPOConfig, run_ppo
from solon.training.preference_model import PreferenceModelConfig, run_preference_model
from solon.training.sft import SFTConfig, run_sft
from tests.tiny import build_tiny_policy, make_example, make_pair, make_prompt

EXAMPLES = [make_example(number) for number in range(6)]
SFT = SFTConfig(batch_size=3, learning_rate=1e-3, eval_fraction=0.0)
PM = PreferenceModelConfig(batch_size=3, learning_rate=1e-3)
PPO = PPOConfig(
    iterations=2, responses_per_iteration=4, minibatches=1, max_response_tokens=8, learning_rate=1e-3, sample_every=9
)


def convert(path: Path, dtype: torch.dtype) -> Path:
    save_policy(load_policy(path).to(dtype), load_tokenizer(path), path)
    return path


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every loop makes of a base in bfloat16, beside the same base in float32."""
    folder = tmp_path_factory.mktemp("half")
    base = convert(build_tiny_policy(folder / "base"), torch.bfloat16)
    save_policy(load_policy(base).to(torch.float32), load_tokenizer(base), folder / "whole")
    for name in ("base", "whole"):
        run_sft(folder / name, EXAMPLES, SFT, folder / f"{name}-sft", seed=1, metrics=folder / "sft.jsonl")
    pairs, start, metrics = [make_pair(number) for number in range(4)], folder / "base-sft", folder / "metrics.jsonl"
    run_preference_model(start, pairs[:3], pairs[3:], PM, folder / "pm", seed=1, metrics=metrics)
    prompts, out = [make_prompt(number) for number in range(2)], folder / "ppo"
    run_ppo(start, folder / "pm", prompts, PPO, out, seed=1, metrics=metrics, value_out=folder / "value")
    return folder


def dtypes_of(path: Path) -> tuple[Any, set[torch.dtype]]:
    weights = load_file(path / "model.safetensors").values()
    return read_json_file(path / "config.json")["dtype"], {weight.dtype for weight in weights}


@pytest.mark.parametrize("name", ["base-sft", "ppo"])
def test_an_assistant_is_saved_in_the_precision_of_what_it_was_made_of(half: Path, name: str) -> None:
    assert dtypes_of(half / name) == ("bfloat16", {torch.bfloat16})
    plain = AutoModelForCausalLM.from_pretrained(half / name)
    assert plain.dtype == torch.bfloat16
    ours = load_policy(half / name)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, ours(input_ids=ids).logits)


@pytest.mark.parametrize("name", ["pm", "value"])
def test_what_scores_stays_in_float32(half: Path, name: str) -> None:
    assert dtypes_of(half / name) == ("float32", {torch.float32})
    assert AutoModelForSequenceClassification.from_pretrained(half / name).dtype == torch.float32


def test_it_is_trained_in_float32_and_rounded_once(half: Path) -> None:
    whole = load_file(half / "whole-sft" / "model.safetensors")
    assert {weight.dtype for weight in whole.values()} == {torch.float32}
    rounded = load_file(half / "base-sft" / "model.safetensors")
    before = load_file(half / "base" / "model.safetensors")
    for name, weight in whole.items():
        assert torch.equal(rounded[name], weight.to(torch.bfloat16)), name
    assert any(not torch.equal(rounded[name], before[name]) for name in rounded)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("said", [True, False])
def test_a_checkpoint_that_does_not_say_has_the_precision_of_its_weights(
    tmp_path: Path, dtype: torch.dtype, said: bool
) -> None:
    path = convert(build_tiny_policy(tmp_path / "model"), dtype)
    if not said:
        text = (path / "config.json").read_text().replace('"dtype"', '"no_dtype"')
        with replace_file(path / "config.json") as temporary:
            temporary.write_text(text)
    assert stored_dtype(path) == dtype == load_policy(path).dtype
