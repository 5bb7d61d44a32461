"""Proves that a run folder of another version is refused in one line that says which version reads it."""

import json
import shutil

import pytest
import yaml

from solon.records import Manifest, RunPaths
from solon.storage import file_digest
from tests.e2e.conftest import call_solon

COMMANDS = {
    "show": lambda folder, record: ("show", folder, record),
    "report": lambda folder, record: ("report", folder),
    "chat": lambda folder, record: ("chat", folder),
    "chat with the base": lambda folder, record: ("chat", folder, "--model", "base"),
}


@pytest.fixture
def old(tmp_path, whole_run):
    """A copy of a finished run, without its models."""
    shutil.copytree(whole_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("models"))
    return RunPaths(tmp_path / "run")


def record_of(paths):
    return json.loads(paths.records("example").read_text().splitlines()[0])["id"]


def assert_refused(done, *named):
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for words in named:
        assert str(words) in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_header_of_before_there_were_tasks(old, command):
    body = yaml.safe_load(old.header.read_text())
    del body["task"]
    old.header.write_text(yaml.safe_dump({**body, "schema": 1, "code_version": "0.0.9"}))
    done = call_solon(*COMMANDS[command](old.root, record_of(old)))
    assert_refused(done, old.header, "schema 1, this version reads 3", "that reads schema 1; version 0.0.9 wrote it")


@pytest.mark.parametrize("command", ["show", "report"])
def test_graded_answers_of_before_there_were_tasks(old, command):
    """The folder's accounts agree with its files, as they do in a folder that an earlier version wrote."""
    file, account = old.records("example"), old.manifest("evaluation")
    record = record_of(old)
    file.write_text(file.read_text().replace('"schema":2', '"schema":1'))
    written = Manifest.load(account)
    name = next(name for name in written.outputs if name.endswith(file.name))
    written.model_copy(update={"outputs": {**written.outputs, name: file_digest(file)}}).save(account)
    report = Manifest.load(old.manifest("report"))
    inputs = {**report.inputs, "evaluation": file_digest(account)}
    report.model_copy(update={"inputs": inputs}).save(old.manifest("report"))
    done = call_solon(*COMMANDS[command](old.root, record))
    assert_refused(
        done, f"{file}:1: EvalRecord schema 1, this version reads 2", "with a version of solon that reads schema 1"
    )


@pytest.mark.parametrize("schema", [1, 2])
def test_results_of_before_there_were_tasks(old, schema):
    results = json.loads(old.results.read_text())
    old.results.write_text(json.dumps({**results, "schema": schema}))
    assert_refused(call_solon("report", old.root), old.results, f"schema {schema}, this version reads 5")


def test_the_command_of_the_run_is_refused_too_and_nothing_is_changed(old, whole_run):
    body = yaml.safe_load(old.header.read_text())
    del body["task"]
    old.header.write_text(yaml.safe_dump({**body, "schema": 1}))
    before = {path: path.read_bytes() for path in old.root.rglob("*") if path.is_file()}
    done = call_solon(
        "run", "--preset", "smoke", "--out", old.root, "--set", f"models.assistant.source={whole_run.model}"
    )
    assert_refused(done, old.header, "schema 1, this version reads 3")
    assert {path: path.read_bytes() for path in old.root.rglob("*") if path.is_file()} == before
