"""One short row through everything that reads a checkpoint, before a run begins.

The sampler may run a model through a forward pass of this package, and training asks its head for some tokens only.
Both must give the log-probabilities that the model gives by itself, or the run would sample from one model and train
another. An architecture for which they do not is refused before any work is done.
"""

from collections.abc import Mapping
from pathlib import Path

import torch

from solon.errors import ModelError
from solon.inference import Sampler
from solon.messages import one_line
from solon.nets import check_numbers, count_rows, encode_prompt, find_absent_rows, load_policy, load_tokenizer, rule_out
from solon.prompting import LayoutLike, add_system_prompt, render_response
from solon.records import Conversation, Sampling, TemplateArgument
from solon.training.batching import TokenRow, pack_rows
from solon.training.forward import can_share_prompts, read_logprobs

FLOAT32_TOLERANCE = 1e-3
"""Nats by which two ways of reading a token may differ in float32; rounding on real models was seen to reach 1.2e-5."""

ROUNDED_TOLERANCE = 0.5
"""The same in half precision, where rounding was seen to reach 0.17; a head whose scale is left out is off by 1.4."""

_TOKENS = 16
_ASKED = Conversation.of("What is the difference between a lake and a river?")


def check_reading(
    checkpoint: Path,
    *,
    device: str = "cpu",
    dtype: str | None = None,
    chat_template_kwargs: Mapping[str, TemplateArgument] | None = None,
    system_prompt: str | None = None,
    layout: LayoutLike = "chat",
) -> None:
    """Make sure that sampler and training reader give a causal model's own log-probabilities.

    Args:
        checkpoint: a folder, with a chat template unless `layout` is `transcript`.
        device: where the model runs.
        dtype: name of the precision in which it will be asked; None is its own.
        chat_template_kwargs: what its chat template is told beside the conversation.
        system_prompt: what comes before the conversation; None for nothing.
        layout: how the conversation is laid out.

    Raises:
        ModelError: they do not, by more than rounding; or the model cannot be loaded or read.
    """
    tokenizer = load_tokenizer(checkpoint, chat_template_kwargs)
    model = load_policy(checkpoint, device=device, dtype=None if dtype is None else getattr(torch, dtype))
    try:
        prompt = encode_prompt(tokenizer, add_system_prompt(render_response(_ASKED, layout), system_prompt, layout))
        check_numbers(model, prompt, where=checkpoint, dtype=dtype)
        sampler = Sampler(model, tokenizer, batch_size=1, end_ids=())
        (drawn,) = sampler.sample([prompt], Sampling(max_tokens=_TOKENS), [0])
        row = TokenRow((*prompt, *drawn.token_ids), len(prompt))
        with torch.no_grad():
            own = model(input_ids=torch.tensor([row.ids], device=model.device)).logits[0, len(prompt) - 1 : -1].float()
            batch = pack_rows([row, row], share_prompts=can_share_prompts(model), device=model.device)
            absent = find_absent_rows(tokenizer, count_rows(model.config), model.device)
            known = rule_out(own, absent)  # the sampler draws no token that is none
            read = read_logprobs(model, batch, absent)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"{checkpoint}: a {model.config.model_type} model cannot be sampled and read ({one_line(error, 300)}): use "
            "a causal language model of another architecture"
        ) from error
    sampled = torch.tensor(drawn.logprobs, device=own.device)
    tolerance = FLOAT32_TOLERANCE if model.dtype == torch.float32 else ROUNDED_TOLERANCE
    wanted = known.log_softmax(-1)[torch.arange(_TOKENS), drawn.token_ids]
    for what, found in (("sampler", sampled), ("training reader", read)):
        difference = float((found - wanted).abs().max())
        if not difference <= tolerance:
            raise ModelError(
                f"{checkpoint}: the {what} is {difference:.2g} nats off the {model.config.model_type} model's own "
                f"log-probabilities, more than rounding ({tolerance:g}): use a model of another architecture"
            )
