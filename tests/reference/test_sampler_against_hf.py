"""Proves against transformers: greedy text is that of `generate`, log-probabilities those of a full forward pass."""

from typing import Any

import pytest
import torch
from transformers import GenerationConfig, MinPLogitsWarper, TemperatureLogitsWarper, TopPLogitsWarper

from solon.inference.sampler import Generated, Sampler
from solon.inference.sampling import draw_tokens, draw_uniforms
from solon.records import Sampling
from tests.language_models import FUSED, OTHERS, make_model, make_prompts, make_tokenizer
from tests.tolerances import FLOAT32_SAME

every_model = pytest.mark.parametrize("name", [*FUSED, *OTHERS])


def full_logprobs(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().log_softmax(-1)


def greedy_by_generate(model: Any, prompts: list[list[int]], max_tokens: int, end: int) -> list[list[int]]:
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in prompts])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
    config = GenerationConfig(do_sample=False, max_new_tokens=max_tokens, eos_token_id=end, pad_token_id=0)
    with torch.no_grad():
        out = model.generate(ids, attention_mask=mask, generation_config=config)[:, longest:].tolist()
    return [row[: row.index(end) + 1] if end in row else row for row in out]


def check_logprobs(model: Any, prompt: list[int], found: Generated) -> None:
    ids = prompt + found.token_ids
    expected = full_logprobs(model, ids)[len(prompt) - 1 : -1]
    expected = expected.gather(1, torch.tensor(found.token_ids)[:, None]).squeeze(1)
    torch.testing.assert_close(torch.tensor(found.logprobs).double(), expected, rtol=0, atol=FLOAT32_SAME)


@every_model
def test_greedy_text_is_that_of_generate(name: str) -> None:
    model, tokenizer = make_model(name), make_tokenizer()
    sampler = Sampler(model, tokenizer, batch_size=8)
    assert sampler.has_own_pass == (name in FUSED)
    prompts = make_prompts(11) + make_prompts(4, head=20)
    found = sampler.sample(prompts, Sampling(temperature=0, max_tokens=40), range(15))
    expected = greedy_by_generate(model, prompts, 40, tokenizer.eos_token_id)
    assert [row.token_ids for row in found] == expected
    for prompt, row in zip(prompts, found, strict=True):
        check_logprobs(model, prompt, row)
        assert row.stop_reason == ("end" if row.token_ids[-1] == tokenizer.eos_token_id else "length")


@every_model
@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.6), Sampling(temperature=1.5, top_p=0.7), Sampling(min_p=0.1)],
    ids=str,
)
def test_logprobs_are_those_of_a_full_forward_pass(name: str, sampling: Sampling) -> None:
    model = make_model(name)
    sampler = Sampler(model, make_tokenizer(), batch_size=8)
    prompts = make_prompts(6, seed=1) + make_prompts(4, seed=2, head=24)
    found = sampler.sample(prompts, sampling.model_copy(update={"max_tokens": 36}), range(10))
    for prompt, row in zip(prompts, found, strict=True):
        check_logprobs(model, prompt, row)
    assert len({tuple(row.token_ids) for row in found}) == 10


@pytest.mark.parametrize("top_p", [1.0, 0.8, 0.3])
@pytest.mark.parametrize("min_p", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_cuts_leave_the_tokens_that_those_of_transformers_leave(top_p: float, min_p: float, temperature: float) -> None:
    logits = 2 * torch.randn(20, 12, generator=torch.Generator().manual_seed(0))
    warped = TemperatureLogitsWarper(temperature)(None, logits)
    warped = MinPLogitsWarper(min_p)(None, TopPLogitsWarper(top_p)(None, warped))
    size = 4000
    uniforms = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    for row, expected in zip(logits, warped.softmax(-1), strict=True):
        sampling = Sampling(temperature=temperature, top_p=top_p, min_p=min_p)
        tokens, _ = draw_tokens(row.repeat(size, 1), uniforms, sampling)
        found = torch.bincount(tokens, minlength=12) / size
        assert (found - expected).abs().max() <= 2 / size


@every_model
def test_draws_invert_the_cumulative_distribution(name: str) -> None:
    """Each token is the one at whose step the cumulative probability first exceeds the row's own uniform number."""
    model = make_model(name)
    prompts = make_prompts(5, seed=3)
    found = Sampler(model, make_tokenizer()).sample(prompts, Sampling(max_tokens=12), [100, 101, 102, 103, 104])
    uniforms = torch.from_numpy(draw_uniforms([100, 101, 102, 103, 104], 12))
    for row, (prompt, result) in enumerate(zip(prompts, found, strict=True)):
        steps = full_logprobs(model, prompt + result.token_ids)[len(prompt) - 1 : -1]
        for step, token in enumerate(result.token_ids):
            cumulative = steps[step].exp().cumsum(0)
            before = cumulative[token - 1] if token else 0.0
            assert before - FLOAT32_SAME <= uniforms[row, step] <= cumulative[token] + FLOAT32_SAME


@every_model
def test_choices_are_those_of_a_full_forward_pass(name: str) -> None:
    model = make_model(name)
    sampler = Sampler(model, make_tokenizer(), batch_size=4)
    prompts = make_prompts(5, seed=4) + make_prompts(5, seed=5, head=20, longest=6)
    options = [[[10], [11]], [[10, 20, 30], [11]], [[40, 41], [40, 42, 43, 44]]]
    asked = [options[row % 3] for row in range(10)]
    found = sampler.choose(prompts, asked)
    for prompt, choices, logprobs in zip(prompts, asked, found, strict=True):
        for ids, logprob in zip(choices, logprobs, strict=True):
            steps = full_logprobs(model, prompt + ids)[len(prompt) - 1 : -1]
            expected = float(steps.gather(1, torch.tensor(ids)[:, None]).sum())
            assert logprob == pytest.approx(expected, rel=0, abs=FLOAT32_SAME * len(ids))


def test_the_models_own_generation_defaults_do_not_reach_a_draw() -> None:
    model, tokenizer = make_model("gpt2"), make_tokenizer()
    prompts = make_prompts(3, seed=6)
    before = Sampler(model, tokenizer).sample(prompts, Sampling(max_tokens=10), range(3))
    own = model.generation_config
    model.generation_config = GenerationConfig(do_sample=True, top_k=1, repetition_penalty=5.0, max_length=2)
    try:
        assert Sampler(model, tokenizer).sample(prompts, Sampling(max_tokens=10), range(3)) == before
        assert model.generation_config.repetition_penalty == 5.0
    finally:
        model.generation_config = own


def test_architectures_that_the_decoder_would_get_wrong_are_left_to_generate() -> None:
    for name in OTHERS:
        assert not Sampler(make_model(name), make_tokenizer()).has_own_pass
    model = make_model("llama")
    for change in ({"hidden_act": "gelu"}, {"rope_parameters": {"rope_type": "dynamic"}}):
        kept = {key: getattr(model.config, key) for key in change}
        try:
            for key, value in change.items():
                setattr(model.config, key, value)
            assert not Sampler(model, make_tokenizer()).has_own_pass
        finally:
            for key, value in kept.items():
                setattr(model.config, key, value)
    assert Sampler(model, make_tokenizer()).has_own_pass


@pytest.mark.parametrize(
    "name", ["model.layers.2.self_attn.o_proj", "model.layers.1.mlp.up_proj", "model.embed_tokens", "lm_head"]
)
def test_one_adapted_layer_anywhere_is_enough_to_be_left_to_generate(name: str) -> None:
    """An adapter has the weight of the layer it wraps, so that reading this weight alone would go unnoticed."""
    model = make_model("llama, grouped")
    layer = model.get_submodule(name)
    plain = type(layer)
    layer.__class__ = type("Adapted", (plain,), {})
    try:
        assert not Sampler(model, make_tokenizer()).has_own_pass
    finally:
        layer.__class__ = plain
    assert Sampler(model, make_tokenizer()).has_own_pass
