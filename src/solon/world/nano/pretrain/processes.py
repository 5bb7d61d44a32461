"""The processes that train beside the first one, each on one thread: it waits for none that died, none outlives it."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
import torch.multiprocessing

from solon.errors import RunError


class Barrier(Protocol):
    """Where processes wait for each other; that of `multiprocessing`."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait until all are here."""

    def abort(self) -> None:
        """Let nobody wait any longer: all get a `BrokenBarrierError`."""


@contextmanager
def one_thread(device: torch.device) -> Generator[None]:
    """Run torch on one thread, which a busy machine cannot stall, and a GPU's products in TF32; then restore both."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


@contextmanager
def run_beside(work: Callable[[int], None], processes: int, barrier: Barrier) -> Generator[None]:
    """Run `work(rank)` for each rank from 1, in a process of its own, while the body runs as rank 0.

    Args:
        work: pickled for each process; tensors in shared memory stay shared.
        processes: how many there are, this one included.
        barrier: where they wait for each other; broken when one of them dies.

    Raises:
        RunError: the body found the barrier broken, since another process had died.
    """
    if processes == 1:
        yield
        return
    context = torch.multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(work, rank)) for rank in range(1, processes)]
    try:
        for worker in workers:
            worker.start()
        threading.Thread(target=_abort_on_death, args=(workers, barrier), daemon=True).start()
        yield
    except BaseException as error:
        for worker in workers:
            if worker.is_alive():
                worker.kill()
        if isinstance(error, threading.BrokenBarrierError):
            raise RunError(
                "a training process died (see above): run again to go on from the last checkpoint"
            ) from error
        raise
    finally:
        for worker in workers:
            if worker.pid is not None:
                worker.join()


def _work(work: Callable[[int], None], rank: int) -> None:
    """Be one of the other processes, and leave when the first one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process gets it too, and ends this one
    threading.Thread(target=_exit_after_parent, daemon=True).start()
    torch.set_num_threads(1)
    work(rank)


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _abort_on_death(workers: Sequence[multiprocessing.process.BaseProcess], barrier: Barrier) -> None:
    """Break the barrier once a worker has ended other than well, so that nobody waits for it."""
    left = list(workers)
    while left:
        multiprocessing.connection.wait([worker.sentinel for worker in left])
        ended = [worker for worker in left if not worker.is_alive()]
        left = [worker for worker in left if worker not in ended]
        if any(worker.exitcode for worker in ended):
            barrier.abort()
            return
