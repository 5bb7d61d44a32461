"""Proves that what a chat template is told holds wherever its tokenizer is used, and nowhere else.

The witness is the tokenizer itself, whose template is told the same by transformers.
"""

import inspect
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from solon.lm.spec import RESERVED_KWARGS
from solon.nets import (
    decode_response,
    encode_continuations,
    encode_prompt,
    encode_text,
    end_token_id,
    find_unused_kwargs,
    set_template_kwargs,
)
from solon.records import TemplateArgument
from tests import made_up_tokenizers as tokenizers
from tests.asking import ask

TOLD: list[dict[str, TemplateArgument]] = [
    {},
    {"enable_thinking": False},
    {"enable_thinking": True},
    {"tone": "1"},
    {"tone": 1},
    {"tone": True},
    {"tone": "take [16180339880] the lamp", "enable_thinking": False},
    {"cut": "river"},
    {"end": "</s>"},
    {"no_such_thing": "x"},
]
ASKED = ask(("user", "how do i find the lamp"), ("assistant", "take the river"), ("user", " Say why. "))


def own(tokenizer: Any, told: dict[str, TemplateArgument]) -> list[int]:
    messages = [{"role": turn.role, "content": turn.text} for turn in ASKED.turns]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **told)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def test_a_prompt_has_the_tokens_of_a_template_that_is_told_the_same() -> None:
    tokenizer = tokenizers.told()
    found = []
    for told in [*TOLD, *reversed(TOLD)]:  # what it was told before is forgotten
        set_template_kwargs(tokenizer, told)
        found.append(encode_prompt(tokenizer, ASKED))
        assert found[-1] == own(tokenizer, told), told
    assert len(set(map(tuple, found))) == len(TOLD) - 2  # "1" and 1 are written alike, and the last is not looked at


def test_options_follow_the_prompt_that_the_template_was_told() -> None:
    tokenizer = tokenizers.told()
    set_template_kwargs(tokenizer, {"enable_thinking": False})
    prompt, rests = encode_continuations(tokenizer, ASKED, ("A", "B"))
    assert prompt == own(tokenizer, {"enable_thinking": False})
    assert [decode_response(tokenizer, rest) for rest in rests] == ["A", "B"]


def test_the_token_that_ends_a_turn_is_the_one_that_is_told() -> None:
    tokenizer = tokenizers.told()
    assert end_token_id(tokenizer) == tokenizer.convert_tokens_to_ids("<|im_end|>")
    set_template_kwargs(tokenizer, {"end": "</s>"})
    assert end_token_id(tokenizer) == tokenizer.convert_tokens_to_ids("</s>")


def test_no_text_becomes_a_token_that_the_template_writes_because_it_is_told() -> None:
    tokenizer = tokenizers.told()
    think = tokenizer.convert_tokens_to_ids("<tool>")
    assert think in encode_text(tokenizer, "take <tool>")  # a word like any other
    for told in ({"tone": "<tool>"}, {"tone": "tool"}, {"unseen": "<tool>"}):
        set_template_kwargs(tokenizer, told)
        assert (think in encode_text(tokenizer, "take <tool>")) == (told == {"tone": "tool"}), told
    set_template_kwargs(tokenizer, {"tone": "<tool>"})
    assert encode_prompt(tokenizer, ASKED).count(think) == 1


def test_it_is_not_saved(tmp_path: Path) -> None:
    tokenizer = tokenizers.told()
    for name, told in (("before", {}), ("after", {"enable_thinking": False})):
        set_template_kwargs(tokenizer, told)
        encode_prompt(tokenizer, ASKED)
        tokenizer.save_pretrained(tmp_path / name)
    files = sorted(file.name for file in (tmp_path / "before").iterdir())
    assert files
    for file in files:
        assert (tmp_path / "before" / file).read_bytes() == (tmp_path / "after" / file).read_bytes()


def test_what_the_template_does_not_look_at_is_found() -> None:
    tokenizer = tokenizers.told()
    assert find_unused_kwargs(tokenizer) == []
    set_template_kwargs(tokenizer, {"enable_thinking": True, "enable_thinkin": True, "lamp": 3})
    assert find_unused_kwargs(tokenizer) == ["enable_thinkin", "lamp"]


def test_every_name_that_transformers_gives_a_template_is_reserved() -> None:
    given = set(inspect.signature(PreTrainedTokenizerFast.apply_chat_template).parameters)
    assert given <= RESERVED_KWARGS
    assert set(PreTrainedTokenizerFast.SPECIAL_TOKENS_ATTRIBUTES) <= RESERVED_KWARGS
