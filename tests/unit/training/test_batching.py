"""Proves that rows become tensors without shifting anything by one, and that epochs visit each example once."""

from pathlib import Path

import pytest
import torch

from solon.nets import encode_prompt, encode_response, end_token_id, load_tokenizer
from solon.prompting import render_response
from solon.training.batching import (
    RowEncoder,
    TokenRow,
    batch_at,
    pad_rows,
    plan_microbatches,
    rows_digest,
    shuffle_order,
)
from tests.tiny import build_tiny_policy, make_prompt

LONG, SHORT = TokenRow((11, 12, 13, 21, 22), 3), TokenRow((14, 31), 1)


def test_a_row_is_what_the_sampler_reads_and_then_the_response_with_its_end(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(build_tiny_policy(tmp_path / "base"))
    conversation = make_prompt(3).conversation
    row = RowEncoder(tokenizer).row(conversation, "take the lamp")
    prompt = encode_prompt(tokenizer, render_response(conversation))
    response = encode_response(tokenizer, "take the lamp")
    assert list(row.ids) == [*prompt, *response, end_token_id(tokenizer)]
    assert row.prompt_length == len(prompt)
    assert row.response_length == len(response) + 1


def test_padding_stands_right_and_masks_say_what_is_text_and_what_is_response() -> None:
    batch = pad_rows([LONG, SHORT], pad_id=9)
    assert batch.ids.tolist() == [[11, 12, 13, 21, 22], [14, 31, 9, 9, 9]]
    assert batch.mask.tolist() == [[True] * 5, [True, True, False, False, False]]
    assert batch.counted.tolist() == [[False, False, False, True, True], [False, True, False, False, False]]
    assert batch.response_mask.tolist() == [[True, True], [True, False]]


def test_what_is_known_of_each_next_token_lands_on_the_response_token_it_is_about() -> None:
    batch = pad_rows([LONG, SHORT])
    about_next = batch.ids[:, 1:].double()  # index t speaks of token t + 1
    assert batch.to_responses(about_next).tolist() == [[21.0, 22.0], [31.0, 0.0]]


def test_microbatches_hold_similar_lengths_within_the_limit() -> None:
    lengths = [5, 9, 1, 7, 7, 3]
    groups = plan_microbatches(lengths, max_tokens=15)
    assert groups == [[1], [3, 4], [0, 5, 2]]
    assert plan_microbatches(lengths, max_tokens=1) == [[1], [3], [4], [0], [5], [2]]
    assert plan_microbatches([9, 3, 3], max_tokens=15) == [[0], [1, 2]]  # padded to 9, two rows would take 18
    assert plan_microbatches([], max_tokens=5) == []


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (8, 4), (3, 5)])
def test_an_epoch_visits_each_example_once_and_the_next_in_another_order(count: int, batch_size: int) -> None:
    per_epoch = -(-count // batch_size)
    epochs = [
        [index for step in range(per_epoch) for index in batch_at(epoch * per_epoch + step, count, batch_size, seed=5)]
        for epoch in range(3)
    ]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_order_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = shuffle_order(50, seed=7, epoch=0)
    torch.manual_seed(2)
    assert shuffle_order(50, seed=7, epoch=0) == first
    assert shuffle_order(50, seed=8, epoch=0) != first


def test_the_digest_sees_tokens_borders_and_order() -> None:
    digests = {
        rows_digest([LONG, SHORT]),
        rows_digest([SHORT, LONG]),
        rows_digest([LONG]),
        rows_digest([TokenRow(LONG.ids, 2), SHORT]),
        rows_digest([TokenRow((*LONG.ids[:-1], 23), 3), SHORT]),
    }
    assert len(digests) == 5
