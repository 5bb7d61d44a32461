"""Proves that a role behind a server answers as the same checkpoint does in this process: the records of a whole run
are equal but for what names the model, where nothing fails and where a quarter of all answers does. Nothing is lost
then, no call whose answer came is made again, and the key is nowhere in what the run leaves or says.
"""

import base64
import json
import sqlite3
from collections import Counter
from contextlib import closing
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from benchmarks.same_run import RowComparison
from solon.lm import ModelSpec, read_tries
from solon.lm.backends import server as backend
from solon.records import RunHeader
from tests.e2e.conftest import call_solon
from tests.servers.sampled import Failing, serve_checkpoint
from tests.tiny_world import tiny_options

FLIPS = 0.005
"""Share of the draws that rounding may turn, in other batches than those of one process."""

LOGPROBS = 1e-4

KEY = "sk-sentinel+of/the=tests?90"


def start_served(folder, served, tokenizer, *roles, options=(), **server):
    """Run the command line with roles behind a server."""
    words = [word for role in roles for word in (f"--{role}", served.source)]
    settings = {"tokenizer": tokenizer, **server}
    for role in roles:
        words += [w for name, value in settings.items() for w in ("--set", f"models.{role}.server.{name}={value}")]
    return call_solon("run", "--out", folder, *words, *tiny_options(tokenizer), *options)


def read_calls(folder):
    """Return what decides an answer, but for the model's name, to all the answers of such calls."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as journal:
        rows = list(journal.execute("SELECT kind, request, response FROM calls"))
    found = {}
    for kind, request, response in rows:
        asked = {name: value for name, value in json.loads(request).items() if name != "model"}
        found.setdefault(json.dumps([kind, asked]), []).append(json.loads(response))
    return found


def read_rows(folder, name):
    """Return the rows of a file of records, but for how labels were read and the keys of the calls of graders."""

    def leave_out(body):
        return {name: value for name, value in body.items() if name not in ("dialect", "calls")}

    text = (folder / "records" / f"{name}.jsonl").read_text()
    return [json.loads(line, object_hook=leave_out) for line in text.splitlines()]


def find_differences(here, there, *names):
    """Return what differs between files of records of two runs, but for the names of models and calls."""
    ids, found = ({}, {}), []
    for name in names:
        comparison = RowComparison(name, *ids, 0.0, LOGPROBS)
        found += [(name, *each) for each in comparison.compare(read_rows(here, name), read_rows(there, name))]
    return found


def check_equal(here, there, *names):
    """Hold the records of two runs to each other: equal, but where other batches turned a draw."""
    own, other = read_calls(here), read_calls(there)
    both = own.keys() & other.keys()
    assert both
    flips = [key for key in both if [a.get("text") for a in own[key]] != [a.get("text") for a in other[key]]]
    print(f"{len(flips)} of {len(both)} equal calls have other texts")
    assert len(flips) <= FLIPS * len(both)
    for key in both - set(flips):
        for mine, its in zip(own[key], other[key], strict=True):
            assert mine["logprobs"] == pytest.approx(its["logprobs"], rel=LOGPROBS, abs=LOGPROBS)
    if not flips:  # then all that follows is the same too
        assert own.keys() == other.keys()
        assert find_differences(here, there, *names) == []


def tries_of(folder):
    """Return the number of answers of each call at a server."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as journal:
        return Counter(call for (call,) in journal.execute("SELECT call FROM tries WHERE fault IS NULL"))


@pytest.fixture(scope="module")
def served_run(tmp_path_factory, tiny_world):
    folder = tmp_path_factory.mktemp("served") / "run"
    with serve_checkpoint(tiny_world) as served:
        done = start_served(folder, served, tiny_world, "critic", "feedback")
    return SimpleNamespace(folder=folder, served=served, done=done)


@pytest.fixture(scope="module")
def failing_run(tmp_path_factory, tiny_world):
    """A whole run of which a quarter of the answers are errors that repeat the key, and one in fifty never comes."""
    folder = tmp_path_factory.mktemp("failing") / "run"
    times = {"timeout_seconds": 5, "total_seconds": 600, "max_tries": 40}
    with pytest.MonkeyPatch.context() as patch, serve_checkpoint(tiny_world, failing=Failing()) as served:
        patch.setenv("SENTINEL_KEY", KEY)
        done = start_served(folder, served, tiny_world, "critic", "feedback", key_env="SENTINEL_KEY", **times)
    return SimpleNamespace(folder=folder, served=served, done=done)


@pytest.fixture(scope="module")
def probes(tiny_world):
    """What a server is asked to see what it can do."""
    with serve_checkpoint(tiny_world) as served:
        backend.identify(ModelSpec(source=served.source, server={"tokenizer": str(tiny_world)}))
        return frozenset(served.answered)


DATA = ("revision_chains", "helpful_samples", "revision_grades", "failures_revision", "sft_examples")
LABELS = ("comparisons", "preference_labels", "preference_pairs")
WHOLE = (*DATA, *LABELS, "evaluation", "example")


def test_a_run_with_critic_and_feedback_behind_a_server_is_that_of_one_process(whole_run, served_run):
    assert served_run.done.returncode == 0, served_run.done.stderr
    check_equal(whole_run.folder, served_run.folder, *WHOLE)
    labels = read_rows(served_run.folder, "preference_labels")
    assert sum(label["status"] == "labeled" for label in labels) > 10
    said = (served_run.folder / "records" / "preference_labels.jsonl").read_text()
    assert '"dialect":"completions logprob_token_ids"' in said.replace(": ", ":")


def test_the_run_says_what_was_found_about_its_server(served_run):
    header = RunHeader.load(served_run.folder / "run.yaml")
    for role in ("critic", "feedback", "judge"):
        assert header.models[role].source == served_run.served.source
        assert header.models[role].found == {
            "server": "vllm",
            "model": "tiny",
            "route": "completions",
            "prompts": "token ids",
            "labels": "completions logprob_token_ids",
        }
    assert header.models["assistant"].found == {}
    assert "found" not in json.dumps(header.models["assistant"].model_dump(mode="json"))
    page = (served_run.folder / "report.html").read_text()
    asked = "layout chat, backend server, server: vllm, route: completions, prompts: token ids, labels: completions"
    assert f"<td>tiny</td><td>{asked}" in page


def test_a_model_is_tried_out_once_for_all_roles_that_share_it(served_run, probes):
    assert {served_run.served.answered[body] for body in probes} == {1}


def test_where_a_quarter_of_the_answers_fails_the_run_is_the_same(whole_run, failing_run):
    assert failing_run.done.returncode == 0, failing_run.done.stderr
    assert failing_run.served.failed[429] > 5
    assert failing_run.served.failed[500] > 5
    check_equal(whole_run.folder, failing_run.folder, *WHOLE)


def test_every_request_is_accounted_for_and_no_call_that_was_answered_is_made_again(failing_run, probes):
    (tries,) = read_tries(failing_run.folder / "journal.sqlite")
    answered = Counter({body: n for body, n in failing_run.served.answered.items() if body not in probes})
    hung = sum(n for body, n in failing_run.served.hung.items() if body not in probes)
    heard = tries_of(failing_run.folder)
    assert set(heard.values()) == {1}  # every call of this run is one request
    assert heard.total() == len(answered) == tries.tries - sum(tries.faults.values())
    assert hung > 0
    assert tries.maybe_paid == tries.faults["timeout"]
    # What was answered after it was given up is counted too: nothing is answered twice otherwise.
    assert tries.faults["timeout"] == hung + answered.total() - len(answered)
    assert set(tries.faults) == {"rate_limited", "server_error", "timeout"}


@pytest.mark.parametrize("form", [str, quote, lambda key: quote(key, safe=""), "base64", "json"])
def test_the_key_is_nowhere(failing_run, form):
    forms = {"base64": base64.b64encode(KEY.encode()).decode().rstrip("="), "json": json.dumps(KEY)[1:-1]}
    wanted = forms[form] if isinstance(form, str) else form(KEY)
    files = [path for path in failing_run.folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert failing_run.folder / "report.html" in files
    for path in files:
        assert wanted.encode() not in path.read_bytes(), path
    assert wanted not in failing_run.done.stdout + failing_run.done.stderr
    assert any(seen.headers.get("authorization") == f"Bearer {KEY}" for seen in failing_run.served.server.seen)
    with closing(sqlite3.connect(failing_run.folder / "journal.sqlite")) as journal:
        for (said,) in journal.execute("SELECT said FROM tries WHERE fault = 'server_error'"):
            assert said.startswith("try again, ")
            assert wanted not in said


def test_a_run_goes_on_where_its_server_moved_to_another_port(tmp_path, tiny_world, served_run, probes):
    part = ("--until", "revision")
    with serve_checkpoint(tiny_world) as served:
        first = start_served(tmp_path / "run", served, tiny_world, "critic", options=("--until", "revision"))
    assert first.returncode == 0, first.stderr
    (tmp_path / "run" / "manifest" / "revision.json").unlink()
    with serve_checkpoint(tiny_world) as moved:
        again = start_served(tmp_path / "run", moved, tiny_world, "critic", options=part)
        assert moved.source != served.source
    assert again.returncode == 0, again.stderr
    assert set(moved.answered) == probes
    assert set(served.answered) > probes
    header = RunHeader.load(tmp_path / "run" / "run.yaml")
    assert header.models["critic"].source == moved.source


def test_a_judge_behind_a_server_grades_as_one_in_this_process(tmp_path, tiny_world):
    words = ("--task", "starter", "--grader", "judge", "--until", "revision", "--preset", "paper")
    sizes = {"revision.red_team": 2, "revision.helpful": 2, "evaluation.at_most": 3}
    settings = [f"prompts.{name}={value}" for name, value in sizes.items()]
    settings += ["revision.max_tokens=24", "revision.cut_responses=true", "revision.direct=true", "revision.rounds=1"]
    settings += ["evaluation.max_tokens=12", "max_failure_fraction=1", "sft.max_tokens=512"]
    words += tuple(word for setting in settings for word in ("--set", setting))
    here = call_solon("run", "--out", tmp_path / "here", "--model", tiny_world, *words)
    with serve_checkpoint(tiny_world) as served:
        given = ("--judge", served.source, "--set", f"models.judge.server.tokenizer={tiny_world}")
        there = call_solon("run", "--out", tmp_path / "there", "--model", tiny_world, *words, *given)
    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr
    check_equal(tmp_path / "here", tmp_path / "there", "evaluation")
    assert len(read_rows(tmp_path / "there", "evaluation")) == 9
    assert tries_of(tmp_path / "there")
