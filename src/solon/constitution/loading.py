"""Load a constitution: the shipped one by name, a YAML file, or a plain list of sentences.

Four forms:

- YAML with keys: `name`, `version`, `principles`, and optionally `sample_prompts` and `exemplars`. An entry of
  `principles` is keys with values, or a plain sentence.
- a YAML list of sentences.
- a text file (any name that does not end in .yaml, .yml or .json), one sentence a line; lines that begin with `#`
  are comments.
- the `constitution.json` of a run: the constitution that the run was given, to the digest.

A sentence becomes a whole principle (`sentences`). Everything is checked before anything is returned; the first
fault is raised as one short message that names file, line and id and says what to do.
"""

import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from solon.constitution.nodes import Item, compose, find_control
from solon.constitution.principles import ComparisonExemplar, Constitution, Principle, RevisionExemplar
from solon.constitution.sentences import principle_from_sentence
from solon.errors import ConstitutionError, RecordError
from solon.messages import Misfit, nearest, shorten
from solon.records import MADE_AGAIN, Conversation, PromptKind, Record, RunHeader, RunPaths
from solon.storage import read_text

SHIPPED: Final = ("default", "small")
"""Names of the constitutions in the package."""

MAX_BYTES: Final = 2**19
MAX_RECORD_BYTES: Final = 2**24
"""Of what a run keeps: a sentence is there three times, with its quotation marks escaped."""
_YAML_SUFFIXES: Final = (".yaml", ".yml", ".json")
_KEYS: Final = ("name", "version", "principles", "sample_prompts", "exemplars")
_SAMPLE_KEYS: Final[tuple[PromptKind, ...]] = ("red_team", "helpful")
_PRINCIPLE_KEYS: Final = (
    "id",
    "critique_request",
    "revision_request",
    "comparison",
    "question",
    "better",
    "applies_to",
    "weight",
    "tags",
)
_REVISION_KEYS: Final = (
    "conversation",
    "response",
    "principle",
    "critique_request",
    "critique",
    "revision_request",
    "revision",
)
_COMPARISON_KEYS: Final = ("conversation", "principle", "comparison", "response_a", "response_b", "better", "reasoning")

RecordT = TypeVar("RecordT", bound=Record)


def load_constitution(path_or_name: str | Path) -> Constitution:
    """Load a constitution.

    Args:
        path_or_name: a file, or the name of a shipped constitution (for a file of that name, say `./default`).

    Raises:
        ConstitutionError: it is missing or wrong; names file, line and id, and says what to do.
    """
    if path_or_name in SHIPPED:
        shipped = files("solon.constitution") / "data" / f"{path_or_name}.yaml"
        return _parse_yaml(shipped.read_text(encoding="utf-8"), str(path_or_name), str(path_or_name))
    path = Path(path_or_name)
    text = _read_text(path)
    if _is_record(text):
        return _read_record(text, path)
    if path.suffix.lower() in _YAML_SUFFIXES:
        return _parse_yaml(text, str(path), path.stem)
    return _parse_lines(text, str(path), path.stem)


def load_run_constitution(paths: RunPaths, header: RunHeader) -> Constitution:
    """Read the constitution that a run was governed by, from its folder.

    Raises:
        RecordError: it cannot be read, or is another than the header names.
    """
    try:
        constitution = Constitution.from_json(read_text(paths.constitution), where=str(paths.constitution))
    except RecordError as error:
        raise RecordError(f"{error}: {MADE_AGAIN}") from error
    if constitution.digest != header.constitution.digest:
        raise RecordError(
            f"{paths.constitution}: is not the constitution of this run: its digest is {constitution.digest}, "
            f"{paths.header.name} says {header.constitution.digest}: {MADE_AGAIN}"
        )
    return constitution


def _is_record(text: str) -> bool:
    """Say whether a text is what a run keeps of its constitution, and not written by hand."""
    return re.match(r'\s*\{\s*"schema"\s*:', text) is not None


def _read_record(text: str, path: Path) -> Constitution:
    try:
        return Constitution.from_json(text, where=str(path))
    except RecordError as error:
        raise ConstitutionError(str(error)) from error


def _read_text(path: Path) -> str:
    if path.is_dir():
        raise ConstitutionError(f"{path}: this is a directory: name a constitution file inside it")
    if not path.exists():
        raise ConstitutionError(
            f"{path}: no such file: name a constitution file, or one of those shipped: {', '.join(SHIPPED)}"
        )
    if not path.is_file():
        raise ConstitutionError(f"{path}: this is not a regular file: name a constitution file")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
            most = MAX_RECORD_BYTES if _is_record(content.decode("utf-8-sig", "replace")) else MAX_BYTES
            content += file.read(max(0, most + 1 - len(content)))
    except OSError as error:
        raise ConstitutionError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise ConstitutionError(f"{path}: larger than {most // 2**10} KiB: name a constitution file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConstitutionError(f"{path}:{line}: not text in UTF-8: name a text file, or save it as UTF-8") from None
    for number, line_text in enumerate(text.split("\n"), 1):
        if control := find_control(line_text):
            raise ConstitutionError(
                f"{path}:{number}: a control character ({control}): name a text file, or remove the character"
            )
    if not text.strip():
        raise ConstitutionError(f"{path}: the file is empty: write at least one principle, or a list of sentences")
    return text


# ------------------------------------------------------------------------------------- three forms


def _parse_lines(text: str, file: str, name: str) -> Constitution:
    found = _Principles(file)
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        sentence = f"{line.strip()} ".removeprefix("- ").strip()  # of a dash alone, nothing is left
        if sentence.startswith("#"):
            continue
        if not sentence:
            raise ConstitutionError(f"{file}:{number}: the line is empty: write a sentence, or remove the line")
        if sentence == "principles:":
            raise ConstitutionError(
                f"{file}:{number}: this is YAML, and the file's name does not say so: let it end in .yaml"
            )
        found.add(principle_from_sentence(sentence), number)
    if not found.principles:
        raise ConstitutionError(f"{file}: nothing but comments: write at least one sentence, one on each line")
    return Constitution(name=name, principles=tuple(found.principles))


def _parse_yaml(text: str, file: str, name: str) -> Constitution:
    root = compose(text, file)
    if root is None or root.is_empty:
        raise ConstitutionError(f"{file}: the file is empty: write at least one principle, or a list of sentences")
    if root.is_list:
        return _build(Constitution, root, name=name, principles=_read_principles(root))
    if not root.is_mapping:
        root.fail(
            "should be keys with values, or a list of sentences, each on a line that begins with '- ' "
            "(in a file whose name ends in .txt, one sentence a line)"
        )
    keys = root.mapping(_KEYS, required=("name", "principles"))
    principles = _read_principles(keys["principles"])
    samples = keys["sample_prompts"].mapping(_SAMPLE_KEYS) if "sample_prompts" in keys else {}
    exemplars = keys["exemplars"].mapping(("revision", "comparison")) if "exemplars" in keys else {}
    by_id = {principle.id: principle for principle in principles}
    return _build(
        Constitution,
        root,
        name=keys["name"].text(),
        version=keys["version"].text(numbers=True) if "version" in keys else "1",
        principles=principles,
        red_team_prompts=_texts(samples.get("red_team"), "prompt"),
        helpful_prompts=_texts(samples.get("helpful"), "prompt"),
        revision_exemplars=_each(exemplars.get("revision"), lambda item: _read_revision_exemplar(item, by_id)),
        comparison_exemplars=_each(exemplars.get("comparison"), lambda item: _read_comparison_exemplar(item, by_id)),
    )


# --------------------------------------------------------------------------------------------- parts


class _Principles:
    """Principles in order, with the line each stands on, so that a repeated id can name both."""

    def __init__(self, file: str) -> None:
        self.principles: list[Principle] = []
        self._file = file
        self._lines: dict[str, int] = {}

    def add(self, principle: Principle, line: int) -> None:
        if principle.id in self._lines:
            raise ConstitutionError(
                f"{self._file}:{line}: principle '{principle.id}' is on line {self._lines[principle.id]} already: "
                "give one of them another id, or remove it"
            )
        self._lines[principle.id] = line
        self.principles.append(principle)


def _read_principles(entries: Item) -> tuple[Principle, ...]:
    found = _Principles(entries.file)
    for item in entries.items("principle"):
        principle = _read_principle(item) if item.is_mapping else principle_from_sentence(item.text())
        found.add(principle, item.line)
    return tuple(found.principles)


def _read_principle(item: Item) -> Principle:
    name = item.mapping_value("id")
    if name is not None and not name.is_empty:
        item = item.named(f"principle {shorten(name.text(numbers=True))}")
    keys = item.mapping(_PRINCIPLE_KEYS, required=("id",))
    applies_to = keys.get("applies_to")
    kinds = ("red_team", "helpful")
    return _build(
        Principle,
        item,
        keys,
        id=keys["id"].text(numbers=True),
        critique_request=_text(keys.get("critique_request")),
        revision_request=_text(keys.get("revision_request")),
        comparison=_text(keys.get("comparison")),
        question=_text(keys.get("question")),
        better=keys["better"].one_of(("yes", "no")) if "better" in keys else None,
        applies_to=tuple(kind.one_of(kinds) for kind in applies_to.items("entry")) if applies_to else kinds,
        weight=keys["weight"].number() if "weight" in keys else 1.0,
        tags=_texts(keys.get("tags"), "tag"),
    )


def _read_revision_exemplar(item: Item, principles: Mapping[str, Principle]) -> RevisionExemplar:
    keys = item.mapping(_REVISION_KEYS, required=("conversation", "response", "critique", "revision"))
    principle = _named_principle(keys.get("principle"), principles)
    if principle is not None and principle.critique_request is None:
        keys["principle"].fail(f"names '{principle.id}', which has no critique_request: name one that has")
    return _build(
        RevisionExemplar,
        item,
        keys,
        conversation=_read_conversation(keys["conversation"]),
        response=keys["response"].text(),
        critique=keys["critique"].text(),
        revision=keys["revision"].text(),
        principle_id=principle.id if principle else None,
        critique_request=_text(keys.get("critique_request")) or (principle.critique_request if principle else None),
        revision_request=_text(keys.get("revision_request")) or (principle.revision_request if principle else None),
    )


def _read_comparison_exemplar(item: Item, principles: Mapping[str, Principle]) -> ComparisonExemplar:
    keys = item.mapping(_COMPARISON_KEYS, required=("conversation", "response_a", "response_b", "better"))
    principle = _named_principle(keys.get("principle"), principles)
    if principle is not None and principle.comparison is None:
        keys["principle"].fail(f"names '{principle.id}', which has no comparison: name one that has")
    return _build(
        ComparisonExemplar,
        item,
        keys,
        conversation=_read_conversation(keys["conversation"]),
        response_a=keys["response_a"].text(),
        response_b=keys["response_b"].text(),
        better=keys["better"].one_of(("a", "b")),
        reasoning=_text(keys.get("reasoning")) or "",
        principle_id=principle.id if principle else None,
        comparison=_text(keys.get("comparison")) or (principle.comparison if principle else None),
    )


def _named_principle(item: Item | None, principles: Mapping[str, Principle]) -> Principle | None:
    if item is None:
        return None
    name = item.text(numbers=True)
    if name not in principles:
        item.fail(f"names {shorten(name)}, which is no principle of this file: {nearest(name, principles, most=6)}")
    return principles[name]


def _read_conversation(item: Item) -> Conversation:
    """Read one message of the user, or a list of messages, the user's first and last."""
    turns = _texts(item, "message") if item.is_list else (item.text(),)
    if len(turns) % 2 == 0:
        item.fail("should end with a message of the user: the user's and the assistant's take turns, the user's first")
    return Conversation.of(*turns)


def _text(item: Item | None) -> str | None:
    return None if item is None else item.text()


def _texts(item: Item | None, label: str) -> tuple[str, ...]:
    return () if item is None else tuple(entry.text() for entry in item.items(label))


def _each(item: Item | None, read: Callable[[Item], RecordT]) -> tuple[RecordT, ...]:
    return () if item is None else tuple(read(entry) for entry in item.items("exemplar"))


def _build(kind: type[RecordT], item: Item, keys: Mapping[str, Item] | None = None, /, **fields: object) -> RecordT:
    """Make a record; what its own rules say against it is said of the key, or else of the item."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = Misfit.of(error)
        field = str(first.path[0]) if first.path else ""
        (keys or {}).get(field, item).fail(first.said)
