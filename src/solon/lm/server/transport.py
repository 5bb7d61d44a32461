"""What a dialect asks of the network: a body there, a JSON value back.

Everything about time, failures, keys and several servers is behind this; what an answer means is before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


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
