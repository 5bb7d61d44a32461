"""Rows of token ids into tensors: which rows go together, padding on the right, and the order of an epoch.

A batch is a matter of the method (how many examples one step learns from), a microbatch of the machine (how many
tokens fit and run well). Rows are drawn into batches at random and only then sorted by length and cut into
microbatches, so that little is spent on padding and what a step learns does not depend on how it was cut. Responses to
one prompt that meet in a microbatch share its tokens: the two of a pair, or the several that PPO samples.
"""

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from solon.inference import text_before_stop
from solon.nets import (
    Tokenizer,
    decode_response,
    encode_continuations,
    encode_prompt,
    end_token_id,
    vocabulary_digest,
)
from solon.prompting import LayoutLike, add_system_prompt, render_response, response_lead, response_stops
from solon.records import Conversation, Rendered, SampledTokens
from solon.storage import derive_seed

_SHARED = 8
"""Responses that may share a prompt's sequence: attention grows with its square. Even, so that pairs stay together."""


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
    """Rows as tensors. Rows with the same prompt may share a sequence: the prompt once, then each response.

    In a shared sequence a response sees the prompt and itself, and its positions continue the prompt's, so it is read
    exactly as if it stood alone; the prompt costs its price once. `B` rows lie in `S` sequences.

    Attributes:
        ids: token ids, padded on the right. Shape (S, T).
        positions: of each token in its own row; None where each sequence is one row. Shape (S, T).
        visible: True where a token (first T) sees another (second T); None where each sequence is one row, which plain
            causal attention does right. Shape (S, 1, T, T).
        sources: where each response token is foretold, as an index into the flattened `ids`: the token before it.
            All rows, one after the other. Shape (N,).
        targets: the response tokens themselves. Shape (N,).
        last: where each row ends, as an index into the flattened `ids`. Shape (B,).
        response_mask: True where a response has a token; a prefix of each row. Shape (B, R).
    """

    ids: Tensor
    positions: Tensor | None
    visible: Tensor | None
    sources: Tensor
    targets: Tensor
    last: Tensor
    response_mask: Tensor

    def to_responses(self, values: Tensor) -> Tensor:
        """Arrange one number, or one vector, per response token into rows, zeros after each. Shape (B, R, ...)."""
        rows = values.new_zeros(*self.response_mask.shape, *values.shape[1:])
        mask = self.response_mask.reshape(*self.response_mask.shape, *[1] * (values.dim() - 1))
        return rows.masked_scatter(mask, values)


class RowEncoder:
    """Turns conversations and responses into rows, exactly as the sampler reads and writes them.

    A response is what was sampled, where that is on record in this vocabulary and the text can be cut out of it; only
    otherwise is its text read anew, which may give other tokens than were sampled, and is counted. Prompts are encoded
    once.

    In the `transcript` layout too a response ends with the end token, whether it was sampled with one or a stop string
    ended it, and begins with the space of the template where its text is read anew and brings none of its own.

    Args:
        tokenizer: the trained model's.
        system_prompt: what comes before every conversation; None for nothing.
        layout: how conversations are laid out.

    Attributes:
        end: the token that ends a response.
        stop: strings that end a response while it is sampled, beside the end token.
        reread: responses so far whose text was read anew.
    """

    def __init__(self, tokenizer: Tokenizer, system_prompt: str | None = None, layout: LayoutLike = "chat") -> None:
        self._tokenizer = tokenizer
        self._system_prompt = system_prompt
        self._layout = layout
        self._lead = response_lead(layout)
        self._vocabulary = vocabulary_digest(tokenizer)
        self._prompts: dict[Conversation, tuple[int, ...]] = {}
        self.end = end_token_id(tokenizer)
        self.stop = response_stops(layout)
        self.reread = 0

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        """Return the tokens after which the assistant's next turn begins."""
        if conversation not in self._prompts:
            ids = encode_prompt(self._tokenizer, self._render(conversation), after_thought=True)
            self._prompts[conversation] = tuple(ids)
        return self._prompts[conversation]

    def row(self, conversation: Conversation, response: str, tokens: SampledTokens | None = None) -> TokenRow:
        """Return the row of a response that ended: its tokens and the end token after the prompt's.

        Args:
            conversation: what it answers.
            response: its text.
            tokens: what it was sampled as, where that is on record.
        """
        return self.rows(conversation, (response, tokens, True))[0]

    def stopped(self, conversation: Conversation, ids: Sequence[int]) -> TokenRow:
        """Return the row of a response that a stop string ended, as it is learnt: its text up to there, and the end.

        Args:
            conversation: what it answers.
            ids: what was sampled, the stop string included.
        """
        text = text_before_stop(decode_response(self._tokenizer, list(ids)), self.stop)
        return self.row(conversation, text, SampledTokens(ids=tuple(ids), vocabulary=self._vocabulary))

    def rows(self, conversation: Conversation, *responses: tuple[str, SampledTokens | None, bool]) -> list[TokenRow]:
        """Return the rows of several responses to one conversation: each a text, what it was sampled as, and its end.

        A response that ended, True, has the end token last; one that the limit cut off has none, since the model wrote
        none.
        All have the same prompt: where reading a text anew makes a token reach from the prompt into it, the prompt ends
        before that token for all of them.
        """
        sampled = [self._sampled(text, tokens) for text, tokens, _ in responses]
        anew = [self._after_lead(text) for (text, *_), ids in zip(responses, sampled, strict=True) if ids is None]
        prompt, rests = encode_continuations(self._tokenizer, self._render(conversation), anew)
        self.reread += len(anew)
        whole, texts = self.prompt(conversation), iter(rests)
        rows = [(*prompt, *next(texts)) if ids is None else (*whole, *ids) for ids in sampled]
        ends = [(self.end,) if ended else () for _, _, ended in responses]
        return [TokenRow((*ids, *end), len(prompt)) for ids, end in zip(rows, ends, strict=True)]

    def _render(self, conversation: Conversation) -> Rendered:
        return add_system_prompt(render_response(conversation, self._layout), self._system_prompt, self._layout)

    def _after_lead(self, text: str) -> str:
        return self._lead + text if text and not text[0].isspace() else text

    def _sampled(self, text: str, tokens: SampledTokens | None) -> tuple[int, ...] | None:
        """Return the tokens that a text was sampled as, where they are on record and of this vocabulary."""
        if tokens is None or tokens.vocabulary != self._vocabulary:
            return None
        return cut_tokens(self._tokenizer, tokens.ids, text)


def cut_tokens(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> tuple[int, ...] | None:
    """Return the tokens among `ids` that are `text`: all of them, or a run of them where the text was cut.

    Args:
        tokenizer: whose tokens they are.
        ids: what was sampled.
        text: what was kept of it.

    Returns:
        The first such run; None where the text begins or ends within a token, or is not what was sampled.
    """
    if decode_response(tokenizer, list(ids)) == text:
        return tuple(ids)
    read = [decode_response(tokenizer, list(ids[:count])) for count in range(len(ids) + 1)]
    for stop, whole in enumerate(read):
        if whole.endswith(text):
            for start in range(stop + 1):
                if read[start] + text == whole:
                    return tuple(ids[start:stop])
    return None


def pack_rows(
    rows: Sequence[TokenRow], *, share_prompts: bool, pad_id: int = 0, device: torch.device | str = "cpu"
) -> TokenBatch:
    """Build a batch from rows.

    Args:
        rows: in the order in which everything about them is given back.
        share_prompts: True where rows with equal prompts may lie in one sequence; the model must take positions and
            a mask of who sees whom.
        pad_id: what padding holds; it does not matter, since no text sees it.
        device: where the tensors go.
    """
    groups = _group_rows(rows) if share_prompts else [[index] for index in range(len(rows))]
    width = max(_packed_length(rows, group) for group in groups)
    ids = torch.full((len(groups), width), pad_id)
    positions, segments = torch.zeros_like(ids), torch.full_like(ids, -1)
    sources: list[Tensor] = [torch.empty(0)] * len(rows)
    last = torch.empty(len(rows), dtype=torch.long)
    for number, group in enumerate(groups):
        prompt_length = rows[group[0]].prompt_length
        ids[number, :prompt_length] = torch.tensor(rows[group[0]].ids[:prompt_length])
        positions[number, :prompt_length] = torch.arange(prompt_length)
        segments[number, :prompt_length] = 0
        start = prompt_length
        for segment, index in enumerate(group, 1):
            length = rows[index].response_length
            place = slice(start, start + length)
            ids[number, place] = torch.tensor(rows[index].ids[prompt_length:])
            positions[number, place] = torch.arange(prompt_length, prompt_length + length)
            segments[number, place] = segment
            before = torch.arange(start - 1, start + length - 1)
            before[:1] = prompt_length - 1  # the first token of every response follows the prompt
            sources[index] = number * width + before
            last[index] = number * width + (start if length else prompt_length) + length - 1
            start += length
    shared = len(groups) < len(rows)
    lengths = torch.tensor([row.response_length for row in rows])
    return TokenBatch(
        ids=ids.to(device),
        positions=positions.to(device) if shared else None,
        visible=_who_sees_whom(segments).to(device) if shared else None,
        sources=torch.cat(sources).to(device),
        targets=torch.tensor([token for row in rows for token in row.ids[row.prompt_length :]]).to(device),
        last=last.to(device),
        response_mask=(torch.arange(int(lengths.max())) < lengths[:, None]).to(device),
    )


def plan_microbatches(rows: Sequence[TokenRow], *, max_tokens: int, share_prompts: bool) -> list[list[int]]:
    """Cut rows into groups that go through a model together.

    Args:
        rows: what is to be read.
        max_tokens: at most this many tokens in a group, padding included; a longer sequence goes alone.
        share_prompts: as for `pack_rows`, which makes the same sequences of each group.

    Returns:
        Groups of indices, longest sequences first, each index once. Rows that share a sequence are neighbours, in
        the order given; two neighbours in `rows` with the same prompt are never parted if all rows come in such pairs.
    """
    sequences = _group_rows(rows) if share_prompts else [[index] for index in range(len(rows))]
    lengths = [_packed_length(rows, sequence) for sequence in sequences]
    groups: list[list[int]] = []
    longest = count = 0
    for place in sorted(range(len(sequences)), key=lambda place: (-lengths[place], sequences[place][0])):
        if groups and (count + 1) * longest <= max_tokens:
            groups[-1].extend(sequences[place])
            count += 1
        else:
            groups.append(list(sequences[place]))
            longest, count = lengths[place], 1
    return groups


def _group_rows(rows: Sequence[TokenRow]) -> list[list[int]]:
    """Return indices of rows by prompt, in order of appearance, at most `_SHARED` to a sequence."""
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        by_prompt.setdefault(row.ids[: row.prompt_length], []).append(index)
    return [
        indices[start : start + _SHARED] for indices in by_prompt.values() for start in range(0, len(indices), _SHARED)
    ]


def _packed_length(rows: Sequence[TokenRow], group: Sequence[int]) -> int:
    return rows[group[0]].prompt_length + sum(rows[index].response_length for index in group)


def _who_sees_whom(segments: Tensor) -> Tensor:
    """Say which tokens see which: what came before, in the prompt or in the own response. Shape (S, 1, T, T).

    Padding, whose segment is -1, sees the prompt, because a token that sees nothing would turn into NaN.
    """
    before = torch.ones(segments.shape[1], segments.shape[1], dtype=torch.bool).tril()
    seen, seer = segments[:, None, :], segments[:, :, None]
    return (before & ((seen == 0) | (seen == seer)))[:, None]


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
