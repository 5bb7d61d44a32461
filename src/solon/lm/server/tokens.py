"""The tokenizer of a served model, from a folder on this machine: the ids that a model in this process would read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from solon.errors import CallFailedError, PromptingError
from solon.lm.thoughts import Thinking
from solon.nets import (
    begins_thought,
    decode_response,
    describe_template_kwargs,
    encode_continuations,
    encode_prompt,
    encode_text,
    find_thoughts,
    load_tokenizer,
    vocabulary_digest,
)
from solon.nets.tokenizer import split_added_tokens
from solon.records import Rendered, TemplateArgument
from solon.storage import content_digest


class FolderTokens:
    """A tokenizer as `asking.Tokens`.

    Args:
        path: its folder, with the `config.json` of the model.
        chat_template_kwargs: what its chat template is told beside the conversation.

    Raises:
        ModelError: the folder holds no tokenizer that can be used.
    """

    def __init__(self, path: Path, chat_template_kwargs: Mapping[str, TemplateArgument] | None = None) -> None:
        self._tokenizer = load_tokenizer(path, chat_template_kwargs)
        control, _ = split_added_tokens(self._tokenizer)
        self._control = frozenset(control.values())
        self._known = frozenset(self._tokenizer.get_vocab().values())
        self.control = tuple(control)
        self.vocabulary = vocabulary_digest(self._tokenizer)
        template = self._tokenizer.chat_template
        self.digest = content_digest([self.vocabulary, template, describe_template_kwargs(self._tokenizer)], size=8)

    def prompt(self, rendered: Rendered) -> list[int]:
        """Return the ids of a prompt.

        Raises:
            CallFailedError: it cannot be tokenised.
        """
        try:
            return encode_prompt(self._tokenizer, rendered)
        except PromptingError as error:
            raise CallFailedError(str(error)) from error

    def options(self, rendered: Rendered, texts: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """Return the ids of a prompt and of each text after it.

        Raises:
            CallFailedError: they cannot be tokenised.
        """
        try:
            return encode_continuations(self._tokenizer, rendered, texts)
        except PromptingError as error:
            raise CallFailedError(str(error)) from error

    def text(self, text: str) -> list[int]:
        """Return the ids of a text that stands alone."""
        return encode_text(self._tokenizer, text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, control tokens spelled out."""
        return decode_response(self._tokenizer, list(ids))

    def knows(self, index: int) -> bool:
        """Say whether an id is a token's."""
        return index in self._known

    def is_control(self, index: int) -> bool:
        """Say whether an id is a control token's."""
        return index in self._control

    def thinking(self, rendered: Rendered) -> Thinking | None:
        """Say how the model marks thoughts; None where its chat template knows none."""
        thoughts = find_thoughts(self._tokenizer)
        if thoughts is None:
            return None
        return Thinking(*thoughts.marks, begun=begins_thought(self._tokenizer, rendered))
