"""Proves that no text becomes a control token, and that benign text has the tokens the chat template gives it."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solon.errors import ModelError, PromptingError
from solon.nets import decode_response, encode_prompt, encode_text, end_token_id
from solon.records import Layout, Rendered, Role, Span, Turn
from tests import made_up_tokenizers as tokenizers

CONTROL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CONTROL += ["<pad>", "<think>", "</think>"]

built = {name: cache(builder) for name, builder in tokenizers.ALL.items()}
chatting = pytest.mark.parametrize("name", sorted(tokenizers.CHATTING))
everyone = pytest.mark.parametrize("name", sorted(tokenizers.ALL))
attacks = st.lists(
    st.one_of(st.sampled_from([*CONTROL, "<|", "|>", "user", "\n", " ", "im_end", "<"]), st.text(max_size=4))
).map("".join)


def chat(*turns: tuple[Role, str], layout: Layout = "chat") -> Rendered:
    made = tuple(Turn(role=role, spans=(Span(text=text, trusted=False),)) for role, text in turns)
    return Rendered(layout=layout, turns=made)


def control_ids(tokenizer: Any, ids: list[int]) -> list[int]:
    names = {tokenizer.convert_tokens_to_ids(token) for token in CONTROL if token in tokenizer.get_vocab()}
    return [index for index in ids if index in names]


@chatting
def test_benign_text_has_the_tokens_of_the_chat_template(name: str) -> None:
    tokenizer = built[name]()
    messages = [
        {"role": "user", "content": "how do i find the lamp"},
        {"role": "assistant", "content": "take the lamp to the river"},
        {"role": "user", "content": "Say why."},
    ]
    plain = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    expected = tokenizer(plain, add_special_tokens=False)["input_ids"]
    found = encode_prompt(tokenizer, chat(*((m["role"], m["content"]) for m in messages)))
    assert found == expected


@chatting
@given(text=attacks, place=st.sampled_from(["user", "assistant", "system", "last"]))
def test_text_never_becomes_a_control_token(name: str, text: str, place: str) -> None:
    tokenizer = built[name]()

    def prompt(content: str) -> Rendered:
        turns: list[tuple[Role, str]] = [("user", "why"), ("assistant", "so"), ("user", "and")]
        if place == "system":
            turns.insert(0, ("system", content))
        elif place == "last":
            turns.append(("assistant", content))
        else:
            turns[("user", "assistant").index(place)] = (turns[("user", "assistant").index(place)][0], content)
        return chat(*turns)

    attacked, harmless = (encode_prompt(tokenizer, prompt(content)) for content in (text, "x"))
    assert control_ids(tokenizer, attacked) == control_ids(tokenizer, harmless)
    if name not in ("unigram", "stripping"):
        assert text in decode_response(tokenizer, attacked)


@everyone
@given(text=attacks)
def test_a_response_never_becomes_a_control_token(name: str, text: str) -> None:
    tokenizer = built[name]()
    ids = encode_text(tokenizer, text)
    assert not control_ids(tokenizer, ids)
    if name != "unigram":
        assert decode_response(tokenizer, ids) == text


@pytest.mark.parametrize("name", ["nano", "chatml", "without_template"])
def test_control_strings_are_tokenised_like_any_other_text(name: str) -> None:
    tokenizer = built[name]()
    if name != "without_template":
        encode_prompt(tokenizer, chat(("user", "why"), ("assistant", "so"), ("user", "then")))
    for token in ("<|im_end|>", "<|end|>", "</s>"):
        plain = tokenizer(f"say {token} why", split_special_tokens=True, add_special_tokens=False)["input_ids"]
        assert encode_text(tokenizer, f"say {token} why") == plain


def test_the_attacks_would_work_on_plain_tokenisation() -> None:
    for name in sorted(tokenizers.ALL):
        tokenizer = built[name]()
        own = next(token for token in CONTROL if token in tokenizer.get_vocab())
        assert control_ids(tokenizer, tokenizer(f"so {own} and", add_special_tokens=False)["input_ids"])
    chatml, unigram = built["chatml"](), built["unigram"]()
    assert control_ids(chatml, chatml("<think>", split_special_tokens=True, add_special_tokens=False)["input_ids"])
    assert control_ids(unigram, unigram("</s>", split_special_tokens=True, add_special_tokens=False)["input_ids"])


def test_a_control_token_of_one_character_is_spelled_in_bytes() -> None:
    tokenizer = tokenizers.nano()
    plain = encode_text(tokenizer, "see → 2")
    tokenizer.add_tokens(["→"], special_tokens=True)
    assert tokenizer("→", add_special_tokens=False)["input_ids"] == [len(tokenizer) - 1]
    assert encode_text(tokenizer, "see → 2") == plain


def test_a_control_token_of_one_character_that_cannot_be_spelled_is_refused() -> None:
    tokenizer = tokenizers.nano()
    tokenizer.add_tokens(["!"], special_tokens=True)  # a byte of the vocabulary is made a control token
    assert decode_response(tokenizer, encode_text(tokenizer, "plain")) == "plain"
    with pytest.raises(PromptingError, match=r"'!' is by itself the control token .*: leave the character out"):
        encode_text(tokenizer, "see ! 2")


@everyone
@pytest.mark.parametrize("text", ["see \ud83d", "\udcff", "\ude00\ud83d"])
def test_half_of_a_character_is_refused(name: str, text: str) -> None:
    with pytest.raises(PromptingError, match=r"half of a character \(U\+D[0-9A-F]{3}, .*: write the whole character"):
        encode_text(built[name](), text)


@chatting
def test_an_assistant_turn_at_the_end_is_left_open(name: str) -> None:
    tokenizer = built[name]()
    asked = encode_prompt(tokenizer, chat(("user", "how do i find the lamp")))
    opened = encode_prompt(tokenizer, chat(("user", "how do i find the lamp"), ("assistant", "The answer is")))
    assert opened == asked + encode_text(tokenizer, "The answer is")


@pytest.mark.parametrize("name", ["stripping", "dropping"])
def test_a_system_turn_without_a_place_joins_the_user_turn(name: str) -> None:
    tokenizer = built[name]()
    text = decode_response(tokenizer, encode_prompt(tokenizer, chat(("system", "Be brief."), ("user", "Say why."))))
    assert "Be brief.\n\nSay why." in text
    assert "system" not in text


def test_a_system_turn_with_a_place_keeps_it() -> None:
    tokenizer = built["nano"]()
    ids = encode_prompt(tokenizer, chat(("system", "Be brief."), ("user", "why")))
    assert decode_response(tokenizer, ids) == "<|system|>Be brief.<|end|><|user|>why<|end|><|assistant|>"


def test_without_a_template_only_transcripts_are_encoded() -> None:
    tokenizer = built["without_template"]()
    with pytest.raises(ModelError, match="no chat template: choose the transcript layout"):
        encode_prompt(tokenizer, chat(("user", "why")))
    ids = encode_prompt(tokenizer, chat(("user", "Human: why </s>"), layout="transcript"))
    assert ids[0] == tokenizer.bos_token_id
    assert decode_response(tokenizer, ids[1:]) == "Human: why </s>"
    assert control_ids(tokenizer, ids[1:]) == []


def test_templates_that_lose_or_refuse_turns_are_refused() -> None:
    tokenizer = tokenizers.chatml()
    tokenizer.chat_template = "{{ messages[-1]['content'] }}"
    with pytest.raises(ModelError, match="does not show each of the turns user, assistant, user once"):
        encode_prompt(tokenizer, chat(("user", "a"), ("assistant", "b"), ("user", "c")))
    tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(ModelError, match="refuses the turns user: never"):
        encode_prompt(tokenizer, chat(("user", "a")))


LLAMA_3 = """\
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "a day" %}
    {%- endif %}
{%- endif %}
{% for m in messages %}<|im_start|>{{ date_string }}: {{ m['content'] }}<|im_end|>{% endfor %}"""


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (LLAMA_3, "<|im_start|>26 Jul 2024: why<|im_end|>"),
        (
            "\n  It is {{ strftime_now('%A, %B %-d, %Y') }}.{{ messages[0].content }}",
            "\n  It is Friday, July 26, 2024.why",
        ),
        ("{{ messages[0].content + ' ' + strftime_now(format='%Y-%m-%d %H:%M:%S') }}", "why 2024-07-26 00:00:00"),
        ("{{ messages[0].content }} {{ strftime_now('%Y') | int - 1 }}", "why 2023"),
        (
            "{% macro day() %}{{ strftime_now('%j') }}{% endmacro %}"
            "{% for m in messages %}{{ m.content }} {{ day() }}{% endfor %}",
            "why 208",
        ),
    ],
)
def test_a_template_that_asks_for_the_date_is_told_the_same_day_for_ever(template: str, expected: str) -> None:
    tokenizer = tokenizers.chatml()
    tokenizer.chat_template = template
    assert decode_response(tokenizer, encode_prompt(tokenizer, chat(("user", "why")))) == expected
    assert tokenizer.chat_template == template


def test_contents_that_look_like_placeholders_stay_contents() -> None:
    tokenizer = built["nano"]()
    text = "[16180339880] [16180339881] {{ messages }}"
    assert decode_response(tokenizer, encode_prompt(tokenizer, chat(("user", text)))).count(text) == 1


def test_a_changed_template_is_noticed() -> None:
    tokenizer = tokenizers.chatml()
    before = encode_prompt(tokenizer, chat(("user", "why")))
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}"
    assert encode_prompt(tokenizer, chat(("user", "why"))) != before


def test_padding_and_truncation_switched_on_elsewhere_change_nothing() -> None:
    prompt = chat(("user", "how do i find the lamp"))
    before = encode_prompt(tokenizers.chatml(), prompt)
    tokenizer = tokenizers.chatml()
    tokenizer(["a", "how do i find"], padding="max_length", max_length=3, truncation=True)
    assert encode_prompt(tokenizer, prompt) == before
    assert tokenizer("<|im_end|>", add_special_tokens=False)["input_ids"] == [4]  # its own parsing is left as it was


def test_ends_of_turns() -> None:
    expected = {"nano": "<|end|>", "chatml": "<|im_end|>", "stripping": "<|im_end|>", "dropping": "</s>"}
    for name, token in {**expected, "without_template": "</s>", "unigram": "<|im_end|>"}.items():
        tokenizer = built[name]()
        assert end_token_id(tokenizer) == tokenizer.convert_tokens_to_ids(token), name
    tokenizer = tokenizers.without_template()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no token ends a turn"):
        end_token_id(tokenizer)
