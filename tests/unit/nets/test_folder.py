"""Proves that a checkpoint folder is data: what is refused, what its digest follows; saving is all or nothing."""

import itertools
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from solon.errors import ModelError
from solon.nets import load_policy, load_tokenizer, save_policy, weights_digest
from solon.storage import replace_folder

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tiny_model_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "model"))


def edit(path: Path, **changes: object) -> None:
    body = json.loads(path.read_text())
    path.write_text(json.dumps({**body, **changes}))


def test_a_saved_policy_loads_as_it_was(tiny_model_dir: Path, tmp_path: Path) -> None:
    model, tokenizer = load_policy(tiny_model_dir), load_tokenizer(tiny_model_dir)
    assert not model.training
    save_policy(model, tokenizer, tmp_path / "again")
    again = load_policy(tmp_path / "again").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())
    assert load_tokenizer(tmp_path / "again").get_vocab() == tokenizer.get_vocab()
    assert weights_digest(tmp_path / "again") == weights_digest(tiny_model_dir)
    assert load_policy(tiny_model_dir, dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_in_a_checkpoint_that_cannot_do_without_is_refused(folder: Path, name: str) -> None:
    edit(folder / name, auto_map={"AutoModelForCausalLM": "evil.Model"})
    edit(folder / "config.json", model_type="evil")
    (folder / "evil.py").write_text("raise SystemExit('code of a checkpoint was run')")
    for load in (load_policy, load_tokenizer, weights_digest):
        with pytest.raises(
            ModelError, match=r"config\.json: model_type 'evil' is no architecture .* \(auto_map\), which is never"
        ):
            load(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"holds no model\.safetensors or .*\.index\.json: convert"):
        load_policy(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "no such checkpoint folder"),
        (lambda folder: (folder / "config.json").unlink(), "not a whole Hugging Face model folder"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "expected a JSON object, found list"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"\x08"),
            r"model\.safetensors: damaged or cut short",
        ),
        (lambda folder: edit(folder / "config.json", hidden_size=64), "model: weights do not fit|cannot be loaded"),
        (lambda folder: edit(folder / "config.json", num_hidden_layers=3), "weights do not fit its config.json"),
        (
            lambda folder: edit(folder / "config.json", model_type="nonesuch"),
            "model_type 'nonesuch' is no architecture",
        ),
    ],
)
def test_a_damaged_checkpoint_says_what_is_wrong(folder: Path, damage: object, message: str) -> None:
    damage(folder)  # type: ignore[operator]
    with pytest.raises(ModelError, match=message) as caught:
        load_policy(folder)
    assert str(folder) in str(caught.value)


def test_a_checkpoint_without_a_tokenizer_says_so(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match=r"has no tokenizer\.json, nor all files of a vocabulary"):
        load_tokenizer(folder)


def test_the_digest_follows_content_not_place_or_time(folder: Path, tmp_path: Path) -> None:
    first = weights_digest(folder)
    assert len(first) == 32
    assert weights_digest(Path(shutil.copytree(folder, tmp_path / "copy"))) == first
    (folder / "README.md").write_text("not part of the model")
    assert weights_digest(folder) == first
    for name in ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"):
        copy = Path(shutil.copytree(folder, tmp_path / f"changed-{name}"))
        (copy / name).write_bytes((copy / name).read_bytes() + b" ")
        assert weights_digest(copy) != first, name


def files_of_tokenizers() -> list[str]:
    """Names of the files that tokenizers of transformers are read from, as its own source names them."""
    source = Path(transformers.__file__).parent
    named = re.compile(r"""["']([\w.-]+\.(?:json|txt|model|spm|bpe|codes|jinja))["']""")
    code = [*source.glob("models/*/tokenization*.py"), *source.glob("tokenization*.py"), source / "utils" / "hub.py"]
    return sorted({name for file in code for name in named.findall(file.read_text())})


def test_the_digest_is_of_every_file_that_a_tokenizer_may_be_read_from(folder: Path) -> None:
    names = files_of_tokenizers()
    assert {"vocab.json", "merges.txt", "tokenizer.model", "added_tokens.json", "special_tokens_map.json"} <= {*names}
    seen = {weights_digest(folder)}
    more = ["tokenizer.model.v3", "tekken_2.json", "tokenizer.4.0.json", "additional_chat_templates/tools.jinja"]
    more += ["model.safetensors.index.json", "adapter_config.json"]
    for count, name in enumerate((*names, *more), 2):
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{file.read_text() if file.exists() else '{}'} ")
        seen.add(weights_digest(folder))
        assert len(seen) == count, name


def name_weights(folder: Path, *names: str) -> None:
    """Cut the folder's weights into files of these names, which an index names."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = dict(zip(weights, itertools.cycle(names), strict=False))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_file({key: weights[key] for key in weights if where[key] == name}, folder / name, {"format": "pt"})
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))


@pytest.mark.parametrize("name", ["a.safetensors", ".a.safetensors", "deep/er/a.safetensors", ".deep/.a.safetensors"])
def test_weights_that_are_read_are_in_the_digest_wherever_they_lie(name: str, folder: Path) -> None:
    before, first = load_policy(folder).state_dict(), weights_digest(folder)
    name_weights(folder, name, "b.safetensors")
    assert all(torch.equal(value, before[key]) for key, value in load_policy(folder).state_dict().items())
    second = weights_digest(folder)
    save_file({key: value + 1 for key, value in load_file(folder / name).items()}, folder / name, {"format": "pt"})
    assert not all(torch.equal(value, before[key]) for key, value in load_policy(folder).state_dict().items())
    assert len({first, second, weights_digest(folder)}) == 3


def test_weights_that_the_configuration_names_are_in_the_digest(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / ".own.safetensors")
    edit(folder / "config.json", transformers_weights=".own.safetensors")
    first = weights_digest(folder)
    load_policy(folder)
    (folder / ".own.safetensors").write_bytes((folder / ".own.safetensors").read_bytes() + b" ")
    assert weights_digest(folder) != first


def test_weights_that_are_linked_into_the_folder_are_in_it(folder: Path, tmp_path: Path) -> None:
    first = weights_digest(folder)
    (folder / "model.safetensors").rename(tmp_path / "blob")
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    assert weights_digest(folder) == first


@pytest.mark.parametrize("name", ["../a.safetensors", "deep/../../a.safetensors", "{}/a.safetensors"])
@pytest.mark.parametrize("load", [load_policy, load_tokenizer, weights_digest])
def test_weights_outside_the_folder_are_refused(name: str, load: Callable[[Path], object], folder: Path) -> None:
    name_weights(folder, name.format(folder.parent), "b.safetensors")
    with pytest.raises(ModelError, match=r"model: its weights are outside the folder \(.*a\.safetensors\): put them"):
        load(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "deep" / "a.safetensors").unlink(), r"a\.safetensors: no such file, and model"),
        (lambda folder: (folder / "deep" / "a.safetensors").rename(folder / "b.safetensors"), "no such file"),
        (lambda folder: edit(folder / INDEX, weight_map={"a": "a.bin"}), r"a\.bin is to hold weights and is no"),
        (lambda folder: edit(folder / INDEX, weight_map={"a": 1}), "has no weight_map that names files"),
        (lambda folder: edit(folder / INDEX, weight_map=None), "has no weight_map that names files"),
        (lambda folder: (folder / INDEX).rename(folder / "other.json"), r"holds no model\.safetensors or"),
        (lambda folder: edit(folder / "config.json", transformers_weights="x.bin"), r"holds no x\.bin: convert"),
        (lambda folder: edit(folder / "config.json", transformers_weights="config.json"), "is to hold weights"),
    ],
)
def test_weights_that_are_not_there_are_missed(damage: Callable[[Path], object], message: str, folder: Path) -> None:
    name_weights(folder, "deep/a.safetensors")
    (folder / "unread.safetensors").write_bytes(b"")
    damage(folder)
    with pytest.raises(ModelError, match=message):
        weights_digest(folder)


def test_what_decides_nothing_is_not_in_the_digest(folder: Path) -> None:
    first = weights_digest(folder)
    for name in (
        "README.md",
        ".gitattributes",
        "pytorch_model.bin",
        "manifest.json",
        "original/params.json",
        "LICENSE",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
        assert weights_digest(folder) == first, name


def test_a_tokenizer_that_another_file_changes_has_another_digest(folder: Path) -> None:
    before, first = load_tokenizer(folder), weights_digest(folder)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "default.jinja").write_text("{{ messages[0]['content'] }}")
    assert load_tokenizer(folder).get_chat_template() != before.get_chat_template()
    assert weights_digest(folder) != first


def test_a_digest_is_kept_by_name_and_computed_again_when_a_time_is_set_back(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("{}")
    (folder / "vocab.json").symlink_to(tmp_path / "blob")
    first = weights_digest(folder)
    (folder / "vocab.json").rename(folder / "merges.txt")
    second = weights_digest(folder)
    assert second != first
    time = (tmp_path / "blob").stat().st_mtime_ns
    (tmp_path / "blob").write_text("[]")
    os.utime(tmp_path / "blob", ns=(time, time))
    assert weights_digest(folder) != second


def test_a_digest_is_computed_again_when_a_file_changes(folder: Path) -> None:
    first = weights_digest(folder)
    weights = folder / "model.safetensors"
    body = bytearray(weights.read_bytes())
    body[-1] ^= 1
    weights.write_bytes(bytes(body))
    os.utime(weights, ns=(1, 1))
    assert weights_digest(folder) != first


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    with replace_folder(target) as temporary:
        (temporary / "a").write_text("1")
        assert not target.exists()

    def stop_half_way() -> None:
        with replace_folder(target) as temporary:
            (temporary / "a").write_text("2")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_half_way()
    assert (target / "a").read_text() == "1"
    with replace_folder(target) as temporary:
        (temporary / "b").write_text("3")
    assert [file.name for file in target.iterdir()] == ["b"]
    assert [entry.name for entry in target.parent.iterdir()] == ["model"]


def test_an_exchange_that_fails_half_way_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    (tmp_path / f".model.{os.getpid()}.old").mkdir()
    (tmp_path / f".model.{os.getpid()}.old" / "stale").touch()
    target.mkdir()
    (target / "a").write_text("1")
    rename = Path.rename

    def fail_in_between(self: Path, other: Path) -> Path:
        if self.suffix == ".tmp":
            raise KeyboardInterrupt
        return rename(self, other)

    def replace_half_way() -> None:
        with monkeypatch.context() as patch, replace_folder(target) as temporary:
            (temporary / "a").write_text("2")
            patch.setattr(Path, "rename", fail_in_between)

    with pytest.raises(KeyboardInterrupt):
        replace_half_way()
    assert (target / "a").read_text() == "1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
