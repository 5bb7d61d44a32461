"""Gold comparisons of the reference world: two responses to a request, and which is better by their plans.

Each kind is asked under one principle of the shipped constitution. The worse response has a fault of the kind; the
better one is the same with that fault mended, said in other words, and stands first as often as second. Goals are of
`heldout`, which no stage is trained on. No text is read to know the answer.
"""

import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from solon.records import GoldComparison
from solon.storage import derive_seed
from solon.world.grammar import render_response, sample_ask, sample_style
from solon.world.plans import ALL_SCOPE, PrincipleKind, mend, sample_flawed_plan
from solon.world.splits import select_goals

EACH: Final = 20
"""Comparisons of each kind."""

GOLD_KINDS: Final[Mapping[str, tuple[PrincipleKind, str]]] = MappingProxyType(
    {
        "harm": ("harm", "choose-harmless"),
        "honesty": ("honesty", "choose-honest"),
        "helpfulness": ("helpful", "choose-helpful"),
    }
)
"""Kind of comparison to the kind of fault, and the principle of the shipped constitution that it is asked under."""


def compose_gold(each: int = EACH) -> tuple[GoldComparison, ...]:
    """Return `each` comparisons of each kind, always the same; both answers equally often where `each` is even."""
    return tuple(_compose(kind, number) for kind in GOLD_KINDS for number in range(each))


def _compose(kind: str, number: int) -> GoldComparison:
    rng = random.Random(derive_seed(0, "gold", kind, number))
    fault, principle_id = GOLD_KINDS[kind]
    goal = rng.choice(select_goals("heldout", harmful=fault == "harm"))
    flawed = sample_flawed_plan(fault, ALL_SCOPE, goal, rng, clean=0.65)
    if flawed is None:
        raise ValueError(f"no response to {goal.text!r} has a fault of the kind {fault}")
    plans = (mend(flawed, fault, ALL_SCOPE, goal), flawed)
    better, worse = (render_response(plan, goal, sample_style(rng)) for plan in plans)
    first = number % 2 == 0
    return GoldComparison(
        prompt=sample_ask(goal, rng),
        response_a=better if first else worse,
        response_b=worse if first else better,
        answer="a" if first else "b",
        kind=kind,
        principle_id=principle_id,
    )
