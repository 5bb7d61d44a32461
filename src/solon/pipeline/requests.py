"""What a stage will ask of models, as far as that is known before a run; its page says it (`Stage.asks`).

Prompts are known before a run, and so are principles, exemplars and limits. Responses are not: here each is as short as
one can be. Whether all that fits the models is worked out in `room`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from solon.constitution import Constitution
from solon.pipeline.artifacts import Checkpoint, Role
from solon.prompting import LayoutLike
from solon.records import Conversation, Prompt, PromptKind, Rendered

if TYPE_CHECKING:  # stages do not run on the configuration of others
    from solon.pipeline.config import RunConfig
    from solon.pipeline.prompt_pools import RunPrompts

LEAST = "."
"""A response, critique or reasoning that is not known yet, as short as one can be."""

_TURN_BYTES = 64
"""More than a template writes around a turn, in tokens."""


@dataclass(frozen=True)
class Known:
    """What is known of a run before it begins.

    Attributes:
        config: the whole configuration.
        constitution: what governs it.
        prompts: every prompt.
        example: the prompt that the report follows; None for none.
        templates: own templates in the place of the package's.
    """

    config: "RunConfig"
    constitution: Constitution
    prompts: "RunPrompts"
    example: Prompt | None
    templates: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Pool:
    """Conversations that are asked alike."""

    conversations: Sequence[Conversation]

    @classmethod
    def of(cls, prompts: Sequence[Prompt], kind: PromptKind | None = None) -> "Pool":
        """Return the conversations of prompts, or of those of one kind."""
        return cls([prompt.conversation for prompt in prompts if kind in (None, prompt.kind)])

    @cached_property
    def shortest(self) -> Conversation:
        """The conversation of the fewest bytes."""
        return min(self.conversations, key=_count_bytes)

    @cached_property
    def most_bytes(self) -> int:
        """At least as many as any conversation has tokens."""
        return max(map(_count_bytes, self.conversations))


def _count_bytes(conversation: Conversation) -> int:
    return sum(len(message.text.encode()) + _TURN_BYTES for message in conversation.messages)


@dataclass(frozen=True)
class Request:
    """Something that a stage asks of a model, of each conversation of a pool.

    Attributes:
        model: who is asked.
        what: what is asked for, e.g. `a critique`.
        pool: what it is asked about.
        render: returns the prompt for a conversation, whatever is not known yet as short as it can be.
        limit: the field of the configuration that says how many tokens may be written; None where options are weighed.
        filled: fields that say how long what is not known yet may be, each as often as it stands in the prompt.
        principle: the principle it is asked under; None for none.
        remedy: what helps where the prompt is too long, beside a lower limit; shorter prompts where it is empty.
        skips: the field that says from what length on conversations are left out; None where none are.
        ends: tokens read after what is written.
        calls: how many are made of each conversation, on average: of all principles together, what is drawn.
        fixed: whether they all are, but for failures; else they are the most, as of a chain that may break off.
    """

    model: Role | Checkpoint
    what: str
    pool: Pool
    render: Callable[[Conversation, LayoutLike], Rendered]
    limit: str | None = None
    filled: tuple[str, ...] = ()
    principle: str | None = None
    remedy: str = ""
    skips: str | None = None
    ends: int = 0
    calls: float = 1.0
    fixed: bool = False
