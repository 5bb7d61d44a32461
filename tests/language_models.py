"""Tiny random models of several architectures over one tokenizer, and prompts for them."""

from functools import cache
from typing import Any

import torch
import transformers

from solon.world.nano.shape import build_tokenizer

TEXTS = [f"take the {noun} to the {place}" for noun in ("lamp", "hook", "rope") for place in ("gate", "river", "mill")]
LLAMA_3_POSITIONS = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
GEMMA_2_CAPS = {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0}
GEMMA_3 = {
    "num_key_value_heads": 2,
    "head_dim": 8,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
}
GEMMA_3_SIGHT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
}
FUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
    "llama, grouped": ("LlamaForCausalLM", {"num_key_value_heads": 2}),
    "llama, one kv head, long positions": (
        "LlamaForCausalLM",
        {"num_key_value_heads": 1, "rope_parameters": LLAMA_3_POSITIONS},
    ),
    "llama, biases": ("LlamaForCausalLM", {"num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True}),
    "mistral": ("MistralForCausalLM", {"num_key_value_heads": 2, "sliding_window": None}),
    "qwen2": ("Qwen2ForCausalLM", {"num_key_value_heads": 2}),
    "qwen3": ("Qwen3ForCausalLM", {"num_key_value_heads": 2, "head_dim": 16}),
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral, sliding window": ("MistralForCausalLM", {"num_key_value_heads": 2, "sliding_window": 8}),
    "granite": ("GraniteForCausalLM", {"num_key_value_heads": 2, "logits_scaling": 8.0}),
    "gemma 2": ("Gemma2ForCausalLM", {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8, **GEMMA_2_CAPS}),
    "gemma 3": ("Gemma3ForCausalLM", GEMMA_3),
    "cohere": ("CohereForCausalLM", {"num_key_value_heads": 2, "logit_scale": 0.0625}),
    "cohere 2": ("Cohere2ForCausalLM", {"num_key_value_heads": 2, "sliding_window": 8}),
    "olmo 2": ("Olmo2ForCausalLM", {"num_key_value_heads": 2}),
    "phi 3": ("Phi3ForCausalLM", {"num_key_value_heads": 2}),
    "smollm 3": ("SmolLM3ForCausalLM", {"num_key_value_heads": 2}),
    "stablelm": ("StableLmForCausalLM", {"num_key_value_heads": 2}),
    "mixtral": ("MixtralForCausalLM", {"num_key_value_heads": 2, "num_local_experts": 4}),
    "mamba": ("MambaForCausalLM", {"state_size": 8}),
    "ctrl": ("CTRLLMHeadModel", {"n_embd": 32, "dff": 64, "n_layer": 2, "n_head": 4}),
    "neox": ("GPTNeoXForCausalLM", {}),
    "opt": ("OPTForCausalLM", {"ffn_dim": 64, "word_embed_proj_dim": 16}),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
}
WITH_IMAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma 3, with images": (
        "Gemma3ForConditionalGeneration",
        {"text_config": GEMMA_3, "vision_config": GEMMA_3_SIGHT, "mm_tokens_per_image": 4},
    ),
}


@cache
def make_tokenizer() -> Any:
    return build_tokenizer(TEXTS, vocab_size=300, merges=8)


@cache
def make_model(name: str) -> Any:
    return build_model(name, make_tokenizer())


def build_model(name: str, tokenizer: Any) -> Any:
    """Weights are drawn wide, so that the model is sure of something, and norms and biases are not ones and zeros."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = _make(name, tokenizer, context=256)
        # The norms of some scale by one more than their weight.
        norms = -0.5 if "gemma" in model.config.model_type else 0.5
        for parameter in model.parameters():
            mean, std = (0.0, 0.25) if parameter.ndim > 1 else (norms, 0.3)
            torch.nn.init.normal_(parameter, mean, std)
    return model


def start_model(name: str, tokenizer: Any, *, context: int = 256) -> Any:
    """A model as its family begins to learn."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _make(name, tokenizer, context=context)


def _make(name: str, tokenizer: Any, *, context: int) -> Any:
    architecture, options = (FUSED | OTHERS | WITH_IMAGES)[name]
    build = getattr(transformers, architecture)
    general = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": context,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    sizes = {"n_positions": context} if "n_embd" in options else SMALL
    if "text_config" in options:
        config = build.config_class(**options | {"text_config": general | sizes | options["text_config"]})
    else:
        config = build.config_class(**general, **sizes | options)
    return build(config).eval()


def make_prompts(count: int, *, seed: int = 0, head: int = 0, longest: int = 30) -> list[list[int]]:
    """Token ids of several lengths; with `head`, the same first tokens for all."""
    generator = torch.Generator().manual_seed(seed)
    size = len(make_tokenizer())

    def draw(length: int) -> list[int]:
        ids: list[int] = torch.randint(5, size, (length,), generator=generator).tolist()
        return ids

    start = draw(head)
    return [start + draw(1 + int(torch.randint(longest, (1,), generator=generator))) for _ in range(count)]
