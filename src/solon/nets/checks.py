"""What can be seen to be wrong with a checkpoint before a run begins, so that it is said then and not after hours."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from solon.errors import ModelError
from solon.messages import one_line, shorten
from solon.nets.folder import describe_code
from solon.nets.policy import count_rows, load_policy, read_config
from solon.nets.protocols import CausalLM, Tokenizer
from solon.nets.scorer import scorer_class
from solon.nets.tokenizer import encode_text, load_tokenizer
from solon.nets.vocabulary import check_tokens_have_rows, describe_padding
from solon.records import Layout, TemplateArgument

LAYOUT_SETTING = "models.ROLE.layout"
DEVICE_SETTING = "models.ROLE.device"

_READ = "What is the difference between a lake and a river?"
_TOKENS = 8


def check_device(device: str, *, setting: str = DEVICE_SETTING) -> None:
    """Make sure that torch can put numbers on a device here and read them again.

    Args:
        device: as torch names it.
        setting: what chooses it, for messages.

    Raises:
        ModelError: there is no such device on this machine, or it holds no numbers, as `meta`.
    """
    try:
        torch.empty(1, device=device).item()
    except Exception as error:  # of many kinds: each device has its own
        raise ModelError(
            f"{setting}: {shorten(device)}: torch cannot use it here ({one_line(error, 200)}); leave it out for cpu"
        ) from error


def check_askable(
    path: Path,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    layout: Layout = "chat",
    setting: str = LAYOUT_SETTING,
) -> tuple[str, ...]:
    """Make sure that a causal checkpoint can be loaded and asked: it reads a few tokens, and is let go again.

    Args:
        path: the folder.
        device: where it will be asked.
        dtype: name of the precision in which it will be asked; None is its own.
        layout: how its prompts will be laid out.
        setting: what chooses the layout, for messages.

    Returns:
        What a person should know of how it is loaded.

    Raises:
        ModelError: it is damaged, gives logits that are no numbers, lacks its tokenizer or the chat template that its
            layout needs, or its texts hold tokens that its embeddings lack.
    """
    tokenizer = _check_tokens(path, layout, setting)
    model = load_policy(path, device=device, dtype=None if dtype is None else getattr(torch, dtype))
    check_numbers(model, encode_text(tokenizer, _READ)[:_TOKENS], where=path, dtype=dtype)
    code = describe_code(path)
    return () if code is None else (code,)


def check_numbers(model: CausalLM, ids: Sequence[int], *, where: Path, dtype: str | None) -> None:
    """Make sure that a model's weights, and the logits that it gives for a few tokens, are finite.

    Args:
        model: as it will be asked.
        ids: what it reads.
        where: its folder, for messages.
        dtype: the precision that was chosen for it; None for its own.

    Raises:
        ModelError: they are not, or the model cannot read the tokens.
    """
    mend = "copy the checkpoint again" if dtype is None else f"choose another dtype than {dtype}, or copy it again"
    for name, weight in model.named_parameters():
        ends = weight.detach().aminmax() if weight.numel() else ()  # both are NaN where one weight is
        if not all(end.isfinite() for end in ends):
            raise ModelError(f"{where}: its weights are no numbers ({name} has some that are not finite): {mend}")
    try:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([list(ids)], device=model.device)).logits
    except Exception as error:
        raise ModelError(
            f"{where}: a {model.config.model_type} model that cannot be asked ({one_line(error, 300)}): use a causal "
            "language model of another architecture"
        ) from error
    if not logits.isfinite().all():
        raise ModelError(f"{where}: its weights give logits that are no numbers: {mend}")


def check_trainable(
    path: Path,
    chat_template_kwargs: Mapping[str, TemplateArgument] | None = None,
    *,
    layout: Layout = "chat",
    setting: str = LAYOUT_SETTING,
) -> tuple[str, ...]:
    """Make sure, without loading its weights, that the method can train this causal checkpoint.

    Args:
        path: the folder.
        chat_template_kwargs: what its chat template is told.
        layout: how its prompts and training rows will be laid out.
        setting: what chooses the layout, for messages.

    Returns:
        What a person should know of how it will be trained: which token pads, where that is not the tokenizer's own,
        and that code which it names is not run.

    Raises:
        ModelError: it is no checkpoint, lacks the chat template that its layout needs, its texts hold tokens that its
            embeddings lack, or it is of an architecture of which no preference model can be made.
    """
    config = read_config(path, num_labels=1)
    scorer_class(config, path)
    tokenizer = _check_tokens(path, layout, setting, chat_template_kwargs)
    padding = describe_padding(tokenizer, count_rows(config))
    code = describe_code(path)
    return (*(() if padding is None else (f"{path}: {padding}",)), *(() if code is None else (code,)))


def _check_tokens(
    path: Path, layout: Layout, setting: str, chat_template_kwargs: Mapping[str, TemplateArgument] | None = None
) -> Tokenizer:
    rows = count_rows(read_config(path))
    tokenizer = load_tokenizer(path, chat_template_kwargs)
    if layout != "transcript" and not tokenizer.chat_template:
        raise ModelError(
            f"{path}: has no chat template, which the {layout} layout needs: choose plain text with  "
            f"--set {setting}=transcript,  or add the model's chat_template.jinja to its folder"
        )
    check_tokens_have_rows(tokenizer, rows, where=path)
    return tokenizer
