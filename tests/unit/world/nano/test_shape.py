"""Proves that the nano tokenizer spends one token on a frequent word and spells anything else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from solon.errors import ModelError
from solon.nets import decode_response, encode_text
from solon.world.nano.shape import CONTROL_TOKENS, build_nano_config, build_nano_model, build_tokenizer

LETTERS = "qwertasdfgzxcvb"
WORDS = ["".join(LETTERS[number * step % 13 + step % 3] for step in range(1, 9)) for number in range(1, 31)]
SPANS = [f"{word.title()} the {other} neighbour's {word}, 12 times." for word in WORDS for other in WORDS[:9]]
TOKENIZER = build_tokenizer(SPANS, vocab_size=400, merges=40)


def test_a_frequent_word_is_one_token_with_and_without_a_space() -> None:
    for word in [*WORDS, "the", "neighbour", "times"]:
        assert len(encode_text(TOKENIZER, f" {word}")) == 1
    for word in WORDS:
        assert len(encode_text(TOKENIZER, word.title())) == 1
    assert len(encode_text(TOKENIZER, SPANS[0])) == 11  # five words, 's, comma, space, digits, word, stop


def test_rare_words_are_spelled_in_pieces() -> None:
    pieces = encode_text(TOKENIZER, f" {WORDS[0]} {WORDS[0]}s")
    assert 3 <= len(pieces) < 1 + len(f" {WORDS[0]}s")
    assert decode_response(TOKENIZER, pieces) == f" {WORDS[0]} {WORDS[0]}s"


@given(st.text())
def test_any_text_can_be_written(text: str) -> None:
    assert decode_response(TOKENIZER, encode_text(TOKENIZER, text)) == text


def test_the_vocabulary_has_the_size_asked_for() -> None:
    assert len(TOKENIZER) <= 400
    assert len(build_tokenizer(SPANS, vocab_size=330, merges=40)) == 330
    assert sorted(TOKENIZER.get_vocab().values()) == list(range(len(TOKENIZER)))
    assert TOKENIZER.convert_tokens_to_ids(list(CONTROL_TOKENS)) == [0, 1, 2, 3, 4]
    assert len(build_tokenizer([], vocab_size=261)) == 261
    with pytest.raises(ModelError, match="261 is the least"):
        build_tokenizer(SPANS, vocab_size=260)


def test_it_is_built_the_same_from_the_same_texts_in_any_order() -> None:
    again = build_tokenizer(reversed(SPANS), vocab_size=400, merges=40)
    assert again.backend_tokenizer.to_str() == TOKENIZER.backend_tokenizer.to_str()


def test_the_template_spends_no_token_on_layout() -> None:
    messages = [{"role": "system", "content": "the"}, {"role": "user", "content": "times"}]
    ids = TOKENIZER.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert TOKENIZER.decode(ids) == "<|system|>the<|end|><|user|>times<|end|><|assistant|>"


def test_transformers_loads_it_unchanged(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = f"<|user|>{WORDS[3]} the neighbour's {WORDS[4]}<|end|>"
    assert loaded(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    assert loaded.chat_template == TOKENIZER.chat_template
    assert (loaded.pad_token, loaded.eos_token, loaded.bos_token) == ("<|pad|>", "<|end|>", None)


def test_shapes_of_the_model() -> None:
    config = build_nano_config(TOKENIZER, width=64, layers=3, heads=4, kv_heads=2, max_length=128)
    model = build_nano_model(config, seed=3)
    assert model.get_input_embeddings().weight.shape == (len(TOKENIZER), 64)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert (config.head_dim, config.num_key_value_heads, config.intermediate_size) == (16, 2, 160)
    assert (config.pad_token_id, config.eos_token_id, config.bos_token_id) == (0, 1, None)
    assert build_nano_config(TOKENIZER).num_key_value_heads == 5


def test_weights_depend_on_the_seed_only() -> None:
    config = build_nano_config(TOKENIZER, width=32, layers=1, heads=1)

    def weights(seed: int) -> Any:
        return build_nano_model(config, seed=seed).lm_head.weight

    assert weights(1).equal(weights(1))
    assert not weights(1).equal(weights(2))
