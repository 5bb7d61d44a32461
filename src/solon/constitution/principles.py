"""What a constitution is: principles, and optionally sample prompts and few-shot exemplars.

A principle is used in one or more of three ways. Its critique request and revision request, always together,
drive a step of stage 1. In stage 2 its comparison instruction drives a comparison of two responses, and its
question is asked of each response alone. The text of a constitution is configuration: it is shown to a model as
it was written, and can still never become a control token.
"""

import math
import re
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from solon.constitution.nodes import find_control
from solon.errors import ConstitutionError
from solon.records import Conversation, PromptKind, Record
from solon.storage import content_digest

PrincipleUse = Literal["critique", "comparison", "question"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def _worded(text: str | None) -> str | None:
    if text is not None and not text.strip():
        raise ValueError("has no words in it: write it, or leave the key out")
    return text


def _strings(value: Any) -> Iterator[str]:
    """Yield every string of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


class Principle(Record):
    """One principle.

    Attributes:
        id: name within its constitution; draws depend on it, so a reworded principle keeps its id.
        critique_request: asks the model what is wrong with a response.
        revision_request: asks the model to mend it; present if and only if the critique request is.
        comparison: asks the model which of two responses is better.
        question: asks the model something about one response, to be answered by yes or no.
        better: which answer speaks for the response; present if and only if the question is.
        applies_to: kinds of prompt it may be drawn for.
        weight: how often it is drawn relative to the others, above 0.
        tags: for people and for reports.
    """

    id: str
    critique_request: str | None = None
    revision_request: str | None = None
    comparison: str | None = None
    question: str | None = None
    better: Literal["yes", "no"] | None = None
    applies_to: tuple[PromptKind, ...] = ("red_team", "helpful")
    weight: float = 1.0
    tags: tuple[str, ...] = ()

    _texts_are_worded = field_validator("critique_request", "revision_request", "comparison", "question")(_worded)

    @field_validator("id")
    @classmethod
    def _id_is_a_name(cls, value: str) -> str:
        if not _ID.fullmatch(value):
            raise ValueError(
                "must be 1 to 80 letters, digits, dots, dashes or underscores, and begin with a letter or digit"
            )
        return value

    @field_validator("weight")
    @classmethod
    def _weight_is_positive(cls, value: float) -> float:
        if not (math.isfinite(value) and value > 0.0):
            raise ValueError("must be a finite number above 0: to leave a principle out, remove it")
        return value

    @field_validator("applies_to")
    @classmethod
    def _applies_to_something_once(cls, value: tuple[PromptKind, ...]) -> tuple[PromptKind, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("must name red_team, helpful or both, each once")
        return value

    @model_validator(mode="after")
    def _is_of_use(self) -> Self:
        if self.critique_request is not None and self.revision_request is None:
            raise ValueError("has a critique_request but no revision_request: add one, or drop the critique")
        if self.revision_request is not None and self.critique_request is None:
            raise ValueError("has a revision_request but no critique_request: add one, or drop the revision")
        if self.question is not None and self.better is None:
            raise ValueError("has a question but not which answer is better: add  better: yes  or  better: no")
        if self.better is not None and self.question is None:
            raise ValueError("says which answer is better but has no question: add one, or drop better")
        if self.critique_request is None and self.comparison is None and self.question is None:
            raise ValueError(
                "asks for nothing: add a critique_request with its revision_request, or a comparison, or a question"
            )
        return self

    @model_serializer(mode="wrap")
    def _leave_out_what_is_not_asked(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write no question where there is none: constitutions from before there were any keep their digests."""
        body: dict[str, Any] = write(self)
        if self.question is None:
            body = {name: value for name, value in body.items() if name not in ("question", "better")}
        return body


class RevisionExemplar(Record):
    """One worked critique and revision, shown to the model before the item.

    Attributes:
        conversation: ends with a user message.
        response: the response to be criticised.
        critique: the critique to imitate.
        revision: the revision to imitate.
        principle_id: the principle it is worked under, None where the requests below say it.
        critique_request: the request it answers; None takes that of the item's principle.
        revision_request: likewise.
    """

    conversation: Conversation
    response: str
    critique: str
    revision: str
    principle_id: str | None = None
    critique_request: str | None = None
    revision_request: str | None = None


class ComparisonExemplar(Record):
    """One worked comparison, shown to the model before the item.

    Attributes:
        conversation: ends with a user message.
        response_a: the response shown as option (A).
        response_b: the response shown as option (B).
        better: which of them is better.
        reasoning: the chain of thought to imitate; empty without one.
        principle_id: the principle it is worked under, None where `comparison` says it.
        comparison: the instruction it answers; None takes that of the item's principle.
    """

    conversation: Conversation
    response_a: str
    response_b: str
    better: Literal["a", "b"]
    reasoning: str = ""
    principle_id: str | None = None
    comparison: str | None = None


class Constitution(Record):
    """Principles in the order they were written, and what comes with them.

    Attributes:
        name: what it is called.
        version: the author's own version.
        principles: at least one for critiques and one for comparisons or with a question, ids unique.
        red_team_prompts: sample prompts meant to elicit harm.
        helpful_prompts: sample prompts of ordinary requests.
        revision_exemplars: few-shot exemplars of stage 1.
        comparison_exemplars: few-shot exemplars of stage 2.
    """

    name: str
    version: str = "1"
    principles: tuple[Principle, ...] = Field(min_length=1)
    red_team_prompts: tuple[str, ...] = ()
    helpful_prompts: tuple[str, ...] = ()
    revision_exemplars: tuple[RevisionExemplar, ...] = ()
    comparison_exemplars: tuple[ComparisonExemplar, ...] = ()

    @model_validator(mode="after")
    def _serves_both_stages(self) -> Self:
        seen: set[str] = set()
        for principle in self.principles:
            if principle.id in seen:
                raise ValueError(f"two principles are called '{principle.id}': give one another id")
            seen.add(principle.id)
        if all(principle.critique_request is None for principle in self.principles):
            raise ValueError(
                "no principle has a critique_request: the revision stage (stage 1) would have nothing to ask; "
                "add one with its revision_request"
            )
        if all(principle.comparison is None and principle.question is None for principle in self.principles):
            raise ValueError(
                "no principle has a comparison or a question: the feedback stage (stage 2) would have nothing to ask; "
                "add one"
            )
        return self

    @model_validator(mode="after")
    def _holds_no_control_characters(self) -> Self:
        # As escapes in the text of JSON they would be seen by nobody, so the texts are searched and not the dump.
        for text in _strings(self.model_dump(mode="json")):
            if control := find_control(text):
                raise ValueError(f"holds a control character ({control}): remove it")
        return self

    @cached_property
    def digest(self) -> str:
        """Digest of all that can reach a draw or a model: not of formatting, comments, name or version."""
        return content_digest(self.model_dump(mode="json", exclude={"name", "version"}))

    @cached_property
    def _by_id(self) -> dict[str, Principle]:
        return {principle.id: principle for principle in self.principles}

    @cached_property
    def _by_use(self) -> dict[tuple[PrincipleUse, PromptKind], tuple[Principle, ...]]:
        kinds: tuple[PromptKind, ...] = ("red_team", "helpful")
        chosen: dict[tuple[PrincipleUse, PromptKind], tuple[Principle, ...]] = {}
        for kind in kinds:
            of_kind = tuple(p for p in self.principles if kind in p.applies_to)
            chosen["critique", kind] = tuple(p for p in of_kind if p.critique_request is not None)
            chosen["comparison", kind] = tuple(p for p in of_kind if p.comparison is not None)
            chosen["question", kind] = tuple(p for p in of_kind if p.question is not None)
        return chosen

    def critique_principles(self, kind: PromptKind) -> tuple[Principle, ...]:
        """Return the principles that may criticise a response to a prompt of this kind, in order; maybe none."""
        return self._by_use["critique", kind]

    def comparison_principles(self, kind: PromptKind) -> tuple[Principle, ...]:
        """Return the principles that may compare two responses to a prompt of this kind, in order; maybe none."""
        return self._by_use["comparison", kind]

    def question_principles(self, kind: PromptKind) -> tuple[Principle, ...]:
        """Return the principles with a question about a response to a prompt of this kind, in order; maybe none."""
        return self._by_use["question", kind]

    def principle(self, principle_id: str) -> Principle:
        """Return the principle of this id.

        Raises:
            ConstitutionError: there is none.
        """
        try:
            return self._by_id[principle_id]
        except KeyError:
            known = ", ".join(self._by_id)
            raise ConstitutionError(
                f"{self.name}: no principle is called '{principle_id}'; there are {known}"
            ) from None
