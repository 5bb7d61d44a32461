"""The reference world as a task: prompts from its grammar, graded by its oracle, on the nano model by default.

Each split that is evaluated on is an evaluation of its own: `heldout` and `novel`, or `dev` while presets are tuned.
In each, prompts come in three groups: `harmful`, `benign` and `twins`, which are benign and share words with harmful
ones.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

import yaml
from pydantic import Field, field_validator

from solon.constitution import Constitution
from solon.errors import ConfigError
from solon.evaluation import Evaluation
from solon.pipeline.task import Pools, Task
from solon.records import Axis, Config, GoldComparison, Measure, Measures, Prompt, PromptKind
from solon.world.gold import compose_gold
from solon.world.grader import OracleGrader
from solon.world.nano.shipped import NANO, find_nano_model
from solon.world.prompts import draw_evaluation_prompts, draw_training_prompts, wifi_prompt
from solon.world.vocabulary import describe_unknown_words

ABOUT: Final = (
    "This is a model organism. The prompts come from a reference world: a small grammar of English in which every "
    "answer can be graded exactly by an oracle. Its “harmful” answers are harmless by construction: their steps are "
    "made-up props. The numbers below say that the method works as built; they say nothing about how harmless a large "
    "model is."
)

CAPTIONS: Final[Mapping[str, str]] = {
    "heldout": "Goals kept from Constitutional AI, known to the base",
    "novel": "Combinations that no document of the base ever contained",
    "dev": "Goals of the development split",
}
"""Split to what is asked there."""

MEASURES: Final = Measures(
    rates=(
        Measure(group="harmful", name="complies", caption="Harmful: complies", better="lower"),
        Measure(
            group="harmful",
            name="refuses_and_explains",
            caption="Harmful: refuses and explains",
            short="explains",
            better="higher",
        ),
        Measure(group="harmful", name="evades", caption="Harmful: evades", better="lower"),
        Measure(
            group="benign", name="helps_correctly", caption="Benign: helps correctly", short="helps", better="higher"
        ),
        Measure(group="twins", name="refused", caption="Benign twins: refused", better="lower"),
    ),
    ungraded=("harmful", "benign"),
    helpfulness=Axis(
        group="benign", name="helps_correctly", caption="the share of benign prompts that are answered correctly"
    ),
    harmlessness=Axis(
        group="harmful", name="complies", caption="the share of harmful prompts that are not complied with"
    ),
    by_category=("harmful", "complies"),
    details=("harmful", "benign"),
    revisions=("complies", "refuses_and_explains"),
    revisions_caption="Harmfulness by number of revisions",
)


MOST_PROMPTS: Final = 100_000
"""For so many training prompts of a kind, and a stage, the world has wordings."""


class EvaluationSizes(Config):
    """How many prompts of each group, from each split, the models are evaluated on.

    Attributes:
        harmful: prompts that ask for harm.
        benign: ordinary prompts that are no twins.
        twins: ordinary prompts that share words with harmful ones.
        splits: where their goals come from, each once: `heldout` and `novel`; `dev` while a preset is tuned; never
            `train`. The first is the one at the top of the results.
    """

    harmful: int = Field(ge=1, le=20_000)
    benign: int = Field(ge=1, le=20_000)
    twins: int = Field(ge=1, le=20_000)
    splits: tuple[Literal["heldout", "novel", "dev"], ...] = Field(("heldout", "novel"), min_length=1)

    @field_validator("splits")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("must name each split once")
        return value


class WorldTask(Task):
    """The reference world."""

    name = "world"
    identity = "world/1"
    title = "a run on the reference world"
    about = ABOUT
    models: Mapping[str, Any] = MappingProxyType({"assistant": {"source": NANO}})
    sizes = EvaluationSizes
    near_leaks = False  # requests of the grammar differ by a word and ask for different goals

    def __init__(self) -> None:
        folder = files("solon.world") / "presets"
        self.presets = {
            name: yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("nano", "smoke")
        }

    def training_prompts(self, wanted: Pools, *, seed: int) -> Mapping[str, Sequence[Prompt]]:
        """Draw prompts that ask for goals of the training split; each stage gets its own."""
        pools: dict[str, list[Prompt]] = {stage: [] for stage in wanted}
        kinds: tuple[PromptKind, ...] = ("red_team", "helpful")
        for kind in kinds:
            sizes = {stage: _number(sizes[kind], f"prompts.{stage}.{kind}") for stage, sizes in wanted.items()}
            for stage, drawn in draw_training_prompts(kind, sizes, seed=seed).items():
                pools[stage] += drawn
        return pools

    def evaluations(self, sizes: Any, *, seed: int) -> Sequence[Evaluation]:
        """Return one evaluation for each split."""
        groups = {"harmful": sizes.harmful, "benign": sizes.benign, "twins": sizes.twins}
        return [
            Evaluation(
                name=split,
                caption=CAPTIONS[split],
                prompts=draw_evaluation_prompts(groups, [split], seed=seed),
                grader=OracleGrader(),
                measures=MEASURES,
            )
            for split in sizes.splits
        ]

    def example(self) -> Prompt:
        """Return the prompt that the method is usually explained with: the neighbour's wifi."""
        return wifi_prompt()

    def gold(self) -> Sequence[GoldComparison]:
        """Return comparisons whose answers are known from the plans that their responses say."""
        return compose_gold()

    def notices(self, constitution: Constitution, models: Mapping[str, str]) -> Sequence[str]:
        """Name the principles whose words the nano model does not know, where it is shown any."""
        if NANO in (models["critic"], models["feedback"]):  # the base itself is never shown a principle
            return describe_unknown_words(constitution)
        return ()

    def find_model(self, name: str) -> Path | None:
        """Return the folder of the nano model for its name."""
        return find_nano_model() if name == NANO else None


def load(source: str) -> WorldTask:
    """Return the reference world; what `--task` finds by its name."""
    return WorldTask()


def _number(size: int | None, field: str) -> int:
    if size is None:
        raise ConfigError(f"{field}: expected a number: the world makes as many prompts as are asked for")
    if size > MOST_PROMPTS:
        raise ConfigError(
            f"{field}: must be less than or equal to {MOST_PROMPTS}, there are no more wordings (got {size})"
        )
    return size
