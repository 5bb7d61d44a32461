"""What a role that is answered by a server is given beside its source."""

from typing import Literal

from pydantic import Field

from solon.lm.server.transport import TransportSettings

Api = Literal["chat", "completions"]
"""The two routes by which text is asked for: turns of a conversation, or a text or token ids to go on from."""


class ServerSettings(TransportSettings):
    """How a server is asked, beside how it is reached.

    Attributes:
        tokenizer: the folder of the served model's tokenizer. With it prompts go as token ids where the server takes
            them, and options are weighed by their ids; null sends messages, or plain text.
        api: the route that text is asked by; `auto` is completions where the prompt can go so, else chat.
        votes: answers drawn for each label where a server gives no log-probabilities.
    """

    tokenizer: str | None = Field(None, min_length=1)
    api: Literal["auto", "chat", "completions"] = "auto"
    votes: int = Field(16, ge=1)
