"""A model that is given a system prompt before everything it is asked.

It stands outside the journal: what is stored and shown is the whole prompt, and every backend has it without its help.
"""

from solon.lm.passing import PassingModel
from solon.lm.protocol import LanguageModel
from solon.prompting import add_system_prompt
from solon.records import Choice, Rendered, Sample, Sampling
from solon.storage import content_digest


def with_system_prompt(model: LanguageModel, system_prompt: str | None) -> LanguageModel:
    """Return a model that stands under a system prompt; the model itself where there is none."""
    return model if system_prompt is None else SystemPromptedModel(model, system_prompt)


class SystemPromptedModel(PassingModel):
    """A model under a system prompt.

    Args:
        inner: the model that is asked.
        system_prompt: what it is told first.
    """

    def __init__(self, inner: LanguageModel, system_prompt: str) -> None:
        super().__init__(inner)
        self._system_prompt = system_prompt

    @property
    def identity(self) -> str:
        """The inner model's, and a digest of the system prompt: another text, another distribution."""
        return self._told(super().identity)

    @property
    def nameless_identity(self) -> str:
        """The same of the inner model's without a name."""
        return self._told(super().nameless_identity)

    def spellings(self, prompt: Rendered, options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Return the inner model's spellings after the system prompt; see `SpellingModel`."""
        return super().spellings(self._under(prompt), options)

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        """Continue a prompt under the system prompt; see `LanguageModel.generate`."""
        return await self._inner.generate(self._under(prompt), sampling, seed=seed)

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Weigh options under the system prompt; see `LanguageModel.choose`."""
        return await self._inner.choose(self._under(prompt), options)

    def _told(self, identity: str) -> str:
        return f"{identity}, system prompt {content_digest(self._system_prompt, size=8)}"

    def _under(self, prompt: Rendered) -> Rendered:
        return add_system_prompt(prompt, self._system_prompt, self.layout)
