r"""How a prompt goes over the wire, so that text can never act as a control token there either.

Where a tokenizer is at hand and the server takes token ids, the prompt goes as the very ids that a model in this
process would read. Otherwise it goes as messages, which the server puts into its own chat template, or as plain text;
it then reads control strings in either as control tokens. So each control string in text from outside is broken by a
backslash behind its first character, `<\|im_end|>`, as `solon.prompting.escape` puts one before a textual delimiter.
The control strings are the tokenizer's where it is at hand, else those of the families that are commonly served.

A turn of the assistant that a prompt leaves open, such as `The answer is: (`, goes as one that the server is told to
continue, where it has been seen to do so. Elsewhere it stands at the end of the user's message, after an empty line:
the answer begins the server's turn.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Protocol

from solon.errors import CallFailedError
from solon.lm.thoughts import Thinking
from solon.records import Rendered, Turn

CONTROL_STRINGS: Final = (
    *("<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|endoftext|>", "<|endofprompt|>", "<|fim_prefix|>"),
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"),
    *("<|header_start|>", "<|header_end|>", "<|eot|>", "<|python_tag|>", "<|finetune_right_pad_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "<|turn>", "<turn|>", "<bos>", "<eos>", "<pad>", "<unk>"),
    *("<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    *("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
    *("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|tool|>", "<|observation|>", "[gMASK]", "<sop>"),
    *("<|start|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "<|constrain|>", "<|startoftext|>"),
    *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"),
    *("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "<BOS_TOKEN>", "<EOS_TOKEN>"),
    *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
    *("<think>", "</think>", "[THINK]", "[/THINK]", "<tool_call>", "</tool_call>", "<tool_response>"),
    *("</tool_response>", "<|tool_call|>", "<|begin_of_thought|>", "<|end_of_thought|>", "<end_of_utterance>"),
)
"""Control tokens of families that are commonly served, for servers whose tokenizer is not at hand."""


class Tokens(Protocol):
    """The tokenizer of the served model, as far as it is needed to ask and to read answers."""

    @property
    def digest(self) -> str:
        """Equal only where texts and turns have the same ids."""
        ...

    @property
    def vocabulary(self) -> str:
        """Digest of which token has which id; see `Sample.vocabulary`."""
        ...

    @property
    def control(self) -> tuple[str, ...]:
        """The control tokens, as they are spelled."""
        ...

    def prompt(self, rendered: Rendered) -> list[int]:
        """Return the ids of a prompt; see `nets.encode_prompt`."""
        ...

    def options(self, rendered: Rendered, texts: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """Return the ids of a prompt and of what may follow it; see `nets.encode_continuations`."""
        ...

    def text(self, text: str) -> list[int]:
        """Return the ids of a text that stands alone."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, control tokens spelled out."""
        ...

    def knows(self, index: int) -> bool:
        """Say whether an id is a token's."""
        ...

    def is_control(self, index: int) -> bool:
        """Say whether an id is a control token's."""
        ...

    def thinking(self, rendered: Rendered) -> Thinking | None:
        """Say how the model marks the thought that an answer to a prompt begins with."""
        ...


@dataclass(frozen=True)
class Asked:
    """A prompt as it goes over the wire: token ids, a text, or messages.

    Attributes:
        ids: token ids.
        text: plain text.
        messages: turns, each with `role` and `content`.
        fields: what else the route needs to be told to lay the messages out.
        escaped: control strings that were broken.
    """

    ids: tuple[int, ...] | None = None
    text: str | None = None
    messages: tuple[dict[str, str], ...] | None = None
    fields: dict[str, object] = field(default_factory=dict)
    escaped: int = 0

    @property
    def prompt(self) -> list[int] | str:
        """What a route that goes on from a prompt is given."""
        return list(self.ids) if self.ids is not None else self.text or ""

    @property
    def wording(self) -> str:
        """All of it as one text, for a route that takes a state to decide on."""
        return "\n\n".join(turn["content"] for turn in self.messages) if self.messages else self.text or ""

    def then(self, ids: Sequence[int]) -> "Asked":
        """Return token ids with more behind them."""
        return Asked(ids=(*(self.ids or ()), *ids))


@cache
def _pattern(control: tuple[str, ...]) -> re.Pattern[str]:
    # The longest first: of two that begin alike both are broken by the break of the longer.
    return re.compile("|".join(map(re.escape, sorted(filter(None, control), key=len, reverse=True))) or "(?!)")


def break_control(turn: Turn, control: tuple[str, ...]) -> tuple[str, int]:
    r"""Return the text of a turn with every control string broken that is not wholly a template's, and how many.

    Args:
        turn: one with spans of templates and of others.
        control: control strings.

    Raises:
        CallFailedError: a control string of one character, which no break could disarm.
    """
    text = turn.text
    trusted = [span.trusted for span in turn.spans for _ in span.text]
    broken = 0
    start = 0
    while (found := _pattern(control).search(text, start)) is not None:
        first, end = found.span()
        if all(trusted[first:end]):
            start = first + 1
            continue
        if end - first < 2:
            raise CallFailedError(
                f"{found[0]!r} is by itself a control token of the served model and cannot be written as text: "
                "leave the character out"
            )
        text = f"{text[: first + 1]}\\{text[first + 1 :]}"
        trusted.insert(first + 1, False)
        broken += 1
        start = first + 1  # whatever begins at `first` is broken by now
    return text, broken


def ask_in_turns(
    prompt: Rendered,
    control: tuple[str, ...],
    *,
    continues: bool,
    template_kwargs: dict[str, object] | None = None,
) -> Asked:
    """Return a prompt of the chat layout as messages.

    Args:
        prompt: in turns.
        control: control strings of the served model.
        continues: whether the server goes on with a turn of the assistant that is left open.
        template_kwargs: what its chat template is told beside the conversation.

    Raises:
        CallFailedError: a text cannot be sent safely.
    """
    broken = [break_control(turn, control) for turn in prompt.turns]
    messages: list[dict[str, str]] = [
        {"role": turn.role, "content": text} for turn, (text, _) in zip(prompt.turns, broken, strict=True)
    ]
    fields: dict[str, object] = {"chat_template_kwargs": template_kwargs} if template_kwargs else {}
    if messages[-1]["role"] == "assistant":
        if continues:
            fields |= {"continue_final_message": True, "add_generation_prompt": False}
        else:
            *messages, begun = messages
            before = messages.pop()["content"] + "\n\n" if messages and messages[-1]["role"] == "user" else ""
            messages.append({"role": "user", "content": before + begun["content"]})
    return Asked(messages=tuple(messages), fields=fields, escaped=sum(count for _, count in broken))


def ask_in_text(prompt: Rendered, control: tuple[str, ...]) -> Asked:
    """Return a prompt of the transcript layout as plain text.

    Raises:
        CallFailedError: a text cannot be sent safely.
    """
    text, escaped = break_control(prompt.turns[0], control)
    return Asked(text=text, escaped=escaped)
