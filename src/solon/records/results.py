"""What `results.json` holds, for everything that reads it: the report, the library, a user's own script."""

from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from solon.records.base import Config
from solon.records.evaluation import Rate
from solon.records.manifest import TokenCounts
from solon.records.measures import CUT, Measures

BASE: Final = "base"
"""What records and results call the model that all others are compared with."""


class Chart(Config):
    """How a training curve, or some of it, is drawn.

    Attributes:
        caption: what is drawn, and in what.
        keys: the metrics, a line each.
    """

    caption: str
    keys: tuple[str, ...]


class Figure(Config):
    """What a report says of a stage in numbers that stand in its account.

    Attributes:
        caption: what the numbers are.
        metrics: their names there; several are shown as a way from the first to the last.
        digits: how many stand after the point; 0 for counts.
        share: True for a share whose interval stands beside it, as `NAME_low` and `NAME_high`.
    """

    caption: str
    metrics: tuple[str, ...] = Field(min_length=1)
    digits: int = Field(2, ge=0)
    share: bool = False

    @model_validator(mode="after")
    def _one_share(self) -> Self:
        if self.share and len(self.metrics) > 1:
            raise ValueError("a share has an interval of its own: give each a figure")
        return self


def count_cut(group: Mapping[str, Any]) -> int | None:
    """Return how many answers to a group of prompts the token limit cut off; None where its results do not say."""
    rate = group.get(CUT)
    return None if rate is None else round(rate["value"] * group["n"])


class _Block(BaseModel):
    """A part of the results; keys that it does not name are passed over."""

    model_config = ConfigDict(frozen=True)


class GroupResults(_Block):
    """Answers to one group of prompts, or to those of one category.

    Its other keys are rates: `ungraded`, the share of which the grader could not tell, and `cut`, the share that the
    token limit cut off, each over all, and that of each measure over those of which the grader could tell; None where
    it could of none.

    Attributes:
        n: how many, those that were not graded included.
        goals: goals that their prompts ask for.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, Rate | None] = Field(init=False)

    n: int
    goals: int


class RoundResults(GroupResults):
    """Answers of stage 1 after so many revisions.

    Attributes:
        round: how many.
        ungraded: share of which the grader could not tell.
    """

    round: int
    ungraded: Rate | None


class EvaluationResults(_Block):
    """Answers of one model in one evaluation: each group by its name, and these.

    Attributes:
        by_category: to the prompts of one category, for the measure that is given by category.
        values: group to every value that a grade has, with its rate.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, GroupResults] = Field(init=False)

    by_category: dict[str, GroupResults] = {}
    values: dict[str, dict[str, Rate | None]] = {}


class ModelResults(EvaluationResults):
    """Answers of one model in the main evaluation, and in all.

    Attributes:
        evaluations: evaluation to what came out, the main one included.
    """

    evaluations: dict[str, EvaluationResults]


class TaskResults(_Block):
    """The task as its pages call it."""

    name: str
    identity: str
    title: str
    about: str


class AskedResults(_Block):
    """One evaluation, for tables and pages to be drawn from.

    Attributes:
        name: its name.
        caption: what is asked.
        grader: who graded.
        groups: group to how many prompts.
        measures: what is reported.
        paired: whether each answer was compared with the base's, so that the rates are relative to it.
        asks: the roles whose models the grader states that it asks; None where nothing is stated.
        limits: what the grader states that it cannot tell; empty where it states nothing, None in results of versions
            that did not ask.
    """

    name: str
    caption: str
    grader: str
    groups: dict[str, int]
    measures: Measures
    paired: bool = False
    asks: tuple[str, ...] | None = None
    limits: str | None = None


class StageResults(_Block):
    """What one stage used and lost.

    Attributes:
        seconds: wall time, summed over attempts.
        model_calls: calls used, replayed ones included.
        tokens: tokens of these calls.
        failures: items that came to nothing.
        charts: name of a curve to how it is drawn.
        figures: what is said of its account in numbers.
    """

    seconds: float
    model_calls: int
    tokens: TokenCounts
    failures: int
    charts: dict[str, list[Chart]]
    figures: list[Figure]


class UsageResults(_Block):
    """What one role was asked in one stage, over all starts, beside what was expected when the run began.

    Attributes:
        stage: the stage.
        role: the role, or the name of a model that the run made.
        calls: calls used, those that a journal had included.
        made: how often a call was made; what failed and was made again counts each time.
        tokens: of the calls used, as their answers say.
        planned_calls: calls that were expected to be made, at most; None, here and below, where that was not known.
        planned_tokens: the same of their tokens.
        tries: requests to servers; 0 for a model in the process of the run.
        failed_tries: of these, how many failed.
        maybe_paid: of the failed, how many the server may have charged.
        uncounted: of the others, how many tell no tokens.
        counted: tokens of the tries by the server's own count; None where it does not count.
        cached: of the prompts' tokens, those that the server had in a cache.
        cost: of what was counted; None where the model has no price.
        uncounted_cost: at most, of what was not counted or perhaps paid.
        planned_cost: as expected.
    """

    stage: str
    role: str
    calls: int
    made: int
    tokens: TokenCounts
    planned_calls: int | None = None
    planned_tokens: TokenCounts | None = None
    tries: int = 0
    failed_tries: int = 0
    maybe_paid: int = 0
    uncounted: int = 0
    counted: TokenCounts | None = None
    cached: int = 0
    cost: float | None = None
    uncounted_cost: float | None = None
    planned_cost: float | None = None


class HumanInputs(_Block):
    """How many of each people wrote."""

    principles: int
    exemplars: int
    prompts: int
    labels: int


class FeedbackResults(_Block):
    """The comparisons of stage 2.

    Attributes:
        pairs: pairs of responses, those that could not be labeled included.
        goals: goals that their prompts ask for.
        order_disagreement: of those labelled in both orders, the share whose verdict changes with the order; None, here
            and in the next two, where none was asked in both.
        sure_contradictions: of those of the same whose votes are no shares of drawn answers, the share in which each
            order is sure of another response; None, here and in the next, where there is none either.
        both_sure: of these, how many in which both orders are sure of a response.
        near_ties: of all labels, the share near even odds.
        unlabeled: pairs without a label.
        dialects: how servers were read for labels, to how many labels; None where no server was read.
    """

    pairs: int
    goals: int
    order_disagreement: Rate | None
    sure_contradictions: Rate | None
    both_sure: int | None
    near_ties: Rate | None
    unlabeled: int
    dialects: dict[str, int] | None = None


class PreferenceModelResults(_Block):
    """The preference model on pairs kept from its training.

    Attributes:
        accuracy: share of the pairs with a clear label on which it agrees.
        ece_10_mirrored: expected calibration error against the labels, all pairs, each both ways round, in 10 bins.
    """

    accuracy: Rate | None
    ece_10_mirrored: float | None


class PPOResults(_Block):
    """Reinforcement learning.

    Attributes:
        iterations: how many.
        kl: from SL-CAI, at the end, in nats per response.
        score_first: mean score of the preference model at the start.
        score_last: the same at the end.
    """

    iterations: int
    kl: float | None
    score_first: float | None
    score_last: float | None


class Results(_Block):
    """All of `results.json`, but for its schema.

    Attributes:
        seed: of the run.
        temperature: at which the evaluated answers were drawn.
        top_p: nucleus mass of these draws; None where nothing was cut.
        min_p: least probability of their tokens, as a share of the most likely one's; None where nothing was cut.
        task: what was asked and how it was judged.
        evaluations: what the models were asked, the main evaluation first.
        grader_source: how a grader was given in the place of the task's own, as `MODULE:CLASS`; or `GIVEN`; empty where
            none was.
        until: stage or artifact that the run was ended with; None for the whole method.
        method: None for the method of the paper; `LABELS_ONLY` for its data alone; `GIVEN` where a program gave the
            stages.
        model_names: what tables and pages call each model.
        models: the base, then the models that were made and can be asked, in order.
        stages: name to what it used, in order.
        usage: what each role was asked; None in results of versions that did not keep it.
        currency: of costs; None without a table of prices.
        human_inputs: what people put in.
        ai_labels: pairs that a model labeled.
        feedback: the comparisons; None, here and below, where the run ended before.
        preference_model: what was learned from them.
        ppo: reinforcement learning.
        notices: what a reader should know first, e.g. that the feedback model judges by position.
        revisions: the answers of stage 1 after 0, 1, 2, ... revisions, with what the main evaluation follows.
        total_seconds: wall time of the whole run, summed over attempts.
        cpu_seconds: processor time over the whole process tree.
        peak_rss_mb: largest resident set, of the process or of its largest child, in MiB.
    """

    seed: int
    temperature: float
    top_p: float | None = None
    min_p: float | None = None
    task: TaskResults
    evaluations: list[AskedResults] = Field(min_length=1)
    grader_source: str
    until: str | None
    method: str | None
    model_names: dict[str, str]
    models: dict[str, ModelResults] = Field(min_length=1)
    stages: dict[str, StageResults]
    usage: list[UsageResults] | None = None
    currency: str | None = None
    human_inputs: HumanInputs
    ai_labels: int
    feedback: FeedbackResults | None
    preference_model: PreferenceModelResults | None
    ppo: PPOResults | None
    notices: list[str]
    revisions: list[RoundResults]
    total_seconds: float
    cpu_seconds: float
    peak_rss_mb: float

    @model_validator(mode="after")
    def _follows_what_it_says(self) -> Self:
        main, *_ = self.evaluations
        for row in self.revisions:
            if lacking := [name for name in main.measures.revisions if name not in row.__pydantic_extra__]:
                raise ValueError(f"revisions: round {row.round} has no {lacking}, which the measures follow")
        return self
