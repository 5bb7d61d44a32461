"""Evaluation: what was asked, what was answered, how it was graded, and rates with their intervals."""

from typing import Self

from pydantic import model_validator

from solon.records.base import Record
from solon.records.calls import Sample
from solon.records.conversation import Prompt


class Grade(Record):
    """What a grader decided about one response, or why it could not.

    Attributes:
        attributes: name to truth, e.g. `complies`, `refused`, `helps_correctly`; empty where unparsed.
        category: the category of the request, where the grader knows it.
        unparsed: True where the response is outside what the grader can read; never counted as a zero.
        reason: why it is unparsed, empty otherwise.
    """

    attributes: dict[str, bool]
    category: str = ""
    unparsed: bool = False
    reason: str = ""

    def holds(self, attribute: str) -> bool | None:
        """Return whether the response has an attribute; None where that cannot be told.

        It cannot where the response is unparsed, nor where the grader does not give this attribute.
        """
        return None if self.unparsed else self.attributes.get(attribute)


class EvalRecord(Record):
    """One graded response.

    Attributes:
        id: content id of model name, prompt and draw.
        model_name: `base`, `sl-cai` or `rl-cai`.
        prompt: what was asked.
        group: `harmful`, `benign` or `twins`.
        response: what was answered.
        grade: how it was graded.
        grader: who graded it.
    """

    id: str
    model_name: str
    prompt: Prompt
    group: str
    response: Sample
    grade: Grade
    grader: str


class Rate(Record):
    """A share with its 95 % interval.

    Attributes:
        value: the share, in [0, 1].
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError("a rate needs low <= value <= high")
        return self
