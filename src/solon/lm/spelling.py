"""The ways in which a model may spell an option, so that none of its probability is overlooked.

A model that is asked for "Yes" may write "Yes", " Yes" or "yes", and a small one shares its probability out among them.
A backend that knows its tokenizer weighs every spelling that can be told apart there after the prompt; of the others
each option is weighed as it stands. As of spellings that can be told apart no two are written at once, their
probabilities add up to that of the option.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from solon.errors import PromptingError
from solon.lm.protocol import LanguageModel
from solon.records import Rendered


@runtime_checkable
class SpellingModel(Protocol):
    """A model that knows in which spellings it may write an option."""

    def spellings(self, prompt: Rendered, options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Return the spellings of each option that `choose` can weigh beside all others, at least one of each.

        Raises:
            CallFailedError: the prompt cannot be put to the model.
        """
        ...


def find_spellings(model: LanguageModel, prompt: Rendered, options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return the spellings of each option that a model can weigh after a prompt: the option alone, unless it says more.

    Raises:
        CallFailedError: the prompt cannot be put to the model.
    """
    if isinstance(model, SpellingModel):
        return model.spellings(prompt, options)
    return tuple((option,) for option in options)


def spell(option: str) -> tuple[str, ...]:
    """Return the spellings that an option may have: as it stands or in lower case, with or without a space before."""
    return tuple(dict.fromkeys((option, f" {option}", option.lower(), f" {option.lower()}")))


def spell_distinct(
    options: Sequence[str], encode: Callable[[Sequence[str]], Sequence[list[int]]]
) -> tuple[tuple[str, ...], ...]:
    """Return the spellings of each option that can be told apart by their tokens after a prompt.

    Args:
        options: what a model is asked for.
        encode: returns the tokens of each of some texts after that prompt.

    Returns:
        At least one of each: where none is left, the option as it stands, of which `choose` says why it cannot be
        weighed.
    """
    written = [spell(option) for option in options]
    encoded = iter(encode([text for texts in written for text in texts]))
    kept = keep_distinct(written, [[next(encoded) for _ in texts] for texts in written])
    return tuple(texts or (option,) for option, texts in zip(options, kept, strict=True))


def check_apart(options: Sequence[str], encoded: Sequence[list[int]], *, model: str) -> None:
    """Refuse options that cannot be told apart by their tokens.

    Args:
        options: what a model is asked for.
        encoded: the tokens of each.
        model: whose tokens they are.

    Raises:
        PromptingError: an option has no tokens, or begins another.
    """
    for number, ids in enumerate(encoded):
        for other in (*encoded[:number], *encoded[number + 1 :]):
            if not ids or _begins(other, ids):
                raise PromptingError(
                    f"options {tuple(options)!r}: option {number} is, in tokens of {model}, empty or the beginning of "
                    "another, so the two cannot be told apart: word them differently"
                )


def keep_distinct(spellings: Sequence[Sequence[str]], encoded: Sequence[Sequence[list[int]]]) -> list[tuple[str, ...]]:
    """Keep, of each option, the spellings whose probabilities add up to the option's.

    A spelling with the tokens of one before it is that one, and one that begins with the tokens of another is counted
    with it. One whose tokens are, begin or go on from those of another option's spelling is left out: whose it is could
    not be said.

    Args:
        spellings: of each option.
        encoded: the tokens of each of them after a prompt.

    Returns:
        What is kept of each option, in order; maybe nothing.
    """
    kept = []
    for number, (texts, own) in enumerate(zip(spellings, encoded, strict=True)):
        others = [ids for other in (*encoded[:number], *encoded[number + 1 :]) for ids in other]
        distinct: dict[tuple[int, ...], str] = {}
        for text, ids in zip(texts, own, strict=True):
            if not any(_begins(ids, other) or _begins(other, ids) for other in others):
                distinct.setdefault(tuple(ids), text)
        counted = [
            text for ids, text in distinct.items() if not any(_begins(ids, other) for other in distinct if other != ids)
        ]
        kept.append(tuple(counted))
    return kept


def _begins(ids: Sequence[int], start: Sequence[int]) -> bool:
    return ids[: len(start)] == start
