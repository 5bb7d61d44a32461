"""Proves that every role can be given any model, that each field of a model turns something, that a backend is one
file, and that what is wrong with a model is said before a folder is claimed.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import solon
from solon.errors import CallFailedError, ConfigError, ModelError
from solon.lm import ModelSpec, find_backend
from solon.lm.backends import local
from solon.nets import encode_text, load_tokenizer
from solon.pipeline.ancestry import describe
from solon.pipeline.config import build_config
from solon.pipeline.models import (
    check_devices,
    check_layouts,
    check_trainable,
    identify_model,
    name_models,
    trained_model,
)
from solon.records import EvalRecord, RevisionChain, RunHeader, RunPaths, Sampling, load_records
from solon.world.grader import OracleGrader
from solon.world.task import WorldTask
from tests import echo_backend
from tests import made_up_tokenizers as tokenizers
from tests.asking import ask
from tests.made_up_tokenizers import NANO_TOLD
from tests.pipeline_fakes import SMALL, FakeModels
from tests.tiny import build_tiny_policy
from tests.unit.pipeline.test_run import Log

TOLD: dict[str, Any] = {"chat_template_kwargs": {"pace": "slow"}}
ECHO = {"backend": "tests.echo_backend", "source": "I see nothing."}


def config_of(**models: Any) -> dict[str, ModelSpec]:
    return dict(build_config("smoke", {"models": models}, WorldTask()).models)


def start(tmp_path: Path, fakes: FakeModels, *, out: str = "run", until: str | None = None, **models: Any) -> Path:
    table = {**fakes.assistant["models"], **models}
    with fakes.installed():
        return solon.run(out=tmp_path / out, preset="smoke", overrides={**SMALL, "models": table}, until=until).folder


@pytest.fixture
def fakes(tmp_path: Path) -> FakeModels:
    return FakeModels(tmp_path / "fakes")


# ------------------------------------------------------------------------------------------------- roles


def test_one_model_has_every_role_that_is_given_none() -> None:
    models = config_of()
    assert list(models) == ["assistant", "critic", "feedback", "judge"]
    assert set(map(ModelSpec.model_dump_json, models.values())) == {models["assistant"].model_dump_json()}
    assert models["assistant"].source == "nano"


def test_a_role_may_name_another_and_others_may_be_added() -> None:
    models = config_of(judge="teacher", teacher={"source": "x", "batch_size": 7}, feedback="judge")
    assert models["feedback"] == models["judge"] == models["teacher"] == ModelSpec(source="x", batch_size=7)
    assert models["critic"].source == "nano"


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (
            {"judge": "criticc"},
            r"^models\.judge: there is no role 'criticc'; did you mean 'critic'\?.*judge\.source",
        ),
        ({"assistant": "/a/path"}, r"^models\.assistant: there is no role '/a/path'.*models\.assistant\.source"),
        ({"critic": "judge", "judge": "critic"}, r"^models: critic is judge is critic: give one of them a source"),
        (
            {"critic": {"batch_size": 4}},
            r"^models\.critic: is given batch_size and no source: give  models\.critic\.so",
        ),
        ({"critic": {"dtyp": "x"}}, r"^models\.critic: unknown field 'dtyp'; did you mean 'dtype'"),
        ({"critic": {"source": "x", "batchsize": 4}}, r"models\.critic\.batchsize'; did you mean 'batch_size'"),
        (
            {"critic": {"source": "x", "dtype": "float8"}},
            r"models\.critic\.dtype: .*'float32', 'bfloat16' or 'flo",
        ),
        ({"critic": {"source": ""}}, r"models\.critic\.source: "),
        (
            {"critic": {"source": "x", "system_prompt": " \n "}},
            r"models\.critic\.system_prompt: .* at least 1 character",
        ),
        ({"critic": {"source": "x", "system_prompt": 3}}, r"models\.critic\.system_prompt: .* valid string"),
        ({"critic": {"source": "x", "system_prompt": "\ud800"}}, r"models\.critic\.system_prompt: holds half of a"),
        *(
            (
                {"critic": {"source": "x", "chat_template_kwargs": given}},
                rf"models\.critic\.chat_template_kwargs: {said}",
            )
            for given, said in (
                ({"messages": "x"}, "messages is what a chat template has from elsewhere, and cannot be set"),
                ({"eos_token": "x"}, "eos_token is what a chat template has from elsewhere"),
                ({"a b": 1}, "'a b' is no name that a chat template could look at"),
                ({3: 1}, "3 is no name that a chat template could look at"),
                ({"tone": 0.5}, "tone: expected true, false, a whole number or text, found 0.5"),
                ({"tone": None}, "tone: expected true, false, a whole number or text, found None"),
                ({"tone": ["x"]}, r"tone: expected true, false, a whole number or text, found \['x'\]"),
                ({"tone": "\ud800"}, "tone: expected text of one line"),
                ({"tone": "a\nb"}, "tone: expected text of one line"),
                ("tone", "Input should be a valid dictionary"),
            )
        ),
    ],
)
def test_what_is_wrong_with_a_role_is_said(models: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        config_of(**models)
    assert "\n" not in str(refused.value)


def test_models_that_are_no_table_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^models: expected role to model, found str"):
        name_models("nano", WorldTask())


@pytest.mark.parametrize(
    ("old", "said"),
    [
        ("base_model", r"base_model is .* --model PATH, or --set models\.assistant\.source=PATH$"),
        ("critic_model", r"critic_model is .* --critic PATH, or --set models\.critic\.source=PATH$"),
        ("feedback_model", r"feedback_model is .* --feedback PATH, or --set models\.feedback\.source=PATH$"),
    ],
)
def test_the_old_spelling_says_the_new_one(old: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_config("smoke", {old: "x"}, WorldTask())


def test_a_role_that_no_stage_asks_for_is_said(tmp_path: Path, fakes: FakeModels) -> None:
    folder = start(tmp_path, fakes, until="prompts", critc=ECHO)
    notices = RunHeader.load(RunPaths(folder).header).notices
    assert "models.critc: no stage asks for this role, a grader may; did you mean 'critic'?" in notices


# ------------------------------------------------------------------------------------------------- backends


def test_a_backend_is_one_file(tmp_path: Path, fakes: FakeModels) -> None:
    folder = start(tmp_path, fakes, until="revision", critic=ECHO)
    chains = load_records(RunPaths(folder).records("revision_chains"), RevisionChain)
    assert {step.critique.text for chain in chains for step in chain.steps} == {"I see nothing."}
    assert {step.critique.model for chain in chains for step in chain.steps} == {"echo of I see nothing."}
    assert RunHeader.load(RunPaths(folder).header).models["critic"].digest == "echo of I see nothing."
    assert fakes.digest(fakes.base) in {chain.initial_response.model for chain in chains}


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ({**ECHO, "source": "I see"}, ModelError, "I see: expected a sentence"),
        ({"backend": "tests.nothing", "source": "x"}, ConfigError, "backend tests.nothing: there is no module"),
        (
            {"backend": "json", "source": "x"},
            ConfigError,
            "backend json: expected a module with functions",
        ),
        ({"source": "scripted:/no/such.jsonl"}, ModelError, "/no/such.jsonl: no such file"),
        ({"source": "/no/such/folder"}, ModelError, "/no/such/folder: no such checkpoint folder"),
    ],
)
def test_a_model_that_cannot_be_had_makes_no_folder(
    tmp_path: Path, fakes: FakeModels, spec: dict[str, str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        start(tmp_path, fakes, judge=spec)
    assert not (tmp_path / "run").exists()


def test_training_needs_a_checkpoint_and_data_do_not(tmp_path: Path) -> None:
    models = {"assistant": ECHO, "critic": ECHO}
    settings = {**SMALL, "models": models, "max_failure_fraction": 1.0}
    with pytest.raises(ModelError, match=r"^models\.assistant: training starts from this model.* --labels-only$"):
        solon.run(out=tmp_path / "run", preset="smoke", overrides=settings)
    assert not (tmp_path / "run").exists()
    result = solon.run(out=tmp_path / "run", preset="smoke", overrides=settings, until="revision")
    answers = load_records(RunPaths(result.folder).records("evaluation"), EvalRecord)
    assert {(answer.model_name, answer.response.text) for answer in answers} == {("base", "I see nothing.")}
    assert result.report.is_file()


def test_answers_come_from_a_file(tmp_path: Path) -> None:
    lines = [
        {"contains": ["blue", "sky"], "reply": ["One.", "Two."]},
        {"reply": "Else.", "stop_reason": "length"},
        {"contains": "blue", "choose": [0.8, 0.1]},
    ]
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    spec = ModelSpec(source=f"scripted:{file}")
    assert (spec.backend, spec.source) == ("scripted", str(file))
    with find_backend(spec).open_model(spec) as model:
        samples = [asyncio.run(model.generate(ask(("user", "a blue sky")), Sampling(), seed=seed)) for seed in (4, 5)]
        assert [(sample.text, sample.stop_reason) for sample in samples] == [("One.", "end"), ("Two.", "end")]
        assert asyncio.run(model.generate(ask(("user", "blue")), Sampling(), seed=1)).stop_reason == "length"
        choice = asyncio.run(model.choose(ask(("user", "blue")), ("A", "B")))
        assert torch.tensor(choice.logprobs).exp().tolist() == pytest.approx([0.8, 0.1])
        for wrong in (("A", "B", "C"), ("A", "B")):
            with pytest.raises(CallFailedError, match=r"answers\.jsonl: no line that chooses among . options"):
                asyncio.run(model.choose(ask(("user", "blue" if len(wrong) == 3 else "red")), wrong))
    before = identify_model(spec)
    file.write_text(file.read_text().replace("Else.", "Other."))
    assert identify_model(spec) != before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"reply": "x", "choose": [0.5, 0.5]}', "expected either reply or choose"),
        ("{}", "expected either reply or choose"),
        ('{"choose": [0.9, 0.9]}', "expected probabilities above 0"),
        ('{"choose": [0.9, 0.0]}', "expected probabilities above 0"),
        ('{"replies": "x"}', "replies: "),
        ("[1]", "expected a JSON object"),
        ("{", "not a JSON line"),
    ],
)
def test_a_file_of_answers_that_is_wrong_is_named_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(f'{{"reply": "x"}}\n\n{line}\n')
    with pytest.raises(ModelError, match=f"answers.jsonl:3: .*{said}") as refused:
        identify_model(ModelSpec(source=f"scripted:{file}"))
    assert "\n" not in str(refused.value)


# --------------------------------------------------------------------------------------- fields of a local model


def test_the_fields_of_a_local_model_turn_something(tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    own = local.LocalModel

    def watched(path: Path, **given: Any) -> Any:
        seen.append(given)
        return own(path, **given)

    monkeypatch.setattr(local, "LocalModel", watched)
    plain = ModelSpec(source=str(tiny_model_dir))
    rounded = plain.model_copy(update={"dtype": "bfloat16", "batch_size": 3})
    asked = ask(("user", "Hello?"))
    with local.open_model(plain) as one, local.open_model(rounded) as other:
        samples = [asyncio.run(m.generate(asked, Sampling(temperature=0.0), seed=1)) for m in (one, other)]
    assert [given["batch_size"] for given in seen] == [128, 3]
    assert [given["device"] for given in seen] == ["cpu", "cpu"]
    assert samples[0].logprobs != samples[1].logprobs
    assert samples[1].model == f"{samples[0].model}:bfloat16"
    assert identify_model(rounded) != identify_model(plain)
    assert identify_model(rounded.model_copy(update={"dtype": None})) == identify_model(plain)


@pytest.fixture(scope="module")
def told_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint whose chat template looks at `pace`."""
    return build_tiny_policy(tmp_path_factory.mktemp("told") / "told", template=NANO_TOLD)


def test_a_template_is_told_what_its_role_says(told_model_dir: Path) -> None:
    specs = [ModelSpec.model_validate({"source": str(told_model_dir), **given}) for given in ({}, TOLD)]
    models = [local.open_model(spec).__enter__() for spec in specs]
    asked = ask(("user", "how do i find the lamp"))
    plain, told = (asyncio.run(model.generate(asked, Sampling(max_tokens=4), seed=1)) for model in models)
    pace = len(encode_text(load_tokenizer(told_model_dir), "slow\n"))
    assert told.prompt_tokens == plain.prompt_tokens + pace
    assert told.model == plain.model + ':{"pace":"slow"}'
    weighed = [asyncio.run(model.choose(asked, ("A", "B"))) for model in models]
    assert weighed[1].prompt_tokens == weighed[0].prompt_tokens + pace
    assert weighed[1].logprobs != weighed[0].logprobs
    assert identify_model(specs[1]) != identify_model(specs[0])


def test_what_is_told_and_changes_nothing_is_said_once_for_a_model(told_model_dir: Path, tmp_path: Path) -> None:
    def notes(**models: Any) -> list[str]:
        return check_layouts({role: ModelSpec(**spec) for role, spec in models.items()})

    source = {"source": str(told_model_dir)}
    misspelt = {**source, "chat_template_kwargs": {"pase": 1, "pace": 2}}
    said = "models.{}.chat_template_kwargs: its chat template does not look at pase, which changes nothing"
    assert notes(assistant=source, critic={**source, **TOLD}) == []
    assert notes(assistant=misspelt, critic=misspelt) == [said.format("assistant")]
    assert notes(assistant=source, critic=misspelt, judge=misspelt) == [said.format("critic")]
    plain = {**source, **TOLD, "layout": "transcript"}
    nothing = "models.{}.chat_template_kwargs: change nothing, since its layout is transcript"
    assert notes(assistant=plain) == [nothing.format("assistant")]
    assert notes(assistant=source, critic=plain) == [nothing.format("critic")]
    assert notes(assistant={**source, **TOLD, "layout": "single"}) == []
    assert notes(critic={**misspelt, "layout": "single"}) == [said.format("critic")]
    assert notes(assistant=source, critic={**ECHO, **TOLD}) == []


@pytest.mark.parametrize("template", [tokenizers.STRIPPING, tokenizers.DROPPING], ids=["refuses it", "drops it"])
def test_a_system_prompt_without_a_place_makes_no_folder(template: str, tmp_path: Path, fakes: FakeModels) -> None:
    template = template.replace("<|im_start|>", "<|user|>").replace("<|im_end|>", "<|end|>")
    checkpoint = build_tiny_policy(tmp_path / "roomless", template=template)
    spec = {"source": str(checkpoint), "system_prompt": "Be brief."}
    said = (
        r"^models\.critic\.system_prompt: the chat template of .*/roomless has no place for a system turn: leave it out"
    )
    with pytest.raises(ModelError, match=said) as refused:
        start(tmp_path, fakes, critic=spec)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()
    for role in ("critic", "assistant"):
        assert check_layouts({role: ModelSpec(**spec, layout="transcript")}) == []
        with pytest.raises(ModelError, match=rf"^models\.{role}\.system_prompt: .* no place for a system turn"):
            check_layouts({role: ModelSpec(**spec, layout="single")})
    check_layouts({"assistant": ModelSpec(source=str(checkpoint))})


def test_every_backend_is_given_the_system_prompt_and_the_journal_keeps_it(tmp_path: Path, fakes: FakeModels) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"contains": "Be brief.", "reply": "I see it."}\n')
    critic = {"source": f"scripted:{file}", "system_prompt": "  Be brief.\n"}
    folder = start(tmp_path, fakes, until="revision", critic=critic)
    chains = load_records(RunPaths(folder).records("revision_chains"), RevisionChain)
    assert {step.critique.text for chain in chains for step in chain.steps} == {"I see it."}
    assert "Be brief." in describe(folder, str(chains[0].steps[0].critique.call))
    assert "Be brief." not in describe(folder, str(chains[0].initial_response.call))
    assert [model for model in fakes.models if any("Be brief." in asked.text for asked, *_ in model.generated)] == []


def test_two_roles_of_one_model_open_it_once(tmp_path: Path) -> None:
    opened = []
    with pytest.MonkeyPatch.context() as patch:
        whole = echo_backend.open_model
        patch.setattr(echo_backend, "open_model", lambda spec: opened.append(spec) or whole(spec))
        models = {"assistant": ECHO, "critic": {**ECHO, "system_prompt": "Be brief."}}
        settings = {**SMALL, "models": models, "max_failure_fraction": 1.0}
        solon.run(out=tmp_path / "run", preset="smoke", overrides=settings, until="revision")
    assert len(opened) == 2  # in the stage that revises, and in the evaluation
    digests = {role: origin.digest for role, origin in RunHeader.load(tmp_path / "run" / "run.yaml").models.items()}
    assert digests["critic"] != digests["assistant"]


def test_a_template_that_refuses_what_it_is_told_makes_no_folder(tmp_path: Path, fakes: FakeModels) -> None:
    strict = "{% if pace is defined %}{{ raise_exception('no pace') }}{% endif %}" + NANO_TOLD
    checkpoint = build_tiny_policy(tmp_path / "strict", template=strict)
    spec = {"source": str(checkpoint), **TOLD}
    with pytest.raises(
        ModelError, match=r"^models\.critic: .*strict: its chat template refuses the turns user: no pace$"
    ):
        start(tmp_path, fakes, critic=spec)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ModelError, match=r"strict: its chat template refuses the turns user: no pace$"):
        check_trainable("assistant", ModelSpec.model_validate(spec))


@pytest.mark.parametrize("device", ["tpux", "meta", "cuda:99"])
def test_a_device_that_cannot_be_used_is_refused(tiny_model_dir: Path, device: str) -> None:
    spec = ModelSpec(source=str(tiny_model_dir), device=device)
    said = rf"'{device}': torch cannot use it here \([^\n]*\); leave it out for cpu$"
    with pytest.raises(ModelError, match=rf"^models\.critic\.device: {said}"):
        check_devices({"critic": spec})
    with pytest.raises(ModelError, match=rf"^models\.ROLE\.device: {said}"):
        find_backend(spec).open_model(spec)
    check_devices({"critic": spec.model_copy(update={"backend": "tests.echo_backend"})})  # which may mean anything


def test_models_made_by_training_are_opened_as_the_assistant_is() -> None:
    fields: dict[str, Any] = {
        "dtype": "bfloat16",
        "batch_size": 5,
        "chat_template_kwargs": {"pace": 1},
        "system_prompt": "x",
    }
    assert trained_model(ModelSpec(source="x", **fields), Path("y")) == ModelSpec(source="y", **fields)


def test_every_model_of_a_run_answers_and_is_trained_as_is_said_of_the_assistant(
    tmp_path: Path, fakes: FakeModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[ModelSpec] = []
    devices: list[str] = []
    fakes.install(monkeypatch)
    open_model = local.open_model

    def keep_spec(spec: ModelSpec) -> Any:
        opened.append(spec)
        return open_model(spec)

    def keep_device(loop: Any) -> Any:
        def train(*given: Any, device: str, **options: Any) -> Any:
            devices.append(device)
            return loop(*given, device=device, **options)

        return train

    monkeypatch.setattr(local, "open_model", keep_spec)
    for module in ("sft", "preference_model", "ppo"):
        monkeypatch.setattr(f"solon.training.{module}.run_{module}", keep_device(getattr(fakes, f"run_{module}")))
    spec = {"source": str(fakes.base), "dtype": "bfloat16", "device": "cpu:0"}
    solon.run(out=tmp_path / "run", preset="smoke", overrides={**SMALL, "models": {"assistant": spec}})
    assert {Path(one.source).name for one in opened} == {"base", "sl-cai", "rl-cai"}
    assert {(one.dtype, one.device) for one in opened} == {("bfloat16", "cpu:0")}
    assert devices == ["cpu:0"] * 3


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"batch_size": 9}, None),
        ({"device": "cpu:0"}, None),
        ({"dtype": "float16"}, r"models\.critic\.dtype: null -> float16"),
        (TOLD, r"models\.critic\.chat_template_kwargs\.pace: <absent> -> slow"),
        ({"system_prompt": "Be brief."}, r"models\.critic\.system_prompt: null -> Be brief\."),
    ],
)
def test_what_only_rounds_may_differ_in_a_folder(
    tmp_path: Path, fakes: FakeModels, change: dict[str, Any], refused: str | None
) -> None:
    start(tmp_path, fakes, until="prompts", critic=ECHO)
    if refused:
        with pytest.raises(solon.RunError, match=refused):
            start(tmp_path, fakes, until="prompts", critic={**ECHO, **change})
    else:
        start(tmp_path, fakes, until="prompts", critic={**ECHO, **change})


class Referee(OracleGrader):
    """Asks a model of a role that no stage knows, and grades as the world's grader does."""

    identity = "referee/1"

    async def grade(self, prompt, response, open_model):
        await open_model("referee").generate(ask(("user", "Well?")), Sampling(), seed=0)
        return await super().grade(prompt, response, open_model)


def test_a_role_that_only_graders_ask_may_be_added_to_a_folder_and_changed(tmp_path: Path, fakes: FakeModels) -> None:
    def graded(source: str | None) -> list[str]:
        log = Log()
        models = {} if source is None else {"referee": {**ECHO, "source": source}}
        with fakes.installed():
            overrides = {**SMALL, "models": {**fakes.assistant["models"], **models}}
            solon.run(
                out=tmp_path / "run",
                preset="smoke",
                overrides=overrides,
                until="revision",
                grader=Referee(),
                observer=log,
            )
        assert not [notice for notice in log.notices if "expected one of" in notice]
        return [name for name, skipped in log.finished if not skipped]

    with pytest.raises(
        ConfigError, match=r"role 'referee' here; .*; give it one with  --set models\.referee\.source=SOU"
    ):
        graded(None)
    assert graded("I am here.") == ["evaluation", "report"]
    assert graded("I am here.") == []
    assert graded("So am I.") == ["evaluation", "report"]
    assert RunHeader.load(RunPaths(tmp_path / "run").header).models["referee"].source == "So am I."
