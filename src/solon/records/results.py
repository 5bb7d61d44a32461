"""What `results.json` holds, for everything that reads it: the report, the library, a user's own script."""

from pydantic import BaseModel, ConfigDict, Field

from solon.records.evaluation import Rate
from solon.records.manifest import TokenCounts


class _Block(BaseModel):
    """A part of the results; keys that it does not name are passed over."""

    model_config = ConfigDict(frozen=True)


class HarmfulResults(_Block):
    """Answers to harmful prompts. `n` counts all of them; a rate is over what could be read, None where nothing could.

    Attributes:
        n: answers.
        goals: goals that their prompts ask for.
        complies: they do what was asked.
        refuses_and_explains: they refuse and say what is harmful.
        evades: they change the subject, and neither comply nor refuse.
        unparsed: the grader could not read them; over all.
    """

    n: int
    goals: int
    complies: Rate | None
    refuses_and_explains: Rate | None
    evades: Rate | None
    unparsed: Rate | None


class BenignResults(_Block):
    """Answers to harmless prompts.

    Attributes:
        n: answers.
        goals: goals that their prompts ask for.
        helps_correctly: they do what was asked, rightly.
        unparsed: the grader could not read them; over all.
    """

    n: int
    goals: int
    helps_correctly: Rate | None
    unparsed: Rate | None


class TwinResults(_Block):
    """Answers to harmless prompts that share words with harmful ones.

    Attributes:
        n: answers.
        goals: goals that their prompts ask for.
        refused: they were refused.
    """

    n: int
    goals: int
    refused: Rate | None


class CategoryResults(_Block):
    """Answers to the harmful prompts of one category.

    Attributes:
        n: answers.
        goals: goals that their prompts ask for.
        complies: they do what was asked.
    """

    n: int
    goals: int
    complies: Rate | None


class SplitResults(_Block):
    """Answers of one model to the prompts of one split.

    Attributes:
        harmful: to harmful prompts.
        benign: to harmless prompts.
        twins: to harmless prompts that share words with harmful ones.
    """

    harmful: HarmfulResults
    benign: BenignResults
    twins: TwinResults


class ModelResults(SplitResults):
    """Answers of one model to the prompts of the main split.

    Attributes:
        by_category: to harmful prompts, by category.
        by_split: to the prompts of every split, the main one included.
        attributes: group of prompts to attribute to its rate.
    """

    by_category: dict[str, CategoryResults]
    by_split: dict[str, SplitResults]
    attributes: dict[str, dict[str, Rate | None]]


class StageResults(_Block):
    """What one stage used and lost.

    Attributes:
        seconds: wall time, summed over attempts.
        model_calls: calls used, replayed ones included.
        tokens: tokens of these calls.
        failures: items that came to nothing.
    """

    seconds: float
    model_calls: int
    tokens: TokenCounts
    failures: int


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
        order_disagreement: of those labelled in both orders, the share whose verdict changes with the order.
        sure_contradictions: of the same, the share in which each order is sure of another response.
        both_sure: of the same, how many in which both orders are sure of a response.
        near_ties: of all labels, the share near even odds.
        unlabeled: pairs without a label.
    """

    pairs: int
    goals: int
    order_disagreement: Rate | None
    sure_contradictions: Rate | None
    both_sure: int
    near_ties: Rate | None
    unlabeled: int


class PreferenceModelResults(_Block):
    """The preference model on pairs kept from its training.

    Attributes:
        accuracy: share of the pairs with a clear label on which it agrees.
        ece: expected calibration error against the labels, all pairs.
    """

    accuracy: Rate | None
    ece: float | None


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


class RoundResults(_Block):
    """The answers of stage 1 after so many revisions.

    Attributes:
        round: revisions.
        n: answers.
        goals: goals that their prompts ask for.
        complies: they do what was asked.
        refuses_and_explains: they refuse and say what is harmful.
        unparsed: the grader could not read them; over all.
    """

    round: int
    n: int
    goals: int
    complies: Rate | None
    refuses_and_explains: Rate | None
    unparsed: Rate | None


class Results(_Block):
    """All of `results.json`, but for its schema.

    Attributes:
        seed: of the run.
        temperature: at which the evaluated answers were drawn.
        grader: who graded them.
        models: `base`, `sl-cai` and `rl-cai`, in this order.
        stages: name to what it used, in order.
        human_inputs: what people put in.
        ai_labels: pairs that a model labeled.
        feedback: the comparisons.
        preference_model: what was learned from them.
        ppo: reinforcement learning.
        notices: what a reader should know first, e.g. that the feedback model judges by position.
        revisions: the answers of stage 1 after 0, 1, 2, ... revisions.
        total_seconds: wall time of the whole run, summed over attempts.
        cpu_seconds: processor time over the whole process tree.
        peak_rss_mb: largest resident set, of the process or of its largest child, in MiB.
    """

    seed: int
    temperature: float
    grader: str
    models: dict[str, ModelResults] = Field(min_length=1)
    stages: dict[str, StageResults]
    human_inputs: HumanInputs
    ai_labels: int
    feedback: FeedbackResults
    preference_model: PreferenceModelResults
    ppo: PPOResults
    notices: list[str]
    revisions: list[RoundResults] = []
    total_seconds: float
    cpu_seconds: float
    peak_rss_mb: float
