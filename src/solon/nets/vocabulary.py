"""What the rows of a model's embeddings and the tokens of its tokenizer have to do with each other.

Neither needs to cover the other. A vocabulary may be padded to a round number, so that there are rows without a token;
and a tokenizer may have been given tokens, often one for padding, that the embeddings have no row for.

A model's distribution is over the tokens that its tokenizer has: rows without a token are ruled out wherever
log-probabilities are taken, in sampling, in fine-tuning and in reinforcement learning alike. That is the distribution
that is sampled from, so a policy and its equal reference agree exactly; what a row without a token says of itself is
neither learnt nor paid for.
"""

import torch
from torch import Tensor

from solon.errors import ModelError
from solon.nets.protocols import Tokenizer
from solon.nets.tokenizer import encode_prompt, end_token_id, split_added_tokens
from solon.records import Rendered, Span, Turn
from solon.storage import content_digest


def vocabulary_digest(tokenizer: Tokenizer) -> str:
    """Return a digest of which token has which id: token ids mean the same where it is equal."""
    return content_digest(tokenizer.get_vocab())


def find_absent_rows(tokenizer: Tokenizer, rows: int, device: torch.device | str = "cpu") -> Tensor | None:
    """Return which of a model's `rows` stand for no token of its tokenizer; None where each stands for one."""
    engine = tokenizer.backend_tokenizer
    absent = [index for index in range(rows) if engine.id_to_token(index) is None]
    return torch.tensor(absent, device=device) if absent else None


def rule_out(logits: Tensor, absent: Tensor | None) -> Tensor:
    """Return logits with -inf at the rows that stand for no token; as they are where there are none.

    Args:
        logits: Shape (..., V).
        absent: as `find_absent_rows` returns them.
    """
    return logits if absent is None else logits.index_fill(-1, absent, float("-inf"))


def check_tokens_have_rows(tokenizer: Tokenizer, rows: int, *, where: object) -> None:
    """Make sure that whatever a text is made of has a row: its words, its chat template if there is one, its end.

    Args:
        tokenizer: the model's.
        rows: of the model's embeddings.
        where: what to call the model.

    Raises:
        ModelError: a token has none; names it.
    """
    engine = tokenizer.backend_tokenizer
    control = {*split_added_tokens(tokenizer)[0].values(), tokenizer.unk_token_id}
    words = (index for index in engine.get_vocab().values() if index not in control)  # text becomes none of those
    turn = Turn(role="user", spans=(Span(text="A", trusted=True),))
    template = encode_prompt(tokenizer, Rendered(layout="chat", turns=(turn,))) if tokenizer.chat_template else []
    beyond = max((*words, *template, end_token_id(tokenizer)))
    if beyond >= rows:
        raise ModelError(
            f"{where}: its tokenizer writes token {beyond} ({engine.id_to_token(beyond)!r}), its embeddings end at row "
            f"{rows - 1}: put the tokenizer that these weights were trained with into the folder"
        )


def choose_padding(tokenizer: Tokenizer, rows: int) -> int:
    """Return the id that pads batches: the tokenizer's own where it can be used, else the best that there is.

    It must have a row and must not be a token that ends a text: who reads a padded batch takes the last token that is
    not padding for the last of the text. In order: the tokenizer's own; a control token that no chat template writes,
    one that is meant for padding first; the token that begins texts; a row without a token; any other token. The last
    three do no harm, since padding stands only behind an end.

    Args:
        tokenizer: the model's.
        rows: of the model's embeddings.
    """
    ends = {end_token_id(tokenizer), tokenizer.eos_token_id}
    template = str(tokenizer.chat_template)
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    spare = [
        index
        for index, token in sorted(added.items(), key=lambda item: ("pad" not in item[1].content.lower(), item[0]))
        if token.special
        and token.content not in template
        and index not in (tokenizer.bos_token_id, tokenizer.unk_token_id)
    ]
    absent = find_absent_rows(tokenizer, rows)
    rest = [] if absent is None else absent.tolist()
    candidates: list[int | None] = [tokenizer.pad_token_id, *spare, tokenizer.bos_token_id, *rest, *range(rows)]
    return next(index for index in candidates if index is not None and index < rows and index not in ends)


def describe_padding(tokenizer: Tokenizer, rows: int) -> str | None:
    """Say for people which id pads batches and why; None where it is the tokenizer's own padding token."""
    own, chosen = tokenizer.pad_token_id, choose_padding(tokenizer, rows)
    if own == chosen:
        return None
    if own is None:
        why = "has no padding token"
    elif own >= rows:
        why = f"has padding token {own} ({tokenizer.pad_token!r}), beyond the {rows} rows of its embeddings"
    else:
        why = f"pads with a token that ends texts, {own} ({tokenizer.pad_token!r})"
    name = tokenizer.backend_tokenizer.id_to_token(chosen)
    return f"{why}: batches are padded with {chosen} ({'a row without a token' if name is None else repr(name)})"


def set_padding(tokenizer: Tokenizer, padding: int) -> None:
    """Make a tokenizer pad with an id, or with nothing where that id is not one of its control tokens.

    A word would become a control token by padding with it, and could not be written any more.
    """
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    token = added.get(padding)
    tokenizer.pad_token = token.content if token is not None and token.special else None
