"""A backend whose models answer as those of `local` do, and late: as if they were elsewhere."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from solon.lm import LanguageModel, ModelSpec
from solon.lm.backends import local
from solon.lm.passing import PassingModel
from solon.records import Choice, Rendered, Sample, Sampling

MOST_SECONDS = 0.05


class SlowModel(PassingModel):
    """Passes calls on to a model and keeps the answers back for a while, each for another."""

    def __init__(self, inner: LanguageModel) -> None:
        super().__init__(inner)
        self._late = random.Random(0)

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        async with self._later():
            return await super().generate(prompt, sampling, seed=seed)

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        async with self._later():
            return await super().choose(prompt, options)

    @asynccontextmanager
    async def _later(self) -> AsyncIterator[None]:
        await asyncio.sleep(self._late.uniform(0, MOST_SECONDS))
        yield
        await asyncio.sleep(self._late.uniform(0, MOST_SECONDS))


def identify(spec: ModelSpec) -> str:
    return local.identify(spec)


@contextmanager
def open_model(spec: ModelSpec) -> Iterator[LanguageModel]:
    with local.open_model(spec) as inner:
        yield SlowModel(inner)
