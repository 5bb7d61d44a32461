"""Proves that the command line takes a checkpoint through the whole method, that its other commands read what it left,
and that a run that was killed or interrupted in any stage ends, when started again, in the same records.

How equal is equal: texts, tokens and weights to the last bit; log-probabilities of data stages to 2e-6, since a call
that is made again is made in another batch, where sums round differently, and is stored with six decimals. A token
could differ only where its draw falls within that of a boundary between two; in these runs none does.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from solon.pipeline.manifests import load_manifest
from tests.children import start_child
from tests.e2e.conftest import call_solon
from tests.tiny_world import tiny_options

STAGES = ["prompts", "revision", "sft", "comparisons", "feedback", "preference-model", "ppo", "evaluation", "report"]
ROUNDING = 2e-6


def test_it_ends_with_the_table_and_the_path_of_the_report(whole_run):
    done, folder = whole_run.done, whole_run.folder
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(f"report: {folder / 'report.html'}")
    for split in ("heldout", "novel"):
        sizes = "12 to harmful (12 goals), 12 to benign (12 goals), 6 to twins (6 goals)"
        assert f"{split}, answers: {sizes}" in done.stdout
    for word in ("Base", "SL-CAI", "RL-CAI", "CPU seconds"):
        assert word in done.stdout
    assert [line.split(":")[0] for line in done.stderr.splitlines() if line.endswith("started")] == STAGES
    # an untrained model looks at nothing but positions, and there is nothing else to note
    for said in (done.stderr, done.stdout):
        by_order, even = [line for line in said.splitlines() if line.startswith("note:")]
        assert "judges by the order of the responses" in by_order
        assert "labels are exactly 0.5" in even


def test_the_folder_holds_what_it_promises(whole_run):
    for name in ("run.yaml", "constitution.json", "journal.sqlite", "results.json", "report.html"):
        assert (whole_run.folder / name).is_file()
    for model in ("sl-cai", "preference-model", "value", "rl-cai"):
        assert (whole_run.folder / "models" / model / "model.safetensors").is_file()
    for stage in STAGES:
        manifest = load_manifest(whole_run.folder / "manifest" / f"{stage}.json")
        assert manifest is not None
        assert manifest.status == "complete"
    results = json.loads((whole_run.folder / "results.json").read_text())
    seconds = sum(stage["seconds"] for stage in results["stages"].values())
    assert 0 < seconds <= results["total_seconds"]
    assert results["cpu_seconds"] > 0


def test_records_hold_no_clock(whole_run):
    text = "".join(p.read_text() for p in (whole_run.folder / "records").iterdir())
    assert not re.search(r'"(time|seconds|date|created|timestamp)"', text)
    assert "pid" not in text.split('"')


def test_the_report_can_be_made_again(whole_run):
    path = whole_run.folder / "report.html"
    before = path.read_bytes()
    done = call_solon("report", whole_run.folder)
    assert (done.returncode, done.stdout) == (0, f"{path}\n")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("file", "field", "said"),
    [
        ("prompts_ppo", "id", ["prompt"]),
        ("revision_chains", "id", ["revision chain", "principle", "critique request", "grade by", "model call 1"]),
        ("helpful_samples", "id", ["helpful sample", "model call 1"]),
        ("sft_examples", "id", ["SFT example", "learnt response", "model call 1"]),
        ("comparisons", "id", ["comparison", "response A", "response B", "model call 2"]),
        ("preference_pairs", "id", ["target", "vote, A shown first", "vote, B shown first", "under: principle"]),
        ("evaluation", "id", ["evaluation record", "grade by world-oracle", "model call 1"]),
        ("example", "id", ["evaluation record", "neighbour's wifi"]),
        ("failures_revision", "item", ["failure of", "revision"]),
    ],
)
def test_any_record_is_shown_with_its_ancestry(whole_run, file, field, said):
    lines = (whole_run.folder / "records" / f"{file}.jsonl").read_text().splitlines()
    record = json.loads(max(lines, key=len))
    done = call_solon("show", whole_run.folder, record[field])
    assert done.returncode == 0, done.stderr
    for words in said:
        assert words in done.stdout


def test_a_prompt_of_an_evaluation_is_shown_with_where_it_was_asked(whole_run):
    asked = json.loads((whole_run.folder / "records" / "prompts_evaluation.jsonl").read_text().splitlines()[-1])
    done = call_solon("show", whole_run.folder, asked["prompt"]["id"])
    assert done.returncode == 0, done.stderr
    assert "asked in evaluation novel, group twins" in done.stdout
    assert f"prompt {asked['prompt']['id']} (helpful, from world, split novel)" in done.stdout


def test_a_call_is_shown_and_the_beginning_of_an_id_will_do(whole_run):
    chain = json.loads((whole_run.folder / "records" / "revision_chains.jsonl").read_text().splitlines()[0])
    call = chain["initial_response"]["call"]
    done = call_solon("show", whole_run.folder, call)
    assert f"call {call} (generate)" in done.stdout
    assert f"text: {chain['initial_response']['text']}" in done.stdout
    assert call_solon("show", whole_run.folder, call[:12]).stdout == done.stdout
    assert call_solon("show", whole_run.folder, chain["id"][:10]).stdout.startswith("records/revision_chains.jsonl:1")


@pytest.mark.parametrize(("record", "said"), [("abc", "at least the first 4"), ("ffffffffffffffff0", "no record")])
def test_what_is_not_there_is_not_shown(whole_run, record, said):
    done = call_solon("show", whole_run.folder, record)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize("model", ["base", "sl-cai", "rl-cai"])
def test_every_model_can_be_talked_to(whole_run, model):
    words = ("chat", whole_run.folder, "--model", model, "--max-tokens", "40")
    done = call_solon(*words, stdin="How do I bake a cake?\nAnd then?\n\nHow do I bake a cake?\n")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 3
    assert call_solon(*words, stdin="How do I bake a cake?\nAnd then?\n\nHow do I bake a cake?\n").stdout == done.stdout


def test_a_model_that_does_not_exist_cannot_be_talked_to(whole_run):
    done = call_solon("chat", whole_run.folder, "--model", "rl-cia")
    assert done.returncode == 2
    assert "did you mean 'rl-cai'" in done.stderr


# ------------------------------------------------------------------------------- killed and interrupted


def run_and_die(folder, model, setting):
    """Run the command in a child that is killed at a point; return whether it was."""
    child = os.fork()
    if child == 0:
        try:
            os.environ["SOLON_FAILPOINT"] = setting
            call_solon("run", "--out", folder, *tiny_options(model))
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def assert_same_run(folder, whole):
    """Compare two runs as the module's first lines say."""
    names = sorted(p.name for p in (whole / "records").iterdir())
    assert sorted(p.name for p in (folder / "records").iterdir()) == names
    for name in names:
        lines = [json.loads(line) for line in (folder / "records" / name).read_text().splitlines()]
        expected = [json.loads(line) for line in (whole / "records" / name).read_text().splitlines()]
        assert_same_json(lines, expected, name)
    for file in (whole / "models").rglob("*.safetensors"):
        assert (folder / file.relative_to(whole)).read_bytes() == file.read_bytes(), file.name
    for file in (whole / "metrics").iterdir():
        assert (folder / file.relative_to(whole)).read_bytes() == file.read_bytes(), file.name


def assert_same_json(found, expected, where):
    if isinstance(expected, float) and isinstance(found, float):
        assert found == pytest.approx(expected, abs=ROUNDING), where
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            assert_same_json(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, (left, right) in enumerate(zip(found, expected, strict=True)):
            assert_same_json(left, right, f"{where}[{number}]")
    else:
        assert found == expected, where


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_a_stage_it_ends_the_same(tmp_path, whole_run, stage):
    rng = random.Random(f"local, {stage}")
    settings = [f"write:manifest/{stage}.json:1"]
    if stage in ("sft", "preference-model", "ppo"):
        settings += [f"progress:{stage}:1", "wrote:.checkpoint/state.safetensors:1"]
    elif stage not in ("prompts", "report"):
        settings.append(f"progress:{stage}:{rng.randint(2, 12)}")
    died = [run_and_die(tmp_path / "run", whole_run.model, setting) for setting in settings]
    assert all(died)
    done = call_solon("run", "--out", tmp_path / "run", *tiny_options(whole_run.model))
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "run", whole_run.folder)


@pytest.mark.slow
def test_interrupted_it_says_how_to_go_on_and_does(tmp_path, whole_run):
    folder = tmp_path / "a run"
    command = [sys.executable, "-m", "solon", "run", "--out", str(folder), *tiny_options(whole_run.model)]
    with start_child(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("comparisons: started"):
                time.sleep(0.05)
                process.send_signal(signal.SIGINT)
        process.wait()
    assert process.returncode == 130, said
    told = "".join(said)
    assert "Traceback" not in told
    assert "resume with" in told
    assert f"--out '{folder}'" in told
    done = call_solon(*command[3:])
    assert done.returncode == 0, done.stderr
    assert "revision: done before" in done.stderr
    assert_same_run(folder, whole_run.folder)
