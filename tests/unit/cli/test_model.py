"""Proves that models go to GGUF files and come from them by one command each, and that what is wrong is one line."""

from pathlib import Path

import pytest

from solon.cli.app import export_model, import_model
from solon.nets import load_policy, weights_digest


def test_out_to_a_file_and_back_into_a_folder(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "tiny.gguf", tmp_path / "tiny"
    export_model(file, tiny_model_dir)
    assert capsys.readouterr().out == f"{file}: {file.stat().st_size} bytes\n"
    import_model(file, folder)
    first, second = capsys.readouterr().out.splitlines()
    parameters = sum(weight.numel() for weight in load_policy(folder).parameters())
    assert first == f"{folder}: {parameters} parameters, digest {weights_digest(folder)}"
    assert second == "converted to float32 from F32 (20 tensors); licence: the file names none"


def test_without_a_folder_the_nano_model_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_model(tmp_path / "nano.gguf")
    assert (tmp_path / "nano.gguf").stat().st_size > 4_000_000
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [None, b"not one", b"GGUF\x03\x00\x00\x00"])
def test_what_is_wrong_is_one_line(content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if content is not None:
        (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(SystemExit) as stop:
        import_model(tmp_path / "a.gguf", tmp_path / "model")
    printed = capsys.readouterr()
    assert (stop.value.code, printed.out) == (2, "")
    assert printed.err.startswith(f"error: {tmp_path / 'a.gguf'}: ")
    assert len(printed.err.splitlines()) == 1
    assert not (tmp_path / "model").exists()
