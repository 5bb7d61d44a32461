"""Which documents a process trains on at each step, prepared in line or ahead of time."""

import multiprocessing
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from solon.errors import RunError
from solon.world.nano.pretrain.config import PretrainConfig
from solon.world.nano.pretrain.documents import Chunk, Document, DocumentSource, pack_documents


def sample_shard(source: DocumentSource, config: PretrainConfig, step: int, shard: int) -> list[Document]:
    """Sample the documents of one shard of a step: a pure function of the source, the config's sizes and its seed."""
    seed = int(np.random.SeedSequence([config.seed, step, shard]).generate_state(1, np.uint64)[0])
    documents: list[Document] = []
    tokens = 0
    for document in source(step, seed):
        documents.append(document)
        tokens += len(document.ids)
        if tokens * config.shards >= config.batch_tokens:
            break
    return documents


def iterate_shards(source: DocumentSource, config: PretrainConfig, start: int, rank: int) -> Iterator[list[Chunk]]:
    """Yield the shards of one process in order of (step, shard), sampled ahead where `data_workers` says so.

    Args:
        source: where documents come from.
        config: sizes, seed, and who shares the work.
        start: the first step.
        rank: which process this is, below `config.processes`.

    Raises:
        RunError: a data worker died.
        ShapeError: a document is malformed.
    """
    steps, shards = range(start, config.steps), range(rank, config.shards, config.processes)
    mine = ((step, shard) for step in steps for shard in shards)
    if not config.data_workers:
        for step, shard in mine:
            yield pack_documents(sample_shard(source, config, step, shard), config.chunk_tokens)
        return
    try:
        with ProcessPoolExecutor(config.data_workers, multiprocessing.get_context("spawn")) as pool:
            waiting: deque[Future[list[Document]]] = deque()
            for step, shard in mine:
                waiting.append(pool.submit(sample_shard, source, config, step, shard))
                if len(waiting) > 2 * config.data_workers:
                    yield pack_documents(waiting.popleft().result(), config.chunk_tokens)
            while waiting:
                yield pack_documents(waiting.popleft().result(), config.chunk_tokens)
    except BrokenProcessPool as error:
        raise RunError("a data worker died: run again to go on from the last checkpoint") from error
