"""Causal language models: load, save, and the log-probabilities of given tokens.

Sequences are padded on the right; since a token never looks ahead, what stands after a row's counted tokens
cannot change them, and no attention mask is handed on (which keeps the fast causal path of attention).
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from solon.errors import ModelError, ShapeError
from solon.nets.folder import quiet_transformers, read_checkpoint_config, replace_folder
from solon.nets.tokenizer import Tokenizer

PreTrainedModel = Any
"""A model of transformers: a torch module with a configuration."""


def load_policy(path: Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Load a causal language model in evaluation mode.

    Args:
        path: a Hugging Face folder with safetensors.
        device: where the weights go.
        dtype: what they are converted to; None keeps what the checkpoint says.

    Raises:
        ModelError: the folder is not one this package loads, or its weights do not fit its configuration.
    """
    from transformers import AutoModelForCausalLM

    return load_checkpoint(AutoModelForCausalLM, Path(path), device=device, dtype=dtype)


def load_checkpoint(
    factory: Any, path: Path, *, device: str, dtype: torch.dtype | None, may_miss: tuple[str, ...] = (), **options: Any
) -> PreTrainedModel:
    """Load a checkpoint through one of transformers' factories, refusing one with missing or misshapen weights.

    Args:
        factory: for instance `AutoModelForCausalLM`.
        path: the folder.
        device: where the weights go.
        dtype: what they are converted to; None keeps what the checkpoint says.
        may_miss: names of weights that need not be in the checkpoint.
        options: passed to the factory.

    Raises:
        ModelError: as `load_policy`.
    """
    read_checkpoint_config(path)
    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            model, report = factory.from_pretrained(
                str(path),
                dtype="auto" if dtype is None else dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                attn_implementation="sdpa",
                output_loading_info=True,
                **options,
            )
    except Exception as error:
        raise ModelError(f"{path}: the checkpoint cannot be loaded ({error})") from error
    missing = sorted(set(report["missing_keys"]) - set(may_miss))
    if missing or report["mismatched_keys"]:
        wrong = missing[0] if missing else next(iter(report["mismatched_keys"]))
        raise ModelError(f"{path}: weights do not fit its config.json (first: {wrong}): copy the checkpoint again")
    return model.to(device).eval()


def save_policy(model: PreTrainedModel, tokenizer: Tokenizer, path: Path) -> None:
    """Save a model with its tokenizer as a plain Hugging Face folder, whole or not at all."""
    with replace_folder(path) as temporary, quiet_transformers():
        model.save_pretrained(str(temporary))
        tokenizer.save_pretrained(str(temporary))


def token_logprobs(model: PreTrainedModel, ids: Tensor, mask: Tensor, *, counted: Tensor | None = None) -> Tensor:
    """Return the log-probability of each token given those before it; differentiable.

    Args:
        model: a causal language model.
        ids: token ids, padded on the right. Shape (B, T).
        mask: True on real tokens, a prefix of each row. Shape (B, T).
        counted: True where a log-probability is wanted (default `mask`); the output head runs only there.
            Shape (B, T).

    Returns:
        Natural log-probabilities in float32: index t holds that of token t + 1 given tokens 0..t; exactly 0
        where token t + 1 does not count. Shape (B, T - 1).

    Raises:
        ShapeError: shapes differ, or a mask is not a prefix mask; names the first offending row.
    """
    check_prefix_mask(ids, mask)
    wanted = (mask if counted is None else counted & mask)[:, 1:]
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    logits = model.get_output_embeddings()(hidden[wanted]).float()
    found = -functional.cross_entropy(logits, ids[:, 1:][wanted], reduction="none")
    return torch.zeros(wanted.shape, dtype=found.dtype, device=found.device).masked_scatter(wanted, found)


def check_prefix_mask(ids: Tensor, mask: Tensor) -> None:
    """Check that `mask` is boolean, shaped as `ids`, with at least one True, all of them first, in each row.

    Raises:
        ShapeError: names the first offending row.
    """
    if ids.ndim != 2 or ids.shape != mask.shape:
        raise ShapeError(f"ids {tuple(ids.shape)} and mask {tuple(mask.shape)} must both be (B, T)")
    if mask.dtype != torch.bool:
        raise ShapeError(f"mask must be boolean, True where a token counts; it is {mask.dtype}")
    bad = ~mask[:, 0] | (mask[:, 1:] & ~mask[:, :-1]).any(dim=1)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise ShapeError(f"row {row}: its mask must be True on a first stretch of tokens and False after: pad right")
