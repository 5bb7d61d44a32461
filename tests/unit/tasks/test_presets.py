"""Proves that the presets for models of one's own are whole, fit the machine, and give way to what is set."""

from pathlib import Path
from typing import Any

import pytest

from solon.cli.tasks import default_folder
from solon.pipeline import config as config_module
from solon.pipeline.config import RunConfig, build_config
from solon.pipeline.limits import LIMITS
from solon.pipeline.task import load_task
from solon.tasks import FileTask
from solon.tasks.files import load

MODEL = {"models": {"assistant": {"source": "m"}}}


def make_task(folder: Path, text: str = "") -> FileTask:
    (folder / "asks.txt").write_text("Sing.\nWhat is rain?\n")
    (folder / "measures.txt").write_text("Dance.\n")
    groups = "{benign: {file: measures.txt, kind: helpful}}"
    (folder / "task.yaml").write_text(
        f"name: bakery\ntraining: {{helpful: asks.txt}}\nevaluations: [{{name: main, groups: {groups}}}]\n{text}"
    )
    return load(str(folder / "task.yaml"))


@pytest.mark.parametrize(("gpu", "preset", "device"), [(False, "small", "cpu"), (True, "small-gpu", "cuda")])
def test_without_a_name_the_preset_is_that_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool, preset: str, device: str
) -> None:
    monkeypatch.setattr(config_module, "has_gpu", lambda: gpu)
    task = make_task(tmp_path)
    config = build_config(None, MODEL, task)
    assert (config.preset, config.models["assistant"].device) == (preset, device)
    assert config.models["assistant"].layout == "single"
    _, said = task.choose_preset(has_gpu=gpu)
    assert said.startswith(f"preset {preset}: ")
    assert "--preset paper" in said


@pytest.mark.parametrize("preset", ["small", "small-gpu"])
def test_every_role_has_what_the_assistant_has(tmp_path: Path, preset: str) -> None:
    config = build_config(preset, MODEL, make_task(tmp_path))
    assert len({spec.model_dump_json() for spec in config.models.values()}) == 1
    assert config.feedback.labels == "pointwise"


def test_paper_is_the_core_of_its_own_values(tmp_path: Path) -> None:
    config = build_config("paper", MODEL, make_task(tmp_path))
    plain = RunConfig(preset="paper", models=config.models, prompts=config.prompts)
    assert config == plain


def test_a_task_lays_its_settings_and_models_over_every_preset(tmp_path: Path) -> None:
    text = (
        "models: {assistant: {source: ./m, layout: chat}}\n"
        "settings: {revision: {max_tokens: 33}, prompts: {evaluation: {at_most: 7}}}\n"
    )
    (tmp_path / "m").mkdir()
    for preset in ("small", "small-gpu", "paper"):
        config = build_config(preset, {"revision": {"rounds": 3}}, make_task(tmp_path, text))
        assert (config.models["assistant"].layout, config.revision.max_tokens) == ("chat", 33)
        assert (config.revision.rounds, config.prompts.evaluation) == (3, {"at_most": 7})


def test_a_task_of_files_runs_in_a_folder_of_its_name_and_the_world_in_that_of_its_preset(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    assert default_folder(task, None) == default_folder(task, "small") == Path("runs/bakery")
    assert default_folder(load_task("world"), None) == Path("runs/nano")
    assert default_folder(load_task("world"), "smoke") == Path("runs/smoke")


def test_the_limit_of_helpful_answers_may_grow() -> None:
    assert "revision.helpful_max_tokens" in LIMITS


def test_the_starter_task_asks_for_no_more_than_there_is() -> None:
    task = load_task("starter")
    for preset in task.presets:
        wanted: Any = build_config(preset, MODEL, task).prompts
        sizes = {stage: dict(getattr(wanted, stage)) for stage in ("revision", "comparisons", "ppo")}
        drawn = task.training_prompts(sizes, seed=0)
        assert {stage: len(prompts) for stage, prompts in drawn.items()} == {
            stage: sum(size.values()) for stage, size in sizes.items()
        }
