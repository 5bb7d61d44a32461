"""Template files: how they are read, and how they are filled in one pass.

A template is a text file with fields in double braces. It is split at its fields once, when it is read; filling
puts spans side by side and never looks at a value again, so a value that holds `{{text}}` stays text.

- One line break at the end of a file belongs to the file, not to the template.
- What a field holds decides how it is rendered: see `FIELDS`. Data is stripped of outer white space and escaped,
  unless the field is all there is to the template: then nothing stands beside it that it could imitate, and
  it goes in as it is.
- White space of the template that touches a value is put in untrusted spans, so that who tokenises spans of
  different trust apart still tokenises the value together with it, as in running text. White space cannot be a
  control token.
- A template can be opened at a field: rendered up to there, for the model to go on. A space before the field is
  then left out, for the model writes it.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, Literal, get_args

from solon.errors import PromptingError
from solon.prompting.escaping import escape
from solon.records import Layout, Span
from solon.storage import content_digest

FieldKind = Literal["data", "line", "constitution", "option", "spans"]

FIELDS: Final[Mapping[str, FieldKind]] = {
    "text": "data",
    "response": "data",
    "response_a": "data",
    "response_b": "data",
    "reasoning": "data",
    "prompt": "line",
    "request": "constitution",
    "instruction": "constitution",
    "question": "constitution",
    "option": "option",
    "conversation": "spans",
    "prompts": "spans",
    "earlier": "spans",
    "line": "spans",
}
"""What each field may hold: data that people or models wrote; data brought onto one line; text of the
constitution, shown as written; an option's letter, from the templates; spans that are already filled."""

Value = str | Sequence[Span]

_FIELD: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_LAYOUTS: Final[tuple[Layout, ...]] = get_args(Layout)


class Template:
    """A template split at its fields.

    Args:
        source: text of the file.
        where: its name, for messages.
        marks: what is escaped in data beside the marks of the package's templates.

    Raises:
        PromptingError: a field is unknown, or braces are left over.
    """

    def __init__(self, source: str, *, where: str, marks: tuple[str, ...] = ()) -> None:
        pieces = _FIELD.split(source.removesuffix("\n"))
        self.where = where
        self._marks = marks
        self.fields: tuple[str, ...] = tuple(pieces[1::2])
        literals = pieces[0::2]
        for name in self.fields:
            if name not in FIELDS:
                raise PromptingError(f"{where}: unknown field {{{{{name}}}}}; there are {', '.join(FIELDS)}")
        for literal in literals:
            if "{{" in literal or "}}" in literal:
                raise PromptingError(f"{where}: braces that open or close no field, near {literal.strip()!r}")
        self.bare = len(self.fields) == 1 and not any(literals)
        self._texts = tuple(literals)
        self._literals = tuple(
            _literal_spans(text, after=number > 0, before=number < len(self.fields))
            for number, text in enumerate(literals)
        )
        self._openings = {
            name: _literal_spans(literals[number].rstrip(" "), after=number > 0, before=True)
            for number, name in enumerate(self.fields)
        }

    def fill(self, values: Mapping[str, Value]) -> tuple[Span, ...]:
        """Return the template with every field filled.

        Raises:
            PromptingError: a value is missing.
        """
        return (*self._fill(values, len(self.fields)), *self._literals[-1])

    def open(self, at: str, values: Mapping[str, Value]) -> tuple[Span, ...]:
        """Return the template up to the field `at`, which the model writes; empty where nothing comes before."""
        number = self.fields.index(at)
        return (*self._fill(values, number), *self._openings[at])

    @property
    def beginning(self) -> str:
        """What stands before the first field, without white space at its end."""
        return self._texts[0].rstrip()

    def after(self, name: str) -> str:
        """Return what stands between a field and the next, or the end."""
        return self._texts[self.fields.index(name) + 1]

    def lead(self, at: str) -> str:
        """Return the spaces before the field `at`, which an opened template leaves out for the model to write."""
        text = self._texts[self.fields.index(at)]
        return text[len(text.rstrip(" ")) :]

    def _fill(self, values: Mapping[str, Value], count: int) -> list[Span]:
        spans: list[Span] = []
        for number, name in enumerate(self.fields[:count]):
            spans.extend(self._literals[number])
            try:
                value = values[name]
            except KeyError:
                raise PromptingError(f"{self.where}: no value for {{{{{name}}}}}") from None
            if isinstance(value, str):
                spans.append(self._span(name, value))
            else:
                spans.extend(value)
        return spans

    def _span(self, name: str, value: str) -> Span:
        kind = FIELDS[name]
        if kind == "option":
            return Span(text=value, trusted=True)
        if kind == "line":
            value = escape(" ".join(value.split()), self._marks)
        elif kind == "data" and not self.bare:
            value = escape(value.strip(), self._marks)
        return Span(text=value, trusted=False)


def _literal_spans(text: str, *, after: bool, before: bool) -> tuple[Span, ...]:
    """Split a stretch of template into spans; its outer white space is untrusted where it touches a value."""
    core = text
    lead = tail = ""
    if after:
        core = text.lstrip()
        lead = text[: len(text) - len(core)]
    if before:
        stripped = core.rstrip()
        tail = core[len(stripped) :]
        core = stripped
    parts = ((lead, False), (core, True), (tail, False))
    return tuple(Span(text=part, trusted=trusted) for part, trusted in parts if part)


def _folder(layout: Layout) -> Traversable:
    return files("solon.prompting") / "templates" / layout


@cache
def shipped_templates() -> Mapping[str, str]:
    """Return every template of the package: file, such as `chat/user.txt`, to its text."""
    return {
        f"{layout}/{file.name}": file.read_text(encoding="utf-8")
        for layout in _LAYOUTS
        for file in _folder(layout).iterdir()
        if file.name.endswith(".txt")
    }


def templates_digest(own: Mapping[str, str] | None = None) -> str:
    """Return a digest of the templates that hold, of every layout; any change to one changes it.

    Args:
        own: file to the text that stands in the place of the package's.
    """
    return content_digest({**shipped_templates(), **(own or {})})


def read_template(layout: Layout, name: str) -> str:
    """Return the text of a template of the package.

    Raises:
        PromptingError: the layout has no such template.
    """
    if layout not in _LAYOUTS:
        raise PromptingError(f"unknown layout {layout!r}: there are {', '.join(_LAYOUTS)}")
    try:
        return shipped_templates()[f"{layout}/{name}.txt"]
    except KeyError:
        raise PromptingError(f"the {layout} layout has no template called {name!r}") from None
