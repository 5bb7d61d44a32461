"""Proves that a chat template by which a model would go on with the user's turn is told from all that open its own.

The witness is the whole conversation: what stands there before an answer is what has to stand before one to be written.
"""

from typing import Any

import pytest

from solon.errors import ModelError
from solon.nets import encode_prompt, find_unwritten_opening, set_template_kwargs
from tests import made_up_tokenizers as tokenizers
from tests.asking import ask
from tests.made_up_tokenizers import CHATML, REWRITING, TEMPLATES

PROMPT_FOR_ONE = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TURNS = CHATML.removesuffix(PROMPT_FOR_ONE)
THOUGHT = "<think>\n\n</think>\n\n"

IGNORING = {
    "nothing is written": (TURNS, "<|im_start|>assistant"),
    "white space is written": (TURNS + "{% if add_generation_prompt %}\n{% endif %}", "<|im_start|>assistant"),
    "the flag is only looked at": (TURNS + "{% set asked = add_generation_prompt %}", "<|im_start|>assistant"),
    "the last turn is closed otherwise": (TURNS + "[end]", "<|im_start|>assistant"),
    "no control tokens": (TEMPLATES["transcript"].partition("{% if add")[0], "Assistant:"),
    **{
        name: (TEMPLATES[name].partition("{% if add")[0], opening)
        for name, opening in {
            "llama 3": "<|start_header_id|>assistant<|end_header_id|>",
            "gemma": "<start_of_turn>model",
        }.items()
    },
}
OPENING = {
    **TEMPLATES,
    **REWRITING,
    "unasked": TURNS + "<|im_start|>assistant\n",
    "closed otherwise when not asked": CHATML.replace("{% endif %}", "{% else %}{{ eos_token }}{% endif %}"),
    "into a thought": CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif"),
    "past a thought": CHATML.replace("assistant\n{% endif", f"assistant\n{THOUGHT}{{% endif"),
    "before a thought": CHATML.replace(
        "{{ m['content'] }}", f"{{% if m['role'] == 'assistant' %}}{THOUGHT}{{% endif %}}{{{{ m['content'] }}}}"
    ),
    "to another channel": CHATML.replace("assistant\n{% endif", "assistant\n<|start_thinking|>{% endif").replace(
        "{{ m['content'] }}", "{% if m['role'] == 'assistant' %}<|start_answer|>{% endif %}{{ m['content'] }}"
    ),
    "the first answer without an opening": tokenizers.DROPPING,
}


def with_template(template: str) -> Any:
    tokenizer = tokenizers.construct("byte level", "chatml")
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("name", IGNORING)
def test_what_is_not_written_is_named(name: str) -> None:
    template, opening = IGNORING[name]
    assert find_unwritten_opening(with_template(template)) == opening


@pytest.mark.parametrize("name", OPENING)
def test_nothing_is_missing_of_a_template_that_opens_a_turn_or_needs_not(name: str) -> None:
    assert find_unwritten_opening(with_template(OPENING[name])) == ""


@pytest.mark.parametrize("name", [*TEMPLATES, "unasked", "the first answer without an opening"])
def test_a_prompt_then_ends_where_the_answer_begins_in_the_whole_conversation(name: str) -> None:
    tokenizer = with_template(OPENING[name])
    prompt = encode_prompt(tokenizer, ask(("user", "how do i find the lamp")))
    turns = [{"role": "user", "content": "how do i find the lamp"}, {"role": "assistant", "content": "take the river"}]
    whole = tokenizer.apply_chat_template(turns, tokenize=False)
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert ids[: len(prompt)] == prompt
    assert tokenizer.decode(ids[len(prompt) :]).lstrip().startswith("take the river")


def test_what_is_told_counts() -> None:
    tokenizer = with_template(CHATML.replace("if add_generation_prompt", "if add_generation_prompt and not still"))
    assert find_unwritten_opening(tokenizer) == ""

    set_template_kwargs(tokenizer, {"still": True})
    assert find_unwritten_opening(tokenizer) == "<|im_start|>assistant"


def test_a_template_that_takes_no_answer_is_refused() -> None:
    tokenizer = with_template("{% for m in messages %}{{ m['content'] if m['role'] == 'user' else '' }}{% endfor %}")
    with pytest.raises(ModelError, match="does not show each of the turns user, assistant"):
        find_unwritten_opening(tokenizer)
