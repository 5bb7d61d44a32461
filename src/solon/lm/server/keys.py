"""API keys: from environment variables only, and only for the hosts that they are meant for."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from solon.errors import ConfigError
from solon.lm.server.address import Address
from solon.redaction import hide

OPENAI = "https://api.openai.com"
OPENAI_KEY = "OPENAI_API_KEY"


@dataclass(frozen=True)
class Key:
    """A key, which never prints.

    Attributes:
        variable: the environment variable that it came from.
        value: the key; `value.get_secret_value()` is the only way to it.
    """

    variable: str
    value: SecretStr


def find_keys(address: Address, key_env: str | None, environ: Mapping[str, str] = os.environ) -> dict[str, Key]:
    """Return the key of each base URL that has one, and have them hidden from all output.

    Args:
        address: where the model is.
        key_env: name of the environment variable that holds the key of all its servers. None for the key of OpenAI in
            `OPENAI_API_KEY` at OpenAI's own address, and for no key anywhere else.
        environ: the environment.

    Raises:
        ConfigError: a variable is not set, or holds what can be no key. Asked before a run claims anything.
    """
    if key_env is not None:
        key = _read(key_env, environ, f"key_env: the environment variable {key_env}")
        return dict.fromkeys(address.bases, key)
    of_openai = [base for base in address.bases if base == OPENAI or base.startswith(f"{OPENAI}/")]
    if not of_openai:
        return {}
    key = _read(OPENAI_KEY, environ, f"{of_openai[0]}: the environment variable {OPENAI_KEY}")
    return dict.fromkeys(of_openai, key)


def _read(variable: str, environ: Mapping[str, str], what: str) -> Key:
    value = environ.get(variable, "").strip()
    if not value:
        raise ConfigError(f"{what} is not set: export {variable}=... with the key, or set key_env to the one that is")
    hide(value)
    if not value.isascii() or any(character <= " " or character == "\x7f" for character in value):
        raise ConfigError(f"{what} holds spaces, line breaks or characters outside ASCII: no key does, so set it anew")
    return Key(variable, SecretStr(value))
