"""Proves that only tokens of the tokenizer are drawn and weighed, and that a model without a known context is refused.

A model may have more rows than its tokenizer has tokens, since vocabularies are padded to a round number.
"""

from functools import cache
from typing import Any

import pytest
import torch
import transformers

from solon.errors import ModelError
from solon.inference.sampler import Sampler
from solon.records import Sampling
from tests import made_up_tokenizers
from tests.language_models import make_prompts, make_tokenizer
from tests.tolerances import FLOAT32_SAME

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
PADDED: dict[str, dict[str, Any]] = {
    "Llama": {"intermediate_size": 64, "num_key_value_heads": 2, **SIZE},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4},
}
ROWS = 640
padded = pytest.mark.parametrize("name", PADDED)


@cache
def make_padded(name: str) -> Any:
    """A model with twice as many rows as there are tokens; the rows past them are the likeliest."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(
            vocab_size=ROWS, bos_token_id=None, eos_token_id=None, tie_word_embeddings=False, **PADDED[name]
        )
        model = transformers.AutoModelForCausalLM.from_config(config)
        torch.nn.init.normal_(model.get_output_embeddings().weight, std=0.5)
    return model.eval()


def logprobs_of_tokens(model: Any, ids: list[int]) -> torch.Tensor:
    """Log-probabilities after each token, by a whole forward pass over the tokens there are."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    assert logits.shape[1] == ROWS
    return logits[:, : len(make_tokenizer())].log_softmax(-1)


@padded
@pytest.mark.parametrize(
    "sampling", [Sampling(max_tokens=30), Sampling(max_tokens=30, temperature=0), Sampling(max_tokens=30, top_p=0.8)]
)
@pytest.mark.parametrize("stop", [(), ("e",), (" t",)])
def test_only_tokens_that_the_tokenizer_has_are_drawn(name: str, sampling: Sampling, stop: tuple[str, ...]) -> None:
    model, prompts = make_padded(name), make_prompts(6)
    sampler = Sampler(model, make_tokenizer(), end_ids=[])
    assert sampler.has_own_pass == (name == "Llama")
    drawn = sampler.sample(prompts, sampling, range(6), stop=stop)
    assert max(index for row in drawn for index in row.token_ids) < len(make_tokenizer())
    for prompt, row in zip(prompts, drawn, strict=True):
        steps = logprobs_of_tokens(model, prompt + row.token_ids)[len(prompt) - 1 : -1]
        expected = steps.gather(1, torch.tensor(row.token_ids)[:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(row.logprobs).double(), expected, rtol=0, atol=FLOAT32_SAME)


@padded
def test_options_are_weighed_among_the_tokens_that_the_tokenizer_has(name: str) -> None:
    model, prompts, options = make_padded(name), make_prompts(5), [[10], [11, 12], [13, 14, 15]]
    found = Sampler(model, make_tokenizer()).choose(prompts, [options] * 5)
    for prompt, logprobs in zip(prompts, found, strict=True):
        for ids, logprob in zip(options, logprobs, strict=True):
            steps = logprobs_of_tokens(model, prompt + ids)[len(prompt) - 1 : -1]
            expected = float(steps.gather(1, torch.tensor(ids)[:, None]).sum())
            assert logprob == pytest.approx(expected, rel=0, abs=FLOAT32_SAME * len(ids))


def test_a_vocabulary_may_have_holes() -> None:
    sampler = Sampler(make_padded("Llama"), made_up_tokenizers.word_level({"a": 0, "b": 7, "</s>": 600}), end_ids=[])
    drawn = sampler.sample([[0]] * 20, Sampling(max_tokens=9, temperature=30), range(20), stop=("zb",))
    assert {index for row in drawn for index in row.token_ids} == {0, 7, 600}


def make_bloom() -> Any:
    return transformers.BloomForCausalLM(transformers.BloomConfig(vocab_size=340, hidden_size=32, n_layer=1, n_head=2))


def make_mpt() -> Any:
    config = transformers.MptConfig(vocab_size=340, d_model=32, n_layers=1, n_heads=2, max_seq_len=48)
    return transformers.MptForCausalLM(config)


def test_an_architecture_without_positions_takes_what_it_or_its_tokenizer_says() -> None:
    tokenizer = made_up_tokenizers.chatml()
    assert Sampler(make_mpt(), tokenizer).context == 48
    tokenizer.model_max_length = 64
    sampler = Sampler(make_bloom().eval(), tokenizer)
    assert sampler.context == 64
    assert len(sampler.sample([[5] * 60], Sampling(max_tokens=4), [1])[0].token_ids) > 0
    with pytest.raises(ModelError, match="the model takes 1 to 64"):
        sampler.sample([[5] * 61], Sampling(max_tokens=4), [1])


@pytest.mark.parametrize(
    "positions",
    [
        {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4},
        {"rope_type": "dynamic", "factor": 4.0},
    ],
)
def test_positions_that_change_with_the_longest_row_are_used_as_far_as_they_stay(positions: dict[str, Any]) -> None:
    tokenizer = made_up_tokenizers.chatml()
    positions |= {"rope_theta": 10000.0, "original_max_position_embeddings": 64}
    options = {**PADDED["Llama"], "max_position_embeddings": 256, "rope_parameters": positions}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=ROWS, **options)).eval()
    sampler = Sampler(model, tokenizer, end_ids=())
    assert sampler.context == 64
    asked = [[5] * 20, [6] * 60]
    alone = sampler.sample(asked[:1], Sampling(max_tokens=4), [1])
    beside = sampler.sample(asked, Sampling(max_tokens=4), [1, 2])
    assert beside[0].logprobs == pytest.approx(alone[0].logprobs, rel=0, abs=FLOAT32_SAME)
    with pytest.raises(ModelError, match="the model takes 1 to 64"):
        sampler.sample([[6] * 61], Sampling(max_tokens=4), [1])


def test_a_model_that_says_nowhere_how_many_tokens_it_takes_is_refused_on_opening() -> None:
    with pytest.raises(ModelError, match=r"bloom: .* set model_max_length in its tokenizer_config\.json"):
        Sampler(make_bloom(), made_up_tokenizers.chatml())


@padded
def test_a_prompt_of_tokens_that_the_model_has_no_row_for_is_refused(name: str) -> None:
    sampler = Sampler(make_padded(name), make_tokenizer())
    for ask in (
        lambda: sampler.sample([[5], [5, ROWS]], Sampling(max_tokens=4), [1, 2]),
        lambda: sampler.choose([[5], [5, ROWS]], [[[6]], [[6]]]),
    ):
        with pytest.raises(ModelError, match="prompt 1 has token 640, the model's embeddings end at row 639"):
            ask()
