"""Scalar heads: the preference model and the value model, both plain sequence classifiers with one label.

The preference model reads a whole conversation and scores it at the last counted token, found by its position. Saved,
it is an `AutoModelForSequenceClassification` whose padding token never ends a conversation, so that any library that
finds "the last token that is not padding" reads the same score from a padded batch. The value model is the same
network read at every token; it starts as a copy of the preference model.

Some families have no sequence classifier in transformers, or one whose head is no single layer. Theirs is put together
here from transformers' own parts: the family's trunk under the family's name for it, and transformers' general head.
So their folder is what it would be if there were such a class: `config.json` with `architectures` of this class and
one label, and safetensors of the trunk and of `score.weight`, shape (1, width). `load_scorer` reads both alike.
"""

import copy
from pathlib import Path
from typing import Any, cast

import torch

from solon.errors import ModelError
from solon.messages import one_line
from solon.nets.folder import quiet_transformers
from solon.nets.policy import Factory, count_rows, load_checkpoint, read_config, save_policy
from solon.nets.protocols import ModelConfig, Scorer, Tokenizer
from solon.nets.tokenizer import load_tokenizer
from solon.nets.vocabulary import choose_padding, set_padding

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
    path = Path(path)
    loaded = load_checkpoint(
        scorer_class(read_config(path, num_labels=1), path),
        path,
        device="cpu",
        dtype=torch.float32,
        may_miss=(_HEAD,),
        num_labels=1,
    )
    model = cast(Scorer, loaded)
    padding = choose_padding(tokenizer or load_tokenizer(path), count_rows(model.config))
    for config in (model.config, model.config.get_text_config()):  # classifiers differ in which of the two they ask
        config.pad_token_id = padding
    weight = model.score.weight
    with torch.no_grad():
        weight.normal_(0.0, (weight.shape[1] + 1) ** -0.5, generator=torch.Generator().manual_seed(seed))
    return model.to(device)


def load_scorer(path: Path, *, device: str = "cpu", dtype: torch.dtype | None = None) -> Scorer:
    """Load a preference model or a value model, in evaluation mode.

    Raises:
        ModelError: the folder is not a checkpoint with a scalar head.
    """
    path = Path(path)
    factory = scorer_class(read_config(path, num_labels=1), path)
    return cast(Scorer, load_checkpoint(factory, path, device=device, dtype=dtype, num_labels=1))


def save_scorer(model: Scorer, tokenizer: Tokenizer, path: Path) -> None:
    """Save a preference or value model with its tokenizer, which pads as the model does, whole or not at all."""
    padding = model.config.pad_token_id
    if padding not in (None, tokenizer.pad_token_id):
        tokenizer = copy.deepcopy(tokenizer)
        set_padding(tokenizer, padding)
    save_policy(model, tokenizer, path)


def scorer_class(config: ModelConfig, path: Path) -> Factory:
    """Return the class of an architecture's sequence classifiers: transformers' where its head is one layer, else ours.

    Args:
        config: of one label.
        path: what to call the checkpoint.

    Raises:
        ModelError: no model can be made of the configuration.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    shipped = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if shipped is not None and _has_scalar_head(shipped, config, path):
        return cast(Factory, shipped)
    own = _put_together(config)
    _has_scalar_head(own, config, path)  # by its making; but it has to be possible to build
    return cast(Factory, own)


def _put_together(config: ModelConfig) -> type[Any]:
    """Return a sequence classifier of an architecture that has none: transformers' general one over its trunk."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedModel
    from transformers.modeling_layers import GenericForSequenceClassification

    causal = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    family = next(base for base in causal.__mro__ if PreTrainedModel in base.__bases__)
    name = f"{family.__name__.removesuffix('PreTrainedModel')}ForSequenceClassification"
    # transformers looks into the source of a class's module for what it can do: this one can what its family can.
    own = {"__module__": family.__module__, "base_model_prefix": causal.base_model_prefix}
    return type(name, (GenericForSequenceClassification, family), own)


def _has_scalar_head(kind: type[Any], config: ModelConfig, path: Path) -> bool:
    """Build a sequence classifier without weights, and say whether one layer, named `score`, follows its trunk.

    Raises:
        ModelError: it cannot be built from this configuration.
    """
    try:
        with quiet_transformers(), torch.device("meta"):
            model = kind(config)
    except Exception as error:
        raise ModelError(f"{path}: no model can be made of its config.json ({one_line(error, 300)})") from error
    head = getattr(model, "score", None)
    return isinstance(head, torch.nn.Linear) and head.out_features == 1
