"""Proves that our forward pass is transformers' own, in any order of prompts, in bfloat16, and after a peek.

And that it reads the model's own weights, so that there is one copy of them.
"""

import copy
from typing import Any

import pytest
import torch

from solon.inference.decoder import LlamaDecoder
from tests.language_models import FUSED, make_model, make_prompts
from tests.tolerances import FLOAT32_SAME

every_model = pytest.mark.parametrize("name", list(FUSED))


def last_logprobs(model: Any, rows: list[list[int]]) -> torch.Tensor:
    """Of the next token after each row, each read by itself. Shape (B, V)."""
    with torch.no_grad():
        return torch.stack([model(torch.tensor([row])).logits[0, -1].float() for row in rows]).log_softmax(-1)


@every_model
def test_each_prompt_has_its_own_logits_in_any_order(name: str) -> None:
    model = make_model(name)
    prompts = make_prompts(3) + make_prompts(3, seed=1, head=20)
    prompts = [prompts[i] for i in (4, 1, 0, 4, 3, 2, 1, 5, 4)]
    _, logits = LlamaDecoder(model).prefill(prompts)
    expected = last_logprobs(model, prompts)
    torch.testing.assert_close(logits.log_softmax(-1), expected, rtol=0, atol=FLOAT32_SAME)


@every_model
def test_it_reads_the_weights_of_the_model_themselves(name: str) -> None:
    model, prompts = copy.deepcopy(make_model(name)), make_prompts(3)
    decoder = LlamaDecoder(model)
    _, before = decoder.prefill(prompts)
    for parameter_name, parameter in model.named_parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        _, after = decoder.prefill(prompts)
        assert not torch.equal(after, before), parameter_name
        assert torch.equal(after, LlamaDecoder(model).prefill(prompts)[1]), parameter_name
        before = after


def test_a_peek_does_not_move_on() -> None:
    model = make_model("llama, grouped")
    decoder, prompts = LlamaDecoder(model), make_prompts(4, seed=2)
    cache, _ = decoder.prefill(prompts)
    peeked = decoder.extend_logits(cache, [[7, 8, 9], [7], [7, 8], [9, 9, 9]])
    torch.testing.assert_close(
        peeked[2, 1].log_softmax(-1), last_logprobs(model, [[*prompts[2], 7, 8]])[0], rtol=0, atol=FLOAT32_SAME
    )
    for token in (30, 31):
        prompts = [[*prompt, token] for prompt in prompts]
        logits = decoder.step(cache, torch.full((4,), token))
    torch.testing.assert_close(logits.log_softmax(-1), last_logprobs(model, prompts), rtol=0, atol=FLOAT32_SAME)


@every_model
def test_in_bfloat16_it_is_no_further_from_the_truth_than_transformers(name: str) -> None:
    model = make_model(name)
    half = copy.deepcopy(model).to(torch.bfloat16)
    decoder, prompts = LlamaDecoder(half), make_prompts(12, seed=3)
    cache, _ = decoder.prefill(prompts)
    for token in (30, 31, 32):
        prompts = [[*prompt, token] for prompt in prompts]
        logits = decoder.step(cache, torch.full((12,), token))
    truth = last_logprobs(model, prompts)
    ours, theirs = (
        float((found - truth).abs().mean()) for found in (logits.log_softmax(-1), last_logprobs(half, prompts))
    )
    assert 0 < ours <= 1.5 * theirs
