"""Proves that a checkpoint folder is data: what is refused, what its digest follows; saving is all or nothing."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from solon.errors import ModelError
from solon.nets import load_policy, load_tokenizer, save_policy, weights_digest
from solon.nets.folder import replace_folder


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
def test_code_in_a_checkpoint_is_refused(folder: Path, name: str) -> None:
    edit(folder / name, auto_map={"AutoModelForCausalLM": "evil.Model"})
    (folder / "evil.py").write_text("raise SystemExit('code of a checkpoint was run')")
    for load in (load_policy, load_tokenizer, weights_digest):
        with pytest.raises(ModelError, match=f"{name}: has an auto_map"):
            load(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"holds no \*.safetensors: convert"):
        load_policy(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "no such checkpoint folder"),
        (lambda folder: (folder / "config.json").unlink(), "not a Hugging Face model folder"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "expected a JSON object, found list"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x08"), "the checkpoint cannot be loaded"),
        (lambda folder: edit(folder / "config.json", hidden_size=64), "model: weights do not fit|cannot be loaded"),
        (lambda folder: edit(folder / "config.json", num_hidden_layers=3), "weights do not fit its config.json"),
        (lambda folder: edit(folder / "config.json", model_type="nonesuch"), "the checkpoint cannot be loaded"),
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
    with pytest.raises(ModelError, match=r"its tokenizer cannot be loaded|has no tokenizer\.json"):
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
