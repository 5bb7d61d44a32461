"""What a dialect asks of the network: a body there, a JSON value back.

Everything about time, failures, keys and several servers is behind this; what an answer means is before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from solon.records import Config


class TransportSettings(Config):
    """How a model's servers are asked; none of it decides an answer.

    Attributes:
        key_env: name of the environment variable that holds the API key; null is OPENAI_API_KEY for api.openai.com, and
            no key for any other server.
        requests_per_minute: most requests sent; null for no limit.
        tokens_per_minute: most tokens, of prompts and answers together; null for no limit. Estimated from the size of
            a request, and put right by what the server counted.
        timeout_seconds: after which one request is given up.
        total_seconds: after which a call is, with all its tries and the waits between them.
        max_tries: requests made for one call, those that reached no server not counted.
        max_concurrency: most requests under way at once, at all the servers of the model; how many are, the answers
            decide.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # a key that was given in place of its variable's name

    key_env: str | None = None
    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)
    timeout_seconds: float = Field(600.0, gt=0)
    total_seconds: float = Field(3600.0, gt=0)
    max_tries: int = Field(8, ge=1)
    max_concurrency: int = Field(256, ge=1)

    @field_validator("key_env")
    @classmethod
    def _check_key_env(cls, given: str | None) -> str | None:
        if given is not None and not (given.isascii() and given.isidentifier()):
            raise ValueError("is no name of an environment variable: give the name, never the key itself")
        return given

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.total_seconds < self.timeout_seconds:
            raise ValueError(
                f"total_seconds ({self.total_seconds:g}) is less than timeout_seconds ({self.timeout_seconds:g}): a "
                "call takes at least one try"
            )
        return self


@dataclass(frozen=True)
class Reply:
    """What a server answered with a status of success.

    Attributes:
        body: the parsed JSON; anything that JSON can be.
        server: the base URL that answered, without anything secret.
    """

    body: object
    server: str


class Transport(Protocol):
    """Sends requests to one model, behind one or several base URLs."""

    async def post(self, path: str, body: Mapping[str, object]) -> Reply:
        """Send a body and return the answer.

        Args:
            path: relative to the base URL (`chat/completions`), or with a leading `/` to the server's root, which is
                the base URL without a last `/v1` (`/generate`).
            body: what is sent, as JSON.

        Raises:
            ServerRefusedError: a status that no other try would change (400, 401, 403, 404, 413, 415, 422, 501).
            CallFailedError: no answer came in all tries and the time allowed.
        """
        ...

    async def get(self, path: str) -> Reply:
        """Fetch a page; see `post`."""
        ...
