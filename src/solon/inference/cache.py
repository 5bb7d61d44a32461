"""Keys and values of a batch of sequences, in tensors that grow by buckets.

Attention over a contiguous tensor is several times as fast as over a strided slice of a larger one, and growing it
at every token would copy it at every token; buckets of 32 columns are between the two.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

BUCKET = 32
"""Columns by which the cache grows."""


@dataclass(slots=True)
class Cache:
    """Keys and values of a batch.

    Attributes:
        keys: one tensor per layer. Shape (B, H_kv, columns kept, D).
        values: the same of values.
        bias: 0 where a column is the row's own, -inf where not. Shape (B, columns kept).
        positions: the next token's position, which is the number of tokens read. Shape (B,).
        used: columns in use.
    """

    keys: list[Tensor]
    values: list[Tensor]
    bias: Tensor
    positions: Tensor
    used: int

    @classmethod
    def empty(
        cls, shape: tuple[int, int, int, int], layers: int, *, device: torch.device, dtype: torch.dtype
    ) -> "Cache":
        """Return a cache in which nothing was read; `shape` is that of a layer's keys, without columns."""
        return cls(
            [torch.empty(shape, device=device, dtype=dtype) for _ in range(layers)],
            [torch.empty(shape, device=device, dtype=dtype) for _ in range(layers)],
            torch.empty((shape[0], 0), device=device),
            torch.zeros(shape[0], dtype=torch.long, device=device),
            0,
        )

    def reserve(self, columns: int) -> None:
        """Make room for that many columns, in whole buckets."""
        kept = self.bias.shape[1]
        if columns <= kept:
            return
        more = -(-columns // BUCKET) * BUCKET - kept
        for tensors in (self.keys, self.values):
            for index, tensor in enumerate(tensors):
                tensors[index] = functional.pad(tensor, (0, 0, 0, more))
        self.bias = functional.pad(self.bias, (0, more), value=float("-inf"))

    def select(self, rows: Tensor) -> "Cache":
        """Return the cache of the given rows, in their order, repeated where they repeat."""
        return Cache(
            [tensor.index_select(0, rows) for tensor in self.keys],
            [tensor.index_select(0, rows) for tensor in self.values],
            self.bias.index_select(0, rows),
            self.positions.index_select(0, rows),
            self.used,
        )

    def view(self, start: int, stop: int) -> "Cache":
        """Return rows start..stop over the same storage."""
        return Cache(
            [tensor[start:stop] for tensor in self.keys],
            [tensor[start:stop] for tensor in self.values],
            self.bias[start:stop],
            self.positions[start:stop],
            self.used,
        )
