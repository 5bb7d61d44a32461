"""What is trained on: documents, and documents laid end to end as the tensors that the kernel takes."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from solon.errors import ShapeError


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """One training text.

    Args:
        ids: token ids. Shape (T,).
        weights: loss weight of each token as a *target*, 0 where it is given rather than learned. The first token
            has no predecessor, so its weight must be 0. Shape (T,).
        soft: targets that are a distribution: (position, {token id: probability}), in place of `ids[position]`
            and with its weight. An answer on a tie is `(t, {A: 0.5, B: 0.5})`. A position has one at most.
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

    Args:
        documents: what to lay out; checked.
        chunk_tokens: about how many tokens a chunk takes; it ends with a document.

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
    """Refuse a document that would be trained on wrongly, `where` naming it.

    Token ids have no upper bound here: one beyond the vocabulary ends the run where it is looked up.
    """
    ids, weights = document.ids, document.weights
    if ids.ndim != 1 or ids.shape != weights.shape or len(ids) < 2:
        raise ShapeError(f"{where}: ids {ids.shape} and weights {weights.shape} must be equal, one axis, 2 or more")
    if weights[0] != 0 or not np.isfinite(weights).all() or (weights < 0).any():
        raise ShapeError(f"{where}: weights must be finite, none negative, and 0 on the first token")
    if ids.min() < 0 or any(token < 0 for _, target in document.soft for token in target):
        raise ShapeError(f"{where}: token ids must not be negative")
    for position, target in document.soft:
        if not 0 < position < len(ids) or not abs(sum(target.values()) - 1) <= 1e-6 or min(target.values()) < 0:
            raise ShapeError(f"{where}: soft target at {position} is outside the text or not a distribution")
    if len({position for position, _ in document.soft}) < len(document.soft):
        raise ShapeError(f"{where}: two soft targets at one position")


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
