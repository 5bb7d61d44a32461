"""A tiny model, and one whole run of the command line with it, shared by the tests of this folder."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import pytest

from solon.cli import main
from tests.tiny_world import build_tiny_world_model, tiny_options


def call_solon(*words, stdin=""):
    """Run the command in this process; return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv, sys.stdin
    sys.argv, sys.stdin = ["solon", *map(str, words)], io.StringIO(stdin)
    code = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv, sys.stdin = before
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory):
    """A checkpoint that ends its answers and knows little else."""
    return build_tiny_world_model(tmp_path_factory.mktemp("model") / "tiny-world")


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory, tiny_world):
    """A finished run of the command line; not to be written to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = call_solon("run", "--out", folder, *tiny_options(tiny_world))
    return SimpleNamespace(folder=folder, model=tiny_world, done=done)
