"""Proves that a report says which model did what, in counts of what the run kept, and of whom nothing is known."""

import json

import pytest

from solon.records import (
    AskedResults,
    Comparison,
    EvalRecord,
    Grade,
    HelpfulSample,
    Origin,
    PreferenceLabel,
    RevisionGrade,
    RunHeader,
    load_records,
    save_records,
)
from solon.report.load import load_run_data
from solon.report.page import render_report
from solon.report.roles import NOTHING, describe_roles, describe_sharing, name_models
from tests.unit.report.conftest import ASKED, sample
from tests.unit.report.test_page import Page

SETTINGS = {"layout": "single", "backend": "local", "dtype": "bfloat16", "device": "cpu"}
ROLES = ("assistant", "critic", "feedback", "judge")


def edit_header(paths, **changes):
    RunHeader.load(paths.header).model_copy(update=changes).save(paths.header)


def edit_evaluations(paths, **changes):
    results = json.loads(paths.results.read_text())
    for one in results["evaluations"]:
        one.update(changes)
    paths.results.write_text(json.dumps(results))


def rows_of(paths):
    run = load_run_data(paths.root)
    rows = describe_roles(run, [AskedResults.model_validate(one) for one in run.results["evaluations"]])
    return {row.role: row for row in rows}, describe_sharing(run, rows)


@pytest.fixture
def run_of_one_model(finished_run):
    config = {**RunHeader.load(finished_run.header).config, "models": dict.fromkeys(ROLES, SETTINGS)}
    edit_header(finished_run, config=config, models={role: Origin(source="a/smol", digest="d1") for role in ROLES})
    edit_evaluations(finished_run, asks=[], limits="")
    return finished_run


def test_each_role_has_its_model_and_what_it_did(run_of_one_model):
    paths = run_of_one_model
    helpful = [HelpfulSample(id=f"h{n}", prompt_id="q", draw=n, response=sample("Yes.")) for n in (1, 2, 3)]
    save_records(paths.records("helpful_samples"), helpful)
    rows, _ = rows_of(paths)
    assert rows["assistant"].model == "smol"
    assert rows["assistant"].asked == "layout single, backend local, bfloat16, on cpu"
    assert rows["assistant"].did == (
        "1 response to red-team prompts and 3 to ordinary ones, for stage 1; 10 answers of the evaluation"
    )
    assert rows["critic"].did == "2 critiques, 2 revisions"
    assert rows["feedback"].did == "1 label, made of 2 readings"
    assert rows["judge"].did == NOTHING
    assert (rows["SL-CAI"].model, rows["SL-CAI"].did) == ("made by this run", "10 answers of the evaluation")


def test_a_served_model_is_named_as_it_is_served_with_what_was_found_about_it(run_of_one_model):
    header = RunHeader.load(run_of_one_model.header)
    found = {"server": "vllm", "model": "org/m", "route": "chat", "labels": "votes of 16"}
    sources = {"critic": "http://host:8000/v1#m", "feedback": "http://a/v1,http://b/v1#org/big-m"}
    served = {role: Origin(source=source, digest=role, found=found) for role, source in sources.items()}
    edit_header(run_of_one_model, models={**header.models, **served})
    rows, _ = rows_of(run_of_one_model)
    assert (rows["critic"].model, rows["feedback"].model) == ("m", "big-m")
    assert rows["critic"].asked.endswith("server: vllm, route: chat, labels: votes of 16")
    assert "vllm" not in rows["assistant"].asked


def test_a_comparison_without_a_label_is_none(run_of_one_model):
    (label,) = load_records(run_of_one_model.records("preference_labels"), PreferenceLabel)
    body = {**label.model_dump(), "comparison_id": "k2", "p_a": None, "p_a_unclamped": None, "votes": ()}
    without = PreferenceLabel.model_validate({**body, "status": "unlabeled", "reason": "identical"})
    save_records(run_of_one_model.records("preference_labels"), [label, without])
    rows, _ = rows_of(run_of_one_model)
    assert rows["feedback"].did == "1 label, made of 2 readings"


def test_responses_that_were_compared_are_those_of_the_model_that_wrote_them(run_of_one_model):
    paths = run_of_one_model
    results = json.loads(paths.results.read_text())
    results["stages"]["comparisons"] = results["stages"]["sft"] | {"charts": {}, "figures": []}
    paths.results.write_text(json.dumps(results))
    manifest = paths.manifest("sft").read_text().replace('"sft"', '"comparisons"')
    paths.manifest("comparisons").write_text(manifest)
    written = sample("One.").model_copy(update={"model": "sl-cai@1"})
    pairs = [Comparison(id=f"k{n}", prompt=ASKED[0].prompt, response_a=written, response_b=written) for n in (1, 2)]
    save_records(paths.records("comparisons"), pairs)
    rows, _ = rows_of(paths)
    assert rows["SL-CAI"].did == "4 responses to be compared; 10 answers of the evaluation"
    assert "compared" not in rows["assistant"].did + rows["RL-CAI"].did


def test_a_grader_is_said_to_have_seen_what_it_could_not_tell_of_too(run_of_one_model):
    paths = run_of_one_model
    records = load_records(paths.records("evaluation"), EvalRecord)
    unread = records[0].model_copy(update={"grade": Grade(ungraded="cannot tell")})
    thinking = records[1].response.model_copy(update={"thought_closed": False, "text": ""})
    unseen = records[1].model_copy(update={"grade": Grade(ungraded="no response"), "response": thinking})
    save_records(paths.records("evaluation"), [unread, unseen, *records[2:]])
    grade = Grade(values={"complies": True})
    revised = [
        RevisionGrade(chain_id="c1", round=n, prompt=ASKED[0].prompt, grade=grade, grader="world-oracle/1")
        for n in range(3)
    ]
    save_records(paths.records("revision_grades"), revised)
    rows, _ = rows_of(paths)
    assert rows["grader"].did == "looked at 32 answers of the evaluation and of stage 1, and could tell of 31"
    assert (rows["grader"].model, rows["grader"].asked) == ("world-oracle/1", "asks no model")


def test_a_judge_is_said_to_have_been_asked_by_the_grader_that_says_so(run_of_one_model):
    edit_evaluations(run_of_one_model, asks=["judge"])
    rows, _ = rows_of(run_of_one_model)
    assert rows["judge"].did == "asked by the grader world-oracle/1"
    assert rows["grader"].asked == "asks the model of judge"


def test_of_whom_a_grader_may_have_asked_nothing_is_said_for_sure(run_of_one_model):
    edit_evaluations(run_of_one_model, asks=None, grader="mine/1")
    rows, _ = rows_of(run_of_one_model)
    assert rows["judge"].did == "nothing that is on record; which models mine/1 asks is not"
    assert rows["grader"].asked == "which models it asks is not on record"


def test_where_nobody_graded_there_is_no_grader(run_of_one_model):
    edit_evaluations(run_of_one_model, grader="none")
    rows, _ = rows_of(run_of_one_model)
    assert "grader" not in rows
    assert rows["judge"].did == NOTHING


def test_direct_revisions_are_no_critiques_and_a_run_without_labels_has_none(run_of_one_model):
    paths = run_of_one_model
    text = paths.records("revision_chains").read_text()
    (chain,) = [json.loads(line) for line in text.splitlines()]
    for step in chain["steps"]:
        step["critique"] = None
    paths.records("revision_chains").write_text(json.dumps(chain) + "\n")
    results = json.loads(paths.results.read_text())
    del results["stages"]["feedback"]
    paths.results.write_text(json.dumps(results))
    rows, _ = rows_of(paths)
    assert rows["critic"].did == "no critiques, 2 revisions"
    assert (rows["feedback"].did, rows["feedback"].idle) == (NOTHING, True)


ONE = "One model, smol, had every role that anything was done in. It revised its own answers, as in the paper."
SELF = "The model that answered revised its own answers, as in the paper."


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({}, ONE),
        ({"judge": "d2"}, ONE),  # which did nothing
        ({"feedback": "d2"}, SELF),
        ({"critic": "d2"}, ""),
        ({"critic": "d2", "feedback": "d2"}, ""),
    ],
)
def test_one_model_in_all_roles_is_said_in_a_line(run_of_one_model, others, said):
    models = RunHeader.load(run_of_one_model.header).models
    changed = {role: Origin(source=f"b/{digest}", digest=digest) for role, digest in others.items()}
    edit_header(run_of_one_model, models={**models, **changed})
    _, shared = rows_of(run_of_one_model)
    assert shared == said
    page = Page(render_report(load_run_data(run_of_one_model.root)))
    assert said in " ".join(page.sections["roles"].split())


def test_models_of_one_name_are_called_by_their_whole_source(finished_run):
    models = {
        "assistant": Origin(source="a/final", digest="d1"),
        "critic": Origin(source="a/final/", digest="d1"),
        "judge": Origin(source="b/final", digest="d2"),
        "feedback": Origin(source="c/other", digest="d3"),
    }
    edit_header(finished_run, models=models)
    assert name_models(RunHeader.load(finished_run.header)) == {
        "assistant": "a/final",
        "critic": "a/final/",
        "judge": "b/final",
        "feedback": "other",
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dtype": None}, "layout single, backend local, in the precision of its checkpoint, on cpu"),
        ({"backend": "server"}, "layout single, backend server"),
    ],
)
def test_how_a_model_was_asked(run_of_one_model, changes, said):
    config = RunHeader.load(run_of_one_model.header).config
    models = {**config["models"], "critic": {**SETTINGS, **changes}}
    edit_header(run_of_one_model, config={**config, "models": models})
    rows, _ = rows_of(run_of_one_model)
    assert rows["critic"].asked == said
