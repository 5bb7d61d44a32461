"""Proves that `solon doctor` says what is missing with the command that brings it, chooses a preset as a run does, and
looks at a checkpoint by the checks of a run.
"""

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from solon.cli.doctor import UNKNOWN
from solon.errors import MissingExtraError, ModelError
from solon.nets import count_parameters
from solon.pipeline import machine as machine_module
from solon.pipeline.machine import GIB, Extra, Gpu, Machine
from tests.e2e.conftest import call_solon
from tests.thinking import build_thinking_policy
from tests.tiny import build_tiny_policy

HAS_LOCAL = Extra("local", ("torch 2.13.0", "transformers 5.23.0"), ())
MACHINE = Machine(
    python="3.12.1",
    system="Linux x86_64",
    extras=(HAS_LOCAL, Extra("gguf", (), ("gguf",))),
    processors=8,
    memory=34 * GIB,
    free_memory=30 * GIB,
    computes_bfloat16=True,
    gpus=(),
    has_idle_gpu=False,
    free_disk=5 * GIB,
    shipped_fault="",
)


def ask(monkeypatch: pytest.MonkeyPatch, machine: Machine, *words: object) -> tuple[int, dict[str, str], str]:
    """Return exit code, what is said by the name of each line, and what is said of errors."""
    monkeypatch.setattr(machine_module, "look_at_machine", lambda folder: machine)
    done = call_solon("doctor", *words)
    lines = (line.partition(": ") for line in done.stdout.splitlines())
    return done.returncode, {name: said for name, _, said in lines}, done.stderr


def test_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said, _ = ask(monkeypatch, MACHINE)
    assert code == 0
    assert said["extra local (asks and trains models)"] == "torch 2.13.0, transformers 5.23.0"
    assert said["GPU"] == "torch finds none"
    assert said["memory"] == "34.0 GiB, of which free: 30.0 GiB"
    assert said["bfloat16 on the processors"] == "computed as such"
    assert said["the default run"] == "has all that it needs"
    assert said["a run on your own prompts"].startswith("preset small: chosen")
    (row,) = (line for line in said if line.startswith("the processors"))
    assert row.split() == ["the", "processors", "34.0", "GiB", "2.1", "B", "1.4", "B", "859", "M"]


def test_a_gpu_is_named_and_changes_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said, _ = ask(monkeypatch, replace(MACHINE, gpus=(Gpu("A GPU", 80 * GIB),)))
    assert (code, said["GPU"]) == (0, "A GPU with 80.0 GiB")
    assert said["a run on your own prompts"].startswith("preset small-gpu: chosen")
    assert any(line.split() == ["A", "GPU", "80.0", "GiB", "5.2", "B", "3.5", "B", "2.1", "B"] for line in said)


def test_a_gpu_that_torch_does_not_find_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    _, said, _ = ask(monkeypatch, replace(MACHINE, has_idle_gpu=True))
    assert said["GPU"].startswith("one is there and torch does not find it: install")


def test_without_torch_the_command_is_given_and_the_code_is_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lacking = replace(MACHINE, extras=(Extra("local", (), ("torch", "transformers")),))
    code, said, _ = ask(monkeypatch, lacking, "--model", tmp_path)
    assert code == 1
    advice = str(MissingExtraError("torch", "local")).partition("run ")[2]
    assert advice
    assert said["extra local (asks and trains models)"] == f"lacks torch, transformers: run {advice}"
    assert said["GPU"] == UNKNOWN
    assert said["the default run"] == "cannot be done here, see above"
    assert "a run on your own prompts" not in said
    assert said[f"model {tmp_path}"].startswith("not looked at")


WITHOUT_TORCH = """
import sys
import tomllib
from importlib import metadata

from solon.cli import main

GONE = ("torch", "transformers", "safetensors", "tokenizers")
installed = metadata.version


def version(package):
    if package in GONE:
        raise metadata.PackageNotFoundError(package)
    return installed(package)


metadata.version = version
sys.modules.update(dict.fromkeys(GONE))  # importing one of these is an error
sys.argv = ["solon", "doctor"]
main()
"""


def test_an_installation_without_torch_is_told_what_it_lacks() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "lacks torch, transformers, safetensors: run  pip install '.[local]'" in done.stdout


def test_a_missing_extra_that_the_default_run_does_without_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said, _ = ask(monkeypatch, MACHINE)
    assert code == 0
    assert said["extra gguf (reads and writes GGUF files)"].startswith("lacks gguf: run  pip install '.[gguf]'")


def test_a_missing_nano_model_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said, _ = ask(
        monkeypatch, replace(MACHINE, shipped_fault="data/nano: the nano model is not there: build one")
    )
    assert (code, said["nano model"]) == (1, "data/nano: the nano model is not there: build one")


def test_what_cannot_be_told_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = replace(MACHINE, memory=None, free_memory=None, computes_bfloat16=None)
    code, said, _ = ask(monkeypatch, unknown)
    assert code == 0
    assert said["memory"] == f"{UNKNOWN}, of which free: {UNKNOWN}"
    assert said["bfloat16 on the processors"] == UNKNOWN
    assert not any(line.startswith("the processors") for line in said)


def test_processors_without_bfloat16_are_advised_another_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    _, said, _ = ask(monkeypatch, replace(MACHINE, computes_bfloat16=False))
    assert said["bfloat16 on the processors"].endswith("--dtype float32")


def test_little_memory_trains_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    _, said, _ = ask(monkeypatch, replace(MACHINE, memory=GIB))
    (row,) = (line for line in said if line.startswith("the processors"))
    assert row.split()[2:] == ["1.0", "GiB", *["0", "M"] * 3]


def test_every_extra_has_a_use() -> None:
    from solon.cli.doctor import _USES

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert list(project["optional-dependencies"]) == list(_USES)


# ------------------------------------------------------------------------------------------ checkpoints


def test_a_checkpoint_that_can_be_asked_and_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = build_tiny_policy(tmp_path / "base")
    code, said, _ = ask(monkeypatch, MACHINE, "--model", folder)
    parameters = count_parameters(folder)
    assert code == 0
    assert said[f"model {folder}"] == f"llama, {parameters:,} parameters, float32"
    assert said["context"].startswith("256 tokens")
    assert said["chat template"].startswith("yes")
    assert (said["can be asked"], said["can be trained"]) == ("yes", "yes")
    needs = said["training on the processors, with 34.0 GiB, takes about"]
    assert needs == "SL-CAI 2.0 GiB; RL-CAI 2.0 GiB; RL-CAI with ppo.train_value_trunk 2.0 GiB"


def test_parameters_are_those_of_the_loaded_model_tied_ones_once(tmp_path: Path) -> None:
    from solon.nets import load_policy

    folder = build_tiny_policy(tmp_path / "base")
    assert count_parameters(folder) == sum(weight.numel() for weight in load_policy(folder).parameters())


def test_training_that_takes_more_than_there_is_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = build_tiny_policy(tmp_path / "base")
    _, said, _ = ask(monkeypatch, replace(MACHINE, memory=2 * GIB + 16 * count_parameters(folder)), "--model", folder)
    needs = said["training on the processors, with 2.0 GiB, takes about"].split("; ")
    assert [need.endswith(", too much") for need in needs] == [False, True, True]


def test_a_model_without_a_chat_template_is_tried_as_plain_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = build_tiny_policy(tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    code, said, _ = ask(monkeypatch, MACHINE, "--model", folder)
    assert code == 0
    assert said["chat template"].endswith("--set models.assistant.layout=transcript")
    assert (said["can be asked"], said["can be trained"]) == ("yes", "yes")


def test_a_model_that_thinks_is_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = build_thinking_policy(tmp_path / "base", "opens, switched")
    _, said, _ = ask(monkeypatch, MACHINE, "--model", folder)
    assert "chat_template_kwargs.enable_thinking=false" in said["note"]


def test_one_that_can_be_asked_and_not_trained_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*given: Any) -> None:
        raise ModelError("no preference model can be made of it")

    folder = build_tiny_policy(tmp_path / "base")
    monkeypatch.setattr("solon.pipeline.candidate.check_trainable", refuse)
    code, said, _ = ask(monkeypatch, MACHINE, "--model", folder)
    assert (code, said["can be asked"]) == (0, "yes")
    assert said["can be trained"] == "no: no preference model can be made of it"


def test_weights_that_do_not_fit_are_not_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = build_tiny_policy(tmp_path / "base")
    monkeypatch.setattr("solon.pipeline.candidate.try_candidate", lambda *_: pytest.fail("its weights were loaded"))
    small = replace(MACHINE, free_memory=4 * count_parameters(folder) - 1)
    code, said, _ = ask(monkeypatch, small, "--model", folder)
    assert code == 0
    assert said["can be asked"].startswith("not tried")
    assert "can be trained" not in said


def test_what_is_no_checkpoint_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, said, error = ask(monkeypatch, MACHINE, "--model", tmp_path / "nothing")
    assert code == 2
    assert "no such checkpoint folder" in error
    assert said["the default run"] == "has all that it needs"


def test_a_damaged_checkpoint_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = build_tiny_policy(tmp_path / "base")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    code, _, error = ask(monkeypatch, MACHINE, "--model", folder)
    assert code == 2
    assert "damaged or cut short" in error


def test_weights_that_do_not_fit_the_configuration_are_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = build_tiny_policy(tmp_path / "base")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    code, said, error = ask(monkeypatch, MACHINE, "--model", folder)
    assert code == 2
    assert "down_proj.weight is missing" in error
    assert "can be asked" not in said


def test_a_template_that_would_go_on_with_the_users_turn_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = build_tiny_policy(tmp_path / "base")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().partition("{% if add_generation_prompt %}")[0])
    code, _, error = ask(monkeypatch, MACHINE, "--model", folder)
    assert code == 2
    assert "ignores add_generation_prompt" in error
