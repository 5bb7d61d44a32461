"""Proves that a kind of prompt which no principle applies to is refused before a run, if a stage would ask for one."""

import pytest

from solon.errors import ConstitutionError
from solon.pipeline.config import build_config
from solon.pipeline.preflight import refuse_unserved_prompts
from tests.scripts import make_constitution

WHOLE = make_constitution("p").principles[0]


def asked(*applies_to, use):
    """A constitution in which one use has a principle for these kinds only, and the other for all."""
    other = {"comparison": None} if use == "critique" else {"critique_request": None, "revision_request": None}
    mine = WHOLE.model_copy(update={"id": "mine", "applies_to": applies_to, **other})
    rest = {"comparison": None} if use == "comparison" else {"critique_request": None, "revision_request": None}
    return make_constitution(principles=(mine, WHOLE.model_copy(update={"id": "rest", **rest})))


@pytest.mark.parametrize(
    ("constitution", "overrides", "said"),
    [
        (asked("helpful", use="critique"), {}, "critique_request applies to red_team prompts: widen"),
        (asked("red_team", use="comparison"), {}, r"applies to helpful prompts.*--set prompts.comparisons.helpful=0"),
        (asked("helpful", use="comparison"), {}, r"applies to red_team prompts.*--set prompts.comparisons.red_team=0"),
        (asked("red_team", use="critique"), {}, None),
        (asked("red_team", use="comparison"), {"comparisons": {"helpful": 0}}, None),
        (asked("helpful", use="comparison"), {"comparisons": {"red_team": 0}}, None),
        (make_constitution("p"), {}, None),
    ],
)
def test_what_no_principle_serves_is_refused_with_a_remedy(constitution, overrides, said):
    config = build_config("smoke", {"prompts": overrides})
    if said is None:
        refuse_unserved_prompts(config, constitution)
    else:
        with pytest.raises(ConstitutionError, match=f"constitution test: .*{said}"):
            refuse_unserved_prompts(config, constitution)
