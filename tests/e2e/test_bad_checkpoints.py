"""Proves that a checkpoint that cannot be used is refused in one line, in any role, before anything is written."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from solon.errors import ModelError
from solon.nets import (
    check_askable,
    check_trainable,
    init_scorer_from_policy,
    load_policy,
    load_scorer,
    load_tokenizer,
    save_policy,
    save_scorer,
)
from tests.e2e.conftest import call_solon
from tests.language_models import build_model, make_model, make_tokenizer
from tests.tiny_world import tiny_options

WEIGHTS = "model.safetensors"
EMBEDDINGS = "model.embed_tokens.weight"


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def cut_short(folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])


def leave_out(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["model.layers.0.mlp.down_proj.weight"]
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def change(folder: Path, name: str, by: Callable[[Tensor], Tensor]) -> None:
    weights = load_file(folder / WEIGHTS)
    weights[name] = by(weights[name])
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def put(weight: Tensor, number: float) -> Tensor:
    weight[-1, 0] = number
    return weight


def make_preference_model(folder: Path) -> None:
    save_scorer(init_scorer_from_policy(folder, seed=0), load_tokenizer(folder), folder)


def forget_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def leave_pointer(folder: Path) -> None:
    """What a clone without large files holds."""
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")


def drop_generation_prompt(template: Path) -> None:
    turns, _, _ = template.read_text().partition("{% if add_generation_prompt %}")
    template.write_text(turns)


def ask_for_code(folder: Path, kind: str) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        edit(folder / name, auto_map={"AutoModelForCausalLM": "own.Model", "AutoTokenizer": ["own.Slow", "own.Fast"]})
    edit(folder / "config.json", model_type=kind)
    (folder / "own.py").write_text("raise SystemExit('code of a checkpoint was run')")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights cut short": (cut_short, r"model\.safetensors: damaged or cut short \(.*\): copy the checkpoint again"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), r"holds no model\.safetensors or .*: convert"),
    "a pointer for weights": (leave_pointer, r"model\.safetensors: damaged or cut short"),
    "a weight missing": (leave_out, r"weights do not fit its config\.json \(\S+down_proj\.weight is missing\): copy"),
    "other sizes": (
        lambda folder: edit(folder / "config.json", intermediate_size=48),
        r"weights do not fit its config\.json \(\S+ has another shape\): copy",
    ),
    "no tokenizer": (forget_tokenizer, r"has no tokenizer\.json, nor all files of a vocabulary: put the tokenizer"),
    "a broken tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text("{"),
        r"tokenizer\.json: cannot be read as JSON \(.*\): copy the checkpoint again",
    ),
    "fewer rows than tokens": (
        lambda folder: edit(folder / "config.json", vocab_size=100),
        r"its tokenizer writes token \d+ \(.*\), its embeddings end at row 99: put the tokenizer",
    ),
    "more rows than weights": (
        lambda folder: edit(folder / "config.json", vocab_size=10_000),
        r"weights do not fit its config\.json \(\S+ has another shape\): copy",
    ),
    "no chat template": (lambda folder: (folder / "chat_template.jinja").unlink(), "has no chat template"),
    "a template that opens no turn when asked": (
        lambda folder: drop_generation_prompt(folder / "chat_template.jinja"),
        r"models\.\w+: the chat template of .* ignores add_generation_prompt: .*'<\|assistant\|>' .*: mend chat_templ",
    ),
    "code of its own": (
        lambda folder: ask_for_code(folder, "nonesuch"),
        r"model_type 'nonesuch' is no architecture of transformers .*auto_map.*never run: use a model",
    ),
    "an unknown architecture": (
        lambda folder: edit(folder / "config.json", model_type="nonesuch"),
        r"model_type 'nonesuch' is no architecture of transformers [\d.]+: use a model",
    ),
    "no causal language model": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "t5"}'),
        r"transformers has no causal language model of the architecture 't5': choose a model of another arch",
    ),
    "a model of images": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "vit"}'),
        r"transformers has no causal language model of the architecture 'vit': choose a model of another arch",
    ),
    "weights that are no numbers": (
        lambda folder: change(folder, "model.norm.weight", lambda weight: weight * float("nan")),
        r"its weights are no numbers \(model\.norm\.weight has some that are not finite\): copy the checkpoint again",
    ),
    "one number that is none, where nothing is read": (
        lambda folder: change(folder, EMBEDDINGS, lambda weight: put(weight, float("-inf"))),
        r"its weights are no numbers \(\S+embed_tokens\.weight has some that are not finite\): copy the checkpoint",
    ),
    "logits that are no numbers": (
        lambda folder: change(folder, "model.norm.weight", lambda weight: weight * 0 + 3e38),
        r"its weights give logits that are no numbers: copy the checkpoint again",
    ),
    "a preference model": (
        lambda folder: make_preference_model(folder),
        r"config\.json: names LlamaForSequenceClassification, no causal language model: give a model that writes text",
    ),
    "a preference model that does not say so": (
        lambda folder: [make_preference_model(folder), edit(folder / "config.json", architectures=None)],
        r"weights do not fit its config\.json \(score\.weight has no place\): give a model that writes text",
    ),
    "no configuration": (
        lambda folder: (folder / "config.json").unlink(),
        r"config\.json: no such file: .* is not a whole .* folder: give the path of one, or copy the checkpoint again",
    ),
    "a template that cannot be read": (
        lambda folder: (folder / "chat_template.jinja").write_text("{% for x in messages %}\n{% if %}"),
        r"its chat template cannot be read \(line 2: .*\): mend chat_template\.jinja, or copy the checkpoint again",
    ),
    "a template that fails": (
        lambda folder: (folder / "chat_template.jinja").write_text("{{ messages[0].content + 1 }}"),
        r"its chat template fails on the turns .* \(.*\): mend chat_template\.jinja, or copy the checkpoint again",
    ),
    "a broken file beside the tokenizer": (
        lambda folder: (folder / "tokenizer_config.json").write_text("{"),
        r"tokenizer_config\.json: cannot be read as JSON \(.*\): copy the checkpoint again",
    ),
    "a tokenizer of nothing": (
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        r"tokenizer\.json: the tokenizer cannot be loaded \(.*\): copy the checkpoint again",
    ),
}


@pytest.mark.parametrize("role", ["assistant", "critic", "feedback"])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_checkpoint_is_refused_before_anything_is_written(
    case: str, role: str, tiny_world: Path, tmp_path: Path
) -> None:
    damage, said = BAD[case]
    folder = Path(shutil.copytree(tiny_world, tmp_path / "bad model"))
    damage(folder)
    before = sorted(tmp_path.rglob("*"))
    models = ["--set", f"models.{role}.source={folder}"]
    done = call_solon("run", "--out", tmp_path / "run", *tiny_options(tiny_world), *models)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 800
    assert str(folder) in done.stderr
    assert re.search(said, done.stderr), done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("layout", "is_refused"), [("chat", True), ("single", True), ("transcript", False)])
def test_a_template_that_opens_no_turn_is_refused_where_it_is_used(
    layout: str, is_refused: bool, tiny_world: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_world, tmp_path / "bad model"))
    drop_generation_prompt(folder / "chat_template.jinja")
    critic = ["--set", f"models.critic.source={folder}", "--set", f"models.critic.layout={layout}"]
    done = call_solon("run", "--out", tmp_path / "run", *tiny_options(tiny_world), *critic, "--until", "revision")
    if is_refused:
        assert "ignores add_generation_prompt" in done.stderr
        assert done.stderr.endswith("mend chat_template.jinja, or set  models.critic.layout=transcript\n")
    assert (done.returncode, (tmp_path / "run").exists()) == ((2, False) if is_refused else (0, True))


def test_a_layout_of_one_turn_needs_a_chat_template_too(tiny_world: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_world, tmp_path / "bad model"))
    (folder / "chat_template.jinja").unlink()
    critic = ["--set", f"models.critic.source={folder}", "--set", "models.critic.layout=single"]
    done = call_solon("run", "--out", tmp_path / "run", *tiny_options(tiny_world), *critic)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{folder}: has no chat template, which the single layout needs" in done.stderr
    assert "--set models.critic.layout=transcript" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("role", ["assistant", "critic", "feedback", "judge"])
def test_a_model_is_read_in_the_precision_in_which_it_will_be_asked(
    role: str, tiny_world: Path, tmp_path: Path
) -> None:
    """The other roles have the same folder as it is."""
    folder = Path(shutil.copytree(tiny_world, tmp_path / "large numbers"))
    change(folder, EMBEDDINGS, lambda weight: weight * 1e6)
    models = ["--set", f"models.{role}.source={folder}", "--set", f"models.{role}.dtype=float16"]
    done = call_solon("run", "--out", tmp_path / "run", *tiny_options(folder), *models)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no numbers" in done.stderr
    assert "choose another dtype than float16, or copy it again" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("role", ["assistant", "critic", "feedback", "judge", "referee"])
@pytest.mark.parametrize("device", ["gpu", "cuda:9", "mps", "meta", "", "hpu"])
def test_a_device_that_is_not_here_is_refused(role: str, device: str, tiny_world: Path, tmp_path: Path) -> None:
    given = ["--set", f"models.{role}.source={tiny_world}", "--set", f"models.{role}.device={device!r}"]
    done = call_solon("run", "--out", tmp_path / "run", *tiny_options(tiny_world), *given)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"error: models.{role}.device: {device!r}: torch cannot use it here (")
    assert done.stderr.endswith("); leave it out for cpu\n")
    assert not (tmp_path / "run").exists()


def test_a_preference_model_is_not_exported(tiny_world: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_world, tmp_path / "bad model"))
    make_preference_model(folder)
    load_scorer(folder)
    for architectures in (["LlamaForSequenceClassification"], None):
        edit(folder / "config.json", architectures=architectures)
        done = call_solon("model", "export", "--gguf", tmp_path / "a.gguf", folder)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "give a model that writes text, not one that scores it" in done.stderr
        assert not (tmp_path / "a.gguf").exists()


@pytest.mark.parametrize("name", ["qwen2", "gpt2", "gemma 2", "neox", "cohere", "mamba", "llama"])
@pytest.mark.parametrize("kind", [None, "LlamaTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer", "GemmaTokenizer"])
def test_an_empty_tokenizer_is_not_made_up(name: str, kind: str | None, tmp_path: Path) -> None:
    save_policy(make_model(name), make_tokenizer(), tmp_path / "m")
    load_tokenizer(tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").unlink()
    if kind is None:
        (tmp_path / "m" / "tokenizer_config.json").unlink()
    else:
        edit(tmp_path / "m" / "tokenizer_config.json", tokenizer_class=kind)
    with pytest.raises(ModelError, match=r"m: has no tokenizer\.json, nor all files of a vocabulary"):
        load_tokenizer(tmp_path / "m")


@pytest.mark.parametrize("name", ["llama", "phi 3", "granite"])
def test_code_that_is_not_needed_is_not_run_and_that_is_said(name: str, tmp_path: Path) -> None:
    model, folder = make_model(name), tmp_path / "m"
    save_policy(model, make_tokenizer(), folder)
    assert check_trainable(folder) == check_askable(folder) == ()
    ask_for_code(folder, model.config.model_type)
    note = f"{folder}: names code of its own to run (auto_map), which is never run: it is loaded as transformers' own"
    for check in (check_trainable, check_askable):
        assert check(folder) == (f"{note} {model.config.model_type}",)
    loaded = load_policy(folder)
    assert all(torch.equal(weight, loaded.state_dict()[key]) for key, weight in model.state_dict().items())
    save_policy(loaded, load_tokenizer(folder), tmp_path / "again")
    assert not [file for file in (tmp_path / "again").glob("*.json") if "auto_map" in file.read_text()]


def test_code_that_makes_another_model_of_it_is_refused(tmp_path: Path) -> None:
    """Its weights then hold what the architecture of transformers has no place for."""
    folder = tmp_path / "m"
    save_policy(build_model("llama, biases", make_tokenizer()), make_tokenizer(), folder)
    edit(folder / "config.json", attention_bias=False, mlp_bias=False)
    ask_for_code(folder, "llama")
    with pytest.raises(ModelError, match=r"weights do not fit its config\.json \(\S+\.bias has no place\)"):
        load_policy(folder)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("kind", ["flash_attention_2", "sdpa", "eager"])
@pytest.mark.parametrize(("name", "offered"), [("llama", "sdpa"), ("granite", "sdpa"), ("gemma 2", "eager")])
def test_attention_is_what_the_family_offers_whatever_the_folder_asks_for(
    name: str, offered: str, kind: str, key: str, tmp_path: Path
) -> None:
    save_policy(make_model(name), make_tokenizer(), tmp_path / "m")
    edit(tmp_path / "m" / "config.json", **{key: kind})
    model = load_policy(tmp_path / "m")
    assert model.config._attn_implementation == offered
