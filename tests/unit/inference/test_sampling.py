"""Proves that draws follow the distribution, come from the row's seed alone, and carry the right log-probability."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solon.inference.sampling import draw_tokens, draw_uniforms
from solon.records import Sampling
from tests.tolerances import FLOAT32_SAME

SEEDS = [0, 1, 2, 3, 2**62 + 1, 2**63 - 1]


def exact(logits: torch.Tensor) -> torch.Tensor:
    return logits.double().log_softmax(-1)


def grid(size: int) -> torch.Tensor:
    return (torch.arange(size, dtype=torch.float64) + 0.5) / size


def draw_grid(logits: torch.Tensor, sampling: Sampling, size: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw with evenly spread uniforms; return frequencies of tokens and the log-probabilities that came with them."""
    tokens, logprobs = draw_tokens(logits.repeat(size, 1), grid(size), sampling)
    counts = torch.bincount(tokens, minlength=logits.shape[0]).double() / size
    found = torch.full_like(logits, math.nan)
    found[tokens] = logprobs
    return counts, found


def test_frequencies_are_the_probabilities() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0)) * 2
    for temperature in (1.0, 0.5, 2.0):
        counts, logprobs = draw_grid(logits, Sampling(temperature=temperature))
        assert (counts - (logits / temperature).double().softmax(-1)).abs().max() <= 1 / 4000
        drawn = ~logprobs.isnan()
        torch.testing.assert_close(logprobs[drawn].double(), exact(logits)[drawn], rtol=FLOAT32_SAME, atol=FLOAT32_SAME)


def test_the_nucleus_is_the_smallest_set_of_likely_tokens_with_the_mass() -> None:
    probabilities = torch.tensor([0.05, 0.4, 0.1, 0.3, 0.15])
    for top_p, kept in ((0.3, [1]), (0.41, [1, 3]), (0.69, [1, 3]), (0.8, [1, 3, 4]), (0.99, [0, 1, 2, 3, 4])):
        counts, logprobs = draw_grid(probabilities.log(), Sampling(top_p=top_p))
        expected = torch.zeros(5, dtype=torch.float64)
        expected[kept] = probabilities[kept].double() / probabilities[kept].double().sum()
        assert (counts - expected).abs().max() <= 1 / 4000, top_p
        torch.testing.assert_close(logprobs[kept].exp(), probabilities[kept])


def test_temperature_zero_is_the_most_likely_and_the_first_of_equals() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0], [5.0, 0.0, -1.0]])
    tokens, logprobs = draw_tokens(logits, torch.tensor([0.99, 0.99], dtype=torch.float64), Sampling(temperature=0))
    assert tokens.tolist() == [1, 0]
    expected = exact(logits).gather(1, tokens[:, None]).squeeze(1)
    torch.testing.assert_close(logprobs.double(), expected, rtol=FLOAT32_SAME, atol=FLOAT32_SAME)


def test_tokens_of_no_probability_are_never_drawn() -> None:
    logits = torch.tensor([-math.inf, 0.0, -math.inf, 1.0, -math.inf])
    edges = torch.tensor([0.0, 1 - 2.0**-53, 0.5, 2.0**-53], dtype=torch.float64)
    tokens, logprobs = draw_tokens(logits.repeat(4, 1), edges, Sampling())
    assert set(tokens.tolist()) <= {1, 3}
    assert logprobs.isfinite().all()


@given(st.integers(0, 2**63 - 1), st.integers(1, 40))
def test_uniforms_are_a_function_of_seed_and_step(seed: int, steps: int) -> None:
    alone = draw_uniforms([seed], steps)
    among = draw_uniforms([*SEEDS, seed, seed ^ 1], steps + 3)
    assert np.array_equal(among[len(SEEDS), :steps], alone[0])
    assert not np.array_equal(among[-1, :steps], alone[0])
    assert ((alone >= 0) & (alone < 1)).all()


def test_uniforms_are_uniform_and_independent() -> None:
    drawn = draw_uniforms(range(400), 500)
    counts = np.histogram(drawn, bins=100, range=(0, 1))[0]
    expected = drawn.size / 100
    assert ((counts - expected) ** 2 / expected).sum() < 150  # chi-square, 99 degrees of freedom
    for left, right in ((drawn[:, :-1], drawn[:, 1:]), (drawn[:-1], drawn[1:])):
        assert abs(np.corrcoef(left.ravel(), right.ravel())[0, 1]) < 0.01


def test_uniforms_are_the_documented_hash() -> None:
    def mix(word: int) -> int:
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        return word ^ (word >> 31)

    for seed in SEEDS:
        for step in (0, 1, 7):
            word = mix((mix(seed) + (step + 1) * 0x9E3779B97F4A7C15) % 2**64)
            assert draw_uniforms([seed], 8)[0, step] == (word >> 11) * 2.0**-53


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.7), Sampling(top_p=0.6), Sampling(min_p=0.3)])
def test_rows_do_not_see_each_other(sampling: Sampling) -> None:
    logits = torch.randn(9, 30, generator=torch.Generator().manual_seed(1))
    uniforms = torch.rand(9, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    tokens, _ = draw_tokens(logits, uniforms, sampling)
    for row in range(9):
        assert draw_tokens(logits[row : row + 1], uniforms[row : row + 1], sampling)[0].item() == tokens[row]
