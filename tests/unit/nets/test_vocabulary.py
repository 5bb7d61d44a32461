"""Proves which token pads a batch, which rows are ruled out, and that a tokenizer of other weights is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from solon.errors import ModelError
from solon.nets import end_token_id, find_absent_rows, rule_out
from solon.nets.vocabulary import check_tokens_have_rows, choose_padding, describe_padding, set_padding
from tests import made_up_tokenizers


def with_padding(builder: Callable[[], Any], token: str | None, reserved: tuple[str, ...] = ()) -> Any:
    tokenizer = builder()
    if reserved:
        tokenizer.add_special_tokens({"extra_special_tokens": list(reserved)})
    tokenizer.pad_token = None
    if token is not None:
        tokenizer.add_special_tokens({"pad_token": token})
    return tokenizer


def unpadded() -> Any:
    """A vocabulary whose control tokens all have a meaning: <s>, </s>, and those of the chat template."""
    tokenizer = made_up_tokenizers.word_level(
        {"<unk>": 0, "a": 1, "<s>": 2, "<|im_start|>": 3, "<|im_end|>": 4, "</s>": 5}
    )
    tokenizer.add_special_tokens(
        {"bos_token": "<s>", "unk_token": "<unk>", "extra_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    )
    tokenizer.chat_template = made_up_tokenizers.CHATML
    return tokenizer


BUILDERS = {"stripping": made_up_tokenizers.stripping, "unpadded": unpadded}


def name_of(tokenizer: Any, index: int) -> str | None:
    found: str | None = tokenizer.backend_tokenizer.id_to_token(index)
    return found


@pytest.mark.parametrize("name", made_up_tokenizers.CHATTING)
def test_a_padding_token_of_its_own_is_kept(name: str) -> None:
    tokenizer = made_up_tokenizers.CHATTING[name]()
    assert choose_padding(tokenizer, len(tokenizer)) == tokenizer.pad_token_id
    assert describe_padding(tokenizer, len(tokenizer)) is None


@pytest.mark.parametrize("token", [None, "</s>", "<|im_end|>", "[PAD]"])
@pytest.mark.parametrize(
    ("builder", "reserved", "chosen"),
    [
        ("stripping", ("<|reserved_7|>", "<|finetune_right_pad_id|>"), "<pad>"),
        ("unpadded", ("<|reserved_7|>", "<|finetune_right_pad_id|>"), "<|finetune_right_pad_id|>"),
        ("unpadded", ("<|reserved_7|>",), "<|reserved_7|>"),
        ("unpadded", (), "<s>"),
    ],
)
def test_a_token_that_is_meant_for_padding_comes_first_among_those_to_spare(
    builder: str, reserved: tuple[str, ...], chosen: str, token: str | None
) -> None:
    tokenizer = with_padding(BUILDERS[builder], token, reserved)
    rows = len(tokenizer) - (token == "[PAD]")
    assert name_of(tokenizer, choose_padding(tokenizer, rows)) == chosen


def test_without_any_to_spare_a_row_without_a_token_or_a_word_does() -> None:
    bare = made_up_tokenizers.word_level({"a": 0, "b": 1, "</s>": 2})
    assert choose_padding(bare, 3) == 0
    assert choose_padding(bare, 8) == 3
    assert describe_padding(bare, 8) == "has no padding token: batches are padded with 3 (a row without a token)"
    backwards = made_up_tokenizers.word_level({"b": 1, "</s>": 0})
    backwards.pad_token = "</s>"
    assert choose_padding(backwards, 2) == 1


@pytest.mark.parametrize("name", made_up_tokenizers.CHATTING)
def test_what_pads_never_ends_a_text(name: str) -> None:
    for token in (None, "eos", "end"):
        tokenizer = made_up_tokenizers.CHATTING[name]()
        ends = {end_token_id(tokenizer), tokenizer.eos_token_id}
        named = {None: None, "eos": tokenizer.eos_token, "end": name_of(tokenizer, end_token_id(tokenizer))}
        tokenizer.pad_token = named[token]
        chosen = choose_padding(tokenizer, len(tokenizer))
        assert 0 <= chosen < len(tokenizer)
        assert chosen not in ends
        set_padding(tokenizer, chosen)
        assert tokenizer.pad_token_id == chosen


def test_rows_without_a_token_are_ruled_out_and_learn_nothing() -> None:
    tokenizer = made_up_tokenizers.word_level({"a": 0, "b": 2, "</s>": 4})
    assert find_absent_rows(made_up_tokenizers.word_level({"a": 0, "</s>": 1}), 2) is None
    absent = find_absent_rows(tokenizer, 6)
    assert absent is not None
    assert absent.tolist() == [1, 3, 5]
    logits = torch.tensor([[0.5, 9.0, 1.0, 9.0, -1.0, 9.0]], requires_grad=True)
    logprobs = rule_out(logits, absent).log_softmax(-1)
    torch.testing.assert_close(logprobs[0, ::2], logits[0, ::2].log_softmax(-1))
    logprobs[0, 2].backward()
    assert logits.grad is not None
    assert logits.grad[0].ne(0).tolist() == [True, False, True, False, True, False]
    assert rule_out(logits, None) is logits


@pytest.mark.parametrize("name", made_up_tokenizers.CHATTING)
def test_a_tokenizer_that_writes_tokens_without_a_row_is_refused_and_padding_is_not_written(name: str) -> None:
    tokenizer = made_up_tokenizers.CHATTING[name]()
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id == rows
    check_tokens_have_rows(tokenizer, rows, where="m")
    with pytest.raises(ModelError, match=r"^m: its tokenizer writes token \d+ \('.*'\), its embeddings end at row 1:"):
        check_tokens_have_rows(tokenizer, 2, where="m")
