"""Proves that rows become tensors without shifting anything by one, and that epochs visit each example once."""

from pathlib import Path
from typing import Any

import pytest
import torch

from solon.nets import (
    decode_response,
    encode_prompt,
    encode_text,
    end_token_id,
    load_tokenizer,
    vocabulary_digest,
)
from solon.prompting import render_response
from solon.records import SampledTokens
from solon.training.batching import (
    RowEncoder,
    TokenRow,
    batch_at,
    cut_tokens,
    pack_rows,
    plan_microbatches,
    rows_digest,
    shuffle_order,
)
from tests import made_up_tokenizers
from tests.tiny import build_tiny_policy, make_prompt

LONG, SHORT = TokenRow((11, 12, 13, 21, 22), 3), TokenRow((14, 31), 1)
SIBLING = TokenRow((11, 12, 13, 41, 42, 43), 3)  # answers what LONG answers


def test_a_row_is_what_the_sampler_reads_and_then_the_response_with_its_end(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(build_tiny_policy(tmp_path / "base"))
    conversation = make_prompt(3).conversation
    row = RowEncoder(tokenizer).row(conversation, "take the lamp")
    prompt = encode_prompt(tokenizer, render_response(conversation))
    response = encode_text(tokenizer, "take the lamp")
    assert list(row.ids) == [*prompt, *response, end_token_id(tokenizer)]
    assert row.prompt_length == len(prompt)
    assert row.response_length == len(response) + 1


def sampled(tokenizer: Any, *ids: int) -> SampledTokens:
    return SampledTokens(ids=ids, vocabulary=vocabulary_digest(tokenizer))


def test_a_response_is_what_was_sampled_and_not_what_its_text_reads_as() -> None:
    """A model that thinks samples one token for what text can only spell."""
    tokenizer = made_up_tokenizers.chatml()
    think, done = (tokenizer.convert_tokens_to_ids(token) for token in ("<think>", "</think>"))
    ids = (think, *encode_text(tokenizer, "say no"), done, *encode_text(tokenizer, "Say no."))
    text = "<think>say no</think>Say no."
    encoder, conversation = RowEncoder(tokenizer), make_prompt(3).conversation
    assert encoder.row(conversation, text, sampled(tokenizer, *ids)).ids[-len(ids) - 1 :] == (*ids, encoder.end)
    assert encoder.reread == 0
    spelled = encoder.row(conversation, text)
    assert think not in spelled.ids
    assert encoder.reread == 1
    other = sampled(made_up_tokenizers.stripping(), *ids)
    assert encoder.row(conversation, text, other) == spelled
    assert encoder.reread == 2


@pytest.mark.parametrize("name", made_up_tokenizers.CHATTING)
def test_a_response_that_was_cut_off_has_the_tokens_it_was_sampled_as_and_no_end(name: str) -> None:
    tokenizer = made_up_tokenizers.CHATTING[name]()
    ids = [index for letter in "say no." for index in encode_text(tokenizer, letter)]
    text = decode_response(tokenizer, ids)
    tokens = sampled(tokenizer, *ids, *encode_text(tokenizer, " And th"))
    encoder, conversation = RowEncoder(tokenizer), make_prompt(3).conversation
    ended = encoder.row(conversation, text, tokens)
    cut, beside = encoder.rows(conversation, (text, tokens, False), (text, tokens, True))
    assert beside == ended
    assert ended.ids == (*cut.ids, encoder.end)
    assert cut.ids[cut.prompt_length :] == tuple(ids)
    assert encoder.reread == 0


@pytest.mark.parametrize("name", [name for name in made_up_tokenizers.ALL if name != "unigram"])
@pytest.mark.parametrize("text", ["take the lamp", " take the lamp", "\ntake the lamp", ""])
def test_in_a_transcript_a_response_read_anew_follows_the_space_of_the_template(name: str, text: str) -> None:
    tokenizer = made_up_tokenizers.ALL[name]()
    encoder, conversation = RowEncoder(tokenizer, layout="transcript"), make_prompt(3).conversation
    row = encoder.row(conversation, text)
    read = decode_response(tokenizer, list(row.ids)).removeprefix("<s>")
    said = " take the lamp" if text == "take the lamp" else text
    end = tokenizer.convert_ids_to_tokens(encoder.end)
    assert read == f"\n\nHuman: {conversation.messages[0].text}\n\nAssistant:{said}{end}"
    assert row.ids[: row.prompt_length] == encoder.prompt(conversation)
    assert encoder.row(conversation, text, sampled(tokenizer, *encode_text(tokenizer, text))).ids[
        row.prompt_length :
    ] == (*encode_text(tokenizer, text), encoder.end)


@pytest.mark.parametrize("after", ["", " how", "\n\nAssistant:"])
@pytest.mark.parametrize("text", [" say no.", " say no. Say why.\n", ""])
def test_a_response_that_a_stop_string_ended_is_its_text_before_it_and_the_end(text: str, after: str) -> None:
    tokenizer = made_up_tokenizers.without_template()
    encoder, conversation = RowEncoder(tokenizer, layout="transcript"), make_prompt(3).conversation
    spelled = [index for letter in text for index in encode_text(tokenizer, letter)]
    ids = [*spelled, *encode_text(tokenizer, f"\n\nHuman:{after}")]
    row = encoder.stopped(conversation, ids)
    assert row.ids == (*encoder.prompt(conversation), *spelled, encoder.end)
    assert row == encoder.row(conversation, text, sampled(tokenizer, *ids))  # as fine-tuning has it from the records


def test_a_response_whose_last_token_reaches_into_the_stop_string_is_read_anew() -> None:
    tokenizer = made_up_tokenizers.chatml()
    tokenizer.add_tokens([".\n\nHuman"])
    encoder, conversation = RowEncoder(tokenizer, layout="transcript"), make_prompt(3).conversation
    ids = encode_text(tokenizer, " say no.\n\nHuman:")
    assert ids == [*encode_text(tokenizer, " say no"), len(tokenizer) - 1, *encode_text(tokenizer, ":")]
    assert encoder.stopped(conversation, ids) == encoder.row(conversation, " say no.")


@pytest.mark.parametrize("name", made_up_tokenizers.CHATTING)
def test_a_text_that_was_cut_is_a_run_of_what_was_sampled(name: str) -> None:
    tokenizer = made_up_tokenizers.CHATTING[name]()
    spelled = [index for letter in "please say" for index in encode_text(tokenizer, letter)]
    ids = [*encode_text(tokenizer, "  say no, and"), *spelled, *encode_text(tokenizer, " why.\n")]
    read = [decode_response(tokenizer, ids[:count]) for count in range(len(ids) + 1)]
    whole = read[-1]
    assert cut_tokens(tokenizer, ids, whole) == tuple(ids)
    for start in range(len(ids)):
        for stop in range(start + 1, len(ids) + 1):
            text = read[stop][len(read[start]) :]
            found = cut_tokens(tokenizer, ids, text)
            assert found is not None
            place = next(place for place in range(len(ids)) if tuple(ids[place : place + len(found)]) == found)
            assert read[place] + text == read[place + len(found)]


def test_a_text_that_begins_or_ends_within_a_token_is_read_anew_and_counted() -> None:
    tokenizer = made_up_tokenizers.chatml()
    ids = encode_text(tokenizer, "how do i find the lamp")
    assert len(ids) < len("how do i find the lamp")
    encoder, conversation = RowEncoder(tokenizer), make_prompt(3).conversation
    texts = ["how do i find the la", "w do i find the lamp", "how do i find the gate", "take the lamp"]
    for count, text in enumerate(texts, 1):
        assert cut_tokens(tokenizer, ids, text) is None
        assert encoder.row(conversation, text, sampled(tokenizer, *ids)) == encoder.row(conversation, text)
        assert encoder.reread == 2 * count


def test_rows_of_their_own_are_padded_right_and_need_no_mask() -> None:
    batch = pack_rows([LONG, SHORT], share_prompts=False, pad_id=9)
    assert batch.ids.tolist() == [[11, 12, 13, 21, 22], [14, 31, 9, 9, 9]]
    assert batch.visible is None
    assert batch.positions is None
    assert batch.response_mask.tolist() == [[True, True], [True, False]]
    assert batch.targets.tolist() == [21, 22, 31]
    assert batch.ids.flatten()[batch.sources].tolist() == [13, 21, 14]  # the token before each
    assert batch.ids.flatten()[batch.last].tolist() == [22, 31]


def test_rows_with_one_prompt_share_it_and_do_not_see_each_other() -> None:
    batch = pack_rows([LONG, SHORT, SIBLING], share_prompts=True, pad_id=9)
    assert batch.ids.tolist() == [[11, 12, 13, 21, 22, 41, 42, 43], [14, 31, 9, 9, 9, 9, 9, 9]]
    assert batch.positions is not None
    assert batch.positions.tolist()[0] == [0, 1, 2, 3, 4, 3, 4, 5]
    assert batch.targets.tolist() == [21, 22, 31, 41, 42, 43]
    assert batch.ids.flatten()[batch.sources].tolist() == [13, 21, 14, 13, 41, 42]
    assert batch.ids.flatten()[batch.last].tolist() == [22, 31, 43]
    assert batch.response_mask.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert batch.visible is not None
    seen = [[int(token) for token in row] for row in batch.visible[0, 0]]
    assert seen == [
        [1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 1, 0, 0],
        [1, 1, 1, 0, 0, 1, 1, 0],
        [1, 1, 1, 0, 0, 1, 1, 1],
    ]
    assert bool(batch.visible.any(dim=-1).all())  # padding too sees something


@pytest.mark.parametrize("share_prompts", [True, False])
def test_what_is_known_of_each_token_lands_in_its_row(share_prompts: bool) -> None:
    batch = pack_rows([LONG, SHORT, SIBLING], share_prompts=share_prompts)
    rows = batch.to_responses(batch.targets.double())
    assert rows.tolist() == [[21.0, 22.0, 0.0], [31.0, 0.0, 0.0], [41.0, 42.0, 43.0]]
    vectors = batch.to_responses(torch.stack([batch.targets, -batch.targets], dim=1))
    assert vectors[2].tolist() == [[41, -41], [42, -42], [43, -43]]
    assert vectors[1, 1:].tolist() == [[0, 0], [0, 0]]


def rows_of(lengths: list[int]) -> list[TokenRow]:
    """Rows of the given lengths, each with a prompt of its own."""
    return [TokenRow((100 + number, *range(length - 1)), 1) for number, length in enumerate(lengths)]


def test_microbatches_hold_similar_lengths_within_the_limit() -> None:
    for share in (True, False):
        rows = rows_of([5, 9, 2, 7, 7, 3])
        assert plan_microbatches(rows, max_tokens=15, share_prompts=share) == [[1], [3, 4], [0, 5, 2]]
        assert plan_microbatches(rows, max_tokens=1, share_prompts=share) == [[1], [3], [4], [0], [5], [2]]
        # Padded to 9, two rows would take 18.
        assert plan_microbatches(rows_of([9, 3, 3]), max_tokens=15, share_prompts=share) == [[0], [1, 2]]
        assert plan_microbatches([], max_tokens=5, share_prompts=share) == []


def test_rows_that_share_a_prompt_are_planned_as_one_sequence_and_pairs_are_never_parted() -> None:
    rows = [SHORT, LONG, SIBLING]
    assert plan_microbatches(rows, max_tokens=8, share_prompts=True) == [[1, 2], [0]]
    assert plan_microbatches(rows, max_tokens=16, share_prompts=True) == [[1, 2, 0]]
    assert plan_microbatches(rows, max_tokens=8, share_prompts=False) == [[2], [1], [0]]
    pairs = [LONG, SIBLING] * 11
    groups = plan_microbatches(pairs, max_tokens=1, share_prompts=True)
    assert sorted(index for group in groups for index in group) == list(range(22))
    assert len(groups) == 3
    assert all({index ^ 1 for index in group} == set(group) for group in groups)
    for group in groups:
        assert len(pack_rows([pairs[index] for index in group], share_prompts=True).ids) == 1


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
