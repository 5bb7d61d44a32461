"""Causal language models: load one, refusing what does not fit its configuration, and save it whole."""

import re
from pathlib import Path
from typing import Final, Protocol, cast

import torch
from torch import Tensor

from solon.errors import ModelError
from solon.messages import one_line
from solon.nets.folder import check_weights, find_weights, names_code, quiet_transformers, read_checkpoint_config
from solon.nets.protocols import CausalLM, ModelConfig, Network, Tokenizer
from solon.storage import replace_folder

_LONGEST = 300
"""Characters that are kept of what another library says."""


_OTHER_MODELS: Final = re.compile(r"For\w*(Classification|Regression|QuestionAnswering|MultipleChoice)$|Reward\w*$")
"""Names of classes, as in `architectures` of a config.json, of models that score texts and write none."""

_OTHER_HEADS: Final = re.compile(r"[^.]*(score|classif|regress|reward|summary|qa_outputs|head)", re.IGNORECASE)
"""How weights are named, at the top, that come after a trunk and are no part of it."""

_ANY: Final = re.compile("")

_WRITER: Final = "give a model that writes text, not one that scores it"


class Factory(Protocol):
    """One of transformers' factories of models, such as `AutoModelForCausalLM`."""

    def from_pretrained(self, path: str, **options: object) -> tuple[Network, dict[str, list[str]]]:
        """Load a checkpoint; return it and, asked by `output_loading_info`, what did not fit."""


def load_policy(path: Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> CausalLM:
    """Load a causal language model in evaluation mode.

    Args:
        path: a Hugging Face folder with safetensors.
        device: where the weights go.
        dtype: what they are converted to; None keeps what the checkpoint says.

    Raises:
        ModelError: the folder is not one this package loads, holds a model that scores texts and writes none, or its
            weights do not fit its configuration.
    """
    from transformers import AutoModelForCausalLM

    path = Path(path)
    for name in read_checkpoint_config(path).get("architectures") or ():
        if _OTHER_MODELS.search(str(name)):
            raise ModelError(f"{path / 'config.json'}: names {name}, no causal language model: {_WRITER}")
    no_place = _ANY if names_code(path) else _OTHER_HEADS
    return cast(CausalLM, load_checkpoint(AutoModelForCausalLM, path, device=device, dtype=dtype, no_place=no_place))


def load_checkpoint(
    factory: Factory,
    path: Path,
    *,
    device: str,
    dtype: torch.dtype | None,
    may_miss: tuple[str, ...] = (),
    no_place: re.Pattern[str] | None = None,
    **options: object,
) -> Network:
    """Load a checkpoint through one of transformers' factories, refusing one with missing or misshapen weights.

    Args:
        factory: for instance `AutoModelForCausalLM`.
        path: the folder.
        device: where the weights go.
        dtype: what they are converted to; None keeps what the checkpoint says.
        may_miss: names of weights that need not be in the checkpoint.
        no_place: what the names of weights begin with that must not be left over; None passes over all that are.
        options: set over the checkpoint's configuration.

    Raises:
        ModelError: as `load_policy`.
    """
    config = read_config(path, **options)
    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            model, report = factory.from_pretrained(
                str(path),
                config=config,
                dtype="auto" if dtype is None else dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
            )
    except Exception as error:
        raise ModelError(f"{path}: the checkpoint cannot be loaded ({one_line(error, _LONGEST)})") from error
    wrong = [
        *(f"{name} is missing" for name in sorted(set(report["missing_keys"]) - set(may_miss))),
        *(f"{name} has another shape" for name in sorted(str(key[0]) for key in report["mismatched_keys"])),
    ]
    if wrong:
        raise ModelError(f"{path}: weights do not fit its config.json ({wrong[0]}): copy the checkpoint again")
    left = [name for name in sorted(report["unexpected_keys"]) if no_place is not None and no_place.match(name)]
    if left:
        raise ModelError(
            f"{path}: weights do not fit its config.json ({left[0]} has no place): {_WRITER}, or copy it again"
        )
    # Padding is told from text by where it stands. Were it told by its id, a text's end could not learn where one token
    # is both, as in many checkpoints.
    model.get_input_embeddings().padding_idx = None
    return model.to(device).eval()


def read_config(path: Path, **options: object) -> ModelConfig:
    """Return a checkpoint's configuration, as transformers reads it.

    A padding token without a row is none, and which implementation of attention is used is left open.

    Args:
        path: the folder.
        options: set over what it says.

    Raises:
        ModelError: the folder is not one this package loads, transformers cannot make sense of its configuration, or
            has no causal language model of its architecture.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    read_checkpoint_config(path)
    check_weights(path)
    try:
        with quiet_transformers():
            config: ModelConfig = AutoConfig.from_pretrained(
                str(path), trust_remote_code=False, local_files_only=True, **options
            )
    except Exception as error:
        raise ModelError(f"{path}: the checkpoint cannot be loaded ({one_line(error, _LONGEST)})") from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"{path}: transformers has no causal language model of the architecture {config.model_type!r}: choose a "
            "model of another architecture"
        )
    if hasattr(config, "auto_map"):  # what is saved of it is of the architecture itself
        del config.auto_map
    # What a folder asks for its author had: the family may not offer it, or the package for it not be here, and some
    # take no mask of who sees whom. Left open, the model takes what its family offers.
    config._attn_implementation = None
    text = config.get_text_config()
    padding = getattr(text, "pad_token_id", None)
    if padding is not None and not 0 <= padding < count_rows(config):
        text.pad_token_id = None
    return config


def count_rows(config: ModelConfig) -> int:
    """Return how many rows a model's embeddings have: at least one for each token id that it can read."""
    return config.get_text_config().vocab_size


def count_parameters(path: Path) -> int:
    """Return how many weights a causal language model has, tied ones once, without reading them.

    Raises:
        ModelError: the folder is not one this package loads, or no model can be made of its configuration.
    """
    from transformers import AutoModelForCausalLM

    config = read_config(path)
    try:
        with quiet_transformers(), torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except Exception as error:
        raise ModelError(f"{path}: no model can be made of its config.json ({one_line(error, _LONGEST)})") from error
    return sum(weight.numel() for weight in model.parameters())


def stored_dtype(path: Path) -> torch.dtype:
    """Return the precision of a checkpoint: what its configuration says, else that of its weights.

    Raises:
        ModelError: the folder is not one this package loads.
    """
    from safetensors import safe_open

    stated = getattr(read_config(path), "dtype", None)
    if isinstance(stated, torch.dtype):
        return stated
    # As transformers does: one model has one precision, and its first numbers have it.
    for file in find_weights(path):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118
                weight: Tensor = weights.get_tensor(name)
                if weight.is_floating_point():
                    return weight.dtype
    raise ModelError(f"{path}: holds no weights: copy the checkpoint again")


def save_policy(model: Network, tokenizer: Tokenizer, path: Path) -> None:
    """Save a model with its tokenizer as a plain Hugging Face folder, whole or not at all."""
    with replace_folder(path) as temporary, quiet_transformers():
        model.save_pretrained(str(temporary))
        tokenizer.save_pretrained(str(temporary))
