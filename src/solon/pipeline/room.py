"""Whether what a run will ask fits the models that are asked: worked out before it begins, not found out after hours.

Stages say what they ask (`requests`), with whatever is not known yet as short as it can be. What does not fit even so
is certain to fail and is refused. What fits so, but not with responses as long as their limits allow, is said: it may
never come to that.

A model that training makes has the context of the one it starts from.

Little is tokenised, since no token is shorter than a byte: where even so many tokens would fit, nothing more is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from solon.errors import ConfigError, ModelError, PromptingError
from solon.lm.spec import LOCAL, ModelSpec
from solon.messages import shorten
from solon.pipeline.artifacts import ASSISTANT, Role
from solon.pipeline.config import RunConfig
from solon.pipeline.graph import Graph
from solon.pipeline.models import Tokenizers
from solon.pipeline.requests import Known, Pool, Request
from solon.prompting import Templates, add_system_prompt, render_response
from solon.records import Conversation, Rendered

if TYPE_CHECKING:
    from solon.nets import Tokenizer


def check_room(
    graph: Graph, known: Known, models: Mapping[str, ModelSpec], tokenizers: Tokenizers | None = None
) -> list[str]:
    """Refuse what cannot fit the context of the model that is asked; return what may not.

    Args:
        graph: the stages of the run.
        known: what they ask it about.
        models: role to its model, checkpoints found. What is behind another backend says nothing of its context.
        tokenizers: those that are loaded already.

    Raises:
        ConfigError: something is certain not to fit; says what, by how much, and what would.
        ModelError: a model does not say how many tokens it takes.
    """
    tokenizers = tokenizers or Tokenizers()
    readers: dict[str, Reader] = {}
    notes: dict[tuple[str, str], tuple[int, str]] = {}
    for stage in graph:
        for request in stage.asks(known) if stage.asks is not None else ():
            role = request.model.key if isinstance(request.model, Role) else ASSISTANT.key
            spec = models[role]
            if spec.backend != LOCAL or not request.pool.conversations:
                continue
            reader = readers.setdefault(spec.model_dump_json(), Reader(spec, known.templates, tokenizers))
            check = _Check(stage.name, role, request, known.config, reader)
            if not check.surely_fits():
                check.refuse()
                place = (role, request.what)
                notes[place] = max(notes.get(place, (0, "")), check.find_excess())  # the worst of all principles
    return [said for excess, said in notes.values() if excess > 0]


class Reader:
    """How many tokens prompts have for a model, and how many it takes."""

    def __init__(self, spec: ModelSpec, own: Mapping[str, str], tokenizers: Tokenizers) -> None:
        self.spec = spec
        self._tokenizers = tokenizers
        self.layout = Templates(spec.layout, own)
        self._longest: dict[Pool, Conversation] = {}

    @cached_property
    def context(self) -> int:
        """Tokens that prompt and continuation may have together."""
        from solon.inference import read_context
        from solon.nets import read_config

        return read_context(read_config(Path(self.spec.source)), self._tokenizer)

    @property
    def _tokenizer(self) -> "Tokenizer":
        return self._tokenizers.of(self.spec)

    @property
    def has_tokenizer(self) -> bool:
        """Whether prompts can be counted."""
        try:
            return self._tokenizer is not None
        except ModelError:
            return False

    def count(self, rendered: Rendered) -> int:
        """Return how many tokens a prompt has; none where it cannot be put to the model, which its item will say."""
        from solon.nets import encode_prompt

        try:
            return len(
                encode_prompt(self._tokenizer, add_system_prompt(rendered, self.spec.system_prompt, self.layout))
            )
        except (ModelError, PromptingError):
            return 0

    def find_longest(self, pool: Pool) -> Conversation:
        """Return the conversation of the most tokens."""
        if pool not in self._longest:
            self._longest[pool] = max(
                pool.conversations, key=lambda asked: self.count(render_response(asked, self.layout))
            )
        return self._longest[pool]


@dataclass(frozen=True)
class _Check:
    """One request, held to the context of the model that is asked."""

    stage: str
    role: str
    request: Request
    config: RunConfig
    reader: Reader

    def surely_fits(self) -> bool:
        """Say whether it fits whatever is not known yet, without reading more than one prompt."""
        least = self._count(self.request.pool.shortest)
        most = least + self.request.pool.most_bytes + self._filled + self._written
        return 0 < least <= self._skipped_from and most <= self.reader.context

    def refuse(self) -> None:
        """Refuse the request if it is certain not to fit.

        Raises:
            ConfigError: it is.
        """
        request, source, context = self.request, self.reader.spec.source, self.reader.context
        if not self._asked:
            if request.skips is not None:
                raise ConfigError(
                    f"{request.skips}: all {len(request.pool.conversations)} prompts are longer than "
                    f"{self._value(request.skips)} tokens: raise it"
                )
            return  # no prompt can be put to the model: every item will say why
        length, longest = max(self._asked, key=itemgetter(0))
        if length + self._written <= context:
            return
        helps = [request.remedy or f"shorten or leave out the longest prompts, as {shorten(longest)}"]
        said = f"{self.stage}: a prompt for {self._what} has {length} tokens"
        if request.limit is not None:
            said = f"{request.limit}: {self._value(request.limit)} tokens after a prompt for {self._what} of {length}"
            if (most := context - length - request.ends) > 0:
                helps.insert(0, f"set {request.limit} to at most {most}")
        raise ConfigError(f"{said}: models.{self.role} ({source}) takes {context} tokens in all: {', or '.join(helps)}")

    def find_excess(self) -> tuple[int, str]:
        """Return by how many tokens it does not fit where what is not known is as long as it may be, and that in words.

        Nothing, or less, where it fits.
        """
        total = max(self._asked, default=(0, ""))[0] + self._filled + self._written
        fields = " and ".join(dict.fromkeys(self.request.filled))
        return total - self.reader.context, (
            f"{self.stage}: {self._what} may take {total} tokens where texts are as long as {fields} lets them be, and "
            f"models.{self.role} takes {self.reader.context}: such items will fail: lower {fields}"
        )

    @cached_property
    def _asked(self) -> list[tuple[int, str]]:
        """Length in tokens and last message of what is asked; under a principle, of the longest conversation alone."""
        pool = self.request.pool
        asked = pool.conversations if self.request.principle is None else [self.reader.find_longest(pool)]
        counted = [(self._count(conversation), conversation.messages[-1].text) for conversation in asked]
        return [(length, text) for length, text in counted if 0 < length <= self._skipped_from]

    @property
    def _what(self) -> str:
        under = self.request.principle
        return self.request.what if under is None else f"{self.request.what} under principle {under!r}"

    @property
    def _written(self) -> int:
        return self.request.ends + (0 if self.request.limit is None else self._value(self.request.limit))

    @property
    def _filled(self) -> int:
        return sum(map(self._value, self.request.filled))

    @property
    def _skipped_from(self) -> float:
        return inf if self.request.skips is None else self._value(self.request.skips)

    def _count(self, asked: Conversation) -> int:
        return self.reader.count(self.request.render(asked, self.reader.layout))

    def _value(self, field: str) -> int:
        value: int = attrgetter(field)(self.config)
        return value
