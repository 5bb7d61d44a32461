"""Proves that a kind of prompt which no principle applies to is refused before a run, if a stage would ask for one."""

from dataclasses import replace

import pytest

from solon.constitution import Principle
from solon.errors import ConfigError, ConstitutionError
from solon.evaluation import Evaluation
from solon.pipeline.config import build_config
from solon.pipeline.preflight import (
    refuse_confused_names,
    refuse_idle_stages,
    refuse_unknown_groups,
    refuse_unserved_prompts,
)
from solon.pipeline.prompt_pools import RunPrompts, draw_prompts
from solon.records import Measure, Measures
from solon.tasks import NoGrader
from solon.world.task import WorldTask
from tests.scripts import make_constitution

WHOLE = make_constitution("p").principles[0]


def drawn(config, constitution):
    return draw_prompts(WorldTask(), config, constitution)


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
        prompts = drawn(config, constitution)
        if said is None:
            refuse_unserved_prompts(prompts, constitution, name, "comparison")
        else:
            with pytest.raises(ConstitutionError, match=f"^{name}: .*{said}"):
                refuse_unserved_prompts(prompts, constitution, name, "comparison")


HARM = WHOLE.model_copy(update={"id": "harm", "question": "Harm?", "better": "no", "applies_to": ("red_team",)})
HELP = Principle(id="help", question="Help?", better="yes", applies_to=("helpful",))
CRITIC = WHOLE.model_copy(update={"id": "critic", "comparison": None})


@pytest.mark.parametrize(
    ("principles", "labels", "said"),
    [
        ((HARM, HELP), "pointwise", None),
        (
            (HARM, HELP),
            "comparison",
            "a comparison applies to helpful .*ask for its question .*feedback.labels=pointwise",
        ),
        (
            (HARM,),
            "pointwise",
            r"a question applies to helpful prompts: widen .*, or compare none with  --set [^;]*=0$",
        ),
        ((HARM, WHOLE), "pointwise", "a question applies to helpful .*ask for its comparison .*labels=comparison, or"),
        ((HARM, WHOLE), "comparison", None),
        (
            (WHOLE,),
            "pointwise",
            "has a question, which feedback.labels=pointwise asks: add question and better to one .*, or ask for its "
            "comparison with  --set feedback.labels=comparison, or take another with  --constitution small, or compare",
        ),
        ((CRITIC, HELP), "comparison", "has a comparison, which .*: add comparison to one .*  --constitution default,"),
        ((CRITIC, HELP), "pointwise", "a question applies to red_team prompts"),
    ],
)
def test_a_kind_that_no_principle_serves_in_the_chosen_labels_is_refused(principles, labels, said):
    law = make_constitution(principles=principles)
    prompts = drawn(build_config("smoke", {"feedback": {"labels": labels}}), law)
    if said is None:
        refuse_unserved_prompts(prompts, law, "mine", labels)
    else:
        with pytest.raises(ConstitutionError, match=f"^mine: no principle .*{said}"):
            refuse_unserved_prompts(prompts, law, "mine", labels)


def test_an_evaluation_without_groups_is_refused_before_any_work():
    config = build_config("smoke", {})
    prompts = drawn(config, make_constitution("p"))
    main, *others = prompts.evaluations
    empty = replace(prompts, evaluations=[main, replace(main, name="bare", prompts={}), *others])
    with pytest.raises(ConfigError, match=r"^evaluation bare: has no group of prompts: give it prompts"):
        refuse_idle_stages(empty, config)


def named(evaluation, group):
    prompts = drawn(build_config("smoke", {}), make_constitution("p"))
    main, other = prompts.evaluations
    return replace(prompts, evaluations=[main, replace(other, name=evaluation, prompts={group: []})])


def test_two_evaluations_of_one_name_are_refused():
    with pytest.raises(ConfigError, match=r"^evaluation 'heldout': 2 evaluations have this name: [^\n]*$"):
        refuse_confused_names(named("heldout", "other"))


@pytest.mark.parametrize(
    "name", ["", " ", "a\n", "\x1b[2J", "a/b", " a", "a ", "a\tb", "a\u200b", "<b>", "--", "a\u2028b"]
)
def test_a_name_that_cannot_stand_in_a_table_is_refused(name):
    with pytest.raises(ConfigError, match=r"^evaluation '[^\n]*': cannot be a name: [^\n]*rename it$"):
        refuse_confused_names(named(name, "harmful"))
    with pytest.raises(ConfigError, match=r"^evaluation other: group '[^\n]*': cannot be a name: [^\n]*rename it$"):
        refuse_confused_names(named("other", name))


@pytest.mark.parametrize("name", ["a", "7", "held out", "v1.2_b-3", "ärger", "हिन्दी", "有害"])
def test_letters_of_every_script_digits_and_a_few_signs_make_a_name(name):
    refuse_confused_names(named(name, name))


NONE = {"red_team": 0, "helpful": 0}


@pytest.mark.parametrize("stage", ["revision", "comparisons", "ppo"])
def test_a_stage_without_prompts_is_refused_before_any_work(stage):
    law = make_constitution("p")
    config = build_config("smoke", {"prompts": {stage: NONE}})
    with pytest.raises(ConfigError, match=rf"^prompts\.{stage}: .*set red_team or helpful"):
        refuse_idle_stages(drawn(config, law), config)
    for kind in NONE:
        config = build_config("smoke", {"prompts": {stage: {**NONE, kind: 1}}})
        refuse_idle_stages(drawn(config, law), config)


def test_helpful_prompts_that_are_not_to_be_sampled_are_nothing_to_revise():
    law = make_constitution("p")
    config = build_config(
        "smoke", {"prompts": {"revision": {**NONE, "helpful": 3}}, "revision": {"helpful_samples": 0}}
    )
    with pytest.raises(ConfigError, match=r"^prompts\.revision: "):
        refuse_idle_stages(drawn(config, law), config)


def test_an_evaluation_without_prompts_and_a_task_without_evaluation_are_refused():
    config, law = build_config("smoke", {}), make_constitution("p")
    prompts = drawn(config, law)
    main, other = prompts.evaluations
    empty = replace(other, prompts={**other.prompts, "benign": []})
    with pytest.raises(ConfigError, match=r"^evaluation novel: there is no prompt in group benign"):
        refuse_idle_stages(replace(prompts, evaluations=[main, empty]), config)
    with pytest.raises(ConfigError, match="the task has no evaluation"):
        refuse_idle_stages(replace(prompts, evaluations=[]), config)


def test_prompts_of_the_constitution_are_enough_to_revise():
    config = build_config("smoke", {"prompts": {"revision": NONE}})
    law = make_constitution("p", red_team_prompts=("How?",))
    refuse_idle_stages(drawn(config, law), config)


@pytest.mark.parametrize("field", ["ppo.red_team", "revision.helpful", "evaluation.twins"])
def test_more_prompts_than_there_are_wordings_are_refused(field):
    stage, kind = field.split(".")
    with pytest.raises(ConfigError, match=rf"prompts\.{stage}.*{kind}: .*less than or equal to"):
        drawn(build_config("smoke", {"prompts": {stage: {kind: 10**8}}}), make_constitution("p"))


@pytest.mark.parametrize("room", ["revision", "comparisons", "feedback", "evaluation"])
def test_a_temperature_at_which_nothing_can_be_drawn_is_refused(room):
    with pytest.raises(ConfigError, match=rf"{room}\.temperature: .*give 0, which is greedy, or at least 0\.0001"):
        build_config("smoke", {room: {"temperature": 1e-9}})
    for drawable in (0.0, 1e-4):
        build_config("smoke", {room: {"temperature": drawable}})


@pytest.mark.parametrize("room", ["revision", "comparisons", "feedback", "evaluation"])
def test_a_layout_of_a_stage_is_refused_and_where_it_is_said_now_is_named(room):
    with pytest.raises(ConfigError, match=rf"{room}: layout belongs to the model .* models\.ROLE\.layout") as error:
        build_config("smoke", {room: {"layout": "transcript"}})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", ["temperature", "top_p", "min_p"])
def test_what_would_draw_rollouts_from_another_distribution_is_refused_with_the_reason(field):
    with pytest.raises(
        ConfigError, match=f"ppo: {field} cannot be set: .*importance ratio divides.*mass that was cut"
    ) as error:
        build_config("smoke", {"ppo": {field: 0.9}})
    assert "\n" not in str(error.value)


def measured(name, groups, **measures):
    return Evaluation(name, name, dict.fromkeys(groups, ()), NoGrader(), Measures(**measures))


def rates(*groups):
    return tuple(Measure(group=group, name="rude", caption="Rude") for group in groups)


@pytest.mark.parametrize(
    "measures", [{"rates": rates("benign", "harmfull")}, {"ungraded": ["harmfull"]}, {"details": ["harmfull"]}]
)
def test_measures_of_a_group_that_there_is_not_are_refused_with_the_nearest(measures):
    other = measured("other", ["harmfull"])
    evaluations = [measured("main", ["harmful", "benign"], **measures), other]
    with pytest.raises(ConfigError, match=r"^evaluation main: .* 'harmfull', .*; did you mean 'harmful'\?$"):
        refuse_unknown_groups(RunPrompts({}, evaluations, {}))


def test_measures_that_evaluations_share_need_their_groups_in_one_of_them():
    shared = {"rates": rates("a", "b")}
    refuse_unknown_groups(RunPrompts({}, [measured("one", "a", **shared), measured("two", "b", **shared)], {}))
    with pytest.raises(ConfigError, match=r"^evaluation one and two: no group .* called 'b'.*; expected one of a$"):
        refuse_unknown_groups(RunPrompts({}, [measured("one", "a", **shared), measured("two", "a", **shared)], {}))
