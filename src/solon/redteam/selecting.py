"""Which prompts are used for what: splits by hash, selections by seed, and a guard between training and evaluation.

Both draws depend on a prompt's content alone, not on its place in a file or on what else is there. Adding a
prompt to a pool moves no other prompt to another split, and pushes at most one out of a selection.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from solon.errors import ConfigError
from solon.messages import shorten
from solon.records import TRAIN, Prompt
from solon.redteam.normalize import prompt_key
from solon.storage import derive_seed

SHARES: Final[Mapping[str, float]] = MappingProxyType({TRAIN: 0.8, "heldout": 0.2})
"""Share of goals that falls to each split."""

NAMED: Final = 5
"""How many prompts a message shows."""


def assign_split(key: str, shares: Mapping[str, float] = SHARES) -> str:
    """Return a split by the hash of a key, so that what shares a key shares a split, in every pool and every order.

    Args:
        key: what must not be in two splits, as `split_key` returns it.
        shares: split to share, adding up to 1.

    Raises:
        ConfigError: the shares are not such.
    """
    if any(share < 0.0 for share in shares.values()) or abs(sum(shares.values()) - 1.0) > 1e-9:
        raise ConfigError(f"the shares of the splits must be at least 0 and add up to 1, not {dict(shares)}")
    uniform = derive_seed("split", key) / 2.0**63
    wanted = [split for split, share in shares.items() if share > 0.0]
    reached = 0.0
    for split in wanted:
        reached += shares[split]
        if uniform < reached:
            return split
    return wanted[-1]


def select_prompts(prompts: Sequence[Prompt], count: int, *, seed: int) -> list[Prompt]:
    """Draw `count` prompts without replacement; a smaller draw with the same seed is the beginning of a larger one.

    Raises:
        ConfigError: there are not so many.
    """
    if not 0 <= count <= len(prompts):
        raise ConfigError(f"asked for {count} prompts, but there are {len(prompts)}: add prompts or ask for fewer")
    return sorted(prompts, key=lambda prompt: (derive_seed(seed, "select", prompt.id), prompt.id))[:count]


def refuse_evaluation_prompts(training: Iterable[Prompt], evaluation: Iterable[Prompt] = ()) -> None:
    """Make sure that nothing a model is measured on is in a training pool.

    Args:
        training: what is about to be trained on.
        evaluation: prompts that are measured on, whatever split they say they are of.

    Raises:
        ConfigError: a training prompt is of another split than `train`, or says the same as an evaluation prompt
            after normalisation; the first few are named.
    """
    measured = {prompt_key(prompt.conversation) for prompt in evaluation}
    refused = [p for p in training if p.split != TRAIN or prompt_key(p.conversation) in measured]
    if not refused:
        return
    named = "; ".join(describe_prompt(p) for p in refused[:NAMED])
    rest = f"; and {len(refused) - NAMED} more" if len(refused) > NAMED else ""
    raise ConfigError(f"{len(refused)} prompts of a training pool belong to evaluation, leave them out: {named}{rest}")


def describe_prompt(prompt: Prompt) -> str:
    """Return a prompt's id, split, source and last turn, short enough for a message."""
    return f"{prompt.id} ({prompt.split}, {prompt.source}): {shorten(prompt.conversation.messages[-1].text, 60)}"
