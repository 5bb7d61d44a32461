"""A backend whose models answer as those of `local` do, and late: as if they were elsewhere."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from solon.lm import LanguageModel, ModelSpec, find_nameless_identity
from solon.lm.backends import local
from solon.records import Choice, Layout, Rendered, Sample, Sampling

MOST_SECONDS = 0.05


class SlowModel:
    """Passes calls on to a model and keeps the answers back for a while, each for another."""

    def __init__(self, inner: LanguageModel) -> None:
        self._inner = inner
        self._late = random.Random(0)

    @property
    def identity(self) -> str:
        return self._inner.identity

    @property
    def nameless_identity(self) -> str:
        return find_nameless_identity(self._inner)

    @property
    def layout(self) -> Layout:
        return self._inner.layout

    @property
    def limit_only_cuts(self) -> bool:
        return self._inner.limit_only_cuts

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        async with self._later():
            return await self._inner.generate(prompt, sampling, seed=seed)

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        async with self._later():
            return await self._inner.choose(prompt, options)

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
