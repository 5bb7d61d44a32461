"""The command line: thin. It parses, calls one function of the package, and prints.

It is the only room that reads the environment. Nothing heavy is imported before a command needs it, so that
`solon --help` answers at once and works without torch.
"""

import sys

from solon.cli.errors import INTERRUPTED


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        from solon.cli.app import app

        app(prog_name="solon")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(INTERRUPTED) from None
