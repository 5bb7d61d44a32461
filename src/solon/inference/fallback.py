"""Architectures without a forward pass of our own: transformers' `generate`, made to take our draws.

`generate` keeps the cache and the positions of every architecture it knows. A logits processor, the only one,
replaces its choice by ours: it sees the plain logits, draws, and leaves that token alone possible. The
checkpoint's own generation defaults (penalties, nucleus, forced tokens) are put aside for the call.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from solon.nets import CausalLM

MAX_LOGITS = 2**26
"""Numbers that a plain forward pass may return at once: a vocabulary's worth for each token it reads."""


def generate_with_draws(
    model: CausalLM, prompts: Sequence[list[int]], max_tokens: int, draw: Callable[[int, Tensor], tuple[Tensor, bool]]
) -> None:
    """Continue prompts by `generate`, every token drawn by `draw`.

    Args:
        model: a causal language model.
        prompts: token ids.
        max_tokens: steps at most.
        draw: takes the step and the logits (B, V), returns tokens (B,) and whether all rows have ended.
    """
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    longest = max(map(len, prompts))
    # Padded on the left, as `generate` goes on after the last column of all rows.
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts], device=model.device)
    done = False

    def force(input_ids: Tensor, scores: Tensor) -> Tensor:
        nonlocal done
        tokens, done = draw(input_ids.shape[1] - longest, scores.float())
        return torch.full_like(scores, float("-inf")).scatter_(1, tokens[:, None], 0.0)

    def ended(input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        return torch.full((len(prompts),), done, dtype=torch.bool, device=input_ids.device)

    # Put aside and not passed over: `generate` fills in from it whatever the configuration it is given leaves open.
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        model.generate(
            ids,
            attention_mask=mask,
            generation_config=GenerationConfig(do_sample=False, max_new_tokens=max_tokens, pad_token_id=0),
            logits_processor=LogitsProcessorList([force]),
            stopping_criteria=StoppingCriteriaList([ended]),
        )
    finally:
        model.generation_config = own


def logits_after(model: CausalLM, rows: Sequence[list[int]], places: Tensor) -> Tensor:
    """Return logits of the next token after some places of each row, by plain forward passes.

    Args:
        model: a causal language model.
        rows: token ids.
        places: which tokens of each row; past the end of a row they mean nothing. Shape (B, S).

    Returns:
        Float32. Shape (B, S, V).
    """
    longest, vocabulary = max(map(len, rows)), model.config.get_text_config().vocab_size
    at_once = max(1, MAX_LOGITS // (longest * vocabulary))
    found = []
    for start in range(0, len(rows), at_once):
        part, wanted = rows[start : start + at_once], places[start : start + at_once]
        width = max(map(len, part))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in part], device=model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in part], device=model.device)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        kept = wanted.clamp_max(width - 1)[..., None].expand(-1, -1, logits.shape[2])
        found.append(logits.gather(1, kept).float())
    return torch.cat(found)
