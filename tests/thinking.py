"""Chat templates of models that think, one of each kind there is, and tiny checkpoints with them."""

from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from solon.nets import save_policy
from solon.world.nano.shape import build_nano_config, build_nano_model
from tests import made_up_tokenizers

EMPTY = "<think>\n\n</think>\n\n"
"""A thought that says nothing, as most templates write it."""


def _template(*, assistant: str = "{{ said }}", asked: str = "", marks: str = "<think>", first: str = "") -> str:
    """ChatML; `assistant` writes what the assistant `said`, `asked` goes on with the prompt for an answer."""
    written = (
        f"{first}{{% for m in messages %}}{{{{ '<|im_start|>' + m.role + '\\n' }}}}{{% set said = m.content %}}"
        f"{{% if m.role == 'assistant' %}}{assistant}{{% else %}}{{{{ said }}}}{{% endif %}}"
        "{{ '<|im_end|>\\n' }}{% endfor %}"
        f"{{% if add_generation_prompt %}}{{{{ '<|im_start|>assistant\\n' }}}}{asked}{{% endif %}}"
    )
    opens, closes = {"<think>": ("<think>", "</think>"), "[THINK]": ("[THINK]", "[/THINK]")}[marks]
    return written.replace("<think>", opens).replace("</think>", closes)


_STRIP = "{{ said.split('</think>')[-1].lstrip('\\n') }}"
_EMPTY = "{{ '<think>\\n\\n</think>\\n\\n' }}"
_UNLESS_OFF = "{% if enable_thinking is defined and not enable_thinking %}" + _EMPTY

TEMPLATES = {
    "opens": _template(assistant=_STRIP, asked="{{ '<think>\\n' }}"),
    "opens, in line": _template(assistant=_STRIP, asked="{{ '<think>' }}"),
    "opens, around the last too": _template(
        assistant="{% if loop.last %}{{ '<think>\\n\\n' }}{% endif %}" + _STRIP, asked="{{ '<think>\\n\\n' }}"
    ),
    "opens, and goes on": _template(assistant=_STRIP, asked="{{ '<think>\\nOkay,' }}"),
    "opens, switched": _template(asked=_UNLESS_OFF + "{% else %}{{ '<think>\\n' }}{% endif %}"),
    "switched": _template(
        assistant="{% if loop.last %}" + _EMPTY + "{% endif %}" + _STRIP, asked=_UNLESS_OFF + "{% endif %}"
    ),
    "switched, in the prompt only": _template(asked=_UNLESS_OFF + "{% endif %}"),
    "switched on": _template(asked="{% if thinking %}{{ '<think>' }}{% else %}{{ '</think>' }}{% endif %}"),
    "switched on, or nothing": _template(
        asked="{% if enable_thinking %}{{ '<think>\\n' }}{% endif %}", assistant=_STRIP
    ),
    "switched by a word": _template(
        assistant=_STRIP, first="{% if enable_thinking is defined and not enable_thinking %}no thinking\n{% endif %}"
    ),
    "switched, with a space": _template(assistant=_EMPTY + "{{ ' ' + said }}", asked=_UNLESS_OFF + "{% endif %}"),
    "writes empty around the last": _template(assistant="{% if loop.last %}" + _EMPTY + "{% endif %}" + _STRIP),
    "writes empty": _template(assistant=_EMPTY + "{{ said }}", asked=_EMPTY),
    "strips": _template(assistant=_STRIP),
    "strips, has records of thoughts": _template(assistant="{{ m.thinking or '' }}" + _STRIP),
    "other marks": _template(asked="{{ '[THINK]' }}", assistant="{{ said.split('[/THINK]')[-1] }}", marks="[THINK]"),
    "begin and end": _template(
        asked="{{ '<|begin_of_thought|>\\n' }}", assistant="{{ said.split('<|end_of_thought|>')[-1] }}"
    ),
    "none": made_up_tokenizers.CHATML,
    "none, in a remark": "{# models that think write </think> #}" + made_up_tokenizers.CHATML,
}
"""By what they do about thoughts."""

MARKS = ("<think>", "</think>", "[THINK]", "[/THINK]", "<|begin_of_thought|>", "<|end_of_thought|>")


def thinking(kind: str) -> Any:
    """Return a tokenizer with one of `TEMPLATES`; marks are added tokens and not special, as in families."""
    tokenizer = made_up_tokenizers.without_template()
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    tokenizer.chat_template = TEMPLATES[kind]
    return tokenizer


def build_thinking_policy(path: Path, kind: str) -> Path:
    """Save a random Llama of a few thousand weights with one of `TEMPLATES`."""
    tokenizer = thinking(kind)
    config = build_nano_config(tokenizer, width=32, layers=2, heads=2, max_length=512)
    save_policy(build_nano_model(config, seed=1), tokenizer, path)
    return path
