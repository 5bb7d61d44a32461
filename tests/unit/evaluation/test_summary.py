"""Proves that the numbers of a run are shares of what could be told, evaluation by evaluation, in the shape of
`results.json`, whatever the values of a grade are called.
"""

import json
from typing import Any

import pytest

from solon.errors import ConfigError, RecordError
from solon.evaluation import (
    Evaluation,
    clustered_rate,
    mean_difference,
    paired_difference,
    reported,
    summarize,
    summarize_models,
    summarize_revisions,
    wilson_interval,
)
from solon.records import (
    CUT,
    UNGRADED,
    Conversation,
    EvalRecord,
    Grade,
    Measure,
    Measures,
    Prompt,
    RevisionGrade,
)
from solon.tasks.graders import NoGrader
from tests.scripts import make_prompts, make_sample

NAMES = ("complies", "refuses_and_explains", "evades", "helps_correctly", "refused", "warns")
MEASURES = Measures(
    rates=tuple(
        Measure(group=group, name=name, caption=f"{group}: {name}", better=better)
        for group, name, better in (
            ("harmful", "complies", "lower"),
            ("harmful", "refuses_and_explains", "higher"),
            ("harmful", "evades", "lower"),
            ("benign", "helps_correctly", "higher"),
            ("twins", "refused", "lower"),
        )
    ),
    by_category=("harmful", "complies"),
    details=("harmful", "benign"),
)


def evaluation(
    name: str = "heldout", groups: tuple[str, ...] = ("harmful", "benign", "twins"), measures: Measures = MEASURES
) -> Evaluation:
    return Evaluation(name=name, caption="", prompts=dict.fromkeys(groups, ()), grader=NoGrader(), measures=measures)


def record(
    number: int,
    group: str,
    held: str = "",
    *,
    model: str = "base",
    asked: str = "heldout",
    category: str | None = None,
    ungraded: bool = False,
    names: tuple[str, ...] = NAMES,
    values: dict[str, bool | float] | None = None,
    goal: str | None = None,
    cut: bool = False,
) -> EvalRecord:
    prompt = Prompt.make(
        Conversation.of(f"{group} {number} {asked}"),
        kind="helpful",
        source="t",
        split=asked,
        goal=goal,
        category=category,
    )
    if values is None:
        values = {} if ungraded else {name: name in held.split() for name in names}
    return EvalRecord(
        id=f"{model}-{group}-{number}-{asked}",
        evaluation=asked,
        model_name=model,
        prompt=prompt,
        group=group,
        response=make_sample("x", stop_reason="length" if cut else "end"),
        grade=Grade(values=values, ungraded="" if values else "outside the grammar"),
        grader="test",
    )


HELDOUT = [
    record(0, "harmful", "complies warns", category="theft"),
    record(1, "harmful", "complies", category="theft", cut=True),
    record(2, "harmful", "refuses_and_explains", category="fraud"),
    record(3, "harmful", "evades", category="fraud"),
    record(4, "harmful", category="fraud", ungraded=True, cut=True),
    record(0, "benign", "helps_correctly", cut=True),
    record(1, "benign", ""),
    record(2, "benign", ungraded=True),
    record(0, "twins", "refused"),
    record(1, "twins"),
    record(2, "twins"),
]
NOVEL = [record(0, "harmful", "complies", asked="novel", category="drugs")]
RECORDS = [*HELDOUT, *NOVEL]
BOTH = (evaluation(), evaluation("novel"))


def rate(count: int, of: int) -> dict[str, float]:
    return wilson_interval(count / of, of).model_dump()


def test_shape_and_values() -> None:
    block = summarize_models(RECORDS, BOTH)["base"]
    heldout = {
        "harmful": {
            "n": 5,
            "goals": 5,
            "complies": rate(2, 4),
            "refuses_and_explains": rate(1, 4),
            "evades": rate(1, 4),
            "ungraded": rate(1, 5),
            "cut": rate(2, 5),
        },
        "benign": {"n": 3, "goals": 3, "helps_correctly": rate(1, 2), "ungraded": rate(1, 3), "cut": rate(1, 3)},
        "twins": {"n": 3, "goals": 3, "refused": rate(1, 3), "ungraded": rate(0, 3), "cut": rate(0, 3)},
        "by_category": {
            "fraud": {"n": 3, "goals": 3, "complies": rate(0, 2), "cut": rate(1, 3)},
            "theft": {"n": 2, "goals": 2, "complies": rate(2, 2), "cut": rate(1, 2)},
        },
        "values": {
            "harmful": {
                "complies": rate(2, 4),
                "refuses_and_explains": rate(1, 4),
                "evades": rate(1, 4),
                "helps_correctly": rate(0, 4),
                "refused": rate(0, 4),
                "warns": rate(1, 4),
            },
            "benign": {name: rate(name == "helps_correctly", 2) for name in NAMES},
        },
    }
    assert {name: value for name, value in block.items() if name != "evaluations"} == heldout
    assert block["evaluations"]["heldout"] == heldout == summarize(HELDOUT, BOTH[0])
    assert list(block["evaluations"]) == ["heldout", "novel"]
    novel = block["evaluations"]["novel"]
    assert novel["harmful"]["complies"] == rate(1, 1)
    assert novel["benign"] == {"n": 0, "goals": 0, "helps_correctly": None, "ungraded": None, "cut": None}
    assert novel["by_category"] == {"drugs": {"n": 1, "goals": 1, "complies": rate(1, 1), "cut": rate(0, 1)}}
    assert json.loads(json.dumps(block)) == block


def test_nothing_that_could_be_told_is_none_and_not_zero() -> None:
    block = summarize([record(0, "harmful", ungraded=True, category="theft")], evaluation())
    assert block["harmful"] == {
        "n": 1,
        "goals": 1,
        "complies": None,
        "refuses_and_explains": None,
        "evades": None,
        "ungraded": rate(1, 1),
        "cut": rate(0, 1),
    }
    assert block["by_category"] == {"theft": {"n": 1, "goals": 1, "complies": None, "cut": rate(0, 1)}}
    assert block["values"]["harmful"] == {}


def test_prompts_without_a_category_are_in_none() -> None:
    block = summarize([record(0, "harmful", "complies"), record(1, "harmful", "", category="theft")], evaluation())
    assert block["by_category"] == {"theft": {"n": 1, "goals": 1, "complies": rate(0, 1), "cut": rate(0, 1)}}


def test_the_first_evaluation_is_the_main_one() -> None:
    block = summarize_models(RECORDS, BOTH[::-1])["base"]
    assert block["harmful"]["n"] == 1
    assert list(block["evaluations"]) == ["novel", "heldout"]


def test_models_are_kept_apart_in_order() -> None:
    tuned = [record(0, "harmful", "", model="sl-cai")]
    models = summarize_models([*tuned, *RECORDS], BOTH)
    assert list(models) == ["sl-cai", "base"]
    assert models["sl-cai"] == summarize_models(tuned, BOTH)["sl-cai"]
    assert models["base"] == summarize_models(RECORDS, BOTH)["base"]


def test_a_model_that_an_evaluation_did_not_ask_has_no_block_of_it() -> None:
    """So it is with the first model, which a pair grader compares the others with."""
    pairs = [record(0, "harmful", values={"wins": 1.0}, model="sl-cai", asked="pairs")]
    models = summarize_models([*HELDOUT, *pairs], [evaluation(), evaluation("pairs", ("harmful",), Measures())])
    assert list(models["base"]["evaluations"]) == ["heldout"]
    assert models["sl-cai"]["evaluations"]["pairs"]["harmful"]["wins"] == rate(1, 1)
    assert "heldout" not in models["sl-cai"]["evaluations"]
    alone = summarize_models([*HELDOUT, *pairs], [evaluation("pairs", ("harmful",), Measures()), evaluation()])
    assert list(alone["base"]) == ["evaluations"]  # nothing at the top, where the main evaluation did not ask it


def test_prompts_sampled_more_than_once_are_clusters() -> None:
    rows = [record(i // 4, "harmful", "complies" if i < 6 else "") for i in range(12)]
    expected = clustered_rate([i < 6 for i in range(12)], [str(i // 4) for i in range(12)])
    found = summarize(rows, evaluation())["harmful"]["complies"]
    assert found == expected.model_dump()
    assert found["high"] - found["low"] > rate(6, 12)["high"] - rate(6, 12)["low"]


def test_prompts_for_one_goal_are_clusters_and_counted() -> None:
    goals = ["toy rocket", "toy rocket", "bath bomb", "bath bomb", "bath bomb", "bath bomb"]
    rows = [record(i, "twins", "refused" if i < 2 else "", goal=goal) for i, goal in enumerate(goals)]
    block = summarize([*rows, record(6, "twins", goal=None)], evaluation())["twins"]
    assert (block["n"], block["goals"]) == (7, 3)
    expected = clustered_rate([i < 2 for i in range(7)], [*goals, "alone"])
    assert block["refused"] == expected.model_dump()
    assert block["refused"]["high"] > rate(2, 7)["high"] + 0.05


def test_prompts_for_one_goal_are_clusters_of_every_rate() -> None:
    rows = [record(i, "harmful", "complies", goal="rob a bank", category="theft") for i in range(4)]
    rows += [record(i, "harmful", goal="rob a bank", category="theft", ungraded=True) for i in range(4, 8)]
    block = summarize(rows, evaluation())
    one_goal = rate(1, 1)
    assert block["harmful"]["complies"] == block["by_category"]["theft"]["complies"] == one_goal
    assert block["values"]["harmful"]["complies"] == one_goal
    assert (block["by_category"]["theft"]["n"], block["by_category"]["theft"]["goals"]) == (8, 1)
    assert block["harmful"]["ungraded"] == wilson_interval(0.5, 1).model_dump()


def test_any_names_of_values_will_do() -> None:
    rhyming = Measure(group="poems", name="rhyming", caption="", value="rhymes")
    asked = evaluation(groups=("poems",), measures=Measures(rates=(rhyming,), details=("poems",)))
    rows = [record(i, "poems", "rhymes" if i else "", names=("rhymes",)) for i in range(2)]
    expected: dict[str, Any] = {
        "poems": {"n": 2, "goals": 2, "rhyming": rate(1, 2), "ungraded": rate(0, 2), "cut": rate(0, 2)},
        "values": {"poems": {"rhymes": rate(1, 2)}},
    }
    assert summarize(rows, asked) == expected
    assert summarize_models(rows, [asked]) == {"base": {**expected, "evaluations": {"heldout": expected}}}


def test_a_value_that_no_grade_has_cannot_be_told_and_is_not_said_to_be_ungraded() -> None:
    block = summarize([record(0, "harmful", names=("complies", "refuses_and_explains"))], evaluation())
    assert block["harmful"]["evades"] is None
    assert block["harmful"]["complies"] == rate(0, 1)
    assert block["harmful"]["ungraded"] == rate(0, 1)


def test_a_value_that_some_grades_lack_is_counted_where_it_could_be_told() -> None:
    rows = [
        record(0, "harmful", values={"complies": True, "warns": True}),
        record(1, "harmful", values={"complies": False}),
        record(2, "harmful", values={"warns": False}),
        record(3, "harmful", ungraded=True),
    ]
    block = summarize(rows, evaluation())
    assert block["harmful"]["complies"] == rate(1, 2)
    assert block["harmful"]["ungraded"] == rate(1, 4)
    assert block["values"]["harmful"] == {"complies": rate(1, 2), "warns": rate(1, 2)}
    assert paired_difference(
        rows, [record(i, "harmful", values={"complies": True}) for i in range(4)], "complies",
        evaluation="heldout", group="harmful",
    ) == mean_difference([1, 0], [1, 1], left_out=2)  # fmt: skip


def test_numbers_in_zero_to_one_have_means_with_the_intervals_of_their_clusters() -> None:
    scores = [0.0, 0.25, 0.5, 1.0, 0.75, 0.5]
    rows = [record(i // 2, "harmful", values={"score": s}) for i, s in enumerate(scores)]
    measures = Measures(rates=(Measure(group="harmful", name="score", caption="Score"),))
    found = summarize(rows, evaluation(groups=("harmful",), measures=measures))["harmful"]["score"]
    assert found["value"] == pytest.approx(sum(scores) / 6)
    assert found == clustered_rate(scores, ["0", "0", "1", "1", "2", "2"]).model_dump()
    assert 0.0 <= found["low"] < found["value"] < found["high"] <= 1.0


# -------------------------------------------------------------------- evaluations that declare no measures


def test_without_measures_every_value_of_every_group_is_reported() -> None:
    rows = [
        record(0, "harmful", values={"polite": True, "score": 0.5}),
        record(1, "harmful", values={"polite": False}),
        record(0, "benign", values={"useful": True}),
        record(1, "benign", ungraded=True),
        record(0, "twins", ungraded=True),
    ]
    block = summarize(rows, evaluation(measures=Measures()))
    assert block == {
        "harmful": {
            "n": 2,
            "goals": 2,
            "polite": rate(1, 2),
            "score": rate(0.5, 1),
            "ungraded": rate(0, 2),
            "cut": rate(0, 2),
        },
        "benign": {"n": 2, "goals": 2, "useful": rate(1, 1), "ungraded": rate(1, 2), "cut": rate(0, 2)},
        "twins": {"n": 1, "goals": 1, "ungraded": rate(1, 1), "cut": rate(0, 1)},
        "values": {},
    }


def test_measures_that_nobody_declared_are_those_that_came_out_of_any_model() -> None:
    asked = evaluation(measures=Measures())
    base = [record(0, "harmful", values={"polite": True}), record(0, "twins", ungraded=True)]
    tuned = [record(0, "harmful", values={"very_kind": 0.5}), record(0, "benign", values={"useful": True})]
    found = reported(Measures(), [{}, summarize(base, asked), summarize(tuned, asked)])
    assert [(m.group, m.name, m.caption, m.label, m.better) for m in found.rates] == [
        ("harmful", "polite", "harmful: polite", "polite", None),
        ("harmful", "very_kind", "harmful: very kind", "very_kind", None),
        ("benign", "useful", "benign: useful", "useful", None),
    ]
    assert {("harmful", UNGRADED), ("benign", UNGRADED)} <= {(m.group, m.name) for m in found.columns()}


def test_groups_that_nothing_could_be_told_of_are_still_reported_as_not_graded() -> None:
    asked = evaluation(measures=Measures())
    blocks = [summarize([record(0, "harmful", ungraded=True), record(0, "benign", ungraded=True)], asked)]
    found = reported(Measures(), blocks)
    assert found.rates == ()
    assert [(m.group, m.name) for m in found.columns()] == [(group, UNGRADED) for group in asked.prompts]


def test_a_group_that_an_evaluation_does_not_ask_has_no_block_and_is_no_error() -> None:
    block = summarize([record(0, "poems", "complies")], evaluation(groups=("poems",)))
    assert block == {
        "poems": {"n": 1, "goals": 1, "ungraded": rate(0, 1), "cut": rate(0, 1)},
        "by_category": {},
        "values": {"harmful": {}, "benign": {}},
    }


@pytest.mark.parametrize("name", ["by_category", "values", "evaluations"])
def test_a_group_is_not_called_as_a_block_of_the_results(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"evaluation heldout: results use the names .'{name}'. themselves"):
        evaluation(groups=("harmful", name))


def test_measures_that_were_declared_are_reported_as_they_are() -> None:
    assert reported(MEASURES, [summarize(HELDOUT, evaluation())]) is MEASURES


# ------------------------------------------------------------------------------------------- paired differences


def difference(first: list[EvalRecord], second: list[EvalRecord], value: str = "complies", **where: str) -> Any:
    return paired_difference(first, second, value, **{"evaluation": "heldout", "group": "harmful", **where})


def test_pairs_are_of_the_same_prompt_group_and_evaluation() -> None:
    base = [record(i, "harmful", "complies" if i < 3 else "") for i in range(4)]
    tuned = [record(i, "harmful", "complies" if i == 0 else "", model="t") for i in (3, 2, 1, 0)]
    elsewhere = [record(i, "harmful", "complies", model="t", asked="novel") for i in range(4)]
    other = [record(i, "benign", "complies", model="t") for i in range(4)]
    again = [r.model_copy(update={"evaluation": "again"}) for r in base]  # the same prompts, asked elsewhere too
    found = difference([*base, *other], [*again, *elsewhere, *tuned, *other])
    assert found == mean_difference([1, 1, 1, 0], [1, 0, 0, 0])
    back = difference(tuned, base)
    assert (back.value, back.low, back.high) == pytest.approx((-0.5, -found.high, -found.low))
    assert difference([*base, *elsewhere], [*tuned, *elsewhere], evaluation="novel") == mean_difference(
        [1] * 4, [1] * 4
    )


def test_a_prompt_only_one_of_them_has_an_answer_to_that_tells_is_left_out_and_counted() -> None:
    base = [record(i, "harmful", "complies") for i in range(4)]
    tuned = [record(i, "harmful", "", model="t", ungraded=i == 2) for i in range(5)]
    found = difference(base, tuned)
    assert (found.value, found.prompts, found.left_out) == (1.0, 3, 2)
    ungraded = difference(base, tuned, UNGRADED)
    assert (ungraded.value, ungraded.prompts, ungraded.left_out) == (-0.25, 4, 1)
    longer = [record(i, "harmful", "", model="t", ungraded=i == 2, cut=i < 3) for i in range(4)]
    assert difference(base, longer, CUT).value == -0.75


def test_a_prompt_sampled_more_than_once_counts_once_with_its_mean() -> None:
    base = [record(0, "harmful", "complies"), record(0, "harmful", ""), record(1, "harmful", "complies")]
    tuned = [record(0, "harmful", "", model="t"), record(1, "harmful", "", model="t")]
    found = difference(base, tuned)
    assert (found.value, found.prompts) == (0.75, 2)


def test_differences_are_clustered_by_goal() -> None:
    goals = [str(i // 4) for i in range(12)]
    base = [record(i, "benign", "warns" if i < 4 else "", goal=goal) for i, goal in enumerate(goals)]
    tuned = [record(i, "benign", "", model="t", goal=goal) for i, goal in reversed(list(enumerate(goals)))]
    found = difference(base, tuned, "warns", group="benign")
    assert found == mean_difference([1] * 4 + [0] * 8, [0] * 12, clusters=goals)
    assert (found.prompts, found.goals) == (12, 3)
    alone = mean_difference([1] * 4 + [0] * 8, [0] * 12)
    assert found.high - found.low > alone.high - alone.low


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(RecordError, match=r"heldout: .* the same harmful prompts that tell"):
        difference([record(0, "harmful")], [record(1, "harmful")])
    with pytest.raises(RecordError, match="harmful prompts"):
        difference([record(0, "harmful", ungraded=True)], [record(0, "harmful")])


# ------------------------------------------------------------------------------------------------- revisions


def revision(chain: int, number: int, *, cut: bool = False, **values: bool | float) -> RevisionGrade:
    return RevisionGrade(
        chain_id=f"c{chain}",
        round=number,
        prompt=make_prompts(chain + 1)[chain],
        grade=Grade(values=values, ungraded="" if values else "no words"),
        grader="test",
        cut=cut,
    )


def test_revisions_are_summed_round_by_round_over_the_chains_that_came_so_far() -> None:
    grades = [
        revision(0, 0, complies=True, kind=False),
        revision(1, 0, cut=True, complies=True, kind=True),
        revision(0, 1, complies=False),
        revision(1, 1),
        revision(0, 2),
    ]
    assert summarize_revisions(grades, ("complies", "kind")) == [
        {
            "round": 0,
            "n": 2,
            "goals": 2,
            "complies": rate(2, 2),
            "kind": rate(1, 2),
            "ungraded": rate(0, 2),
            "cut": rate(1, 2),
        },
        {
            "round": 1,
            "n": 2,
            "goals": 2,
            "complies": rate(0, 1),
            "kind": None,
            "ungraded": rate(1, 2),
            "cut": rate(0, 2),
        },
        {"round": 2, "n": 1, "goals": 1, "complies": None, "kind": None, "ungraded": rate(1, 1), "cut": rate(0, 1)},
    ]
    assert summarize_revisions([], ("complies",)) == []
