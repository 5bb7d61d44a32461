"""The loop: sum the gradients of all processes, update, log, and keep what a killed run needs to go on.

A step is data-parallel over `shards`, and shards over `processes`: parameters, moments and gradients are shared
memory, a barrier stands on each side of the update, and each process updates its own part of the parameters. What
a step trains on depends on (seed, step) alone, and everything else that a step needs is in the checkpoint, so a
run that was killed ends bitwise equal to one that was not, on the same machine with the same number of processes.
"""

import functools
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from solon.errors import ConfigError, ModelError
from solon.nets import CausalLM
from solon.training.metrics import StepLog
from solon.world.nano.pretrain.checkpoint import (
    CHECKPOINT_NAME,
    Progress,
    identify_run,
    load_checkpoint,
    save_checkpoint,
)
from solon.world.nano.pretrain.config import PretrainConfig
from solon.world.nano.pretrain.documents import DocumentSource
from solon.world.nano.pretrain.kernel import FusedLlama
from solon.world.nano.pretrain.optimizer import TrainState, update_parameters
from solon.world.nano.pretrain.processes import Barrier, one_thread, run_beside
from solon.world.nano.pretrain.shards import iterate_shards
from solon.world.nano.pretrain.weights import LlamaShape, copy_weights, read_shape, view_weights

METRICS_NAME = "metrics.jsonl"

_BARRIER_TIMEOUT_S = 1800.0


class PretrainLog(NamedTuple):
    """One line of metrics.

    Attributes:
        step: steps done.
        tokens: trained on so far.
        loss: mean over the steps since the line before, in nats per unit of weight.
        learning_rate: AdamW's, at the last step.
        grad_norm: before clipping, mean over the steps since the line before.
        tokens_per_second: of all processes, since the line before.
        data_share: share of that time that the first process spent on getting its batches.
    """

    step: int
    tokens: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_second: float
    data_share: float


@dataclass(frozen=True, slots=True)
class PretrainSummary:
    """What a finished run amounted to.

    Attributes:
        steps: done in all.
        tokens: trained on in all.
        loss: that of the last line of metrics, in nats per unit of weight.
        seconds: of training, those before a resume included.
        checkpoint: file that holds the final state.
    """

    steps: int
    tokens: int
    loss: float
    seconds: float
    checkpoint: Path


@dataclass(frozen=True, slots=True)
class _Job:
    """What every process of a run is given.

    `slots` has a row per process: the sums over its shards of the gradient, then of loss, weight and tokens.
    """

    config: PretrainConfig
    shape: LlamaShape
    source: DocumentSource
    state: TrainState
    slots: Tensor
    inverse_frequencies: Tensor
    barrier: Barrier


class _StepResult(NamedTuple):
    """What a step was: the sums of all processes, but the seconds that this one spent on getting its batches."""

    step: int
    loss: float
    tokens: int
    grad_norm: float
    data_seconds: float


def run_pretrain(
    model: CausalLM,
    documents: DocumentSource,
    config: PretrainConfig,
    out: Path,
    on_log: Callable[[PretrainLog], None] = lambda _: None,
) -> PretrainSummary:
    """Pretrain a `LlamaForCausalLM` in place, or go on from the checkpoint in `out`.

    Each step takes the gradient of the weighted mean of the trained tokens' negative log-probability. Torch runs on
    one thread per process meanwhile. The folder holds `checkpoint.safetensors` and `metrics.jsonl`, in which only
    the two rates of time differ between a run that was killed and one that was not; saving the model, with its
    tokenizer, is the caller's.

    Args:
        model: on the device to train on; float32. A checkpoint, if there is one, replaces its weights.
        documents: the source; must pickle if `config.processes` or `config.data_workers` asks for processes.
        config: how to train.
        out: folder of this run.
        on_log: called with each line of metrics.

    Raises:
        ConfigError: several processes are asked for on a GPU.
        ModelError: the model is not a plain Llama in float32, its loss stops being finite, or the checkpoint cannot
            be read.
        RunError: `out` belongs to another run, or another process died or failed; it has said why on stderr.
        ShapeError: a document is malformed or too long.
    """
    out.mkdir(parents=True, exist_ok=True)
    shape, parameter = read_shape(model), next(model.parameters())
    if parameter.dtype != torch.float32:
        raise ModelError(f"cannot pretrain a {parameter.dtype} model: load it in float32")
    if parameter.device.type != "cpu" and config.processes > 1:
        raise ConfigError("processes > 1 is for CPUs: use 1 on a GPU")
    state = TrainState.build(shape, config, parameter.device)
    copy_weights(model, view_weights(state.parameters, shape), into_model=False)
    identity, checkpoint = identify_run(config, shape), out / CHECKPOINT_NAME
    progress = Progress()
    if checkpoint.exists():
        progress = load_checkpoint(checkpoint, state, identity)
    if progress.step < config.steps:
        frequencies = model.get_buffer("model.rotary_emb.inv_freq").detach().clone()
        slots = torch.zeros(config.processes, len(state.parameters) + 3, device=parameter.device)
        barrier = multiprocessing.get_context("spawn").Barrier(config.processes)
        if config.processes > 1:
            for tensor in (*state.tensors().values(), slots):
                tensor.share_memory_()  # type: ignore[no-untyped-call]
        job = _Job(config, shape, documents, state, slots, frequencies, barrier)
        with (
            one_thread(parameter.device),
            run_beside(functools.partial(_follow, job, progress.step), config.processes, barrier),
            StepLog(out / METRICS_NAME, after=progress.step) as metrics,
        ):
            started, window = time.monotonic() - progress.seconds, _Window()
            for result in _train(job, progress.step, rank=0):
                progress.step, progress.tokens = result.step + 1, progress.tokens + result.tokens
                window.results.append(result)
                last = progress.step == config.steps
                if last or progress.step % config.log_every == 0:
                    line = window.summarize(progress, config)
                    progress.loss, window = line.loss, _Window()
                    values = line._asdict()
                    metrics.write(values.pop("step"), values)
                    on_log(line)
                if last or progress.step % config.checkpoint_every == 0:
                    progress.seconds = time.monotonic() - started
                    metrics.sync()
                    save_checkpoint(checkpoint, state, identity, progress)
    copy_weights(model, view_weights(state.parameters, shape), into_model=True)
    return PretrainSummary(progress.step, progress.tokens, progress.loss, progress.seconds, checkpoint)


def _train(job: _Job, start: int, rank: int) -> Iterator[_StepResult]:
    """Run the steps of one process. All processes see the same sums, so all stop at the same error."""
    config, state, slot = job.config, job.state, job.slots[rank]
    kernel = FusedLlama(state.parameters, job.shape, job.inverse_frequencies)
    shards = iterate_shards(job.source, config, start, rank)
    with torch.no_grad():
        for step in range(start, config.steps):
            kernel.fold()
            sums = slot.new_zeros(3)
            data_seconds = 0.0
            for _ in range(config.shards // config.processes):
                before = time.monotonic()
                chunks = next(shards)
                data_seconds += time.monotonic() - before
                for chunk in (chunk.to(slot.device) for chunk in chunks):
                    sums[0] += kernel.accumulate(chunk)
                    sums[1] += chunk.row_weights.sum()
                    sums[2] += chunk.tokens
            kernel.write_gradient(slot[:-3])
            slot[-3:] = sums
            job.barrier.wait(_BARRIER_TIMEOUT_S)  # every slot is written
            total = job.slots.sum(0)
            loss, weight, tokens = total[-3:].tolist()
            if not (math.isfinite(loss) and weight > 0):
                raise ModelError(
                    f"step {step}: summed loss {loss} over weight {weight}: lower the rates, or mend the data"
                )
            gradient = total[:-3].div_(weight)
            norm = float(torch.linalg.vector_norm(gradient))
            gradient.mul_(min(1.0, config.clip_norm / (norm + 1e-12)))
            update_parameters(state, gradient, job.shape, config, step, rank)
            job.barrier.wait(_BARRIER_TIMEOUT_S)  # every slot is read, every parameter written
            yield _StepResult(step, loss / weight, int(tokens), norm, data_seconds)


def _follow(job: _Job, start: int, rank: int) -> None:
    """Run the steps of a process that has nothing to log."""
    for _ in _train(job, start, rank):
        pass


@dataclass(slots=True)
class _Window:
    """The steps since the last line of metrics."""

    results: list[_StepResult] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def summarize(self, progress: Progress, config: PretrainConfig) -> PretrainLog:
        seconds = max(time.monotonic() - self.started, 1e-9)
        return PretrainLog(
            step=progress.step,
            tokens=progress.tokens,
            loss=sum(result.loss for result in self.results) / len(self.results),
            learning_rate=config.learning_rate * config.rate_scale(progress.step - 1),
            grad_norm=sum(result.grad_norm for result in self.results) / len(self.results),
            tokens_per_second=sum(result.tokens for result in self.results) / seconds,
            data_share=sum(result.data_seconds for result in self.results) / seconds,
        )
