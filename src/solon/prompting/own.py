"""Templates of a user's own: a folder laid out as the package's, `LAYOUT/NAME.txt`, which stand in the place of those.

Everything is checked before anything is asked: what is called wrongly, cannot be read, has other fields than the
package's template, or could not end a text that it has to end, is one short message that says where, what was expected
and what to do. A file that says what the package's says changes nothing, and is left out.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

from solon.errors import ConfigError, PromptingError
from solon.messages import nearest, one_line
from solon.prompting.filling import Template, shipped_templates
from solon.prompting.layouts import Templates
from solon.records import Layout

MAX_BYTES: Final = 2**16
"""Of a file: far more than any prompt begins with."""


def load_templates(given: Path | str | Mapping[str, str]) -> dict[str, str]:
    """Return own templates, file such as `chat/user.txt` to its text: those that differ from the package's.

    Args:
        given: their folder; or file to text, as it is returned.

    Raises:
        ConfigError: there is no such folder, it holds no template or something else, or a template cannot be used.
    """
    where = "templates" if isinstance(given, Mapping) else f"templates {given}"
    texts = dict(given) if isinstance(given, Mapping) else _read_folder(Path(given), where)
    shipped = shipped_templates()
    for file, text in texts.items():
        if file not in shipped:
            raise ConfigError(f"{where}: {_describe_unknown(file)}")
        if not isinstance(text, str):
            raise ConfigError(f"{where}: {file}: expected text, found {type(text).__name__}")
        _check_fields(file, text, shipped[file], where)
    own = {file: text for file, text in sorted(texts.items()) if text != shipped[file]}
    _check_reasoning(own, where)
    return own


def _read_folder(folder: Path, where: str) -> dict[str, str]:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise ConfigError(f"{where}: {what}: give a folder that holds templates, such as chat/user.txt")
    try:
        files = {file.relative_to(folder).as_posix(): file for file in _list_files(folder)}
        texts = {name: _read_text(file, f"{where}: {name}") for name, file in files.items() if name.endswith(".txt")}
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror or error}: make it readable") from error
    for name in files:
        if name not in texts:
            raise ConfigError(f"{where}: {_describe_unknown(name)}")
    if not texts:
        raise ConfigError(f"{where}: holds no template: put files into it, such as chat/user.txt, or leave it out")
    return texts


def _list_files(folder: Path) -> Iterator[Path]:
    """Yield what a folder holds, of any depth, but for what is hidden, as an editor or a system may leave it."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _list_files(path)
        else:
            yield path


def _read_text(file: Path, where: str) -> str:
    if file.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{where}: is longer than {MAX_BYTES} bytes: a template is a few lines of text")
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: is not text in UTF-8 (byte {error.start}): save it as UTF-8") from error


def _describe_unknown(file: str) -> str:
    layout, slash, name = file.partition("/")
    layouts = get_args(Layout)
    if slash and layout in layouts:
        names = [known.removeprefix(f"{layout}/") for known in shipped_templates() if known.startswith(f"{layout}/")]
        return f"there is no template {one_line(file, 80)!r}; in {layout}, {nearest(name, sorted(names))}"
    return (
        f"{one_line(file, 80)!r} is in the folder of no layout: expected LAYOUT/NAME.txt, LAYOUT one of "
        f"{', '.join(layouts)}"
    )


def _check_fields(file: str, text: str, shipped: str, where: str) -> None:
    expected = Template(shipped, where=file).fields
    try:
        fields = Template(text, where=file).fields
    except PromptingError as error:
        raise ConfigError(f"{where}: {one_line(error, 200)}; this one has {_show(expected)}") from error
    for name in dict.fromkeys((*fields, *expected)):
        if name not in expected:
            raise ConfigError(f"{where}: {file}: has no field {_show([name])} to give: expected {_show(expected)}")
        if (count := Counter(fields)[name]) != 1:
            found = "is missing" if count == 0 else f"stands there {count} times"
            raise ConfigError(
                f"{where}: {file}: the field {_show([name])} {found}: give each of {_show(expected)} once"
            )


def _check_reasoning(own: Mapping[str, str], where: str) -> None:
    """Make sure that a chain of thought comes before its answer, and that words part them, at which it ends."""
    for layout in get_args(Layout):
        if (file := f"{layout}/reasoned_answer.txt") in own:
            template = Template(own[file], where=file)
            if template.fields != ("reasoning", "option") or not Templates(layout, own).reasoning_stops[0]:
                raise ConfigError(
                    f"{where}: {file}: expected {{{{reasoning}}}}, then words, then {{{{option}}}}: the words are "
                    "where the reasoning ends"
                )


def _show(fields: Sequence[str]) -> str:
    return ", ".join(f"{{{{{name}}}}}" for name in fields)
