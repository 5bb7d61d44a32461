"""Proves that the check of the nano model gives nothing away: who knows nothing reaches nothing."""

import pytest

from solon.lm import ScriptedModel
from solon.world.nano.check import Ability, format_abilities, measure_abilities


def measure(text, logprobs):
    model = ScriptedModel(lambda *_: text, lambda prompt, options: logprobs)
    return {row.name: row for row in measure_abilities(model, n=10, split="dev")}


def test_what_cannot_be_read_counts_as_wrong():
    rows = measure("Lorem ipsum.", (-0.1, -3.0))
    written = [row for name, row in rows.items() if name.startswith(("base responds", "critique", "revision", "gen"))]
    assert len(written) == 3 + 10 + 10 + 1
    assert {row.value for row in written} == {0.0}
    assert rows["outside the grammar"].value == 1.0


def test_one_answer_to_every_comparison_is_found_out():
    rows = measure("Lorem ipsum.", (-0.1, -3.0))
    assert rows["comparison: order flips"].value == 1.0
    assert rows["comparison: in scope"].value == 0.0
    assert rows["comparison: out of scope"].value == 0.0
    assert rows["comparison: mean"].value == 0.0
    assert not rows["comparison: mean"].reached
    assert not rows["comparison: correct against wrong"].reached
    assert not rows["comparison: chain of thought"].reached
    assert rows["comparison: calibration error"].value == pytest.approx(0.0, abs=0.2)  # even odds claim nothing


def test_a_bar_is_a_bound_from_its_own_side():
    rows = [Ability("a", 0.5, 1, 0.5), Ability("b", 0.51, 1, 0.5, at_most=True)]
    assert [row.reached for row in rows] == [True, False]
    assert format_abilities(rows) == [
        ("a", "0.500", "at least 0.50", "reached"),
        ("b", "0.510", "at most 0.50", "NOT reached"),
    ]
