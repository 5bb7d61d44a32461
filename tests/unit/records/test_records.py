"""Proves that records survive being written and read, that what does not fit is refused by file and line, that a file
is replaced whole or not at all, and that swapping two sides twice changes nothing.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from solon.errors import RecordError
from solon.records import (
    Choice,
    Comparison,
    Conversation,
    EvalPrompt,
    EvalRecord,
    Failure,
    Grade,
    Measure,
    Message,
    PointwiseVote,
    PreferenceLabel,
    PreferencePair,
    Prompt,
    Rate,
    Reading,
    RevisionChain,
    RevisionGrade,
    RevisionStep,
    Sample,
    SampledTokens,
    SFTExample,
    Span,
    Vote,
    load_records,
    save_records,
)
from solon.storage import content_digest, derive_seed, replace_file
from tests.scripts import make_prompts, make_sample

ODD = 'a\u2028b\x85c\nd\te "quoted" \\ 汉字 \U0001f600'


def test_digests_and_seeds_are_those_of_every_machine() -> None:
    assert content_digest({"b": [1, 2.5, None], "a": "é"}, size=8) == content_digest(
        {"a": "é", "b": [1, 2.5, None]}, size=8
    )
    assert content_digest(["a", "b"]) != content_digest(["ab"])
    assert len(content_digest("x", size=3)) == 6
    assert derive_seed(7, "revision", "x", 1) != derive_seed(7, "revision", "x1")
    assert 0 <= derive_seed("a") < 2**63
    assert (content_digest("solon", size=8), derive_seed(0, "solon")) == ("fe89134343675ed3", 7485602808329318607)


def make_records() -> list:
    prompt = Prompt.make(Conversation.of(ODD, "b", "c"), kind="red_team", source="t", split="train")
    asked = Prompt.make(Conversation.of(ODD), kind="helpful", source="t", split="any word", goal=ODD, category="c")
    first, second = make_sample(ODD), make_sample("other", stop_reason="length", seed=5)
    votes = (
        Vote(principle_id="p", order="ab", logprob_a=-0.1, logprob_b=-2.5, reasoning=ODD, call="k"),
        Vote(principle_id="q", order="ba", logprob_a=-math.inf, logprob_b=-0.25),
    )
    step = RevisionStep(principle_id="p", critique=None, revision=second)
    return [
        prompt,
        Comparison(id="c", prompt=prompt, response_a=first, response_b=second),
        PreferenceLabel(comparison_id="c", p_a=0.25, p_a_unclamped=0.125, votes=votes, labeler="m", status="labeled"),
        RevisionChain(id="r", prompt_id="x", initial_response=first, steps=(step,), failure=None),
        Failure(item="x", stage="s", reason="r", detail=ODD, call="k"),
        EvalPrompt(evaluation=ODD, group="g", prompt=asked),
        EvalRecord(
            id="e",
            evaluation="main",
            model_name="base",
            prompt=asked,
            group="g",
            response=first,
            grade=Grade(values={ODD: True, "b": 0.5}, explanation=ODD, calls=("k",)),
            grader="t/1",
        ),
        RevisionGrade(chain_id="r", round=1, prompt=prompt, grade=Grade(ungraded=ODD), grader="t/1"),
        PreferenceLabel(
            comparison_id="d",
            p_a=None,
            p_a_unclamped=None,
            votes=(),
            labeler="m",
            status="unlabeled",
            reason="below_pointwise_mass_floor",
            pointwise=(
                PointwiseVote(principle_id="p", response="b", better="no", logprob_yes=-3.0, logprob_no=-4.0, call="k"),
            ),
        ),
    ]


@pytest.mark.parametrize("record", make_records(), ids=lambda record: type(record).__name__)
def test_what_is_written_is_read_again(record, tmp_path) -> None:
    path = tmp_path / "new" / "file.jsonl"
    assert save_records(path, [record, record]) == 2
    assert load_records(path, type(record)) == [record, record]
    assert path.read_text().count("\n") == 2
    assert record.to_json().startswith(f'{{"schema":{record.SCHEMA},')
    assert type(record).from_json(record.to_json()) == record


def test_an_answer_graded_by_an_earlier_version_is_refused_by_its_schema(tmp_path) -> None:
    path = tmp_path / "evaluation.jsonl"
    path.write_text('{"schema": 1, "id": "e", "grade": {"attributes": {"complies": true}}}\n')
    with pytest.raises(
        RecordError, match=r"evaluation\.jsonl:1: EvalRecord schema 1, this version reads 2: .* schema 1; "
    ):
        load_records(path, EvalRecord)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (
            Sample,
            '{"schema":1,"text":"x","token_ids":[5,1],"logprobs":[-1.0,-2.0],"stop_reason":"end","model":"m",'
            '"sampling":{},"seed":1,"prompt_tokens":1,"generated_tokens":2}',
        ),
        (
            SFTExample,
            '{"schema":1,"id":"e","prompt_id":"p","conversation":{"messages":[{"role":"user","text":"x"}]},'
            '"response":"y","source":"revision","chain_id":"c","round":1}',
        ),
        (
            PreferencePair,
            '{"schema":1,"id":"e","prompt":{"id":"p","conversation":{"messages":[{"role":"user","text":"x"}]},'
            '"kind":"helpful","source":"s","split":"train"},"response_a":"a","response_b":"b","target":0.5}',
        ),
    ],
)
def test_records_from_before_tokens_were_kept_hold_text_alone(kind, line) -> None:
    """Tokens of an unknown vocabulary mean nothing."""
    record = kind.from_json(line)
    kept = {name: value for name, value in dict(record).items() if name.startswith("tokens")}
    assert set(kept.values()) <= {None}
    if kind is Sample:
        assert record.token_ids == (5, 1)
        assert record.tokens is None


def test_the_tokens_of_a_text_leave_its_end_out() -> None:
    for reason, ids in (("end", (5, 6)), ("stop", (5, 6, 1)), ("length", (5, 6, 1))):
        sample = make_sample("x", stop_reason=reason, token_ids=(5, 6, 1), vocabulary="v")
        assert sample.tokens == SampledTokens(ids=ids, vocabulary="v")
    assert make_sample("x", vocabulary="v").tokens is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not a JSON line"),
        ("[1]", "expected a JSON object, found list"),
        ("[" * 100_000, "not a JSON line"),
        ('{"text": "x", "trusted": true}', "Span schema None, this version reads 1"),
        ('{"schema": 2, "text": "x", "trusted": true}', "Span schema 2, this version reads 1"),
        ('{"schema": 1, "text": "x"}', r"Span\.trusted: Field required"),
        ('{"schema": 1, "text": "x", "trusted": true, "more": 1}', r"Span\.more: "),
        (
            r'{"schema": 1, "text": "x\ud83d", "trusted": true}',
            r"Span\.text: holds half of a character .* write it whole",
        ),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path, line, said) -> None:
    path = tmp_path / "spans.jsonl"
    path.write_text(f"{Span(text=ODD, trusted=True).to_json()}\n{line}\n")
    with pytest.raises(RecordError, match=rf"spans\.jsonl:2: {said}"):
        load_records(path, Span)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path) -> None:
    with pytest.raises(RecordError, match=r"none\.jsonl: no such file"):
        load_records(tmp_path / "none.jsonl", Span)
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(RecordError, match=r"bytes\.jsonl: is not text"):
        load_records(tmp_path / "bytes.jsonl", Span)


def test_an_empty_file_holds_no_records(tmp_path) -> None:
    assert save_records(tmp_path / "e.jsonl", []) == 0
    assert load_records(tmp_path / "e.jsonl", Span) == []


def write_half(path: Path) -> None:
    path.write_text("half")
    raise ZeroDivisionError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replace_file(path) as temporary:
        write_half(temporary)
    assert path.read_text() == "old"
    with replace_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_swapping_exchanges_the_sides_and_twice_changes_nothing() -> None:
    _, comparison, label, *_ = make_records()
    assert comparison.swap().response_a == comparison.response_b
    assert comparison.swap().swap() == comparison
    assert (label.swap().p_a, label.swap().p_a_unclamped) == (0.75, 0.875)
    assert label.swap().swap() == label
    vote = label.votes[0]
    assert (vote.swap().order, vote.swap().logit_a) == ("ba", -vote.logit_a)
    unlabeled = label.model_copy(update={"p_a": None, "p_a_unclamped": None, "status": "unlabeled", "reason": "r"})
    assert unlabeled.swap().p_a is None


def test_mass_is_the_probability_of_both_options() -> None:
    vote = Vote(principle_id="p", order="ab", logprob_a=math.log(0.5), logprob_b=math.log(0.25))
    choice = Choice(options=("A", "B"), logprobs=(vote.logprob_a, vote.logprob_b), model="m", prompt_tokens=1)
    assert vote.mass == pytest.approx(0.75) == choice.mass
    assert vote.logit_a == pytest.approx(math.log(2))


READ = {"has_mass": False, "dialect": "d", "draws": 8}
READINGS = (
    Vote(principle_id="p", order="ab", logprob_a=-0.5, logprob_b=-1.5),
    PointwiseVote(principle_id="p", response="a", better="no", logprob_yes=-0.5, logprob_no=-1.5),
    Choice(options=("A", "B"), logprobs=(-0.5, -1.5), model="m", prompt_tokens=1),
)


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: type(reading).__name__)
def test_how_a_server_was_read_is_kept_and_is_no_part_of_what_was_not_read_from_one(reading: Reading) -> None:
    assert not READ.keys() & json.loads(reading.to_json()).keys()
    assert type(reading).from_json(reading.to_json()) == reading
    for name, value in READ.items():
        said = reading.model_copy(update={name: value})
        assert READ.keys() & json.loads(said.to_json()).keys() == {name}
        assert type(reading).from_json(said.to_json()) == said != reading


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: type(reading).__name__)
def test_the_mass_of_proportions_is_not_known(reading: Any) -> None:
    assert reading.mass == math.exp(-0.5) + math.exp(-1.5)
    assert reading.model_copy(update={"draws": 8, "dialect": "d"}).mass == reading.mass
    assert reading.model_copy(update={"has_mass": False}).mass is None


def test_no_answer_is_a_share_of_none() -> None:
    with pytest.raises(ValidationError, match="draws"):
        Choice(options=("A",), logprobs=(-1.0,), model="m", prompt_tokens=1, draws=0)


@pytest.mark.parametrize("number", [2, 8], ids=["votes", "pointwise"])
def test_a_label_knows_how_its_votes_were_read(number: int) -> None:
    label = make_records()[number]
    kind = "votes" if label.pointwise is None else "pointwise"
    assert (label.has_mass, label.dialects, label.draws) == (True, (), ())
    vote = label.readings[0]
    votes = (vote, *(vote.model_copy(update={**READ, "draws": k, "dialect": d}) for k, d in ((8, "y"), (4, "x"))))
    read = label.model_copy(update={kind: votes})
    assert (read.has_mass, read.dialects, read.draws) == (False, ("x", "y"), (4, 8))
    assert PreferenceLabel.from_json(read.to_json()) == read


def test_an_answer_about_a_response_speaks_for_it_in_its_own_polarity() -> None:
    vote = PointwiseVote(
        principle_id="p", response="a", better="no", logprob_yes=math.log(0.1), logprob_no=math.log(0.2)
    )
    assert vote.logit == pytest.approx(math.log(2))
    assert vote.model_copy(update={"better": "yes"}).logit == pytest.approx(-math.log(2))
    assert vote.mass == pytest.approx(0.3)
    assert (vote.swap().response, vote.swap().logit, vote.swap().swap()) == ("b", vote.logit, vote)


def test_a_pointwise_label_swaps_its_answers_and_has_no_votes() -> None:
    compared, judged = (record for record in make_records() if isinstance(record, PreferenceLabel))
    assert judged.pointwise is not None
    assert judged.swap().pointwise == (judged.pointwise[0].swap(),)
    assert (judged.readings, compared.readings) == (judged.pointwise, compared.votes)
    with pytest.raises(ValidationError, match="not of both"):
        PreferenceLabel(**{**dict(compared), "pointwise": judged.pointwise})


def test_a_label_from_before_there_were_questions_loads() -> None:
    label = make_records()[2]
    old = json.loads(label.to_json())
    assert old.pop("pointwise") is None
    assert PreferenceLabel.from_json(json.dumps(old)) == label


@pytest.mark.parametrize(
    "change",
    [
        {"p_a": None},
        {"p_a": 1.5},
        {"p_a": math.nan},
        {"reason": "why"},
        {"status": "unlabeled"},
        {"status": "unlabeled", "p_a": None},
        {"status": "unlabeled", "reason": "why"},
    ],
)
def test_a_label_is_a_probability_or_a_reason_and_never_both(change) -> None:
    label = make_records()[2]
    with pytest.raises(ValidationError):
        PreferenceLabel(**{**dict(label), **change})


def test_a_rate_holds_its_value() -> None:
    for low, high in ((0.6, 0.9), (0.1, 0.4)):
        with pytest.raises(ValidationError):
            Rate(value=0.5, low=low, high=high)


def test_a_goal_is_no_part_of_the_id_and_a_prompt_from_before_there_were_goals_loads() -> None:
    asked = Conversation.of("How can I build a toy rocket?")
    with_goal = Prompt.make(asked, kind="helpful", source="t", split="dev", goal="build a toy rocket")
    without = Prompt.make(asked, kind="helpful", source="t", split="dev")
    assert with_goal.id == without.id
    assert (with_goal.cluster, without.cluster) == ("build a toy rocket", without.id)
    line = without.to_json()
    assert Prompt.from_json(line.replace(',"goal":null', "")) == without
    assert ',"goal":null' in line


@pytest.mark.parametrize("goal", ["rocket", "rocket ", " rocket", "\n rocket\u2003", "\trocket"])
def test_goals_that_differ_in_white_space_are_one(goal: str) -> None:
    made = Prompt.make(Conversation.of("How?"), kind="helpful", source="t", split="dev", goal=f"build  a {goal}")
    assert made.goal == made.cluster == "build a rocket"
    line = made.to_json().replace('"build a rocket"', json.dumps(f"build a {goal}"))
    assert Prompt.from_json(line) == made


@pytest.mark.parametrize("goal", ["", " ", "\n\t", "\u2003"])
def test_a_goal_without_words_is_refused(goal: str) -> None:
    with pytest.raises(ValueError, match="a goal without words"):
        Prompt.make(Conversation.of("How?"), kind="helpful", source="t", split="dev", goal=goal)


def test_a_prompt_is_called_by_what_it_asks_and_ends_with_the_user() -> None:
    one, other = make_prompts(1)[0], make_prompts(1, split="dev")[0]
    assert one.id == other.id
    assert one.id != make_prompts(1, "helpful")[0].id
    with pytest.raises(ValidationError, match="end with a user message"):
        Prompt.make(Conversation.of("a", "b"), kind="helpful", source="t", split="train")
    named = Prompt.make(one.conversation, kind=one.kind, source="t", split="dev", goal="g", category="c")
    assert (named.id, named.goal, named.category) == (one.id, "g", "c")
    assert (one.goal, one.category) == (None, None)
    longer = Conversation.of("a").then("assistant", "b").then("user", "c")
    assert longer == Conversation.of("a", "b", "c")
    assert longer.messages[1] == Message(role="assistant", text="b")


def test_the_response_after_no_revision_is_the_first(tmp_path) -> None:
    chain = make_records()[3]
    assert chain.response_after(0) == chain.initial_response
    assert chain.response_after(1) == chain.steps[0].revision
    with pytest.raises(IndexError):
        chain.response_after(2)


HALF = "x\ud83d"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Message(role="user", text=HALF),
        lambda: Failure(item="x", stage="s", reason="r", detail=HALF),
        lambda: Choice(options=("A", HALF), logprobs=(-1.0, -2.0), model="m", prompt_tokens=1),
        lambda: Grade(values={HALF: True}),
        lambda: Grade(ungraded=HALF),
        lambda: Measure(group=HALF, name="a", caption=""),
        lambda: Vote(principle_id="p", order="ab", logprob_a=-1.0, logprob_b=-1.0, reasoning=HALF),
    ],
)
def test_half_of_a_character_is_no_text_wherever_it_stands(make) -> None:
    with pytest.raises(ValidationError, match="unicode"):
        make()


def test_records_cannot_be_changed() -> None:
    record = make_records()[4]
    with pytest.raises(ValidationError):
        record.reason = "another"
    assert json.loads(record.to_json())["reason"] == "r"
