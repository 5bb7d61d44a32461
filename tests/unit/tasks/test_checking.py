"""Proves that what a task's prompts could teach by mistake is seen before a run."""

import json
from pathlib import Path

import pytest

from solon.errors import ConfigError
from solon.pipeline.task import load_task
from solon.tasks import FileTask, check_task, tell_form
from tests.e2e.conftest import call_solon

NOUNS = ("lamp", "bell", "kite", "drum", "boat", "coat", "fork", "gate", "harp", "iron", "jug", "mug")
VERBS = ("Lift", "Paint", "Shake", "Wash", "Sell", "Fold")
ORDINARY = [
    f"{VERBS[i // 2]} a {noun} for me." if i % 2 else f"Is that {noun} old, or new?" for i, noun in enumerate(NOUNS)
]


def make_task(folder: Path, training: list[object], measured: list[object] | None = None) -> FileTask:
    for name, rows in (("helpful", training), ("benign", measured or ["Sing.", "What is rain?"])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return FileTask.of_files(helpful=folder / "helpful.jsonl", benign=folder / "benign.jsonl")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Write a poem.", "imperative"),
        ("Do the dishes for me.", "imperative"),
        ("Have a look at my plan.", "imperative"),
        ("How do I whistle?", "question"),
        ("how do i whistle", "question"),
        ("I lost my key. What now?", "question"),
        ("I\u2019d like to whistle.", "statement"),
        ("My key is lost.", "statement"),
        ("", "imperative"),
    ],
)
def test_forms(text: str, form: str) -> None:
    assert tell_form(text) == form


def test_an_ordinary_task_has_no_notes(tmp_path: Path) -> None:
    facts = check_task(make_task(tmp_path, ORDINARY))
    assert facts.notes == ()
    helpful, benign = facts.pools
    assert (helpful.name, helpful.prompts, helpful.goals, helpful.imperatives) == ("train/helpful", 12, 12, 0.5)
    assert (benign.name, benign.prompts) == ("main/benign", 2)


def test_goals_and_categories_are_counted(tmp_path: Path) -> None:
    rows = [{"prompt": text, "goal": str(i // 2), "category": "ab"[i % 3 == 0]} for i, text in enumerate(ORDINARY)]
    pool = check_task(make_task(tmp_path, rows)).pools[0]
    assert (pool.goals, pool.categories) == (6, {"a": 8, "b": 4})


def test_a_pool_of_one_form_is_noted(tmp_path: Path) -> None:
    notes = check_task(make_task(tmp_path, [text for text in ORDINARY if "?" in text])).notes
    assert [note for note in notes if note.startswith("train/helpful: 0% of the prompts are imperatives")]
    notes = check_task(make_task(tmp_path, [text for text in ORDINARY if "?" not in text])).notes
    assert [note for note in notes if note.startswith("train/helpful: 100% of the prompts are imperatives")]


def test_prompts_that_begin_alike_are_noted(tmp_path: Path) -> None:
    two = [*ORDINARY[:10], "Bring me the salt.", "Bring me the big ladder at noon."]
    assert check_task(make_task(tmp_path, two)).notes == ()
    three = [*two, "Bring me the newspaper, would you?"]
    (note,) = check_task(make_task(tmp_path, three)).notes
    assert note.startswith("train/helpful: 23.1% of the prompts begin with 'bring me the'")


def test_prompts_that_nearly_say_the_same_are_noted(tmp_path: Path) -> None:
    long = "Tell me in a few short words how a lighthouse keeper spends his day"
    (note,) = check_task(make_task(tmp_path, [*ORDINARY, f"{long}.", f"{long}, please."])).notes
    assert note.startswith("train/helpful: 1 pair of prompts nearly say the same: ")
    other = "Tell me in a few short words why the sea is salt"
    assert check_task(make_task(tmp_path, [*ORDINARY, f"{long}.", f"{other}."])).notes == ()


def test_what_is_trained_and_measured_on_is_noted(tmp_path: Path) -> None:
    notes = check_task(make_task(tmp_path, ORDINARY, [ORDINARY[1], "What is rain?"])).notes
    assert [note for note in notes if note.startswith(f"'{ORDINARY[1]}' is trained on")]


def test_a_task_that_makes_prompts_by_numbers_has_none_to_look_at() -> None:
    with pytest.raises(ConfigError, match="expected a number"):
        check_task(load_task("world"))


def test_the_command_says_it(tmp_path: Path) -> None:
    make_task(tmp_path, ORDINARY[::2])
    (tmp_path / "task.yaml").write_text(
        "name: lamps\ntraining: {helpful: helpful.jsonl}\n"
        "evaluations: [{name: main, groups: {benign: {file: benign.jsonl, kind: helpful}}}]\n"
    )
    said = call_solon("task", "check", tmp_path / "task.yaml")
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[0] == "task lamps"
    assert lines[2].split() == ["train/helpful", "6", "6", "0", "0%", "16.7%"]
    assert "gold comparisons: none" in lines
    assert [line for line in lines if line.startswith("note: train/helpful: 0% of the prompts are imperatives")]
