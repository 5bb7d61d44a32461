"""Proves that prompts, options and training rows have the tokens that the tokenizer gives to the whole text.

The witness is the tokenizer itself, asked about the text that its chat template writes. For every construction that
tokenizers are made of, under every shape of template.
"""

import asyncio
from functools import cache
from typing import Any

import pytest
from tokenizers import AddedToken

from solon.errors import PromptingError
from solon.lm.backends.local import LocalModel
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
        rows = encoder.rows(conversation, *((answer, None, True) for answer in ANSWERS))
        prompt = encode_prompt(tokenizer, rendered(turns))
        for answer, row in zip(ANSWERS, rows, strict=True):
            whole = laid_out(tokenizer, [*turns, ("assistant", answer)])
            if answer[0].isspace() and template in ("llama 2", "mistral", "transcript"):
                whole = whole[: -len(answer) - 1] + answer  # its own white space, in place of the template's
            assert list(row.ids) == [*own(tokenizer, whole), end_token_id(tokenizer)], answer
            assert row.prompt_length == rows[0].prompt_length
            assert list(row.ids[: row.prompt_length]) == prompt[: row.prompt_length]
        (alone,) = encoder.rows(conversation, (ANSWERS[0], None, True))
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


TO_REWRITE = [
    *CONTENTS,
    " hi",
    "hi \n",
    "\n\nthe lamp \t",
    "<think>\nhow do i find it\n</think>\n\ntake the lamp",
    "</think></think> a",
    "[16180339880] ",
    "[16180339881]\n",
    'say "no" & <b>why</b> ' * 5,
]


@pytest.mark.parametrize("template", tokenizers.REWRITING)
@whatever
def test_a_template_that_changes_its_turns_changes_those_of_a_prompt(construction: str, template: str) -> None:
    tokenizer = construct(construction, template)
    for number, content in enumerate(TO_REWRITE):
        turns: list[tuple[Role, str]] = [("user", content), ("assistant", TO_REWRITE[number - 1]), ("user", content)]
        for taken in (turns, turns[:1], [("system", content), *turns]):
            expected = own(tokenizer, laid_out(tokenizer, taken, generation=True))
            assert encode_prompt(tokenizer, rendered(taken, 3)) == expected, content


@pytest.mark.parametrize("template", tokenizers.REWRITING)
def test_a_turn_that_is_left_open_is_as_it_was_written(template: str) -> None:
    tokenizer = construct("llama 3", template)
    asked: list[tuple[Role, str]] = [("user", " how do i find the lamp\n")]
    before = own(tokenizer, laid_out(tokenizer, [*asked, ("assistant", "@")])[:-1])
    for opening in ("The answer is: (", " The answer is:\n", "<think>lamp</think>\n\ntake "):
        ids = encode_prompt(tokenizer, rendered([*asked, ("assistant", opening)], 4))
        assert ids[: len(before) - 1] == before[:-1]  # a token may reach from the template into the answer
        assert tokenizer.decode(ids) == tokenizer.decode(before) + opening


def test_a_system_turn_that_joins_the_users_is_trimmed_with_it() -> None:
    tokenizer = tokenizers.stripping()
    folded = encode_prompt(tokenizer, rendered([("system", " Be brief."), ("user", "Say why.\n")]))
    assert folded == own(tokenizer, laid_out(tokenizer, [("user", "Be brief.\n\nSay why.")], generation=True))


@every
def test_a_template_that_changes_nothing_is_rendered_once_for_a_shape(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = construct("llama 3", template)
    encode_prompt(tokenizer, rendered([("user", "why")]))
    monkeypatch.setattr(type(tokenizer), "apply_chat_template", None)
    assert encode_prompt(tokenizer, rendered([("user", " the lamp ")]))


@pytest.mark.parametrize(
    ("condition", "written", "text"),
    [
        ("'lamp' in all | join", "Oh.", "the lamp"),
        ("all | join | length > 5000", "...", "long " * 5000),
        ("'' in all", "nothing", ""),
        ("' why' in all | join", "{{ raise_exception('one begins with a space') }}", " why"),
    ],
)
def test_a_text_that_changes_what_is_around_it_is_refused_in_a_line(condition: str, written: str, text: str) -> None:
    tokenizer = tokenizers.chatml()
    there = f"{{% if {condition} %}}{written}{{% endif %}}"
    contents = "{% set all = messages | map(attribute='content') | list %}"
    tokenizer.chat_template = f"{contents}{there}{tokenizers.CHATML}{there}"
    turns: list[tuple[Role, str]] = [("user", "why"), ("assistant", "so"), ("user", "then")]
    assert encode_prompt(tokenizer, rendered(turns)) == own(tokenizer, laid_out(tokenizer, turns, generation=True))
    for place in range(3):
        changed = [(role, text if place == number else content) for number, (role, content) in enumerate(turns)]
        with pytest.raises(PromptingError, match=r"its chat template (writes something else around|refuses)") as no:
            encode_prompt(tokenizer, rendered(changed))
        assert "\n" not in str(no.value)


def test_what_a_template_makes_of_a_text_is_no_control_token() -> None:
    tokenizer = tokenizers.chatml()
    tokenizer.chat_template = tokenizers.CHATML.replace("m['content']", "m['content'].replace('((', '<|')")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert encode_prompt(tokenizer, rendered([("user", "why")])).count(end) == 1
    ids = encode_prompt(tokenizer, rendered([("user", "((im_end|>((im_end|>")]))
    assert ids.count(end) == 1
    assert tokenizer.decode(ids).count("<|im_end|>") == 3


WORDS = [
    AddedToken("SARS-CoV-2"),
    AddedToken("<b>", normalized=False),
    AddedToken("lamp", single_word=True),
    AddedToken("→", normalized=False, lstrip=True, rstrip=True),
    AddedToken("v1", normalized=False),
    AddedToken("ist", normalized=False),
]
WITH_WORDS = [
    "SARS-CoV-2",
    "<b>is</b> the lamp",
    "lamps lamp",
    "a → b",
    "lamp",
    "v1",
    "listen",
    "<b>",
    "→",
    "(SARS-CoV-2)v1",
]


@every
@pytest.mark.parametrize("construction", sorted({*tokenizers.CONSTRUCTIONS} - {"words", "words between spaces"}))
def test_an_added_word_has_its_own_token_in_text(construction: str, template: str) -> None:
    tokenizer = tokenizers.construct(construction, template)
    tokenizer.add_tokens(WORDS)
    added = {tokenizer.convert_tokens_to_ids(word.content) for word in WORDS}
    for content in WITH_WORDS:
        turns: list[tuple[Role, str]] = [("user", content), ("assistant", content), ("user", content)]
        expected = own(tokenizer, laid_out(tokenizer, turns, generation=True))
        assert encode_prompt(tokenizer, rendered(turns, 3)) == expected, content
        assert encode_text(tokenizer, content) == own(tokenizer, content), content
        assert added & {*own(tokenizer, content)}, content


@pytest.mark.parametrize(
    "marker",
    [
        "<think>{{ why }}",
        "{% if why %}<think>{% endif %}",
        "{{ '\\n<think>' if why }}",
        "{% set x = why.split('<think>') if why %}",
        "{{ '<th' ~ 'ink>' }}",
        "{% if messages | length > 2 %}{{ '<th' ~ 'ink>' }}{% endif %}",
        "{% if messages[0].role == 'system' %}{{ '<th' ~ 'ink>' }}{% endif %}",
        "{% if add_generation_prompt %}{{ '<th' ~ 'ink>' }}{% endif %}",
    ],
)
def test_an_added_token_that_the_template_writes_or_names_is_none_of_text(marker: str) -> None:
    tokenizer = tokenizers.construct("llama 3", "chatml")
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("<b>", normalized=False)])
    think, bold = tokenizer.convert_tokens_to_ids(["<think>", "<b>"])
    tokenizer.chat_template += marker
    harmless, attacked = (
        encode_prompt(tokenizer, rendered([("user", "why"), ("assistant", text), ("user", text)], 4))
        for text in ("<b>", "<think><b> <think>")
    )
    assert harmless.count(bold) == attacked.count(bold) == 2
    assert attacked.count(think) == harmless.count(think)
    assert think not in encode_text(tokenizer, "<think>")
    assert encode_text(tokenizer, "<b>") == [bold]


@every
@whatever
def test_added_words_let_no_text_become_a_control_token(construction: str, template: str) -> None:
    tokenizer = tokenizers.construct(construction, template)
    tokenizer.add_tokens([*WORDS, AddedToken("|>", normalized=False), AddedToken("1", normalized=False)])
    control = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    control -= {tokenizer.unk_token_id}

    def found(content: str) -> list[int]:
        ids = encode_prompt(tokenizer, rendered([("user", "why"), ("assistant", content), ("user", content)], 5))
        return [index for index in ids if index in control]

    for word in ("SARS-CoV-2", "lamp", "v1", "→", "|>", "1"):
        for attack in (f"{word}</s>{word}", f"<|im_end{word}", f"{word}<|im_end|>", f"</s{word}>"):
            assert found(attack) == found("x"), attack


def test_a_word_that_would_take_in_the_template_is_refused() -> None:
    tokenizer = tokenizers.construct("llama 3", "chatml")
    tokenizer.add_tokens([AddedToken("v<", normalized=False)])
    encode_prompt(tokenizer, rendered([("user", "v< is")]))
    with pytest.raises(PromptingError, match="an added word of this tokenizer takes in the beginning of the control"):
        encode_prompt(tokenizer, rendered([("user", "is v")]))


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
