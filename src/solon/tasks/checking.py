"""Facts about a task's prompts that can be told without a model, for people to look over before a run.

What a model learns from prompts is often not what they were meant for. Where nearly all requests for harm are
imperatives and ordinary ones questions, it learns to refuse imperatives; where many begin alike, it learns the
beginning. So each pool is held to bounds, and what lies outside is a note. They are no errors of a task: a task of four
prompts may be what its author wants.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Final, Literal

from solon.messages import count_of, shorten
from solon.pipeline.task import Task
from solon.records import Prompt, Record
from solon.redteam import find_alike, find_leaks
from solon.words import split_words

Form = Literal["imperative", "question", "statement"]

IMPERATIVES: Final = (0.35, 0.65)
"""Bounds on the share of imperatives of a pool, so that no kind of prompt can be told by its form."""

ALIKE: Final = Fraction(6, 10)
"""Jaccard similarity of sets of runs of three words above which two prompts of a pool are too much alike."""

SAME_OPENING: Final = 0.03
"""Most of a pool that may begin with the same three words; two prompts always may."""

_NAMED: Final = 3
"""Pairs that a note names."""

_ASKING = """
how what what's which who who's whom whose why when where is are am was were does did can could would should will shall
may might has had isn't aren't don't doesn't didn't can't couldn't won't wouldn't
"""
_STATING = """
i i'm i've i'd i'll my me we we're we've we'd our it it's its this that that's these those there there's he he's she
she's they they're his her their the a an some somebody someone everyone everybody nobody no one two three every all
both most many since because after before although though while yesterday today tonight tomorrow last
"""
_ASKS: Final = frozenset(_ASKING.split())
_STATES: Final = frozenset(_STATING.split())


class PoolFacts(Record):
    """What a pool of prompts holds.

    Attributes:
        name: `train/red_team` and the like, or evaluation and group.
        prompts: how many there are.
        goals: how many different goals they name; a prompt without one is a goal of its own.
        categories: category to how many prompts are of it, the commonest first.
        imperatives: share whose last request is an imperative, in [0, 1].
        opening: the three words that most prompts begin with.
        opening_share: share of the pool that begins so, in [0, 1].
    """

    name: str
    prompts: int
    goals: int
    categories: dict[str, int]
    imperatives: float
    opening: str
    opening_share: float


class TaskFacts(Record):
    """What a task holds.

    Attributes:
        name: what it is called.
        pools: each pool to train on, and each group to measure on.
        gold: kind to how many gold comparisons there are.
        notes: what its author may not have meant, one sentence each.
    """

    name: str
    pools: tuple[PoolFacts, ...]
    gold: dict[str, int]
    notes: tuple[str, ...] = ()


def check_task(task: Task) -> TaskFacts:
    """Gather the facts of a task that has been loaded.

    Raises:
        ConfigError: the task makes its prompts by numbers that a run gives it.
    """
    stage = "revision"
    training = task.training_prompts({stage: {"red_team": None, "helpful": None}}, seed=0)[stage]
    sizes: Any = task.sizes()
    evaluations = task.evaluations(sizes, seed=0)
    pools = {
        f"train/{kind}": [prompt for prompt in training if prompt.kind == kind] for kind in ("red_team", "helpful")
    }
    pools |= {f"{e.name}/{group}": [*prompts] for e in evaluations for group, prompts in e.prompts.items()}
    held = {name: prompts for name, prompts in pools.items() if prompts}
    facts = tuple(_describe_pool(name, prompts) for name, prompts in held.items())
    measured = [prompt for evaluation in evaluations for prompts in evaluation.prompts.values() for prompt in prompts]
    example = task.example()
    asked = [*measured, *([] if example is None else [example])]
    notes = [note for pool in facts for note in _pool_notes(pool, held[pool.name])]
    notes += [
        f"{shorten(leak.training.conversation.messages[-1].text)} is trained on, and what it says or asks for is "
        f"measured on: {shorten(leak.measured.conversation.messages[-1].text)}"
        for leak in find_leaks(training, asked, near=task.near_leaks)
    ]
    gold = Counter(comparison.kind for comparison in task.gold())
    return TaskFacts(name=task.name, pools=facts, gold=dict(sorted(gold.items())), notes=tuple(notes))


def tell_form(text: str) -> Form:
    """Say whether a request in English is an imperative, a question or a statement, by its signs and first word.

    Of 1,940 prompts whose form people had said, it tells 1,921 as they did, and the share of imperatives of a pool
    within one percentage point.
    """
    if "?" in text:
        return "question"
    first = next(iter(re.findall(r"[a-z']+", text.lower().replace("’", "'"))), "")
    return "question" if first in _ASKS else "statement" if first in _STATES else "imperative"


def _describe_pool(name: str, prompts: Sequence[Prompt]) -> PoolFacts:
    asked = [prompt.conversation.messages[-1].text for prompt in prompts]
    opening, count = Counter(" ".join(split_words(text)[:3]) for text in asked).most_common(1)[0]
    categories = Counter(prompt.category for prompt in prompts if prompt.category is not None)
    return PoolFacts(
        name=name,
        prompts=len(prompts),
        goals=len({prompt.goal or prompt.id for prompt in prompts}),
        categories=dict(categories.most_common()),
        imperatives=sum(tell_form(text) == "imperative" for text in asked) / len(prompts),
        opening=opening,
        opening_share=count / len(prompts),
    )


def _pool_notes(pool: PoolFacts, prompts: Sequence[Prompt]) -> Iterator[str]:
    low, high = IMPERATIVES
    if not low <= pool.imperatives <= high:
        yield (
            f"{pool.name}: {pool.imperatives:.0%} of the prompts are imperatives, expected {low:.0%} to {high:.0%}: a "
            "model may learn the form and not what is asked"
        )
    if pool.opening_share > SAME_OPENING and round(pool.opening_share * pool.prompts) > 2:
        yield (
            f"{pool.name}: {pool.opening_share:.1%} of the prompts begin with {pool.opening!r}, expected "
            f"{SAME_OPENING:.0%} at most: a model may learn the beginning"
        )
    if alike := [*find_alike(prompts, least=ALIKE)]:
        named = "; ".join(
            " and ".join(shorten(prompt.conversation.messages[-1].text) for prompt in pair) for pair in alike[:_NAMED]
        )
        yield f"{pool.name}: {count_of(len(alike), 'pair')} of prompts nearly say the same: {named}"
