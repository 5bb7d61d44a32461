"""A Llama's parameters as one flat tensor, so that one slice, one norm or one file holds all of them."""

import math
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor

from solon.errors import ModelError
from solon.nets import CausalLM
from solon.nets.llama import LlamaConfig

MATRICES = 4
"""How many fields of `Weights`, the first ones, are matrices of the layers."""


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
    """A model's parameters as views of one flat tensor, the layers' matrices first; gradients have the same form."""

    qkv: Tensor  # (L, 3, D, D)
    out: Tensor  # (L, D, D)
    gate_up: Tensor  # (L, 2, I, D)
    down: Tensor  # (L, D, I)
    embed: Tensor  # (V, D), also the head
    norm_attention: Tensor  # (L, D)
    norm_mlp: Tensor  # (L, D)
    norm_final: Tensor  # (D,)


def read_shape(model: CausalLM) -> LlamaShape:
    """Read the sizes of a `LlamaForCausalLM`, and refuse one that the kernel would compute wrongly.

    Raises:
        ModelError: the model has something the kernel leaves out; it is named.
    """
    c = cast(LlamaConfig, model.config)
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
    rope_type = (getattr(c, "rope_parameters", None) or {}).get("rope_type", "default")
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


def count_matrices(shape: LlamaShape) -> int:
    """Count the numbers in the layers' matrices, which lie first."""
    return sum(math.prod(size) for size in _weight_sizes(shape)[:MATRICES])


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


def copy_weights(model: CausalLM, weights: Weights, *, into_model: bool) -> None:
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
