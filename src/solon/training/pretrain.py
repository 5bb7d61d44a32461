"""Pretraining a tiny Llama from nothing on a few CPU cores, for `solon world build`.

A loop over ``LlamaForCausalLM``'s own forward pass spends about half of its time outside matrix products: in
attention over unrelated documents, in a head applied to positions nobody trains on, in norms and rotations that
make several passes over memory, and in page faults. This module trains the same weights with a forward and a
backward pass written out by hand for one shape of model, held to the Hugging Face logits and gradients by a test:

* documents lie end to end along the last axis, features along the first: `x` is (D, N). Every row-wise operation
  then runs over long contiguous rows, and there is no padding; attention visits one document at a time, so
  documents cannot see each other;
* after the last attention only positions that carry loss are kept: last MLP, final norm, head and softmax skip
  the others;
* norm gains and the 1 / sqrt(head size) of attention are folded into the matrices that follow them, once a step;
* activations live in one reused buffer (`_Arena`) of a size that suits the cache: `chunk_tokens` at a time.

A step is data-parallel over `shards`, and shards over `processes`: parameters, moments and gradients are shared
memory, a barrier stands on each side of the update, and each process updates its own part of the parameters. What
a step trains on depends on (seed, step) alone, and everything else that a step needs is in the checkpoint, so a
run that was killed ends bitwise equal to one that was not, on the same machine with the same number of processes.

Left out: dropout, biases, grouped key/value heads, rope scaling, several machines. On a GPU the same code runs in
TF32 rather than under bf16 autocast: at this size it waits for kernel launches, not for arithmetic.

Reference: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; Loshchilov and Hutter
2019 (AdamW); Hu et al. 2024 (MiniCPM), for the warm-up, constant, decay schedule.
"""

import dataclasses
import json
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
import torch
import torch.multiprocessing
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from solon.errors import ConfigError, ModelError, RunError, ShapeError
from solon.records import replace_file
from solon.training.metrics import StepLog

CHECKPOINT_NAME = "checkpoint.safetensors"
METRICS_NAME = "metrics.jsonl"

_ADAM_BETAS = (0.9, 0.95)
_ADAM_EPSILON = 1e-8
_MUON_MOMENTUM = 0.95
_BARRIER_TIMEOUT_S = 1800.0


class PretrainConfig(BaseModel):
    """How to pretrain; the model and the documents come from the caller."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1)
    """Optimizer steps of the whole run."""
    batch_tokens: int = Field(default=16384, ge=1)
    """Tokens of a step, over all shards; a shard stops with the document that reaches its part."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """`muon` orthogonalises the updates of the layers' matrices and leaves embedding and gains to AdamW."""
    learning_rate: float = Field(default=4e-3, gt=0)
    """Peak rate of AdamW."""
    muon_learning_rate: float = Field(default=0.02, gt=0)
    """Peak rate of Muon."""
    warmup_steps: int = Field(default=50, ge=0)
    """Steps over which the rates rise linearly from zero."""
    decay_share: float = Field(default=0.4, ge=0, le=1)
    """Share of the steps, the last ones, over which the rates fall linearly to zero."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled, on the layers' matrices only."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest Euclidean norm of the whole gradient of the mean loss."""
    seed: int = Field(default=0, ge=0)
    """Seed of the documents; initial weights are the caller's."""
    shards: int = Field(default=2, ge=1)
    """Independent parts of a step's batch. What a step trains on depends on this, not on `processes`."""
    processes: int = Field(default=1, ge=1)
    """Processes that share the shards; one core each."""
    chunk_tokens: int = Field(default=1024, ge=1)
    """Tokens that go through the model at once. 768 to 2048 fit the caches of a CPU; a GPU wants 32768."""
    data_workers: int = Field(default=0, ge=0)
    """Processes that prepare batches ahead of time; 0 prepares them in line. For a GPU, with `processes` 1."""
    log_every: int = Field(default=10, ge=1)
    """Steps between lines of metrics."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between checkpoints; the last step is always saved."""

    @model_validator(mode="after")
    def _check_processes(self) -> Self:
        if self.shards % self.processes:
            raise ValueError(f"{self.processes} processes cannot share {self.shards} shards evenly: change one")
        if self.processes > 1 and self.data_workers:
            raise ValueError("data_workers needs processes=1: several processes prepare their own batches")
        if self.checkpoint_every % self.log_every:
            raise ValueError("checkpoint_every must be a multiple of log_every, so that a resumed run logs the same")
        return self

    def rate_scale(self, step: int) -> float:
        """Return the factor on the peak learning rates at `step`: warm-up, constant, linear decay to zero."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        decay_steps = self.decay_share * self.steps
        left = (self.steps - step) / decay_steps if decay_steps > 0 else 1.0
        return min(warm, left, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One training text.

    Args:
        ids: token ids. Shape (T,).
        weights: loss weight of each token as a *target*, 0 where it is given rather than learned. The first token
            has no predecessor, so its weight must be 0. Shape (T,).
        soft: targets that are a distribution: (position, {token id: probability}), in place of `ids[position]`
            and with its weight. An answer on a tie is `(t, {A: 0.5, B: 0.5})`.
    """

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]
    soft: Sequence[tuple[int, Mapping[int, float]]] = ()


class DocumentSource(Protocol):
    """Where documents come from: a pure function, so that a resumed run sees what the first one saw.

    It must pickle when several processes are used, and may stop early; `step` lets proportions change over time.
    """

    def __call__(self, step: int, seed: int) -> Iterable[Document]:
        """Yield the documents of one shard of `step`; `seed` differs for every (seed, step, shard)."""


class PretrainLog(NamedTuple):
    """One line of metrics: means over the steps since the previous one."""

    step: int
    tokens: int
    loss: float
    learning_rate: float
    grad_norm: float
    tokens_per_second: float
    data_share: float


@dataclass(frozen=True, slots=True)
class PretrainSummary:
    """What a finished run amounted to; seconds include those before a resume."""

    steps: int
    tokens: int
    loss: float
    seconds: float
    checkpoint: Path


# --------------------------------------------------------------------------------------------------- documents


@dataclass(frozen=True, slots=True)
class Chunk:
    """Documents laid end to end, as tensors.

    The loss of a chunk is `sum_r row_weights[r] * logsumexp(z[r]) - sum_k entry_weights[k] * z[entry_rows[k],
    entry_ids[k]]`, where `z` are the logits of its R trained rows: a hard target has one entry, a soft one several.

    Args:
        ids: token ids, filled up to a multiple of 16 by a document of zeros that nothing trains on. Shape (N,).
        lengths: tokens of each document; they sum to N.
        rows: index into N of each position that predicts a trained token, rising. Shape (R,).
        row_weights: loss weight of each row. Shape (R,).
        entry_rows: row of each entry. Shape (K,).
        entry_ids: token id of each entry. Shape (K,).
        entry_weights: probability times weight of each entry. Shape (K,).
        tokens: tokens before filling up.
    """

    ids: Tensor
    lengths: list[int]
    rows: Tensor
    row_weights: Tensor
    entry_rows: Tensor
    entry_ids: Tensor
    entry_weights: Tensor
    tokens: int

    def to(self, device: torch.device) -> "Chunk":
        """Return the chunk with its tensors on `device`."""
        if device.type == "cpu":
            return self
        return dataclasses.replace(
            self,
            ids=self.ids.to(device),
            rows=self.rows.to(device),
            row_weights=self.row_weights.to(device),
            entry_rows=self.entry_rows.to(device),
            entry_ids=self.entry_ids.to(device),
            entry_weights=self.entry_weights.to(device),
        )


def pack_documents(documents: Sequence[Document], chunk_tokens: int) -> list[Chunk]:
    """Lay documents end to end in chunks of about `chunk_tokens` tokens, in the order given.

    Documents without a trained token are dropped: they would cost time and change nothing.

    Raises:
        ShapeError: a document is malformed; its place in the list is named.
    """
    for i, document in enumerate(documents):
        _check_document(document, f"document {i}")
    trained = [document for document in documents if document.weights.any()]
    total = sum(len(document.ids) for document in trained)
    target = total / max(1, round(total / chunk_tokens))
    chunks: list[Chunk] = []
    group: list[Document] = []
    seen = 0
    for document in trained:
        group.append(document)
        seen += len(document.ids)
        if seen >= target * (len(chunks) + 1) - 0.5:
            chunks.append(_pack_chunk(group))
            group = []
    return [*chunks, _pack_chunk(group)] if group else chunks


def _check_document(document: Document, where: str) -> None:
    ids, weights = document.ids, document.weights
    if ids.ndim != 1 or ids.shape != weights.shape or len(ids) < 2:
        raise ShapeError(f"{where}: ids {ids.shape} and weights {weights.shape} must be equal, one axis, 2 or more")
    if weights[0] != 0 or not np.isfinite(weights).all() or (weights < 0).any():
        raise ShapeError(f"{where}: weights must be finite, none negative, and 0 on the first token")
    for position, target in document.soft:
        if not 0 < position < len(ids) or abs(sum(target.values()) - 1) > 1e-6:
            raise ShapeError(f"{where}: soft target at {position} is outside the text or does not sum to 1")


def _pack_chunk(documents: Sequence[Document]) -> Chunk:
    """Join documents and turn their targets into rows and entries."""
    ids = np.concatenate([document.ids for document in documents]).astype(np.int64)
    weights = np.concatenate([document.weights for document in documents]).astype(np.float32)
    lengths = [len(document.ids) for document in documents]
    targets = np.flatnonzero(weights)
    row_weights = weights[targets]
    entry_rows, entry_ids, entry_weights = np.arange(len(targets)), ids[targets], row_weights
    row_of = {int(target): row for row, target in enumerate(targets)} if any(d.soft for d in documents) else {}
    soft: list[tuple[int, int, float]] = []
    start = 0
    for document, length in zip(documents, lengths, strict=True):
        for position, distribution in document.soft:
            row = row_of.get(start + position)
            if row is not None:
                soft.extend((row, token, p * float(row_weights[row])) for token, p in distribution.items())
        start += length
    if soft:
        hard = ~np.isin(entry_rows, [row for row, _, _ in soft])
        entry_rows = np.concatenate([entry_rows[hard], [row for row, _, _ in soft]])
        entry_ids = np.concatenate([entry_ids[hard], [token for _, token, _ in soft]])
        entry_weights = np.concatenate([entry_weights[hard], np.array([p for _, _, p in soft], np.float32)])
    tokens = len(ids)
    if filling := -tokens % 16:  # matrix products are a third slower on rows that are not aligned
        ids = np.concatenate([ids, np.zeros(filling, np.int64)])
        lengths.append(filling)
    return Chunk(
        ids=torch.from_numpy(ids),
        lengths=lengths,
        rows=torch.from_numpy(targets - 1),
        row_weights=torch.from_numpy(row_weights),
        entry_rows=torch.from_numpy(entry_rows),
        entry_ids=torch.from_numpy(entry_ids),
        entry_weights=torch.from_numpy(entry_weights),
        tokens=tokens,
    )


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


def _iterate_shards(source: DocumentSource, config: PretrainConfig, start: int, rank: int) -> Iterator[list[Chunk]]:
    """Yield the shards of one process in order of (step, shard), sampled ahead where `data_workers` says so."""
    steps, shards = range(start, config.steps), range(rank, config.shards, config.processes)
    mine = ((step, shard) for step in steps for shard in shards)
    if not config.data_workers:
        for step, shard in mine:
            yield pack_documents(sample_shard(source, config, step, shard), config.chunk_tokens)
        return
    with ProcessPoolExecutor(config.data_workers, multiprocessing.get_context("spawn")) as pool:
        waiting: deque[Future[list[Document]]] = deque()
        for step, shard in mine:
            waiting.append(pool.submit(sample_shard, source, config, step, shard))
            if len(waiting) > 2 * config.data_workers:
                yield pack_documents(waiting.popleft().result(), config.chunk_tokens)
        while waiting:
            yield pack_documents(waiting.popleft().result(), config.chunk_tokens)


# ------------------------------------------------------------------------------------------------- the weights


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """The sizes the kernel needs. D = width = heads * head size."""

    layers: int
    width: int
    heads: int
    intermediate: int
    vocab: int
    positions: int
    epsilon: float


class Weights(NamedTuple):
    """A model's parameters as views of one flat tensor, matrices first; gradients have the same form."""

    qkv: Tensor  # (L, 3, D, D)
    out: Tensor  # (L, D, D)
    gate_up: Tensor  # (L, 2, I, D)
    down: Tensor  # (L, D, I)
    embed: Tensor  # (V, D), also the head
    norm_attention: Tensor  # (L, D)
    norm_mlp: Tensor  # (L, D)
    norm_final: Tensor  # (D,)


class _Folded(NamedTuple):
    """The matrices as the kernel uses them, gains and attention scale folded in; gradients have the same form."""

    qkv: Tensor  # (L, 3D, D)
    out: Tensor  # (L, D, D)
    gate_up: Tensor  # (L, 2I, D)
    down: Tensor  # (L, D, I)
    embed: Tensor  # (V, D)
    head: Tensor  # (D, V)


def read_shape(model: nn.Module) -> LlamaShape:
    """Read the sizes of a `LlamaForCausalLM`, and refuse one that the kernel would compute wrongly.

    Raises:
        ModelError: the model has something the kernel leaves out; it is named.
    """
    c: Any = model.config
    required = {
        "model_type": "llama",
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "num_key_value_heads": c.num_attention_heads,
        "head_dim": c.hidden_size // c.num_attention_heads,
        "attention_dropout": 0.0,
    }
    for name, value in required.items():
        if getattr(c, name) != value:
            raise ModelError(f"cannot pretrain a model with {name}={getattr(c, name)!r}: expected {value!r}")
    rope_type = (c.rope_parameters or {}).get("rope_type", "default")
    if rope_type != "default":
        raise ModelError(f"cannot pretrain a model with rope_type={rope_type!r}: expected 'default'")
    return LlamaShape(
        layers=c.num_hidden_layers,
        width=c.hidden_size,
        heads=c.num_attention_heads,
        intermediate=c.intermediate_size,
        vocab=c.vocab_size,
        positions=c.max_position_embeddings,
        epsilon=c.rms_norm_eps,
    )


def view_weights(flat: Tensor, shape: LlamaShape) -> Weights:
    """View a flat tensor of `count_parameters(shape)` numbers as weights; nothing is copied."""
    sizes = _weight_sizes(shape)
    parts = torch.split(flat, [math.prod(size) for size in sizes])
    return Weights(*(part.view(size) for part, size in zip(parts, sizes, strict=True)))


def count_parameters(shape: LlamaShape) -> int:
    """Count the numbers in the model, the tied head once."""
    return sum(math.prod(size) for size in _weight_sizes(shape))


def _weight_sizes(shape: LlamaShape) -> list[tuple[int, ...]]:
    L, D, I, V = shape.layers, shape.width, shape.intermediate, shape.vocab  # noqa: E741
    return [(L, 3, D, D), (L, D, D), (L, 2, I, D), (L, D, I), (V, D), (L, D), (L, D), (D,)]


def name_weights(weights: Weights) -> dict[str, Tensor]:
    """Name each weight as `LlamaForCausalLM.named_parameters` does."""
    named = {"model.embed_tokens.weight": weights.embed, "model.norm.weight": weights.norm_final}
    for layer in range(weights.out.shape[0]):
        q, k, v = weights.qkv[layer]
        gate, up = weights.gate_up[layer]
        parts = {
            "self_attn.q_proj": q,
            "self_attn.k_proj": k,
            "self_attn.v_proj": v,
            "self_attn.o_proj": weights.out[layer],
            "mlp.gate_proj": gate,
            "mlp.up_proj": up,
            "mlp.down_proj": weights.down[layer],
            "input_layernorm": weights.norm_attention[layer],
            "post_attention_layernorm": weights.norm_mlp[layer],
        }
        named.update({f"model.layers.{layer}.{name}.weight": part for name, part in parts.items()})
    return named


def copy_weights(model: nn.Module, weights: Weights, *, into_model: bool) -> None:
    """Copy every parameter from the model to the flat weights, or back.

    Raises:
        ModelError: the two do not have the same parameters.
    """
    named, parameters = name_weights(weights), dict(model.named_parameters())
    if named.keys() != parameters.keys():
        raise ModelError(f"not a plain Llama: it differs in {sorted(named.keys() ^ parameters.keys())[:3]}")
    with torch.no_grad():
        for name, weight in named.items():
            source, target = (weight, parameters[name]) if into_model else (parameters[name], weight)
            target.copy_(source)


# -------------------------------------------------------------------------------------------------- the kernel


class _Arena:
    """One buffer that activations are cut from, so that no step allocates, and faults in, fresh pages.

    `taken` is a stack pointer: a caller saves it before scratch work and puts it back after. The buffer sizes
    itself: what does not fit is allocated as usual, and the next `reset` makes room for the most ever asked.
    """

    def __init__(self, like: Tensor) -> None:
        self._buffer = like.new_empty(0)
        self._most = 0
        self.taken = 0

    def reset(self) -> None:
        if self._most > self._buffer.numel():
            self._buffer = self._buffer.new_zeros(int(1.1 * self._most))
        self.taken = 0

    def __call__(self, *size: int) -> Tensor:
        start, count = self.taken, math.prod(size)
        self.taken = start + -(-count // 16) * 16
        self._most = max(self._most, self.taken)
        if self.taken > self._buffer.numel():
            return self._buffer.new_empty(size)
        return self._buffer[start : start + count].view(size)

    def mm(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.mm(a, b, out=self(a.shape[0], b.shape[1]))


class _Tape(NamedTuple):
    """What one layer keeps for its backward pass."""

    normed: Tensor  # (D, N)
    scale: Tensor  # (N,)
    qkv: Tensor  # (3D, N), rotated
    attention: list[Tensor]  # per document (H, T, T)
    mixed: Tensor  # (D, R)
    normed_mlp: Tensor  # (D, R)
    scale_mlp: Tensor  # (R,)
    gates: Tensor  # (2I, R): d hidden / d up, then d hidden / d gate
    hidden: Tensor  # (I, R)


class FusedLlama:
    """Forward and backward pass of a Llama over packed documents, without autograd.

    Use: `fold` after the weights change, `accumulate` for each chunk, `write_gradient` once. Shapes follow the
    module's docstring: features first, positions last; R counts the positions that carry loss, in the last layer,
    and equals N before it.

    Args:
        flat: the parameters, in the order of `Weights`; read by `fold`, never written.
        shape: sizes of the model.
        inverse_frequencies: of the rotary embedding. Shape (head size / 2,).
    """

    def __init__(self, flat: Tensor, shape: LlamaShape, inverse_frequencies: Tensor) -> None:
        self.shape = shape
        self._weights = view_weights(flat, shape)
        angles = torch.outer(inverse_frequencies, torch.arange(shape.positions).to(inverse_frequencies))
        self._cos, self._sin = angles.cos().to(flat), angles.sin().to(flat)
        self._mask = flat.new_full((shape.positions, shape.positions), -torch.inf).triu(1)
        self._query_scale = flat.new_tensor([(shape.width // shape.heads) ** -0.5, 1.0, 1.0])[:, None, None]
        self._folded = self._new_folded(flat)
        self._gradient = self._new_folded(flat)
        self._arena = _Arena(flat)

    def _new_folded(self, like: Tensor) -> _Folded:
        s = self.shape
        L, D, I, V = s.layers, s.width, s.intermediate, s.vocab  # noqa: E741
        sizes = [(L, 3 * D, D), (L, D, D), (L, 2 * I, D), (L, D, I), (V, D), (D, V)]
        return _Folded(*(like.new_zeros(size) for size in sizes))

    def fold(self) -> None:
        """Take over the current weights and forget the accumulated gradient.

        qkv' = qkv * gain * [1/sqrt(head size), 1, 1],  gate_up' = gate_up * gain,  head' = (embed * gain)^T
        """
        w, f = self._weights, self._folded
        torch.mul(w.qkv, self._query_scale * w.norm_attention[:, None, None], out=f.qkv.view_as(w.qkv))
        torch.mul(w.gate_up, w.norm_mlp[:, None, None], out=f.gate_up.view_as(w.gate_up))
        torch.mul(w.embed.t(), w.norm_final[:, None], out=f.head)
        f.out.copy_(w.out)
        f.down.copy_(w.down)
        f.embed.copy_(w.embed)
        for part in self._gradient:
            part.zero_()

    def write_gradient(self, flat: Tensor) -> None:
        """Write the gradient of the summed loss over all chunks since `fold`, in the order of `Weights`."""
        w, g, into = self._weights, self._gradient, view_weights(flat, self.shape)
        qkv = g.qkv.view_as(w.qkv) * self._query_scale
        gate_up = g.gate_up.view_as(w.gate_up)
        torch.mul(qkv, w.norm_attention[:, None, None], out=into.qkv)
        torch.sum(qkv * w.qkv, (1, 2), out=into.norm_attention)
        torch.mul(gate_up, w.norm_mlp[:, None, None], out=into.gate_up)
        torch.sum(gate_up * w.gate_up, (1, 2), out=into.norm_mlp)
        torch.addcmul(g.embed, g.head.t(), w.norm_final, out=into.embed)
        torch.sum(g.head.t() * w.embed, 0, out=into.norm_final)
        into.out.copy_(g.out)
        into.down.copy_(g.down)

    def logits(self, chunk: Chunk) -> Tensor:
        """Compute the logits of a chunk's trained rows. Shape (R, V)."""
        self._arena.reset()
        return torch.mm(self._forward(chunk)[0].t(), self._folded.head)

    def accumulate(self, chunk: Chunk) -> Tensor:
        """Add a chunk's gradient, and return its summed loss in nats times weight. Shape ().

        Raises:
            ShapeError: a document is longer than the model's positions.
        """
        if max(chunk.lengths) > self.shape.positions:
            raise ShapeError(
                f"a document has {max(chunk.lengths)} tokens; the model has {self.shape.positions} positions"
            )
        arena, f, g = self._arena, self._folded, self._gradient
        arena.reset()
        normed, scale, tape, rotation = self._forward(chunk)
        # Head and loss: z becomes softmax(z) * weight - target, the gradient of the logits, in place.
        z = arena.mm(normed.t(), f.head)
        z.sub_(z.amax(1, keepdim=True))
        picked = z[chunk.entry_rows, chunk.entry_ids]
        total = z.exp_().sum(1)
        loss = total.log().dot(chunk.row_weights) - picked.dot(chunk.entry_weights)
        z.mul_((chunk.row_weights / total)[:, None])
        z.view(-1).index_add_(0, chunk.entry_rows * z.shape[1] + chunk.entry_ids, chunk.entry_weights, alpha=-1)
        g.head.addmm_(normed, z)
        dx = arena(*normed.shape).zero_()
        _norm_backward(arena.mm(f.head, z.t()), normed, scale, dx, arena)
        dx_all = arena(normed.shape[0], chunk.ids.shape[0]).zero_()
        mark = arena.taken
        for layer in reversed(range(self.shape.layers)):
            arena.taken = mark
            dx = self._layer_backward(layer, dx, dx_all, tape.pop(), rotation, chunk)
        g.embed.index_add_(0, chunk.ids, dx.t().contiguous())
        return loss

    def _forward(self, chunk: Chunk) -> tuple[Tensor, Tensor, list[_Tape], tuple[Tensor, Tensor]]:
        """Run the layers; return the normed rows that carry loss, their scale, the tape, and the rotation."""
        arena, f, s = self._arena, self._folded, self.shape
        half, N = s.width // s.heads // 2, chunk.ids.shape[0]
        cos = torch.cat([self._cos[:, :length] for length in chunk.lengths], 1, out=arena(half, N))
        sin = torch.cat([self._sin[:, :length] for length in chunk.lengths], 1, out=arena(half, N))
        x = arena(s.width, N).copy_(f.embed[chunk.ids].t())
        tape: list[_Tape] = []
        for layer in range(s.layers):
            normed, scale = _norm(x, s.epsilon, arena)
            qkv = arena.mm(f.qkv[layer], normed)
            _rotate(qkv[: 2 * s.width].view(2 * s.heads, 2, half, N), cos, sin, arena)
            mixed, attention = _attend(qkv, chunk.lengths, s.heads, self._mask, arena)
            if layer == s.layers - 1:  # nothing after this point mixes positions
                mixed = torch.index_select(mixed, 1, chunk.rows, out=arena(s.width, len(chunk.rows)))
                x = torch.index_select(x, 1, chunk.rows, out=arena(s.width, len(chunk.rows)))
            x.addmm_(f.out[layer], mixed)
            normed_mlp, scale_mlp = _norm(x, s.epsilon, arena)
            gates = arena.mm(f.gate_up[layer], normed_mlp)
            hidden = _gate(gates, arena)
            x.addmm_(f.down[layer], hidden)
            tape.append(_Tape(normed, scale, qkv, attention, mixed, normed_mlp, scale_mlp, gates, hidden))
        normed, scale = _norm(x, s.epsilon, arena)
        return normed, scale, tape, (cos, sin)

    def _layer_backward(
        self, layer: int, dx: Tensor, dx_all: Tensor, tape: _Tape, rotation: tuple[Tensor, Tensor], chunk: Chunk
    ) -> Tensor:
        """Add one layer's gradients; take and return the gradient of the residual stream."""
        arena, f, g, s = self._arena, self._folded, self._gradient, self.shape
        g.down[layer].addmm_(dx, tape.hidden.t())
        dhidden = arena.mm(f.down[layer].t(), dx)
        dgates = arena(*tape.gates.shape)
        torch.mul(dhidden, tape.gates[s.intermediate :], out=dgates[: s.intermediate])
        torch.mul(dhidden, tape.gates[: s.intermediate], out=dgates[s.intermediate :])
        g.gate_up[layer].addmm_(dgates, tape.normed_mlp.t())
        _norm_backward(arena.mm(f.gate_up[layer].t(), dgates), tape.normed_mlp, tape.scale_mlp, dx, arena)
        g.out[layer].addmm_(dx, tape.mixed.t())
        dmixed = arena.mm(f.out[layer].t(), dx)
        if layer == s.layers - 1:
            dmixed = arena(*dx_all.shape).zero_().index_copy_(1, chunk.rows, dmixed)
            dx = dx_all.index_copy_(1, chunk.rows, dx)
        dqkv = _attend_backward(dmixed, tape.qkv, tape.attention, chunk.lengths, s.heads, arena)
        cos, sin = rotation
        _rotate(dqkv[: 2 * s.width].view(2 * s.heads, 2, *cos.shape), cos, -sin, arena)
        g.qkv[layer].addmm_(dqkv, tape.normed.t())
        _norm_backward(arena.mm(f.qkv[layer].t(), dqkv), tape.normed, tape.scale, dx, arena)
        return dx


def _norm(x: Tensor, epsilon: float, arena: _Arena) -> tuple[Tensor, Tensor]:
    """Return y = x * r and r = 1 / sqrt(mean(x^2) + epsilon), the mean over features. Shapes (D, N), (N,)."""
    y = torch.mul(x, x, out=arena(*x.shape))
    r = torch.sum(y, 0, out=arena(x.shape[1])).div_(x.shape[0]).add_(epsilon).rsqrt_()
    return torch.mul(x, r, out=y), r


def _norm_backward(dy: Tensor, y: Tensor, r: Tensor, dx: Tensor, arena: _Arena) -> None:
    """Add r * (dy - y * mean(dy * y)) to `dx`; `dy` is spent."""
    mark = arena.taken
    product = torch.mul(dy, y, out=arena(*dy.shape))
    mean = torch.sum(product, 0, out=arena(dy.shape[1])).div_(-dy.shape[0])
    dx.addcmul_(dy.addcmul_(y, mean), r)
    arena.taken = mark


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, arena: _Arena) -> None:
    """Turn each pair (a, b) to (a cos - b sin, b cos + a sin), in place. Shape (2H, 2, head size / 2, N)."""
    mark = arena.taken
    a, b = x.unbind(1)
    turned = torch.mul(a, sin, out=arena(*a.shape))
    a.mul_(cos).addcmul_(b, sin, value=-1)
    b.mul_(cos).add_(turned)
    arena.taken = mark


def _attend(qkv: Tensor, lengths: list[int], heads: int, mask: Tensor, arena: _Arena) -> tuple[Tensor, list[Tensor]]:
    """Mix values within each document, causally: softmax(q^T k) v. Returns (D, N) and (H, T, T) per document."""
    width, N = qkv.shape[0] // 3, qkv.shape[1]
    mixed = arena(width, N)
    kept: list[Tensor] = []
    documents = torch.split(qkv.view(3, heads, -1, N), lengths, 3)
    for document, into in zip(documents, torch.split(mixed.view(heads, -1, N), lengths, 2), strict=True):
        q, k, v = document.unbind(0)
        T = q.shape[2]
        p = torch.baddbmm(mask[:T, :T], q.transpose(1, 2), k, out=arena(heads, T, T))
        kept.append(torch.softmax(p, -1, out=p))
        mark = arena.taken
        into.copy_(torch.bmm(v, p.transpose(1, 2), out=arena(*v.shape)))
        arena.taken = mark
    return mixed, kept


def _attend_backward(
    dmixed: Tensor, qkv: Tensor, kept: list[Tensor], lengths: list[int], heads: int, arena: _Arena
) -> Tensor:
    """Return the gradient of queries, keys and values. Shape (3D, N)."""
    N = qkv.shape[1]
    dqkv = arena(*qkv.shape)
    mark = arena.taken
    documents = zip(
        torch.split(qkv.view(3, heads, -1, N), lengths, 3),
        torch.split(dmixed.view(heads, -1, N), lengths, 2),
        torch.split(dqkv.view(3, heads, -1, N), lengths, 3),
        kept,
        strict=True,
    )
    for document, do, into, p in documents:
        arena.taken = mark
        q, k, v = document.unbind(0)
        dq, dk, dv = into.unbind(0)
        scratch = arena(*v.shape)
        dv.copy_(torch.bmm(do, p, out=scratch))
        dp = torch.bmm(do.transpose(1, 2), v, out=arena(*p.shape))
        ds = torch._softmax_backward_data(dp, p, -1, p.dtype, grad_input=arena(*p.shape))
        dq.copy_(torch.bmm(k, ds.transpose(1, 2), out=scratch))
        dk.copy_(torch.bmm(q, ds, out=scratch))
    return dqkv


def _gate(gates: Tensor, arena: _Arena) -> Tensor:
    """Return silu(g) * u; leave its derivative by u where g was, and by g where u was. Shape (I, N).

    With s = sigmoid(g) and y = g s = silu(g):  d silu(g) / dg = s - y s + y
    """
    g, u = gates.chunk(2)
    hidden = arena(*g.shape)
    mark = arena.taken
    s = torch.sigmoid(g, out=arena(*g.shape))
    y = g.mul_(s)
    torch.mul(y, u, out=hidden)
    u.mul_(s.addcmul_(y, s, value=-1).add_(y))
    arena.taken = mark
    return hidden


# ----------------------------------------------------------------------------------------------- the optimizer


def orthogonalize(x: Tensor, steps: int = 5) -> Tensor:
    """Push the singular values of each matrix towards 1 by a quintic Newton-Schulz iteration.

        X <- a X + (b A + c A^2) X,    A = X X^T,    (a, b, c) = (3.4445, -4.7750, 2.0315)

    Args:
        x: matrices. Shape (B, M, K).
        steps: iterations; after 5 the singular values lie in about [0.7, 1.2].

    Reference: Jordan et al. 2024.
    """
    if x.shape[1] > x.shape[2]:
        return orthogonalize(x.transpose(1, 2), steps).transpose(1, 2)
    a, b, c = 3.4445, -4.7750, 2.0315
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


@dataclass(frozen=True, slots=True)
class _State:
    """Everything a step changes, as flat tensors; shared memory where several processes train."""

    parameters: Tensor
    first: Tensor  # AdamW's first moment, Muon's momentum
    second: Tensor  # AdamW's second moment, of the parameters that AdamW updates

    @classmethod
    def build(cls, shape: LlamaShape, config: PretrainConfig, device: torch.device) -> "_State":
        count = count_parameters(shape)
        adam = count - _count_muon(shape, config)
        return cls(*(torch.zeros(n, device=device) for n in (count, count, adam)))

    def tensors(self) -> dict[str, Tensor]:
        return {"parameters": self.parameters, "first": self.first, "second": self.second}


def _count_matrices(shape: LlamaShape) -> int:
    return sum(math.prod(size) for size in _weight_sizes(shape)[:4])


def _count_muon(shape: LlamaShape, config: PretrainConfig) -> int:
    return _count_matrices(shape) if config.optimizer == "muon" else 0


def _update(state: _State, gradient: Tensor, shape: LlamaShape, config: PretrainConfig, step: int, rank: int) -> None:
    """Update this process's part of the parameters by Muon and AdamW, from the gradient of the mean loss."""
    scale, muon = config.rate_scale(step), _count_muon(shape, config)
    if muon:
        rate = scale * config.muon_learning_rate
        views = [view_weights(flat, shape)[:4] for flat in (state.parameters, gradient, state.first)]
        for parameter, grad, momentum in zip(*views, strict=True):
            rows, columns = parameter.shape[-2:]
            p, g, m = (t.view(-1, rows, columns)[rank :: config.processes] for t in (parameter, grad, momentum))
            m.lerp_(g, 1 - _MUON_MOMENTUM)
            update = orthogonalize(torch.lerp(g, m, _MUON_MOMENTUM))
            p.mul_(1 - rate * config.weight_decay).add_(update, alpha=-rate * max(1.0, rows / columns) ** 0.5)
    edges = torch.linspace(muon, len(state.parameters), config.processes + 1).long().tolist()
    low, high = edges[rank], edges[rank + 1]
    decayed = state.parameters[low : max(low, min(high, _count_matrices(shape)))]
    rate = scale * config.learning_rate
    decayed.mul_(1 - rate * config.weight_decay)
    beta1, beta2 = _ADAM_BETAS
    g, m, v = gradient[low:high], state.first[low:high], state.second[low - muon : high - muon]
    m.lerp_(g, 1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    denominator = (v / (1 - beta2 ** (step + 1))).sqrt_().add_(_ADAM_EPSILON)
    state.parameters[low:high].addcdiv_(m, denominator, value=-rate / (1 - beta1 ** (step + 1)))


# ------------------------------------------------------------------------------------------------- checkpoints


@dataclass(slots=True)
class _Progress:
    """How far a run is; `loss` is the last one logged, `seconds` include those before a resume."""

    step: int = 0
    tokens: int = 0
    loss: float = math.nan
    seconds: float = 0.0


def _identify(config: PretrainConfig, shape: LlamaShape) -> str:
    """Write what a checkpoint must agree with for a resumed run to be the same run."""
    free = {"log_every", "checkpoint_every", "data_workers"}
    return json.dumps([config.model_dump(exclude=free), dataclasses.asdict(shape)], sort_keys=True)


def _save_checkpoint(path: Path, state: _State, identity: str, progress: _Progress) -> None:
    """Write one safetensors file, its header carrying the progress as JSON, and put it in place by a rename."""
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in state.tensors().items()}
    metadata = {"identity": identity, "progress": json.dumps(dataclasses.asdict(progress))}
    with replace_file(path) as temporary:
        save_file(tensors, temporary, metadata)


def _load_checkpoint(path: Path, state: _State, identity: str) -> _Progress:
    """Fill the state from a checkpoint, and return its progress.

    Raises:
        RunError: the checkpoint belongs to another configuration or shape.
    """
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        if metadata["identity"] != identity:
            raise RunError(f"{path} belongs to another run: use another folder, or its config: {metadata['identity']}")
        for name, tensor in state.tensors().items():
            tensor.copy_(file.get_tensor(name))
    return _Progress(**json.loads(metadata["progress"]))


# ---------------------------------------------------------------------------------------------------- the loop


class _Barrier(Protocol):
    def wait(self, timeout: float | None = None) -> int: ...
    def abort(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Job:
    """What every process of a run is given. `slots` has a row per process: its gradient, loss, weight, tokens."""

    config: PretrainConfig
    shape: LlamaShape
    source: DocumentSource
    state: _State
    slots: Tensor
    inverse_frequencies: Tensor
    barrier: _Barrier


class _StepResult(NamedTuple):
    step: int
    loss: float
    tokens: int
    grad_norm: float
    data_seconds: float


def run_pretrain(
    model: nn.Module,
    documents: DocumentSource,
    config: PretrainConfig,
    out: Path,
    on_log: Callable[[PretrainLog], None] = lambda _: None,
) -> PretrainSummary:
    """Pretrain a `LlamaForCausalLM` in place, or go on from the checkpoint in `out`.

    Each step takes the gradient of the weighted mean of the trained tokens' negative log-probability. Torch runs on
    one thread per process meanwhile. The folder holds `checkpoint.safetensors` and `metrics.jsonl`; saving the
    model, with its tokenizer, is the caller's.

    Args:
        model: on the device to train on; float32. A checkpoint, if there is one, replaces its weights.
        documents: the source; must pickle if `config.processes` or `config.data_workers` asks for processes.
        config: how to train.
        out: folder of this run.
        on_log: called with each line of metrics.

    Raises:
        ModelError: the model is not a plain Llama, or its loss stops being finite.
        RunError: `out` belongs to another run, or a process died.
        ShapeError: a document is malformed or too long.
    """
    out.mkdir(parents=True, exist_ok=True)
    shape, parameter = read_shape(model), next(model.parameters())
    if parameter.dtype != torch.float32:
        raise ModelError(f"cannot pretrain a {parameter.dtype} model: load it in float32")
    if parameter.device.type != "cpu" and config.processes > 1:
        raise ConfigError("processes > 1 is for CPUs: use 1 on a GPU")
    state = _State.build(shape, config, parameter.device)
    copy_weights(model, view_weights(state.parameters, shape), into_model=False)
    identity, checkpoint = _identify(config, shape), out / CHECKPOINT_NAME
    progress = _Progress()
    if checkpoint.exists():
        progress = _load_checkpoint(checkpoint, state, identity)
    if progress.step < config.steps:
        frequencies = model.get_buffer("model.rotary_emb.inv_freq").detach().clone()
        slots = torch.zeros(config.processes, len(state.parameters) + 3, device=parameter.device)
        barrier = multiprocessing.get_context("spawn").Barrier(config.processes)
        job = _Job(config, shape, documents, state, slots, frequencies, barrier)
        with (
            _one_thread(parameter.device),
            _workers(job, progress.step),
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
                    _save_checkpoint(checkpoint, state, identity, progress)
    copy_weights(model, view_weights(state.parameters, shape), into_model=True)
    return PretrainSummary(progress.step, progress.tokens, progress.loss, progress.seconds, checkpoint)


def _train(job: _Job, start: int, rank: int) -> Iterator[_StepResult]:
    """Run the steps of one process. All processes see the same sums, so all stop at the same error."""
    config, state, slot = job.config, job.state, job.slots[rank]
    kernel = FusedLlama(state.parameters, job.shape, job.inverse_frequencies)
    shards = _iterate_shards(job.source, config, start, rank)
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
            _update(state, gradient, job.shape, config, step, rank)
            job.barrier.wait(_BARRIER_TIMEOUT_S)  # every slot is read, every parameter written
            yield _StepResult(step, loss / weight, int(tokens), norm, data_seconds)


@dataclass(slots=True)
class _Window:
    """The steps since the last line of metrics."""

    results: list[_StepResult] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def summarize(self, progress: _Progress, config: PretrainConfig) -> PretrainLog:
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


@contextmanager
def _one_thread(device: torch.device) -> Generator[None]:
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
def _workers(job: _Job, start: int) -> Generator[None]:
    """Run the other processes of a job beside the body; none outlives it, and it does not wait for a dead one."""
    if job.config.processes == 1:
        yield
        return
    for tensor in (*job.state.tensors().values(), job.slots):
        tensor.share_memory_()  # type: ignore[no-untyped-call]
    context = torch.multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(job, start, rank)) for rank in range(1, job.config.processes)]
    try:
        for worker in workers:
            worker.start()
        threading.Thread(target=_abort_on_death, args=(workers, job.barrier), daemon=True).start()
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


def _work(job: _Job, start: int, rank: int) -> None:
    """Be one of the other processes, and leave when the first one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process gets it too, and ends this one
    threading.Thread(target=_exit_after_parent, daemon=True).start()
    torch.set_num_threads(1)
    for _ in _train(job, start, rank):
        pass


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _abort_on_death(workers: Sequence[multiprocessing.process.BaseProcess], barrier: _Barrier) -> None:
    """Break the barrier once a worker has ended other than well, so that nobody waits for it."""
    left = list(workers)
    while left:
        multiprocessing.connection.wait([worker.sentinel for worker in left])
        ended = [worker for worker in left if not worker.is_alive()]
        left = [worker for worker in left if worker not in ended]
        if any(worker.exitcode for worker in ended):
            barrier.abort()
            return
