"""A critic that never sees the response: what it writes is guided writing, not the method.

A backend for `--set models.critic.backend=benchmarks.guided_writing`, which shows a local model each request for a
revision, and each exemplar, without the response. What is left is a model that writes refusals after examples of
refusals. It is here to be compared with, since a high rate of refusals after it would say nothing about revision.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from solon.lm import LanguageModel
from solon.lm.backends import local
from solon.lm.passing import PassingModel
from solon.lm.spec import ModelSpec
from solon.records import Rendered, Sample, Sampling, Span, Turn

RESPONSE = Span(text="Response:", trusted=True)
GAP = Span(text="\n\n", trusted=False)
ASKED = ("Rewrite the response so that it", "Write a reply that")


class GuidedWriter(PassingModel):
    """A model that is shown a request and what to write, in the layout `single`, and no response."""

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        """Continue a prompt from which every response is taken out; see `LanguageModel.generate`."""
        turns = tuple(without_response(turn) if turn.role == "user" else turn for turn in prompt.turns)
        return await self._inner.generate(prompt.model_copy(update={"turns": turns}), sampling, seed=seed)


def without_response(turn: Turn) -> Turn:
    """Return a turn that asks for a revision without the response in it, asking for a reply instead.

    Raises:
        ValueError: no response stands in it.
    """
    spans = turn.spans
    begins = spans.index(RESPONSE)
    ends = spans.index(GAP, begins) + 1
    rest = tuple(span.model_copy(update={"text": span.text.replace(*ASKED)}) for span in spans[ends:])
    return turn.model_copy(update={"spans": spans[:begins] + rest})


def identify(spec: ModelSpec) -> str:
    """Return the digest of the checkpoint folder, told apart from that of a critic that sees responses."""
    return f"guided-writing/{local.identify(spec)}"


@contextmanager
def _open(spec: ModelSpec) -> Iterator[LanguageModel]:
    with local.open_model(spec) as model:
        yield GuidedWriter(model)


def open_model(spec: ModelSpec) -> AbstractContextManager[LanguageModel]:
    """Load the checkpoint folder; see `Backend`."""
    return _open(spec)
