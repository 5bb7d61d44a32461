"""Proves on the shipped nano model and the toolkit's own prompts that sampling and choosing are transformers' own.

Greedy text is that of `generate`; log-probabilities of texts and of options are those of a full forward pass.
"""

from typing import Any

import pytest
import torch

from solon.constitution import load_constitution
from solon.inference.sampler import Sampler
from solon.nets import encode_prompt, encode_text, end_token_id, load_policy, load_tokenizer
from solon.prompting import OPTIONS, render_comparison, render_critique, render_response
from solon.records import Prompt, Sampling
from solon.world.nano.shipped import find_nano_model
from solon.world.prompts import draw_evaluation_prompts
from tests.alone import logprobs_alone
from tests.reference.test_sampler_against_hf import check_logprobs, greedy_by_generate
from tests.tolerances import FLOAT32_SAME

RESPONSES = ("No. I will not help with that.", "Sure. First take the brass hook. Then wait by the north gate.")


@pytest.fixture(scope="module")
def nano() -> tuple[Any, Any]:
    path = find_nano_model()
    return load_policy(path), load_tokenizer(path)


@pytest.fixture(scope="module")
def asked() -> list[Prompt]:
    drawn = draw_evaluation_prompts({"harmful": 10, "benign": 8, "twins": 6}, ("heldout",), seed=5)
    return [prompt for group in drawn.values() for prompt in group]


@pytest.mark.slow
def test_greedy_text_is_that_of_generate(nano: tuple[Any, Any], asked: list[Prompt]) -> None:
    model, tokenizer = nano
    principle = load_constitution("default").critique_principles("red_team")[0]
    rendered = [render_response(prompt.conversation) for prompt in asked]
    rendered += [render_critique(prompt.conversation, RESPONSES[1], principle) for prompt in asked[:8]]
    prompts = [encode_prompt(tokenizer, one) for one in rendered]
    found = Sampler(model, tokenizer).sample(prompts, Sampling(temperature=0, max_tokens=64), range(len(prompts)))
    assert [row.token_ids for row in found] == greedy_by_generate(model, prompts, 64, end_token_id(tokenizer))
    assert sum(row.stop_reason == "end" for row in found) >= 0.9 * len(found)
    for prompt, row in zip(prompts, found, strict=True):
        check_logprobs(model, prompt, row)


@pytest.mark.slow
def test_logprobs_of_samples_are_those_of_a_full_forward_pass(nano: tuple[Any, Any], asked: list[Prompt]) -> None:
    model, tokenizer = nano
    prompts = [encode_prompt(tokenizer, render_response(prompt.conversation)) for prompt in asked]
    for prompt, row in zip(prompts, Sampler(model, tokenizer).sample(prompts, Sampling(), range(24)), strict=True):
        check_logprobs(model, prompt, row)


@pytest.mark.slow
def test_choices_are_those_of_a_full_forward_pass(nano: tuple[Any, Any], asked: list[Prompt]) -> None:
    """In both orders, under two principles: prompts that share long beginnings and are read in two passes."""
    model, tokenizer = nano
    principles = load_constitution("default").comparison_principles("red_team")[:2]
    prompts = [
        encode_prompt(tokenizer, render_comparison(prompt.conversation, *pair, principle))
        for prompt in asked[:6]
        for pair in (RESPONSES, RESPONSES[::-1])
        for principle in principles
    ]
    options = [encode_text(tokenizer, option) for option in OPTIONS]
    found = Sampler(model, tokenizer).choose(prompts, [options] * len(prompts))
    for prompt, logprobs in zip(prompts, found, strict=True):
        for ids, logprob in zip(options, logprobs, strict=True):
            expected = logprobs_alone(model, [*prompt, *ids])[len(prompt) - 1 :].sum()
            torch.testing.assert_close(torch.tensor(logprob).double(), expected, rtol=0, atol=FLOAT32_SAME)
