"""Causal language models: load one, refusing what does not fit its configuration, and save it whole."""

from pathlib import Path
from typing import Any

import torch

from solon.errors import ModelError
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
