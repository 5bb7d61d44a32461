"""Proves that a run says before it begins which of its models may think, and that no thought goes into what is
criticised, revised, compared, learnt and graded.

The witness is the same run of models that say the same and think nothing.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import solon
from solon.lm import ModelSpec, Thinking
from solon.pipeline.ancestry import describe
from solon.pipeline.models import describe_thoughts
from solon.prompting import render_response
from solon.records import EvalRecord, Failure, PreferenceLabel, RevisionChain, RunHeader, RunPaths, load_records
from solon.world.task import WorldTask
from tests.pipeline_fakes import SMALL, FakeModels
from tests.thinking import build_thinking_policy

THINKING = Thinking("<think>", "</think>")
EVERYTHING: dict[str, Any] = {**SMALL, "max_failure_fraction": 1.0, "feedback": {"chain_of_thought": True}}


class Thinkers(FakeModels):
    """Models that think aloud before they say what the fakes say; thoughts of some draws never end."""

    def __init__(self, root: Path, *, never_ends: Callable[[str, int], bool] = lambda asked, seed: False) -> None:
        super().__init__(root)
        self._never_ends = never_ends

    def open_model(self, checkpoint):
        model = super().open_model(checkpoint)
        reply, model._thinking = model._reply, THINKING

        def think(prompt, sampling, seed):
            said = reply(prompt, sampling, seed)
            text, reason = said if isinstance(said, tuple) else (said, "end")
            if self._never_ends(prompt.text, seed):
                return f"<think>\nWhat of {text}", "length"
            return f"<think>\nWhat of {text}\n</think>\n\n{text}", reason

        model._reply = think
        return model


def run(fakes: FakeModels, out: Path) -> dict[str, list[Any]]:
    """Run every stage; return the lines of every record file."""
    with fakes.installed():
        solon.run(out=out, preset="smoke", overrides={**EVERYTHING, **fakes.assistant})
    return {
        path.name: [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted((out / "records").glob("*.jsonl"))
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return run(FakeModels(folder), folder / "run")


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    """A run in which one thought in four never ends, and none about the example."""
    folder = tmp_path_factory.mktemp("lost")
    run_lost(folder)
    return folder / "run"


def run_lost(folder: Path) -> None:
    example = render_response(WorldTask().example().conversation).text
    run(Thinkers(folder, never_ends=lambda asked, seed: seed % 4 == 0 or asked == example), folder / "run")


def without_thoughts(value: Any) -> Any:
    """Leave out what a thought adds to a record: itself, its words, and the names of calls, which hold prompts."""
    if isinstance(value, dict):
        left_out = ("thought", "generated_tokens", "call", "calls")
        return {key: without_thoughts(item) for key, item in value.items() if key not in left_out}
    return [without_thoughts(item) for item in value] if isinstance(value, list) else value


def test_a_run_of_models_that_think_makes_what_one_of_models_that_do_not_makes(plain, tmp_path) -> None:
    thought = run(Thinkers(tmp_path), tmp_path / "run")
    assert without_thoughts(thought) == without_thoughts(plain)
    for name in ("sft_examples.jsonl", "preference_labels.jsonl", "preference_pairs.jsonl"):
        assert thought[name] == plain[name]  # neither in a text, nor beside one
    samples = [chain["initial_response"] for chain in thought["revision_chains.jsonl"]]
    assert samples
    for sample in samples:
        assert sample["thought"] == f"What of {sample['text']}"


def test_no_prompt_shows_a_thought(tmp_path) -> None:
    fakes = Thinkers(tmp_path)
    run(fakes, tmp_path / "run")
    asked = [prompt.text for model in fakes.models for prompt, *_ in (*model.generated, *model.chosen)]
    assert asked
    assert not [text for text in asked if "<think>" in text or "What of" in text]


def test_a_thought_that_never_ends_is_never_an_empty_response(lost) -> None:
    records = lost / "records"
    text = "".join(path.read_text() for path in (records / "sft_examples.jsonl", records / "preference_pairs.jsonl"))
    assert '"response":""' not in text
    assert "What of" not in text
    failures = load_records(records / "failures_revision.jsonl", Failure)
    broken = [c.failure for c in load_records(records / "revision_chains.jsonl", RevisionChain) if c.failure]
    reasons = {failure.reason for failure in (*failures, *broken)}
    assert "truncated_response" in reasons
    assert reasons <= {"truncated_response", "truncated_critique", "truncated_revision"}
    said = {failure.detail.removeprefix("round 1: ").partition(" within ")[0] for failure in failures}
    assert "no end of its thought" in said
    labels = load_records(records / "preference_labels.jsonl", PreferenceLabel)
    assert {"truncated_response", "truncated_reasoning"} <= {label.reason for label in labels}
    assert not {label.reason for label in labels} & {"empty_response", "empty_reasoning"}


def test_a_thought_that_never_ends_is_graded_as_what_could_not_be_told(lost) -> None:
    answers = load_records(lost / "records" / "evaluation.jsonl", EvalRecord)
    unfinished = [answer for answer in answers if not answer.response.thought_closed]
    assert 0 < len(unfinished) < len(answers)
    for answer in answers:
        said = answer.grade.ungraded == "the model's thought did not end: there is no response"
        assert said == (not answer.response.thought_closed)


def test_a_record_is_shown_with_the_thoughts_it_rests_on(lost) -> None:
    chain, *_ = (c for c in load_records(lost / "records" / "revision_chains.jsonl", RevisionChain) if c.steps)
    shown = describe(lost, chain.id)
    for sample in (chain.initial_response, chain.steps[0].critique, chain.steps[0].revision):
        assert f"thought before: {sample.thought}\n" in shown
    answers = load_records(lost / "records" / "evaluation.jsonl", EvalRecord)
    answer = next(answer for answer in answers if not answer.response.thought_closed)
    shown = describe(lost, answer.id)
    assert "response: none, its thought did not end\n" in shown
    assert f"thought before: {answer.response.thought}\n" in shown


def test_an_example_that_nobody_answered_is_not_revised(lost) -> None:
    draws = load_records(lost / "records" / "example.jsonl", EvalRecord)
    assert draws
    assert not [draw for draw in draws if draw.response.thought_closed]
    assert (lost / "records" / "example_chain.jsonl").read_text() == ""
    assert "(no response: the model&#39;s thought did not end)" in (lost / "report.html").read_text()


SWITCHED = "or turn thoughts off with  --set models.assistant.chat_template_kwargs.enable_thinking=false"
RAISE = "raise the limits of what it writes"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("opens", ["begins every answer with a thought", f"after an empty thought: {RAISE}"]),
        ("opens, switched", ["begins every answer with a thought", f"after an empty thought: {RAISE}, {SWITCHED}"]),
        ("switched", ["lets it think before it answers", f"after an empty thought: {RAISE}, {SWITCHED}"]),
        ("strips", ["lets it think before it answers", f"learns answers without one: {RAISE}"]),
    ],
)
def test_a_model_that_may_think_is_named_before_the_run(kind: str, said: list[str], tmp_path: Path) -> None:
    models = {"assistant": ModelSpec(source=str(build_thinking_policy(tmp_path / "model", kind)))}
    (note,) = describe_thoughts(models, ["assistant"])
    first, last = said
    assert note.startswith(f"models.assistant: its chat template {first}, which uses up max_tokens and is kept apart")
    assert note.endswith(last)


def test_it_is_told_apart_by_role_and_by_what_it_is_told(tmp_path: Path) -> None:
    source = str(build_thinking_policy(tmp_path / "model", "switched"))
    off = {"source": source, "chat_template_kwargs": {"enable_thinking": False}}
    models = {
        "assistant": ModelSpec(**off),
        "critic": ModelSpec(source=source),
        "feedback": ModelSpec(source=source),
        "judge": ModelSpec(source=source, layout="transcript"),
        "other": ModelSpec(source="answers.jsonl", backend="scripted"),
    }
    (note,) = describe_thoughts(models, ["assistant"])
    assert note == (
        "models.critic: its chat template lets it think before it answers, which uses up max_tokens and is kept apart "
        "from the answer: raise the limits of what it writes, or turn thoughts off with  "
        "--set models.critic.chat_template_kwargs.enable_thinking=false"
    )
    models["judge"] = ModelSpec(source=str(build_thinking_policy(tmp_path / "plain", "none")))
    assert describe_thoughts(models, ["assistant"]) == [note]


def test_a_model_in_the_transcript_layout_is_not_laid_out_by_its_template(tmp_path: Path) -> None:
    source = str(build_thinking_policy(tmp_path / "model", "opens"))
    for layout, count in (("transcript", 0), ("chat", 1), ("single", 1)):
        models = {"assistant": ModelSpec(source=source, layout=layout)}
        for trained in ([], ["assistant"]):
            assert len(describe_thoughts(models, trained)) == count


def test_the_note_is_in_the_header_of_the_run(tmp_path: Path) -> None:
    source = str(build_thinking_policy(tmp_path / "model", "switched"))
    for told, count in (({}, 1), ({"enable_thinking": False}, 0)):
        models = {"assistant": {"source": source, "chat_template_kwargs": told}}
        out = tmp_path / f"run-{count}"
        solon.run(out=out, preset="smoke", overrides={**SMALL, "models": models}, until="prompts")
        notices = RunHeader.load(RunPaths(out).header).notices
        assert sum("lets it think before it answers" in notice for notice in notices) == count
