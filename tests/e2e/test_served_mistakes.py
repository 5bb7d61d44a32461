"""Proves that whatever is wrong with a model behind a server is said on one line, with exit code 2, before a run claims
its folder; and that what else the command line does with a URL is done or refused as clearly.
"""

import re

import pytest

from solon.records import RunHeader
from tests.e2e.conftest import call_solon
from tests.servers.sampled import serve_checkpoint
from tests.tiny_world import tiny_options

DEAD = "http://127.0.0.1:1/v1#tiny"


@pytest.fixture(scope="module")
def served(tiny_world):
    with serve_checkpoint(tiny_world) as server:
        yield server


def refuse(folder, *words):
    """Return what is said of a run that is refused before its folder is claimed."""
    done = call_solon("run", "--out", folder / "run", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert not (folder / "run").exists()
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--feedback", DEAD],
            f"error: models.feedback: {DEAD}: GET models: .*unreachable .*whether the base URL is right",
        ),
        (["--feedback", "http://127.0.0.1:1/v1"], "error: models.feedback: .*no model is named"),
        (["--critic", "ftp://host/v1#tiny"], "error: models.critic: ftp://host/v1: is no http:// or https:// URL"),
        (["--critic", "http://me:secret@host/v1#tiny"], "error: models.critic: host/v1: a URL with user:password@"),
        (
            ["--critic", DEAD, "--set", "models.critic.server.key_env=SOLON_NO_SUCH_KEY"],
            "error: models.critic: key_env: the environment variable SOLON_NO_SUCH_KEY is not set",
        ),
        (
            ["--set", f"models.assistant.source={DEAD}"],
            "error: models.assistant: training starts from this model, and the backend server has no",
        ),
    ],
)
def test_what_is_wrong_is_said_before_the_run(tmp_path, tiny_world, words, said):
    line = refuse(tmp_path, *tiny_options(tiny_world), *words)
    assert re.match(said, line), line
    assert "secret" not in line


def test_a_model_that_is_not_served_is_named_with_those_that_are(tmp_path, tiny_world, served):
    line = refuse(tmp_path, *tiny_options(tiny_world), "--critic", f"{served.server.base}#tinny")
    assert "models.critic: " in line
    assert "does not serve a model 'tinny': did you mean 'tiny'" in line


@pytest.mark.parametrize(("role", "words"), [("feedback", []), ("judge", ["--grader", "judge", "--until", "revision"])])
def test_a_server_that_gives_no_labels_is_refused_where_labels_are_needed(tmp_path, tiny_world, served, role, words):
    line = refuse(tmp_path, *tiny_options(tiny_world), f"--{role}", served.source, *words)
    assert f"models.{role}: {served.source}: no labels are read from this server (chat top_logprobs: A and B" in line
    assert "server.tokenizer" in line


def test_where_no_labels_are_needed_it_writes_and_can_be_talked_to(tmp_path, tiny_world, served):
    folder = tmp_path / "run"
    # All roles are the assistant's, and no stage up to this one weighs options.
    words = ["--set", f"models.assistant.source={served.source}", "--until", "revision"]
    done = call_solon("run", "--out", folder, *tiny_options(tiny_world), *words)
    assert done.returncode == 0, done.stderr
    found = RunHeader.load(folder / "run.yaml").models["assistant"].found
    assert found["labels"].startswith("none: chat top_logprobs: A and B are not both among the likeliest tokens")
    said = call_solon("chat", folder, "--model", "base", "--max-tokens", "24", stdin="How do I bake a cake?\n")
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip()
    assert "no answer" not in said.stdout


def test_doctor_says_what_a_server_can_do(served):
    done = call_solon("doctor", "--model", served.source)
    assert done.returncode == 0, done.stderr
    _, said = done.stdout.split(f"\n\nmodel {served.source}: ")
    assert said.splitlines()[:4] == [
        "is behind a server, so it can be asked and not trained",
        "server: vllm",
        "model: tiny",
        "route: chat",
    ]


def test_doctor_says_that_a_server_is_not_there():
    done = call_solon("doctor", "--model", DEAD)
    assert done.returncode == 2
    assert f"error: {DEAD}: " in done.stderr
    assert "unreachable" in done.stderr
