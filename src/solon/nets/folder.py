"""Checkpoint folders: what may be loaded, what their content is called, and how one is written whole.

A checkpoint is a plain Hugging Face folder: `config.json`, safetensors, tokenizer files. It is data. Weights are
read from safetensors only, code that a checkpoint brings along is never run, and nothing is fetched from a network.
Where its `auto_map` names code, but transformers has the architecture itself, the model is loaded as that; any weight
that would then be left over shows that it is another one, and is an error. Where transformers lacks it, it is refused.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from solon.errors import ModelError
from solon.messages import one_line, shorten

_UNREAD = ("manifest.json", "generation_config.json", "trainer_state.json", "LICENSE", "NOTICE")
"""Files of a checkpoint folder that decide nothing: notes, and defaults of generation that are put aside."""

_UNREAD_KINDS = (
    *(".md", ".rst", ".html", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".csv", ".jsonl", ".log", ".py", ".tmp"),
    *(".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".onnx", ".ot"),
)
"""Documents, code, and weights in forms that are never loaded."""

_INDEX = ".safetensors.index.json"

_digests: dict[tuple[tuple[str, str, int, int, int, int], ...], str] = {}


def read_checkpoint_config(path: Path) -> dict[str, Any]:
    """Return a checkpoint's `config.json` after checking that the folder is one this package loads.

    Raises:
        ModelError: there is no such folder, it has no readable config, no safetensors, or it is of an architecture that
            transformers does not have.
    """
    path = Path(path)
    if not path.is_dir():
        raise ModelError(f"{path}: no such checkpoint folder: give the path of a Hugging Face model folder")
    config = read_json_file(path / "config.json")
    _check_architecture(path, config)
    _find_weights(path, config)
    return config


def _check_architecture(path: Path, config: dict[str, Any]) -> None:
    from transformers import CONFIG_MAPPING, __version__

    kind = config.get("model_type")
    if kind in CONFIG_MAPPING:
        return
    asks = " and names code of the checkpoint to run (auto_map), which is never run" if names_code(path) else ""
    raise ModelError(
        f"{path / 'config.json'}: model_type {shorten(str(kind))} is no architecture of transformers {__version__}"
        f"{asks}: use a model of an architecture that transformers itself has"
    )


def names_code(path: Path) -> bool:
    """Say whether a checkpoint names code of its own to run: it is never run."""
    names = ("config.json", "tokenizer_config.json")
    return any(_has_map(read_json_file(path / name)) for name in names if (path / name).is_file())


def describe_code(path: Path) -> str | None:
    """Say for people what a checkpoint that names code of its own is loaded as; None where it names none."""
    if not names_code(path):
        return None
    kind = read_json_file(path / "config.json").get("model_type")
    return (
        f"{path}: names code of its own to run (auto_map), which is never run: it is loaded as transformers' own {kind}"
    )


def check_weights(path: Path) -> None:
    """Make sure, by their headers, that the files of a checkpoint's weights are whole.

    Raises:
        ModelError: one is not.
    """
    from safetensors import SafetensorError, safe_open

    for file in find_weights(path):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file}: damaged or cut short ({one_line(error)}): copy the checkpoint again") from error


def find_weights(path: Path) -> list[Path]:
    """Return the safetensors that a checkpoint's weights are read from.

    Raises:
        ModelError: there are none, one is missing or no safetensors, or the name of one leads out of the folder.
    """
    files = _find_weights(path, read_json_file(path / "config.json"))
    return [file for file in files if file.suffix == ".safetensors"]


def _find_weights(path: Path, config: dict[str, Any]) -> list[Path]:
    """Return the files that transformers reads a checkpoint's weights from, an index that names them among them.

    It reads the file that the configuration names, else `model.safetensors`, else whatever files the index names:
    they may lie in folders of the folder, and be hidden.

    Raises:
        ModelError: there are none, one is missing or no safetensors, or the name of one leads out of the folder.
    """
    given = config.get("transformers_weights")
    names = ("model.safetensors", f"model{_INDEX}") if given is None else (str(given),)
    first = next((name for name in names if (path / name).is_file()), None)
    if first is None:
        raise ModelError(
            f"{path}: holds no {' or '.join(names)}: "
            "convert the checkpoint with save_pretrained(..., safe_serialization=True)"
        )
    shards = _read_shards(path / first) if first.endswith(_INDEX) else []
    for name in (first, *shards):
        if Path(name).is_absolute() or os.pardir in Path(name).parts:
            raise ModelError(f"{path}: its weights are outside the folder ({name}): put them into it")
        if not name.endswith((".safetensors", _INDEX) if name == first else ".safetensors"):
            raise ModelError(f"{path}: {name} is to hold weights and is no *.safetensors: convert the checkpoint")
        if not (path / name).is_file():
            raise ModelError(f"{path / name}: no such file, and {first} names it: copy the checkpoint again")
    return [path / name for name in (first, *shards)]


def _read_shards(index: Path) -> list[str]:
    shards = read_json_file(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise ModelError(f"{index}: has no weight_map that names files: copy the checkpoint again")
    return sorted({*shards.values()})


def read_json_file(path: Path) -> dict[str, Any]:
    """Read one JSON object of a checkpoint.

    Raises:
        ModelError: the file is missing or is not a JSON object.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{path}: no such file: {path.parent} is not a whole Hugging Face model folder: give the path of one, or "
            "copy the checkpoint again"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}): copy the checkpoint again") from error
    if not isinstance(body, dict):
        raise ModelError(f"{path}: expected a JSON object, found {type(body).__name__}: copy the checkpoint again")
    return body


def _has_map(body: object) -> bool:
    if isinstance(body, dict):
        return bool(body.get("auto_map")) or any(_has_map(value) for value in body.values())
    return isinstance(body, list) and any(_has_map(value) for value in body)


def weights_digest(path: Path) -> str:
    """Return a hexadecimal digest of a checkpoint: weights, configuration, tokenizer and chat template.

    Which files a tokenizer is read from is a matter of its family (`vocab.json` and `merges.txt`, `spiece.model`,
    `added_tokens.json`, ...), so every file at the top counts but those known to decide nothing. So does every file of
    weights that loading reads, wherever it lies below.

    Two folders with equal content have equal digests wherever they lie. A digest is kept for as long as the
    process lives and read again when a file is another one, or its size or a time of change differs.

    Raises:
        ModelError: the folder is not a checkpoint.
    """
    path = Path(path)
    files = _find_read_files(path)
    state = tuple((name, str(file.resolve()), *_read_stamps(file)) for name, file in files.items())
    if state not in _digests:
        whole = hashlib.blake2b(digest_size=16)
        for name, file in files.items():
            with file.open("rb") as stream:
                inner = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=32))
            whole.update(name.encode() + b"\0" + inner.digest())
        _digests[state] = whole.hexdigest()
    return _digests[state]


def _find_read_files(path: Path) -> dict[str, Path]:
    """Return the files of a checkpoint that may decide what it is, by their names in the folder, in order."""
    weights = _find_weights(path, read_checkpoint_config(path))
    own = (
        file
        for file in path.iterdir()
        if not file.name.startswith(".") and file.name not in _UNREAD and file.suffix not in _UNREAD_KINDS
    )
    files = {*own, *weights, *path.glob("additional_chat_templates/*.jinja")}
    return {file.relative_to(path).as_posix(): file for file in sorted(files) if file.is_file()}


def _read_stamps(file: Path) -> tuple[int, int, int, int]:
    """Return what changes when a file is exchanged or written to, even where its time of writing is set back."""
    stat = file.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep progress bars and loading reports of transformers off the terminal while a checkpoint is read or saved."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
