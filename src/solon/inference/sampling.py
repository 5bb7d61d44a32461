"""Drawing tokens: one uniform number per row and step, from the row's own seed, through the inverse of the CDF.

A row's uniforms are a hash of (seed, step), so its text does not depend on which rows it was batched with, nor on
when it was drawn. Inverse-CDF sampling takes one pass over the vocabulary, where `torch.multinomial` takes several.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from solon.records import Sampling

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def draw_uniforms(seeds: Sequence[int], steps: int) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1), each a function of its row's seed and its step only.

        u[row, step] = mix(mix(seed) + (step + 1) * odd constant) / 2^64, rounded down to 53 bits

    `mix` is the finaliser of SplitMix64, a bijection of 64-bit words in which every output bit depends on every
    input bit.

    Args:
        seeds: one per row; taken modulo 2^64.
        steps: how many numbers per row.

    Returns:
        Shape (B, steps).

    Reference: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
    """
    words = np.array([seed & 0xFFFFFFFFFFFFFFFF for seed in seeds], dtype=np.uint64)
    counters = np.arange(1, steps + 1, dtype=np.uint64) * _STEP
    mixed = _mix(_mix(words)[:, None] + counters[None, :])
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * _MIX_1
    words = (words ^ (words >> np.uint64(27))) * _MIX_2
    return words ^ (words >> np.uint64(31))


def draw_tokens(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Draw one token per row and return it with its log-probability at temperature 1.

        token = the first v with  sum_{w <= v} q(w) > u * sum_w q(w)
        q(v)  = p(v)  where v is in N(top_p) and p(v) >= min_p * max_w p(w);  0 elsewhere
        p     = softmax(logits / temperature)

    with N(top_p) the smallest set of most likely tokens whose mass under p reaches top_p. The temperature comes first.
    Both cuts look at the whole of p, so it makes no difference which of them is made first, and the most likely token
    outlives both. So do transformers, which cut by top_p and then by min_p; a backend that cuts by min_p first and
    measures top_p on what is left draws from fewer tokens.

    At temperature 0 the token is the most likely one (the first of equals). The log-probability returned is
    that of softmax(logits) over all tokens, whatever the temperature and the cuts.

    Args:
        logits: float32. Shape (B, V).
        uniforms: float64 in [0, 1). Shape (B,).
        sampling: temperature and cuts; `max_tokens` is not read.

    Returns:
        Tokens (B,) and natural log-probabilities (B,).
    """
    if sampling.temperature == 0.0:
        tokens = logits.argmax(dim=-1)
        return tokens, _logprobs_of(logits, tokens)
    plain = sampling.temperature == 1.0 and sampling.top_p == 1.0 and sampling.min_p == 0.0
    probabilities = torch.softmax(logits if plain else logits / sampling.temperature, dim=-1)
    weights = probabilities if sampling.top_p == 1.0 else _nucleus(probabilities, sampling.top_p)
    weights = weights if sampling.min_p == 0.0 else _likely_enough(weights, sampling.min_p)
    cumulative = torch.cumsum(weights, dim=-1, dtype=torch.float64)
    targets = uniforms[:, None] * cumulative[:, -1:]
    tokens = torch.searchsorted(cumulative, targets, right=True)
    if plain:
        return tokens.squeeze(1), probabilities.gather(1, tokens).log_().squeeze(1)
    return tokens.squeeze(1), _logprobs_of(logits, tokens.squeeze(1))


def _logprobs_of(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.gather(1, tokens[:, None]).squeeze(1) - logits.logsumexp(dim=-1)


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Set to 0 all but the smallest set of most likely tokens whose mass reaches `top_p`."""
    ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ranked.cumsum(dim=-1) - ranked
    ranked = ranked.masked_fill(before >= top_p, 0.0)
    return torch.zeros_like(probabilities).scatter_(1, order, ranked)


def _likely_enough(weights: Tensor, min_p: float) -> Tensor:
    """Set to 0 all that are less than `min_p` times the largest; whatever was cut before is less, or 0 already."""
    return weights.masked_fill(weights < min_p * weights.amax(dim=-1, keepdim=True), 0.0)
