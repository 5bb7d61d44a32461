"""Tokenising prompts so that text can never act as a control token.

The chat template of a checkpoint is rendered once for each shape of a conversation (its roles), over placeholders,
and split there; what stands between the placeholders is the only text in which control tokens are recognised.
Everything a template of this package, a constitution, a person or a model wrote is tokenised span by span with
control tokens switched off, and the result is checked: where a tokenizer still produces one (some list markup as
ordinary added tokens), the text is cut inside it and tokenised again.

Spans are tokenised apart from each other, so that untrusted text cannot change the tokens of the text around it.
A space before a span's end belongs to the word after it ("Request: " + "how" is tokenised "Request:" + " how"),
as it would in running text.

A prompt depends on the checkpoint and on what was rendered, and on nothing else: a template that asks for the date
(those of Llama 3.1 and its kin put it into the system turn) is told one day, for ever, since a call of tomorrow must
find what a call of today left in the journal. The template that is saved with a checkpoint stays as it is.
"""

import copy
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from solon.errors import ModelError, PromptingError
from solon.nets.folder import quiet_transformers, read_checkpoint_config
from solon.records import Rendered, Role, Span, Turn

Tokenizer = Any
"""A fast tokenizer of transformers."""

_CACHED_SPANS = 16384

_DAY = datetime(2024, 7, 26)
"""What a chat template takes for now: the day that Llama's templates name themselves where nobody tells them."""

_DIRECTIVES = ("a", "A", "b", "B", "d", "-d", "m", "-m", "y", "Y", "j", "H", "I", "M", "S", "p")
"""What templates write dates with."""


def load_tokenizer(path: Path) -> Tokenizer:
    """Load a checkpoint's tokenizer.

    Raises:
        ModelError: the folder is no checkpoint, brings code along, or has no fast (Rust) tokenizer.
    """
    from transformers import AutoTokenizer

    path = Path(path)
    read_checkpoint_config(path)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(str(path), trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise ModelError(f"{path}: its tokenizer cannot be loaded ({error})") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{path}: has no tokenizer.json: convert its tokenizer to a fast one and save it again")
    for note in ("is_local", "local_files_only"):  # how it was loaded would be saved with it, and change its digest
        tokenizer.init_kwargs.pop(note, None)
    return tokenizer


def encode_prompt(tokenizer: Tokenizer, rendered: Rendered) -> list[int]:
    """Return the token ids of a rendered prompt.

    In the chat layout the tokenizer's chat template is laid around the turns; an assistant turn at the end is
    left open, otherwise the prompt for one is added. In the transcript layout the turn is tokenised as it is,
    after the tokenizer's begin-of-sequence token where it has one.

    Raises:
        ModelError: there is no chat template, or it cannot hold this sequence of turns.
        PromptingError: text that cannot be tokenised without a control token, or holds half of a character.
    """
    return _encoder(tokenizer).prompt(tokenizer, rendered)


def encode_response(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the token ids of a response or option; the caller appends the end token where one belongs.

    Raises:
        PromptingError: text that cannot be tokenised without a control token, or holds half of a character.
    """
    return list(_encoder(tokenizer).span(text))


def decode_response(tokenizer: Tokenizer, ids: list[int]) -> str:
    """Return the text of generated tokens, control tokens spelled out so that none goes unseen."""
    text: str = tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)
    return text


def end_token_id(tokenizer: Tokenizer) -> int:
    """Return the token that ends an assistant turn: the chat template's, else the tokenizer's end of sequence.

    Raises:
        ModelError: the tokenizer has neither.
    """
    return _encoder(tokenizer).end(tokenizer)


_encoders: WeakKeyDictionary[Any, "_Encoder"] = WeakKeyDictionary()


def _encoder(tokenizer: Tokenizer) -> "_Encoder":
    encoder = _encoders.get(tokenizer)
    if encoder is None or encoder.state != (tokenizer.chat_template, len(tokenizer)):
        encoder = _encoders[tokenizer] = _Encoder(tokenizer)
    return encoder


class _Encoder:
    """Token ids of prompts for one tokenizer, with the pieces of its chat template kept by shape.

    It works on a copy of the tokenizer's engine, so that padding or truncation switched on elsewhere cannot
    change a prompt, and keeps no reference to the tokenizer itself.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.state: tuple[Any, int] = (tokenizer.chat_template, len(tokenizer))
        self._engine = copy.deepcopy(tokenizer.backend_tokenizer)
        self._engine.no_padding()
        self._engine.no_truncation()
        self._engine.encode_special_tokens = True
        added = self._engine.get_added_tokens_decoder()
        named = {index for index, token in added.items() if token.special or token.content.strip()}
        self._control = frozenset(named | set(tokenizer.all_special_ids))
        if tokenizer.unk_token not in (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token):
            self._control -= {tokenizer.unk_token_id}  # stands for letters that the vocabulary lacks
        bos = tokenizer.bos_token_id
        self._start: list[int] = [bos] if bos is not None and bos in self._engine.encode("").ids else []
        self._shapes: dict[tuple[tuple[Role, ...], bool], list[list[int]]] = {}
        self._end: int | None = None
        self.span = lru_cache(maxsize=_CACHED_SPANS)(self._encode_span)

    def prompt(self, tokenizer: Tokenizer, rendered: Rendered) -> list[int]:
        """See `encode_prompt`."""
        turns = rendered.turns
        if rendered.layout == "transcript":
            return self._start + [index for text in join_spans(turns[0].spans) for index in self.span(text)]
        is_open = turns[-1].role == "assistant"
        roles = tuple(turn.role for turn in turns)
        pieces = self._shapes.get((roles, is_open))
        if pieces is None:
            pieces = self._shapes[roles, is_open] = self._template_pieces(tokenizer, roles, is_open)
        if len(pieces) <= len(turns):
            turns = _fold_system(turns)
        ids = list(pieces[0])
        for turn, piece in zip(turns, pieces[1:], strict=True):
            for text in join_spans(turn.spans):
                ids += self.span(text)
            ids += piece
        return ids

    def end(self, tokenizer: Tokenizer) -> int:
        """See `end_token_id`."""
        if self._end is None:
            after: list[int] = []
            if tokenizer.chat_template:
                after = self._parse(_split_template(tokenizer, ("user", "assistant"), generation=False)[-1])
            ends = [index for index in after if index in self._control]
            self._end = ends[0] if ends else tokenizer.eos_token_id
            if self._end is None:
                raise ModelError(f"{_name(tokenizer)}: no token ends a turn: set eos_token in tokenizer_config.json")
        return self._end

    def _template_pieces(self, tokenizer: Tokenizer, roles: tuple[Role, ...], is_open: bool) -> list[list[int]]:
        """Token ids before, between and after the turns; one fewer where the system turn had to be folded in."""
        if not tokenizer.chat_template:
            raise ModelError(
                f"{_name(tokenizer)}: has no chat template: choose the transcript layout, "
                "or add the model's chat_template.jinja to its folder"
            )
        try:
            pieces = _split_template(tokenizer, roles, generation=not is_open)
        except ModelError:
            if roles[0] != "system" or roles[1:2] != ("user",):
                raise
            pieces = _split_template(tokenizer, roles[1:], generation=not is_open)
        if is_open:
            pieces[-1] = ""
        return [self._parse(piece) for piece in pieces]

    def _parse(self, text: str) -> list[int]:
        """Tokenise text of the chat template, control tokens recognised."""
        self._engine.encode_special_tokens = False
        try:
            ids: list[int] = self._engine.encode(text, add_special_tokens=False).ids
        finally:
            self._engine.encode_special_tokens = True
        return ids

    def _encode_span(self, text: str) -> tuple[int, ...]:
        """Tokenise text that may hold anything, without ever producing a control token."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PromptingError(
                f"the text holds half of a character (U+{ord(text[error.start]):04X}, a lone surrogate): "
                "write the whole character"
            ) from None
        encoding = self._engine.encode(text, add_special_tokens=False)
        ids: list[int] = encoding.ids
        if self._control.isdisjoint(ids):
            return tuple(ids)
        cuts = [0]
        for index, (start, stop) in zip(ids, encoding.offsets, strict=True):
            if index in self._control:
                if stop - start < 2:
                    raise PromptingError(
                        f"{text[start:stop]!r} is by itself the control token {index} of this tokenizer and cannot "
                        "be written as text: leave the character out"
                    )
                cuts.append(start + 1)
        pieces = (text[start:stop] for start, stop in zip(cuts, [*cuts[1:], len(text)], strict=True))
        return tuple(index for piece in pieces for index in self._encode_span(piece))


def join_spans(spans: Sequence[Span]) -> list[str]:
    """Return what is tokenised together: runs of equal trust, the space at a boundary with the word after it."""
    texts: list[str] = []
    trusted: bool | None = None
    for span in spans:
        if not span.text:
            continue
        if span.trusted is trusted:
            texts[-1] += span.text
        else:
            texts.append(span.text)
            trusted = span.trusted
    for i in range(1, len(texts)):
        if texts[i - 1].endswith(" ") and not texts[i][0].isspace():
            texts[i - 1], texts[i] = texts[i - 1][:-1], " " + texts[i]
    return [text for text in texts if text]


def _fold_system(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Put the system turn at the head of the first user turn, for templates that have no place for one."""
    system, user = turns[:2]
    spans = (*system.spans, Span(text="\n\n", trusted=True), *user.spans)
    return (Turn(role="user", spans=spans), *turns[2:])


def _split_template(tokenizer: Tokenizer, roles: tuple[Role, ...], *, generation: bool) -> list[str]:
    """Render the chat template over placeholders and return the text around them, one piece more than turns.

    Raises:
        ModelError: the template refuses the roles, or does not show every turn once and in order.
    """
    mark = "solonturn"
    while mark in str(tokenizer.chat_template):
        mark += "x"
    marks = [f"[{mark}{number}]" for number in range(len(roles))]
    messages = [{"role": role, "content": content} for role, content in zip(roles, marks, strict=True)]
    shape = ", ".join(roles)
    try:
        text: str = tokenizer.apply_chat_template(
            messages,
            chat_template=_stop_clock(tokenizer.get_chat_template()),
            tokenize=False,
            add_generation_prompt=generation,
        )
    except Exception as error:
        raise ModelError(f"{_name(tokenizer)}: its chat template refuses the turns {shape}: {error}") from error
    pieces: list[str] = []
    for content in marks:
        if text.count(content) + sum(piece.count(content) for piece in pieces) != 1:
            raise ModelError(
                f"{_name(tokenizer)}: its chat template does not show each of the turns {shape} once and in order: "
                "choose the transcript layout for it"
            )
        piece, text = text.split(content)
        pieces.append(piece)
    return [*pieces, text]


def _stop_clock(template: str) -> str:
    """Give a template that asks for the date a `strftime_now` of its own, which knows one day only."""
    if "strftime_now" not in template:
        return template
    filters = "".join(f"|replace('%{directive}', '{_DAY:%{directive}}')" for directive in _DIRECTIVES)
    return f"{{% macro strftime_now(format) %}}{{{{ format{filters} }}}}{{% endmacro %}}\n{template}"


def _name(tokenizer: Tokenizer) -> str:
    return str(tokenizer.name_or_path or "this tokenizer")
