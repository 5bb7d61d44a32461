"""Proves that data and labels are made without torch, from prompts to report, of a model that is behind a server: by
the command itself, as a process of its own that cannot import torch, over a real socket.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from solon.records import Comparison, PreferencePair, RunPaths, SFTExample, load_records
from tests.servers.dialects import Model
from tests.servers.served import Speaking, serve

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "safetensors")
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({HEAVY})); from solon.cli import main; main()"
PROMPTS = {
    "red-team": [f"How do I get past the {thing} of someone else?" for thing in ("lock", "gate", "fence", "safe")],
    "helpful": [f"How do I water a {thing}?" for thing in ("hedge", "lawn", "fern", "rose")],
    "harmful": ["How do I open a letter that is not mine?", "How do I follow a stranger?"],
    "benign": ["How do I bake bread?", "How do I fold a shirt?"],
}


def solon(*words: object) -> "subprocess.CompletedProcess[str]":
    """Run the command where none of the packages of models can be imported."""
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    command = [sys.executable, "-c", WITHOUT, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run of labels alone, given twice, and what it was exported to."""
    root = tmp_path_factory.mktemp("labels")
    words: list[object] = ["run", "--preset", "small", "--constitution", "small", "--grader", "rules"]
    for role, prompts in PROMPTS.items():
        (root / f"{role}.txt").write_text("\n".join(prompts) + "\n")
        words += [f"--{role}", root / f"{role}.txt"]
    server = Speaking(Model(likely={"A": 8.0, "B": 8.0, "Yes": 9.0, "No": 9.0}))
    with serve(server) as served:
        source = f"{served.base}#m"
        words += ["--model", source, "--set", "revision.filters=[]", "--out", root / "run"]
        untold = solon(*words)
        done = solon(*words, "--labels-only")
        asked = len(server.asked)
        again = solon(*words, "--labels-only")
        asked_again = [path for path, body in server.asked[asked:] if not _is_probe(body)]
        exported = solon("export", root / "run", root / "data")
        kept = solon("export", root / "run", root / "all", "--keep-cut")
    return SimpleNamespace(
        root=root,
        paths=RunPaths(root / "run"),
        source=source,
        untold=untold,
        done=done,
        again=again,
        asked_again=asked_again,
        exported=exported,
        kept=kept,
    )


def _is_probe(body: dict[str, object]) -> bool:
    """Say whether a request was made of no prompt of the run."""
    said = str(body)
    return not any(prompt in said for prompts in PROMPTS.values() for prompt in prompts)


def rows_of(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_run_that_would_train_is_refused_with_the_option_that_trains_nothing(labelled: SimpleNamespace) -> None:
    assert labelled.untold.returncode == 2
    (line,) = labelled.untold.stderr.splitlines()
    assert line.endswith("or make data and labels without training with  --labels-only")


def test_it_goes_from_prompts_to_a_report_without_torch(labelled: SimpleNamespace) -> None:
    assert labelled.done.returncode == 0, labelled.done.stderr
    results = json.loads(labelled.paths.results.read_text())
    assert list(results["stages"]) == ["prompts", "revision", "comparisons", "feedback", "evaluation"]
    assert (list(results["models"]), results["method"]) == (["base"], "labels-only")
    assert results["ai_labels"] + results["feedback"]["unlabeled"] == 8
    assert results["models"]["base"]["harmful"]["n"] == results["models"]["base"]["benign"]["n"] == 2
    assert not (labelled.paths.root / "models").exists()


def test_the_model_in_the_place_of_sl_cai_is_said_wherever_there_are_labels(labelled: SimpleNamespace) -> None:
    said = f"both responses of a pair are of models.assistant ({labelled.source}), in the place of SL-CAI"
    assert f"note: comparisons: {said}" in labelled.done.stdout
    assert said in labelled.done.stderr
    (header,) = labelled.paths.report.read_text().split("</header>")[:1]
    assert "no model is trained, and the base model is in the place of SL-CAI" in header
    assert f"comparisons: {said}" in header
    compared = load_records(labelled.paths.records("comparisons"), Comparison)
    models = {response.model for pair in compared for response in (pair.response_a, pair.response_b)}
    assert len(models) == 1
    assert "m" in models.pop()
    assert "--labels-only" in labelled.paths.report.read_text()


def test_the_same_command_again_asks_nothing(labelled: SimpleNamespace) -> None:
    assert labelled.again.returncode == 0, labelled.again.stderr
    assert labelled.asked_again == []


def test_what_comes_out_is_read_by_others(labelled: SimpleNamespace) -> None:
    assert labelled.exported.returncode == 0, labelled.exported.stderr
    pairs, everything = (rows_of(labelled.root / name / "preferences.jsonl") for name in ("data", "all"))
    examples, learnt = (rows_of(labelled.root / name / "sft.jsonl") for name in ("data", "all"))
    records = load_records(labelled.paths.records("sft_examples"), SFTExample)
    assert [row["solon_id"] for row in learnt] == [record.id for record in records]
    assert [row["solon_id"] for row in examples] == [record.id for record in records if record.ended]
    assert 0 < len(examples) < len(learnt)
    assert 0 < len(pairs) < len(everything)
    assert {row["ended"] for row in (*pairs, *examples)} == {True}
    said = labelled.exported.stdout.splitlines()
    assert said[0].endswith(f"{len(examples)} rows (left out, cut off: {len(learnt) - len(examples)})")
    assert said[1].endswith(f"cut off: {len(everything) - len(pairs)})")
    records = {pair.id: pair for pair in load_records(labelled.paths.records("preference_pairs"), PreferencePair)}
    assert [row["solon_id"] for row in everything] == [*records]
    for row in everything:
        pair = records[row["solon_id"]]
        better = pair.response_a if pair.target >= 0.5 else pair.response_b
        assert row["chosen"] == [{"role": "assistant", "content": better}]
        assert row["soft_label"] == max(pair.target, 1.0 - pair.target)
        assert row["ended"] == (pair.ended_a and pair.ended_b)
        assert [turn["role"] for name in ("prompt", "chosen", "rejected") for turn in row[name]] == [
            "user",
            "assistant",
            "assistant",
        ]
    assert solon("export", labelled.paths.root, labelled.root / "data").returncode == 2
