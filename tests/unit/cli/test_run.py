"""Proves that the closing lines of a run say what the run found out about itself, and that a run is told how its grader
was given.
"""

import shlex
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from solon.cli.app import _read_options, _run, app
from solon.pipeline.config import build_config
from solon.pipeline.run import RunResult
from solon.pipeline.stages.method import CONSTITUTIONAL_AI, CONSTITUTIONAL_DATA
from solon.records import Measures, PlannedCalls, PlannedTraining, RunEstimate
from solon.world.task import WorldTask


def test_what_the_run_noticed_stands_below_its_table(tmp_path, monkeypatch, capsys):
    results = {
        "evaluations": [{"name": "sh\x1b[2Jop", "groups": {}, "measures": Measures().model_dump(mode="json")}],
        "models": {},
        "model_names": {},
        "notices": ["feedback: the orders contradict\x1b each other"],
        "total_seconds": 1,
        "cpu_seconds": 1.0,
        "peak_rss_mb": 1.0,
    }
    found = RunResult(folder=Path("the\x07re"), results=results, config=build_config("smoke", {}, WorldTask()))
    monkeypatch.setattr("solon.pipeline.run.run", lambda **_: found)
    _run(_read_options(out=tmp_path / "run", preset="smoke"))
    table, *_, note, report = capsys.readouterr().out.splitlines()
    assert table.startswith("sh\\x1b[2Jop, answers: ")
    assert note == "note: feedback: the orders contradict\\x1b each other"
    assert report == "report: the\\x07re/report.html"


@pytest.mark.parametrize("named", [None, "solon.world.grader:OracleGrader"])
def test_a_run_is_told_how_its_grader_was_given(tmp_path, monkeypatch, named):
    found = {}

    def stop(**given):
        found.update(given)
        raise KeyboardInterrupt

    monkeypatch.setattr("solon.pipeline.run.run", stop)
    with pytest.raises(KeyboardInterrupt):
        _run(_read_options(out=tmp_path / "run", preset="smoke", grader=named))
    assert found["grader_source"] == (named or "")
    assert (found["grader"] is None) is (named is None)


@pytest.mark.parametrize(("given", "method"), [([], CONSTITUTIONAL_AI), (["--labels-only"], CONSTITUTIONAL_DATA)])
def test_labels_only_is_another_method(tmp_path, monkeypatch, given, method):
    found = []

    def stop(**given):
        found.append(given["method"])
        raise KeyboardInterrupt

    monkeypatch.setattr("solon.pipeline.run.run", stop)
    CliRunner().invoke(app, ["run", "--out", str(tmp_path / "run"), *given])
    assert found == [method]


def test_a_run_without_out_stays_below_runs_whatever_the_task_is_called(monkeypatch):
    task = WorldTask()
    monkeypatch.setattr(task, "name", "../../escaped")
    monkeypatch.setattr(task, "presets", {})
    monkeypatch.setattr("solon.cli.tasks.find_task", lambda *_, **__: task)
    folders = []
    monkeypatch.setattr("solon.cli.app._run", lambda request: folders.append(request.folder))
    assert CliRunner().invoke(app, ["run"]).exit_code == 0
    assert folders == [Path("runs/escaped")]


@pytest.mark.parametrize(
    ("given", "models"),
    [
        ("", None),
        ("--dtype bfloat16", {"assistant": {"dtype": "bfloat16"}}),
        (
            "--device cuda:1 --critic x --model y --judge z",
            {"assistant": {"source": "y", "device": "cuda:1"}, "critic": {"source": "x"}, "judge": {"source": "z"}},
        ),
    ],
)
def test_options_for_models_are_fields_of_their_roles(monkeypatch, given, models):
    found = []
    monkeypatch.setattr("solon.cli.app._run", lambda request: found.append(request.settings.get("models")))
    assert CliRunner().invoke(app, ["run", *shlex.split(given)]).exit_code == 0
    assert found == [models]


@pytest.mark.parametrize(
    ("given", "again"),
    [
        ("--preset smoke", "--preset smoke --out runs/smoke"),
        (
            "--set a.b=1 --out 'a run' --drop-leaks --from old --set c=d --seed 3",
            "--drop-leaks --out 'a run' --seed 3 --from old --set a.b=1 --set c=d",
        ),
        ("--constitution own.yaml --accept-code --out x", "--constitution own.yaml --out x --accept-code"),
    ],
)
def test_an_interrupted_run_says_the_command_that_resumes_it(monkeypatch, given, again):
    def stop(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr("solon.cli.app._run", stop)
    result = CliRunner().invoke(app, ["run", *shlex.split(given)])
    assert result.exit_code == 130
    assert result.stderr == f"interrupted: what was done is kept; resume with\n  solon run {again}\n"


def test_plan_has_every_option_of_run_and_says_what_it_is_told(monkeypatch, tmp_path):
    found = []
    estimate = RunEstimate(
        calls=(
            PlannedCalls(
                stage="feedback",
                role="feedback",
                what="a label",
                calls=9,
                fixed=False,
                answered=2,
                prompt_tokens=70,
                most_prompt_tokens=140,
                prompt_basis="characters",
                output_tokens=7,
                most_output_tokens=14,
                output_basis="journal",
                priced=True,
                cost=0.5,
                most_cost=1.0,
            ),
            PlannedCalls(stage="evaluation", role="judge", what="grades", calls=None, fixed=False, priced=True),
        ),
        training=(PlannedTraining(stage="sft", tokens=100, seconds=3723.0),),
        currency="EUR",
    )
    monkeypatch.setattr("solon.pipeline.run.plan", lambda **given: found.append(given) or estimate)
    options = [
        "--preset",
        "smoke",
        "--out",
        str(tmp_path / "x"),
        "--set",
        "seed=4",
        "--until",
        "sft",
        "--feedback",
        "y",
    ]
    shown = CliRunner().invoke(app, ["plan", *options])
    assert (shown.exit_code, found[0]["until"], found[0]["overrides"]["seed"]) == (0, "sft", 4)
    assert found[0]["overrides"]["models"] == {"feedback": {"source": "y"}}
    lines = [line.split() for line in shown.stdout.splitlines()]
    row = "feedback feedback up to 9 2 70 7 14 not known 0.5 EUR 1 EUR"
    assert row.split() in lines
    assert ["sft", "training", "100", "1:02:03"] in lines
    assert "7 calls at most are still to be made, and those of graders that do not say how many." in shown.stdout
    assert "Cost: 0.5 EUR, at most 1, tries that fail not counted." in shown.stdout
    assert "No price known, or not how much is read: judge." in shown.stdout
    assert "Prompts estimated, four characters for a token" in shown.stdout
    told = CliRunner().invoke(app, ["plan", *options, "--json"])
    assert RunEstimate.model_validate_json(told.stdout) == estimate
    names = {name: {option.name for option in get_command(app).commands[name].params} for name in ("run", "plan")}
    assert names["plan"] == names["run"] | {"as_json"}
