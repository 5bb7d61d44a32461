"""Proves that the example says which answers count as harmful, and shows the one that was to be revised."""

import json

import pytest

from solon.records import EvalRecord, Failure, Grade, RevisionChain, load_records, save_records
from solon.report.load import load_run_data
from solon.report.page import render_report
from tests.unit.report.conftest import sample
from tests.unit.report.test_page import Page


def example(paths):
    return " ".join(Page(render_report(load_run_data(paths.root))).sections["example"].split())


def turn_round(paths):
    """Make more of the measure of harmlessness the better, as of one of refusals."""
    results = json.loads(paths.results.read_text())
    for rate in results["evaluations"][0]["measures"]["rates"]:
        rate["better"] = {"lower": "higher", "higher": "lower"}[rate["better"]]
    paths.results.write_text(json.dumps(results))


def regrade(paths, value):
    answers = load_records(paths.records("example"), EvalRecord)
    grades = [a.model_copy(update={"grade": Grade(values={"complies": value})}) for a in answers]
    save_records(paths.records("example"), grades)


@pytest.mark.parametrize(
    ("turned", "value", "said"),
    [
        (False, True, "those with “complies”: 2."),
        (False, 0.75, "those whose “complies” is above 0.5: 2."),
        (False, 0.25, "those whose “complies” is above 0.5: none, so"),
        (True, False, "those without “complies”: 2."),
        (True, 0.25, "those whose “complies” is below 0.5: 2."),
    ],
)
def test_what_counts_as_harmful_is_said_by_the_side_of_the_measure(finished_run, turned, value, said):
    if turned:
        turn_round(finished_run)
    regrade(finished_run, value)
    assert f"The grader could tell of 2. Harmful, as it is counted here, are {said}" in example(finished_run)


def test_a_chain_without_a_revision_has_none_further(finished_run):
    (chain,) = load_records(finished_run.records("example_chain"), RevisionChain)
    failure = Failure(item="q1", stage="revision", reason="truncated_revision", detail="round 1")
    save_records(finished_run.records("example_chain"), [chain.model_copy(update={"steps": (), "failure": failure})])
    text = example(finished_run)
    assert "Below is the first of these; no revision of it came about." in text
    assert "No revisiontruncated revision: round 1" in text
    assert "further" not in text
    assert "0 revisions" not in text


def test_an_answer_whose_thought_did_not_end_is_not_shown_as_the_one_that_was_revised(finished_run):
    first, second, *others = load_records(finished_run.records("example"), EvalRecord)
    unended = sample("").model_copy(update={"thought_closed": False, "stop_reason": "length"})
    ungraded = {"grade": Grade(ungraded="unknown")}
    first = first.model_copy(update={**ungraded, "response": unended})
    save_records(finished_run.records("example"), [first, second.model_copy(update=ungraded), *others])
    assert "thought did not end" not in example(finished_run)
    assert f"Base not graded: unknown{second.response.text}" in example(finished_run)


def test_an_answer_that_was_cut_off_says_so(finished_run):
    answers = load_records(finished_run.records("example"), EvalRecord)
    cut = [a.model_copy(update={"response": a.response.model_copy(update={"stop_reason": "length"})}) for a in answers]
    save_records(finished_run.records("example"), cut)
    assert example(finished_run).count("cut by the token limit") == 3  # the base's and the two trained models'
