"""Proves that bad input is answered with one short message on stderr that names the file unbroken, says where and what
to do, with exit code 2, without a traceback, before any model is loaded, and with nothing overwritten.
"""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from solon.cli import main

GOOD = """
name: mine
principles:
  - id: one
    critique_request: Is it rude?
    revision_request: Be kind.
    comparison: Choose the kind one.
"""

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)

WRONG = {
    "missing request": (
        "c.yaml",
        GOOD.replace("    revision_request: Be kind.\n", ""),
        ("revision_request", "one", ":4"),
    ),
    "unknown key": ("c.yaml", GOOD.replace("comparison:", "comparision:"), ("comparision", "comparison", "one")),
    "duplicate id": ("c.yaml", GOOD + GOOD.split("principles:\n")[1], ("one", ":8")),
    "empty file": ("c.yaml", "", ("empty",)),
    "invalid YAML": ("c.yaml", "name: [\nprinciples", (":2",)),
    "binary file": ("c.yaml", b"\x00\x01\x02\xff\xfe" * 100, ()),
    "binary list": ("c.txt", b"\x89PNG\r\n\x1a\n\x00\x00", ()),
    "list with an empty line": ("c.txt", "Be kind.\n\nBe honest.\n", (":2",)),
    "alias bomb": ("c.yaml", BOMB, ()),
    "list of nothing": ("c.yaml", "- \n- ''\n", ()),
}


def in_a_process(*words):
    """Run the command as a user does, in a narrow terminal."""
    environment = {**os.environ, "COLUMNS": "40", "TERM": "dumb"}
    command = [sys.executable, "-m", "solon", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture
def solon(capsys, monkeypatch):
    """Run the command in this process."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["solon", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return call


def assert_refused(done, *named):
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr) < 800
    for name in named:
        assert str(name) in done.stderr, (name, done.stderr)


@pytest.fixture
def place(tmp_path):
    """A folder whose name is long and has spaces, so that a broken path would show."""
    folder = tmp_path / ("a rather long folder name " * 3).strip()
    folder.mkdir()
    return folder


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_constitution(solon, place, case, command):
    name, content, said = WRONG[case]
    file = place / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = file.read_bytes()
    if command == "check":
        done = solon("constitution", "check", file)
    else:
        done = solon("run", "--constitution", file, "--out", place / "run")
    assert_refused(done, file, *said)
    assert file.read_bytes() == before
    assert not (place / "run").exists()


def test_a_good_constitution_is_accepted(solon, place):
    file = place / "c.yaml"
    file.write_text(GOOD)
    done = solon("constitution", "check", file)
    assert done.returncode == 0
    assert str(file) in done.stdout
    assert "1 principles" in done.stdout


def test_an_out_path_that_is_a_file(solon, place):
    file = place / "results of last year"
    file.write_text("mine")
    assert_refused(solon("run", "--out", file), file, "is a file")
    assert file.read_text() == "mine"


def test_a_folder_of_something_else(solon, place):
    (place / "thesis.tex").write_text("mine")
    assert_refused(solon("run", "--out", place), place, "holds no run")
    assert [p.name for p in place.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--preset", "nanno"), ("nanno", "did you mean 'nano'")),
        (("--set", "ppo.kl_coeff=1"), ("ppo.kl_coeff", "did you mean 'kl_coef'")),
        (("--set", "ppo.kl_coef"), ("ppo.kl_coef", "FIELD=VALUE")),
        (("--set", "ppo.kl_coef=-1"), ("ppo.kl_coef", "-1")),
        (("--set", "models.assistant.source=/no/such/folder"), ("/no/such/folder",)),
        (("--set", "preset=smoke"), ("--preset",)),
    ],
)
def test_a_wrong_option(solon, place, words, said):
    assert_refused(solon("run", "--out", place / "run", *words), *said)
    assert not (place / "run").exists()


@pytest.mark.parametrize("command", [("show", "DIR", "abcdef"), ("report", "DIR"), ("chat", "DIR")])
def test_a_folder_that_is_no_run(solon, place, command):
    words = [place if word == "DIR" else word for word in command]
    assert_refused(solon(*words), place, "run")
    missing = place / "missing"
    words = [missing if word == "DIR" else word for word in command]
    assert_refused(solon(*words), missing)


def test_an_unknown_option_or_command_is_a_usage_error(solon, place):
    for words in (("run", "--sed", "1"), ("runn",), ("chat",), ("run", "--seed", "x")):
        done = solon(*words)
        assert done.returncode == 2
        assert done.stdout == ""
        assert "Traceback" not in done.stderr


def test_as_a_user_sees_it(place):
    file = place / "c.yaml"
    file.write_text("")
    assert_refused(in_a_process("run", "--constitution", file), file, "empty")
    done = in_a_process("--version")
    assert (done.returncode, done.stdout) == (0, "solon 0.1.0\n")
