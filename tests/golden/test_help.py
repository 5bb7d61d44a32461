"""Proves that every command and option is called, and described, as reviewed.

Regenerate after a change that is meant, and read the difference it prints:

    python tests/golden/test_help.py
"""

import contextlib
import difflib
import io
import os
import sys
from pathlib import Path

from solon.cli import main

FILE = Path(__file__).parent / "help.txt"
COMMANDS = (
    (),
    ("run",),
    ("chat",),
    ("show",),
    ("report",),
    ("export",),
    ("doctor",),
    ("constitution",),
    ("constitution", "check"),
    ("task",),
    ("task", "check"),
    ("world",),
    ("world", "build"),
    ("world", "check"),
    ("model",),
    ("model", "import"),
    ("model", "export"),
)


def render_help():
    """Return the help of every command, eighty columns wide."""
    parts = []
    before = sys.argv, os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        for command in COMMANDS:
            out = io.StringIO()
            sys.argv = ["solon", *command, "--help"]
            with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
                main()
            parts.append(f"$ {' '.join(sys.argv)}\n{out.getvalue()}")
    finally:
        sys.argv = before[0]
        if before[1] is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before[1]
    return "\n".join(parts)


def test_help_is_as_reviewed():
    assert render_help() == FILE.read_text(encoding="utf-8")


if __name__ == "__main__":
    old = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    new = render_help()
    sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "before", "after"))
    FILE.write_text(new, encoding="utf-8")
