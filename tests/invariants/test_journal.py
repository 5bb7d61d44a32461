"""Proves with real SIGKILLs: what was used is on disk, nothing on disk is asked again, the end is the same.

Also that journalled results equal fresh ones, that calls are committed together, and that one process writes.
"""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from solon.errors import CallFailedError, JournalError
from solon.lm import CallCounter, Journal, JournaledModel, ScriptedModel, run_items
from solon.records import Choice, Sample, Sampling
from tests.asking import ask
from tests.children import start_child
from tests.invariants import journal_to_kill

ROOT = Path(__file__).parents[2]
ITEMS = 120


@contextmanager
def start_run(folder: Path, items: int = ITEMS) -> "Iterator[subprocess.Popen[str]]":
    """Begin the run of `journal_to_kill` in a process of its own, which ends with the block at the latest."""
    paths = [str(folder / name) for name in ("journal.sqlite", "asked", "used")]
    command = [sys.executable, "-m", "tests.invariants.journal_to_kill", *paths, str(items)]
    with start_child(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        yield child


def run_to_the_end(folder: Path) -> tuple[str, str]:
    """Return what a run that is left alone writes to both of its outputs."""
    with start_run(folder) as child:
        return child.communicate(timeout=60)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def stored(path: Path) -> dict[str, str]:
    connection = sqlite3.connect(path)
    try:
        return dict(connection.execute("SELECT key, request FROM calls"))
    finally:
        connection.close()


def prompts_of(requests: dict[str, str]) -> set[str]:
    return {request.split('"turns":[["user",[[0,"')[1].split('"')[0] for request in requests.values()}


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_never_killed(tmp_path: Path) -> None:
    moments = random.Random(5)
    expected = journal_to_kill.run(*(tmp_path / f"whole-{name}" for name in ("journal", "asked", "used")), items=ITEMS)
    before: set[str] = set()
    kills = 0
    for _ in range(12):
        with start_run(tmp_path) as child:
            seen = len(lines(tmp_path / "asked"))
            time.sleep(moments.uniform(0.0, 0.08))
            child.kill()
            child.communicate(timeout=60)
        kills += child.returncode == -signal.SIGKILL
        on_disk = stored(tmp_path / "journal.sqlite")
        assert set(lines(tmp_path / "used")) <= set(on_disk), "a result was used before it was committed"
        asked_again = {line.split("]")[1].split("|")[0].strip() for line in lines(tmp_path / "asked")[seen:]}
        assert not asked_again & before, "a journalled call was made again"
        before = prompts_of(on_disk)
    assert kills >= 5
    out, error = run_to_the_end(tmp_path)
    assert out.splitlines() == ["\t".join(line) for line in expected]
    assert error == ""


def test_interrupted_twice_it_leaves_a_journal_to_go_on_from(tmp_path: Path) -> None:
    for interruptions in (1, 2):
        with start_run(tmp_path, items=100_000) as child:  # so many that it cannot be done before the signal
            time.sleep(0.02)
            for _ in range(interruptions):
                child.send_signal(signal.SIGINT)
            _, error = child.communicate(timeout=60)
        assert child.returncode != 0
        assert "KeyboardInterrupt" in error
        assert "never retrieved" not in error
        assert set(lines(tmp_path / "used")) <= set(stored(tmp_path / "journal.sqlite"))
    expected = journal_to_kill.run(*(tmp_path / f"whole-{name}" for name in ("journal", "asked", "used")), items=ITEMS)
    assert run_to_the_end(tmp_path)[0].splitlines() == ["\t".join(line) for line in expected]


def test_one_process_writes_and_a_dead_ones_lock_is_taken_over(tmp_path: Path) -> None:
    writing = "process {} is writing this journal: wait for it"
    with start_run(tmp_path, items=100_000) as child, pytest.raises(JournalError, match=writing.format(child.pid)):
        Journal(tmp_path / "journal.sqlite")
    with Journal(tmp_path / "journal.sqlite"):
        assert (tmp_path / "journal.sqlite.lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(JournalError, match=f"process {os.getpid()} is writing"):
            Journal(tmp_path / "journal.sqlite")
    Journal(tmp_path / "journal.sqlite").close()


def script(calls: Counter[str]) -> ScriptedModel:
    def reply(prompt: object, sampling: Sampling, seed: int) -> str:
        calls[f"{sampling.max_tokens} {seed}"] += 1
        return f"a text with 'quotes', ünïcode \U0001f600 and \x00 {seed}"

    return ScriptedModel(reply, lambda prompt, options: (-0.1, float("-inf")), identity="script@1")


async def ask_everything(model: JournaledModel) -> list[Sample | Choice]:
    async def work(item: int) -> Sample | Choice:
        if item % 3 == 0:
            return await model.choose(ask(("user", f"{item}")), ("A", "B"))
        return await model.generate(ask(("user", "same")), Sampling(max_tokens=1 + item % 2), seed=item)

    return (await run_items(range(30), work, key=str, stage="test", max_failure_fraction=0.0)).kept


def test_journalled_results_equal_fresh_ones(tmp_path: Path) -> None:
    calls: Counter[str] = Counter()
    with Journal(tmp_path / "journal") as journal:
        counter = CallCounter()
        fresh = asyncio.run(ask_everything(JournaledModel(script(calls), journal, counter)))
        assert (counter.calls, counter.replayed) == (30, 0)
    with Journal(tmp_path / "journal") as journal:
        again = CallCounter()
        replayed = asyncio.run(ask_everything(JournaledModel(script(calls), journal, again)))
    assert replayed == fresh
    assert (again.calls, again.replayed, again.tokens) == (30, 30, counter.tokens)
    assert set(calls.values()) == {1}
    for result in fresh:
        assert result.call
        assert result.model == "script@1"


def test_a_local_model_journalled_is_itself(tiny_model_dir: Path, tmp_path: Path) -> None:
    from solon.lm.backends.local import LocalModel

    local = LocalModel(tiny_model_dir)
    with Journal(tmp_path / "journal") as journal:
        fresh = asyncio.run(ask_everything(JournaledModel(local, journal)))
        replayed = asyncio.run(ask_everything(JournaledModel(local, journal)))
    assert replayed == fresh
    plain = asyncio.run(local.generate(ask(("user", "same")), Sampling(max_tokens=2), seed=1))
    assert plain.model_copy(update={"call": fresh[1].call}) == fresh[1]


def test_errors_are_never_stored(tmp_path: Path) -> None:
    replies = iter([CallFailedError("busy"), ValueError("bug"), "fine"])
    model = ScriptedModel(lambda *_: next(replies))

    async def generate(model: JournaledModel) -> str:
        return (await model.generate(ask(("user", "x")), Sampling(), seed=1)).text

    with Journal(tmp_path / "journal") as journal:
        journaled = JournaledModel(model, journal)
        for error in (CallFailedError, ValueError):
            with pytest.raises(error):
                asyncio.run(generate(journaled))
            assert stored(tmp_path / "journal") == {}
        assert asyncio.run(generate(journaled)) == asyncio.run(generate(journaled)) == "fine"
        assert journaled.counter.calls == 2


def test_equal_calls_under_way_are_made_once(tmp_path: Path) -> None:
    calls: Counter[str] = Counter()

    async def run(model: JournaledModel) -> list[Sample]:
        same = (model.generate(ask(("user", "x")), Sampling(), seed=1) for _ in range(5))
        return await asyncio.gather(*same)

    with Journal(tmp_path / "journal") as journal:
        model = JournaledModel(script(calls), journal)
        assert len({sample.text for sample in asyncio.run(run(model))}) == 1
        assert (model.counter.calls, model.counter.replayed) == (5, 4)
    assert calls.total() == 1


def test_if_the_first_of_equal_calls_is_cancelled_another_makes_it(tmp_path: Path) -> None:
    async def run(model: JournaledModel) -> str:
        calls = [asyncio.ensure_future(model.generate(ask(("user", "x")), Sampling(), seed=1)) for _ in range(3)]
        await asyncio.sleep(0)
        calls[0].cancel()
        return (await calls[1]).text + (await calls[2]).text

    with Journal(tmp_path / "journal") as journal:
        assert asyncio.run(run(JournaledModel(ScriptedModel(lambda *_: "ok"), journal))) == "okok"


def test_calls_that_end_together_are_committed_together(tmp_path: Path) -> None:
    statements: list[str] = []
    with Journal(tmp_path / "journal") as journal:
        journal._writer.set_trace_callback(statements.append)
        asyncio.run(ask_everything(JournaledModel(script(Counter()), journal)))
        journal._writer.set_trace_callback(None)
    assert statements.count("COMMIT") == 1
    assert sum(statement.startswith("INSERT OR IGNORE INTO calls") for statement in statements) == 30
