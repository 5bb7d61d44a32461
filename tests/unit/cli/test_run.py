"""Proves that the closing lines of a run say what the run found out about itself."""

from pathlib import Path

from solon.cli.app import _run
from solon.pipeline.config import build_config
from solon.pipeline.run import RunResult


def test_what_the_run_noticed_stands_below_its_table(tmp_path, monkeypatch, capsys):
    results = {
        "models": {},
        "notices": ["feedback: the orders contradict\x1b each other"],
        "total_seconds": 1,
        "cpu_seconds": 1.0,
        "peak_rss_mb": 1.0,
    }
    found = RunResult(folder=Path("there"), results=results, config=build_config("smoke", {}))
    monkeypatch.setattr("solon.pipeline.run.run", lambda **_: found)
    _run(tmp_path / "run", "smoke", "default", None, [])
    *_, note, report = capsys.readouterr().out.splitlines()
    assert note == "note: feedback: the orders contradict\\x1b each other"
    assert report == "report: there/report.html"
