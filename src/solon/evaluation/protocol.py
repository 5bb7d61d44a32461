"""What an evaluation is, and who may grade in it.

Two kinds of grader, both asynchronous and both free to ask models: a `Grader` looks at one response, a `PairGrader` at
a response beside that of another model. Both give a `Grade`, so the same tables, intervals and pages serve both. A
model that a grader asks is opened by its role and wrapped by the run's journal, so a grader's calls are replayed,
counted and shown like any other.

A grader of either kind may state two things of itself, which reports print beside its rates: `asks`, the roles whose
models it asks, `()` for none, and `limits`, a text that says what it cannot tell. `asks_of` and `limits_of` read them.
It may also state as `weighs` by the models of which roles it has options weighed: a server that cannot do this is
refused before a run (`weighs_of`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from solon.errors import ConfigError
from solon.lm import LanguageModel
from solon.records import Grade, Measures, Prompt, Sample

OpenModel = Callable[[str], LanguageModel]
"""Opens the model of a role, e.g. `feedback`; its calls are journalled."""


BLOCKS: Final = frozenset({"by_category", "values", "evaluations"})
"""What results call the blocks that stand beside those of the groups; no group is called so."""


@runtime_checkable
class Grader(Protocol):
    """Decides what a response does. Any names of values will do; `Measures` says which of them are reported."""

    @property
    def identity(self) -> str:
        """Name and version of the grader, as records and results give it; another one grades again."""
        ...

    async def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Grade:
        """Grade a response to a prompt; where it cannot tell, the grade says why and has no values."""
        ...


@runtime_checkable
class PairGrader(Protocol):
    """Compares a response with another model's response to the same prompt."""

    @property
    def identity(self) -> str:
        """Name and version of the grader, as records and results give it; another one grades again."""
        ...

    async def compare(self, prompt: Prompt, response: Sample, reference: Sample, open_model: OpenModel) -> Grade:
        """Grade a response beside a reference; where it cannot tell, the grade says why and has no values."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """What models are asked, who grades their answers, and what is reported.

    Attributes:
        name: short name, e.g. `heldout`; records and results use it.
        caption: what is asked, for the heading of a table.
        prompts: group of prompts, e.g. `harmful`, to its prompts.
        grader: grades the answers. A `PairGrader` compares those of each model with the first model's.
        measures: what is reported.

    Raises:
        ConfigError: a group is called as a block of the results.
    """

    name: str
    caption: str
    prompts: Mapping[str, Sequence[Prompt]]
    grader: Grader | PairGrader
    measures: Measures

    def __post_init__(self) -> None:
        if taken := sorted(BLOCKS & self.prompts.keys()):
            raise ConfigError(f"evaluation {self.name}: results use the names {taken} themselves: rename the group")
