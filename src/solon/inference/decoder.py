"""Our own forward pass over the parameters of a Llama-shaped model, for reading prompts and emitting tokens.

The parameters stay where they are; `refresh` copies them into fused matrices (query-key-value in one, gate-up in
one), with each head's rows reordered so that a rotary position is one complex multiplication. Keys and values lie
in one contiguous tensor per layer that grows by buckets of 32 columns. A row's tokens need not be adjacent in it:
a bias of 0 or -inf per column says which columns are the row's own, and positions are per row, so that padding,
shared prefixes and rows of different length are exact.

Left out: dropout, sliding windows, positions scaled by length, quantised or adapted layers. `nets.is_llama_shaped`
says whether a model fits; others are driven through transformers' own `generate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from solon.inference.cache import Cache
from solon.inference.prefix_sharing import plan_prefixes
from solon.nets.llama import LlamaLayer, LlamaModel

CHUNK_TOKENS = 2048
"""Tokens that one pass over a batch of prompts reads at a time, so that activations stay in the processor's cache."""

POSITIONS = 256
"""Positions whose rotations are computed in advance; more when they are reached."""


@dataclass(slots=True)
class _Layer:
    """Fused weights of one decoder layer, W wide, with H query heads, H_kv key heads and F hidden units.

    Attributes:
        input_norm: shape (W,).
        query: the first rows of `qkv`. Shape (H * D, W).
        key_value: the others. Shape (2 * H_kv * D, W).
        qkv: queries, keys and values, one under the other. Shape ((H + 2 * H_kv) * D, W).
        qkv_bias: shape ((H + 2 * H_kv) * D,).
        query_norm: shape (D,), where heads are normed.
        key_norm: the same of keys.
        out: transposed, since it is added to the residual stream. Shape (H * D, W).
        out_bias: shape (W,).
        middle_norm: shape (W,).
        gate_up: shape (2 * F, W).
        gate_up_bias: shape (2 * F,).
        down: transposed. Shape (F, W).
        down_bias: shape (W,).
    """

    input_norm: Tensor
    query: Tensor
    key_value: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    query_norm: Tensor | None
    key_norm: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    middle_norm: Tensor
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None


class FusedDecoder:
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
        self._order = torch.arange(self._head_dim, device=self._device).view(2, -1).t().reshape(-1)
        self._rotations = self._build_rotations(POSITIONS)
        self.refresh()

    @torch.inference_mode()
    def refresh(self) -> None:
        """Read the model's parameters again; called whenever they may have changed."""
        base, head = self._model.base_model, self._model.get_output_embeddings()
        self._embedding = base.embed_tokens.weight.detach()
        assert head is not None  # what tokens are drawn from has one
        self._norm, self._head, self._head_bias = base.norm.weight.detach(), head.weight.detach(), _optional(head.bias)
        self._layers = [self._fuse(layer) for layer in base.layers]

    def _fuse(self, layer: LlamaLayer) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
        qkv = torch.cat([self._reorder(query.weight), self._reorder(key.weight), value.weight])
        width = self._heads * self._head_dim
        return _Layer(
            input_norm=layer.input_layernorm.weight.detach(),
            query=qkv[:width],
            key_value=qkv[width:],
            qkv=qkv,
            qkv_bias=None
            if query.bias is None
            else torch.cat([self._reorder(query.bias), self._reorder(key.bias), value.bias]),
            query_norm=self._reorder(attention.q_norm.weight) if hasattr(attention, "q_norm") else None,
            key_norm=self._reorder(attention.k_norm.weight) if hasattr(attention, "k_norm") else None,
            out=attention.o_proj.weight.detach().t(),
            out_bias=_optional(attention.o_proj.bias),
            middle_norm=layer.post_attention_layernorm.weight.detach(),
            gate_up=torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]),
            gate_up_bias=None if mlp.gate_proj.bias is None else torch.cat([mlp.gate_proj.bias, mlp.up_proj.bias]),
            down=mlp.down_proj.weight.detach().t(),
            down_bias=_optional(mlp.down_proj.bias),
        )

    def _reorder(self, weight: Tensor) -> Tensor:
        """Interleave the two halves of each head, so that the pair a rotation mixes is adjacent."""
        heads = weight.detach().view(-1, self._head_dim, *weight.shape[1:])
        return heads[:, self._order].flatten(0, 1)

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
        return self._logits(self._forward_block(cache, ids, lengths, last_only=False))

    @torch.inference_mode()
    def step(self, cache: Cache, tokens: Tensor) -> Tensor:
        """Read one more token of each row.

        Args:
            cache: changed in place.
            tokens: shape (B,).

        Returns:
            The logits of the next token. Shape (B, V).
        """
        batch, column, heads, kv_heads = tokens.shape[0], cache.used, self._heads, self._kv_heads
        self._reserve(cache, column + 1)
        cache.bias[:, column] = 0.0  # first, since a token sees itself
        cache.used = column + 1
        # A token's position is the number of those before it, so it is looked up before it is counted.
        rotation = self._rotations[cache.positions].unsqueeze(1)
        cache.positions += 1
        bias = self._attention_bias_of(cache, column + 1)
        x = functional.embedding(tokens, self._embedding)
        for layer, keys, values in zip(self._layers, cache.keys, cache.values, strict=True):
            qkv = functional.linear(self._rms(x, layer.input_norm), layer.qkv, layer.qkv_bias)
            qkv = qkv.view(batch, heads + 2 * kv_heads, self._head_dim)
            query = self._rotate(_maybe_rms(self, qkv[:, :heads], layer.query_norm), rotation)
            key = _maybe_rms(self, qkv[:, heads : heads + kv_heads], layer.key_norm)
            # Stored turned to its position, once, and before attention, which reads it from the cache with the others.
            self._store_rotated(keys.select(2, column), key, rotation)
            values.select(2, column).copy_(qkv[:, heads + kv_heads :])
            x = _add(x, self._attend(query, keys, values, bias), layer.out, layer.out_bias)
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
        heads, kv_heads, start = self._heads, self._kv_heads, cache.used
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
            qkv = functional.linear(self._rms(x, layer.input_norm), layer.qkv, layer.qkv_bias)
            qkv = qkv.view(batch, width, heads + 2 * kv_heads, self._head_dim)
            query = self._rotate(_maybe_rms(self, qkv[:, :, :heads], layer.query_norm), rotation).transpose(1, 2)
            key, value = self._store_block(layer, qkv[:, :, heads:], rotation, keys, values, start)
            mixed = functional.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=mask,
                is_causal=not start,
                scale=self._scale,
                enable_gqa=self._groups > 1,
            )
            x = _add(x, mixed.transpose(1, 2).reshape(batch, width, -1), layer.out, layer.out_bias)
            x = self._feed_forward(layer, x)
        return x

    def _last_layer(self, cache: Cache, layer: _Layer, x: Tensor, lengths: Tensor, rotation: Tensor) -> Tensor:
        """Run the last layer for each row's last token, storing keys and values of all. Shape (B, W)."""
        batch, width = x.shape[:2]
        rows, last = torch.arange(batch, device=self._device), lengths - 1
        normed, edge = self._rms(x, layer.input_norm), self._heads * self._head_dim
        query_bias, rest_bias = (None, None) if layer.qkv_bias is None else layer.qkv_bias.tensor_split([edge])
        kv = functional.linear(normed, layer.key_value, rest_bias).view(
            batch, width, 2 * self._kv_heads, self._head_dim
        )
        self._store_block(layer, kv, rotation, cache.keys[-1], cache.values[-1], cache.used)
        query = functional.linear(normed[rows, last], layer.query, query_bias).view(batch, self._heads, self._head_dim)
        query = self._rotate(_maybe_rms(self, query, layer.query_norm), rotation[rows, last])
        bias = self._attention_bias_of(cache, cache.used + width)
        mixed = self._attend(query, cache.keys[-1], cache.values[-1], bias)
        return self._feed_forward(layer, _add(x[rows, last], mixed, layer.out, layer.out_bias))

    def _store_block(
        self, layer: _Layer, kv: Tensor, rotation: Tensor, keys: Tensor, values: Tensor, start: int
    ) -> tuple[Tensor, Tensor]:
        """Store a block's keys and values (B, S, 2 H_kv, D); return all of the rows' so far (B, H_kv, columns, D)."""
        stop = start + kv.shape[1]
        key = _maybe_rms(self, kv[:, :, : self._kv_heads], layer.key_norm)
        self._store_rotated(keys[:, :, start:stop], key.transpose(1, 2), rotation.transpose(1, 2))
        values[:, :, start:stop] = kv[:, :, self._kv_heads :].transpose(1, 2)
        return keys[:, :, :stop], values[:, :, :stop]

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Attend with one query per row and head (B, H, D) over the columns that `bias` covers. Shape (B, H * D)."""
        batch, used = query.shape[0], bias.shape[-1]
        seen = keys.reshape(batch * self._kv_heads, -1, self._head_dim)[:, :used]
        query = query.view(batch * self._kv_heads, self._groups, self._head_dim)
        weights = torch.baddbmm(bias, query, seen.transpose(1, 2), alpha=self._scale).softmax(dim=-1)
        mixed = torch.bmm(weights, values.reshape(batch * self._kv_heads, -1, self._head_dim)[:, :used])
        return mixed.view(batch, -1)

    def _attention_bias_of(self, cache: Cache, used: int) -> Tensor:
        """Repeat each row's bias for its heads. Shape (B * H_kv, groups, columns)."""
        batch = cache.bias.shape[0]
        bias = cache.bias[:, None, None, :used].to(self._dtype)
        return bias.expand(batch, self._kv_heads, self._groups, used).reshape(-1, self._groups, used)

    def _feed_forward(self, layer: _Layer, x: Tensor) -> Tensor:
        hidden = functional.linear(self._rms(x, layer.middle_norm), layer.gate_up, layer.gate_up_bias)
        gate, up = hidden.chunk(2, dim=-1)
        return _add(x, functional.silu(gate).mul_(up), layer.down, layer.down_bias)

    def _rms(self, x: Tensor, weight: Tensor) -> Tensor:
        """Divide by the root mean square over the last dimension and multiply by `weight`."""
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        inverse = torch.addcmul(self._eps, norm, norm, value=1.0 / x.shape[-1]).rsqrt_()
        return (wide * inverse).to(self._dtype).mul_(weight)

    def _rotate(self, x: Tensor, rotation: Tensor) -> Tensor:
        """Turn queries to their positions; contiguous. Shape as `x`."""
        return torch.view_as_real(_as_pairs(x.float()) * rotation).view(x.shape).to(self._dtype)

    def _store_rotated(self, slot: Tensor, x: Tensor, rotation: Tensor) -> None:
        """Turn keys to their positions, into their place in the cache."""
        if self._dtype == torch.float32:
            torch.mul(_as_pairs(x), rotation, out=_as_pairs(slot))
        else:
            slot.copy_(self._rotate(x.contiguous(), rotation))

    def _logits(self, x: Tensor) -> Tensor:
        return functional.linear(self._rms(x, self._norm), self._head, self._head_bias).float()

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


def _add(x: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x + hidden @ weight + bias."""
    width = x.shape[-1]
    out = torch.addmm(x.reshape(-1, width), hidden.reshape(-1, hidden.shape[-1]), weight).view(x.shape)
    return out if bias is None else out + bias


def _maybe_rms(decoder: FusedDecoder, x: Tensor, weight: Tensor | None) -> Tensor:
    return x if weight is None else decoder._rms(x, weight)


def _as_pairs(x: Tensor) -> Tensor:
    """View the last dimension as complex numbers. Shape (..., D / 2)."""
    return torch.view_as_complex(x.view(*x.shape[:-1], -1, 2))


def _optional(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.detach()
