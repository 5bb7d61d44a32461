"""Conversations, prompts, and prompts as they are rendered for a model.

Text that people or models wrote is data. A `Rendered` prompt keeps it apart from what a template wrote, span by
span, so that a backend can tokenise it in a way in which it can never become a control token.
"""

from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from solon.records.base import Record
from solon.storage import content_digest

Role = Literal["system", "user", "assistant"]
PromptKind = Literal["red_team", "helpful"]
TRAIN: Final = "train"
"""The split that is trained on; a prompt of any other is measured on."""
Layout = Literal["chat", "transcript", "single"]
"""How what is asked of a model is laid out: in the dialogue's own turns, as one plain text, or in one user turn."""
Wrapping = Literal["chat", "transcript"]
"""What a backend lays around turns: the model's chat template, or nothing. `single` is laid out in turns of a chat."""
TemplateArgument = bool | int | str
"""What a chat template can be told beside the conversation, such as whether the model is to think aloud."""


class Message(Record):
    """One turn of a conversation, exactly as it was written."""

    role: Role
    text: str


class Conversation(Record):
    """Messages in order. A prompt's conversation ends with a user message."""

    messages: tuple[Message, ...] = Field(min_length=1)

    @classmethod
    def of(cls, *turns: str) -> Self:
        """Build a conversation from alternating user and assistant texts, the user first."""
        roles: tuple[Role, Role] = ("user", "assistant")
        return cls(messages=tuple(Message(role=roles[i % 2], text=text) for i, text in enumerate(turns)))

    @property
    def asked(self) -> str:
        """All that the user said, in every turn."""
        return " ".join(message.text for message in self.messages if message.role == "user")

    def then(self, role: Role, text: str) -> "Conversation":
        """Return this conversation with one more message."""
        return Conversation(messages=(*self.messages, Message(role=role, text=text)))


class Prompt(Record):
    """What is put to the assistant.

    Attributes:
        id: content hash of the conversation and kind; `Prompt.make` fills it in.
        conversation: ends with a user message.
        kind: `red_team` prompts are meant to elicit harm, `helpful` ones are ordinary requests.
        source: where it came from, e.g. a file name.
        split: which part of the data it belongs to: `train`, or any other word for a part that never enters training.
        goal: what it asks for, the same words in every prompt that asks for it; None where nobody said. White space at
            its ends and between its words makes no difference and is not kept. Intervals take the prompts for one goal
            as a cluster. No part of the id.
        category: what sort of harm or topic that is; None where nobody said.
    """

    id: str
    conversation: Conversation
    kind: PromptKind
    source: str
    split: str
    goal: str | None = None
    category: str | None = None

    @classmethod
    def make(
        cls,
        conversation: Conversation,
        *,
        kind: PromptKind,
        source: str,
        split: str,
        goal: str | None = None,
        category: str | None = None,
    ) -> Self:
        """Build a prompt with the id its content has."""
        turns = [[m.role, m.text] for m in conversation.messages]
        return cls(
            id=content_digest([kind, turns], size=8),
            conversation=conversation,
            kind=kind,
            source=source,
            split=split,
            goal=goal,
            category=category,
        )

    @property
    def cluster(self) -> str:
        """What it is counted with in an interval: the other prompts for its goal; itself alone without one."""
        return self.id if self.goal is None else self.goal

    @field_validator("goal")
    @classmethod
    def _goal_is_worded(cls, value: str | None) -> str | None:
        words = None if value is None else " ".join(value.split())
        if words == "":
            raise ValueError("a goal without words: write what the prompt asks for, or leave the goal out")
        return words

    @model_validator(mode="after")
    def _ends_with_the_user(self) -> Self:
        if self.conversation.messages[-1].role != "user":
            raise ValueError("a prompt's conversation must end with a user message")
        return self


class Span(Record):
    """A stretch of a rendered prompt.

    Attributes:
        text: what the model reads, delimiters in untrusted text already escaped.
        trusted: True where a template wrote it; False where a prompt, a response, a critique, the constitution or
            any other text from outside did, and for white space of a template that touches such text.
    """

    text: str
    trusted: bool


class Turn(Record):
    """One turn of a rendered prompt; in the transcript layout there is a single turn whose role is `user`."""

    role: Role
    spans: tuple[Span, ...]

    @property
    def text(self) -> str:
        """The turn as one string, for people to read."""
        return "".join(span.text for span in self.spans)


class Rendered(Record):
    """A prompt ready for a backend.

    In the `chat` layout each turn is passed through the model's own chat template and the model writes the next
    assistant turn; where the last turn is the assistant's, it is left open and the model continues it. In the
    `transcript` layout the single turn is plain text (role markers included) that the model continues. A prompt of the
    `single` layout is turns of a chat too.

    Attributes:
        layout: how the backend wraps turns.
        turns: in order, at least one.
        stop: strings at which generation stops; they are not part of the text.
    """

    layout: Wrapping
    turns: tuple[Turn, ...] = Field(min_length=1)
    stop: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The whole prompt for people to read; never what a backend tokenises."""
        if self.layout == "transcript":
            return self.turns[0].text
        return "\n\n".join(f"[{turn.role}] {turn.text}" for turn in self.turns)
