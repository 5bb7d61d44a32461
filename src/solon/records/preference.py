"""Stage 2: two responses to one prompt, and how likely it is that the first is the better."""

from typing import Literal, Self

from pydantic import Field, model_validator

from solon.records.base import Record
from solon.records.calls import Reading, Sample, SampledTokens
from solon.records.conversation import Prompt


class Comparison(Record):
    """Two responses to one prompt, before anyone has said which is better.

    Attributes:
        id: content id.
        prompt: the prompt both answer.
        response_a: the first response.
        response_b: the second response.
    """

    id: str
    prompt: Prompt
    response_a: Sample
    response_b: Sample

    def swap(self) -> "Comparison":
        """Return the comparison with its sides exchanged; twice is the identity."""
        return self.model_copy(update={"response_a": self.response_b, "response_b": self.response_a})


class GoldComparison(Record):
    """Two responses to one prompt of which it is known which is better: what a feedback model can be checked by.

    Attributes:
        prompt: what is asked.
        response_a: the first response.
        response_b: the second response.
        answer: the better one, `a` or `b`.
        kind: what tells them apart, e.g. `harm`, `honesty` or `helpfulness`.
        principle_id: the principle under which the answer is known; None for any that speaks of the kind.
    """

    prompt: str = Field(min_length=1)
    response_a: str
    response_b: str
    answer: Literal["a", "b"]
    kind: str = Field(min_length=1)
    principle_id: str | None = None

    @model_validator(mode="after")
    def _two_responses(self) -> Self:
        if self.response_a == self.response_b:
            raise ValueError("response_a and response_b are equal: neither is better")
        return self


class Vote(Reading):
    """One reading of a comparison under one principle in one order; `Reading` has how it was read.

    Attributes:
        principle_id: the principle it was asked by.
        order: `ab` where response A was shown as option (A), `ba` where response B was.
        logprob_a: natural log-probability of the option under which response A was shown.
        logprob_b: the same for response B.
        reasoning: the chain of thought before the answer, empty without one.
        call: key of the scoring call in the journal.
    """

    principle_id: str
    order: Literal["ab", "ba"]
    logprob_a: float
    logprob_b: float
    reasoning: str = ""
    call: str = ""

    @property
    def logprobs(self) -> tuple[float, float]:
        """Both log-probabilities."""
        return self.logprob_a, self.logprob_b

    @property
    def logit_a(self) -> float:
        """Log-odds that A is better, in nats."""
        return self.logprob_a - self.logprob_b

    @property
    def mass(self) -> float | None:
        """Probability on the two options together; None where it is not known."""
        return self._sum(self.logprobs)

    def swap(self) -> "Vote":
        """Return the same reading with A and B exchanged."""
        return self.model_copy(
            update={
                "order": "ba" if self.order == "ab" else "ab",
                "logprob_a": self.logprob_b,
                "logprob_b": self.logprob_a,
            }
        )


class PointwiseVote(Reading):
    """What was answered to one principle's question about one response alone; `Reading` has how it was read.

    Attributes:
        principle_id: the principle whose question it was.
        response: the response that was shown.
        better: the answer that speaks for a response, by the principle.
        logprob_yes: natural log-probability of "Yes", over all the spellings that were weighed.
        logprob_no: the same of "No".
        call: key of the scoring call in the journal.
    """

    principle_id: str
    response: Literal["a", "b"]
    better: Literal["yes", "no"]
    logprob_yes: float
    logprob_no: float
    call: str = ""

    @property
    def logprobs(self) -> tuple[float, float]:
        """Both log-probabilities."""
        return self.logprob_yes, self.logprob_no

    @property
    def logit(self) -> float:
        """Log-odds of the answer that speaks for the response, in nats."""
        yes = self.logprob_yes - self.logprob_no
        return yes if self.better == "yes" else -yes

    @property
    def mass(self) -> float | None:
        """Probability on the two answers together; None where it is not known."""
        return self._sum(self.logprobs)

    def swap(self) -> "PointwiseVote":
        """Return the same answer with A and B exchanged."""
        return self.model_copy(update={"response": "b" if self.response == "a" else "a"})


class PreferenceLabel(Record):
    """A soft label, or the reason why there is none.

    Attributes:
        comparison_id: the comparison it labels.
        p_a: probability in [0, 1] that response A is better; None where unlabeled.
        p_a_unclamped: the same before any clamp; calibration is measured on it.
        votes: every reading of the comparison that went into it.
        pointwise: every answer about one of the responses alone that went into it, in place of votes; None where the
            responses were compared.
        labeler: identity of the feedback model.
        status: `labeled` or `unlabeled`.
        reason: why it is unlabeled, empty otherwise.
    """

    comparison_id: str
    p_a: float | None
    p_a_unclamped: float | None
    votes: tuple[Vote, ...]
    labeler: str
    status: Literal["labeled", "unlabeled"]
    reason: str = ""
    pointwise: tuple[PointwiseVote, ...] | None = None

    @model_validator(mode="after")
    def _label_or_reason(self) -> Self:
        if self.status == "labeled" and (self.p_a is None or not 0.0 <= self.p_a <= 1.0 or self.reason):
            raise ValueError("a labeled comparison has p_a in [0, 1] and no reason")
        if self.status == "unlabeled" and (self.p_a is not None or not self.reason):
            raise ValueError("an unlabeled comparison has a reason and no p_a")
        if self.votes and self.pointwise is not None:
            raise ValueError("a label is made of votes or of pointwise votes, not of both")
        return self

    @property
    def readings(self) -> tuple[Vote, ...] | tuple[PointwiseVote, ...]:
        """The votes, of whichever kind."""
        return self.votes if self.pointwise is None else self.pointwise

    @property
    def has_mass(self) -> bool:
        """Whether the mass of every vote is known."""
        return all(vote.has_mass for vote in self.readings)

    @property
    def dialects(self) -> tuple[str, ...]:
        """The dialects by which servers were read for its votes, in order of the alphabet; empty without any."""
        return tuple(sorted({vote.dialect for vote in self.readings if vote.dialect}))

    @property
    def draws(self) -> tuple[int, ...]:
        """The numbers of drawn answers that votes are shares of, the fewest first; empty where none was drawn."""
        return tuple(sorted({vote.draws for vote in self.readings if vote.draws is not None}))

    def swap(self) -> "PreferenceLabel":
        """Return the label of the swapped comparison; twice is the identity up to rounding of 1 - p."""
        return self.model_copy(
            update={
                "p_a": None if self.p_a is None else 1.0 - self.p_a,
                "p_a_unclamped": None if self.p_a_unclamped is None else 1.0 - self.p_a_unclamped,
                "votes": tuple(vote.swap() for vote in self.votes),
                "pointwise": None if self.pointwise is None else tuple(vote.swap() for vote in self.pointwise),
            }
        )


class PreferencePair(Record):
    """What a preference model is trained on: a labelled comparison joined with its texts.

    Attributes:
        id: the comparison's id.
        prompt: the prompt both responses answer.
        response_a: text of the first response.
        response_b: text of the second response.
        target: probability that A is better, in [0, 1].
        tokens_a: what the first response was sampled as; None where there is only its text.
        tokens_b: what the second response was sampled as; None where there is only its text.
        ended_a: whether the first response came to an end; False where the limit cut it off.
        ended_b: the same of the second response.
    """

    id: str
    prompt: Prompt
    response_a: str
    response_b: str
    target: float
    tokens_a: SampledTokens | None = None
    tokens_b: SampledTokens | None = None
    ended_a: bool = True
    ended_b: bool = True
