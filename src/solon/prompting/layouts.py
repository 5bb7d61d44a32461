"""The templates of one layout: the package's, and a user's own in the place of some.

What follows from a template follows from the own one too: the strings that end a text in the `transcript` layout are
what the next turns begin with, a chain of thought ends where the answer's words begin, and what an own template writes
before a field is a mark that text of people and models is kept from imitating (`escaping`).
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Final

from solon.prompting.filling import Template, read_template
from solon.records import Layout

_SPEAKERS: Final = ("user", "assistant")
_REQUESTS: Final = ("critique_request", "revision_request")


@dataclass(frozen=True)
class Templates:
    """The templates of a layout.

    Attributes:
        layout: the layout.
        own: file, such as `chat/user.txt`, to the text that stands in the place of the package's; of any layout.
    """

    layout: Layout
    own: Mapping[str, str] = field(default_factory=dict, hash=False)
    _loaded: dict[str, Template] = field(default_factory=dict, init=False, repr=False, compare=False)

    def load(self, name: str) -> Template:
        """Return a template by its name.

        Raises:
            PromptingError: the layout has no such template, or the template is wrong.
        """
        if name not in self._loaded:
            file = f"{self.layout}/{name}.txt"
            source = self.own[file] if file in self.own else read_template(self.layout, name)
            self._loaded[name] = Template(source, where=file, marks=self.marks)
        return self._loaded[name]

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """What own templates write at the beginning of a line, before a field."""
        texts = [text for file, text in self.own.items() if file.startswith(f"{self.layout}/")]
        begun = (line.partition("{{") for text in texts for line in text.splitlines())
        return tuple(dict.fromkeys(before.strip() for before, brace, _ in begun if brace and before.strip()))

    @cached_property
    def turn_stops(self) -> tuple[str, ...]:
        """The strings that end a text: a model without turns goes on with the next. Four, the most servers take."""
        return self._beginnings(*_SPEAKERS, *_REQUESTS)

    @cached_property
    def reasoning_stops(self) -> tuple[str, ...]:
        """The strings that end a chain of thought: the words of the answer, and the speakers' names."""
        words = self.load("reasoned_answer").after("reasoning").strip()
        while words and unicodedata.category(words[-1]) in ("Ps", "Zs"):  # "The answer is: (", whose option comes next
            words = words[:-1]
        return (words, *self._beginnings(*_SPEAKERS))

    @cached_property
    def list_stops(self) -> tuple[str, ...]:
        """The strings that end a list of prompts."""
        return ("\n\n",) if self.layout == "transcript" else ()

    def _beginnings(self, *names: str) -> tuple[str, ...]:
        """Return what templates begin with, in the one layout whose turns are nothing but text."""
        if self.layout != "transcript":
            return ()
        begun = (self.load(name).beginning for name in names)
        return tuple(dict.fromkeys(text for text in begun if text.strip()))


LayoutLike = Layout | Templates
"""A layout by its name, with the package's templates; or with its templates."""


def as_templates(layout: LayoutLike) -> Templates:
    """Return the templates of a layout: the package's where only its name is given."""
    return layout if isinstance(layout, Templates) else _shipped(layout)


@cache
def _shipped(layout: Layout) -> Templates:
    return Templates(layout)
