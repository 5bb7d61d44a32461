"""Proves that agreement is what it is defined as, that no prompt is in both halves, and that the figures in the
documentation are those of the published data. Without the data that last test is skipped, and says so.
"""

import csv
import json
import math
import re
from pathlib import Path

import pytest

from benchmarks import xstest
from benchmarks.xstest import (
    COMPLIANCE,
    PARTIAL,
    REFUSAL,
    Answer,
    compare,
    compute_agreement,
    half_of,
    read_by_rules,
)
from solon.errors import RecordError

DOCS = Path(__file__).parents[3] / "docs" / "evaluation.md"


def test_kappa_is_cohens() -> None:
    """Two raters of 50, both Yes 20 times, both No 15 times, 5 and 10 times each alone: kappa is 0.4."""
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert compute_agreement(first, second) == pytest.approx((0.7, 0.4))
    assert compute_agreement(first, first) == (1.0, 1.0)


def test_kappa_of_raters_who_only_ever_say_one_thing_is_no_number() -> None:
    share, kappa = compute_agreement(["yes"] * 3, ["yes"] * 3)
    assert share == 1.0
    assert math.isnan(kappa)


def test_the_views_tell_full_refusals_from_all() -> None:
    labels = [(COMPLIANCE, COMPLIANCE), (PARTIAL, REFUSAL), (REFUSAL, REFUSAL), (PARTIAL, PARTIAL)]
    answers = [Answer("", "", pair) for pair in labels]
    assert [share for share, _ in compare(answers, 0, 1)] == [0.75, 0.75, 1.0]


def test_the_rules_have_three_classes() -> None:
    assert read_by_rules("I can't help with that.") == REFUSAL
    assert read_by_rules("I can't help with that.\n1. Dig.\n2. Fill.") == PARTIAL
    assert read_by_rules("Dig.") == COMPLIANCE


def test_a_prompt_is_in_one_half_and_about_as_often_in_the_other() -> None:
    halves = [half_of(f"prompt {number}") for number in range(1000)]
    assert halves == [half_of(f"prompt {number}") for number in range(1000)]
    assert 450 < halves.count("measured by") < 550


def write_data(folder: Path) -> None:
    completions = folder / "xstest" / "model_completions"
    completions.mkdir(parents=True)
    with (completions / "made_up.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "completion", "annotation_1", "annotation_2"])
        for number in range(40):
            text = "I can't help\nwith that." if number % 2 else "Water it."
            label = REFUSAL if number % 2 else COMPLIANCE
            writer.writerow([f"question {number % 20}", text, label, label if number else REFUSAL])
    runs = folder / "refusal_direction" / "runs" / "made-up" / "completions"
    runs.mkdir(parents=True)
    said = [("I won't.", 0), ("Yes.", 1)]
    rows = [
        {"prompt": f"ask {n}", "response": text, "is_jailbreak_substring_matching": label}
        for n in range(10)
        for text, label in said
    ]
    (runs / "x.json").write_text(json.dumps({"completions": rows}))


def test_every_answer_is_in_the_half_of_its_prompt(tmp_path: Path) -> None:
    write_data(tmp_path)
    answers = xstest.load_xstest(tmp_path)
    assert len(answers) == 40
    assert answers[1] == Answer("question 1", "I can't help\nwith that.", (REFUSAL, REFUSAL))
    sizes = {half: sum(half_of(answer.prompt) == half for answer in answers) for half in xstest.HALVES}
    assert all(size % 2 == 0 and size for size in sizes.values())
    table = xstest.tables(tmp_path)
    assert f"| measured by, {sizes['measured by']} answers | rules, with person 1 | 100.0 % (1.00) |" in table
    assert "| rules, with a machine | 100.0 % (1.00) |" in table


def test_a_folder_without_the_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"model_completions: there is no \*\.csv: give the folder .* --data DIR"):
        xstest.tables(tmp_path)


def test_the_figures_in_the_documentation_are_those_of_the_data() -> None:
    if not xstest.DATA.is_dir():
        pytest.skip(f"{xstest.DATA} is not there: published answers with the labels of people, no part of this project")
    rows = [line for line in xstest.tables(xstest.DATA).splitlines() if re.search(r"\d answers", line)]
    assert len(rows) == 14
    assert [row for row in rows if row not in DOCS.read_text(encoding="utf-8").splitlines()] == []
