"""A model around another: everything goes through to it but what a subclass changes."""

from abc import ABC

from solon.lm.protocol import LanguageModel, find_nameless_identity
from solon.lm.spelling import find_spellings
from solon.prompting import LayoutLike
from solon.records import Choice, Rendered, Sample, Sampling


class PassingModel(ABC):  # noqa: B024
    """A model that passes on what it is asked, and says of itself what the inner one says.

    Args:
        inner: the model that answers.
    """

    def __init__(self, inner: LanguageModel) -> None:
        self._inner = inner

    @property
    def identity(self) -> str:
        """The inner model's."""
        return self._inner.identity

    @property
    def nameless_identity(self) -> str:
        """The inner model's; see `NamedModel`."""
        return find_nameless_identity(self._inner)

    @property
    def layout(self) -> LayoutLike:
        """The inner model's."""
        return self._inner.layout

    @property
    def limit_only_cuts(self) -> bool:
        """As of the inner model."""
        return self._inner.limit_only_cuts

    def spellings(self, prompt: Rendered, options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Return the inner model's spellings; see `SpellingModel`."""
        return find_spellings(self._inner, prompt, options)

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        """Continue a prompt; see `LanguageModel.generate`."""
        return await self._inner.generate(prompt, sampling, seed=seed)

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Weigh options; see `LanguageModel.choose`."""
        return await self._inner.choose(prompt, options)
