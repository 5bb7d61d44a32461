"""Read YAML into nodes that know their line, so that every complaint can name it.

A file is composed, never constructed: no tag can make an object. Anchors and aliases may be used, but a file
that unfolds into more values than any constitution holds, or is nested too deeply, is refused before it is
unfolded. Every reading method either returns a plain value or raises one short message.

Escapes are read as JSON means them: a character that is written as a pair of surrogates is one character. What an
escape may not bring in is what the file itself may not hold: control characters, and halves of a pair.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

import yaml

from solon.errors import ConstitutionError
from solon.messages import nearest, one_line, shorten

MAX_VALUES: Final = 50_000
MAX_DEPTH: Final = 16

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
_STRING: Final = "tag:yaml.org,2002:str"
_NULL: Final = "tag:yaml.org,2002:null"
_TRUTH: Final = "tag:yaml.org,2002:bool"
_NUMBERS: Final = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_KINDS: Final = ("str", "null", "int", "float", "bool", "timestamp", "value", "merge", "seq", "map")
_TAGS: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in _KINDS)
"""What plain YAML, without a written tag, is made of."""

_ADVICE: Final = {
    "another document": "keep one document, without the line '---'",
    "undefined alias": "write the text out, or put it in quotes",
    "mapping values": "text with a colon in it needs quotes around it",
    "expected": "text with brackets, quotes or a colon in it needs quotes around it",
    "cannot start any token": "indent with spaces; text that begins with a special character needs quotes around it",
}


def find_control(text: str) -> str | None:
    """Return the first control character of `text` that is no white space, as `U+0007`; None where there is none."""
    found = _CONTROL.search(text)
    return f"U+{ord(found[0]):04X}" if found else None


@dataclass(frozen=True, slots=True)
class Item:
    """A node of the file, and what to call it in a message.

    Attributes:
        node: as composed by the parser.
        file: the file's name as the user gave it.
        label: what it is, e.g. `principle 'privacy', weight`; empty for the whole file.
    """

    node: yaml.Node
    file: str
    label: str = ""

    @property
    def line(self) -> int:
        """The line it begins on, from 1."""
        return int(self.node.start_mark.line) + 1

    def fail(self, message: str) -> NoReturn:
        """Raise a `ConstitutionError` that names file, line and label."""
        label = f"{self.label} " if self.label else ""
        raise ConstitutionError(f"{self.file}:{self.line}: {label}{message}")

    def named(self, label: str) -> Item:
        """Return the same node under another label."""
        return Item(self.node, self.file, label)

    def under(self, label: str) -> str:
        """Return the label of a part of this item."""
        return f"{self.label}, {label}" if self.label else label

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        """Whether it is keys with values."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_empty(self) -> bool:
        """Whether nothing, or only white space, was written."""
        return isinstance(self.node, yaml.ScalarNode) and (self.node.tag == _NULL or not self.node.value.strip())

    def mapping(self, known: Iterable[str], *, required: Iterable[str] = ()) -> Mapping[str, Item]:
        """Read keys with values; a key that is unknown, repeated or missing is an error."""
        if not isinstance(self.node, yaml.MappingNode):
            self.fail(f"should be keys with values ({', '.join(known)}), found {self._kind()}")
        known = list(known)
        found: dict[str, Item] = {}
        for key_node, value_node in self.node.value:
            key = Item(key_node, self.file, self.label)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value not in known:
                name = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
                key.fail(
                    f"{'has' if self.label else 'there is'} an unknown key {shorten(name)}: {nearest(name, known)}"
                )
            name = key_node.value
            if name in found:
                key.fail(f"{'has' if self.label else 'there are'} two keys called '{name}': keep one")
            found[name] = Item(value_node, self.file, self.under(name))
        for name in required:
            if name not in found:
                self.fail(f"{'has' if self.label else 'there is'} no key '{name}': add it")
        return found

    def mapping_value(self, name: str) -> Item | None:
        """Return the value of one key before anything is checked, None where there is none."""
        pairs = self.node.value if isinstance(self.node, yaml.MappingNode) else []
        return next((Item(value, self.file, self.under(name)) for key, value in pairs if key.value == name), None)

    def items(self, label: str) -> list[Item]:
        """Read a list; `label` is what to call an entry. An empty list or entry is an error."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fail(f"should be a list, each entry on a line that begins with '- ', found {self._kind()}")
        if not self.node.value:
            self.fail("is an empty list: add an entry, or leave the key out")
        entries = [
            Item(node, self.file, self.under(f"{label} {number}")) for number, node in enumerate(self.node.value, 1)
        ]
        for entry in entries:
            if entry.is_empty:
                entry.fail("is empty: write it, or remove the line")
        return entries

    def text(self, *, numbers: bool = False, truths: bool = False) -> str:
        """Read words, stripped of outer white space.

        `numbers` admits a number, and `truths` what YAML takes for a truth value (`yes`), as they are written.
        """
        if not isinstance(self.node, yaml.ScalarNode):
            self.fail(f"should be text, found {self._kind()}")
        if self.is_empty:
            self.fail("is empty: write it, or leave the key out")
        admitted = (_STRING, *(_NUMBERS if numbers else ()), *((_TRUTH,) if truths else ()))
        if self.node.tag not in admitted:
            self.fail(f"should be text, found {self._kind()} {shorten(self.node.value)}: put it in quotes")
        try:
            text = str(self.node.value).encode("utf-16-le", "surrogatepass").decode("utf-16-le")  # pairs are joined
        except UnicodeDecodeError as error:
            half = int.from_bytes(error.object[error.start : error.start + 2], "little")
            self.fail(f"holds half of a character (U+{half:04X}): write the whole character")
        if control := find_control(text):
            self.fail(f"holds a control character ({control}): remove it")
        return text.strip()

    def number(self) -> float:
        """Read a number."""
        if isinstance(self.node, yaml.ScalarNode) and self.node.tag in _NUMBERS:
            try:
                return float(self.node.value)
            except ValueError:
                pass
        found = shorten(self.node.value) if isinstance(self.node, yaml.ScalarNode) else self._kind()
        return self.fail(f"should be a number such as 1 or 0.5, found {found}")

    def one_of(self, known: Iterable[str]) -> str:
        """Read one of a few words."""
        known = list(known)
        text = self.text(truths=True)
        if text not in known:
            self.fail(f"is {shorten(text)}: {nearest(text, known)}")
        return text

    def _kind(self) -> str:
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        if isinstance(self.node, yaml.MappingNode):
            return "keys with values"
        kind = self.node.tag.rpartition(":")[2]
        return {"str": "text", "null": "nothing", "int": "a number", "float": "a number", "bool": "a truth value"}.get(
            kind, f"a {kind}"
        )


def compose(text: str, file: str) -> Item | None:
    """Compose the one document of a YAML file; None where it holds nothing but comments.

    Raises:
        ConstitutionError: it is not valid YAML, holds several documents, or unfolds into too much.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = error.problem or error.context or "unreadable"
        advice = next((then for word, then in _ADVICE.items() if word in problem), "mend it there")
        raise ConstitutionError(f"{file}{line}: not valid YAML: {problem}; {advice}") from None
    except yaml.YAMLError as error:
        raise ConstitutionError(f"{file}: not valid YAML: {one_line(error)}") from None
    except RecursionError:
        raise ConstitutionError(f"{file}: nested too deeply for a constitution") from None
    if node is None:
        return None
    _measure(node, file)
    return Item(node, file)


def _measure(root: yaml.Node, file: str) -> None:
    """Refuse a document that is too deep or, with its aliases unfolded, too large, or that asks for objects."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        line = node.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise ConstitutionError(
                f"{file}:{line}: nested too deeply for a constitution, or an alias that holds itself: write it out"
            )
        if node.tag not in _TAGS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise ConstitutionError(
                f"{file}:{line}: has the tag {shorten(tag)}: remove it, a constitution is plain text"
            )
        if id(node) not in sizes:
            total = 1
            if isinstance(node, yaml.SequenceNode):
                total += sum(size(child, depth + 1) for child in node.value)
            elif isinstance(node, yaml.MappingNode):
                total += sum(size(key, depth + 1) + size(value, depth + 1) for key, value in node.value)
            sizes[id(node)] = total
        if sizes[id(node)] > MAX_VALUES:
            raise ConstitutionError(
                f"{file}:{line}: aliases unfold into more than {MAX_VALUES} values: write the entries out"
            )
        return sizes[id(node)]

    size(root, 0)
