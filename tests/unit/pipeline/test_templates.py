"""Proves that own templates decide a run by their content: they are in its header and in the manifests of its stages,
another set asks for another run, and where the folder lies does not matter.
"""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

import solon
from solon.errors import ConfigError, ModelError, RunError
from solon.lm import (
    LanguageModel,
    ModelSpec,
    ScriptedModel,
    find_spellings,
    read_call,
    respond,
    with_system_prompt,
    with_templates,
)
from solon.pipeline.manifests import load_manifest
from solon.pipeline.models import check_layouts
from solon.pipeline.observer import Observer
from solon.prompting import Templates, render_response, templates_digest
from solon.records import Conversation, Layout, RevisionChain, RunHeader, RunPaths, Sampling, load_records
from tests.asking import ask
from tests.e2e.conftest import call_solon
from tests.pipeline_fakes import SMALL, FakeModels
from tests.tiny import build_tiny_policy

OWN = {"chat/critique_request.txt": "Now, {{request}}\n"}


class Heard(Observer):
    def __init__(self) -> None:
        self.skipped: dict[str, bool] = {}

    def stage_finished(self, manifest: Any, *, skipped: bool) -> None:
        self.skipped[manifest.stage] = skipped


@pytest.fixture
def fakes(tmp_path: Path) -> FakeModels:
    return FakeModels(tmp_path / "fakes")


def start(tmp_path: Path, fakes: FakeModels, templates: Any, out: str = "run", **fields: Any) -> Heard:
    heard = Heard()
    models = {"assistant": {**fakes.assistant["models"]["assistant"], **fields}}
    with fakes.installed():
        solon.run(
            out=tmp_path / out,
            preset="smoke",
            overrides={**SMALL, "models": models},
            until="sft",
            templates=templates,
            observer=heard,
        )
    return heard


def write(folder: Path, text: str = OWN["chat/critique_request.txt"]) -> Path:
    (folder / "chat").mkdir(parents=True, exist_ok=True)
    (folder / "chat" / "critique_request.txt").write_text(text)
    return folder


def test_critiques_are_asked_for_in_the_own_template_and_nothing_else_is_changed(
    tmp_path: Path, fakes: FakeModels
) -> None:
    start(tmp_path, fakes, write(tmp_path / "own"))
    start(tmp_path, fakes, None, out="plain")

    def turns(out: str) -> list[list[str]]:
        paths = RunPaths(tmp_path / out)
        chains = load_records(paths.records("revision_chains"), RevisionChain)
        calls = [step.critique.call for chain in chains for step in chain.steps[:1] if step.critique is not None]
        found = [read_call(paths.journal, call) for call in calls]
        return [["".join(span[1] for span in turn[1]) for turn in call.request["turns"]] for call in found if call]

    own, plain = turns("run"), turns("plain")
    assert own
    assert [[*turn[:-1], turn[-1].removeprefix("Now, ")] for turn in own] == plain
    assert all(turn[-1].startswith("Now, ") for turn in own)


def test_the_content_decides_and_not_the_place(tmp_path: Path, fakes: FakeModels) -> None:
    start(tmp_path, fakes, write(tmp_path / "own"))
    paths = RunPaths(tmp_path / "run")
    header = RunHeader.load(paths.header)
    assert header.templates is not None
    assert (header.templates.source, header.own_templates) == (str(tmp_path / "own"), OWN)
    inputs = {stage: load_manifest(paths.manifest(stage)) for stage in ("revision", "sft")}
    assert {found.inputs["templates"] for found in inputs.values() if found} == {templates_digest(OWN)}
    shutil.move(tmp_path / "own", tmp_path / "moved")
    for given in (tmp_path / "moved", OWN):
        assert set(start(tmp_path, fakes, given).skipped.values()) == {True}
    for given, found in ((None, "<absent>"), (write(tmp_path / "other", "Well, {{request}}"), "[0-9a-f]+")):
        with pytest.raises(RunError, match=rf"\n  digest\.templates: {header.templates.digest} -> {found}\n"):
            start(tmp_path, fakes, given)
    assert RunHeader.load(paths.header) == header


def test_own_files_that_say_what_the_package_says_are_no_own_templates(tmp_path: Path, fakes: FakeModels) -> None:
    start(tmp_path, fakes, None)
    before = (tmp_path / "run" / "run.yaml").read_bytes()
    assert b"templates" not in before
    assert set(start(tmp_path, fakes, {"chat/user.txt": "{{text}}\n"}).skipped.values()) == {True}
    assert (tmp_path / "run" / "run.yaml").read_bytes() == before


def test_a_wrong_template_makes_no_folder(tmp_path: Path, fakes: FakeModels) -> None:
    with pytest.raises(ConfigError, match=r"critique_request\.txt: the field \{\{request\}\} is missing"):
        start(tmp_path, fakes, write(tmp_path / "own", "Now!"))
    assert not (tmp_path / "run").exists()
    done = call_solon("run", "--preset", "smoke", "--out", tmp_path / "run", "--templates", tmp_path / "own")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: templates {tmp_path / 'own'}: chat/critique_request.txt: the field {{{{request}}}} is missing: "
        "give each of {{request}} once\n"
    )
    assert not (tmp_path / "run").exists()


def test_templates_of_a_layout_that_nobody_has_are_noticed(tmp_path: Path, fakes: FakeModels) -> None:
    start(tmp_path, fakes, OWN | {"single/user.txt": "Say: {{text}}"})
    assert (
        "templates: single/user.txt: change nothing, since models are asked in chat"
        in RunHeader.load(tmp_path / "run" / "run.yaml").notices
    )


def test_what_a_chat_template_has_no_place_for_is_refused_before_a_run(tmp_path: Path) -> None:
    strict = (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ raise_exception('no answers') }}{% endif %}"
        "<|user|>{{ m['content'] }}<|end|>{% endfor %}"
    )
    models = {"critic": ModelSpec(source=str(build_tiny_policy(tmp_path / "strict", template=strict)))}
    assert check_layouts(models) == check_layouts(models, OWN) == []
    with pytest.raises(ModelError, match=r"^models\.critic: .*refuses the turns user, assistant: no answers"):
        check_layouts(models, {"chat/assistant.txt": "Sure: {{text}}"})


def test_a_model_with_own_templates_says_so_and_is_otherwise_what_it_is() -> None:
    inner = ScriptedModel(lambda *_: "Yes.", lambda *_: (-0.1, -3.0), layout="single")
    model = with_templates(inner, OWN)
    assert isinstance(model, LanguageModel)
    assert (model.identity, model.limit_only_cuts) == (inner.identity, inner.limit_only_cuts)
    assert model.layout == Templates("single", OWN)
    assert with_templates(inner, {}) is inner
    asked = render_response(Conversation.of("Hello?"))
    assert asyncio.run(model.generate(asked, Sampling(), seed=3)).text == "Yes."
    assert asyncio.run(model.choose(asked, ("A", "B"))).logprobs == (-0.1, -3.0)
    assert (inner.generated, inner.chosen) == ([(asked, Sampling(), 3)], [(asked, ("A", "B"))])
    assert find_spellings(model, ask(("user", "x")), ("A", "B")) == (("A",), ("B",))


@pytest.mark.parametrize("layout", ["chat", "transcript", "single"])
def test_a_system_prompt_stands_in_the_own_template_of_its_layout(layout: Layout) -> None:
    own = {f"{layout}/system.txt": "Rules! {{text}}\n"}
    inner = ScriptedModel(lambda *_: "Yes.", lambda *_: (-0.1, -3.0), layout=layout)
    model = with_system_prompt(with_templates(inner, own), "Be brief.")
    asyncio.run(respond(model, Conversation.of("Hello?"), Sampling(), seed=3))
    asyncio.run(model.choose(ask(("user", "x")), ("A", "B")))  # a chat, whatever the model's layout
    ((asked, *_),), ((weighed, _),) = inner.generated, inner.chosen
    assert "Rules! Be brief." in asked.text
    assert ("Rules! Be brief." in weighed.text) == (layout != "transcript")
    assert "Be brief." in weighed.text
