"""Which prompts of a batch begin alike, so that the common part is read once.

The same comparison is put in two orders and under several principles, a prompt is sampled several times, and
exemplars stand at the head of every prompt of a stage. Rows are sorted by their tokens, neighbours that share
enough are grouped, and each row is cut into the prefix of its group and a rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MIN_PREFIX = 8
"""Tokens below which a shared prefix is not worth a pass of its own."""

MIN_SAVING = 0.2
"""Share of all tokens that must be saved for two passes to beat one."""


@dataclass(frozen=True, slots=True)
class PrefixPlan:
    """How to read rows in two passes.

    Attributes:
        prefixes: what the first pass reads.
        owner: for each row, the index of its prefix.
        rests: for each row, what follows its prefix; never empty.
    """

    prefixes: list[list[int]]
    owner: list[int]
    rests: list[list[int]]


def plan_prefixes(rows: Sequence[list[int]]) -> PrefixPlan | None:
    """Group rows that begin alike; None where reading them whole is as good.

    A row that shares its beginning with none gets a prefix too, as long as the others' usual one: every cut of a
    row is right, and equal lengths leave less padding.

    Args:
        rows: token ids, each row with at least one.
    """
    if len(rows) < 2:
        return None
    order = sorted(range(len(rows)), key=lambda index: rows[index])
    groups: list[tuple[list[int], int]] = []
    members, shared = [order[0]], len(rows[order[0]]) - 1
    for index in order[1:]:
        common = min(shared, common_length(rows[members[-1]], rows[index]), len(rows[index]) - 1)
        if common >= MIN_PREFIX and len(members) * common >= (len(members) - 1) * shared:
            members.append(index)
            shared = common
        else:
            groups.append((members, shared))
            members, shared = [index], len(rows[index]) - 1
    groups.append((members, shared))
    saved = sum((len(group) - 1) * length for group, length in groups)
    if saved < MIN_SAVING * sum(map(len, rows)):
        return None
    lengths = sorted(length for group, length in groups if len(group) > 1)
    usual = lengths[len(lengths) // 2]
    prefixes: list[list[int]] = []
    owner, rests = [0] * len(rows), [[0]] * len(rows)
    for group, length in groups:
        cut = length if len(group) > 1 else max(1, min(length, usual))
        if len(rows[group[0]]) == 1:
            return None
        for index in group:
            owner[index], rests[index] = len(prefixes), rows[index][cut:]
        prefixes.append(rows[group[0]][:cut])
    return PrefixPlan(prefixes, owner, rests)


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """Return how many tokens two rows have in common from the start."""
    limit = min(len(left), len(right))
    if left[:limit] == right[:limit]:
        return limit
    low, high = 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        if left[:middle] == right[:middle]:
            low = middle
        else:
            high = middle
    return low
