"""Stage 1: a response, its critiques and its revisions; the texts that SFT learns from, and those kept from it."""

from typing import Literal

from solon.records.base import Record
from solon.records.calls import Failure, Sample, SampledTokens
from solon.records.conversation import Conversation


class RevisionStep(Record):
    """One critique and one revision under one principle.

    Attributes:
        principle_id: the principle drawn for this step.
        critique: what the critic wrote; None in the direct-revision variant.
        revision: the revised response; it takes the response's place in the next step.
    """

    principle_id: str
    critique: Sample | None
    revision: Sample


class RevisionChain(Record):
    """A prompt's response and what became of it over the rounds.

    Attributes:
        id: content id of prompt, seed and constitution digest.
        prompt_id: the prompt it answers.
        initial_response: drawn from the helpful-only model.
        steps: in order, one for each round up to the one that failed, if one did.
        failure: why there are fewer steps than rounds; None where there are not.
    """

    id: str
    prompt_id: str
    initial_response: Sample
    steps: tuple[RevisionStep, ...]
    failure: Failure | None = None

    def response_after(self, rounds: int) -> Sample:
        """Return the response after `rounds` revisions; 0 is the initial one."""
        return self.initial_response if rounds == 0 else self.steps[rounds - 1].revision


class HelpfulSample(Record):
    """A response to an ordinary request, mixed into SFT so that harmlessness is not learnt at its expense.

    Attributes:
        id: content id of prompt, seed and draw.
        prompt_id: the prompt it answers.
        draw: which of the prompt's samples it is, 1-based.
        response: drawn from the helpful-only model.
    """

    id: str
    prompt_id: str
    draw: int
    response: Sample


class SFTExample(Record):
    """A conversation and the response to learn for it; only the response carries loss.

    Attributes:
        id: content id.
        prompt_id: the prompt it answers.
        conversation: ends with a user message.
        response: the target text.
        source: `revision` or `helpful`.
        chain_id: the chain it comes from, empty for helpful samples.
        round: which revision it is, 1-based; 0 for helpful samples.
        ended: False where the token limit cut the response off: it is learnt as far as it goes, and no end after it.
        tokens: what the response was sampled as; None where there is only its text.
    """

    id: str
    prompt_id: str
    conversation: Conversation
    response: str
    source: Literal["revision", "helpful"]
    chain_id: str = ""
    round: int = 0
    ended: bool = True
    tokens: SampledTokens | None = None


def filter_reason(name: str) -> str:
    """Return what a revision that does not pass a filter is counted under, beside the reasons of failures."""
    return f"filter_{name}"


class FilteredRevision(Record):
    """A revision that would have been learnt but for a filter.

    Attributes:
        id: content id, that of the example it would have been.
        prompt_id: the prompt it answers.
        conversation: ends with a user message.
        response: the revision.
        chain_id: the chain it comes from.
        round: which revision it is, 1-based.
        filter: the first filter that it did not pass.
    """

    id: str
    prompt_id: str
    conversation: Conversation
    response: str
    chain_id: str
    round: int
    filter: str

    @property
    def reason(self) -> str:
        """What it is counted under."""
        return filter_reason(self.filter)
