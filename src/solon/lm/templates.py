"""A model whose prompts are laid out by templates of a user's own.

It says so as its layout, by which every stage and grader lays out what it asks; what is asked goes through unchanged.
"""

from collections.abc import Mapping

from solon.lm.protocol import LanguageModel
from solon.lm.spelling import find_spellings
from solon.prompting import LayoutLike, Templates, as_templates
from solon.records import Choice, Rendered, Sample, Sampling


def with_templates(model: LanguageModel, own: Mapping[str, str]) -> LanguageModel:
    """Return a model with own templates, as `prompting.load_templates` gives them; the model itself without any."""
    return TemplatedModel(model, own) if own else model


class TemplatedModel:
    """A model with own templates.

    Args:
        inner: the model that is asked.
        own: file, such as `chat/user.txt`, to text.
    """

    def __init__(self, inner: LanguageModel, own: Mapping[str, str]) -> None:
        self._inner = inner
        self._layout = Templates(as_templates(inner.layout).layout, own)

    @property
    def identity(self) -> str:
        """The inner model's: templates decide what it is asked, not what it answers."""
        return self._inner.identity

    @property
    def layout(self) -> LayoutLike:
        """The inner model's, with these templates."""
        return self._layout

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
