"""Our own forward pass over the parameters of a Llama-shaped model, for reading prompts and emitting tokens.

The parameters stay where they are; `refresh` copies them into fused matrices (query-key-value in one, gate-up in
one), with each head's rows reordered so that a rotary position is one complex multiplication. Keys and values lie
in one contiguous tensor per layer that grows by buckets of 32 columns. A row's tokens need not be adjacent in it:
a bias of 0 or -inf per column says which columns are the row's own, and positions are per row, so that padding,
shared prefixes and rows of different length are exact.

Left out: dropout, sliding windows, positions scaled by length, quantised or adapted layers. `is_llama_shaped` says
whether a model fits; others are driven through transformers' own `generate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from solon.nets.policy import PreTrainedModel
from solon.nets.prefixes import plan_prefixes

BUCKET = 32
"""Columns by which the cache grows."""

CHUNK_TOKENS = 4096
"""Tokens that one pass over a batch of prompts reads at a time, so that activations stay in the processor's cache."""

_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_STATIC_POSITIONS = ("default", "linear", "llama3", "yarn")


def is_llama_shaped(model: PreTrainedModel) -> bool:
    """Say whether `FusedDecoder` computes what the model computes."""
    config = model.config
    if config.model_type not in _FAMILIES or getattr(config, "hidden_act", "") != "silu":
        return False
    positions = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    windows = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if positions not in _STATIC_POSITIONS or (window and (windows is None or "sliding_attention" in windows)):
        return False
    layer = model.base_model.layers[0]
    head_dim = layer.self_attn.head_dim
    projections = (
        layer.self_attn.q_proj,
        layer.self_attn.k_proj,
        layer.self_attn.v_proj,
        layer.self_attn.o_proj,
        layer.mlp.gate_proj,
        layer.mlp.up_proj,
        layer.mlp.down_proj,
    )
    return (
        all(type(projection) is torch.nn.Linear for projection in projections)
        and 2 * model.base_model.rotary_emb.inv_freq.shape[0] == head_dim
    )


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


@dataclass(slots=True)
class _Layer:
    """Fused weights of one decoder layer; a matrix that is added to the residual stream is kept transposed."""

    input_norm: Tensor
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

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        config, attention = model.config, model.base_model.layers[0].self_attn
        self._head_dim: int = attention.head_dim
        self._heads: int = config.num_attention_heads
        self._kv_heads: int = config.num_key_value_heads
        self._groups = self._heads // self._kv_heads
        self._scale = float(attention.scaling)
        self._eps = float(config.rms_norm_eps)
        half = self._head_dim // 2
        self._order = torch.arange(self._head_dim).view(2, half).t().reshape(-1)
        self.refresh()

    @torch.inference_mode()
    def refresh(self) -> None:
        """Read the model's parameters again; called whenever they may have changed."""
        base = self._model.base_model
        self._embedding = base.embed_tokens.weight.detach()
        self._device, self._dtype = self._embedding.device, self._embedding.dtype
        self._order = self._order.to(self._device)
        self._norm = base.norm.weight.detach()
        head = self._model.get_output_embeddings()
        self._head, self._head_bias = head.weight.detach(), _optional(head.bias)
        self._layers = [self._fuse(layer) for layer in base.layers]
        self._rotations = self._build_rotations(getattr(self, "_rotations", torch.empty(256)).shape[0])

    def _fuse(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
        return _Layer(
            input_norm=layer.input_layernorm.weight.detach(),
            qkv=torch.cat([self._reorder(qkv[0].weight), self._reorder(qkv[1].weight), qkv[2].weight]),
            qkv_bias=None
            if qkv[0].bias is None
            else torch.cat([self._reorder(qkv[0].bias), self._reorder(qkv[1].bias), qkv[2].bias]),
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
        return weight.detach().unflatten(0, (-1, self._head_dim))[:, self._order].flatten(0, 1)

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
        index: dict[tuple[int, ...], int] = {}
        inverse = [index.setdefault(tuple(prompt), len(index)) for prompt in prompts]
        rows = [list(row) for row in index]
        plan = plan_prefixes(rows)
        if plan is None:
            cache = self._empty(len(rows))
            hidden = self._read(cache, rows)
        else:
            cache = self._empty(len(plan.prefixes))
            self._read(cache, plan.prefixes)
            cache = cache.select(torch.tensor(plan.owner, device=self._device))
            hidden = self._read(cache, plan.rests)
        logits = self._logits(hidden)
        if len(rows) < len(prompts):
            chosen = torch.tensor(inverse, device=self._device)
            cache, logits = cache.select(chosen), logits.index_select(0, chosen)
        return cache, logits

    @torch.inference_mode()
    def peek(self, cache: Cache, blocks: Sequence[list[int]]) -> Tensor:
        """Read more tokens of each row, at least one, without moving on: the next call starts from the same place.

        Returns:
            Logits after each of them; what stands past a row's own tokens means nothing. Shape (B, longest, V).
        """
        ids, lengths = self._pad(blocks)
        return self._logits(self._block(cache, ids, lengths))

    @torch.inference_mode()
    def step(self, cache: Cache, tokens: Tensor) -> Tensor:
        """Read one more token of each row.

        Args:
            cache: changed in place.
            tokens: shape (B,).

        Returns:
            The logits of the next token. Shape (B, V).
        """
        batch, column = tokens.shape[0], cache.used
        heads, kv_heads, groups = self._heads, self._kv_heads, self._groups
        self._reserve(cache, column + 1)
        cache.bias[:, column] = 0.0
        cache.used = used = column + 1
        rotation = self._rotations[cache.positions].unsqueeze(1)
        cache.positions += 1
        bias = cache.bias[:, None, None, :used].to(self._dtype)
        bias = bias.expand(batch, kv_heads, groups, used).reshape(batch * kv_heads, groups, used)
        x = F.embedding(tokens, self._embedding)
        for layer, keys, values in zip(self._layers, cache.keys, cache.values, strict=True):
            qkv = F.linear(self._rms(x, layer.input_norm), layer.qkv, layer.qkv_bias)
            qkv = qkv.view(batch, heads + 2 * kv_heads, self._head_dim)
            query_key = self._rotate(layer, qkv[:, : heads + kv_heads], rotation)
            keys[:, :, column] = query_key[:, heads:]
            values[:, :, column] = qkv[:, heads + kv_heads :]
            query = query_key[:, :heads].reshape(batch * kv_heads, groups, self._head_dim)
            seen = keys.view(batch * kv_heads, -1, self._head_dim)[:, :used]
            weights = torch.baddbmm(bias, query, seen.transpose(1, 2), alpha=self._scale).softmax(dim=-1)
            mixed = torch.bmm(weights, values.view(batch * kv_heads, -1, self._head_dim)[:, :used])
            x = _add(x, mixed.view(batch, -1), layer.out, layer.out_bias)
            x = self._feed_forward(layer, x)
        return self._logits(x)

    def _read(self, cache: Cache, rows: Sequence[list[int]]) -> Tensor:
        """Read rows into the cache, some at a time; return the hidden state of each row's last token. Shape (B, W)."""
        ids, lengths = self._pad(rows)
        width = ids.shape[1]
        start_column = cache.used
        self._reserve(cache, start_column + width)
        at_once = max(1, CHUNK_TOKENS // width)
        found = []
        for start in range(0, len(rows), at_once):
            part = cache.view(start, min(start + at_once, len(rows)))
            hidden = self._block(part, ids[start : start + at_once], lengths[start : start + at_once])
            last = lengths[start : start + at_once] - 1
            found.append(hidden[torch.arange(hidden.shape[0], device=self._device), last])
        cache.used = start_column + width
        cache.positions += lengths
        return torch.cat(found)

    def _block(self, cache: Cache, ids: Tensor, lengths: Tensor) -> Tensor:
        """Run the layers over several tokens of each row, padded on the right. Shape (B, S, W)."""
        batch, width = ids.shape
        heads, kv_heads, start = self._heads, self._kv_heads, cache.used
        stop = start + width
        self._reserve(cache, stop)
        columns = torch.arange(width, device=self._device)
        cache.bias[:, start:stop] = torch.where(columns < lengths[:, None], 0.0, float("-inf"))
        mask = None
        if start:
            mask = cache.bias[:, None, None, :stop].to(self._dtype).repeat(1, 1, width, 1)
            mask[..., start:] = torch.where(columns <= columns[:, None], 0.0, float("-inf")).to(self._dtype)
        positions = cache.positions[:, None] + columns
        rotation = self._rotations[positions].unsqueeze(2)
        x = F.embedding(ids, self._embedding)
        for layer, keys, values in zip(self._layers, cache.keys, cache.values, strict=True):
            qkv = F.linear(self._rms(x, layer.input_norm), layer.qkv, layer.qkv_bias)
            qkv = qkv.view(batch, width, heads + 2 * kv_heads, self._head_dim)
            query_key = self._rotate(layer, qkv[:, :, : heads + kv_heads], rotation).transpose(1, 2)
            key, value = query_key[:, heads:], qkv[:, :, heads + kv_heads :].transpose(1, 2)
            keys[:, :, start:stop] = key
            values[:, :, start:stop] = value
            if start:
                key, value = keys[:, :, :stop], values[:, :, :stop]
            mixed = F.scaled_dot_product_attention(
                query_key[:, :heads],
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

    def _feed_forward(self, layer: _Layer, x: Tensor) -> Tensor:
        hidden = F.linear(self._rms(x, layer.middle_norm), layer.gate_up, layer.gate_up_bias)
        gate, up = hidden.chunk(2, dim=-1)
        return _add(x, F.silu(gate).mul_(up), layer.down, layer.down_bias)

    def _rms(self, x: Tensor, weight: Tensor) -> Tensor:
        if self._dtype == torch.float32:
            return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True).add_(self._eps)) * weight
        wide = x.float()
        return weight * (wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self._eps)).to(self._dtype)

    def _rotate(self, layer: _Layer, query_key: Tensor, rotation: Tensor) -> Tensor:
        """Normalise where the model does and turn queries and keys to their positions. Shape (..., H + H_kv, D)."""
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = query_key.split([self._heads, self._kv_heads], dim=-2)
            query_key = torch.cat([self._rms(query, layer.query_norm), self._rms(key, layer.key_norm)], dim=-2)
        pairs = torch.view_as_complex(query_key.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * rotation).flatten(-2).to(self._dtype)

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(self._rms(x, self._norm), self._head, self._head_bias).float()

    def _empty(self, rows: int) -> Cache:
        shape = (rows, self._kv_heads, 0, self._head_dim)
        return Cache(
            [torch.empty(shape, device=self._device, dtype=self._dtype) for _ in self._layers],
            [torch.empty(shape, device=self._device, dtype=self._dtype) for _ in self._layers],
            torch.empty((rows, 0), device=self._device),
            torch.zeros(rows, dtype=torch.long, device=self._device),
            0,
        )

    def _reserve(self, cache: Cache, columns: int) -> None:
        """Make room for that many columns, and for their positions."""
        if columns >= self._rotations.shape[0]:
            self._rotations = self._build_rotations(2 * columns)
        kept = cache.bias.shape[1]
        if columns <= kept:
            return
        more = -(-columns // BUCKET) * BUCKET - kept
        for tensors in (cache.keys, cache.values):
            for index, tensor in enumerate(tensors):
                tensors[index] = F.pad(tensor, (0, 0, 0, more))
        cache.bias = F.pad(cache.bias, (0, more), value=float("-inf"))

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


def _optional(parameter: Tensor | None) -> Tensor | None:
    return None if parameter is None else parameter.detach()
