"""Proves that every sentence of the report is printed where it is true of the run, and nowhere else.

The sentences are taken from the template itself, so that one that is added without saying when it holds is found.
"""

import html
import json
import re
from collections.abc import Iterator

import jinja2
import pytest

from solon.evaluation import Evaluation, reported, summarize_models, summarize_revisions
from solon.records import (
    EvalRecord,
    Failure,
    Grade,
    Manifest,
    Measures,
    OwnTemplates,
    RevisionChain,
    RevisionGrade,
    RunHeader,
    load_records,
    save_records,
)
from solon.report.load import load_run_data
from solon.report.page import UNMEASURED, render_report
from solon.tasks.graders import NoGrader
from solon.world.task import MEASURES
from tests.unit.report.conftest import make_filtered
from tests.unit.report.test_page import Page

INLINE = re.compile(r"</?(?:code|small)\b[^>]*>")
TOKEN = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|<[^>]*>|[^{<]+|[{<]", re.DOTALL)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z“\0])")


def find_sentences(source: str) -> Iterator[tuple[int, str]]:
    """Yield every stretch of a template's own words, sentence by sentence: where it begins, and its words.

    What is filled in is written `_`. Tags and control statements end a stretch, so a sentence that is printed in parts
    is listed in parts.
    """
    start, said = 0, ""

    def finish() -> Iterator[tuple[int, str]]:
        at = start
        for piece in SENTENCE_END.split(said) if said else ():
            begin = said.index(piece, at - start) + start
            at = begin + len(piece)
            words = " ".join(html.unescape(re.sub(r"\0+", "_", INLINE.sub("", piece))).split()).strip(" ·,;")
            if re.search(r"[^\W_]{2}", words):
                yield begin, words

    for token in TOKEN.finditer(source):
        text = token.group()
        ends = text.startswith("{%") or (text.startswith("<") and len(text) > 1 and not INLINE.fullmatch(text))
        if ends:
            yield from finish()
            start, said = token.end(), ""
        else:
            said += "\0" * len(text) if text.startswith("{{") else text
    yield from finish()


# ------------------------------------------------------------------------ runs on which a condition holds or not


def edit_results(paths, edit):
    results = json.loads(paths.results.read_text())
    edit(results)
    paths.results.write_text(json.dumps(results))


def edit_header(paths, **changes):
    RunHeader.load(paths.header).model_copy(update=changes).save(paths.header)


def declare(paths, **changes):
    """Change what every evaluation declares to report."""

    def edit(results):
        for evaluation in results["evaluations"]:
            evaluation["measures"] = {**evaluation["measures"], **changes}

    edit_results(paths, edit)


def declare_nothing(paths, *ungraded):
    declare(paths, **Measures(ungraded=ungraded).model_dump(mode="json"))


def ungraded_groups(paths):
    declare_nothing(paths, "harmful")


def regrade(paths, base, others=None):
    """Give the example's answers of the base, and of the other models, another grade."""
    answers = load_records(paths.records("example"), EvalRecord)
    grades = {"base": base}
    save_records(
        paths.records("example"),
        [a.model_copy(update={"grade": grades.get(a.model_name, others) or a.grade}) for a in answers],
    )


def nothing_harmful(paths):
    regrade(paths, Grade(values={"complies": False}))
    save_records(paths.records("example_chain"), [])


def nothing_told(paths):
    regrade(paths, Grade(ungraded="not a word of it is known"))


def only_base_answers(paths):
    answers = load_records(paths.records("example"), EvalRecord)
    save_records(paths.records("example"), [a for a in answers if a.model_name == "base"])


def change_chain(paths, **changes):
    (chain,) = load_records(paths.records("example_chain"), RevisionChain)
    save_records(paths.records("example_chain"), [chain.model_copy(update=changes)])


def revise_directly(paths):
    (chain,) = load_records(paths.records("example_chain"), RevisionChain)
    change_chain(paths, steps=tuple(step.model_copy(update={"critique": None}) for step in chain.steps))


def break_off(paths):
    change_chain(paths, failure=Failure(item="q1", stage="revision", reason="empty_critique", detail="round 3"))


def balance(paths):
    """Account for every item of every stage; in the run as it is, one is lost."""
    for file in paths.manifest("sft").parent.glob("*.json"):
        manifest = Manifest.load(file)
        file.write_text(manifest.model_copy(update={"counts": {"in": 8, "kept": 8}}).to_json())


def use_cut_responses(paths):
    path = paths.manifest("revision")
    manifest = Manifest.load(path)
    path.write_text(manifest.model_copy(update={"metrics": {"revision/cut_responses": 7.0}}).to_json())


def set_filters(paths, *left_out):
    """Set two filters, of which one may have left out revisions."""
    config = RunHeader.load(paths.header).config
    edit_header(paths, config={**config, "revision": {"filters": ["no_leak", "on_topic"]}})
    save_records(paths.records("filtered_revisions"), [make_filtered(text) for text in left_out])


def tell_nothing_of_the_axes(results):
    for model in results["models"].values():
        model["benign"]["helps_correctly"] = None


def forget_cuts(results):
    for model in results["models"].values():
        for group in ("harmful", "benign"):
            del model[group]["cut"]


def tell_nothing_of_revisions(results):
    for row in results["revisions"]:
        row["complies"] = row["refuses_and_explains"] = None


def drop_categories(results):
    for model in results["models"].values():
        model["by_category"] = {}


def without_curves(paths):
    for file in paths.metrics("sft").parent.glob("*.jsonl"):
        file.unlink()


def of_another_method(paths):
    edit_results(paths, lambda results: results.update(method="given"))


def without_grader(paths):
    edit_results(paths, lambda results: results["evaluations"][1].update(grader="none"))


def ask_in_one_order(results):
    results["feedback"].update(order_disagreement=None, sure_contradictions=None, both_sure=None)


def state_limits(paths, limits):
    def edit(results):
        for evaluation in results["evaluations"]:
            evaluation["limits"] = limits

    edit_results(paths, edit)


def grade_by_nobody(paths):
    edit_results(paths, lambda results: [one.update(grader="none") for one in results["evaluations"]])


def keep_usage(results):
    tokens = {"prompt": 9, "generated": 4}
    results["usage"] = [{"stage": "feedback", "role": "feedback", "calls": 3, "made": 2, "tokens": tokens}]


def as_it_is(paths):
    """The run of the fixture."""


CONDITIONS = {
    "what roles were asked is on record": ([lambda p: edit_results(p, keep_usage)], [as_it_is]),
    "it began as a preset": ([as_it_is], [lambda p: edit_header(p, config={"preset": None, "seed": 3})]),
    "prompts are laid out by own templates": (
        [lambda p: edit_header(p, templates=OwnTemplates(source="mine", digest="d", texts={"chat/user.txt": "x"}))],
        [as_it_is],
    ),
    "an evaluation has no grader": ([without_grader], [as_it_is, nothing_told]),
    "rates are declared": ([as_it_is, lambda p: declare(p, ungraded=[])], [declare_nothing, ungraded_groups]),
    "shares of ungraded answers are in the tables": (
        [as_it_is, ungraded_groups],
        [declare_nothing, lambda p: declare(p, ungraded=[])],
    ),
    "a model has both axes": (
        [as_it_is],
        [
            lambda p: declare(p, helpfulness=None),
            lambda p: declare(p, harmlessness=None),
            lambda p: edit_results(p, tell_nothing_of_the_axes),
        ],
    ),
    "the base answered an example": (
        [as_it_is, nothing_told, nothing_harmful, only_base_answers],
        [lambda p: p.records("example").unlink(), lambda p: save_records(p.records("example"), [])],
    ),
    "other models answered the example": (
        [as_it_is, nothing_told],
        [only_base_answers, lambda p: p.records("example").unlink()],
    ),
    "no answer to the example could be told harmful or not": (
        [nothing_told, lambda p: declare(p, harmlessness=None), declare_nothing],
        [as_it_is, nothing_harmful],
    ),
    "an answer to the example is harmful": (
        [as_it_is, break_off, only_base_answers],
        [nothing_told, nothing_harmful, lambda p: declare(p, harmlessness=None)],
    ),
    "answers to the example could be told and none is harmful": (
        [nothing_harmful],
        [as_it_is, nothing_told, lambda p: declare(p, harmlessness=None)],
    ),
    "a revision has a critique": ([as_it_is, nothing_told], [revise_directly, nothing_harmful]),
    "a revision has no critique": ([revise_directly], [as_it_is, nothing_harmful]),
    "the chain broke off": ([break_off], [as_it_is, nothing_harmful]),
    "labels were asked for in both orders": (
        [as_it_is],
        [lambda p: edit_results(p, ask_in_one_order), lambda p: edit_results(p, lambda r: r.update(feedback=None))],
    ),
    "there is a grader": ([as_it_is, without_grader], [grade_by_nobody]),
    "a grader states no limits": (
        [lambda p: state_limits(p, "")],
        [as_it_is, lambda p: state_limits(p, "It cannot tell."), grade_by_nobody],
    ),
    "a grader was not asked for its limits": (
        [as_it_is],
        [lambda p: state_limits(p, ""), lambda p: state_limits(p, "It cannot tell."), grade_by_nobody],
    ),
    "answers were kept": ([as_it_is], [lambda p: save_records(p.records("prompts_evaluation"), [])]),
    "results say what was cut": ([as_it_is], [lambda p: edit_results(p, forget_cuts), declare_nothing]),
    "a category was measured": (
        [as_it_is],
        [lambda p: declare(p, by_category=None), lambda p: edit_results(p, drop_categories), declare_nothing],
    ),
    "values are given in detail": ([as_it_is], [lambda p: declare(p, details=[]), declare_nothing]),
    "revisions were graded": (
        [as_it_is, lambda p: edit_results(p, tell_nothing_of_revisions)],
        [lambda p: edit_results(p, lambda r: r.update(revisions=[]))],
    ),
    "revisions could be told of": (
        [as_it_is],
        [
            lambda p: edit_results(p, lambda r: r.update(revisions=[])),
            lambda p: edit_results(p, tell_nothing_of_revisions),
        ],
    ),
    "a curve was kept": ([as_it_is], [without_curves]),
    "a program gave the stages": ([of_another_method], [as_it_is]),
    "every item is accounted for": ([balance], [as_it_is]),
    "an item is not accounted for": ([as_it_is], [balance]),
    "a stage used responses that were cut off": ([use_cut_responses], [as_it_is]),
    "a filter was set": ([set_filters, lambda p: set_filters(p, "one")], [as_it_is]),
    "a filter left something out": ([lambda p: set_filters(p, "one")], [as_it_is, set_filters]),
    "always": ([as_it_is, declare_nothing, nothing_told, without_curves], []),
}
"""Condition to runs on which it holds and runs on which it does not, as changes to the run of the fixture."""

SECTIONS = {
    "always": """
        Run _ | seed _ · solon _ · constitution _ _
        | Who did what | Roles, their models, and what is on record of what they did; calls that came to nothing and the
        example below are not counted | Role | Model | How it was asked | What it did | Results | Answers to prompts
        that no stage was trained on, drawn at temperature _ and graded by | Shares are in per cent, with 95 %
        intervals below them, which take the answers for one goal as a cluster; a prompt that names no goal has one of
        its own. | Answers that the token limit cut off are graded as they stand, and counted.
        | AI feedback and what was learned from it | How the labels came out, and what was learned from them
        | Items in and out | The constitution holds _ principles, _ worked examples and _ prompts of its own.
        | in = kept + left out | Stage | Counted | In | Kept | Left out | Balance | Stages | Time, summed
        over all attempts, and model calls, each counted as often as its answer was used | Stage | Seconds | CPU
        seconds | Model calls | Tokens read | Tokens written | Failures | In all _ seconds, _ CPU seconds over the
        whole process tree, at most _ MiB of memory. | The constitution | _ _, digest _. | Each count is of what was
        made under the principle: revisions of stage 1, with or without a critique, and comparisons with a vote
        under it. | Draws that came to nothing, and those of an example, are not counted. | Principles, their words,
        and what was made under each | Principle | Words | Revisions | Comparisons | How to reproduce
        this | With solon _ and these inputs: | Task | Constitution | Model, as _ | Resolved configuration |
        Every record of this run can be traced to its principle and its model calls with solon show _ ID.""",
    "what roles were asked is on record": """
        What each role was asked over all starts, beside what was expected at the first; tokens are those of prompts and
        those written | Stage that asked | Role that was asked | Calls used | Calls made | Calls expected at most |
        Tokens used | Tokens by the server's count | Tokens expected | Tries at servers | Cost | Cost expected""",
    "labels were asked for in both orders": """
        Where the verdict changes with the order of the two responses, the label is 0.5. | Where little decides between
        the two, their order may; a model that judges by position shows in the comparisons of which both verdicts are
        sure.""",
    "there is a grader": "What _ tell",
    "a grader states no limits": "It states nothing of what it cannot tell.",
    "a grader was not asked for its limits": """
        The results of this run were made by a version that did not ask it.""",
    "answers were kept": """
        Answers side by side | Of each group, _ prompts at most: those whose ids, which are hashes of their content,
        have the smallest hashes. | So they depend on nothing that was answered, and are the same in every run of the
        same prompts and for every model. | Each model’s first answer to them follows with its grade, as the grader
        gave it. | _: _ of _ prompts""",
    "results say what was cut": "Cut by the token limit, and graded as they stand: _.",
    "a program gave the stages": """
        Another method than that of Bai et al. (2022); its stages, in order: _. | A program gave the stages, as
        solon.run(method=...); what else it was asked for is said here as a command.""",
    "it began as a preset": "preset _",
    "prompts are laid out by own templates": "Templates of prompts",
    "an evaluation has no grader": "nobody",
    "rates are declared": "Rates are of the answers of which the grader could tell.",
    "shares of ungraded answers are in the tables": "“Not graded” is a share of all answers.",
    "a model has both axes": """
        Harmlessness against helpfulness | Right is more helpful: _. | Up is more harmless: _. | Answers of which the
        grader could not tell are in neither share. | Crosses are 95 % intervals.""",
    "the base answered an example": """
        One prompt, turn by turn | Answers of the base to this prompt: _. | No stage was trained on this prompt.
        | Prompt | Base""",
    "no answer to the example could be told harmful or not": """
        No grade says which of them are harmful, so the first that is an answer was to be revised, whatever it says;
        _.""",
    "an answer to the example is harmful": """
        The grader could tell of _. | Harmful, as it is counted here, are those _: _. | Below is the first of these;
        _.""",
    "answers to the example could be told and none is harmful": """
        The grader could tell of _. | Harmful, as it is counted here, are those _: none, so there is nothing to revise.
        | Below is the first answer.""",
    "other models answered the example": "Then follow the answers of the trained models.",
    "a revision has a critique": "Critique _ | under _: _ | Revision _",
    "a revision has no critique": "Revision _, direct | under _: _",
    "the chain broke off": "No _revision",
    "a category was measured": "By category",
    "values are given in detail": """
        How they answer | Shares of the answers of which the grader could tell. | How many of all answers the token
        limit cut off is said first: these were graded as they stand.""",
    "revisions were graded": """
        The answers of stage 1 to its training prompts, graded afterwards; nothing was trained on these grades.
        | Shares are of the answers of which the grader could tell, “not graded” of all.""",
    "revisions could be told of": """
        Round 0 is the base’s own answer. | Bands are 95 % intervals. | How many answers the token limit cut off is in
        the table below.""",
    "a curve was kept": "Training",
    "every item is accounted for": "Every item that entered a stage was kept or left out for a stated reason.",
    "a stage used responses that were cut off": """
        Responses that reached the token limit and were used up to their last whole sentence (_). | None of them is a
        text that fine-tuning learns.""",
    "a filter was set": """
        Revisions that were filtered | Fine-tuning does not learn a revision that a filter left out; each is counted
        under the first filter that it did not pass. | Revisions left out by each filter, in the order of the
        filters""",
    "a filter left something out": "_: _ of _ | Prompt | Revision _",
    "an item is not accounted for": """
        Some items that entered a stage are neither among those kept nor among those left out: see the balance.""",
}
"""Condition to the sentences that are printed where it holds, in the order of the page."""


def listed(condition: str) -> list[str]:
    return [" ".join(sentence.split()) for sentence in re.split(r"\s\|\s", SECTIONS[condition])]


@pytest.fixture
def printed(finished_run, monkeypatch):
    """Change the finished run and return which sentences its report prints, each as often as the template has it."""
    sources: list[str] = []

    class Marking(jinja2.Environment):
        """Marks where each sentence of a template begins with its number, in characters that no text has."""

        def from_string(self, source, *more, **others):
            sources.append(source)
            for number, (start, _) in reversed(list(enumerate(find_sentences(source)))):
                source = f"{source[:start]}\ue000{number}\ue001{source[start:]}"
            return super().from_string(source, *more, **others)

    monkeypatch.setattr(jinja2, "Environment", Marking)
    finished_run.metrics("sft").write_text('{"step": 1, "sft/loss": 2.0}\n')  # a long curve takes long to draw

    def report(change):
        change(finished_run)
        page = render_report(load_run_data(finished_run.root))
        sentences = [words for _, words in find_sentences(sources[-1])]
        return sorted(sentences[int(number)] for number in set(re.findall("\ue000(\\d+)\ue001", page))), sentences

    return report


def test_every_sentence_of_the_template_is_listed_with_its_condition(printed):
    _, sentences = printed(as_it_is)
    assert sorted(sentence for condition in SECTIONS for sentence in listed(condition)) == sorted(sentences)


def test_every_condition_is_tried_on_both_sides():
    assert set(SECTIONS) == set(CONDITIONS)
    assert [name for name, (there, not_there) in CONDITIONS.items() if not there or not not_there] == ["always"]


def cases(side):
    return [(name, number) for name, runs in CONDITIONS.items() for number in range(len(runs[side]))]


@pytest.mark.parametrize(("condition", "number"), cases(0))
def test_a_sentence_is_printed_where_its_condition_holds(printed, condition, number):
    said, _ = printed(CONDITIONS[condition][0][number])
    assert [sentence for sentence in listed(condition) if sentence not in said] == []


@pytest.mark.parametrize(("condition", "number"), cases(1))
def test_a_sentence_is_not_printed_where_its_condition_does_not_hold(printed, condition, number):
    said, _ = printed(CONDITIONS[condition][1][number])
    shared = {sentence for other in SECTIONS if other != condition for sentence in listed(other)}
    assert [sentence for sentence in listed(condition) if sentence in said and sentence not in shared] == []


# ------------------------------------------------------------------------------------- runs that nobody could grade


def grade_nothing(paths, measures, why="no grader was given"):
    """Make the run one of which the grader could tell nothing: its results are made as a run makes them."""
    answers = load_records(paths.records("example"), EvalRecord)
    ungraded = [a.model_copy(update={"grade": Grade(ungraded=why)}) for a in answers]
    save_records(paths.records("example"), ungraded)
    evaluation = Evaluation("main", "Prompts of a file", {"harmful": (), "benign": ()}, NoGrader(), measures)
    asked = [a.model_copy(update={"evaluation": "main", "group": "harmful"}) for a in ungraded]
    models = summarize_models(asked, [evaluation])
    told = reported(measures, [model["evaluations"]["main"] for model in models.values()])

    def edit(results):
        results["models"] = models
        results["evaluations"] = [
            {"name": "main", "caption": "Prompts of a file", "grader": "none", "groups": {"harmful": 2, "benign": 0}}
        ]
        results["evaluations"][0]["measures"] = told.model_dump(mode="json")
        grades = [
            RevisionGrade(chain_id="c1", round=n, prompt=answers[0].prompt, grade=Grade(ungraded=why), grader="none")
            for n in range(3)
        ]
        results["revisions"] = summarize_revisions(grades, measures.revisions) if measures.revisions else []

    edit_results(paths, edit)


@pytest.mark.parametrize("measures", [Measures(), MEASURES], ids=["none declared", "those of the world"])
def test_a_run_of_which_the_grader_could_tell_nothing_says_so_and_nothing_else(printed, finished_run, measures):
    said, _ = printed(lambda paths: grade_nothing(paths, measures))
    true = [
        "always",
        "labels were asked for in both orders",
        "it began as a preset",
        "an evaluation has no grader",
        "shares of ungraded answers are in the tables",
        "the base answered an example",
        "no answer to the example could be told harmful or not",
        "other models answered the example",
        "a revision has a critique",
        "a curve was kept",
        "an item is not accounted for",
        *(["rates are declared", "revisions were graded"] if measures.rates else []),
    ]
    assert said == sorted(sentence for condition in true for sentence in listed(condition))
    text = render_report(load_run_data(finished_run.root))
    page = Page(text)
    example = " ".join(page.sections["example"].split())
    marks = re.findall(r"(Base|SL-CAI|RL-CAI) not graded: no grader was given", example)
    assert marks == ["Base", "SL-CAI", "RL-CAI"]
    assert {attrs.get("class") for tag, attrs in page.elements if tag == "li"} == {None}
    results, *_ = text.partition('id="results"')[2].split("</section>")
    unmeasured = [UNMEASURED] * len(measures.rates)
    rows = [[*unmeasured, "100.0", UNMEASURED, f"0 of {count}", UNMEASURED] for count in (2, 1, 1)]
    assert re.findall(r'<td class="n">([^<]*)', results) == [cell for row in rows for cell in row]
