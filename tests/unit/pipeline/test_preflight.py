"""Proves that a kind of prompt which no principle applies to is refused before a run, if a stage would ask for one."""

import pytest

from solon.errors import ConfigError, ConstitutionError
from solon.pipeline.config import build_config
from solon.pipeline.preflight import refuse_idle_stages, refuse_unserved_prompts
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
    for source, name in (("my/rules.yaml", "my/rules.yaml"), ("given", "test")):
        config = build_config("smoke", {"prompts": overrides, "constitution": source})
        if said is None:
            refuse_unserved_prompts(config, constitution)
        else:
            with pytest.raises(ConstitutionError, match=f"^{name}: .*{said}"):
                refuse_unserved_prompts(config, constitution)


NONE = {"red_team": 0, "helpful": 0}


@pytest.mark.parametrize("stage", ["revision", "comparisons", "ppo"])
def test_a_stage_without_prompts_is_refused_before_any_work(stage):
    with pytest.raises(ConfigError, match=rf"^prompts\.{stage}: .*set red_team or helpful"):
        refuse_idle_stages(build_config("smoke", {"prompts": {stage: NONE}}), make_constitution("p"))
    for kind in NONE:
        refuse_idle_stages(build_config("smoke", {"prompts": {stage: {**NONE, kind: 1}}}), make_constitution("p"))


def test_prompts_of_the_constitution_are_enough_to_revise():
    config = build_config("smoke", {"prompts": {"revision": NONE}})
    refuse_idle_stages(config, make_constitution("p", red_team_prompts=("How?",)))


@pytest.mark.parametrize("field", ["ppo.red_team", "revision.helpful", "evaluation.twins"])
def test_more_prompts_than_there_are_wordings_are_refused(field):
    stage, kind = field.split(".")
    with pytest.raises(ConfigError, match=rf"prompts\.{stage}\.{kind}: .*less than or equal to"):
        build_config("smoke", {"prompts": {stage: {kind: 10**8}}})


@pytest.mark.parametrize("room", ["revision", "comparisons", "feedback", "evaluation"])
def test_a_temperature_at_which_nothing_can_be_drawn_is_refused(room):
    with pytest.raises(ConfigError, match=rf"{room}\.temperature: .*give 0, which is greedy, or at least 0\.0001"):
        build_config("smoke", {room: {"temperature": 1e-9}})
    for drawable in (0.0, 1e-4):
        build_config("smoke", {room: {"temperature": drawable}})
