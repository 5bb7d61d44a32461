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
    "records/evaluation.jsonl": [{"id": "e0", "grade": {"attributes": {"refused": True}}, "grader": "oracle/1"}],
    "records/failures_revision.jsonl": [],
    "metrics/sft.jsonl": [{"step": 1, "sft/loss": 0.75}, {"step": 2, "sft/loss": 0.5}],
}
RESULTS: Row = {
    "schema": 1,
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


def differing(old: Path, new: Path, within: float = 0.0) -> dict[str, list[same_run.Difference]]:
    reports = same_run.compare_runs(old, new, losses_within=within)
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
        ("records/evaluation.jsonl", lambda r: r[0]["grade"]["attributes"].update(refused=1), "id e0",
         "grade.attributes.refused"),
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


@pytest.mark.parametrize("within", ["-1", "nan"])
def test_a_tolerance_is_a_number_from_zero_on(old: Path, new: Path, within: str) -> None:
    with pytest.raises(SystemExit) as caught:
        same_run.main([str(old), str(new), "--losses-within", within])
    assert caught.value.code == 2
