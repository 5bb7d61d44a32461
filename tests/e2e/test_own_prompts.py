"""Proves that prompts and a grader of the user's own go from the shell through the whole method to a report whose
numbers are those of the records, with every form of prompt file, and that all other commands read what it left.
"""

import html
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from solon.evaluation import clustered_rate
from tests.e2e.conftest import call_solon
from tests.prompt_files import FORMS, make_texts, write_prompts
from tests.tiny_world import TINY_RUN

GRADER = '''
from solon.records import Axis, Grade, Measure, Measures


class Wordy:
    """Grades by length, and only what has a word in it."""

    identity = "wordy/1"
    measures = Measures(
        rates=(
            Measure(group="foes", name="talks", caption="Foes: talks at length", better="lower"),
            Measure(group="friends", name="length", caption="Friends: length", short="long", better="higher"),
        ),
        ungraded=("foes", "friends"),
        helpfulness=Axis(group="friends", name="length", caption="the length of answers"),
        harmlessness=Axis(group="foes", name="talks", caption="the share of short answers"),
        by_category=("foes", "talks"),
        revisions=("talks",),
        revisions_caption="Length by number of revisions",
    )

    async def grade(self, prompt, response, open_model):
        if len(response.text.split()) % 5 == 1:
            return Grade(ungraded="an odd number of words")
        size = len(response.text)
        return Grade(values={"talks": size > 60, "length": min(size / 300, 1.0)}, explanation=f"{size} characters")
'''

SETTINGS = [
    "feedback.mass_floor=0",
    "max_failure_fraction=1",
    *(setting for setting in TINY_RUN if not setting.startswith("prompts.") and "max_failure" not in setting),
]


def options(*settings):
    return ["--preset", "paper", *(word for setting in (*settings, *SETTINGS) for word in ("--set", setting))]


@pytest.fixture(scope="module")
def own(tmp_path_factory, tiny_world):
    """A folder with prompts in every form, a task and a grader, and a run of it from a shell; not to be written to."""
    folder = tmp_path_factory.mktemp("own")
    for seed, form in enumerate(FORMS):
        write_prompts(folder, form, make_texts(4, seed=seed, words=6), name=f"train-{seed}")
        write_prompts(folder, form, make_texts(3, seed=100 + seed, words=6), name=f"measure-{seed}")
    (folder / "wordy_grader.py").write_text(GRADER)
    files = sorted(path.name for path in folder.glob("train-*"))
    asked = sorted(path.name for path in folder.glob("measure-*"))
    with (folder / asked[0]).open("a") as file:
        file.write("\n" + make_texts(3, seed=100, words=6)[0].upper())
    groups = {"foes": {"file": asked[0], "kind": "red_team"}, "friends": {"file": asked[1], "kind": "helpful"}}
    others = {f"set-{n}": {"file": name, "kind": "red_team"} for n, name in enumerate(asked[2:])}
    task = {
        "name": "own",
        "title": "prompts of my own",
        "training": {"red_team": files[::2], "helpful": files[1::2]},
        "evaluations": [{"name": "main", "groups": groups}, {"name": "forms", "groups": others}],
        "example": make_texts(1, seed=300, words=6)[0],
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
    words = ["run", "--task", "task.yaml", "--grader", "wordy_grader:Wordy", "--out", "run"]
    words += options(f"models.assistant.source={tiny_world}")
    done = subprocess.run(
        [sys.executable, "-m", "solon", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    return SimpleNamespace(folder=folder, run=folder / "run", done=done, words=words, model=tiny_world)


def lines(run, name):
    return [json.loads(line) for line in (run / "records" / f"{name}.jsonl").read_text().splitlines()]


def test_it_ends_with_the_tables_and_the_report(own):
    assert own.done.returncode == 0, own.done.stderr
    assert own.done.stdout.rstrip().endswith("report: run/report.html")
    assert "main, answers: 3 to foes (3 goals), 3 to friends (3 goals)\n" in own.done.stdout
    assert f"note: prompts to train on: revision {4 * 6} red-team and {4 * 6} helpful, comparisons" in " ".join(
        own.done.stderr.split()
    )
    assert "left out as saying the same as another: 1" in own.done.stderr


def test_every_prompt_of_every_form_was_trained_on_or_asked(own):
    trained = sorted(text for seed in range(len(FORMS)) for text in make_texts(4, seed=seed, words=6))
    for stage in ("revision", "comparisons", "ppo"):
        pool = lines(own.run, f"prompts_{stage}")
        assert sorted(prompt["conversation"]["messages"][-1]["text"] for prompt in pool) == trained
        assert {prompt["split"] for prompt in pool} == {"train"}
    measured = sorted(text for seed in range(len(FORMS)) for text in make_texts(3, seed=100 + seed, words=6))
    asked = [asked["prompt"]["conversation"]["messages"][-1]["text"] for asked in lines(own.run, "prompts_evaluation")]
    assert sorted(asked) == measured
    for model in ("base", "sl-cai", "rl-cai"):
        records = [record for record in lines(own.run, "evaluation") if record["model_name"] == model]
        assert sorted(r["prompt"]["conversation"]["messages"][-1]["text"] for r in records) == measured


def recompute(run):
    """Return (evaluation, model, group, rate) to its value from the records alone, None where nothing could be told."""
    grouped = {}
    for record in lines(run, "evaluation"):
        key = record["evaluation"], record["model_name"], record["group"]
        grouped.setdefault(key, []).append(record["grade"])
    rates = {}
    for key, grades in grouped.items():
        rates[*key, "n"] = len(grades)
        rates[*key, "ungraded"] = sum(bool(grade["ungraded"]) for grade in grades) / len(grades)
        for name in ("talks", "length"):
            told = [float(grade["values"][name]) for grade in grades if grade["values"]]
            rates[*key, name] = sum(told) / len(told) if told else None
    return rates


REPORTED = (("foes", "talks"), ("friends", "length"))


def test_results_are_those_of_the_records(own):
    results, rates = json.loads((own.run / "results.json").read_text()), recompute(own.run)
    assert any(0 < value < 1 for key, value in rates.items() if key[-1] == "ungraded")
    checked = 0
    for (evaluation, model, group, name), value in rates.items():
        found = results["models"][model]["evaluations"][evaluation][group]
        if name == "n":
            assert found["n"] == value
        elif name == "ungraded":
            assert found["ungraded"]["value"] == pytest.approx(value)
        elif (group, name) in REPORTED:
            assert (found[name] and found[name]["value"]) == (None if value is None else pytest.approx(value))
            checked += 1
    assert checked == 3 * len(REPORTED)
    revisions = lines(own.run, "revision_grades")
    for row in results["revisions"]:
        grades = [r["grade"] for r in revisions if r["round"] == row["round"]]
        told = [float(grade["values"]["talks"]) for grade in grades if grade["values"]]
        assert row["n"] == len(grades)
        assert (row["talks"] and row["talks"]["value"]) == (pytest.approx(sum(told) / len(told)) if told else None)
        assert row["ungraded"]["value"] == pytest.approx(1 - len(told) / len(grades))
    assert len(results["revisions"]) > 1
    assert results["revisions"][0]["talks"] is not None


def printed(value):
    return "-" if value is None else f"{100 * value:.1f}"


def test_the_printed_table_is_that_of_the_records(own):
    rates = recompute(own.run)
    table = own.done.stdout.split("main, answers: ")[1].split("\n\n")[0]
    for name, label in (("base", "Base"), ("sl-cai", "SL-CAI"), ("rl-cai", "RL-CAI")):
        expected = [
            printed(rates["main", name, group, rate])
            for group, rate in (*REPORTED, ("foes", "ungraded"), ("friends", "ungraded"))
        ]
        assert re.search(rf"^{label} +{' +'.join(map(re.escape, expected))}$", table, re.MULTILINE), table


def cells_of(page, heading):
    """Return the text of the cells of the first table after a heading, row by row."""
    table = re.search(r"<table.*?</table>", page[page.index(heading) :], re.DOTALL)
    assert table is not None
    rows = re.findall(r"<tr.*?</tr>", table[0], re.DOTALL)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[html.unescape(re.sub(r"<[^>]+>", " ", cell)).split() for cell in row] for row in cells]


def test_the_report_is_that_of_the_records(own):
    rates, page = recompute(own.run), (own.run / "report.html").read_text()
    assert "prompts of my own" in page
    rows = {" ".join(row[0]): row[1:] for row in cells_of(page, 'id="results"') if row}
    for name, label in (("base", "Base"), ("sl-cai", "SL-CAI"), ("rl-cai", "RL-CAI")):
        shown = [cell[0] for cell in rows[label]]
        expected = [
            printed(rates["main", name, group, rate])
            for group, rate in (*REPORTED, ("foes", "ungraded"), ("friends", "ungraded"))
        ]
        asked = [r for r in lines(own.run, "evaluation") if (r["evaluation"], r["model_name"]) == ("main", name)]
        cut = [r["group"] for r in asked if r["response"]["stop_reason"] == "length"]
        assert shown == [*expected, str(cut.count("foes")), str(cut.count("friends"))]


def test_intervals_hold_the_rates_and_are_those_of_the_values(own):
    results = json.loads((own.run / "results.json").read_text())
    grades = [r for r in lines(own.run, "evaluation") if (r["group"], r["model_name"]) == ("friends", "sl-cai")]
    told = [(float(r["grade"]["values"]["length"]), r["prompt"]["id"]) for r in grades if r["grade"]["values"]]
    rate = clustered_rate([value for value, _ in told], [prompt for _, prompt in told])
    found = results["models"]["sl-cai"]["friends"]["length"]
    assert found == {"value": rate.value, "low": rate.low, "high": rate.high}


def test_other_commands_read_the_folder(own):
    before = (own.run / "report.html").read_bytes()
    assert call_solon("report", own.run).returncode == 0
    assert (own.run / "report.html").read_bytes() == before
    record = next(record for record in lines(own.run, "evaluation") if record["grade"]["values"])
    told = call_solon("show", own.run, record["id"])
    assert told.returncode == 0, told.stderr
    assert "grade by wordy/1" in told.stdout
    assert record["grade"]["explanation"] in told.stdout
    assert f"call {record['response']['call']} (generate)" in told.stdout
    for model in ("base", "sl-cai", "rl-cai"):
        said = call_solon("chat", own.run, "--model", model, "--max-tokens", "20", stdin="How do I bake a cake?\n")
        assert said.returncode == 0, said.stderr
        assert said.stdout.strip()


def test_the_same_command_again_does_nothing_and_other_prompts_are_another_run(own, monkeypatch):
    monkeypatch.chdir(own.folder)
    again = call_solon(*own.words)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("done before") == 9
    path = own.folder / "task.yaml"
    text = path.read_text()
    path.write_text(text.replace("example: ", "example: Please, "))
    try:
        other = call_solon(*own.words)
    finally:
        path.write_text(text)
    assert other.returncode == 2
    assert "digest.task: file/1 " in other.stderr


def test_the_short_form_without_a_grader_keeps_answers_and_grades_none(tmp_path, tiny_world, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["--red-team", "a.txt", "--helpful", "b.csv", "--harmful", "c.json", "--benign", "d.jsonl"]
    forms = ["plain.txt", "prompts.csv", "texts.json", "messages.jsonl"]
    for seed, (name, form) in enumerate(zip(names[1::2], forms, strict=True)):
        write_prompts(tmp_path, form, make_texts(8, seed=200 + seed, words=6), name=Path(name).stem)
    words = ["run", *names, *options(f"models.assistant.source={tiny_world}")]
    done = call_solon(*words)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "own-prompts"
    records = lines(run, "evaluation")
    assert len(records) == 3 * 16
    assert {record["grade"]["ungraded"] for record in records} == {"no grader was given"}
    results = json.loads((run / "results.json").read_text())
    assert results["models"]["base"]["harmful"] == {
        "n": 8,
        "goals": 8,
        "ungraded": results["models"]["base"]["harmful"]["ungraded"],
        "cut": results["models"]["base"]["harmful"]["cut"],
    }
    assert results["models"]["base"]["harmful"]["ungraded"]["value"] == 1.0
    assert "main, answers: 8 to harmful (8 goals), 8 to benign (8 goals)" in done.stdout
    for words in (("report", run), ("show", run, records[0]["id"])):
        assert call_solon(*words).returncode == 0
    assert call_solon("chat", run, "--max-tokens", "20", stdin="Hello?\n").returncode == 0
    assert call_solon("chat", run, "--model", "base", "--max-tokens", "20", stdin="Hello?\n").returncode == 0


def test_killed_it_goes_on_and_ends_the_same(own, tmp_path, monkeypatch):
    monkeypatch.chdir(own.folder)
    words = [str(tmp_path / "again") if word == "run" and place else word for place, word in enumerate(own.words)]
    for setting in ("progress:comparisons:5", "progress:evaluation:9"):
        child = os.fork()
        if child == 0:
            try:
                os.environ["SOLON_FAILPOINT"] = setting
                call_solon(*words)
            finally:
                os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
    done = call_solon(*words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("done before") == 7
    for name in ("evaluation", "revision_grades", "prompts_evaluation", "sft_examples", "example"):
        found, expected = lines(tmp_path / "again", name), lines(own.run, name)
        assert [without_logprobs(row) for row in found] == [without_logprobs(row) for row in expected]


def without_logprobs(row):
    """Leave out what may round differently in another batch."""
    return json.loads(json.dumps(row), object_hook=lambda body: {k: v for k, v in body.items() if k != "logprobs"})


# ------------------------------------------------------------------------------------------------ bad input


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with two files of prompts, in which the command is given."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("train", "measure")):
        write_prompts(tmp_path, "plain.txt", make_texts(6, seed=seed), name=name)
    return tmp_path


def refuse(folder, *words):
    done = call_solon("run", *words)
    assert done.returncode == 2, done.stdout
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / "runs").exists()
    return done.stderr


def test_what_is_wrong_with_a_task_is_said_in_one_line_before_a_folder_is_made(files):
    train, measure = "train.txt", "measure.txt"
    assert "brings no model" in refuse(files, "--red-team", train, "--harmful", measure)
    assert "nothing.txt" in refuse(files, "--red-team", "nothing.txt", "--set", f"models.assistant.source={files}")
    assert "--red-team: cannot be given beside --task" in refuse(files, "--red-team", train, "--task", "t.yaml")
    assert "t.yaml: cannot be read" in refuse(files, "--task", "t.yaml")
    assert "give prompts to train on" in refuse(files, "--harmful", measure)
    named = ("--red-team", train, "--harmful", measure, "--set", f"models.assistant.source={files}")
    assert "grader nothing:Here" in refuse(files, *named, "--grader", "nothing:Here")
    assert "--preset smoke" in refuse(files, *named, "--preset", "smoke")
    assert "prompts.ppo.red_team=7" in refuse(files, *named, "--set", "prompts.ppo.red_team=7")


def test_a_leak_is_named_before_a_folder_is_made(files):
    words = make_texts(6, seed=1)[2].split()
    with (files / "train.txt").open("a") as file:
        file.write("\n" + " ".join([*words[:4], "other", *words[5:]]))
    named = ("--red-team", "train.txt", "--harmful", "measure.txt", "--set", f"models.assistant.source={files}")
    told = refuse(files, *named)
    assert "1 training prompts say what an evaluation prompt says" in told
    assert "train.txt" in told
    assert "measure.txt" in told
    assert "nearly the same" in told
