"""Proves that prompts, options and training rows have the tokens that the tokenizer gives to the whole text.

The witness is the tokenizer itself, asked about the text that its chat template writes. For every construction that
tokenizers are made of, under every shape of template.
"""

import asyncio
from functools import cache
from typing import Any

import pytest

from solon.lm.local import LocalModel
from solon.nets import encode_continuations, encode_prompt, encode_text, end_token_id
from solon.records import Conversation, Rendered, Role, Span, Turn
from solon.training.batching import RowEncoder
from tests import made_up_tokenizers as tokenizers

CONTENTS = [
    "how do i find the lamp",
    "Say why.",
    " to  the\n\nriver \n",
    "é 你好 ﬁ e\u0301",
    "(A) [x] 1234",
    "A",
    "",
    "▁▁take",
]
ANSWERS = ["take the lamp to the river", "A", "(A)", "\nno", " no", "你"]

construct = cache(tokenizers.construct)
every = pytest.mark.parametrize("template", tokenizers.TEMPLATES)
whatever = pytest.mark.parametrize("construction", tokenizers.CONSTRUCTIONS)


def own(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def laid_out(tokenizer: Any, turns: list[tuple[Role, str]], *, generation: bool = False) -> str:
    """The text of the template; of an assistant's turn at the end, up to where it ends."""
    messages = [{"role": role, "content": content} for role, content in turns]
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)
    if generation:
        return text
    return text[: text.rindex(turns[-1][1]) + len(turns[-1][1])]


def in_spans(text: str, size: int) -> tuple[Span, ...]:
    """The text cut into spans of some letters, every other of them trusted."""
    places = range(0, len(text), size)
    return tuple(Span(text=text[place : place + size], trusted=place // size % 2 == 0) for place in places)


def rendered(turns: list[tuple[Role, str]], size: int = 100) -> Rendered:
    return Rendered(layout="chat", turns=tuple(Turn(role=role, spans=in_spans(text, size)) for role, text in turns))


@every
@whatever
@pytest.mark.parametrize("size", [100, 3])
def test_a_prompt_has_the_tokens_of_the_whole_text(construction: str, template: str, size: int) -> None:
    tokenizer = construct(construction, template)
    for number, content in enumerate(CONTENTS):
        turns: list[tuple[Role, str]] = [("user", content), ("assistant", CONTENTS[number - 1]), ("user", content)]
        expected = own(tokenizer, laid_out(tokenizer, turns, generation=True))
        assert encode_prompt(tokenizer, rendered(turns, size)) == expected, content


@every
@whatever
def test_an_open_turn_has_the_tokens_of_the_whole_text(construction: str, template: str) -> None:
    tokenizer = construct(construction, template)
    for content in ("The answer is: (", "take the", "A", "The answer is:\n"):
        turns: list[tuple[Role, str]] = [("user", "Say why."), ("assistant", content)]
        assert encode_prompt(tokenizer, rendered(turns, 4)) == own(tokenizer, laid_out(tokenizer, turns)), content


@whatever
def test_a_transcript_has_the_tokens_of_the_whole_text_after_the_first(construction: str) -> None:
    tokenizer = construct(construction, "transcript")
    for content in CONTENTS:
        prompt = Rendered(layout="transcript", turns=(Turn(role="user", spans=in_spans(content, 3)),))
        assert encode_prompt(tokenizer, prompt) == tokenizer(content)["input_ids"], content
        assert encode_text(tokenizer, content) == own(tokenizer, content), content


@every
@whatever
@pytest.mark.parametrize("opening", ["The answer is: (", "The answer is:", "x("])
def test_options_have_the_tokens_that_they_have_in_the_whole_text(
    construction: str, template: str, opening: str
) -> None:
    tokenizer = construct(construction, template)
    turns: list[tuple[Role, str]] = [("user", "Say why."), ("assistant", opening)]
    options = ("A", "B", " take", "take the lamp")
    prompt, rests = encode_continuations(tokenizer, rendered(turns, 5), options)
    for option, rest in zip(options, rests, strict=True):
        whole = laid_out(tokenizer, [turns[0], ("assistant", opening + option)])
        assert prompt + rest == own(tokenizer, whole), option
    alone = encode_prompt(tokenizer, rendered(turns, 5))
    assert prompt == alone[: len(prompt)]
    wholes = [prompt + rest for rest in rests]
    assert len(prompt) == len(alone) or any(whole[: len(prompt) + 1] != alone[: len(prompt) + 1] for whole in wholes)


def test_a_token_may_reach_from_the_prompt_into_an_option() -> None:
    tokenizer = construct("sentencepiece", "llama 2")
    turns: list[tuple[Role, str]] = [("user", "Say why."), ("assistant", "The answer is: (")]
    prompt, rests = encode_continuations(tokenizer, rendered(turns), ("A", "B"))
    assert tokenizer.convert_ids_to_tokens([rest[0] for rest in rests])[0] != "A"
    assert len(prompt) < len(encode_prompt(tokenizer, rendered(turns)))


@every
@whatever
def test_rows_to_learn_from_have_the_tokens_of_the_whole_text(construction: str, template: str) -> None:
    tokenizer = construct(construction, template)
    encoder = RowEncoder(tokenizer)
    for question in CONTENTS[:3]:
        conversation = Conversation.of("Say no", "and say why.", question)
        turns: list[tuple[Role, str]] = [("user", "Say no"), ("assistant", "and say why."), ("user", question)]
        rows = encoder.rows(conversation, *((answer, None) for answer in ANSWERS))
        prompt = encode_prompt(tokenizer, rendered(turns))
        for answer, row in zip(ANSWERS, rows, strict=True):
            whole = laid_out(tokenizer, [*turns, ("assistant", answer)])
            if answer[0].isspace() and template in ("llama 2", "mistral", "transcript"):
                whole = whole[: -len(answer) - 1] + answer  # its own white space, in place of the template's
            assert list(row.ids) == [*own(tokenizer, whole), end_token_id(tokenizer)], answer
            assert row.prompt_length == rows[0].prompt_length
            assert list(row.ids[: row.prompt_length]) == prompt[: row.prompt_length]
        (alone,) = encoder.rows(conversation, (ANSWERS[0], None))
        assert alone == encoder.row(conversation, ANSWERS[0])
        assert alone.prompt_length >= rows[0].prompt_length


@every
@whatever
@pytest.mark.parametrize("normalized", [False, True])
def test_text_never_becomes_a_control_token(construction: str, template: str, normalized: bool) -> None:
    tokenizer = construct(construction, template, normalized=normalized)
    control = {token.content: index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    control.pop("<unk>")

    def found(content: str) -> list[int]:
        turns: list[tuple[Role, str]] = [("user", "why"), ("assistant", content), ("user", content)]
        ids = encode_prompt(tokenizer, rendered(turns, 5))
        return [index for index in ids if index in control.values()]

    harmless = found("x")
    attacks = [form for token in control for form in (token, f"so {token} and {token}", f"{token}{token}x")]
    for attack in (*attacks, "<|im_</s>", "<", "\u0338", "|>", "12345678", "<s"):
        assert found(attack) == harmless, attack
        ids = encode_text(tokenizer, attack)
        assert not [index for index in ids if index in control.values()], attack


@pytest.mark.parametrize("construction", tokenizers.CONSTRUCTIONS)
def test_control_tokens_that_are_looked_for_in_normalised_text_are_found(construction: str) -> None:
    tokenizer = construct(construction, "chatml", normalized=True)
    turns: list[tuple[Role, str]] = [("user", "why "), ("assistant", "so"), ("user", "no\u0338")]
    text = laid_out(tokenizer, turns, generation=True)
    control = {tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>")}
    ids = encode_prompt(tokenizer, rendered(turns))
    assert sum(index in control for index in ids) == text.count("<|im_")
    if construction != "sentencepiece":  # which finds them only where a space is before them
        assert ids == own(tokenizer, text)


def test_a_choice_is_asked_with_the_tokens_of_the_whole_text() -> None:
    tokenizer = construct("sentencepiece", "llama 2")
    asked: list[Any] = []

    class Watched(LocalModel):
        def __init__(self) -> None:
            self._tokenizer, self._identity = tokenizer, "watched"

        def _check_room(self, ids: list[int], more: int) -> None:
            assert more == 0

        async def _submit(self, group: Any, ids: list[int], payload: Any) -> Any:
            asked.append((ids, payload))
            return [-1.0, -1.0]

    turns: list[tuple[Role, str]] = [("user", "Say why."), ("assistant", "The answer is: (")]
    asyncio.run(Watched().choose(rendered(turns), ("A", "B")))
    ((ids, options),) = asked
    for option, rest in zip("AB", options, strict=True):
        assert [*ids, *rest] == own(
            tokenizer, laid_out(tokenizer, [turns[0], ("assistant", f"The answer is: ({option}")])
        )
