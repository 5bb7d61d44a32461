"""Proves that scores and log-probabilities are those of plain transformers, in any padding, and can be learnt from."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from solon.errors import ModelError, ShapeError
from solon.nets import (
    init_scorer_from_policy,
    load_policy,
    load_scorer,
    load_tokenizer,
    save_policy,
    save_scorer,
    sequence_scores,
    token_logprobs,
    token_values,
)
from tests.tolerances import FLOAT32_SAME

SAME = {"rtol": FLOAT32_SAME, "atol": FLOAT32_SAME}
ROWS = [[7, 9, 30, 41, 1], [12, 8], [100, 3, 55, 1, 60, 61, 62, 1]]


def batch(width: int = 0, fill: int = 0) -> tuple[Tensor, Tensor]:
    width = max(width, max(map(len, ROWS)))
    ids = torch.tensor([row + [fill] * (width - len(row)) for row in ROWS])
    return ids, torch.arange(width) < torch.tensor([[len(row)] for row in ROWS])


def test_token_logprobs_are_those_of_transformers(tiny_model_dir: Path) -> None:
    model = load_policy(tiny_model_dir)
    ids, mask = batch()
    found = token_logprobs(model, ids, mask)
    for row, tokens in enumerate(ROWS):
        logits = model(torch.tensor([tokens])).logits[0].double().log_softmax(-1)
        expected = logits[:-1].gather(1, torch.tensor(tokens[1:])[:, None]).squeeze(1)
        torch.testing.assert_close(found[row, : len(tokens) - 1].double(), expected, **SAME)
        assert not found[row, len(tokens) - 1 :].any()


def test_only_counted_tokens_have_logprobs(tiny_model_dir: Path) -> None:
    model = load_policy(tiny_model_dir)
    ids, mask = batch()
    counted = mask.clone()
    counted[:, :2] = False
    found, every = token_logprobs(model, ids, mask, counted=counted), token_logprobs(model, ids, mask)
    torch.testing.assert_close(found, every * counted[:, 1:], **SAME)
    assert not found[1].any()


def test_padding_changes_nothing(tiny_model_dir: Path) -> None:
    model, scorer = load_policy(tiny_model_dir), init_scorer_from_policy(tiny_model_dir, seed=1)
    ids, mask = batch()
    wide, wide_mask = batch(width=13, fill=77)
    torch.testing.assert_close(
        token_logprobs(model, wide, wide_mask)[:, : ids.shape[1] - 1], token_logprobs(model, ids, mask), **SAME
    )
    torch.testing.assert_close(sequence_scores(scorer, wide, wide_mask), sequence_scores(scorer, ids, mask), **SAME)


def test_a_saved_scorer_gives_the_same_scores_in_plain_transformers(tiny_model_dir: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    scorer = init_scorer_from_policy(tiny_model_dir, seed=1)
    tokenizer = load_tokenizer(tiny_model_dir)
    save_scorer(scorer, tokenizer, tmp_path / "pm")
    ids, mask = batch(width=12, fill=tokenizer.pad_token_id)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "pm")
    assert plain.config.num_labels == 1
    with torch.no_grad():
        expected = plain(input_ids=ids, attention_mask=mask.long()).logits.squeeze(-1)
        found = sequence_scores(load_scorer(tmp_path / "pm"), ids, mask)
    torch.testing.assert_close(found, expected, **SAME)
    assert found.std() > 0.01
    assert sequence_scores(scorer, ids, mask).requires_grad


def test_the_trunk_is_the_policys_and_the_head_is_drawn_from_the_seed(tiny_model_dir: Path) -> None:
    policy = load_policy(tiny_model_dir)
    state = torch.random.get_rng_state()
    one, same, other = (init_scorer_from_policy(tiny_model_dir, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(one.score.weight, same.score.weight)
    assert not torch.equal(one.score.weight, other.score.weight)
    trunk = dict(one.model.named_parameters())
    assert all(torch.equal(value, trunk[name]) for name, value in policy.model.named_parameters())


def test_values_are_read_before_each_token(tiny_model_dir: Path) -> None:
    value = init_scorer_from_policy(tiny_model_dir, seed=1)
    ids, mask = batch()
    found = token_values(value, ids, mask)
    assert found.shape == (3, ids.shape[1] - 1)
    for row, tokens in enumerate(ROWS):
        for place in range(1, len(tokens)):
            so_far = torch.tensor([tokens[:place]])
            expected = sequence_scores(value, so_far, torch.ones_like(so_far, dtype=torch.bool))[0]
            torch.testing.assert_close(found[row, place - 1], expected, **SAME)
        assert not found[row, len(tokens) - 1 :].any()
    changed = ids.clone()
    changed[0, 3] = 200
    assert torch.equal(token_values(value, changed, mask)[0, :3], found[0, :3])


def test_gradients_reach_trunk_and_head(tiny_model_dir: Path) -> None:
    scorer = init_scorer_from_policy(tiny_model_dir, seed=1)
    ids, mask = batch()
    sequence_scores(scorer, ids, mask).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in scorer.parameters())


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[True, True], [True, False], [False, True]], "row 2: its mask"),
        ([[True, False, True]] * 2, r"row 0|both be \(B, T\)"),
        ([[False, False], [True, True], [True, True]], "row 0"),
        ([[1, 1], [1, 0], [1, 0]], "must be boolean"),
    ],
)
def test_masks_that_do_not_fit_are_refused(tiny_model_dir: Path, mask: list[list[int]], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        token_logprobs(load_policy(tiny_model_dir), torch.tensor([[1, 2], [3, 4], [5, 6]]), torch.tensor(mask))


def test_a_scorer_needs_a_padding_token_of_its_own(tiny_model_dir: Path, tmp_path: Path) -> None:
    model, tokenizer = load_policy(tiny_model_dir), load_tokenizer(tiny_model_dir)
    tokenizer.pad_token = tokenizer.eos_token
    save_policy(model, tokenizer, tmp_path / "shared")
    with pytest.raises(ModelError, match="needs a padding token other than its end token"):
        init_scorer_from_policy(tmp_path / "shared", seed=0)


def test_a_policy_is_no_scorer(tiny_model_dir: Path) -> None:
    with pytest.raises(ModelError, match="weights do not fit"):
        load_scorer(tiny_model_dir)
