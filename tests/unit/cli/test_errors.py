"""Proves that an expected error is one short message and a code, that no path is broken, and that faults stay loud."""

import sys
from types import ModuleType

import pytest

from solon.cli import main
from solon.cli.errors import printable, reports_errors
from solon.errors import ConfigError, RunError, StageFailedError
from solon.redaction import hide


def raising(error):
    @reports_errors
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("bad field"), 2),
        (RunError("bad folder"), 2),
        (StageFailedError("too many"), 1),
        (OSError(28, "No space left on device", "/runs/x"), 1),
    ],
)
def test_an_expected_error_is_a_message_and_a_code(capsys, error, code):
    with pytest.raises(SystemExit) as caught:
        raising(error)()
    assert caught.value.code == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert err.count("\n") == 1


def test_a_path_is_never_broken_and_never_moves_the_cursor(capsys):
    path = "/" + "very long folder/" * 40 + "\x1b[2J.yaml"
    with pytest.raises(SystemExit):
        raising(ConfigError(f"{path}: no"))()
    assert path.replace("\x1b", "\\x1b") in capsys.readouterr().err


def test_a_key_is_not_printed(capsys):
    hide("sentinel-of-errors-1")
    with pytest.raises(SystemExit):
        raising(ConfigError("refused: sentinel-of-errors-1"))()
    assert capsys.readouterr().err == "error: refused: [key hidden]\n"


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        raising(ZeroDivisionError())()


def test_a_result_passes_through_and_the_signature_is_kept():
    @reports_errors
    def command(number: int) -> int:
        """Say a number."""
        return number + 1

    assert command(1) == 2
    assert command.__doc__ == "Say a number."
    assert command.__wrapped__.__name__ == "command"


def test_printable_shows_what_would_act_on_a_terminal():
    assert printable("a\tb\nc") == "a\tb\nc"
    assert printable("\x1b]0;x\x07\r\u202e") == "\\x1b]0;x\\x07\\r\\u202e"
    assert printable("häßlich 汉字") == "häßlich 汉字"


@pytest.mark.parametrize("when", ["while the commands are read", "while one runs"])
def test_an_interruption_is_said_and_has_its_code(capsys, monkeypatch, when):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    module = ModuleType("solon.cli.app")
    if when == "while one runs":
        module.app = interrupted
    else:
        module.__getattr__ = interrupted
    monkeypatch.setitem(sys.modules, "solon.cli.app", module)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr() == ("", "interrupted\n")
