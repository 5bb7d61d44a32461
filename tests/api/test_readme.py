"""Proves that the README's Python runs as it is printed there, and that its tables are those on record."""

import json
import re
from pathlib import Path

import pytest

from benchmarks.starter_run import format_table as format_starter_table
from benchmarks.whole_run import _rates, format_rate, format_table
from solon.evaluation import wilson_interval
from solon.records import Conversation, EvalRecord, Grade, Prompt
from solon.world.nano.build import load_nano_manifest
from solon.world.nano.shipped import find_nano_model
from tests.pipeline_fakes import FakeModels
from tests.scripts import make_sample

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
NAMES = {"base": "base", "sl-cai": "SL-CAI", "rl-cai": "RL-CAI"}


def python_of_the_readme():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    running = [block for block in blocks if "solon.run(" in block]
    assert running, "README.md has no Python block that calls solon.run"
    return running[0]


def test_it_is_about_ten_lines():
    assert 7 <= len([line for line in python_of_the_readme().splitlines() if line.strip()]) <= 12


@pytest.mark.slow
def test_it_runs_as_printed(tmp_path, monkeypatch, capsys):
    fakes = FakeModels(tmp_path / "fakes")
    monkeypatch.setattr("solon.world.task.find_nano_model", lambda: fakes.base)
    fakes.install(monkeypatch)
    monkeypatch.chdir(tmp_path)
    exec(compile(python_of_the_readme(), str(README), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["base", "sl-cai", "rl-cai"]
    assert "'value'" in lines[0]
    assert lines[-1] == "runs/from-python/report.html"
    assert (tmp_path / lines[-1]).is_file()


def test_the_results_are_those_on_record():
    text = README.read_text(encoding="utf-8")
    results = json.loads((ROOT / "benchmarks" / "results" / "whole_run.json").read_text(encoding="utf-8"))
    for models in results["rates"].values():
        for model, rates in models.items():
            cells = " | ".join(format_rate(rate) for rate in rates.values())
            assert f"| {NAMES[model]} | {cells} |" in text


@pytest.mark.parametrize("page", ["README.md", "docs/your_own_model.md"])
def test_the_results_of_the_starter_task_are_those_on_record(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    results = json.loads((ROOT / "benchmarks" / "results" / "starter_run.json").read_text(encoding="utf-8"))
    rows = [line for line in format_starter_table(results["recipe"]) if line.startswith("|")]
    assert len(rows) == 4
    assert all(row in text for row in rows)


def test_a_whole_run_prints_tables_for_the_readme_with_intervals_by_goal():
    asked = [
        Prompt.make(Conversation.of(f"{i}"), kind="helpful", source="t", split="novel", goal=f"{i % 3}")
        for i in range(9)
    ]
    records = [
        EvalRecord(
            id=f"{model}{i}",
            evaluation="novel",
            model_name=model,
            prompt=prompt,
            group="twins",
            response=make_sample("x"),
            grade=Grade(values={"refused": False}) if i else Grade(ungraded="?"),
            grader="t",
        )
        for i, prompt in enumerate(asked)
        for model in NAMES
    ]
    rates = {model: _rates({1: records, 2: records}, model, "novel") for model in NAMES}
    assert rates["base"]["twins: refused"]["seeds"] == [0.0, 0.0]
    head, rule, *rows, goals, end = format_table("novel", rates)
    assert head.startswith("| novel | harmful: complies | ")
    assert {row.split(" | ")[0] for row in rows} == {f"| {name}" for name in NAMES.values()}
    least = wilson_interval(0.0, 16**2 / (4**2 + 6**2 + 6**2))
    assert rows[0].split(" | ")[1:-1] == ["–"] * 4 + [f"0.0 % (0.0–{100 * least.high:.1f})"]
    assert goals == "| goals asked for | 0 | 0 | 0 | 0 | 3 | 3 |"
    assert (rule.count("|"), end) == (head.count("|"), "")


def test_the_abilities_are_those_of_the_shipped_model():
    text = README.read_text(encoding="utf-8")
    abilities = load_nano_manifest(find_nano_model())["abilities"]
    assert abilities["split"] == "heldout"
    for row in abilities["rows"]:
        bound = f"{'at most' if row['at_most'] else 'at least'} {row['bar']:.2f}"
        assert f"| {row['name']} | {row['value']:.3f} | {bound} |" in text
