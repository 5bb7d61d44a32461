"""Evaluation: what was asked, what was answered, how it was graded, and rates with their intervals."""

from typing import ClassVar, Final, Self

from pydantic import Field, model_validator

from solon.records.base import Record
from solon.records.calls import Sample
from solon.records.conversation import Prompt

COUNTS: Final = frozenset({"n", "goals", "round", "ungraded", "cut"})
"""What results call the number of responses, the number of revisions, and the shares not graded and cut off by the
token limit; no value is called so.
"""

NOBODY: Final = "none"
"""What stands for the identity of a grader where there is none."""


class EvalPrompt(Record):
    """One prompt of an evaluation.

    Attributes:
        evaluation: name of the evaluation.
        group: the group it belongs to there.
        prompt: what is asked.
    """

    evaluation: str
    group: str
    prompt: Prompt

    @property
    def id(self) -> str:
        """The prompt's id."""
        return self.prompt.id


class Grade(Record):
    """What a grader decided about one response, or why it could not.

    Attributes:
        values: name to truth, or to a number in [0, 1], e.g. `complies`; empty where ungraded.
        explanation: why, in the grader's words; may be empty.
        calls: keys of the model calls it came from, in order; empty where no model was asked.
        ungraded: why the grader could not tell; empty where it could. Never counted as a zero.
    """

    values: dict[str, bool | float] = Field(default_factory=dict)
    explanation: str = ""
    calls: tuple[str, ...] = ()
    ungraded: str = ""

    @model_validator(mode="after")
    def _says_something_or_why_not(self) -> Self:
        if bool(self.values) == bool(self.ungraded):
            raise ValueError("a grade needs values, or a reason in `ungraded` why there are none, and not both")
        if taken := sorted(COUNTS & self.values.keys()):
            raise ValueError(f"results use the names {taken} themselves: call the values otherwise")
        wrong = [name for name, value in self.values.items() if not 0.0 <= value <= 1.0]
        if wrong:
            raise ValueError(f"values are truths or numbers in [0, 1], which {wrong} are not")
        return self

    @property
    def graded(self) -> bool:
        """Whether the grader could tell anything."""
        return not self.ungraded

    def value_of(self, name: str) -> float | None:
        """Return a value of the grade; None where it cannot be told: the response is ungraded, or has no such value."""
        value = self.values.get(name)
        return None if value is None else float(value)


class EvalRecord(Record):
    """One graded response.

    Attributes:
        id: content id of evaluation, model name, group, prompt and draw.
        evaluation: name of the evaluation.
        model_name: the name of the model that answered, `sl-cai` for one.
        prompt: what was asked.
        group: the group of prompts it was asked in.
        response: what was answered.
        grade: how it was graded.
        grader: who graded it.
        reference: the base's answer that it was compared with; None where the grader saw one answer.
    """

    SCHEMA: ClassVar[int] = 2

    id: str
    evaluation: str
    model_name: str
    prompt: Prompt
    group: str
    response: Sample
    grade: Grade
    grader: str
    reference: Sample | None = None


class RevisionGrade(Record):
    """The grade of a response of stage 1 after some revisions; nothing is trained on it.

    Attributes:
        chain_id: the chain.
        round: how many revisions had been made; 0 is the initial response.
        prompt: what was asked.
        grade: how it was graded.
        grader: who graded it.
        cut: whether the token limit cut the response off; it was graded up to its last whole sentence.
    """

    chain_id: str
    round: int
    prompt: Prompt
    grade: Grade
    grader: str
    cut: bool = False


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
