"""Proves that a table of abilities is never measured in vain, and that a build says how long all of it took."""

from pathlib import Path

import pytest

from solon.cli.app import build_world, check_world
from solon.world.nano import build as nano_build
from solon.world.nano import check as nano_check
from solon.world.nano.check import Ability


@pytest.fixture
def measured(monkeypatch):
    """Measuring takes no time and is counted."""
    calls = []

    def measure(*_, **__):
        calls.append(1)
        return (Ability("base responds", 1.0, 10, 0.9),)

    monkeypatch.setattr("solon.lm.backends.local.LocalModel", lambda path: path)
    monkeypatch.setattr(nano_check, "measure_abilities", measure)
    return calls


def check(model, **options):
    check_world(model=model, n=10, split="dev", seed=0, **options)


def test_without_a_manifest_to_record_in_nothing_is_measured(tmp_path, measured, capsys):
    with pytest.raises(SystemExit) as stop:
        check(tmp_path, record=True)
    assert (stop.value.code, measured) == (2, [])
    assert "manifest.json is not there" in capsys.readouterr().err
    check(tmp_path, record=False)
    assert "base responds" in capsys.readouterr().out


def test_the_table_is_printed_before_it_is_recorded(tmp_path, measured, monkeypatch, capsys):
    (tmp_path / "manifest.json").write_text("{}")

    def fail(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(nano_check, "record_abilities", fail)
    with pytest.raises(SystemExit):
        check(tmp_path, record=True)
    assert "base responds" in capsys.readouterr().out


def test_the_time_of_a_build_that_was_resumed_is_that_of_all_its_training(monkeypatch, capsys):
    manifest = {"parameters": 7, "digest": "d", "training_seconds": 9484.6}
    monkeypatch.setattr(nano_build, "run_nano_build", lambda *_, **__: manifest)
    build_world(out=Path("model"), overrides=[])
    assert "trained in 2:38:05" in capsys.readouterr().out
