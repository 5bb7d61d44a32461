"""Reading a batch of rows: the log-probability of each response token, the value before it, the score of the whole.

Each function runs a model once over a `TokenBatch` and its head only where something is wanted. Results come row by
row, whatever sequences the rows shared. Sequences are padded on the right; since a token never looks ahead, what stands
after a row cannot change it, and rows of their own need no attention mask, which keeps the fast causal path of
attention.
"""

from contextlib import ExitStack
from typing import Any

from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy

from solon.nets import CausalLM, Network, Scorer, is_llama_shaped, rule_out
from solon.training.batching import TokenBatch


def can_share_prompts(model: Network) -> bool:
    """Say whether a model takes positions and a mask of who sees whom, so that rows may share a prompt's tokens."""
    return is_llama_shaped(model)


def read_logprobs(model: CausalLM, batch: TokenBatch, absent: Tensor | None) -> Tensor:
    """Return the log-probability of each response token under a causal model; differentiable. Shape (B, R).

    Args:
        model: the causal model.
        batch: what it reads.
        absent: its rows that stand for no token, ruled out as in sampling; None where there are none.
    """
    logits = rule_out(_read_logits(model, batch).float(), absent)
    return batch.to_responses(-cross_entropy(logits, batch.targets, reduction="none"))


def _read_logits(model: CausalLM, batch: TokenBatch) -> Tensor:
    """Return the model's own logits before each response token. Shape (N, V).

    Some families scale or cap what their word head gives. So the model runs as a whole, and only what goes into its
    head is reduced to the rows that are wanted: logits of every token would be most of the memory that training takes.
    A model whose head is not asked in the usual way gives the logits of all tokens, of which the same rows are taken.
    """
    reduced = False

    def reduce(head: Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        nonlocal reduced
        hidden = inputs[0]
        if hidden.dim() != 3 or hidden.shape[:2] != batch.ids.shape:
            return inputs
        reduced = True
        return (hidden.flatten(0, 1)[batch.sources][None], *inputs[1:])

    head = model.get_output_embeddings()
    with ExitStack() as stack:
        if head is not None:
            stack.callback(head.register_forward_pre_hook(reduce).remove)
        logits = model(input_ids=batch.ids, use_cache=False, **_shared(batch)).logits
    return logits[0] if reduced else logits.flatten(0, 1)[batch.sources]


def read_values(model: Scorer, batch: TokenBatch) -> Tensor:
    """Return the value before each response token under a scalar model; differentiable. Shape (B, R)."""
    return batch.to_responses(model.score(read_trunk(model, batch)[batch.sources]).squeeze(-1).float())


def read_scores(model: Scorer, batch: TokenBatch) -> Tensor:
    """Return the score of each row, read at its last token; differentiable. Shape (B,)."""
    scores: Tensor = model.score(read_trunk(model, batch)[batch.last]).squeeze(-1).float()
    return scores


def read_trunk(model: Network, batch: TokenBatch) -> Tensor:
    """Return the trunk's output at every token of every sequence, one after the other. Shape (S * T, width)."""
    return model.base_model(input_ids=batch.ids, use_cache=False, **_shared(batch)).last_hidden_state.flatten(0, 1)


def _shared(batch: TokenBatch) -> dict[str, Tensor]:
    """Return what a model must be told where rows share sequences."""
    if batch.visible is None or batch.positions is None:
        return {}
    return {"attention_mask": batch.visible, "position_ids": batch.positions}
