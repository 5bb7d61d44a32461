"""Prompts of an evaluation that are in a training pool, word for word or nearly.

To train on a goal and to measure on it is a leak too, if both prompts name it and are of one kind. Two prompts say
the same if they are equal after normalisation, whatever their kinds. Two prompts of one kind say nearly the same if
the sets of their words have a Jaccard similarity of at least 0.7, or the sets of their runs of three words one of at
least 0.5 (a prompt of fewer words has no such run, and only its words count). Prompts of different kinds are not
compared nearly: a harmless twin is made to look like its harmful prompt. All turns count.

Up to `EXACT_LIMIT` prompts in a pool every pair above a threshold is found, by prefix filtering: under one order of all
words, rarest first, two sets of similarity t share a word among the first n - ceil(t n) + 1 of each. In larger pools
`rensa` proposes pairs by MinHash, and each is checked exactly: nothing is named that is not near, and some may be
missed. Measured on 6,000 made-up prompts against 1,000 copies with one or two words of ten to fourteen changed: all 808
near pairs were found (786 of 786 by words, 543 of 543 by runs of three).

Such overlap is right for prompts that people wrote. Prompts made from a few templates, as those of the reference world,
are all near each other, and are kept apart by their goals instead.

Reference: Bayardo et al. 2007, "Scaling up all pairs similarity search"; Broder 1997, MinHash.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from typing import Final, Literal, NamedTuple

from solon.errors import ConfigError, MissingExtraError
from solon.records import Prompt
from solon.redteam.normalize import prompt_key, split_key
from solon.redteam.pools import PromptPool
from solon.redteam.selecting import NAMED, describe_prompt
from solon.words import split_words, word_runs

WORDS_SHARED: Final = Fraction(7, 10)
"""Jaccard similarity of word sets from which on two prompts say nearly the same."""

RUNS_SHARED: Final = Fraction(1, 2)
"""The same for sets of runs of three words."""

EXACT_LIMIT: Final = 5_000
"""Prompts in a pool up to which every near pair is found; beyond it, candidates are sketched."""

_RUN: Final = 3
"""Words of a run."""

_SAID: Final[Mapping[Literal["exact", "goal", "near"], str]] = {
    "exact": "says the same",
    "goal": "names the same goal",
    "near": "says nearly the same",
}
_PERMUTATIONS: Final = 128
_SEED: Final = 0

_Sets = Sequence[frozenset[str]]
_FindPairs = Callable[[_Sets, _Sets, Fraction], Iterator[tuple[int, int]]]


class Leak(NamedTuple):
    """A training prompt and the evaluation prompt that it repeats, and what they have in common.

    Attributes:
        training: the prompt that is trained on.
        measured: the prompt that is measured on.
        how: they say the same (`exact`), they name the same goal, or they say nearly the same.
    """

    training: Prompt
    measured: Prompt
    how: Literal["exact", "goal", "near"]

    @property
    def exact(self) -> bool:
        """Whether they say the same after normalisation."""
        return self.how == "exact"


def find_leaks(training: Sequence[Prompt], evaluation: Sequence[Prompt], *, near: bool = True) -> list[Leak]:
    """Return every training prompt that repeats an evaluation prompt or its goal, in the order of training.

    Args:
        training: what is about to be trained on.
        evaluation: what is measured on.
        near: whether to say nearly the same, or to name the same goal, is a leak too.

    Raises:
        MissingExtraError: a pool is larger than `EXACT_LIMIT` and `rensa` is not installed.
    """
    measured = {prompt_key(prompt.conversation): prompt for prompt in reversed(evaluation)}
    found: dict[int, Leak] = {}
    goals = {_goal(prompt): prompt for prompt in reversed(evaluation) if near and prompt.goal is not None}
    for place, prompt in enumerate(training):
        if same := measured.get(prompt_key(prompt.conversation)):
            found[place] = Leak(prompt, same, "exact")
        elif prompt.goal is not None and (same := goals.get(_goal(prompt))):
            found[place] = Leak(prompt, same, "goal")
    for kind in sorted({prompt.kind for prompt in evaluation}) if near else ():
        places = [i for i, prompt in enumerate(training) if prompt.kind == kind and i not in found]
        asked = [prompt for prompt in evaluation if prompt.kind == kind]
        for i, j in _near([training[place] for place in places], asked):
            found.setdefault(places[i], Leak(training[places[i]], asked[j], "near"))
    return [found[place] for place in sorted(found)]


def find_alike(prompts: Sequence[Prompt], *, least: Fraction) -> Iterator[tuple[Prompt, Prompt]]:
    """Yield the pairs of a pool whose sets of runs of three words have a Jaccard similarity of `least` or more.

    Raises:
        MissingExtraError: the pool is larger than `EXACT_LIMIT` and `rensa` is not installed.
    """
    runs = [word_runs(_words(prompt), _RUN) for prompt in prompts]
    find = _pairs_by_sketch if len(prompts) > EXACT_LIMIT else _pairs_by_prefix
    for i, j in _similar(runs, runs, least, find):
        if i < j:
            yield prompts[i], prompts[j]


def keep_evaluation_out(
    training: Sequence[Prompt], evaluation: Sequence[Prompt], *, near: bool = True, drop: bool = False
) -> PromptPool:
    """Return a training pool that repeats no evaluation prompt.

    Args:
        training: what is about to be trained on.
        evaluation: what is measured on.
        near: whether to say nearly the same, or to name the same goal, is a leak too.
        drop: leave out the training prompts that leak and count them, instead of refusing them.

    Returns:
        The pool; `counts` has `in`, `kept`, `leak_exact`, `leak_goal` and `leak_near`; in is the sum of the others.

    Raises:
        ConfigError: a training prompt leaks and `drop` is False; the first few pairs are named, and how many there are.
        MissingExtraError: a pool is larger than `EXACT_LIMIT` and `rensa` is not installed.
    """
    leaks = find_leaks(training, evaluation, near=near)
    if leaks and not drop:
        named = "; ".join(map(_describe, leaks[:NAMED]))
        rest = f"; and {len(leaks) - NAMED} more" if len(leaks) > NAMED else ""
        raise ConfigError(
            f"{len(leaks)} training prompts say what an evaluation prompt says: {named}{rest}: take them out of one, "
            "or have them left out of training with  --drop-leaks"
        )
    leaked = {leak.training.id for leak in leaks}
    kept = tuple(prompt for prompt in training if prompt.id not in leaked)
    how = Counter(leak.how for leak in leaks)
    counts = {"in": len(training), "kept": len(kept), **{f"leak_{name}": how[name] for name in _SAID}}
    return PromptPool(prompts=kept, counts=counts)


def _describe(leak: Leak) -> str:
    return f"{describe_prompt(leak.training)} {_SAID[leak.how]} as {describe_prompt(leak.measured)}"


def _goal(prompt: Prompt) -> tuple[str, str]:
    return prompt.kind, split_key(prompt)


def _near(training: Sequence[Prompt], evaluation: Sequence[Prompt]) -> Iterator[tuple[int, int]]:
    """Yield the places of every near pair; a pair that is near in both ways comes twice."""
    find = _pairs_by_sketch if max(len(training), len(evaluation)) > EXACT_LIMIT else _pairs_by_prefix
    trained, asked = [_words(prompt) for prompt in training], [_words(prompt) for prompt in evaluation]
    yield from _similar([*map(frozenset, trained)], [*map(frozenset, asked)], WORDS_SHARED, find)
    yield from _similar(
        [word_runs(words, _RUN) for words in trained], [word_runs(words, _RUN) for words in asked], RUNS_SHARED, find
    )


def _words(prompt: Prompt) -> list[str]:
    return [word for message in prompt.conversation.messages for word in split_words(message.text)]


def _similar(left: _Sets, right: _Sets, least: Fraction, find: _FindPairs) -> Iterator[tuple[int, int]]:
    for i, j in find(left, right, least):
        shared = len(left[i] & right[j])
        if shared >= least * (len(left[i]) + len(right[j]) - shared):
            yield i, j


def _pairs_by_prefix(left: _Sets, right: _Sets, least: Fraction) -> Iterator[tuple[int, int]]:
    """Yield candidates, among them every pair of similarity `least` or more; none twice."""
    count = Counter(chain.from_iterable(chain(left, right)))

    def prefix(words: frozenset[str]) -> list[str]:
        ordered = sorted(words, key=lambda word: (count[word], word))
        return ordered[: len(words) - math.ceil(least * len(words)) + 1]

    places: defaultdict[str, list[int]] = defaultdict(list)
    for i, words in enumerate(left):
        for word in prefix(words):
            places[word].append(i)
    for j, words in enumerate(right):
        for i in sorted({i for word in prefix(words) for i in places.get(word, ())}):
            yield i, j


def _pairs_by_sketch(left: _Sets, right: _Sets, least: Fraction) -> Iterator[tuple[int, int]]:
    """Yield candidates, among them nearly every pair of similarity `least` or more; none twice.

    A band of r equal places of two sketches has probability s^r at similarity s; r is 4 for 0.7 and 2 for 0.5, so
    that of 128 places a pair at the threshold is missed with probability (1 - 0.7^4)^32 = 2e-4 or less.
    """
    try:
        from rensa import RMinHash, RMinHashLSH
    except ImportError as error:
        raise MissingExtraError("rensa", "leaks") from error
    rows = 4 if least >= WORDS_SHARED else 2

    def sketch(words: frozenset[str]) -> RMinHash:
        made = RMinHash(num_perm=_PERMUTATIONS, seed=_SEED)
        made.update(sorted(words))
        return made

    index = RMinHashLSH(threshold=float(least), num_perm=_PERMUTATIONS, num_bands=_PERMUTATIONS // rows)
    for i, words in enumerate(left):
        if words:  # the sketches of two empty sets are equal
            index.insert(i, sketch(words))
    for j, words in enumerate(right):
        if words:
            for i in sorted(set(index.query(sketch(words)))):
                yield i, j
