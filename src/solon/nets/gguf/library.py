"""The library for GGUF files, which is an extra."""

from types import ModuleType

from solon.errors import MissingExtraError


def require_gguf() -> ModuleType:
    """Return the library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import gguf
    except ModuleNotFoundError as error:
        raise MissingExtraError("gguf", "gguf") from error
    return gguf
