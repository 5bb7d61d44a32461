"""A model that is given a system prompt before everything it is asked.

It stands outside the journal: what is stored and shown is the whole prompt, and every backend has it without its help.
"""

from solon.lm.protocol import LanguageModel
from solon.lm.spelling import find_spellings
from solon.prompting import LayoutLike, add_system_prompt
from solon.records import Choice, Rendered, Sample, Sampling
from solon.storage import content_digest


def with_system_prompt(model: LanguageModel, system_prompt: str | None) -> LanguageModel:
    """Return a model that stands under a system prompt; the model itself where there is none."""
    return model if system_prompt is None else SystemPromptedModel(model, system_prompt)


class SystemPromptedModel:
    """A model under a system prompt.

    Args:
        inner: the model that is asked.
        system_prompt: what it is told first.
    """

    def __init__(self, inner: LanguageModel, system_prompt: str) -> None:
        self._inner = inner
        self._system_prompt = system_prompt

    @property
    def identity(self) -> str:
        """The inner model's, and a digest of the system prompt: another text, another distribution."""
        return f"{self._inner.identity}, system prompt {content_digest(self._system_prompt, size=8)}"

    @property
    def layout(self) -> LayoutLike:
        """The inner model's."""
        return self._inner.layout

    @property
    def limit_only_cuts(self) -> bool:
        """As of the inner model."""
        return self._inner.limit_only_cuts

    def spellings(self, prompt: Rendered, options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Return the inner model's spellings after the system prompt; see `SpellingModel`."""
        return find_spellings(self._inner, self._under(prompt), options)

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        """Continue a prompt under the system prompt; see `LanguageModel.generate`."""
        return await self._inner.generate(self._under(prompt), sampling, seed=seed)

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Weigh options under the system prompt; see `LanguageModel.choose`."""
        return await self._inner.choose(self._under(prompt), options)

    def _under(self, prompt: Rendered) -> Rendered:
        return add_system_prompt(prompt, self._system_prompt, self._inner.layout)
