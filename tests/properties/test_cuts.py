"""Proves for any logits what `top_p` and `min_p` leave to be drawn from, alone and together; and that where neither
cuts anything a draw is what it was before there were any, bit for bit.
"""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from solon.inference.sampling import draw_tokens
from solon.records import Sampling
from tests.tolerances import FLOAT32_SAME

SIZE = 2000
EDGE = 1e-5
"""Closer than this to a bound, rounding decides whether a token is kept."""

rows = st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=8).map(torch.tensor)
masses = st.floats(0.01, 1.0)
shares = st.floats(0.0, 1.0)
temperatures = st.sampled_from([0.5, 1.0, 1.7])


def kept_by(p: list[float], top_p: float, min_p: float) -> list[int]:
    """Return the tokens that may be drawn, as the equation says; passes over rows in which rounding decides."""
    nucleus: list[int] = []
    mass = 0.0
    for token in sorted(range(len(p)), key=lambda token: (-p[token], token)):
        assume(top_p == 1.0 or abs(mass - top_p) > EDGE)
        if top_p < 1.0 and mass >= top_p:
            break
        nucleus.append(token)
        mass += p[token]
    assume(min_p in (0.0, 1.0) or all(abs(value - min_p * max(p)) > EDGE for value in p))
    return sorted(token for token in nucleus if p[token] >= min_p * max(p))


def frequencies(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    uniforms = (torch.arange(SIZE, dtype=torch.float64) + 0.5) / SIZE
    tokens, logprobs = draw_tokens(logits.repeat(SIZE, 1), uniforms, sampling)
    expected = logits.log_softmax(-1)[tokens]
    torch.testing.assert_close(logprobs, expected, rtol=FLOAT32_SAME, atol=FLOAT32_SAME)
    return torch.bincount(tokens, minlength=len(logits)).double() / SIZE


def drawn(frequency: torch.Tensor) -> set[int]:
    return set(frequency.nonzero().flatten().tolist())


@given(rows, temperatures, masses, shares)
def test_what_is_drawn_is_what_the_equation_keeps_in_its_own_proportions(
    logits: torch.Tensor, temperature: float, top_p: float, min_p: float
) -> None:
    p = (logits / temperature).softmax(-1)
    kept = kept_by(p.tolist(), top_p, min_p)
    expected = torch.zeros(len(p), dtype=torch.float64)
    expected[kept] = p[kept].double() / p[kept].double().sum()
    found = frequencies(logits, Sampling(temperature=temperature, top_p=top_p, min_p=min_p))
    assert (found - expected).abs().max() <= 1 / SIZE + EDGE
    assert drawn(found) <= set(kept)


@given(rows, temperatures, masses, shares)
def test_together_they_leave_what_both_of_them_leave(
    logits: torch.Tensor, temperature: float, top_p: float, min_p: float
) -> None:
    both = Sampling(temperature=temperature, top_p=top_p, min_p=min_p)
    by_mass = drawn(frequencies(logits, both.model_copy(update={"min_p": 0.0})))
    by_share = drawn(frequencies(logits, both.model_copy(update={"top_p": 1.0})))
    likely = set(((logits / temperature).softmax(-1) >= 2 / SIZE).nonzero().flatten().tolist())
    assert drawn(frequencies(logits, both)) & likely == by_mass & by_share & likely


@given(rows, masses)
def test_a_share_of_1_leaves_the_most_likely_and_its_equals(logits: torch.Tensor, top_p: float) -> None:
    p = logits.softmax(-1)
    likeliest = set((p == p.max()).nonzero().flatten().tolist())
    assert drawn(frequencies(logits, Sampling(min_p=1.0))) == likeliest
    assert set() < drawn(frequencies(logits, Sampling(min_p=1.0, top_p=top_p))) <= likeliest


@given(rows, temperatures, st.integers(0, 2**63 - 1))
def test_where_nothing_is_cut_a_draw_is_the_plain_inverse_of_the_distribution_bit_for_bit(
    logits: torch.Tensor, temperature: float, seed: int
) -> None:
    uniforms = torch.rand(64, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    batch = logits.repeat(64, 1)
    scaled = batch if temperature == 1.0 else batch / temperature
    cumulative = torch.softmax(scaled, -1).cumsum(-1, dtype=torch.float64)
    expected = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)
    if temperature == 1.0:
        logprobs = torch.softmax(batch, -1).gather(1, expected).log().squeeze(1)
    else:
        logprobs = batch.gather(1, expected).squeeze(1) - batch.logsumexp(-1)
    for sampling in (Sampling(temperature=temperature), Sampling(temperature=temperature, top_p=1.0, min_p=0.0)):
        tokens, found = draw_tokens(batch, uniforms, sampling)
        assert torch.equal(tokens, expected.squeeze(1))
        assert torch.equal(found, logprobs)


@given(rows, masses, shares)
def test_greedy_draws_are_not_cut(logits: torch.Tensor, top_p: float, min_p: float) -> None:
    found = frequencies(logits, Sampling(temperature=0.0, top_p=top_p, min_p=min_p))
    assert drawn(found) == {int(logits.argmax())}


@pytest.mark.parametrize(
    "cuts", [{"top_p": 0.0}, {"top_p": 1.1}, {"min_p": -0.1}, {"min_p": 1.1}, {"min_p": float("nan")}], ids=str
)
def test_what_is_no_share_is_refused(cuts: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(cuts))):
        Sampling(**cuts)
