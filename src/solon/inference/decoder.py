"""Our own forward pass over the parameters of a Llama-shaped model, for reading prompts and emitting tokens.

The parameters are the model's own, where it has them: nothing is copied, and what an optimizer does to them in place is
seen at once. Queries and keys are kept as pairs that a rotary position turns by one complex multiplication. Keys and
values lie in one contiguous tensor per layer that grows by buckets of 32 columns. A row's tokens need not be adjacent
in it: a bias of 0 or -inf per column says which columns are the row's own, and positions are per row, so that padding,
shared prefixes and rows of different length are exact.

Left out: dropout, sliding windows, positions scaled by length, quantised or adapted layers. `nets.is_llama_shaped`
says whether a model fits; others are driven through transformers' own `generate`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from solon.inference.cache import Cache
from solon.inference.prefix_sharing import plan_prefixes
from solon.nets.llama import LlamaLayer, LlamaModel

CHUNK_TOKENS = 2048
"""Tokens that one pass over a batch of prompts reads at a time, so that activations stay in the processor's cache."""

POSITIONS = 256
"""Positions whose rotations are computed in advance; more when they are reached."""


class _Linear(NamedTuple):
    """A linear map: x @ weight.T + bias.

    Attributes:
        weight: shape (out, in).
        bias: shape (out,).
    """

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, module: nn.Linear) -> "_Linear":
        """Take the parameters of a module, as they are."""
        return cls(module.weight.detach(), None if module.bias is None else module.bias.detach())

    def apply(self, x: Tensor) -> Tensor:
        """Return the map of `x`."""
        return functional.linear(x, self.weight, self.bias)

    def add_to(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Return `x` and the map of `hidden`, added up."""
        return self.apply(hidden).add_(x)


class _Layer(NamedTuple):
    """The weights of one decoder layer, W wide, with H query heads, H_kv key heads and F hidden units.

    Attributes:
        input_norm: shape (W,).
        query: W to H * D.
        key: W to H_kv * D.
        value: W to H_kv * D.
        query_norm: shape (D,), where heads are normed.
        key_norm: the same of keys.
        out: H * D to W.
        middle_norm: shape (W,).
        gate: W to F.
        up: W to F.
        down: F to W.
    """

    input_norm: Tensor
    query: _Linear
    key: _Linear
    value: _Linear
    query_norm: Tensor | None
    key_norm: Tensor | None
    out: _Linear
    middle_norm: Tensor
    gate: _Linear
    up: _Linear
    down: _Linear

    @classmethod
    def of(cls, layer: LlamaLayer) -> "_Layer":
        """Take the parameters of a model's layer, as they are."""
        attention, mlp = layer.self_attn, layer.mlp
        return cls(
            input_norm=layer.input_layernorm.weight.detach(),
            query=_Linear.of(attention.q_proj),
            key=_Linear.of(attention.k_proj),
            value=_Linear.of(attention.v_proj),
            query_norm=attention.q_norm.weight.detach() if hasattr(attention, "q_norm") else None,
            key_norm=attention.k_norm.weight.detach() if hasattr(attention, "k_norm") else None,
            out=_Linear.of(attention.o_proj),
            middle_norm=layer.post_attention_layernorm.weight.detach(),
            gate=_Linear.of(mlp.gate_proj),
            up=_Linear.of(mlp.up_proj),
            down=_Linear.of(mlp.down_proj),
        )


class LlamaDecoder:
    """Reads prompts into a cache and extends it token by token.

    Args:
        model: a causal language model for which `is_llama_shaped` holds.
    """

    def __init__(self, model: LlamaModel) -> None:
        self._model = model
        config, attention = model.config, model.base_model.layers[0].self_attn
        self._head_dim: int = attention.head_dim
        self._heads: int = config.num_attention_heads
        self._kv_heads: int = config.num_key_value_heads
        self._groups = self._heads // self._kv_heads
        self._scale = float(attention.scaling)
        embedding = model.base_model.embed_tokens.weight
        self._device, self._dtype = embedding.device, embedding.dtype
        self._eps = torch.tensor(float(config.rms_norm_eps), device=self._device)
        self._rotations = self._build_rotations(POSITIONS)
        self.refresh()

    @torch.inference_mode()
    def refresh(self) -> None:
        """Find the model's parameters again; called whenever others may have taken their place."""
        base, head = self._model.base_model, self._model.get_output_embeddings()
        assert head is not None  # what tokens are drawn from has one
        self._embedding = base.embed_tokens.weight.detach()
        self._layers = [_Layer.of(layer) for layer in base.layers]
        self._norm, self._head = base.norm.weight.detach(), _Linear.of(head)

    def _build_rotations(self, positions: int) -> Tensor:
        """Return the rotation of each position as complex numbers. Shape (positions, D / 2)."""
        rotary = self._model.base_model.rotary_emb
        steps = torch.arange(positions, device=self._device, dtype=torch.float32)
        angles = steps[:, None] * rotary.inv_freq.to(device=self._device, dtype=torch.float32)
        return torch.complex(angles.cos(), angles.sin()) * float(rotary.attention_scaling)

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[list[int]]) -> tuple[Cache, Tensor]:
        """Read prompts; equal ones, and equal beginnings, once.

        Args:
            prompts: token ids, each row with at least one.

        Returns:
            The cache, and the logits of each row's next token. Shape (B, V).
        """
        # 1. Equal prompts become one row; they part after everything is read.
        index: dict[tuple[int, ...], int] = {}
        inverse = [index.setdefault(tuple(prompt), len(index)) for prompt in prompts]
        rows = [list(row) for row in index]
        # 2. Beginnings that rows share, then, from a copy of their cache for each row, what follows.
        plan = plan_prefixes(rows)
        if plan is None:
            cache = self._empty(len(rows))
            hidden = self._prefill_chunk(cache, rows)
        else:
            cache = self._empty(len(plan.prefixes))
            self._prefill_chunk(cache, plan.prefixes)
            cache = cache.select(torch.tensor(plan.owner, device=self._device))
            hidden = self._prefill_chunk(cache, plan.rests)
        # 3. Logits once for equal prompts, before they part: the head is as wide as the vocabulary.
        logits = self._logits(hidden)
        if len(rows) < len(prompts):
            chosen = torch.tensor(inverse, device=self._device)
            cache, logits = cache.select(chosen), logits.index_select(0, chosen)
        return cache, logits

    @torch.inference_mode()
    def extend_logits(self, cache: Cache, blocks: Sequence[list[int]]) -> Tensor:
        """Read more tokens of each row, at least one, without moving on: the next call starts from the same place.

        Returns:
            Logits after each of them; what stands past a row's own tokens means nothing. Shape (B, longest, V).
        """
        ids, lengths = self._pad(blocks)
        self._reserve(cache, cache.used + ids.shape[1])
        hidden = self._forward_block(cache, ids, lengths, last_only=False)
        cache.bias[:, cache.used :] = float("-inf")  # what was peeked at is not the row's own
        return self._logits(hidden)

    @torch.inference_mode()
    def step(self, cache: Cache, tokens: Tensor) -> Tensor:
        """Read one more token of each row.

        Args:
            cache: changed in place.
            tokens: shape (B,).

        Returns:
            The logits of the next token. Shape (B, V).
        """
        column = cache.used
        self._reserve(cache, column + 1)
        cache.bias[:, column] = 0.0  # first, since a token sees itself
        cache.used = column + 1
        # A token's position is the number of those before it, so it is looked up before it is counted.
        rotation = self._rotations[cache.positions].unsqueeze(1)
        cache.positions += 1
        bias = self._attention_bias_of(cache)
        x = functional.embedding(tokens, self._embedding)
        for layer, keys, values in zip(self._layers, cache.keys, cache.values, strict=True):
            normed = self._rms(x, layer.input_norm)
            query = self._rotate(self._query(layer, normed), rotation)
            key, value = self._key_value(layer, normed)
            # Stored turned to its position, once, and before attention, which reads it from the cache with the others.
            self._store_rotated(keys.select(2, column), key, rotation)
            values.select(2, column).copy_(value)
            x = layer.out.add_to(x, self._attend(query, keys, values, bias))
            x = self._feed_forward(layer, x)
        return self._logits(x)

    def _prefill_chunk(self, cache: Cache, rows: Sequence[list[int]]) -> Tensor:
        """Read rows into the cache, some at a time; return the hidden state of each row's last token. Shape (B, W)."""
        ids, lengths = self._pad(rows)
        width, start_column = ids.shape[1], cache.used
        self._reserve(cache, start_column + width)
        # Every chunk starts from the same column: only when all rows have been read does the cache move on.
        at_once = max(1, CHUNK_TOKENS // width)
        found = []
        for start in range(0, len(rows), at_once):
            stop = min(start + at_once, len(rows))
            found.append(
                self._forward_block(cache.view(start, stop), ids[start:stop], lengths[start:stop], last_only=True)
            )
        cache.used = start_column + width
        cache.positions += lengths
        return torch.cat(found)

    def _forward_block(self, cache: Cache, ids: Tensor, lengths: Tensor, *, last_only: bool) -> Tensor:
        """Run the layers over several tokens of each row, padded on the right; room for them is there.

        Returns:
            Hidden states of all tokens (B, S, W), or with `last_only` of each row's last (B, W); then the last
            layer computes nothing else but keys and values for the others.
        """
        batch, width = ids.shape
        start = cache.used
        stop = start + width
        columns = torch.arange(width, device=self._device)
        cache.bias[:, start:stop] = torch.where(columns < lengths[:, None], 0.0, float("-inf"))
        mask = None
        # Without anything before the block, plain causal attention is exact: padding is on the right, where no token
        # of the row looks.
        if start:
            mask = cache.bias[:, None, None, :stop].to(self._dtype).repeat(1, 1, width, 1)
            mask[..., start:] = torch.where(columns <= columns[:, None], 0.0, float("-inf")).to(self._dtype)
        rotation = self._rotations[cache.positions[:, None] + columns].unsqueeze(2)
        x = functional.embedding(ids, self._embedding)
        for number, (layer, keys, values) in enumerate(zip(self._layers, cache.keys, cache.values, strict=True)):
            # In the last layer only the last token is asked; of the others it needs keys and values, not their output.
            if last_only and number == len(self._layers) - 1:
                return self._last_layer(cache, layer, x, lengths, rotation)
            normed = self._rms(x, layer.input_norm)
            query = self._rotate(self._query(layer, normed), rotation).transpose(1, 2)
            key, value = self._store_block(layer, normed, rotation, keys, values, start)
            mixed = functional.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=mask,
                is_causal=not start,
                scale=self._scale,
                enable_gqa=self._groups > 1,
            )
            x = layer.out.add_to(x, mixed.transpose(1, 2).reshape(batch, width, -1))
            x = self._feed_forward(layer, x)
        return x

    def _last_layer(self, cache: Cache, layer: _Layer, x: Tensor, lengths: Tensor, rotation: Tensor) -> Tensor:
        """Run the last layer for each row's last token, storing keys and values of all. Shape (B, W)."""
        rows, last = torch.arange(x.shape[0], device=self._device), lengths - 1
        normed = self._rms(x, layer.input_norm)
        self._store_block(layer, normed, rotation, cache.keys[-1], cache.values[-1], cache.used)
        query = self._rotate(self._query(layer, normed[rows, last]), rotation[rows, last])
        bias = self._attention_bias_of(cache)
        mixed = self._attend(query, cache.keys[-1], cache.values[-1], bias)
        return self._feed_forward(layer, layer.out.add_to(x[rows, last], mixed))

    def _query(self, layer: _Layer, normed: Tensor) -> Tensor:
        """Return queries, not yet turned to their positions. Shape (..., H, D)."""
        return self._maybe_rms(self._heads_of(layer.query.apply(normed)), layer.query_norm)

    def _key_value(self, layer: _Layer, normed: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys, not yet turned to their positions, and values. Shape (..., H_kv, D) each."""
        key, value = self._heads_of(layer.key.apply(normed)), self._heads_of(layer.value.apply(normed))
        return self._maybe_rms(key, layer.key_norm), value

    def _heads_of(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], -1, self._head_dim)

    def _store_block(
        self, layer: _Layer, normed: Tensor, rotation: Tensor, keys: Tensor, values: Tensor, start: int
    ) -> tuple[Tensor, Tensor]:
        """Store a block's keys and values; return all of the rows' so far (B, H_kv, columns, D)."""
        stop = start + normed.shape[1]
        key, value = self._key_value(layer, normed)
        self._store_rotated(keys[:, :, start:stop], key.transpose(1, 2), rotation.transpose(1, 2))
        values[:, :, start:stop] = value.transpose(1, 2)
        return keys[:, :, :stop], values[:, :, :stop]

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Attend with one query per row and head (B, H, D) over the columns that `bias` lets see. Shape (B, H * D)."""
        # Over whole buckets: a part of one is a strided slice, which is copied, and a width of its own at every token,
        # for which the kernels of half precision are looked up anew. Columns past those in use weigh nothing.
        flat = (query.shape[0] * self._kv_heads, -1, self._head_dim)
        weights = torch.baddbmm(bias, query.view(flat), keys.view(flat).transpose(1, 2), alpha=self._scale)
        return torch.bmm(weights.softmax(dim=-1), values.view(flat)).view(query.shape[0], -1)

    def _attention_bias_of(self, cache: Cache) -> Tensor:
        """Repeat each row's bias for its heads. Shape (B * H_kv, groups, columns kept)."""
        bias = cache.bias[:, None, None, :].to(self._dtype)
        return bias.expand(-1, self._kv_heads, self._groups, -1).reshape(-1, self._groups, bias.shape[-1])

    def _feed_forward(self, layer: _Layer, x: Tensor) -> Tensor:
        normed = self._rms(x, layer.middle_norm)
        hidden = functional.silu(layer.gate.apply(normed)).mul_(layer.up.apply(normed))
        return layer.down.add_to(x, hidden)

    def _rms(self, x: Tensor, weight: Tensor) -> Tensor:
        """Divide by the root mean square over the last dimension and multiply by `weight`."""
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        inverse = torch.addcmul(self._eps, norm, norm, value=1.0 / x.shape[-1]).rsqrt_()
        return (wide * inverse).to(self._dtype).mul_(weight)

    def _maybe_rms(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return x if weight is None else self._rms(x, weight)

    def _rotate(self, x: Tensor, rotation: Tensor) -> Tensor:
        """Turn queries to their positions; contiguous, the numbers of a pair adjacent. Shape as `x`."""
        return torch.view_as_real(_pair(x) * rotation).flatten(-2).to(self._dtype)

    def _store_rotated(self, slot: Tensor, x: Tensor, rotation: Tensor) -> None:
        """Turn keys to their positions, into their place in the cache, the numbers of a pair adjacent."""
        if self._dtype == torch.float32:
            torch.mul(_pair(x), rotation, out=torch.view_as_complex(slot.view(*slot.shape[:-1], -1, 2)))
        else:
            slot.copy_(self._rotate(x, rotation))

    def _logits(self, x: Tensor) -> Tensor:
        return self._head.apply(self._rms(x, self._norm)).float()

    def _empty(self, rows: int) -> Cache:
        shape = (rows, self._kv_heads, 0, self._head_dim)
        return Cache.empty(shape, len(self._layers), device=self._device, dtype=self._dtype)

    def _reserve(self, cache: Cache, columns: int) -> None:
        """Make room for that many columns, and for their positions."""
        if columns >= len(self._rotations):
            self._rotations = self._build_rotations(2 * columns)
        cache.reserve(columns)

    def _pad(self, rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        """Return rows padded on the right, and their lengths. Shapes (B, S), (B,)."""
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self._device)
        return ids, torch.tensor([len(row) for row in rows], device=self._device)


def _pair(x: Tensor) -> Tensor:
    """Pair the first half of each head's numbers with the second, as a rotation mixes them. Shape (..., D / 2)."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.complex(first, second)
