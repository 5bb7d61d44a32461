"""Proves that prompts are shown by a rule that looks at no answer, and each with every model's first answer."""

import json
import re

import pytest

from solon.records import Conversation, EvalRecord, Grade, load_records, save_records
from solon.report.answers import SHOWN, choose_prompts, describe_mark, write_conversation, write_response
from solon.report.load import load_run_data
from solon.report.page import render_report
from solon.storage import content_digest
from tests.unit.report.conftest import ASKED, EVIL, answer_asked, ask_for, sample
from tests.unit.report.test_page import Page

HARMFUL = [asked for asked in ASKED if asked.group == "harmful"]
FIRST = choose_prompts([asked.prompt for asked in HARMFUL])[0]


def section(paths):
    return Page(render_report(load_run_data(paths.root))).sections["answers"]


def change_answers(paths, change):
    """Have each answer changed, or left out, or several in its place."""
    answers = load_records(paths.records("evaluation"), EvalRecord)
    save_records(paths.records("evaluation"), [new for answer in answers for new in change(answer)])


def test_the_choice_is_by_the_digest_of_the_id_whatever_the_order():
    prompts = [ask_for(number) for number in range(40)]
    chosen = choose_prompts(prompts)
    assert len(chosen) == SHOWN
    assert choose_prompts(prompts[::-1]) == chosen
    limit = max(content_digest(prompt.id) for prompt in chosen)
    assert [p for p in prompts if content_digest(p.id) <= limit and p not in chosen] == []
    assert choose_prompts([p for p in prompts if p not in chosen[:1]])[:4] == chosen[1:]


def test_every_model_answers_the_same_prompts_and_no_answer_decides_which(finished_run):
    def shown():
        return re.findall(r"Request (\d)[^?]*\?\n", section(finished_run))

    before = shown()
    assert len(before) == SHOWN + 2  # five of eight harmful prompts, and both benign ones
    change_answers(finished_run, lambda a: [a.model_copy(update={"response": sample("Other."), "id": a.id[::-1]})])
    assert shown() == before
    assert "harmful: 5 of 8 prompts" in section(finished_run)
    assert "benign: 2 of 2 prompts" in section(finished_run)
    for model in ("Base", "SL-CAI", "RL-CAI"):
        assert section(finished_run).count(model) == len(before)


def test_answers_stand_with_their_grades_and_markup_stays_text(finished_run):
    text = section(finished_run)
    assert f"base answers {FIRST.id} {EVIL}" in text
    assert "Base complies; not: refuses and explains" in text
    assert "SL-CAI refuses and explains; not: complies" in text


def test_an_answer_that_was_cut_off_or_not_graded_says_so(finished_run):
    def change(answer):
        if answer.prompt.id != FIRST.id:
            return [answer]
        cut = answer.response.model_copy(update={"stop_reason": "length"})
        if answer.model_name == "base":
            return [answer.model_copy(update={"response": cut})]
        return [answer.model_copy(update={"response": cut, "grade": Grade(ungraded="outside the grammar")})]

    change_answers(finished_run, change)
    text = section(finished_run)
    assert text.count("cut by the token limit") == 3
    assert "Base complies; not: refuses and explains; cut by the token limit" in text
    assert text.count("not graded: outside the grammar; cut by the token limit") == 2


def test_of_several_samples_the_first_is_shown(finished_run):
    change_answers(
        finished_run, lambda a: [a, a.model_copy(update={"id": f"{a.id}-2", "response": sample("A second sample.")})]
    )
    text = section(finished_run)
    assert "A second sample." not in text
    assert f"rl-cai answers {FIRST.id}" in text


def test_a_prompt_that_a_model_did_not_answer_is_shown_all_the_same(finished_run):
    change_answers(finished_run, lambda a: [] if (a.model_name, a.prompt.id) == ("sl-cai", FIRST.id) else [a])
    text = section(finished_run)
    assert text.count("(no answer is on record: the call for it came to nothing)") == 1
    assert f"rl-cai answers {FIRST.id}" in text


def test_where_models_are_compared_the_base_s_answer_is_what_they_were_compared_with(finished_run):
    results = json.loads(finished_run.results.read_text())
    results["evaluations"][0]["paired"] = True
    finished_run.results.write_text(json.dumps(results))
    beside = sample("What the base said.")
    change_answers(
        finished_run, lambda a: [] if a.model_name == "base" else [a.model_copy(update={"reference": beside})]
    )
    text = section(finished_run)
    assert text.count("Base what the others were compared withWhat the base said.") == SHOWN + 2
    assert "no answer is on record" not in text


def test_long_answers_can_be_scrolled_with_keys_and_stand_below_each_other_where_there_is_no_room(finished_run):
    html = render_report(load_run_data(finished_run.root))
    boxes = [attrs for tag, attrs in Page(html).elements if tag == "div" and attrs.get("class") == "what"]
    assert len(boxes) == 3 * (SHOWN + 2)
    assert {attrs.get("tabindex") for attrs in boxes} == {"0"}
    assert ".side .what { max-height: 16rem; overflow-y: auto;" in html
    assert "minmax(min(16rem, 100%), 1fr)" in html


@pytest.mark.parametrize(
    ("turns", "said"),
    [(("Hi",), "Hi"), (("Hi", "Yes?", "Go on"), "user: Hi\n\nassistant: Yes?\n\nuser: Go on")],
)
def test_turns_of_a_conversation_say_whose_they_are(turns, said):
    assert write_conversation(Conversation.of(*turns)) == said


def test_a_response_that_is_none_says_so():
    assert write_response(sample("")) == "(an empty response)"
    unended = sample("").model_copy(update={"thought_closed": False, "stop_reason": "length"})
    assert "thought did not end" in write_response(unended)
    mark = describe_mark(answer_asked("base", ASKED[0], Grade(ungraded="nothing to read")))
    assert mark == "not graded: nothing to read"
