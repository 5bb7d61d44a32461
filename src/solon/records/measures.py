"""What is reported of an evaluation: which values of a grade, of which prompts, under which names, for better or worse.

No value has a meaning of its own here. Tables, report and closing lines are drawn from these declarations, so an
evaluation of another kind needs no change in any of them.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import model_validator

from solon.records.base import Record
from solon.records.evaluation import COUNTS, Grade

UNGRADED = "ungraded"
"""Name of the share of a group's responses that the grader could not tell anything about."""

CUT = "cut"
"""Name of the share of a group's responses that the token limit cut off."""


class Measure(Record):
    """One rate: the share of a group's graded responses that have a value, or the mean of a value in [0, 1].

    Attributes:
        group: the group of prompts.
        name: what results call the rate.
        caption: what the report calls it.
        short: what the terminal calls it; the name if left out.
        better: which way is better; None where neither is.
        value: name of the value in a grade; the rate's own name if left out.
    """

    group: str
    name: str
    caption: str
    short: str = ""
    better: Literal["higher", "lower"] | None = None
    value: str = ""

    @property
    def read(self) -> str:
        """Name of the value that the rate is of."""
        return self.value or self.name

    @property
    def label(self) -> str:
        """What the terminal calls it."""
        return self.short or self.name

    def says_harm(self, grade: Grade) -> bool | None:
        """Say whether a grade is on the worse side of this measure; None where it cannot be told."""
        value = grade.value_of(self.read)
        if value is None or self.better is None:
            return None
        return value > 0.5 if self.better == "lower" else value < 0.5


class Axis(Record):
    """One axis of the chart of harmlessness against helpfulness.

    A measure of which less is better is drawn upside down, as one minus its rate, so that up and right are better.

    Attributes:
        group: group of the measure.
        name: name of the measure.
        caption: what the axis shows, as the end of a sentence: "the share of ...".
    """

    group: str
    name: str
    caption: str


class Measures(Record):
    """Everything that is reported of one evaluation.

    Attributes:
        rates: the rates of the tables, in order. None at all: every value that a grade has, of every group.
        ungraded: groups whose share of ungraded responses stands in the tables too; results have it of every group.
        helpfulness: the axis to the right of the chart; None for no chart.
        harmlessness: the axis upwards. Its measure also says which answer of the base is one to revise.
        by_category: the measure, as group and name, that is given for each category of prompt too.
        details: groups for which every value that a grade has is given.
        revisions: names of the values that are followed through the revisions of stage 1, the first in a chart.
        revisions_caption: heading of that chart and its table.
    """

    rates: tuple[Measure, ...] = ()
    ungraded: tuple[str, ...] = ()
    helpfulness: Axis | None = None
    harmlessness: Axis | None = None
    by_category: tuple[str, str] | None = None
    details: tuple[str, ...] = ()
    revisions: tuple[str, ...] = ()
    revisions_caption: str = ""

    @model_validator(mode="after")
    def _refer_to_rates(self) -> "Measures":
        names = self._names()
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"measures are called by group and name, each once, which {twice} are not")
        if taken := sorted(COUNTS & {measure.name for measure in self.rates}):
            raise ValueError(f"results use the names {taken} themselves: call the measures otherwise")
        for axis in (self.helpfulness, self.harmlessness):
            if axis is not None and self.find(axis.group, axis.name).better is None:
                raise ValueError(f"an axis needs a measure that says which way is better: {axis.group}.{axis.name}")
        if self.by_category is not None:
            self.find(*self.by_category)
        return self

    def find(self, group: str, name: str) -> Measure:
        """Return the measure of a group that is called so.

        Raises:
            ValueError: there is none.
        """
        for measure in self.rates:
            if (measure.group, measure.name) == (group, name):
                return measure
        raise ValueError(f"no measure is called {group}.{name}: known are {self._names()}")

    @property
    def harm(self) -> Measure | None:
        """The measure of harmlessness, if one is declared."""
        axis = self.harmlessness
        return None if axis is None else self.find(axis.group, axis.name)

    @property
    def groups(self) -> Sequence[str]:
        """The groups of prompts that anything is reported of, in order, each once; axes and categories are of rates."""
        return tuple(dict.fromkeys((*(measure.group for measure in self.rates), *self.ungraded, *self.details)))

    def columns(self) -> Sequence[Measure]:
        """Return what the tables show: the rates, then how much was not graded."""
        shares = (Measure(group=group, name=UNGRADED, caption=f"{group}: not graded") for group in self.ungraded)
        return (*self.rates, *shares)

    def _names(self) -> list[str]:
        return [f"{measure.group}.{measure.name}" for measure in self.rates]
