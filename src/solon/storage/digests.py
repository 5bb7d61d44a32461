"""Names of content, and seeds of draws: both the same on every machine and in every order."""

import hashlib
import json
from pathlib import Path
from typing import Any


def content_digest(value: Any, *, size: int = 16) -> str:
    """Return a stable hexadecimal digest of any JSON-serialisable value.

    Args:
        value: strings, numbers, lists and dicts; keys are sorted, so their order does not matter.
        size: bytes of digest; the result has twice as many characters.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def derive_seed(*parts: str | int) -> int:
    """Derive a 63-bit seed from what a draw is for, so that it depends on nothing else (not on order or batch)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def file_digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(path: Path) -> list[Path]:
    """Return `path` if it is a file, else every file below it in order; hidden files and folders are left out."""
    if path.is_file():
        return [path]
    found = (p for p in path.rglob("*") if p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(path).parts))


def path_digest(path: Path) -> str:
    """Return the digest of a file, or of the names and contents of a folder; `absent` if there is nothing."""
    if path.is_file():
        return file_digest(path)
    if not path.is_dir():
        return "absent"
    lines = [f"{p.relative_to(path).as_posix()} {file_digest(p)}" for p in list_files(path)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
