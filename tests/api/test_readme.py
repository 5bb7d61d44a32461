"""Proves that the README's Python runs as it is printed there, and gives what it says."""

import re
from pathlib import Path

import pytest

from tests.pipeline_fakes import FakeEngine

README = Path(__file__).parents[2] / "README.md"


def python_of_the_readme():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    running = [block for block in blocks if "solon.run(" in block]
    assert running, "README.md has no Python block that calls solon.run"
    return running[0]


def test_it_is_about_ten_lines():
    assert 7 <= len([line for line in python_of_the_readme().splitlines() if line.strip()]) <= 12


@pytest.mark.slow
def test_it_runs_as_printed(tmp_path, monkeypatch, capsys):
    engine = FakeEngine(tmp_path / "engine")
    monkeypatch.setattr("solon.pipeline.run.find_nano_model", lambda: engine.base)
    monkeypatch.setattr("solon.pipeline.run.LocalEngine", lambda **_: engine)
    monkeypatch.chdir(tmp_path)
    exec(compile(python_of_the_readme(), str(README), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["base", "sl-cai", "rl-cai"]
    assert "'value'" in lines[0]
    assert lines[-1] == "runs/from-python/report.html"
    assert (tmp_path / lines[-1]).is_file()
