"""Proves that a conversation remembers its turns, is laid out as the model wants it, and begins anew after
an empty line; and that a call that fails is said and not remembered.
"""

import io
from contextlib import nullcontext

import pytest

from solon.cli.chat import find_model, run_chat
from solon.errors import ConfigError, ModelError, RecordError, RunError
from solon.lm import ScriptedModel, Thinking
from solon.lm.backends import local
from solon.nets import weights_digest
from solon.pipeline.config import build_config
from solon.prompting import render_response
from solon.records import Conversation, Manifest, Origin, RunHeader, RunPaths
from solon.storage import file_digest
from solon.world.nano.shipped import find_nano_model
from tests.scripts import call_failed


@pytest.fixture
def talk(tmp_path, monkeypatch, capsys):
    """Say some lines to a scripted RL-CAI; return what was printed and what the model was asked."""
    RunHeader(
        code_version="1",
        config=build_config("smoke", {}).model_dump(mode="json"),
        task=Origin(source="default", digest="t"),
        constitution=Origin(source="default", digest="c"),
        models={"assistant": Origin(source="/a/model", digest="m")},
    ).save(RunPaths(tmp_path).header)
    checkpoint = RunPaths(tmp_path).model("rl-cai")
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text("{}")

    def call(lines, replies, *, temperature=0.5, thinking=None):
        model = ScriptedModel(replies, layout="transcript", thinking=thinking)
        monkeypatch.setattr(local, "open_model", lambda spec: nullcontext(model))
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)) if isinstance(lines, list) else lines)
        run_chat(tmp_path, "rl-cai", temperature=temperature, max_tokens=7, seed=3)
        return capsys.readouterr().out, model.generated

    return call


@pytest.mark.parametrize("name", ["rl-cai", "base"])
def test_a_device_that_the_run_had_and_this_machine_has_not_is_said(talk, tmp_path, name):
    header = RunHeader.load(RunPaths(tmp_path).header)
    header.config["models"]["assistant"]["device"] = "mtia"
    digest = weights_digest(find_nano_model())
    origin = header.models["assistant"].model_copy(update={"source": "nano", "digest": digest})
    header.model_copy(update={"models": {"assistant": origin}}).save(RunPaths(tmp_path).header)
    with pytest.raises(ModelError, match=r"^models\.assistant\.device: 'mtia': torch cannot use it here \([^\n]*cpu$"):
        run_chat(tmp_path, name, temperature=0.5, max_tokens=7, seed=3)


def test_turns_are_remembered_until_an_empty_line(talk):
    out, asked = talk(["Hello?", "And?", "", "Hello?"], [" One.", "Two.\x1b", "Three."])
    assert out == "One.\nTwo.\\x1b\nThree.\n"
    expected = [("Hello?",), ("Hello?", " One.", "And?"), ("Hello?",)]
    assert [prompt for prompt, *_ in asked] == [render_response(Conversation.of(*t), "transcript") for t in expected]
    assert {(sampling.temperature, sampling.max_tokens) for _, sampling, _ in asked} == {(0.5, 7)}
    assert len({seed for *_, seed in asked}) == 3


def test_a_thought_is_neither_said_nor_remembered(talk):
    replies = ["<think>\nHm.\n</think>\n\nOne.", ("<think>Hm", "length"), "Two."]
    out, asked = talk(["Hello?", "And?", "Well?"], replies, thinking=Thinking("<think>", "</think>"))
    assert out == "One.\n(no answer: the model's thought did not end: raise --max-tokens)\nTwo.\n"
    assert asked[2][0] == render_response(Conversation.of("Hello?", "One.", "Well?"), "transcript")


def test_a_call_that_fails_is_said_and_not_remembered(talk):
    out, asked = talk(["Hello?", "Well?"], [call_failed(), "Two."])
    assert out == "(no answer: the line is dead)\nTwo.\n"
    assert asked[1][0] == render_response(Conversation.of("Well?"), "transcript")


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_bytes_that_are_no_text_reach_the_model_as_such_in_every_locale(talk, errors):
    typed = io.TextIOWrapper(io.BytesIO(b"Hel\xfflo?\nAnd?\n"), encoding="utf-8", errors=errors)
    out, asked = talk(typed, ["One.", "Two."])
    assert out == "One.\nTwo.\n"
    assert asked[0][0] == render_response(Conversation.of("Hel\ufffdlo?"), "transcript")


def test_a_model_that_is_not_there_yet_is_said_to_be_missing(talk, tmp_path):
    (RunPaths(tmp_path).model("rl-cai") / "config.json").unlink()
    with pytest.raises(RunError, match="has no rl-cai yet"):
        talk(["Hello?"], [])
    with pytest.raises(RunError, match="has no rl-cai yet"):
        find_model(tmp_path, None)


@pytest.mark.parametrize(("temperature", "said"), [(1e-40, r"at least 0\.0001"), (-1.0, ""), (float("nan"), "")])
def test_a_temperature_at_which_nothing_can_be_drawn_is_refused(talk, temperature, said):
    with pytest.raises(ConfigError, match=f"chat: temperature: .*{said}"):
        talk(["Hello?"], ["One."], temperature=temperature)


def test_a_damaged_header_is_named(talk, tmp_path):
    header = RunPaths(tmp_path).header
    header.write_text(header.read_text().replace("schema: ", "schema: 9"))
    with pytest.raises(RunError, match=r"run\.yaml: is the header of a run of schema 9"):
        talk(["Hello?"], ["One."])


def test_a_model_that_is_not_as_the_run_wrote_it_does_not_answer(talk, tmp_path):
    file = RunPaths(tmp_path).model("rl-cai") / "config.json"
    outputs = {"models/rl-cai/config.json": file_digest(file), "models/sl-cai/config.json": "not asked for"}
    Manifest(stage="ppo", status="complete", config={}, seed=0, inputs={}, outputs=outputs, code_version="1").save(
        RunPaths(tmp_path).manifest("ppo")
    )
    assert talk(["Hello?"], ["Hello."])[0].endswith("Hello.\n")
    file.write_text("{ }")
    with pytest.raises(RecordError, match=r"rl-cai/config\.json: is not as the run wrote it"):
        talk(["Hello?"], ["Hello."])


@pytest.mark.parametrize("source", ["default", "world", "--red-team a.txt", "given", "a-task-that-has-gone.yaml"])
def test_the_base_of_a_run_on_any_task_is_found_by_the_name_of_a_model_that_ships(tmp_path, monkeypatch, source):
    def save(base):
        RunHeader(
            code_version="1",
            config=build_config("smoke", {"models": {"assistant": {"source": base}}}).model_dump(mode="json"),
            task=Origin(source=source, digest="t"),
            constitution=Origin(source="default", digest="c"),
            models={"assistant": Origin(source=base, digest="of the weights")},
        ).save(RunPaths(tmp_path).header)

    monkeypatch.setattr(local, "identify", lambda spec: "of the weights")
    save("nano")
    assert find_model(tmp_path, "base").source == str(find_nano_model())
    save(str(tmp_path))
    assert find_model(tmp_path, "base").source == str(tmp_path)
    save("gone/away")
    with pytest.raises(
        (ModelError, ConfigError), match=r"^(gone/away: no such checkpoint|a-task-that-has-gone\.yaml: )"
    ):
        find_model(tmp_path, "base")
