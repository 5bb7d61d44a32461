"""Where the nano model lies that comes with the package."""

from importlib.resources import files
from pathlib import Path

from solon.errors import ModelError

NANO = "nano"
"""What a base model is called in a configuration where it is the shipped nano model."""


def find_nano_model() -> Path:
    """Return the folder of the shipped nano model.

    Raises:
        ModelError: this installation has none, as a checkout in which it was never built.
    """
    path = Path(str(files("solon.world") / "data" / "nano"))
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path}: the nano model is not there: build one with  solon world build --out DIR  and give  --model DIR"
        )
    return path
