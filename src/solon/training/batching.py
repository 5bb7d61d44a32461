"""Rows of token ids into tensors: which rows go together, padding on the right, and the order of an epoch.

A batch is a matter of the method (how many examples one step learns from), a microbatch of the machine (how many
tokens fit and run well). Rows are drawn into batches at random and only then sorted by length and cut into
microbatches, so that little is spent on padding and what a step learns does not depend on how it was cut.
"""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from solon.nets import encode_prompt, encode_response, end_token_id
from solon.nets.tokenizer import Tokenizer
from solon.prompting import render_response
from solon.records import Conversation, derive_seed


@dataclass(frozen=True)
class TokenRow:
    """A prompt and the response that follows it, as token ids.

    Attributes:
        ids: the prompt's tokens, then the response's, its end token included where it has one.
        prompt_length: how many of them are the prompt's; at least one.
    """

    ids: tuple[int, ...]
    prompt_length: int

    @property
    def response_length(self) -> int:
        """Number of response tokens."""
        return len(self.ids) - self.prompt_length


@dataclass(frozen=True)
class TokenBatch:
    """Rows padded on the right to a common length.

    Attributes:
        ids: token ids. Shape (B, T).
        mask: True where there is a token, False where there is padding. Shape (B, T).
        counted: True on the tokens of the response, which are those that are learnt from. Shape (B, T).
        response_mask: the same with the prompts taken away: a prefix of each row. Shape (B, R).
    """

    ids: Tensor
    mask: Tensor
    counted: Tensor
    response_mask: Tensor

    def to_responses(self, values: Tensor) -> Tensor:
        """Keep what belongs to response tokens.

        Args:
            values: one number per token but the first, index t for token t + 1. Shape (B, T - 1).

        Returns:
            The response tokens' numbers, each row starting with its first, 0 after its last. Shape (B, R).
        """
        zeros = values.new_zeros(self.response_mask.shape)
        return zeros.masked_scatter(self.response_mask, values[self.counted[:, 1:]])


class RowEncoder:
    """Turns conversations and responses into rows, exactly as the sampler reads them; prompts are encoded once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._prompts: dict[Conversation, tuple[int, ...]] = {}
        self.end = end_token_id(tokenizer)

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        """Return the tokens after which the assistant's next turn begins."""
        if conversation not in self._prompts:
            self._prompts[conversation] = tuple(encode_prompt(self._tokenizer, render_response(conversation)))
        return self._prompts[conversation]

    def row(self, conversation: Conversation, response: str) -> TokenRow:
        """Return the row of a response that ended: its tokens and the end token after the prompt's."""
        prompt = self.prompt(conversation)
        return TokenRow((*prompt, *encode_response(self._tokenizer, response), self.end), len(prompt))


def pad_rows(rows: Sequence[TokenRow], *, pad_id: int = 0, device: torch.device | str = "cpu") -> TokenBatch:
    """Build a batch from rows; what `pad_id` is does not matter, since nothing ever attends to it."""
    lengths = torch.tensor([len(row.ids) for row in rows])
    prompts = torch.tensor([row.prompt_length for row in rows])
    width = int(lengths.max())
    ids = torch.tensor([[*row.ids, *[pad_id] * (width - len(row.ids))] for row in rows])
    position = torch.arange(width)
    mask = position < lengths[:, None]
    counted = mask & (position >= prompts[:, None])
    response_mask = torch.arange(int((lengths - prompts).max())) < (lengths - prompts)[:, None]
    return TokenBatch(ids.to(device), mask.to(device), counted.to(device), response_mask.to(device))


def plan_microbatches(lengths: Sequence[int], *, max_tokens: int) -> list[list[int]]:
    """Cut indices into groups of similar length.

    Args:
        lengths: tokens of each row.
        max_tokens: at most this many tokens in a group, padding included; a longer row goes alone.

    Returns:
        Groups of indices, longest rows first, each index once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    groups: list[list[int]] = []
    for index in order:
        if groups and (len(groups[-1]) + 1) * lengths[groups[-1][0]] <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def shuffle_order(count: int, *, seed: int, epoch: int) -> list[int]:
    """Return 0 ... count-1 in the random order of one epoch."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "order", epoch))
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    return order


def batch_at(step: int, count: int, batch_size: int, *, seed: int) -> list[int]:
    """Return the indices that a step learns from: each index once an epoch, the epoch's last batch may be smaller."""
    per_epoch = -(-count // batch_size)
    epoch, place = divmod(step, per_epoch)
    return shuffle_order(count, seed=seed, epoch=epoch)[place * batch_size : (place + 1) * batch_size]


def rows_digest(rows: Sequence[TokenRow]) -> str:
    """Return a digest of the tokens of all rows, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(array("q", [len(row.ids), row.prompt_length, *row.ids]).tobytes())
    return digest.hexdigest()
