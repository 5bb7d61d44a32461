"""Proves that a grade is values or a reason and never both, that what could not be told is on no side of a measure, and
that measures which refer to nothing, or to two things, are refused before anything is run.
"""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from solon.records import UNGRADED, Axis, Grade, Measure, Measures

HARM = Measure(group="harmful", name="complies", caption="Harmful: complies", better="lower")
HELP = Measure(
    group="benign", name="useful", caption="Benign: useful", short="helps", better="higher", value="is_useful"
)
LENGTH = Measure(group="benign", name="long", caption="Benign: long")
ACROSS = Axis(group="benign", name="useful", caption="the share that is of use")
ABOVE = Axis(group="harmful", name="complies", caption="the share that is not complied with")


def test_a_grade_holds_truths_and_numbers_up_to_one() -> None:
    grade = Grade(values={"complies": True, "warns": False, "score": 0.25, "best": 1, "worst": 0.0})
    assert grade.graded
    assert [grade.value_of(n) for n in ("complies", "warns", "score", "best", "worst")] == [1.0, 0.0, 0.25, 1.0, 0.0]
    assert Grade.from_json(grade.to_json()) == grade


def test_what_a_grader_could_not_tell_is_neither_true_nor_false() -> None:
    grade = Grade(values={"complies": True, "warns": False})
    assert [grade.value_of(name) for name in ("complies", "warns", "evades")] == [1.0, 0.0, None]
    ungraded = Grade(ungraded="outside the grammar")
    assert not ungraded.graded
    assert ungraded.value_of("complies") is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "values, or a reason in `ungraded`"),
        ({"values": {}, "ungraded": ""}, "values, or a reason in `ungraded`"),
        ({"values": {"complies": True}, "ungraded": "who knows"}, "and not both"),
        ({"explanation": "it is odd"}, "values, or a reason in `ungraded`"),
        *(({"values": {"score": wrong}}, r"numbers in \[0, 1\], which \['score'\]") for wrong in (1.5, -0.1, 7)),
        *(({"values": {"score": wrong}}, "score") for wrong in (math.nan, math.inf)),
        ({"values": {"score": None}}, "score"),
        *(({"values": {name: True}}, rf"results use the names \['{name}'\]") for name in ("n", "round")),
        ({"values": {"ungraded": 0.5, "kind": True}}, r"results use the names \['ungraded'\]"),
    ],
)
def test_a_grade_is_values_or_a_reason_and_nothing_else(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Grade(**fields)


def test_measures_are_found_by_group_and_name() -> None:
    measures = Measures(rates=(HARM, HELP, LENGTH))
    assert measures.find("benign", "useful") is HELP
    for group, name in (("harmful", "useful"), ("benign", "is_useful")):
        with pytest.raises(ValueError, match=rf"no measure is called {group}\.{name}: known are .'harmful\.complies'"):
            measures.find(group, name)


def test_columns_are_the_rates_in_order_and_then_what_was_not_graded() -> None:
    columns = Measures(rates=(HELP, HARM, LENGTH), ungraded=("harmful", "benign")).columns()
    assert columns[:3] == (HELP, HARM, LENGTH)
    assert [(c.group, c.name, c.caption) for c in columns[3:]] == [
        ("harmful", UNGRADED, "harmful: not graded"),
        ("benign", UNGRADED, "benign: not graded"),
    ]
    assert Measures().columns() == ()


def test_a_measure_is_called_by_its_name_unless_it_says_otherwise() -> None:
    assert (HARM.read, HARM.label) == ("complies", "complies")
    assert (HELP.read, HELP.label) == ("is_useful", "helps")


@pytest.mark.parametrize(
    ("measure", "values", "says"),
    [
        (HARM, {"complies": True}, True),
        (HARM, {"complies": False}, False),
        (HARM, {"complies": 0.75}, True),
        (HARM, {"complies": 0.5}, False),
        (HARM, {"other": True}, None),
        (HARM, {}, None),
        (HELP, {"is_useful": True}, False),
        (HELP, {"is_useful": 0.25}, True),
        (HELP, {"useful": True}, None),
        (LENGTH, {"long": True}, None),
    ],
)
def test_a_grade_is_on_the_worse_side_or_not_or_it_cannot_be_told(
    measure: Measure, values: dict[str, bool | float], says: bool | None
) -> None:
    assert measure.says_harm(Grade(values=values, ungraded="" if values else "no words")) is says


def test_the_measure_of_harm_is_that_of_the_axis_of_harmlessness() -> None:
    assert Measures(rates=(HARM, HELP), helpfulness=ACROSS, harmlessness=ABOVE).harm is HARM
    assert Measures(rates=(HARM, HELP), helpfulness=ACROSS).harm is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"harmlessness": ABOVE}, r"no measure is called harmful\.complies: known are \[\]"),
        ({"rates": (HARM,), "helpfulness": ACROSS}, r"no measure is called benign\.useful"),
        (
            {"rates": (LENGTH,), "helpfulness": Axis(group="benign", name="long", caption="")},
            r"says which way is better: benign\.long",
        ),
        ({"rates": (HARM,), "by_category": ("benign", "complies")}, r"no measure is called benign\.complies"),
        ({"rates": (HARM, HELP, HARM)}, r"each once, which \['harmful\.complies'\]"),
        ({"rates": (Measure(group="a", name="n", caption=""),)}, r"results use the names \['n'\]"),
        ({"rates": (Measure(group="a", name=UNGRADED, caption=""),)}, r"results use the names \['ungraded'\]"),
        ({"rates": ({**dict(HARM), "better": "smaller"},)}, "better"),
        ({"rates": ({"group": "a", "name": "b"},)}, "caption"),
        ({"rats": ()}, "rats"),
    ],
)
def test_measures_that_refer_to_nothing_or_to_two_things_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Measures(**fields)


def test_measures_are_written_into_results_and_read_again() -> None:
    measures = Measures(
        rates=(HARM, HELP, LENGTH),
        ungraded=("harmful",),
        helpfulness=ACROSS,
        harmlessness=ABOVE,
        by_category=("harmful", "complies"),
        details=("benign",),
        revisions=("complies",),
        revisions_caption="By revision",
    )
    assert Measures.model_validate(measures.model_dump(mode="json")) == measures
