"""Proves that the first lines of a report say of every kind of run what its labels and rates are, and no more."""

import json
from dataclasses import replace

import pytest

from solon.constitution import Constitution, RevisionExemplar
from solon.records import (
    Conversation,
    Origin,
    PointwiseVote,
    PreferenceLabel,
    RevisionChain,
    RunHeader,
    load_records,
    save_records,
)
from solon.report.load import load_run_data
from solon.report.opening import Facts, Reader, Writer, describe_meaning, describe_method
from solon.report.page import render_report
from tests.unit.report.test_page import Page

BASE = Writer("smol", base=True)
OTHER = Writer("big")
RULES = Reader("rules/1", limits="It reads English.")
WORLD = Reader("world-oracle/1", limits="It is exact within its grammar.")

STOPPED = Facts(
    labels=0,
    pointwise=False,
    feedback=BASE,
    revisions=201,
    critiques=0,
    critic=BASE,
    examples=6,
    chosen=True,
    graders=[RULES],
)
WHOLE = replace(STOPPED, labels=295, critiques=192, revisions=192, examples=0, chosen=False, graders=[WORLD])

NO_LABELS = "This run holds no preference labels."
BELOW = "what it cannot tell is said below them."


def sentence(facts, number):
    """One of the sentences about labels, revisions and rates."""
    return describe_meaning(facts).split(". ")[number].rstrip(".") + "."


def test_a_run_that_stopped_at_sl_cai():
    assert describe_meaning(STOPPED) == (
        f"{NO_LABELS} The 201 revisions were written by smol (the base model itself), without critiques and after up "
        f"to 6 worked examples. The rates are the readings of the grader rules/1; {BELOW}"
    )


def test_a_whole_run_on_the_reference_world():
    assert describe_meaning(WHOLE) == (
        "Each of the 295 preference labels is made of the probabilities that smol (the base model itself) gives to "
        "either of two answers as the better: it says what smol takes for better and not what is better, and no person "
        "has checked one. The 192 revisions were written by smol (the base model itself), without worked examples. "
        f"The rates are the readings of the grader world-oracle/1; {BELOW}"
    )


def test_labels_of_another_model_are_not_said_to_be_of_the_base():
    said = sentence(replace(WHOLE, feedback=OTHER), 0)
    assert "the probabilities that big gives to either" in said
    assert "it says what big takes for better" in said
    assert "base" not in said


def test_labels_by_answers_about_one_response_are_not_said_to_be_of_two():
    said = sentence(replace(WHOLE, pointwise=True), 0)
    assert "gives to Yes and No, asked about each of two answers: it says" in said
    assert "as the better" not in said


def test_one_label_is_not_called_several():
    said = sentence(replace(WHOLE, labels=1), 0)
    assert said.startswith("The preference label is made of")
    assert said.endswith("no person has checked it.")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"critiques": 3}, "after up to 6 worked examples."),
        ({"chosen": False}, "without critiques and after 6 worked examples."),
        ({"chosen": False, "examples": 1}, "without critiques and after 1 worked example."),
        ({"examples": 0}, "without critiques and without worked examples."),
    ],
)
def test_how_revisions_were_written(change, said):
    assert sentence(replace(STOPPED, **change), 1) == (
        f"The 201 revisions were written by smol (the base model itself), {said}"
    )


def test_revisions_of_another_model_and_one_alone_and_none():
    assert "was written by big, without" in sentence(replace(STOPPED, critic=OTHER, revisions=1), 1)
    assert "revision" not in describe_meaning(replace(STOPPED, revisions=0))


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (OTHER, "which asks big;"),
        (replace(OTHER, labeler=True), "which asks big (which gave the labels);"),
        (BASE, "which asks smol (the base model itself);"),
        (replace(BASE, labeler=True), "which asks smol (the base model itself, which gave the labels);"),
    ],
)
def test_a_judge_is_said_to_be_the_model_that_it_is(judge, said):
    facts = replace(WHOLE, graders=[Reader("judge/1", [judge], "As good as its model.")])
    assert sentence(facts, 2) == f"The rates are the readings of the grader judge/1, {said} {BELOW}"


@pytest.mark.parametrize(
    ("graders", "said"),
    [
        ([], "There are no rates of what answers do: nobody graded them."),
        (
            [Reader("own/1")],
            "The rates are the readings of the grader own/1; it states nothing of what it cannot tell.",
        ),
        (
            [Reader("own/1", limits=None)],
            "The rates are the readings of the grader own/1; what it cannot tell is not on record.",
        ),
        (
            [RULES, WORLD],
            "The rates are the readings of the graders rules/1 and world-oracle/1; what they cannot tell is said below "
            "them.",
        ),
        (
            [RULES, Reader("own/1")],
            "The rates are the readings of the graders rules/1 and own/1; what they cannot tell is said below them, as "
            "far as they state it.",
        ),
        (
            [Reader("own/1"), Reader("own/2")],
            "The rates are the readings of the graders own/1 and own/2; they state nothing of what they cannot tell.",
        ),
    ],
)
def test_whose_readings_the_rates_are(graders, said):
    assert sentence(replace(STOPPED, graders=graders), 2) == said


@pytest.mark.parametrize(
    ("stages", "until", "direct", "there", "not_there"),
    [
        (
            ["revision", "sft"],
            "sl-cai",
            True,
            ["revised, without a critique,", "ended with sl-cai"],
            ["labelled", "RL-"],
        ),
        (["revision", "sft", "feedback"], "feedback", False, ["criticised and revised", "labelled"], ["RL-CAI"]),
        (["revision"], "revision", False, ["criticised and revised"], ["SL-CAI", "labelled"]),
        (["revision", "sft", "feedback", "ppo"], None, False, ["SL-CAI", "RL-CAI"], ["ended"]),
        ([], "prompts", False, ["The method of Bai et al. (2022). This run was ended with prompts"], ["revised"]),
    ],
)
def test_the_method_is_told_as_far_as_the_run_went(stages, until, direct, there, not_there):
    said = describe_method(stages, until, direct=direct)
    assert [words for words in there if words not in said] == []
    assert [words for words in not_there if words in said] == []


def test_data_alone_are_not_told_as_a_model():
    stages = ["revision", "comparisons", "feedback"]
    assert describe_method(stages, None, direct=True, labels_only=True) == (
        "The data of the method of Bai et al. (2022): a base model’s answers are revised, without a critique, under a "
        "constitution; pairs of its answers are labelled under the constitution; no model is trained, and the base "
        "model is in the place of SL-CAI."
    )


# ------------------------------------------------------------------------------------------- of the run at hand


ROLES = ("assistant", "critic", "feedback")


def first_line(paths):
    text = render_report(load_run_data(paths.root))
    return " ".join(Page(text.partition("</header>")[0] + "</header></body></html>").text)


def edit(paths, **changes):
    header = RunHeader.load(paths.header)
    header.model_copy(update=changes).save(paths.header)


def test_the_first_line_is_that_of_the_run(finished_run):
    edit(finished_run, models={role: Origin(source="my/<b>nano", digest="d1") for role in ROLES})
    said = first_line(finished_run)
    assert "The preference label is made of the probabilities that <b>nano (the base model itself) gives" in said
    assert "The 2 revisions were written by" in said
    assert "without worked examples" in said
    assert "the readings of the grader world-oracle/1; what it cannot tell is not on record." in said


def test_the_first_line_follows_labels_models_and_settings(finished_run):
    models = {"assistant": Origin(source="a/smol", digest="d1"), "critic": Origin(source="b/wise", digest="d2")}
    models["feedback"] = models["judge"] = Origin(source="c/fair", digest="d3")
    (label,) = load_records(finished_run.records("preference_labels"), PreferenceLabel)
    votes = tuple(
        PointwiseVote(principle_id="p-2", response=r, better="yes", logprob_yes=-0.1, logprob_no=-3.0) for r in "ab"
    )
    save_records(
        finished_run.records("preference_labels"), [label.model_copy(update={"votes": (), "pointwise": votes})]
    )
    config = RunHeader.load(finished_run.header).config
    law = Constitution.from_json(finished_run.constitution.read_text())
    worked = RevisionExemplar(conversation=Conversation.of("?"), response="r", critique="c", revision="v")
    law = law.model_copy(update={"revision_exemplars": (worked,) * 3})
    finished_run.constitution.write_text(law.to_json())
    constitution = RunHeader.load(finished_run.header).constitution.model_copy(update={"digest": law.digest})
    edit(
        finished_run,
        models=models,
        constitution=constitution,
        config={**config, "revision": {"exemplars": 2, "exemplar_choice": "unlike"}},
    )
    results = json.loads(finished_run.results.read_text())
    for one in results["evaluations"]:
        one.update(grader="judge/1", asks=["judge"], limits="It is as good as its model.")
    finished_run.results.write_text(json.dumps(results))
    said = first_line(finished_run)
    assert "the probabilities that fair gives to Yes and No" in said
    assert "The 2 revisions were written by wise, after up to 2 worked examples." in said
    assert (
        "the grader judge/1, which asks fair (which gave the labels); what it cannot tell is said below them." in said
    )


def test_a_file_of_labels_of_an_earlier_longer_run_is_not_counted(finished_run):
    results = json.loads(finished_run.results.read_text())
    del results["stages"]["feedback"]
    results.update(feedback=None, until="sl-cai")
    finished_run.results.write_text(json.dumps(results))
    assert NO_LABELS in first_line(finished_run)


def test_a_direct_revision_is_said_to_be_without_critiques(finished_run):
    (chain,) = load_records(finished_run.records("revision_chains"), RevisionChain)
    steps = tuple(step.model_copy(update={"critique": None}) for step in chain.steps)
    edit(finished_run, models={role: Origin(source="m", digest="d") for role in ROLES})
    save_records(finished_run.records("revision_chains"), [chain.model_copy(update={"steps": steps})])
    assert "without critiques and without worked examples." in first_line(finished_run)


def test_a_judge_is_not_said_to_have_given_the_labels_where_another_model_did(finished_run):
    models = {role: Origin(source="a/smol", digest="d1") for role in ROLES}
    edit(finished_run, models={**models, "judge": Origin(source="c/fair", digest="d3")})
    results = json.loads(finished_run.results.read_text())
    for one in results["evaluations"]:
        one.update(grader="judge/1", asks=["judge"], limits="It is as good as its model.")
    finished_run.results.write_text(json.dumps(results))
    assert "the grader judge/1, which asks fair; what it cannot tell" in first_line(finished_run)
