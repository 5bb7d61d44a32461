"""Runs whose results are of schema 2 in the form of today, so that a run of before can be compared with one of now.

What an evaluation asked lay in a file for each group, split by split; a grade had attributes and a category; results
had a block for each split. No prompt said its category. Everything that such a run says is kept; what it could not say
yet, `NOT_YET` names.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

Row = dict[str, Any]
Files = Mapping[str, list[Row]]
"""Name of a file, from the run folder, to its rows; `results.json` is one row."""

NOT_YET: Final = re.compile(r"(.*\.)?category|task|evaluations|grader_source|models\..*twins\.ungraded")
"""Fields that such a run has not: a prompt's category; in results its task and evaluations, and a grader's source."""

NEW_FILES: Final = frozenset({"records/revision_grades.jsonl"})
"""Files that such a run has not: these grades stood in its results only, as shares."""

_RESULTS = "results.json"
_GROUPS = ("harmful", "benign", "twins")


def is_older(files: Files) -> bool:
    """Return whether a run is of before tasks had evaluations."""
    return files[_RESULTS][0].get("schema") == 2


def bring_up_to_date(files: Files) -> Files:
    """Return the files of a run of before tasks had evaluations as a run of today would have written them."""
    results = files[_RESULTS][0]
    models = results.get("models", {})
    splits = list(next(iter(models.values()), {}).get("by_split", {}))
    asked = {f"records/prompts_{group}.jsonl": group for group in _GROUPS}
    brought = {name: [_forget_category(row) for row in rows] for name, rows in files.items() if name not in asked}
    if prompts := [
        {"evaluation": prompt["split"], "group": group, "prompt": _forget_category(prompt)}
        for name, group in asked.items()
        for prompt in files.get(name, ())
    ]:
        brought["records/prompts_evaluation.jsonl"] = sorted(prompts, key=lambda row: splits.index(row["evaluation"]))
    if answers := files.get("records/evaluation.jsonl"):
        order = list(models), splits
        graded = [_evaluated(row, row["prompt"]["split"]) for row in answers]
        brought["records/evaluation.jsonl"] = sorted(
            graded, key=lambda row: (order[0].index(row["model_name"]), order[1].index(row["evaluation"]))
        )
    if example := files.get("records/example.jsonl"):
        brought["records/example.jsonl"] = [_evaluated(row, splits[0]) for row in example]
    brought[_RESULTS] = [_rename({key: value for key, value in results.items() if key != "grader"})]
    return brought


def _evaluated(row: Row, evaluation: str) -> Row:
    """Return a graded answer; sorting such rows keeps the order of groups and prompts within each evaluation."""
    old = row["grade"]
    grade = {
        "values": old["attributes"],
        "explanation": "",
        "calls": [],
        "ungraded": old["reason"] if old["unparsed"] else "",
    }
    prompt = {**row["prompt"], "category": old["category"] or None}
    return {**row, "evaluation": evaluation, "prompt": prompt, "grade": grade}


def _forget_category(value: Any) -> Any:
    """Return a row without the categories of its prompts, which were never said."""
    if isinstance(value, list):
        return [_forget_category(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _forget_category(inner) for key, inner in value.items() if (key, inner) != ("category", None)}


def _rename(value: Any) -> Any:
    """Return a part of the results under the names of today."""
    if isinstance(value, list):
        return [_rename(item) for item in value]
    if not isinstance(value, dict):
        return value
    names = {"by_split": "evaluations", "attributes": "values", "unparsed": "ungraded"}
    return {names.get(key, key): _rename(inner) for key, inner in value.items()}
