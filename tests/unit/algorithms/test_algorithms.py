"""Proves what the formulas leave open: what padding may hold, pieces of a batch, degenerate input, and the errors."""

import math

import pytest
import torch

from solon import algorithms
from solon.errors import ShapeError

MASK = torch.tensor([[True, True, False], [True, False, False]])
INF, NAN = math.inf, math.nan


def rows(*values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_padding_is_never_read_and_gets_no_gradient() -> None:
    clean = rows([-1.0, -2.0, 0.0], [-0.5, 0.0, 0.0])
    for junk in (NAN, INF, -INF):
        dirty = torch.where(MASK, clean, junk)
        for make in (
            lambda x: algorithms.sequence_nll(x, MASK),
            lambda x: algorithms.clipped_policy_loss(x, x.detach() + 0.1, x.detach(), MASK, clip_range=0.2).loss,
            lambda x: algorithms.clipped_value_loss(x, x.detach() + 0.1, x.detach() * 2, MASK, clip_range=0.2).loss,
        ):
            losses, gradients = [], []
            for values in (clean, dirty):
                leaf = values.clone().requires_grad_()
                loss = make(leaf)
                loss.backward()
                losses.append(loss.item())
                gradients.append(leaf.grad)
            assert losses[0] == losses[1]
            assert torch.equal(gradients[0], gradients[1])  # type: ignore[arg-type]
            assert bool((gradients[1][~MASK] == 0).all())  # type: ignore[index]
        for estimate in (algorithms.kl_k1, algorithms.kl_k3):
            assert torch.equal(estimate(dirty, clean, MASK), estimate(clean, clean, MASK))
        assert torch.equal(algorithms.standardize(dirty, MASK), algorithms.standardize(clean, MASK))
        advantages = algorithms.gae_advantages(dirty, dirty, MASK, gamma=0.9, gae_lambda=0.9)
        assert torch.equal(advantages, algorithms.gae_advantages(clean, clean, MASK, gamma=0.9, gae_lambda=0.9))
        rewards = algorithms.kl_penalty_rewards(rows([1.0, 2.0])[0], dirty, clean, MASK, kl_coef=0.1)
        assert bool((rewards[~MASK] == 0).all())


def test_pieces_with_the_whole_count_add_up_to_the_batch() -> None:
    x, y, z = (torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2, 3))
    mask = torch.arange(5) < torch.tensor([[5], [1], [3], [4]])
    count = int(mask.sum())
    for loss in (
        lambda i, c: algorithms.sequence_nll(x[i], mask[i], count=c),
        lambda i, c: algorithms.clipped_policy_loss(x[i], y[i], z[i], mask[i], clip_range=0.2, count=c).loss,
        lambda i, c: algorithms.clipped_policy_loss(x[i], y[i], z[i], mask[i], clip_range=0.2, count=c).clipfrac,
        lambda i, c: algorithms.clipped_policy_loss(x[i], y[i], z[i], mask[i], clip_range=0.2, count=c).approxkl,
        lambda i, c: algorithms.clipped_value_loss(x[i], y[i], z[i], mask[i], clip_range=0.2, count=c).loss,
        lambda i, c: algorithms.clipped_value_loss(x[i], y[i], z[i], mask[i], clip_range=0.2, count=c).clipfrac,
    ):
        whole = loss(slice(None), None)
        assert float(whole) != 0.0
        assert float(sum(loss(slice(i, i + 1), count) for i in range(4))) == pytest.approx(float(whole), rel=1e-12)
    a, b, targets = x[:, 0], y[:, 0], z[:, 0]
    pieces = sum(algorithms.soft_preference_loss(a[i, None], b[i, None], targets[i, None], count=4) for i in range(4))
    assert float(pieces) == pytest.approx(float(algorithms.soft_preference_loss(a, b, targets)), rel=1e-12)


def test_standardize_centres_and_scales() -> None:
    values = rows([1.0, 3.0, 99.0], [5.0, 99.0, 99.0])
    done = algorithms.standardize(values, MASK)[MASK]
    assert float(done.mean()) == pytest.approx(0.0, abs=1e-12)
    assert float(done.std(correction=0)) == pytest.approx(1.0, rel=1e-7)
    assert bool((algorithms.standardize(values, MASK)[~MASK] == 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constant", [7.0, 0.1, 2.7, -1 / 3, 1234.567, 1e6 + 0.1, 1e-6, 0.0])
def test_equal_values_are_no_spread_however_their_mean_is_rounded(constant: float, dtype: torch.dtype) -> None:
    """Nor are values that differ in their last bit."""
    equal = torch.full((40, 25), constant, dtype=dtype)
    nearly = equal.clone()
    nearly[::2] = torch.nextafter(equal[::2], torch.tensor(torch.inf, dtype=dtype))
    values = torch.rand(equal.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    mask = values < 0.8
    for returns in (equal, nearly) if constant else (equal,):
        assert float(algorithms.standard_deviation(returns, mask)) == 0.0
        assert bool((algorithms.standardize(returns, mask) == 0).all())
        assert float(algorithms.explained_variance(values, returns, mask)) == 0.0


@pytest.mark.parametrize("wrong", [NAN, INF])
def test_what_is_no_number_is_not_taken_for_no_spread(wrong: float) -> None:
    assert bool(algorithms.standardize(rows([wrong, 1.0, 0.0], [2.0, 0.0, 0.0]), MASK).isnan().any())


def test_a_spread_that_is_small_but_no_rounding_counts() -> None:
    values = 3.0 + 1e-3 * torch.randn(40, 25, generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(values, dtype=torch.bool)
    done = algorithms.standardize(values, mask)
    assert float(done.std(correction=0)) == pytest.approx(1.0, rel=1e-4)
    assert float(algorithms.explained_variance(values, values, mask)) == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_of_the_numbers_is_kept(dtype: torch.dtype) -> None:
    values = torch.tensor([[1.0, 3.0, 9.0], [5.0, 9.0, 9.0]], dtype=dtype)
    assert algorithms.standardize(values, MASK).dtype == dtype
    assert algorithms.explained_variance(values / 2, values, MASK).dtype == dtype


def test_explained_variance() -> None:
    returns = rows([1.0, 3.0, NAN], [5.0, NAN, NAN])
    assert float(algorithms.explained_variance(returns, returns, MASK)) == 1.0
    assert float(algorithms.explained_variance(returns + 10, returns, MASK)) == pytest.approx(1.0)
    assert float(algorithms.explained_variance(torch.zeros(2, 3).double(), returns, MASK)) == pytest.approx(0.0)
    assert float(algorithms.explained_variance(returns / 2, returns, MASK)) == pytest.approx(0.75)
    assert float(algorithms.explained_variance(-returns, returns, MASK)) == pytest.approx(-3.0)
    assert float(algorithms.explained_variance(returns, torch.ones(2, 3).double(), MASK)) == 0.0


def test_gae_with_lambda_1_is_return_minus_value_and_with_0_one_step() -> None:
    rewards, values = rows([1.0, 2.0, 0.0], [4.0, 0.0, 0.0]), rows([0.5, 0.25, 9.0], [1.0, 9.0, 9.0])
    monte_carlo = algorithms.gae_advantages(rewards, values, MASK, gamma=1.0, gae_lambda=1.0)
    assert monte_carlo.tolist() == [[2.5, 1.75, 0.0], [3.0, 0.0, 0.0]]
    one_step = algorithms.gae_advantages(rewards, values, MASK, gamma=1.0, gae_lambda=0.0)
    assert one_step.tolist() == [[0.75, 1.75, 0.0], [3.0, 0.0, 0.0]]


def test_calibration_does_not_depend_on_which_response_is_called_a() -> None:
    gaps = torch.tensor([0.0, 0.0, 1.5, -0.3, 0.8473, 4.0])
    targets = torch.tensor([0.9, 0.5, 0.7, 0.2, 0.7, 1.0])
    error = algorithms.calibration_error(gaps, targets, bins=10)
    for row in range(6):
        swapped_gaps, swapped_targets = gaps.clone(), targets.clone()
        swapped_gaps[row] = -gaps[row]
        swapped_targets[row] = 1 - targets[row]
        assert algorithms.calibration_error(swapped_gaps, swapped_targets, bins=10) == pytest.approx(error, abs=1e-7)
    assert algorithms.calibration_error(gaps, torch.sigmoid(gaps), bins=10) == pytest.approx(0.0, abs=1e-6)


def test_calibration_of_no_pairs_cannot_be_told() -> None:
    with pytest.raises(ShapeError, match="at least one pair"):
        algorithms.calibration_error(torch.zeros(0), torch.zeros(0), bins=10)


def test_accuracy_counts_clear_pairs_only_and_a_tie_as_half() -> None:
    gaps = torch.tensor([1.0, -1.0, 2.0, 0.0, 5.0])
    targets = torch.tensor([0.9, 0.8, 0.1, 0.75, 0.6])
    assert algorithms.preference_accuracy(gaps, targets, margin=0.25) == (1.5 / 4, 4)
    assert algorithms.preference_accuracy(gaps, targets, margin=0.45) == (None, 0)
    assert algorithms.preference_accuracy(gaps.double(), torch.full((5,), 0.7).double(), margin=0.2).pairs == 5
    assert algorithms.preference_accuracy(gaps, torch.full((5,), 0.5), margin=0.0) == (None, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: algorithms.sequence_nll(torch.zeros(2, 4), MASK), r"mask has shape \(2, 3\), logprobs has \(2, 4\)"),
        (
            lambda: algorithms.gae_advantages(
                torch.zeros(2, 3),
                torch.zeros(2, 3),
                torch.tensor([[True, True, True], [True, False, True]]),
                gamma=1.0,
                gae_lambda=1.0,
            ),
            "mask row 1 counts a token after one that does not",
        ),
        (
            lambda: algorithms.gae_advantages(
                torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2, 3), gamma=1.0, gae_lambda=1.0
            ),
            "mask must be boolean",
        ),
        (
            lambda: algorithms.soft_preference_loss(torch.zeros(3), torch.zeros(3), torch.tensor([0.5, 1.5, 2.0])),
            r"targets row 1 is 1\.5",
        ),
        (
            lambda: algorithms.soft_preference_loss(torch.zeros(1), torch.zeros(1), torch.tensor([NAN])),
            "targets row 0 is nan",
        ),
        (
            lambda: algorithms.kl_penalty_rewards(
                torch.zeros(2),
                torch.zeros(2, 2),
                torch.zeros(2, 2),
                torch.tensor([[True, True], [False, False]]),
                kl_coef=0.1,
            ),
            "mask row 1 counts no token",
        ),
        (
            lambda: algorithms.kl_penalty_rewards(
                torch.zeros(3), torch.zeros(2, 3), torch.zeros(2, 3), MASK, kl_coef=0.1
            ),
            r"scores has shape \(3,\), expected \(2,\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_row(call: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()  # type: ignore[operator]


def test_a_standard_deviation_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 90.0]])
    mask = torch.tensor([[True, True], [True, False]])
    assert float(algorithms.standard_deviation(values, mask)) == pytest.approx((2 / 3) ** 0.5, abs=1e-12)
    with pytest.raises(ShapeError):
        algorithms.standard_deviation(values, mask[0])
