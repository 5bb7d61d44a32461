"""Tokenising prompts so that text can never act as a control token, and is otherwise read as the tokenizer reads it.

The chat template of a checkpoint is rendered once for each shape of a conversation (its roles), over placeholders,
and split there; what stands between the placeholders is the only text in which control tokens are recognised. Prompts
are tokenised whole (`marking.MarkedEngine`), so that what lies between two control tokens has the tokens that it has in
the whole text: how a tokenizer normalises and splits text may depend on where it stands (SentencePiece puts a space
before the first word), and a token may reach from a template into what the template holds.

Control tokens are the special tokens and the markers of the chat template: added tokens that it writes, or that it
names in a string, such as the `<think>` of some. An added token that is neither is a word like any other, and text that
holds it has the token, as in the tokenizer's own reading.

A template may change what it holds (`| trim`, or a cut after `</think>`). Where one does, which probing contents show,
each turn goes in as the template writes it, found by rendering it alone among placeholders. What it makes of a text is
text like any other. A turn that is left open goes in as it is: it is the beginning of what a model writes.

What may follow a prompt, a response or an option, is tokenised with the prompt before it, for the same reason.

A template may have its model think before it answers (`thoughts`). What follows a prompt then follows an empty thought,
written as the template writes one, and so does what is put into the model's mouth: neither stands where a thought would
begin, nor inside one. Only a model that is to answer by itself is asked with its thought left open.

A prompt depends on the checkpoint and on what was rendered, and on nothing else: a template that asks for the date
(those of Llama 3.1 and its kin put it into the system turn) is told one day, for ever, since a call of tomorrow must
find what a call of today left in the journal. The template that is saved with a checkpoint stays as it is.

What a role says that the template be told beside the conversation (`chat_template_kwargs`) belongs to the tokenizer
that was loaded with it, so that all that is laid out or looked for by that tokenizer agrees. It is not saved with it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from weakref import WeakKeyDictionary

from solon.errors import ModelError, PromptingError
from solon.messages import one_line
from solon.nets.folder import quiet_transformers, read_checkpoint_config, read_json_file
from solon.nets.marking import MarkedEngine
from solon.nets.protocols import Tokenizer
from solon.nets.thoughts import (
    SWITCHES,
    State,
    Thoughts,
    ends_after_thought,
    ends_in_thought,
    find_closing,
    find_marks,
)
from solon.records import Rendered, Role, Span, TemplateArgument, Turn

_NO_TOKENIZER = "has no tokenizer.json, nor all files of a vocabulary: put the tokenizer of its weights into the folder"

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""Files that say what a tokenizer is, each an object in JSON."""

_DAY = datetime(2024, 7, 26)
"""What a chat template takes for now: the day that Llama's templates name themselves where nobody tells them."""

_TEMPLATE_FILES = ("chat_template.jinja", "tokenizer_config.json")
"""Files that may hold a chat template, the first before the second."""

_DIRECTIVES = ("a", "A", "b", "B", "d", "-d", "m", "-m", "y", "Y", "j", "H", "I", "M", "S", "p")
"""What templates write dates with."""

_SHAPES: tuple[tuple[Role, ...], ...] = (
    ("user",),
    ("system", "user"),
    ("user", "assistant"),
    ("user", "assistant", "user"),
)
"""Conversations after which a chat template has been seen at work."""


def load_tokenizer(path: Path, chat_template_kwargs: Mapping[str, TemplateArgument] | None = None) -> Tokenizer:
    """Load a checkpoint's tokenizer.

    Args:
        path: the checkpoint folder.
        chat_template_kwargs: what its chat template is told beside the conversation; see `set_template_kwargs`.

    Raises:
        ModelError: the folder is no checkpoint, brings code along, or has no fast (Rust) tokenizer.
    """
    from transformers import AutoTokenizer

    path = Path(path)
    read_checkpoint_config(path)
    try:
        with quiet_transformers():
            tokenizer: Tokenizer = AutoTokenizer.from_pretrained(
                str(path), trust_remote_code=False, local_files_only=True
            )
    except Exception as error:
        if not (path / "tokenizer.json").is_file():
            raise ModelError(f"{path}: {_NO_TOKENIZER}") from error
        for name in _TOKENIZER_FILES:
            if (path / name).is_file():
                read_json_file(path / name)
        raise ModelError(
            f"{path / 'tokenizer.json'}: the tokenizer cannot be loaded ({one_line(error, 300)}): copy the checkpoint "
            "again"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{path}: has no tokenizer.json: convert its tokenizer to a fast one and save it again")
    _check_vocabulary_files(tokenizer, path)
    # How it was loaded would be saved with it, and change its digest; code that is never run has nothing to do there.
    for note in ("is_local", "local_files_only", "auto_map"):
        tokenizer.init_kwargs.pop(note, None)
    set_template_kwargs(tokenizer, chat_template_kwargs or {})
    return tokenizer


_template_kwargs: WeakKeyDictionary[Tokenizer, dict[str, TemplateArgument]] = WeakKeyDictionary()


def set_template_kwargs(tokenizer: Tokenizer, kwargs: Mapping[str, TemplateArgument]) -> None:
    """Say what a tokenizer's chat template is told beside the conversation, from now on and in this process only."""
    _template_kwargs[tokenizer] = dict(kwargs)


def describe_template_kwargs(tokenizer: Tokenizer) -> str:
    """Return what a tokenizer's chat template is told, in JSON: equal only where it is told the same."""
    return json.dumps(_template_kwargs.get(tokenizer, {}), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def find_unused_kwargs(tokenizer: Tokenizer) -> list[str]:
    """Return the names of what a tokenizer's chat template is told and does not look at: they change nothing."""
    told = _template_kwargs.get(tokenizer, {})
    looked_at = _find_template_words(tokenizer, "name") if told and tokenizer.chat_template else []
    return [name for name in told if name not in looked_at]


def _check_vocabulary_files(tokenizer: Tokenizer, path: Path) -> None:
    """Make sure that a tokenizer was read from files: of some families transformers makes an empty one without any."""
    files = dict(tokenizer.vocab_files_names)
    whole = files.pop("tokenizer_file", "tokenizer.json")
    parts = [path / name for name in files.values()]
    if not (path / whole).is_file() and not (parts and all(part.is_file() for part in parts)):
        raise ModelError(f"{path}: {_NO_TOKENIZER}")


def find_thoughts(tokenizer: Tokenizer) -> Thoughts | None:
    """Return what a tokenizer's chat template does about thoughts; None where it knows none."""
    return _encoder(tokenizer).thoughts(tokenizer)


def begins_thought(tokenizer: Tokenizer, rendered: Rendered) -> bool:
    """Say whether a prompt ends within a thought, which its chat template opened."""
    if rendered.layout == "transcript" or rendered.turns[-1].role == "assistant":
        return False
    thoughts = find_thoughts(tokenizer)
    return thoughts is not None and thoughts.state == "open"


def encode_prompt(tokenizer: Tokenizer, rendered: Rendered, *, after_thought: bool = False) -> list[int]:
    """Return the token ids of a rendered prompt.

    In the chat layout the tokenizer's chat template is laid around the turns, and changes what they hold where it does
    that; an assistant turn at the end is left open and as it is, otherwise the prompt for one is added. In the
    transcript layout the turn is tokenised as it is, after the tokenizer's begin-of-sequence token where it has one.

    Args:
        tokenizer: the model's.
        rendered: the prompt.
        after_thought: True ends the prompt for an answer with an empty thought, where the template knows thoughts and
            how to write one; a turn that is left open always stands after one.

    Raises:
        ModelError: there is no chat template, or it cannot hold this sequence of turns.
        PromptingError: text that cannot be tokenised without a control token, holds half of a character, or changes
            what the chat template writes around it.
    """
    return _encoder(tokenizer).prompt(tokenizer, rendered, after_thought=after_thought)


def encode_continuations(
    tokenizer: Tokenizer, rendered: Rendered, texts: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """Return the token ids of a prompt and of each text that may follow it, as they are in prompt and text together.

    The prompt ends with an empty thought where the chat template knows thoughts; see `encode_prompt`.
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
    prompt = encoder.prompt(tokenizer, rendered, after_thought=True)
    follow = [lead + text if text and not text[0].isspace() else text for text in texts]
    wholes = [encoder.prompt(tokenizer, rendered, then=text, after_thought=True) for text in follow]
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
    return tokenizer.backend_tokenizer.decode(ids, skip_special_tokens=False)


def end_token_id(tokenizer: Tokenizer) -> int:
    """Return the token that ends an assistant turn: the chat template's, else the tokenizer's end of sequence.

    Raises:
        ModelError: the tokenizer has neither.
    """
    return _encoder(tokenizer).end(tokenizer)


def has_system_turn(tokenizer: Tokenizer) -> bool:
    """Say whether the chat template has a place for a system turn; where it has none, one is put before the user's.

    Raises:
        ModelError: there is no chat template, or it refuses even a user's turn.
    """
    return "system" in _lay_out(tokenizer, ("system", "user"), is_open=False).roles


def find_unwritten_opening(tokenizer: Tokenizer) -> str:
    """Return what opens an assistant's turn, where the prompt for such a turn writes nothing of it; else nothing.

    A template that ignores `add_generation_prompt` has the model go on with the user's turn, although the turns of a
    whole conversation are opened. Nothing is missing where an answer follows the user's turn without an opening of its
    own (`[INST] x [/INST]`), where the template opens a turn unasked, or where the prompt goes on after the opening, as
    into a thought.

    Raises:
        ModelError: there is no chat template, or it refuses a user's turn with an answer.
    """
    unasked = _lay_out(tokenizer, ("user",), is_open=True).pieces[-1]
    asked = _lay_out(tokenizer, ("user",), is_open=False).pieces[-1]
    answered = _lay_out(tokenizer, ("user", "assistant"), is_open=True).pieces[-2]
    start, stop = (_count_shared(answered, written) for written in (unasked, asked))
    return "" if answered[start:stop].strip() else answered[start:].strip()


_encoders: WeakKeyDictionary[Tokenizer, "_Encoder"] = WeakKeyDictionary()


def _encoder(tokenizer: Tokenizer) -> "_Encoder":
    encoder = _encoders.get(tokenizer)
    if encoder is None or encoder.state != _state(tokenizer):
        encoder = _encoders[tokenizer] = _Encoder(tokenizer)
    return encoder


def _state(tokenizer: Tokenizer) -> tuple[object, ...]:
    """Return what the pieces of a chat template depend on and may be changed."""
    return tokenizer.chat_template, len(tokenizer), describe_template_kwargs(tokenizer)


class _Encoder:
    """Token ids of prompts for one tokenizer, with the pieces of its chat template kept by shape.

    It works on a copy of the tokenizer's engine, so that padding or truncation switched on elsewhere cannot
    change a prompt, and keeps no reference to the tokenizer itself.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.state = _state(tokenizer)
        bos = tokenizer.bos_token_id
        self._start: list[int] = [bos] if bos is not None and bos in tokenizer.backend_tokenizer.encode("").ids else []
        self._marked = MarkedEngine(tokenizer.backend_tokenizer, *split_added_tokens(tokenizer))
        self._shapes: dict[tuple[tuple[Role, ...], bool], _Shape] = {}
        self._end: int | None = None
        self._thoughts: tuple[Thoughts | None, ...] = ()
        self.encode = self._marked.encode

    def thoughts(self, tokenizer: Tokenizer) -> Thoughts | None:
        """See `find_thoughts`."""
        if not self._thoughts:
            self._thoughts = (_find_thoughts(tokenizer),)
        return self._thoughts[0]

    def prompt(
        self, tokenizer: Tokenizer, rendered: Rendered, *, then: str = "", after_thought: bool = False
    ) -> list[int]:
        """Return the token ids of a prompt with a text after it; see `encode_prompt`."""
        turns = rendered.turns
        if rendered.layout == "transcript":
            return self._start + self.encode(turns[0].text + then)
        shape = self._shape(tokenizer, tuple(turn.role for turn in turns), turns[-1].role == "assistant")
        if len(shape.layout.roles) < len(turns):
            turns = _fold_system(turns)
        contents = [turn.text for turn in turns]
        if shape.rewrites:
            contents = _rewrite(tokenizer, shape.layout, contents)
        around = (content + piece for content, piece in zip(contents, shape.pieces[1:], strict=True))
        return self.encode("".join((shape.pieces[0], *around, shape.closing if after_thought else "", then)))

    def lead(self, tokenizer: Tokenizer, rendered: Rendered) -> str:
        """Return the white space that the chat template puts between a prompt and its answer."""
        roles = tuple(turn.role for turn in rendered.turns)
        if rendered.layout == "transcript" or roles[-1] == "assistant":
            return ""
        asked = self._shape(tokenizer, roles, False)
        answered = self._shape(tokenizer, (*roles, "assistant"), True).pieces[-2]
        lead = answered.removeprefix(asked.pieces[-1] + asked.closing)
        return lead if lead.isspace() else ""

    def end(self, tokenizer: Tokenizer) -> int:
        """See `end_token_id`."""
        if self._end is None:
            after = ""
            if tokenizer.chat_template:
                after = _split_template(tokenizer, ("user", "assistant"), is_open=True).pieces[-1]
            ends = self._marked.read(self._marked.mark(after))
            self._end = ends[0] if ends else tokenizer.eos_token_id
            if self._end is None:
                raise ModelError(f"{_name(tokenizer)}: no token ends a turn: set eos_token in tokenizer_config.json")
        return self._end

    def _shape(self, tokenizer: Tokenizer, roles: tuple[Role, ...], is_open: bool) -> "_Shape":
        if (roles, is_open) not in self._shapes:
            layout = _lay_out(tokenizer, roles, is_open)
            around, closing = self._close_thought(tokenizer, layout)
            pieces = [self._marked.mark(piece) for piece in around]
            self._shapes[roles, is_open] = _Shape(
                layout, pieces, self._marked.mark(closing), _rewrites(tokenizer, layout)
            )
        return self._shapes[roles, is_open]

    def _close_thought(self, tokenizer: Tokenizer, layout: "_Layout") -> tuple[tuple[str, ...], str]:
        """Return the text around turns, an open one after an empty thought, and what closes one where none is open."""
        around, thoughts = layout.around, self.thoughts(tokenizer)
        if thoughts is None:
            return around, ""
        if not layout.is_open:
            return around, thoughts.closing
        *before, begun, nothing = around
        if before and not ends_after_thought(begun, thoughts.marks):
            asked = _lay_out(tokenizer, layout.roles[:-1], False).pieces[-1] + thoughts.closing
            begun = asked if ends_after_thought(asked, thoughts.marks) else begun
        return (*before, begun, nothing), ""


@dataclass(frozen=True)
class _Layout:
    """How a chat template lays out turns of some roles; `pieces` are the texts before, between and after them."""

    roles: tuple[Role, ...]
    is_open: bool
    pieces: tuple[str, ...]

    @property
    def around(self) -> tuple[str, ...]:
        """The text around the turns of a prompt: nothing comes after one that is left open."""
        return (*self.pieces[:-1], "") if self.is_open else self.pieces


@dataclass(frozen=True)
class _Shape:
    """A layout, the marked text around its turns, what closes a thought, and whether the template changes the turns."""

    layout: _Layout
    pieces: list[str]
    closing: str
    rewrites: bool


def split_added_tokens(tokenizer: Tokenizer) -> tuple[dict[str, int], dict[str, int]]:
    """Return which added tokens no text may hold, and which are words like any other, with their ids.

    No text becomes a special token or a marker of the chat template. A marker is an added token, other than white
    space, that stands in what the template writes around turns, in one of its strings or in a text that it is told; one
    that begins or ends with a letter or a digit has to stand there as a word of its own. The token for what the
    vocabulary lacks is neither.
    """
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    control = {token.content: index for index, token in added.items() if token.special}
    control |= zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True)
    words = {token.content: index for index, token in added.items() if token.content not in control}
    named = [word for word in words if not _is_blank(word)]
    written = "\0".join(_find_template_texts(tokenizer)) if named else ""
    for word in named:
        start, stop = (r"\b" if re.match(r"\w", letter) else "" for letter in (word[0], word[-1]))
        if re.search(f"{start}{re.escape(word)}{stop}", written):
            control[word] = words.pop(word)
    if tokenizer.unk_token not in (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token):
        control.pop(tokenizer.unk_token or "", None)  # stands for letters that the vocabulary lacks
    return control, words


def _find_template_texts(tokenizer: Tokenizer) -> list[str]:
    """Return the chat template's text and strings, and what it writes around conversations of a few shapes."""
    if not tokenizer.chat_template:
        return []
    texts = [*_find_template_words(tokenizer, "data"), *_find_template_strings(tokenizer)]
    for roles in _SHAPES:
        for is_open in (False, True):
            with suppress(ModelError):  # a shape that the template has no place for
                texts += _lay_out(tokenizer, roles, is_open).pieces
    return texts


def _find_template_strings(tokenizer: Tokenizer) -> list[str]:
    """Return what a chat template names in strings, and the texts that it is told."""
    told = _template_kwargs.get(tokenizer, {}).values()
    return [*_find_template_words(tokenizer, "string"), *(text for text in told if isinstance(text, str))]


def _find_template_words(tokenizer: Tokenizer, kind: str) -> list[str]:
    """Return what a chat template is written in, of one kind: `string`, `name`, or `data` outside its code."""
    from jinja2 import Environment, TemplateSyntaxError

    try:
        tokens = list(Environment().lexer.tokenize(tokenizer.get_chat_template()))
    except (TemplateSyntaxError, ValueError) as error:
        raise _broken(tokenizer, "cannot be read", error) from error
    return [token.value for token in tokens if token.type == kind]


def _find_thoughts(tokenizer: Tokenizer) -> Thoughts | None:
    """See `find_thoughts`. A template that cannot be read, or refuses a lone user's turn, is not looked into."""
    try:
        marks = find_marks(_find_template_texts(tokenizer))
        if marks is None:
            return None
        *_, asked = pieces = _split_template(tokenizer, ("user",), is_open=False).pieces
        answered = _split_template(tokenizer, ("user", "assistant"), is_open=True).pieces[-2]
    except ModelError:
        return None
    switch, off = _find_switch(tokenizer)
    state: State = "free"
    if ends_in_thought(asked, marks):
        state = "open"
    elif ends_after_thought(asked, marks) or off == pieces:
        state = "off"
    closing = "" if state == "off" else find_closing(asked, marks, [*off[-1:], answered])
    return Thoughts(marks, state, closing, switch)


def _find_switch(tokenizer: Tokenizer) -> tuple[str | None, tuple[str, ...]]:
    """Return the name that has a chat template turn thoughts off, and what it then writes around a user's turn."""
    names = _find_template_words(tokenizer, "name")
    for name in SWITCHES:
        if name in names:
            with suppress(ModelError):  # the name is of something else in this template
                on, off = (
                    _split_template(tokenizer, ("user",), is_open=False, told={name: told}).pieces
                    for told in (True, False)
                )
                if on != off:
                    return name, off
    return None, ()


def _is_blank(text: str) -> bool:
    """Say whether text is white space, in letters or in the sign that SentencePiece writes for a space."""
    return not text.replace("▁", " ").strip()


def _lay_out(tokenizer: Tokenizer, roles: tuple[Role, ...], is_open: bool) -> _Layout:
    """Return how the template lays out turns; where it has no place for a system turn, of those after it."""
    if not tokenizer.chat_template:
        raise ModelError(
            f"{_name(tokenizer)}: has no chat template: choose the transcript layout, "
            "or add the model's chat_template.jinja to its folder"
        )
    try:
        return _split_template(tokenizer, roles, is_open=is_open)
    except ModelError:
        if roles[0] != "system" or roles[1:2] != ("user",):
            raise
        return _split_template(tokenizer, roles[1:], is_open=is_open)


def _count_shared(one: Sequence[object], other: Sequence[object]) -> int:
    """Return how many tokens, or letters, two sequences begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _fold_system(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Put the system turn at the head of the first user turn, for templates that have no place for one."""
    system, user = turns[:2]
    spans = (*system.spans, Span(text="\n\n", trusted=True), *user.spans)
    return (Turn(role="user", spans=spans), *turns[2:])


def _split_template(
    tokenizer: Tokenizer, roles: tuple[Role, ...], *, is_open: bool, told: Mapping[str, TemplateArgument] | None = None
) -> _Layout:
    """Render the chat template over placeholders and split it there; `told` comes over what it is told anyway.

    Raises:
        ModelError: the template refuses the roles, or does not show every turn once and in order.
    """
    from jinja2 import TemplateError, TemplateSyntaxError

    shape = ", ".join(roles)
    marks = _placeholders(tokenizer, len(roles))
    try:
        text = _render(tokenizer, roles, marks, is_open=is_open, told=told)
    except Exception as error:
        if type(error) is not TemplateError:  # what a template raises by itself
            what = "cannot be read" if isinstance(error, TemplateSyntaxError) else f"fails on the turns {shape}"
            raise _broken(tokenizer, what, error) from error
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
    return _Layout(roles, is_open, (*pieces, text))


def _broken(tokenizer: Tokenizer, what: str, error: Exception) -> ModelError:
    """Say what is wrong with a chat template that is broken, where, and in which file it is mended."""
    number: int | None = getattr(error, "lineno", None)  # of an error of syntax
    line = "" if number is None else f"line {number}: "
    folder = Path(_name(tokenizer))
    file = next((name for name in _TEMPLATE_FILES if (folder / name).is_file()), _TEMPLATE_FILES[0])
    return ModelError(
        f"{folder}: its chat template {what} ({line}{one_line(error, 300)}): mend {file}, or copy the checkpoint again"
    )


def _rewrites(tokenizer: Tokenizer, layout: _Layout) -> bool:
    """Say whether the chat template changes what the turns hold, or what is around them with what they hold.

    Asked of contents with white space around them, tags and signs in them, all the template's own strings, or nothing.
    """
    strings = " x ".join(_find_template_strings(tokenizer))
    for content in (f" \n<think>A</think>\n\n&\"b'  **{'long ' * 2000}\n ", f"A {strings} b", ""):
        contents = [content] * len(layout.roles)
        if layout.is_open:
            contents[-1] = _placeholders(tokenizer, len(contents))[-1]
        try:
            text = _render(tokenizer, layout.roles, contents, is_open=layout.is_open)
        except Exception:  # it refuses some contents: whether a prompt's, is seen when there is one
            return True
        if text != _fill(layout, contents):
            return True
    return False


def _rewrite(tokenizer: Tokenizer, layout: _Layout, contents: list[str]) -> list[str]:
    """Return what the chat template writes for each content; a turn at the end that is left open stays as it is.

    Raises:
        PromptingError: what the template writes around the turns depends on what one of them holds.
    """
    marks = _placeholders(tokenizer, len(contents))
    written = list(contents)
    for place, content in enumerate(contents[:-1] if layout.is_open else contents):
        alone = [*marks[:place], content, *marks[place + 1 :]]
        before, after = _fill(layout, marks).split(marks[place])
        what = f"{_name(tokenizer)}: its chat template"
        try:
            text = _render(tokenizer, layout.roles, alone, is_open=layout.is_open)
        except Exception as error:
            raise PromptingError(f"{what} refuses the text {content[:60]!r}: {error}") from error
        if not text.startswith(before) or not text.removeprefix(before).endswith(after):
            raise PromptingError(
                f"{what} writes something else around the text {content[:60]!r} than around others: leave out of the "
                "text what the template looks for, or choose the transcript layout"
            )
        written[place] = text.removeprefix(before).removesuffix(after)
    return written


def _fill(layout: _Layout, contents: Sequence[str]) -> str:
    return layout.pieces[0] + "".join(map("".join, zip(contents, layout.pieces[1:], strict=True)))


def _render(
    tokenizer: Tokenizer,
    roles: tuple[Role, ...],
    contents: Sequence[str],
    *,
    is_open: bool,
    told: Mapping[str, TemplateArgument] | None = None,
) -> str:
    """Return what the chat template writes; a turn at the end that is left open is closed here."""
    return tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)],
        chat_template=_stop_clock(tokenizer.get_chat_template()),
        tokenize=False,
        add_generation_prompt=not is_open,
        **{**_template_kwargs.get(tokenizer, {}), **(told or {})},
    )


def _placeholders(tokenizer: Tokenizer, count: int) -> list[str]:
    mark = "1618033988"  # digits, which a filter that changes letters leaves alone
    while mark in f"{tokenizer.chat_template}{describe_template_kwargs(tokenizer)}":
        mark += "7"
    return [f"[{mark}{number}]" for number in range(count)]


def _stop_clock(template: str) -> str:
    """Give a template that asks for the date a `strftime_now` of its own, which knows one day only."""
    if "strftime_now" not in template:
        return template
    filters = "".join(f"|replace('%{directive}', '{_DAY:%{directive}}')" for directive in _DIRECTIVES)
    return f"{{% macro strftime_now(format) %}}{{{{ format{filters} }}}}{{% endmacro %}}\n{template}"


def _name(tokenizer: Tokenizer) -> str:
    return str(tokenizer.name_or_path or "this tokenizer")
