"""Tokenising prompts so that text can never act as a control token, and is otherwise read as the tokenizer reads it.

The chat template of a checkpoint is rendered once for each shape of a conversation (its roles), over placeholders,
and split there; what stands between the placeholders is the only text in which control tokens are recognised. Prompts
are tokenised whole (`marking.MarkedEngine`), so that what lies between two control tokens has the tokens that it has in
the whole text: how a tokenizer normalises and splits text may depend on where it stands (SentencePiece puts a space
before the first word), and a token may reach from a template into what the template holds.

What may follow a prompt, a response or an option, is tokenised with the prompt before it, for the same reason.

A prompt depends on the checkpoint and on what was rendered, and on nothing else: a template that asks for the date
(those of Llama 3.1 and its kin put it into the system turn) is told one day, for ever, since a call of tomorrow must
find what a call of today left in the journal. The template that is saved with a checkpoint stays as it is.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from solon.errors import ModelError
from solon.nets.folder import quiet_transformers, read_checkpoint_config
from solon.nets.marking import MarkedEngine, is_blank
from solon.records import Rendered, Role, Span, Turn

Tokenizer = Any
"""A fast tokenizer of transformers."""

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


def encode_continuations(
    tokenizer: Tokenizer, rendered: Rendered, texts: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """Return the token ids of a prompt and of each text that may follow it, as they are in prompt and text together.

    White space that the chat template puts before an answer belongs to the answer, since the model writes it; a text
    that begins with white space brings its own. Where a token would reach from the prompt into one of the texts, the
    prompt ends before it, for all of them.

    Args:
        tokenizer: the model's.
        rendered: the prompt.
        texts: what may follow; an end token is the caller's to add.

    Returns:
        The prompt's ids, and those of each text after it.

    Raises:
        ModelError, PromptingError: as `encode_prompt`.
    """
    encoder = _encoder(tokenizer)
    lead = encoder.lead(tokenizer, rendered)
    prompt = encoder.prompt(tokenizer, rendered)
    wholes = [
        encoder.prompt(tokenizer, rendered, then=lead + text if text and not text[0].isspace() else text)
        for text in texts
    ]
    shared = min((_count_shared(prompt, whole) for whole in wholes), default=len(prompt))
    return prompt[:shared], [whole[shared:] for whole in wholes]


def encode_text(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the token ids of a text that stands alone.

    Raises:
        PromptingError: text that cannot be tokenised without a control token, or holds half of a character.
    """
    return _encoder(tokenizer).encode(text)


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
        bos = tokenizer.bos_token_id
        self._start: list[int] = [bos] if bos is not None and bos in tokenizer.backend_tokenizer.encode("").ids else []
        self._marked = MarkedEngine(tokenizer.backend_tokenizer, _find_control(tokenizer))
        self._shapes: dict[tuple[tuple[Role, ...], bool], list[str]] = {}
        self._end: int | None = None
        self.encode = self._marked.encode

    def prompt(self, tokenizer: Tokenizer, rendered: Rendered, *, then: str = "") -> list[int]:
        """Return the token ids of a prompt with a text after it; see `encode_prompt`."""
        turns = rendered.turns
        if rendered.layout == "transcript":
            return self._start + self.encode(turns[0].text + then)
        pieces = self._pieces(tokenizer, tuple(turn.role for turn in turns), turns[-1].role == "assistant")
        if len(pieces) <= len(turns):
            turns = _fold_system(turns)
        texts = (turn.text + piece for turn, piece in zip(turns, pieces[1:], strict=True))
        return self.encode("".join((pieces[0], *texts, then)))

    def lead(self, tokenizer: Tokenizer, rendered: Rendered) -> str:
        """Return the white space that the chat template puts between a prompt and its answer."""
        roles = tuple(turn.role for turn in rendered.turns)
        if rendered.layout == "transcript" or roles[-1] == "assistant":
            return ""
        asked = self._pieces(tokenizer, roles, False)[-1]
        answered = self._pieces(tokenizer, (*roles, "assistant"), True)[-2]
        lead = answered.removeprefix(asked)
        return lead if lead.isspace() else ""

    def end(self, tokenizer: Tokenizer) -> int:
        """See `end_token_id`."""
        if self._end is None:
            after = ""
            if tokenizer.chat_template:
                after = _split_template(tokenizer, ("user", "assistant"), generation=False)[-1]
            ends = self._marked.read(self._marked.mark(after))
            self._end = ends[0] if ends else tokenizer.eos_token_id
            if self._end is None:
                raise ModelError(f"{_name(tokenizer)}: no token ends a turn: set eos_token in tokenizer_config.json")
        return self._end

    def _pieces(self, tokenizer: Tokenizer, roles: tuple[Role, ...], is_open: bool) -> list[str]:
        """Return the marked text before, between and after the turns; a piece fewer where the system turn is folded."""
        if (roles, is_open) not in self._shapes:
            pieces = _lay_out(tokenizer, roles, is_open)
            self._shapes[roles, is_open] = [self._marked.mark(piece) for piece in pieces]
        return self._shapes[roles, is_open]


def _find_control(tokenizer: Tokenizer) -> dict[str, int]:
    """Return a tokenizer's control tokens: every added token but white space, and what it names as special."""
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    control = {token.content: index for index, token in added.items() if token.special or not is_blank(token.content)}
    control |= zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    if tokenizer.unk_token not in (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token):
        control.pop(tokenizer.unk_token, None)  # stands for letters that the vocabulary lacks
    return control


def _lay_out(tokenizer: Tokenizer, roles: tuple[Role, ...], is_open: bool) -> list[str]:
    """Return the text before, between and after the turns; a piece fewer where the system turn is folded in."""
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
    return [*pieces[:-1], ""] if is_open else pieces


def _count_shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two rows begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


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
