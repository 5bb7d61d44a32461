"""Scalar heads: the preference model and the value model, both plain sequence classifiers with one label.

The preference model reads a whole conversation and scores it at the last counted token, found by its position. Saved,
it is an `AutoModelForSequenceClassification` whose padding token never ends a conversation, so that any library that
finds "the last token that is not padding" reads the same score from a padded batch. The value model is the same
network read at every token; it starts as a copy of the preference model.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch

from solon.errors import ModelError
from solon.nets.folder import quiet_transformers
from solon.nets.policy import count_rows, load_checkpoint, read_config, save_policy
from solon.nets.protocols import Network, Scorer, Tokenizer
from solon.nets.tokenizer import load_tokenizer
from solon.nets.vocabulary import check_tokens_have_rows, choose_padding, describe_padding, set_padding
from solon.records import TemplateArgument

_HEAD = "score.weight"


def init_scorer_from_policy(
    path: Path, tokenizer: Tokenizer | None = None, *, seed: int, device: str = "cpu"
) -> Scorer:
    """Build a preference model from a causal language model's trunk, with a fresh scalar head.

    The head is drawn from a normal distribution with standard deviation 1/sqrt(width + 1), so that scores start
    near unit size. The trunk is loaded in float32.

    Args:
        path: the causal checkpoint.
        tokenizer: its tokenizer, as texts are laid out for the scorer; None loads it.
        seed: of the head's draw.
        device: where the weights go.

    Raises:
        ModelError: the checkpoint cannot be loaded, or has no place for a scalar head.
    """
    from transformers import AutoModelForSequenceClassification

    loaded = load_checkpoint(
        AutoModelForSequenceClassification,
        Path(path),
        device="cpu",
        dtype=torch.float32,
        may_miss=(_HEAD,),
        num_labels=1,
    )
    model = _check_head(loaded, path)
    model.config.pad_token_id = choose_padding(tokenizer or load_tokenizer(path), count_rows(model.config))
    weight = model.score.weight
    with torch.no_grad():
        weight.normal_(0.0, (weight.shape[1] + 1) ** -0.5, generator=torch.Generator().manual_seed(seed))
    return model.to(device)


def check_trainable(path: Path, chat_template_kwargs: Mapping[str, TemplateArgument] | None = None) -> tuple[str, ...]:
    """Make sure, without loading its weights, that the method can train this causal checkpoint.

    Returns:
        What a person should know of how it will be trained: which token pads, where that is not the tokenizer's own.

    Raises:
        ModelError: it is no checkpoint, has no chat template, its texts hold tokens that its embeddings lack, or it is
            of an architecture of which no preference model can be made.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification

    config = read_config(path, num_labels=1)
    try:
        with quiet_transformers(), torch.device("meta"):
            has_scorer = type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
            scorer = AutoModelForSequenceClassification.from_config(config) if has_scorer else None
    except Exception as error:
        raise ModelError(f"{path}: no model can be made of its config.json ({error})") from error
    if scorer is None:
        raise ModelError(
            f"{path}: transformers has no sequence classifier of the architecture {config.model_type!r}, so no "
            "preference model can be made from it: choose a base of another architecture"
        )
    _check_head(scorer, path)
    tokenizer = load_tokenizer(path, chat_template_kwargs)
    if not tokenizer.chat_template:
        raise ModelError(
            f"{path}: has no chat template, in which its training texts would be laid out: add the model's "
            "chat_template.jinja to its folder"
        )
    rows = count_rows(config)
    check_tokens_have_rows(tokenizer, rows, where=path)
    padding = describe_padding(tokenizer, rows)
    return () if padding is None else (f"{path}: {padding}",)


def load_scorer(path: Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> Scorer:
    """Load a preference model or a value model, in evaluation mode.

    Raises:
        ModelError: the folder is not a checkpoint with a scalar head.
    """
    from transformers import AutoModelForSequenceClassification

    return _check_head(
        load_checkpoint(AutoModelForSequenceClassification, Path(path), device=device, dtype=dtype), path
    )


def save_scorer(model: Scorer, tokenizer: Tokenizer, path: Path) -> None:
    """Save a preference or value model with its tokenizer, which pads as the model does, whole or not at all."""
    padding = model.config.pad_token_id
    if padding not in (None, tokenizer.pad_token_id):
        tokenizer = copy.deepcopy(tokenizer)
        set_padding(tokenizer, padding)
    save_policy(model, tokenizer, path)


def _check_head(model: Network, path: Path) -> Scorer:
    head = getattr(model, "score", None)
    if not isinstance(head, torch.nn.Linear) or head.out_features != 1:
        raise ModelError(
            f"{path}: {type(model).__name__} has no scalar head named score: use a Llama-like decoder (one whose "
            "sequence classifier in transformers has a `score` layer), with num_labels 1"
        )
    return cast(Scorer, model)
