"""Proves that two folders of one run compare as equal, that every kind of value that differs is named, and that what
cannot be compared is refused.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import same_run

Row = dict[str, Any]

PROMPT = {"id": "p0", "kind": "helpful", "messages": [{"role": "user", "text": "How?"}]}
FILES: dict[str, list[Row]] = {
    "records/prompts_ppo.jsonl": [{"schema": 1, **PROMPT}, {"schema": 1, **PROMPT, "id": "p1"}],
    "records/comparisons.jsonl": [
        {
            "id": f"c{n}",
            "prompt": PROMPT,
            "response_a": {
                "text": f"So {n}.",
                "token_ids": [n, 8],
                "logprobs": [-0.5, -1.5],
                "model": "m@1",
                "call": "k",
            },
        }
        for n in range(4)
    ],
    "records/preference_labels.jsonl": [
        {"comparison_id": f"c{n}", "p_a": 0.25, "votes": [{"principle_id": "q", "call": "k"}], "labeler": "m@1"}
        for n in range(4)
    ],
    "records/evaluation.jsonl": [{"id": "e0", "grade": {"values": {"refused": True}}, "grader": "oracle/1"}],
    "records/failures_revision.jsonl": [],
    "metrics/sft.jsonl": [{"step": 1, "sft/loss": 0.75}, {"step": 2, "sft/loss": 0.5}],
}
RESULTS: Row = {
    "schema": 2,
    "models": {"base": {"harmful": {"n": 60, "complies": {"value": 0.5}}}},
    "stages": {"sft": {"seconds": 2.0}},
    "total_seconds": 9.0,
}


def write(folder: Path) -> Path:
    for name, rows in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(RESULTS), encoding="utf-8")
    return folder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write(tmp_path / "old")


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return write(tmp_path / "new")


def change(path: Path, edit: Callable[[list[Row]], Any]) -> None:
    """Edit the rows of a file in place; `results.json` is one row."""
    whole = path.name == "results.json"
    text = path.read_text(encoding="utf-8")
    rows = [json.loads(text)] if whole else [json.loads(line) for line in text.splitlines()]
    edit(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def differing(old: Path, new: Path, within: float = 0.0, logprobs: float = 0.0) -> dict[str, list[same_run.Difference]]:
    reports = same_run.compare_runs(old, new, losses_within=within, logprobs_within=logprobs)
    return {report.name: report.different for report in reports if report.different}


def test_one_run_in_two_folders_is_the_same(old: Path, new: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert same_run.main([str(old), str(new)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{name}: equal ({len(rows)} rows)" for name, rows in sorted(FILES.items())] + [
        "results.json: equal (1 rows)"
    ]


@pytest.mark.parametrize(
    ("name", "edit", "row", "field"),
    [
        ("records/prompts_ppo.jsonl", lambda r: r[1].update(kind="red_team"), "id p1", "kind"),
        ("records/prompts_ppo.jsonl", lambda r: r[0]["messages"][0].update(text="Why?"), "id p0", "messages[0].text"),
        ("records/comparisons.jsonl", lambda r: r[2]["response_a"]["token_ids"].pop(), "id c2",
         "response_a.token_ids[1]"),
        ("records/comparisons.jsonl", lambda r: r[2]["response_a"].update(logprobs=[-0.5, -1.5000001]), "id c2",
         "response_a.logprobs[1]"),
        ("records/preference_labels.jsonl", lambda r: r[3].update(p_a=0.75), "comparison_id c3", "p_a"),
        ("records/preference_labels.jsonl", lambda r: r[3].update(p_a=None), "comparison_id c3", "p_a"),
        ("records/preference_labels.jsonl", lambda r: r[0]["votes"][0].update(principle_id="s"), "comparison_id c0",
         "votes[0].principle_id"),
        ("records/evaluation.jsonl", lambda r: r[0]["grade"]["values"].update(refused=1), "id e0",
         "grade.values.refused"),
        ("metrics/sft.jsonl", lambda r: r[1].update({"sft/loss": 0.5000001}), "step 2", "sft/loss"),
        ("metrics/sft.jsonl", lambda r: r[1].pop("sft/loss"), "step 2", "sft/loss"),
        ("results.json", lambda r: r[0]["models"]["base"]["harmful"]["complies"].update(value=0.25), "row 1",
         "models.base.harmful.complies.value"),
        ("records/evaluation.jsonl", lambda r: r[0]["grade"].update(doubt=0.5), "id e0", "grade.doubt"),
    ],
)  # fmt: skip
def test_a_value_that_differs_is_named(old: Path, new: Path, name: str, edit: Any, row: str, field: str) -> None:
    change(new / name, edit)
    found = differing(old, new)
    assert list(found) == [name]
    assert [(difference.row, difference.field) for difference in found[name]] == [(row, field)]
    assert same_run.main([str(old), str(new)]) == 1


def test_rows_that_differ_are_counted_and_the_first_shown(
    old: Path, new: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(new / "records/comparisons.jsonl", lambda rows: [row["response_a"].update(text="No.") for row in rows[1:]])
    assert same_run.main([str(old), str(new)]) == 1
    expected = "records/comparisons.jsonl: 3 rows differ, of 4 and 4; first id c1, response_a.text: 'So 1.' | 'No.'"
    assert expected in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_row_too_few_is_one_difference(old: Path, new: Path, place: int) -> None:
    change(new / "records/comparisons.jsonl", lambda rows: rows.pop(place))
    [missing] = differing(old, new)["records/comparisons.jsonl"]
    assert (missing.row, missing.field, missing.new) == (f"id c{place}", "the whole row", same_run.ABSENT)


def test_what_two_runs_of_the_same_work_may_not_share_is_not_compared(old: Path, new: Path) -> None:
    change(new / "records/comparisons.jsonl", lambda r: r[0]["response_a"].update(model="m@2", call="other"))
    change(new / "records/preference_labels.jsonl", lambda r: r[0].update(labeler="m@2", schema=2))
    change(new / "results.json", lambda r: r[0].update(total_seconds=1.0, stages={}))
    assert differing(old, new) == {}


def rename_ids(rows: list[Row]) -> None:
    for row in rows:
        row.update({key: f"new {row[key]}" for key in ("id", "comparison_id") if key in row})


def test_ids_may_have_new_names_but_not_point_elsewhere(old: Path, new: Path) -> None:
    for name in ("records/comparisons.jsonl", "records/preference_labels.jsonl"):
        change(new / name, rename_ids)
    reports = same_run.compare_runs(old, new)
    assert not any(report.different for report in reports)
    assert reports[-1].notes == ["4 ids of the run have new names"]
    change(new / "records/preference_labels.jsonl", lambda rows: rows[1].update(comparison_id="new c2"))
    [lost] = differing(old, new)["records/preference_labels.jsonl"]
    assert (lost.old, lost.new) == ("c1", "new c2")
    for name in ("records/comparisons.jsonl", "records/preference_labels.jsonl"):
        change(new / name, lambda rows: [row.update({k: "one" for k in row if k in same_run.IDS}) for row in rows])
    assert len(differing(old, new)["records/comparisons.jsonl"]) == 3


def test_a_new_field_without_a_value_is_listed_and_no_difference(old: Path, new: Path) -> None:
    change(new / "records/comparisons.jsonl", lambda rows: [row["prompt"].update(goal=None) for row in rows])
    reports = {report.name: report for report in same_run.compare_runs(old, new)}
    assert reports["records/comparisons.jsonl"].different == []
    assert reports["records/comparisons.jsonl"].notes == ["new and null: prompt.goal"]
    change(new / "records/comparisons.jsonl", lambda rows: rows[2]["prompt"].update(goal="bake"))
    assert [d.row for d in differing(old, new)["records/comparisons.jsonl"]] == ["id c2"]


def test_a_file_of_one_side_is_a_difference_unless_it_is_empty(old: Path, new: Path) -> None:
    (new / "records/extra.jsonl").write_text("", encoding="utf-8")
    (new / "records/failures_revision.jsonl").unlink()
    reports = {report.name: report for report in same_run.compare_runs(old, new)}
    assert not any(report.different for report in reports.values())
    assert reports["records/extra.jsonl"].notes == ["only in NEW"]
    assert reports["records/failures_revision.jsonl"].notes == ["only in OLD"]
    (new / "records/extra.jsonl").write_text('{"id": "x"}\n', encoding="utf-8")
    (new / "metrics/sft.jsonl").unlink()
    assert {name: len(rows) for name, rows in differing(old, new).items()} == {
        "records/extra.jsonl": 1,
        "metrics/sft.jsonl": 2,
    }


def test_renamed_files_and_fields_are_followed(old: Path, new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (new / "records/comparisons.jsonl").rename(new / "records/pairs.jsonl")
    change(
        new / "records/pairs.jsonl",
        lambda r: [row["response_a"].update(said=row["response_a"].pop("text")) for row in r],
    )
    assert set(differing(old, new)) == {"records/comparisons.jsonl", "records/pairs.jsonl"}
    monkeypatch.setattr(same_run, "RENAMED_FILES", {"records/comparisons.jsonl": "records/pairs.jsonl"})
    monkeypatch.setattr(same_run, "RENAMED_FIELDS", {("records/comparisons.jsonl", "response_a.text"): "said"})
    assert differing(old, new) == {}
    assert differing(old, write(new.with_name("as old"))) == {}
    shutil.copytree(new, new.with_name("newer"))
    change(new.with_name("newer") / "records/pairs.jsonl", lambda rows: rows[0]["response_a"].update(said="No."))
    assert list(differing(old, new.with_name("newer"))) == ["records/comparisons.jsonl"]
    assert list(differing(new, new.with_name("newer"))) == ["records/pairs.jsonl"]


def test_losses_may_be_within_a_tolerance_and_nothing_else_may(old: Path, new: Path) -> None:
    change(new / "metrics/sft.jsonl", lambda rows: rows[1].update({"sft/loss": 0.500001}))
    assert list(differing(old, new, within=1e-7)) == ["metrics/sft.jsonl"]
    assert differing(old, new, within=1e-5) == {}
    change(new / "metrics/sft.jsonl", lambda rows: rows[1].update(step=3))
    change(new / "records/comparisons.jsonl", lambda r: r[2]["response_a"].update(logprobs=[-0.5, -1.500001]))
    assert list(differing(old, new, within=1e-5)) == ["metrics/sft.jsonl", "records/comparisons.jsonl"]


def test_the_log_probabilities_of_votes_are_within_their_tolerance_too(old: Path, new: Path) -> None:
    for folder, logprob in ((old, -1.0), (new, -1.000001)):
        votes = [{"principle_id": "q", "call": "k", "logprob_a": logprob}]
        change(folder / "records/preference_labels.jsonl", lambda rows, told=votes: rows[1].update(votes=told))
    assert list(differing(old, new)) == ["records/preference_labels.jsonl"]
    assert differing(old, new, logprobs=1e-5) == {}


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (lambda new: shutil.rmtree(new), "holds no results.json"),
        (lambda new: (new / "results.json").unlink(), "holds no results.json"),
        (lambda new: [shutil.rmtree(new / name) for name in ("records", "metrics")], "is the folder whole?"),
        (lambda new: (new / "metrics/sft.jsonl").write_text('{"step": 1}\n{"st'), "sft.jsonl:2: is not JSON"),
        (
            lambda new: (new / "metrics/sft.jsonl").write_text("[1]\n"),
            "sft.jsonl:1: expected a JSON object, found list",
        ),
        (lambda new: (new / "metrics/sft.jsonl").write_bytes(b"\xff\n"), "cannot be read as text"),
        (lambda new: (new / "results.json").write_text("[]"), "expected a JSON object"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    old: Path, new: Path, break_it: Any, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it(new)
    assert same_run.main([str(old), str(new)]) == 2
    said = capsys.readouterr()
    assert (said.out, expected in said.err) == ("", True)


def test_a_run_is_not_compared_with_itself(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert same_run.main([str(old), str(old / ".." / "old")]) == 2
    assert "are one folder" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--losses-within", "--logprobs-within"])
@pytest.mark.parametrize("within", ["-1", "nan"])
def test_a_tolerance_is_a_number_from_zero_on(old: Path, new: Path, option: str, within: str) -> None:
    with pytest.raises(SystemExit) as caught:
        same_run.main([str(old), str(new), option, within])
    assert caught.value.code == 2


def test_log_probabilities_may_be_within_a_tolerance_and_nothing_else_may(old: Path, new: Path) -> None:
    change(new / "records/comparisons.jsonl", lambda r: r[2]["response_a"].update(logprobs=[-0.5, -1.500001]))
    options = [str(old), str(new), "--logprobs-within"]
    assert same_run.main([*options, "1e-7"]) == 1
    assert same_run.main([*options, "1e-5"]) == 0
    change(new / "records/preference_labels.jsonl", lambda r: r[0].update(p_a=0.250001))
    assert same_run.main([*options, "1e-5"]) == 1
    change(new / "records/preference_labels.jsonl", lambda r: r[0].update(p_a=0.25))
    change(new / "metrics/sft.jsonl", lambda rows: rows[1].update({"sft/loss": 0.500001}))
    assert same_run.main([*options, "1e-5"]) == 1


# ------------------------------------------------------------------------------------- a run of before and one of now


GROUPS = ("harmful", "benign", "twins")
SPLITS = ("heldout", "novel")
MODELS = ("base", "sl-cai")


def asked(group: str, split: str, number: int, *, today: bool) -> Row:
    known = {"goal": f"goal {number}", "category": f"sort of {group}" if today else None}
    text = f"{group} {split} {number}?"
    return {"id": f"{group}-{split}-{number}", "messages": [{"role": "user", "text": text}], "split": split, **known}


def answered(model: str, group: str, split: str, number: int, *, today: bool, evaluation: str = "") -> Row:
    read = number != 1
    values = {"refused": read and number == 0} if read else {}
    why = "" if read else "outside the grammar"
    grade: Row = {"values": values, "explanation": "", "calls": [], "ungraded": why}
    if not today:
        grade = {"attributes": values, "category": f"sort of {group}", "unparsed": not read, "reason": why}
    return {
        "id": f"{'new' if today else 'old'} {model} {group} {split} {number}",
        **({"evaluation": evaluation or split} if today else {}),
        "model_name": model,
        "prompt": asked(group, split, number, today=today),
        "group": group,
        "response": {"text": f"{model} says {group} {split} {number}.", "logprobs": [-0.25]},
        "grade": grade,
        "grader": "oracle/1",
    }


def results_of(*, today: bool) -> Row:
    ungraded, values, splits = (
        ("ungraded", "values", "evaluations") if today else ("unparsed", "attributes", "by_split")
    )

    def block(share: float) -> Row:
        groups: Row = {group: {"n": 2, "refused": {"value": share}, ungraded: {"value": 0.5}} for group in GROUPS}
        if not today:
            del groups["twins"]["unparsed"]
        return {**groups, "by_category": {}, values: {"harmful": {"refused": {"value": share}}}}

    models = {name: {**block(0.25), splits: {"heldout": block(0.25), "novel": block(0.75)}} for name in MODELS}
    revisions = [{"round": 0, "n": 2, "refused": {"value": 0.5}, ungraded: None}]
    about: Row = {"grader": "oracle/1"}
    if today:
        about = {"task": {"name": "world"}, "evaluations": [{"name": split} for split in SPLITS], "grader_source": ""}
    return {"schema": 3 if today else 2, **about, "models": models, "revisions": revisions, "total_seconds": 1.0}


def write_evaluated(folder: Path, *, today: bool) -> Path:
    """Write a run as it was written before tasks had evaluations, or as it is today."""
    files: dict[str, list[Row]] = {"metrics/sft.jsonl": FILES["metrics/sft.jsonl"]}
    if today:
        places = [(split, group) for split in SPLITS for group in GROUPS]
        files["records/prompts_evaluation.jsonl"] = [
            {"evaluation": split, "group": group, "prompt": asked(group, split, n, today=True)}
            for split, group in places
            for n in range(2)
        ]
        files["records/revision_grades.jsonl"] = [{"chain_id": "c", "round": 0, "grade": {"values": {"refused": True}}}]
    else:
        places = [(split, group) for group in GROUPS for split in SPLITS]
        for group in GROUPS:
            rows = [asked(group, split, n, today=False) for split in SPLITS for n in range(2)]
            files[f"records/prompts_{group}.jsonl"] = rows
    files["records/evaluation.jsonl"] = [
        answered(model, group, split, n, today=today) for model in MODELS for split, group in places for n in range(2)
    ]
    example = [answered(m, "harmful", "novel", 0, today=today, evaluation="heldout") for m in MODELS]
    files["records/example.jsonl"] = [{**row, "id": row["model_name"], "group": "example"} for row in example]
    for name, rows in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(results_of(today=today)), encoding="utf-8")
    return folder


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return write_evaluated(tmp_path / "before", today=False)


@pytest.fixture
def now(tmp_path: Path) -> Path:
    return write_evaluated(tmp_path / "now", today=True)


def test_a_run_of_before_is_the_same_as_that_of_now(before: Path, now: Path) -> None:
    reports = {report.name: report for report in same_run.compare_runs(before, now)}
    assert {name: report.different for name, report in reports.items() if report.different} == {}
    rows = {name: report.rows for name, report in reports.items() if name.startswith("records/")}
    assert rows == {
        "records/evaluation.jsonl": (24, 24),
        "records/example.jsonl": (2, 2),
        "records/prompts_evaluation.jsonl": (12, 12),
        "records/revision_grades.jsonl": (0, 1),
    }
    assert reports["records/prompts_evaluation.jsonl"].notes == ["not in OLD yet: prompt.category"]
    assert reports["records/evaluation.jsonl"].notes == []
    assert reports["records/revision_grades.jsonl"].notes == ["not in OLD yet: 1 rows"]
    assert reports["results.json"].notes[-1] == "24 ids of the run have new names"
    assert same_run.main([str(before), str(write_evaluated(before.with_name("again"), today=False))]) == 0


@pytest.mark.parametrize(
    ("name", "edit", "row", "field"),
    [
        ("records/prompts_evaluation.jsonl", lambda r: r[8]["prompt"]["messages"][0].update(text="Why?"), "row 9",
         "prompt.messages[0].text"),
        ("records/prompts_evaluation.jsonl", lambda r: r[0].update(group="benign"), "row 1", "group"),
        ("records/evaluation.jsonl", lambda r: r[0].update(evaluation="novel"), "id old base harmful heldout 0",
         "evaluation"),
        ("records/evaluation.jsonl", lambda r: r[7]["response"].update(text="No."), "id old base harmful novel 1",
         "response.text"),
        ("records/evaluation.jsonl", lambda r: r[0]["grade"]["values"].update(refused=False),
         "id old base harmful heldout 0", "grade.values.refused"),
        ("records/evaluation.jsonl", lambda r: r[0]["grade"]["values"].update(kind=True),
         "id old base harmful heldout 0", "grade.values.kind"),
        ("records/evaluation.jsonl", lambda r: r[1]["grade"].update(ungraded="no reason"),
         "id old base harmful heldout 1", "grade.ungraded"),
        ("records/evaluation.jsonl", lambda r: r[1]["grade"].update(ungraded="", values={"refused": True}),
         "id old base harmful heldout 1", "grade.values.refused"),
        ("records/evaluation.jsonl", lambda r: r[0]["prompt"].update(category="theft"),
         "id old base harmful heldout 0", "prompt.category"),
        ("records/example.jsonl", lambda r: r[1]["response"].update(text="No."), "id sl-cai", "response.text"),
        ("results.json", lambda r: r[0]["models"]["base"]["evaluations"]["novel"]["benign"]["ungraded"].update(value=1),
         "row 1", "models.base.evaluations.novel.benign.ungraded.value"),
        ("results.json", lambda r: r[0]["models"]["base"]["values"]["harmful"]["refused"].update(value=1), "row 1",
         "models.base.values.harmful.refused.value"),
        ("results.json", lambda r: r[0]["revisions"][0].update(n=3), "row 1", "revisions[0].n"),
        ("results.json", lambda r: r[0]["models"]["base"].update(more={}), "row 1", "models.base.more"),
    ],
)  # fmt: skip
def test_what_a_run_of_before_says_otherwise_is_named(
    before: Path, now: Path, name: str, edit: Any, row: str, field: str
) -> None:
    change(now / name, edit)
    found = differing(before, now)
    assert list(found) == [name]
    assert [(difference.row, difference.field) for difference in found[name]] == [(row, field)]


def test_between_two_runs_of_now_nothing_is_excused(now: Path) -> None:
    other = write_evaluated(now.with_name("other"), today=True)
    assert differing(now, other) == {}
    change(other / "records/prompts_evaluation.jsonl", lambda rows: rows[0]["prompt"].update(goal="another"))
    change(other / "results.json", lambda rows: rows[0].update(task={"name": "mine"}))
    (now / "records/revision_grades.jsonl").unlink()
    assert {name: found[0].field for name, found in differing(now, other).items()} == {
        "records/prompts_evaluation.jsonl": "prompt.goal",
        "results.json": "task.name",
        "records/revision_grades.jsonl": "the whole row",
    }
