"""Llama-shaped models: which they are, and what only they have.

They take positions and a mask of who sees whom, so rows may share a prompt's tokens; and `inference` runs them through
a forward pass of its own.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard, cast

import torch
from torch import Tensor, nn

from solon.nets.protocols import ModelConfig, Network

_FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
_STATIC_POSITIONS = ("default", "linear", "llama3", "yarn")


class LlamaConfig(ModelConfig, Protocol):
    """The sizes that its configuration gives, under transformers' names."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    rms_norm_eps: float
    rope_parameters: dict[str, Any]
    tie_word_embeddings: bool


class RMSNorm(Protocol):
    """A norm without a bias."""

    weight: Tensor


class LlamaAttention(Protocol):
    """The attention of a layer; some also norm their heads, by a `q_norm` and a `k_norm`."""

    head_dim: int
    scaling: float
    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    o_proj: nn.Linear


class LlamaMLP(Protocol):
    """The feed-forward part of a layer."""

    gate_proj: nn.Linear
    up_proj: nn.Linear
    down_proj: nn.Linear


class LlamaLayer(Protocol):
    """A layer."""

    input_layernorm: RMSNorm
    self_attn: LlamaAttention
    post_attention_layernorm: RMSNorm
    mlp: LlamaMLP


class LlamaRotary(Protocol):
    """Rotary positions: a frequency per pair of a head's dimensions, and what rotations are scaled by."""

    inv_freq: Tensor
    attention_scaling: float


class LlamaTrunk(Protocol):
    """All but the head."""

    embed_tokens: nn.Embedding
    layers: Sequence[LlamaLayer]
    norm: RMSNorm
    rotary_emb: LlamaRotary


class LlamaModel(Protocol):
    """A model with this trunk."""

    config: LlamaConfig
    base_model: LlamaTrunk

    def get_output_embeddings(self) -> nn.Linear | None:
        """Return the word head; None where there is none."""


def is_llama_shaped(model: Network) -> TypeGuard[LlamaModel]:
    """Say whether our own forward pass computes what the model does; one without a word head is judged by its trunk.

    It leaves out sliding windows, positions scaled by length, quantised and adapted layers.
    """
    config = model.config
    if config.model_type not in _FAMILIES or getattr(config, "hidden_act", "") != "silu":
        return False
    positions = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    windows = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None)
    if positions not in _STATIC_POSITIONS or (window and (windows is None or "sliding_attention" in windows)):
        return False
    base, head = cast(LlamaTrunk, model.base_model), model.get_output_embeddings()
    linear = [projection for layer in base.layers for projection in _projections(layer)]
    return (
        all(type(projection) is torch.nn.Linear for projection in (linear if head is None else [*linear, head]))
        and type(base.embed_tokens) is torch.nn.Embedding
        and 2 * base.rotary_emb.inv_freq.shape[0] == base.layers[0].self_attn.head_dim
    )


def _projections(layer: LlamaLayer) -> list[nn.Linear]:
    attention, mlp = layer.self_attn, layer.mlp
    inner = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    return [*inner, mlp.gate_proj, mlp.up_proj, mlp.down_proj]
