"""Proves that a report is one self-contained page in which every text of the run stays text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from solon.constitution import Constitution
from solon.errors import RunError
from solon.records import (
    GIVEN,
    EvalRecord,
    Failure,
    Grade,
    Manifest,
    Measure,
    Measures,
    RevisionChain,
    RunHeader,
    load_records,
    save_records,
)
from solon.report import write_report
from solon.report.answers import describe_grade
from solon.report.load import load_run_data
from solon.report.page import render_report
from tests.unit.report.conftest import make_filtered

EVIL = "<script>alert('x')</script> & \"quoted\" {{ 7*7 }} {% raw %}"
VOID = {"meta", "link", "br", "img", "hr", "input", "line", "circle", "rect", "polygon", "polyline"}


class Page(HTMLParser):
    """Reads a page: elements with their attributes, the text of each section, and whether tags balance."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.open, self.sections = [], [], [], {}
        self.section = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self.section = dict(attrs)["id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)
            self.sections[self.section] = self.sections.get(self.section, "") + data


@pytest.fixture
def html(finished_run):
    return write_report(finished_run.root).read_text(encoding="utf-8")


@pytest.fixture
def page(html):
    return Page(html)


def test_tags_balance_and_ids_are_unique(page):
    assert page.open == []
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"] for tag, attrs in page.elements if tag == "a"}
    assert targets
    assert targets <= {f"#{name}" for name in ids}


def test_markup_in_any_text_stays_text(page, html):
    assert not [tag for tag, _ in page.elements if tag in ("script", "iframe", "object", "embed", "img", "link")]
    assert "".join(page.text).count(EVIL) >= 9
    assert f"feedback: {EVIL}" in "".join(page.text)  # what the run itself found
    assert "49" not in re.findall(r"quoted[^{]*(\S+)", html)[0]
    for _, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on") or name == "style"]


def test_nothing_is_fetched_and_the_policy_allows_the_own_style_only(page, html):
    assert "http:" not in html
    assert "https:" not in html
    assert not [a for _, a in page.elements if "src" in a or "srcset" in a]
    assert "@import" not in html
    assert "url(" not in html
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    css = re.search(r"<style>(.*?)</style>", html, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_it_says_what_it_is_and_shows_dark_light_and_paper(page, html):
    assert "model organism" in "".join(page.text)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert ("html", {"lang": "en"}) in page.elements


def test_every_chart_says_in_words_what_it_shows(page, html):
    charts = [attrs for tag, attrs in page.elements if tag == "svg"]
    assert len(charts) >= 5
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    for chart in charts:
        assert chart["role"] == "img"
        assert set(chart["aria-labelledby"].split()) <= ids
    assert "helpfulness 0.880 (95 % 0.850 to 0.910), harmlessness 0.800 (95 % 0.770 to 0.830)" in html


def test_tables_have_headings_with_a_scope(page):
    headings = [attrs for tag, attrs in page.elements if tag == "th"]
    assert headings
    assert all(attrs.get("scope") in ("col", "row") for attrs in headings)


def test_numbers_of_the_run_are_there(page):
    sections = page.sections
    assert "87.0 – 93.0" in sections["results"]
    assert "known to the base" in sections["results"]
    assert "no document" in sections["results"]
    sizes = "100 to harmful prompts for 41 goals, 90 to benign prompts for 37 goals, 30 to twins prompts for 13 goals"
    assert f"(answers: {sizes})" in sections["results"]
    assert "theft (7 goals)" in sections["categories"]
    assert "Answers: 40 to red-team prompts for 19 goals" in sections["revisions"]
    assert "14, for 11 goals" in sections["feedback"]
    assert "after 2" in sections["revisions"]
    assert "-0.50 → 0.75" in sections["feedback"]
    for share in ("30.0 % (27.0 – 33.0)", "5.0 % (2.0 – 8.0)", "60.0 % (57.0 – 63.0)"):
        assert share in sections["feedback"]
    assert "99.4 seconds, 120.2 CPU seconds" in sections["stages"]
    assert "812 MiB" in sections["stages"]


def test_it_says_by_which_dialects_servers_were_read_and_what_drawn_answers_do_not_tell(finished_run, page):
    assert "dialect" not in page.sections["feedback"]  # an old run has no word of it, and none was read
    results = json.loads(finished_run.results.read_text())
    results["feedback"].update(dialects={"completions": 9, EVIL: 3}, sure_contradictions=None, both_sure=None)
    finished_run.results.write_text(json.dumps(results))
    said = Page(write_report(finished_run.root).read_text()).sections["feedback"]
    assert f"Labels read from servers, by dialectcompletions: 9, {EVIL}: 3" in said
    assert said.count("not told by drawn answers") == 1
    assert "not asked in both orders" not in said
    results["feedback"].update(dialects=None, order_disagreement=None)
    finished_run.results.write_text(json.dumps(results))
    said = Page(write_report(finished_run.root).read_text()).sections["feedback"]
    assert said.count("not asked in both orders") == 2
    assert "dialect" not in said


def test_one_of_anything_is_not_called_several(finished_run):
    results = json.loads(finished_run.results.read_text())
    results["models"]["base"]["evaluations"]["heldout"]["benign"].update(n=1, goals=1)
    for model in results["models"].values():
        model["by_category"]["theft"]["goals"] = 1
    results["feedback"]["goals"] = 1
    results["revisions"][0].update(n=1, goals=1)
    finished_run.results.write_text(json.dumps(results))
    sections = Page(write_report(finished_run.root).read_text()).sections
    assert "1 to benign prompts for 1 goal," in sections["results"]
    assert "theft (1 goal)" in sections["categories"]
    assert "for 1 goal " in " ".join(sections["feedback"].split()) + " "
    assert "Answers: 1 to red-team prompts for 1 goal;" in sections["revisions"]
    assert "after 0 (1 answer)" in sections["revisions"]


def test_answers_that_were_cut_are_counted_beside_the_rate_of_each_category(finished_run):
    results = json.loads(finished_run.results.read_text())
    for number, model in enumerate(results["models"].values()):
        model["by_category"]["theft"]["cut"] = {"value": number / 10, "low": 0.0, "high": 0.5}
    finished_run.results.write_text(json.dumps(results))
    categories = " ".join(Page(write_report(finished_run.root).read_text()).sections["categories"].split())
    names = [results["model_names"].get(name, name) for name in results["models"]]
    assert "".join(f"{name}: cut by the token limit" for name in names) in categories
    for number in range(len(names)):
        assert f"{5 * number} of 50" in categories


def test_answers_that_were_cut_are_counted_beside_every_value_of_an_answer(finished_run):
    html = write_report(finished_run.root).read_text()
    tables = html.partition('id="attributes"')[2].partition("</section>")[0].split("<table>")[1:]
    rows = [re.findall(r'<th scope="row">([^<]*)</th>(.*?)</tr>', table, re.DOTALL)[0] for table in tables]
    assert [name for name, _ in rows] == ["cut by the token limit"] * 2
    counts = [re.findall(r'<td class="n">([^<]*)', cells) for _, cells in rows]
    assert counts == [["20 of 100"] * 3, ["0 of 90"] * 3]


def test_the_chart_of_both_axes_says_what_was_cut(finished_run):
    results = json.loads(finished_run.results.read_text())
    del results["models"]["sl-cai"]["harmful"]["cut"], results["models"]["rl-cai"]["benign"]["cut"]
    finished_run.results.write_text(json.dumps(results))
    said = " ".join(Page(write_report(finished_run.root).read_text()).sections["frontier"].split())
    cut = "Base 20 of 100 harmful, 0 of 90 benign; SL-CAI 0 of 90 benign; RL-CAI 20 of 100 harmful."
    assert said.endswith(f"Cut by the token limit, and graded as they stand: {cut}")


def test_what_a_grader_cannot_tell_is_said_as_it_states_it(finished_run):
    results = json.loads(finished_run.results.read_text())
    first, second = results["evaluations"]
    first.update(grader="own/1", limits=f"Cannot tell {EVIL}.", asks=[])
    second.update(grader="own/2", limits="", asks=[])
    finished_run.results.write_text(json.dumps(results))
    page = Page(write_report(finished_run.root).read_text())
    said = " ".join(page.sections["limits"].split())
    assert said == (
        f"What the graders cannot tell own/1: Cannot tell {EVIL}. own/2: It states nothing of what it cannot tell."
    )


def test_a_number_that_rounds_to_zero_has_no_sign(finished_run):
    path = finished_run.manifest("ppo")
    manifest = Manifest.load(path)
    path.write_text(manifest.model_copy(update={"metrics": {**manifest.metrics, "score_last": -0.001}}).to_json())
    assert "-0.50 → 0.00" in Page(write_report(finished_run.root).read_text()).sections["feedback"]


def test_the_counts_say_where_they_do_not_balance(page):
    assert "too long: 1, call failed: 1" in page.sections["counts"]
    assert "balances" in page.sections["counts"]
    assert "off by 1" in page.sections["counts"]


def test_the_counts_say_of_what_they_are_where_that_is_known(finished_run):
    def counted():
        rows = render_report(load_run_data(finished_run.root)).partition('id="counts"')[2].partition("</section>")[0]
        return dict(re.findall(r'<th scope="row">([^<]*)</th><td>([^<]*)</td>', rows))

    assert counted()["revision"] == "texts that fine-tuning might learn"
    assert counted()["evaluation"] == "answers"
    results = json.loads(finished_run.results.read_text())
    finished_run.results.write_text(json.dumps({**results, "method": "given"}))
    assert set(counted().values()) == {"–"}


def test_the_example_goes_turn_by_turn(page):
    text = page.sections["example"]
    assert "Answers of the base to this prompt: 2." in text
    assert "The grader could tell of 2. Harmful, as it is counted here, are those with “complies”: 1." in text
    order = [text.index(word) for word in ("Prompt", "Base", "complies, courteous", "Critique 1", "Revision 1")]
    order += [text.index("Critique 2")]
    order += [text.index(word) for word in ("Revision 2", "SL-CAI", "RL-CAI")]
    assert order == sorted(order)


def test_a_direct_revision_shows_the_request_that_was_sent_and_no_critique(finished_run):
    (chain,) = load_records(finished_run.records("example_chain"), RevisionChain)
    steps = tuple(step.model_copy(update={"critique": None}) for step in chain.steps)
    save_records(finished_run.records("example_chain"), [chain.model_copy(update={"steps": steps})])
    text = Page(write_report(finished_run.root).read_text()).sections["example"]
    law = Constitution.from_json(finished_run.constitution.read_text())
    principle = next(p for p in law.principles if p.id == steps[0].principle_id)
    assert principle.revision_request in text
    assert principle.critique_request not in text
    assert "critique" not in text.lower()
    assert "Below is the first of these; it is revised in 2 revisions." in text


def test_an_example_that_never_complied_says_so(finished_run):
    lines = finished_run.records("example").read_text().replace('"complies":true', '"complies":false')
    finished_run.records("example").write_text(lines)
    finished_run.records("example_chain").write_text("")
    text = Page(write_report(finished_run.root).read_text()).sections["example"]
    assert "Answers of the base to this prompt: 2." in text
    assert "are those with “complies”: none, so there is nothing to revise." in text
    assert "Critique" not in text


def test_each_filter_says_how_many_it_left_out_and_shows_three(finished_run):
    header = RunHeader.load(finished_run.header)
    config = {**header.config, "revision": {"filters": ["not_repeating", "no_leak", "on_topic"]}}
    header.model_copy(update={"config": config}).save(finished_run.header)
    texts = ["Rewrite it all.", f"Second {EVIL}.", "Third one.", "Fourth one."]
    left_out = [*(make_filtered(text) for text in texts), make_filtered("Off.", "on_topic")]
    save_records(finished_run.records("filtered_revisions"), left_out)
    page = Page(write_report(finished_run.root).read_text())
    said = " ".join(page.sections["filters"].split())
    assert "not_repeating0 no_leak4 on_topic1" in said
    assert "no_leak: 3 of 4" in said
    assert "on_topic: 1 of 1" in said
    assert "not_repeating:" not in said
    shown = [said.index(f"Prompt How can I {EVIL}?Revision 2{text}".replace("Prompt ", "Prompt")) for text in texts[:3]]
    assert shown == sorted(shown)
    assert "Fourth" not in said
    assert ("a", {"href": "#filters"}) in page.elements


def test_without_filters_the_page_says_nothing_of_them(finished_run, page):
    assert "filters" not in page.sections
    save_records(finished_run.records("filtered_revisions"), [make_filtered("of an earlier, longer run")])
    results = json.loads(finished_run.results.read_text())
    del results["stages"]["revision"]
    finished_run.results.write_text(json.dumps(results))
    assert "filters" not in Page(write_report(finished_run.root).read_text()).sections


UNGRADED = {"ungraded": "outside the grammar"}
SILENT = {"values": {"courteous": False}}


def regrade_example(paths, *grades):
    """Give the example's answers other grades, in order; None leaves an answer as it was graded."""
    answers = load_records(paths.records("example"), EvalRecord)
    changed = [
        a if grade is None else a.model_copy(update={"grade": Grade.model_validate(grade)})
        for a, grade in zip(answers, grades, strict=True)
    ]
    save_records(paths.records("example"), changed)
    first, second = (grade or {} for grade in grades[:2])
    if grades[1] is not None and "complies" in {**first.get("values", {}), **second.get("values", {})}:
        save_records(paths.records("example_chain"), [])  # it could be told, and none was harmful
    return write_report(paths.root).read_text()


@pytest.mark.parametrize("grade", [UNGRADED, SILENT])
def test_an_example_of_which_nothing_could_be_told_is_not_said_to_comply_in_none(finished_run, grade):
    text = Page(regrade_example(finished_run, grade, grade, None, None)).sections["example"]
    assert "Harmful, as" not in text
    said = "No grade says which of them are harmful, so the first that is an answer was to be revised, whatever it says"
    assert f"{said}; it is revised in 2 revisions." in text


def test_an_example_counts_the_answers_of_which_the_grader_could_tell(finished_run):
    text = Page(regrade_example(finished_run, UNGRADED, None, None, None)).sections["example"]
    assert "The grader could tell of 1. Harmful, as it is counted here, are those with “complies”: 1." in text
    assert "not graded" not in text  # the answer shown is the one that complied
    refused = {"values": {"complies": False}}
    text = Page(regrade_example(finished_run, UNGRADED, refused, None, None)).sections["example"]
    assert "The grader could tell of 1. Harmful, as it is counted here, are those with “complies”: none" in text
    assert "not graded: outside the grammar" in text


@pytest.mark.parametrize("grade", [UNGRADED, SILENT])
def test_an_answer_of_which_the_grader_could_not_tell_has_no_colour(finished_run, grade):
    page = Page(regrade_example(finished_run, None, None, None, grade))
    tones = [attrs.get("class") for tag, attrs in page.elements if tag == "li" and "class" in attrs]
    assert tones == ["harm", "good"]  # the base's answer and that of SL-CAI


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"complies": True, "warns": False, "refuses_and_explains": True, "evades": False},
            "complies, refuses and explains; not: warns, evades",
        ),
        ({"complies": False}, "not: complies"),
        ({"score": 0.25, "kind": True}, "score: 0.25, kind"),
        ({"score": 0.0, "best": 1.0}, "score: 0, best: 1"),
    ],
)
def test_a_grade_is_said_in_words_and_numbers(finished_run, values, said):
    answer, *_ = load_records(finished_run.records("example"), EvalRecord)
    assert describe_grade(answer.model_copy(update={"grade": Grade(values=values)})) == said


# --------------------------------------------------------------------------------- evaluations of other kinds


WINS = Measures(
    rates=(Measure(group="all", name="wins", caption="All: wins", better="higher"),),
    ungraded=("all",),
    details=("all",),
)


def cells(text):
    """The cells of the table of results, row by row, intervals left out."""
    rows = re.findall(r"<tr><th scope=\"row\">([^<]*)</th>(.*?)</tr>", text.partition('id="results"')[2], re.DOTALL)
    return [[name, *re.findall(r'<td class="n">([^<]*)', row)] for name, row in rows]


def compare_pairs(paths, *, main):
    """Add an evaluation that compares the later models with the first, as the main one or beside the others."""
    results = json.loads(paths.results.read_text())
    asked = {"name": "pairs", "caption": "Beside the base", "grader": "judge/1", "groups": {"all": 5}}
    asked |= {"measures": WINS.model_dump(mode="json"), "paired": True}
    results["evaluations"].insert(0 if main else 2, asked)
    for number, name in enumerate(("sl-cai", "rl-cai")):
        share = 0.25 + number / 2
        rate = {"value": share, "low": share - 0.1, "high": share + 0.1}
        results["models"][name]["evaluations"]["pairs"] = {
            "all": {"n": 5, "goals": 3, "wins": rate, "ungraded": None, "cut": {"value": 0.2, "low": 0.1, "high": 0.5}},
            "values": {},
        }
    if main:  # only what an evaluation asked of a model stands at the top of its block
        for name, model in results["models"].items():
            top = model["evaluations"].get("pairs", {})
            results["models"][name] = {**top, "evaluations": model["evaluations"]}
        results["revisions"] = []
    paths.results.write_text(json.dumps(results))
    return write_report(paths.root).read_text()


def test_an_evaluation_that_compares_models_has_dashes_for_the_first(finished_run):
    text = compare_pairs(finished_run, main=False)
    assert "Beside the base (answers: 5 to all prompts for 3 goals; each compared with the base’s to the same" in text
    assert text.count("each compared with the base’s") == 1
    assert "graded by <code>world-oracle/1</code>, <code>judge/1</code>." in text
    assert cells(text)[6:9] == [
        ["Base", "–", "–", "–"],
        ["SL-CAI", "25.0", "–", "1 of 5"],
        ["RL-CAI", "75.0", "–", "1 of 5"],
    ]


def test_an_evaluation_that_compares_models_may_be_the_main_one(finished_run):
    text = compare_pairs(finished_run, main=True)
    assert cells(text)[:3] == [
        ["Base", "–", "–", "–"],
        ["SL-CAI", "25.0", "–", "1 of 5"],
        ["RL-CAI", "75.0", "–", "1 of 5"],
    ]
    sections = Page(text).sections
    assert not {"frontier", "categories", "attributes", "revisions"} & sections.keys()
    assert "No grade says which of them are harmful" in sections["example"]


def test_what_the_limit_cut_off_is_counted_beside_the_rates_of_answers_and_of_revisions(finished_run):
    text = write_report(finished_run.root).read_text()
    assert "harmful: cut by the token limit" in text
    assert '<td class="n">20 of 100<small>17.0 – 23.0</small></td>' in text
    (first, second) = (next(row for row in cells(text) if row[0].startswith(f"after {n} ")) for n in (0, 1))
    assert (first[-1], second[-1]) == ("12 of 40", "0 of 40")


def test_columns_are_the_measures_that_each_evaluation_declares(finished_run):
    results = json.loads(finished_run.results.read_text())
    results["evaluations"][1]["measures"] = Measures(
        rates=(Measure(group="twins", name="refused", caption=f"Twins {EVIL}"),), ungraded=("twins",)
    ).model_dump(mode="json")
    finished_run.results.write_text(json.dumps(results))
    text = write_report(finished_run.root).read_text()
    assert [len(row) for row in cells(text)[:6]] == [11, 11, 11, 6, 6, 6]
    assert cells(text)[0] == [
        "Base",
        "90.0",
        "10.0",
        "0.0",
        "90.0",
        "0.0",
        "1.0",
        "0.0",
        "20 of 100",
        "0 of 90",
        "3 of 30",
    ]
    headings = Page(text).sections["results"]
    assert f"Twins {EVIL}twins: not graded" in headings


def test_a_measure_of_which_less_is_better_is_drawn_upside_down_and_another_is_not(finished_run):
    results = json.loads(finished_run.results.read_text())
    main = results["evaluations"][0]["measures"]
    for rate in main["rates"]:
        rate["better"] = {"lower": "higher", "higher": "lower"}[rate["better"]]
    finished_run.results.write_text(json.dumps(results))
    text = write_report(finished_run.root).read_text()
    assert "helpfulness 0.120 (95 % 0.090 to 0.150), harmlessness 0.200 (95 % 0.170 to 0.230)" in text


def test_revisions_are_headed_as_declared_or_plainly(finished_run):
    assert "Harmfulness by number of revisions" in write_report(finished_run.root).read_text()
    results = json.loads(finished_run.results.read_text())
    results["evaluations"][0]["measures"]["revisions_caption"] = ""
    finished_run.results.write_text(json.dumps(results))
    assert "<h2>Answers by number of revisions</h2>" in write_report(finished_run.root).read_text()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("default", ""),
        ("world", "--task world "),
        (GIVEN, "--task YOUR-TASK "),
        ("my tasks/bakery.yaml", "--task 'my tasks/bakery.yaml' "),
        ("--red-team a.txt --benign 'my b.txt'", "--red-team a.txt --benign 'my b.txt' "),
    ],
)
def test_the_command_names_the_task_as_it_was_given(finished_run, source, words):
    header = RunHeader.load(finished_run.header)
    header.model_copy(update={"task": header.task.model_copy(update={"source": source})}).save(finished_run.header)
    page = Page(write_report(finished_run.root).read_text())
    assert f"solon run --seed 3 {words}--preset smoke" in page.sections["reproduce"]


def test_a_chain_that_broke_off_says_why(finished_run):
    (chain,) = load_records(finished_run.records("example_chain"), RevisionChain)
    failure = Failure(item="q1", stage="revision", reason="empty_critique", detail=f"round 3: {EVIL}")
    save_records(finished_run.records("example_chain"), [chain.model_copy(update={"failure": failure})])
    text = Page(write_report(finished_run.root).read_text()).sections["example"]
    assert f"empty critique: round 3: {EVIL}" in text
    assert text.index("Revision 2") < text.index("No further revision") < text.index("SL-CAI")


def test_a_base_that_never_answered_makes_no_example(finished_run):
    answers = load_records(finished_run.records("example"), EvalRecord)
    save_records(finished_run.records("example"), [a for a in answers if a.model_name != "base"])
    page = Page(write_report(finished_run.root).read_text())
    assert "example" not in page.sections
    assert "#example" not in {attrs["href"] for tag, attrs in page.elements if tag == "a"}


def test_a_folder_is_called_by_its_name_wherever_it_is_seen_from(finished_run, monkeypatch):
    monkeypatch.chdir(finished_run.root)
    assert "solon show my-run ID" in write_report(Path()).read_text()


def test_principles_come_with_their_counts(page):
    text = page.sections["constitution"]
    assert "revisions of stage 1, with or without a critique, and comparisons with a vote under it" in text
    assert re.search(r"p-1.*2\s*0\s*p-2.*–\s*1", text, re.DOTALL)


def test_what_is_said_not_to_be_counted_of_a_principle_is_not(finished_run):
    (example,) = load_records(finished_run.records("example_chain"), RevisionChain)
    chains = load_records(finished_run.records("revision_chains"), RevisionChain)
    counted = load_run_data(finished_run.root).draws
    assert len(example.steps) > 0
    save_records(finished_run.records("example_chain"), [])
    failed = Failure(item="q9", stage="revision", reason="empty_critique", detail="round 1")
    broken = chains[0].model_copy(update={"id": "broken", "steps": (), "failure": failed})
    save_records(finished_run.records("revision_chains"), [*chains, broken])
    run = load_run_data(finished_run.root)
    assert run.draws == counted
    said = "Draws that came to nothing, and those of an example, are not counted"
    assert said in Page(render_report(run)).sections["constitution"]


def test_the_command_reproduces_the_run(page):
    assert (
        "solon run --seed 3 --preset smoke --constitution 'my rules.yaml' --set ppo.kl_coef=0.1 --out A-NEW-FOLDER"
        in page.sections["reproduce"]
    )


@pytest.mark.parametrize(("source", "words"), [("default", ""), (GIVEN, "--constitution YOUR-FILE ")])
def test_a_constitution_that_only_a_program_had_is_not_named_as_a_file(finished_run, source, words):
    header = RunHeader.load(finished_run.header)
    origin = header.constitution.model_copy(update={"source": source})
    header.model_copy(update={"constitution": origin}).save(finished_run.header)
    page = Page(write_report(finished_run.root).read_text())
    assert f"solon run --seed 3 --preset smoke {words}--set ppo.kl_coef=0.1" in page.sections["reproduce"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", ""),
        ("my_grader:Mine", "--grader my_grader:Mine "),
        ("a b:C", "--grader 'a b:C' "),
        (GIVEN, "--grader YOUR-GRADER "),
    ],
)
def test_the_command_names_the_grader_as_it_was_given(finished_run, source, words):
    results = json.loads(finished_run.results.read_text())
    finished_run.results.write_text(json.dumps({**results, "grader_source": source}))
    page = Page(write_report(finished_run.root).read_text())
    assert f"solon run --seed 3 --preset smoke {words}--constitution" in page.sections["reproduce"]


def test_equal_runs_have_equal_reports(finished_run):
    assert render_report(load_run_data(finished_run.root)) == render_report(load_run_data(finished_run.root))


def test_curves_and_numbers_are_shown_as_their_stages_declare(finished_run):
    html = render_report(load_run_data(finished_run.root))
    captions = re.findall("<figcaption>([^<]*)", html.partition('id="curves"')[2])
    assert captions == ["SFT: loss", "score", "kl"]  # no entropy was measured
    rows = re.findall(r'<th scope="row">([^<]*)</th><td class="n">([^<]*)', html.partition('id="feedback"')[2])
    assert rows[5:10] == [
        ("iterations", "40"),
        ("score", "-0.50 → 0.75"),
        ("agrees", "90.0 % (80.0 – 95.0)"),
        ("agrees with nobody", "–"),  # without an interval nobody knows how sure it is
        ("never measured", "–"),
    ]


def test_a_method_that_a_program_gave_is_not_said_to_be_that_of_the_paper(finished_run):
    results = json.loads(finished_run.results.read_text())
    finished_run.results.write_text(json.dumps({**results, "method": "given", "model_names": {"rl-cai": "Mine"}}))
    text = " ".join(Page(render_report(load_run_data(finished_run.root))).text)
    assert "its stages, in order: prompts, revision, sft, feedback, ppo, evaluation" in text
    assert "A program gave the stages" in text
    assert "Mine" in text
    assert "RL-CAI" not in text
    assert "sl-cai" in text  # a model that has no other name


def test_long_curves_are_thinned(html):
    longest = max(len(points.split()) for points in re.findall(r'polyline class="line s0" points="([^"]*)"', html))
    assert 200 < longest <= 300


def test_a_folder_that_is_no_finished_run_is_refused(finished_run, tmp_path):
    with pytest.raises(RunError, match="not the folder of a run"):
        write_report(tmp_path)
    results = json.loads(finished_run.results.read_text())
    finished_run.results.write_text("{")
    with pytest.raises(RunError, match="cannot be reported on"):
        write_report(finished_run.root)
    for content in ("[]", json.dumps({**results, "schema": 1})):
        finished_run.results.write_text(content)
        with pytest.raises(RunError, match=r"results\.json: schema"):
            write_report(finished_run.root)
    finished_run.results.unlink()
    with pytest.raises(RunError, match="not finished"):
        write_report(finished_run.root)
    assert results["seed"] == 3


def paths_in(tree, *before):
    """Every place in a tree of JSON, as keys and positions."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*before, key)
        yield from paths_in(value, *before, key)


DAMAGES = {"null": None, "a list": [[]], "a text": "0.5"}


@pytest.mark.parametrize("damage", ["removed", *DAMAGES])
def test_results_that_lack_something_are_refused_or_reported_on_without_it(finished_run, damage):
    whole = finished_run.results.read_text()
    finished_run.metrics("sft").unlink()  # a long curve takes long to draw
    said = []
    for place in paths_in(json.loads(whole)):
        results = json.loads(whole)
        within = results
        for key in place[:-1]:
            within = within[key]
        if damage == "removed":
            del within[place[-1]]
        else:
            within[place[-1]] = DAMAGES[damage]
        finished_run.results.write_text(json.dumps(results))
        try:
            write_report(finished_run.root)
        except RunError as error:
            said.append(str(error))
    assert len(said) > 80
    assert [text for text in said if ".json: " not in text] == []


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics/ppo.jsonl", b"[1, 2]\n", r"ppo\.jsonl:1: expected a JSON object, found list"),
        ("metrics/ppo.jsonl", b"{\n", r"ppo\.jsonl:1: not a JSON line"),
        ("metrics/ppo.jsonl", b"\xff\n", r"ppo\.jsonl: is not text"),
        ("metrics/ppo.jsonl", b"[" * 50_000, r"ppo\.jsonl:1: not a JSON line"),
        ("metrics/ppo.jsonl", b'{"objective/kl": 1%s}' % (b"0" * 400), r"ppo\.jsonl:1: holds a number that is too"),
        ("results.json", b"[" * 50_000, r"results\.json: is not JSON"),
        ("records/example.jsonl", b"[" * 50_000, r"example\.jsonl:1: not a JSON line"),
        ("manifest/sft.json", b"{}", r"sft\.json: Manifest schema None"),
        ("constitution.json", b"{}", r"constitution\.json: "),
        ("run.yaml", f"schema: {RunHeader.SCHEMA}\n".encode(), r"run\.yaml: code_version: Field required"),
    ],
)
def test_a_damaged_file_is_named(finished_run, file, content, message):
    assert (finished_run.root / file).is_file()
    (finished_run.root / file).write_bytes(content)
    with pytest.raises(RunError, match=message):
        write_report(str(finished_run.root))


def test_an_edited_constitution_is_not_reported_as_that_of_the_run(finished_run):
    file = finished_run.constitution
    file.write_text(file.read_text().replace("Mend it.", "Worsen it."))
    with pytest.raises(RunError, match=r"constitution\.json: is not the constitution of this run"):
        write_report(finished_run.root)


def test_an_example_under_a_principle_of_no_constitution_is_refused(finished_run):
    file = finished_run.records("example_chain")
    file.write_text(file.read_text().replace('"principle_id":"', '"principle_id":"un-', 1))
    with pytest.raises(RunError, match=r"example_chain\.jsonl: principle 'un-.*' is not of this run"):
        write_report(finished_run.root)
