"""What a stage may ask of a language model: continue a prompt, or weigh fixed options after it.

Stages are written for one item, as straight-line async code; a backend gathers the calls of many items into
batches. Middleware (the journal, later a budget) wraps a model in a model, so a stage cannot tell how many
layers it speaks to.
"""

from typing import Protocol, runtime_checkable

from solon.prompting import LayoutLike
from solon.records import Choice, Rendered, Sample, Sampling


@runtime_checkable
class LanguageModel(Protocol):
    """A model that can be sampled from and asked to choose."""

    @property
    def identity(self) -> str:
        """Name and weights digest (or endpoint): equal only where the answers are the same distribution."""
        ...

    @property
    def layout(self) -> LayoutLike:
        """How prompts for it are laid out: `chat` or `single` with a chat template, `transcript` without one.

        A backend gives the name; in a run with own templates it comes with these.
        """
        ...

    @property
    def limit_only_cuts(self) -> bool:
        """Whether a draw under one `max_tokens` is the beginning of the draw under a higher one, all else equal.

        Then a text that ended after n tokens (`generated_tokens`, its end counted) is the answer under every limit of
        at least n, and the journal gives it. False where that is not known.
        """
        ...

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        """Continue `prompt`.

        The text depends on prompt, sampling, seed and weights only, not on what it was batched with (up to the
        rounding of floating point under another batch composition).

        Raises:
            CallFailedError: the call came to no result; the item that asked records it.
        """
        ...

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Return the log-probability of each option as the continuation of `prompt`.

        It is exact, unless the choice says that it is of the options alone or a share of drawn answers.

        Raises:
            CallFailedError: the call came to no result.
            PromptingError: two options share their first token under this model's tokenizer and the whole
                strings cannot be told apart either.
        """
        ...


@runtime_checkable
class NamedModel(Protocol):
    """A model whose identity holds a name for people, as that of the folder it lies in, which decides no answer."""

    @property
    def nameless_identity(self) -> str:
        """The identity without that name: equal wherever the model lies. The journal knows its calls by it."""
        ...


def find_nameless_identity(model: LanguageModel) -> str:
    """Return what the journal knows a model by: its identity, without the name that it may hold for people."""
    return model.nameless_identity if isinstance(model, NamedModel) else model.identity
