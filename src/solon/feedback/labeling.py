"""Stage 2, AI feedback: which of two responses is better, as a probability.

The feedback model is shown a prompt, two responses and one principle, and the log-probabilities of the two options
are read off: nothing is parsed. Each comparison is shown in both orders. With a chain of thought the model first
reasons, in each order anew, and the options are weighed after its reasoning; such labels are nearly always near 0
or 1, so their targets are clamped.

With `labels: pointwise` a principle asks a question about each response alone. It says which answer speaks for a
response, and the label is made of the log-odds of both. A small model can answer such a question where it cannot
compare. No order is asked, no exemplar is shown and nothing is reasoned. The answers are weighed in every spelling that
the model's tokenizer tells apart, and have a floor of their own: after a question a model may write anything, and
writes "Yes" or "No" far less often than one of two letters after an open parenthesis.

"Could not tell" is a value. A comparison is left unlabeled, with the first reason that applies:

- `empty_response`, `truncated_response`: one of them is no response, or was cut off by the token limit in the middle of
  a sentence; not asked, as nobody knows what would have followed;
- `identical`: both responses have the same text; not asked, as averaging both orders makes it 0.5 in any case;
- `call_failed`: a call came to no result;
- `empty_reasoning`, `truncated_reasoning`: a chain of thought that is none, or never came to an end;
- `invalid_logprobs`: a log-probability is not finite or above 0;
- `below_mass_floor`, `below_pointwise_mass_floor`: in one of its votes the model would rather have answered neither. A
  vote whose mass is not known, as of a server that gives the options' proportions alone, is held to no floor.

Departures from the paper (Bai et al. 2022, arXiv 2212.08073, section 4.1):
1. Both orders are asked and averaged, and contradict each other to 0.5; the paper does not mention order.
2. A floor on the probability of the two options together; the paper normalises whatever there is.
3. Few-shot exemplars come with the constitution, and there may be none; the paper used five, each with a principle
   drawn for it. Here an exemplar is shown under its own principle, or else under the comparison's.
4. Several principles for one comparison are possible, drawn without replacement; the paper drew one.
5. A label may be made of two answers about one response each; the paper compares. Not the default.
6. A server that gives no log-probabilities of all that a model may say is taken as it is: its votes are held to no
   floor, or are shares of drawn answers; the paper's feedback model gives its own log-probabilities.

Leaves out: several chains of thought for one vote.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from solon.constitution import Constitution, Principle, choose_principle
from solon.errors import ConstitutionError, StageFailedError
from solon.feedback.concurrency import gather_all
from solon.feedback.votes import (
    clamp_probability,
    combine_pointwise,
    combine_votes,
    find_vote_fault,
    sum_logprobs,
)
from solon.lm import LanguageModel, OnProgress, find_spellings, run_items
from solon.prompting import ANSWERS, OPTIONS, render_comparison, render_question, render_reasoning
from solon.records import (
    Choice,
    Comparison,
    Conversation,
    DrawConfig,
    Failure,
    PointwiseVote,
    PreferenceLabel,
    PromptKind,
    TokenLimit,
    Vote,
)
from solon.storage import derive_seed

STAGE = "feedback"

PAPER_CLAMP = (0.4, 0.6)
"""Where the paper clamps labels that come after a chain of thought."""

Order = Literal["ab", "ba"]
Labels = Literal["comparison", "pointwise"]
Side = Literal["a", "b"]


ASKS: Mapping[Labels, Literal["comparison", "question"]] = {"comparison": "comparison", "pointwise": "question"}
"""What a principle has to have for a label of each kind."""


class FeedbackConfig(DrawConfig):
    """How comparisons are labelled; the reasoning is drawn as `DrawConfig` says, the options are not drawn at all.

    Attributes:
        labels: `comparison` shows two responses and asks which is better; `pointwise` asks a question about each alone.
            `orders`, `mass_floor`, `exemplars` and the reasoning are of comparisons only. Paper: comparison.
        principles_per_comparison: principles drawn for each comparison, each its own votes; at most those that
            apply. Paper: 1.
        orders: `both`, or `ab` to see what order does. Paper: not stated.
        mass_floor: least probability of the two options together; 0 takes every vote, and one whose mass is not known
            is always taken. Paper: none.
        pointwise_mass_floor: the same of the two answers to a question, over all their spellings. Paper: none.
        chain_of_thought: True has the model reason before it answers. Paper: both were done.
        max_reasoning_tokens: limit of the reasoning. Paper: not stated.
        clamp: lower and upper end of a target, mirrored about 0.5; `paper` is 0.4 and 0.6 after a chain of thought
            and none without one; None is none.
        exemplars: how many of the constitution's worked comparisons are shown first; None shows all. Paper: 5.
    """

    labels: Labels = "comparison"
    principles_per_comparison: int = Field(1, ge=1)
    orders: Literal["both", "ab"] = "both"
    mass_floor: float = Field(0.5, ge=0.0, le=1.0)
    pointwise_mass_floor: float = Field(0.1, ge=0.0, le=1.0)
    chain_of_thought: bool = False
    max_reasoning_tokens: TokenLimit = 256
    clamp: tuple[float, float] | Literal["paper"] | None = "paper"
    exemplars: int | None = Field(None, ge=0)

    @field_validator("clamp")
    @classmethod
    def _clamp_is_mirrored(cls, value: tuple[float, float] | str | None) -> tuple[float, float] | str | None:
        if isinstance(value, tuple) and not (0.0 <= value[0] <= 0.5 and abs(sum(value) - 1.0) <= 1e-9):
            raise ValueError("must be two numbers that mirror each other about 0.5, such as [0.4, 0.6]")
        return value

    @model_validator(mode="after")
    def _only_comparisons_are_reasoned(self) -> Self:
        if self.labels == "pointwise" and self.chain_of_thought:
            raise ValueError(
                "chain_of_thought: a question about one response is answered without reasoning: "
                "set it to false, or labels to comparison"
            )
        return self

    @property
    def target_bounds(self) -> tuple[float, float] | None:
        """Where a target is clamped, None where it is not."""
        if self.clamp == "paper":
            return PAPER_CLAMP if self.chain_of_thought else None
        return self.clamp


async def run_feedback(
    comparisons: Sequence[Comparison],
    *,
    model: LanguageModel,
    constitution: Constitution,
    config: FeedbackConfig,
    seed: int,
    max_failure_fraction: float,
    on_progress: OnProgress | None = None,
) -> list[PreferenceLabel]:
    """Label every comparison, or say why not.

    Args:
        comparisons: what is compared.
        model: the feedback model; the base model in the paper, never SL-CAI.
        constitution: where principles and exemplars come from.
        config: how it is done.
        seed: the run's seed.
        max_failure_fraction: share of the comparisons on which calls may fail.
        on_progress: told how many comparisons are done, of how many.

    Returns:
        One label for each comparison, in their order.

    Raises:
        ConstitutionError: no principle applies to one of the prompts' kinds; before any call.
        StageFailedError: more items failed than the bound allows.
    """
    for kind in sorted({comparison.prompt.kind for comparison in comparisons}):
        if not asking_principles(constitution, config.labels, kind):
            raise ConstitutionError(": ".join(describe_lack(constitution, config.labels, kind)))

    async def label(comparison: Comparison) -> PreferenceLabel:
        return await label_comparison(comparison, model=model, constitution=constitution, config=config, seed=seed)

    def say_why(item: PreferenceLabel | Failure) -> PreferenceLabel:
        return _unlabeled(item.item, item.reason, model) if isinstance(item, Failure) else item

    try:
        found = await run_items(
            comparisons,
            label,
            key=lambda comparison: comparison.id,
            stage=STAGE,
            max_failure_fraction=max_failure_fraction,
            on_progress=on_progress,
        )
    except StageFailedError as error:
        error.results = [say_why(item) for item in error.results]
        raise
    return [say_why(item) for item in found.results]


async def label_comparison(
    comparison: Comparison,
    *,
    model: LanguageModel,
    constitution: Constitution,
    config: FeedbackConfig,
    seed: int,
) -> PreferenceLabel:
    """Label one comparison.

    Raises:
        CallFailedError: a call came to no result.
    """
    fault = _find_fault(comparison)
    if fault is not None:
        return _unlabeled(comparison.id, fault, model)
    principles = _draw_principles(comparison, constitution, config, seed)
    if config.labels == "pointwise":
        return await _label_pointwise(comparison, principles, model, config)
    orders: tuple[Order, ...] = ("ab", "ba") if config.orders == "both" else ("ab",)
    voting = _Voting(model=model, constitution=constitution, config=config, seed=seed)
    found = await gather_all([voting.ask(comparison, p, order) for p in principles for order in orders])
    votes = tuple(item for item in found if isinstance(item, Vote))
    reasons = [item for item in found if isinstance(item, str)]
    reasons += [reason for vote in votes if (reason := find_vote_fault(vote, mass_floor=config.mass_floor))]
    if reasons:
        return _unlabeled(comparison.id, reasons[0], model, votes)
    return _labeled(comparison.id, combine_votes(votes), config, model, votes)


async def _label_pointwise(
    comparison: Comparison, principles: Sequence[Principle], model: LanguageModel, config: FeedbackConfig
) -> PreferenceLabel:
    sides: tuple[Side, ...] = ("a", "b")
    votes = tuple(await gather_all([_judge(comparison, p, side, model) for p in principles for side in sides]))
    for vote in votes:
        if reason := find_vote_fault(vote, mass_floor=config.pointwise_mass_floor):
            return _unlabeled(comparison.id, reason, model, pointwise=votes)
    return _labeled(comparison.id, combine_pointwise(votes), config, model, pointwise=votes)


async def _judge(comparison: Comparison, principle: Principle, side: Side, model: LanguageModel) -> PointwiseVote:
    """Have one response judged by itself."""
    response = comparison.response_a if side == "a" else comparison.response_b
    answers = await weigh_answers(model, comparison.prompt.conversation, response.text, principle)
    logprob_yes, logprob_no = answers.logprobs
    assert principle.better is not None  # a question says which answer is
    return PointwiseVote(
        principle_id=principle.id,
        response=side,
        better=principle.better,
        logprob_yes=logprob_yes,
        logprob_no=logprob_no,
        call=answers.call,
        has_mass=answers.has_mass,
        dialect=answers.dialect,
        draws=answers.draws,
    )


async def weigh_answers(
    model: LanguageModel, conversation: Conversation, response: str, principle: Principle
) -> Choice:
    """Return the log-probabilities of `ANSWERS` to a principle's question about one response, over all their spellings.

    Raises:
        CallFailedError: the call came to no result.
        PromptingError: the principle has no question, or the conversation does not end with the user.
    """
    rendered = render_question(conversation, response, principle, layout=model.layout)
    yes, no = find_spellings(model, rendered, ANSWERS)
    choice = await model.choose(rendered, (*yes, *no))
    summed = sum_logprobs(choice.logprobs[: len(yes)]), sum_logprobs(choice.logprobs[len(yes) :])
    return choice.model_copy(update={"options": ANSWERS, "logprobs": summed})


def _find_fault(comparison: Comparison) -> str | None:
    a, b = comparison.response_a, comparison.response_b
    faults = {a.fault, b.fault}
    for fault in ("empty", "truncated"):
        if fault in faults:
            return f"{fault}_response"
    return "identical" if a.text == b.text else None


def asking_principles(constitution: Constitution, labels: Labels, kind: PromptKind) -> tuple[Principle, ...]:
    """Return the principles that a label of this kind may be asked by, for a kind of prompt, in order; maybe none."""
    if labels == "pointwise":
        return constitution.question_principles(kind)
    return constitution.comparison_principles(kind)


def describe_lack(constitution: Constitution, labels: Labels, kind: PromptKind) -> tuple[str, str]:
    """Return what a constitution lacks that has no principle for labels of a kind of prompt, and how it is added."""
    use = ASKS[labels]
    if any(getattr(principle, use) is not None for principle in constitution.principles):
        return f"no principle with a {use} applies to {kind} prompts", "widen a principle's applies_to"
    keys = "question and better" if use == "question" else use
    return f"no principle has a {use}, which feedback.labels={labels} asks", f"add {keys} to one that applies to {kind}"


def _draw_principles(
    comparison: Comparison, constitution: Constitution, config: FeedbackConfig, seed: int
) -> list[Principle]:
    """Draw without replacement: the principle of the highest hash, then that of the highest among the others."""
    left = asking_principles(constitution, config.labels, comparison.prompt.kind)
    drawn: list[Principle] = []
    while left and len(drawn) < config.principles_per_comparison:
        principle = choose_principle(left, seed=seed, item=comparison.id, round=0)
        left = tuple(other for other in left if other.id != principle.id)
        drawn.append(principle)
    return drawn


class _Voting:
    """Asks for one vote at a time."""

    def __init__(self, *, model: LanguageModel, constitution: Constitution, config: FeedbackConfig, seed: int) -> None:
        self._model = model
        self._config = config
        self._exemplars = constitution.comparison_exemplars[: config.exemplars]
        self._sampling = config.sampling(config.max_reasoning_tokens)
        self._seed = seed

    async def ask(self, comparison: Comparison, principle: Principle, order: Order) -> Vote | str:
        """Return the model's vote, or the reason why its chain of thought cannot be followed by one."""
        shown = comparison if order == "ab" else comparison.swap()
        texts = (shown.prompt.conversation, shown.response_a.text, shown.response_b.text, principle)
        layout, exemplars = self._model.layout, self._exemplars
        reasoning = None
        if self._config.chain_of_thought:
            rendered = render_reasoning(*texts, layout=layout, exemplars=exemplars)
            seed = derive_seed(self._seed, "reasoning", comparison.id, principle.id, order)
            sample = await self._model.generate(rendered, self._sampling, seed=seed)
            if sample.fault is not None:
                return f"{sample.fault}_reasoning"
            reasoning = sample.text.strip()
        rendered = render_comparison(*texts, layout=layout, exemplars=exemplars, reasoning=reasoning)
        choice = await self._model.choose(rendered, OPTIONS)
        first, second = choice.logprobs
        vote = Vote(
            principle_id=principle.id,
            order="ab",
            logprob_a=first,
            logprob_b=second,
            reasoning=reasoning or "",
            call=choice.call,
            has_mass=choice.has_mass,
            dialect=choice.dialect,
            draws=choice.draws,
        )
        return vote if order == "ab" else vote.swap()


def _labeled(
    comparison_id: str,
    p_a: float,
    config: FeedbackConfig,
    model: LanguageModel,
    votes: tuple[Vote, ...] = (),
    *,
    pointwise: tuple[PointwiseVote, ...] | None = None,
) -> PreferenceLabel:
    return PreferenceLabel(
        comparison_id=comparison_id,
        p_a=clamp_probability(p_a, config.target_bounds),
        p_a_unclamped=p_a,
        votes=votes,
        labeler=model.identity,
        status="labeled",
        pointwise=pointwise,
    )


def _unlabeled(
    comparison_id: str,
    reason: str,
    model: LanguageModel,
    votes: tuple[Vote, ...] = (),
    *,
    pointwise: tuple[PointwiseVote, ...] | None = None,
) -> PreferenceLabel:
    return PreferenceLabel(
        comparison_id=comparison_id,
        p_a=None,
        p_a_unclamped=None,
        votes=votes,
        labeler=model.identity,
        status="unlabeled",
        reason=reason,
        pointwise=pointwise,
    )
