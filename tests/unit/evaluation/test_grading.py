"""Proves that every prompt is asked as often as configured, that every answer is graded for its own prompt, that a
failed call is a failure and never a grade, and that whatever a grader of a user's own does is said in one line.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from solon.errors import CallFailedError, ConfigError, RunError, StageFailedError
from solon.evaluation import (
    Evaluation,
    EvaluationConfig,
    Grader,
    OpenModel,
    PairGrader,
    grade_response,
    grade_revisions,
    run_evaluation,
)
from solon.lm import LanguageModel, ScriptedModel
from solon.lm.backends.scripted import Reply
from solon.prompting import render_response
from solon.records import (
    EvalRecord,
    Failure,
    Grade,
    Measures,
    Prompt,
    Rendered,
    RevisionChain,
    RevisionStep,
    Sample,
    Sampling,
)
from tests.scripts import call_failed, make_prompts, make_sample, wait_for

PROMPTS = {"harmful": make_prompts(4, split="heldout"), "benign": make_prompts(3, "helpful", "heldout")}


class Echo:
    """Grades by repeating what it was given."""

    identity = "echo"

    async def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Grade:
        return Grade(values={"seen": True}, explanation=f"{prompt.id}: {response.text}")


class Beside:
    """Compares by repeating what it was given."""

    identity = "beside"

    async def compare(self, prompt: Prompt, response: Sample, reference: Sample, open_model: OpenModel) -> Grade:
        return Grade(values={"seen": True}, explanation=f"{prompt.id}: {response.text} | {reference.text}")


def write(rendered: Rendered, sampling: Sampling, seed: int) -> str:
    return f"answer {seed}"


def open_none(role: str) -> LanguageModel:
    raise AssertionError(f"nobody asks a model, but {role} was opened")


def asking(
    grader: Grader | PairGrader, prompts: Mapping[str, Sequence[Prompt]] = PROMPTS, name: str = "heldout"
) -> Evaluation:
    return Evaluation(name=name, caption="", prompts=prompts, grader=grader, measures=Measures())


def run(
    model: ScriptedModel,
    bound: float = 0.0,
    name: str = "base",
    seed: int = 2,
    *,
    evaluation: Evaluation | None = None,
    reference: LanguageModel | None = None,
    open_model: OpenModel = open_none,
    **config: Any,
) -> Any:
    work = run_evaluation(
        name,
        model,
        evaluation or asking(Echo()),
        EvaluationConfig(**config),
        reference=reference,
        open_model=open_model,
        seed=seed,
        max_failure_fraction=bound,
    )
    return wait_for(work).results


def test_every_prompt_is_asked_and_graded_as_itself() -> None:
    model = ScriptedModel(write)
    records = run(model, samples_per_prompt=2)
    assert [(r.group, r.prompt) for r in records] == [
        (group, prompt) for group, prompts in PROMPTS.items() for prompt in prompts for _ in range(2)
    ]
    asked = {seed: rendered for rendered, _, seed in model.generated}
    for record in records:
        assert asked[record.response.seed] == render_response(record.prompt.conversation)
        assert (record.evaluation, record.model_name, record.grader) == ("heldout", "base", "echo")
        assert record.reference is None
        assert record.response.text == f"answer {record.response.seed}"
        assert record.grade.explanation == f"{record.prompt.id}: {record.response.text}"
    assert len({r.response.seed for r in records}) == len({r.id for r in records}) == 14


def test_models_draw_alike_on_the_same_prompt_and_are_told_apart() -> None:
    base, tuned = run(ScriptedModel(write)), run(ScriptedModel(write), name="sl-cai")
    assert [r.response.seed for r in base] == [r.response.seed for r in tuned]
    assert not {r.id for r in base} & {r.id for r in tuned}


def test_one_prompt_in_two_evaluations_has_two_records_and_one_answer() -> None:
    first, second = run(ScriptedModel(write)), run(ScriptedModel(write), evaluation=asking(Echo(), name="again"))
    assert [r.response for r in first] == [r.response for r in second]
    assert not {r.id for r in first} & {r.id for r in second}
    assert {r.evaluation for r in second} == {"again"}


def test_an_answer_depends_on_no_other_prompt() -> None:
    alone = [
        run(ScriptedModel(write), evaluation=asking(Echo(), {"benign": [prompt]}))[0] for prompt in PROMPTS["benign"]
    ]
    assert alone == run(ScriptedModel(write))[4:]


def test_a_failed_call_is_a_failure_with_its_address_and_bounded() -> None:
    prompt = PROMPTS["harmful"][1]

    def fail(rendered: Rendered, sampling: Sampling, seed: int) -> Reply:
        return call_failed() if rendered == render_response(prompt.conversation) else write(rendered, sampling, seed)

    records = run(ScriptedModel(fail), bound=0.15)
    assert [type(item) for item in records] == [EvalRecord, Failure, *[EvalRecord] * 5]
    assert (records[1].item, records[1].reason) == (f"harmful/{prompt.id}/1", "call_failed")
    with pytest.raises(StageFailedError):
        run(ScriptedModel(fail), bound=0.1)


def test_cut_off_and_empty_answers_are_the_graders_to_judge() -> None:
    said = [r.grade.explanation.partition(": ")[2] for r in run(ScriptedModel([("cut o", "length"), *[""] * 6]))]
    assert said == ["cut o", *[""] * 6]


CHANGES: dict[str, Any] = {
    "temperature": 0.0,
    "top_p": 0.9,
    "min_p": 0.1,
    "max_tokens": 9,
    "samples_per_prompt": 2,
}


def test_every_field_is_tried() -> None:
    assert set(EvaluationConfig.model_fields) == set(CHANGES)


@pytest.mark.parametrize("name", list(CHANGES))
def test_fields_turn_something(name: str) -> None:
    before, after = ScriptedModel(write), ScriptedModel(write)
    run(before)
    run(after, **{name: CHANGES[name]})
    assert before.generated != after.generated


def test_answers_are_asked_for_in_the_layout_of_the_model_that_is_asked() -> None:
    model, reference = ScriptedModel(write, layout="transcript"), ScriptedModel(write)
    run(model, evaluation=asking(Beside()), reference=reference)
    assert {asked.layout for asked, *_ in model.generated} == {"transcript"}
    assert {asked.layout for asked, *_ in reference.generated} == {"chat"}


# ------------------------------------------------------------------------------------------- graders of any kind


def test_a_pair_grader_sees_both_models_answer_the_same_draw() -> None:
    model, reference = ScriptedModel(write), ScriptedModel(lambda _, __, seed: f"reference {seed}")
    records = run(model, name="sl-cai", evaluation=asking(Beside()), reference=reference, samples_per_prompt=2)
    assert [call for call, *_ in model.generated] == [call for call, *_ in reference.generated]
    for record in records:
        seed = record.response.seed
        assert record.grade.explanation == f"{record.prompt.id}: answer {seed} | reference {seed}"
        assert record.response.text == f"answer {seed}"  # the record is of the model, not of its reference
        assert record.reference is not None
        assert record.reference.text == f"reference {seed}"
    assert len(records) == 14


def test_a_pair_grader_that_has_nothing_to_compare_with_is_refused() -> None:
    with pytest.raises(ConfigError, match="grader beside compares two responses: there is one only"):
        run(ScriptedModel(write), evaluation=asking(Beside()))


def test_a_grader_that_compares_and_grades_is_either_and_not_neither() -> None:
    assert isinstance(Echo(), Grader)
    assert not isinstance(Echo(), PairGrader)
    assert isinstance(Beside(), PairGrader)
    assert not isinstance(Beside(), Grader)


class Judge:
    """Asks the model of a role, and keeps which call it was."""

    identity = "judge"

    async def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Grade:
        said = await open_model("feedback").generate(render_response(prompt.conversation), Sampling(), seed=7)
        return Grade(values={"agrees": said.text == "yes"}, explanation=said.text)


def test_a_grader_may_ask_the_model_of_a_role() -> None:
    opened: list[str] = []
    judge = ScriptedModel(["yes", "no", *["yes"] * 5])

    def open_model(role: str) -> LanguageModel:
        opened.append(role)
        return judge

    records = run(ScriptedModel(write), evaluation=asking(Judge()), open_model=open_model)
    assert opened == ["feedback"] * 7
    assert sorted(r.grade.values["agrees"] for r in records) == [False, *[True] * 6]


def test_a_judge_whose_call_failed_brings_a_failure_and_no_grade() -> None:
    def ask(bound: float) -> Any:
        judge = ScriptedModel([call_failed(), *["yes"] * 6])
        return run(ScriptedModel(write), bound, evaluation=asking(Judge()), open_model=lambda _: judge)

    (failure,) = [item for item in ask(0.15) if isinstance(item, Failure)]
    assert (failure.reason, failure.detail) == ("call_failed", "the line is dead")
    with pytest.raises(StageFailedError):
        ask(0.1)


class Broken:
    """Does what a user's own grader may do: fails, or gives something else."""

    identity = "broken/2"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def grade_with(grader: Any) -> Grade:
    return wait_for(grade_response(grader, PROMPTS["harmful"][0], make_sample("x"), open_none))


class NoCompare:
    identity = "broken/2"

    async def compare(self, prompt: Prompt, response: Sample, reference: Sample, open_model: OpenModel) -> Grade:
        raise KeyError("better")


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("division by zero"),
        KeyError("label"),
        ValueError("line one\nline two"),
        AssertionError(),
        SystemExit(3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_grader_that_raises_is_named_in_one_line_with_the_prompt(error: BaseException) -> None:
    with pytest.raises(RunError) as caught:
        run(ScriptedModel(write), evaluation=asking(Broken(error)), bound=1.0)
    said = str(caught.value)
    assert said.startswith(f"grader broken/2: failed on prompt {PROMPTS['harmful'][0].id} with {type(error).__name__}")
    assert "\n" not in said
    assert caught.value.__cause__ is error


def test_a_pair_grader_that_raises_is_named_likewise() -> None:
    work = grade_response(NoCompare(), PROMPTS["benign"][0], make_sample("x"), open_none, reference=make_sample("y"))
    with pytest.raises(RunError, match=f"failed on prompt {PROMPTS['benign'][0].id} with KeyError: 'better'"):
        wait_for(work)


@pytest.mark.parametrize(("answer", "kind"), [(None, "NoneType"), (True, "bool"), ({"complies": True}, "dict")])
def test_a_grader_that_gives_no_grade_is_named_with_what_it_gave(answer: Any, kind: str) -> None:
    with pytest.raises(RunError) as caught:
        grade_with(Broken(answer))
    said = str(caught.value)
    assert f"grader broken/2: gave {kind} instead of a Grade" in said
    assert PROMPTS["harmful"][0].id in said
    assert "\n" not in said


def test_a_grade_that_holds_no_values_is_the_graders_error() -> None:
    class Wrong:
        identity = "wrong"

        async def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Grade:
            return Grade(values={"score": 7.5})

    with pytest.raises(RunError, match="grader wrong: failed on prompt") as caught:
        grade_with(Wrong())
    assert "values are truths or numbers in [0, 1], which ['score'] are not" in str(caught.value)
    assert "\n" not in str(caught.value)


class NotAsync:
    """A grader whose author forgot the word `async`."""

    identity = "hasty"

    def grade(self, prompt: Prompt, response: Sample, open_model: OpenModel) -> Grade:
        return Grade(values={"seen": response.text.index("x") == 0})


class TooFew:
    """A grader whose author forgot a parameter."""

    identity = "hasty"

    async def grade(self, prompt: Prompt, response: Sample) -> Grade:
        return Grade(values={"seen": True})


@pytest.mark.parametrize("text", ["x", "fails before it is awaited"])
@pytest.mark.parametrize("grader", [NotAsync(), TooFew()], ids=lambda grader: type(grader).__name__)
def test_a_grader_of_another_shape_is_said_to_be_wrong_in_one_line(grader: Any, text: str) -> None:
    with pytest.raises(RunError, match=f"grader hasty: failed on prompt {PROMPTS['harmful'][0].id} with ") as caught:
        wait_for(grade_response(grader, PROMPTS["harmful"][0], make_sample(text), open_none))
    assert "\n" not in str(caught.value)


def test_an_error_of_this_packages_own_passes_as_it_is() -> None:
    error = CallFailedError("the line is dead")
    with pytest.raises(CallFailedError) as caught:
        grade_with(Broken(error))
    assert caught.value is error


# ------------------------------------------------------------------------------------------------- revisions


def make_chain(prompt: Prompt, *revisions: str, failure: Failure | None = None) -> RevisionChain:
    steps = tuple(RevisionStep(principle_id="p", critique=None, revision=make_sample(text)) for text in revisions)
    return RevisionChain(
        id=f"chain of {prompt.id}",
        prompt_id=prompt.id,
        initial_response=make_sample("first"),
        steps=steps,
        failure=failure,
    )


def test_the_responses_of_a_chain_are_graded_after_each_revision_for_their_own_prompt() -> None:
    first, second = PROMPTS["harmful"][:2]
    broken = Failure(item=second.id, stage="revision", reason="empty_revision", detail="")
    chains = [make_chain(first, "once", "twice"), make_chain(second, "once", failure=broken)]
    work = grade_revisions(chains, [second, first], asking(Echo()), open_model=open_none, max_failure_fraction=0.0)
    found = [(g.chain_id, g.round, g.prompt, g.grade.explanation, g.grader) for g in wait_for(work).kept]
    assert found == [
        (chain.id, number, prompt, f"{prompt.id}: {text}", "echo")
        for chain, prompt, texts in zip(
            chains, (first, second), (("first", "once", "twice"), ("first", "once")), strict=True
        )
        for number, text in enumerate(texts)
    ]


def test_a_grade_of_a_revision_that_failed_has_its_address_and_is_bounded() -> None:
    prompt = PROMPTS["harmful"][0]
    chain = make_chain(prompt, "once")

    def work(bound: float) -> Any:
        judge = ScriptedModel(["yes", call_failed()])
        evaluation = asking(Judge())
        return grade_revisions([chain], [prompt], evaluation, open_model=lambda _: judge, max_failure_fraction=bound)

    (failure,) = wait_for(work(0.5)).failures
    assert (failure.item, failure.reason) == (f"{chain.id}/1", "call_failed")
    with pytest.raises(StageFailedError):
        wait_for(work(0.4))
