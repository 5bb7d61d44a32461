"""The command line: thin. It parses, calls one function of the package, and prints.

It is the only room that reads the environment. Nothing heavy is imported before a command needs it, so that
`solon --help` answers at once and works without torch.
"""

from solon.cli.app import main

__all__ = ["main"]
