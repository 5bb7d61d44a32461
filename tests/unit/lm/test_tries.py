"""Proves that the tries of a call are kept with it, read as totals, and neither lost nor in the way of calls."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from solon.errors import CallFailedError, JournalError
from solon.lm import Journal, JournaledModel, ScriptedModel, ServerTries, journal, read_tries
from solon.lm.tries import Try, note_try
from solon.records import Sampling
from tests.asking import ask

PROMPT = ask(("user", "how"))
TIMED_OUT = Try("http://a/v1", 1.0, 2.0, fault="timeout", maybe_paid=True)
ANSWERED = Try("http://b/v1", 4.0, 0.5, status=200, prompt_tokens=7, generated_tokens=3)


class ServedModel(ScriptedModel):
    """A model that takes a request which times out and one that is answered, in a task of its own."""

    async def generate(self, prompt, sampling, *, seed):
        note_try(TIMED_OUT)
        await asyncio.create_task(self._ask())
        if seed == 13:
            raise CallFailedError("no answer")
        return await super().generate(prompt, sampling, seed=seed)

    async def _ask(self):
        note_try(ANSWERED)


def make_calls(store, seeds):
    async def make():
        model = JournaledModel(ServedModel(lambda *_: "yes"), store)
        return await asyncio.gather(
            *(model.generate(PROMPT, Sampling(), seed=seed) for seed in seeds), return_exceptions=True
        )

    return asyncio.run(make())


def rows(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT call, server, fault FROM tries ORDER BY rowid").fetchall()


def test_each_try_is_kept_under_its_calls_key_before_the_answer_is_used(tmp_path):
    with Journal(tmp_path / "j") as store:
        first, second = make_calls(store, [1, 2])
        kept = rows(tmp_path / "j")
    assert sorted(kept) == sorted(
        (sample.call, made.server, made.fault) for sample in (first, second) for made in (TIMED_OUT, ANSWERED)
    )


def test_the_tries_of_a_call_that_failed_are_kept_when_the_journal_closes(tmp_path):
    with Journal(tmp_path / "j") as store:
        (failure,) = make_calls(store, [13])
        assert isinstance(failure, CallFailedError)
    assert [fault for _, _, fault in rows(tmp_path / "j")] == ["timeout", None]


def test_the_tries_of_a_call_that_goes_on_are_kept_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "_TRIES_WAIT", 0.001)

    async def wait(store):
        store.add_try("key", TIMED_OUT)
        while store._tries:
            await asyncio.sleep(0.001)

    with Journal(tmp_path / "j") as store:
        asyncio.run(wait(store))
        assert rows(tmp_path / "j") == [("key", "http://a/v1", "timeout")]


def test_a_call_that_is_replayed_takes_no_try(tmp_path):
    for _ in range(2):
        with Journal(tmp_path / "j") as store:
            make_calls(store, [1])
    assert len(rows(tmp_path / "j")) == 2


def test_totals_are_by_server(tmp_path):
    with Journal(tmp_path / "j") as store:
        make_calls(store, [1, 2, 13])
    assert read_tries(tmp_path / "j") == (
        ServerTries("http://a/v1", tries=3, faults={"timeout": 3}, maybe_paid=3),
        ServerTries("http://b/v1", tries=3, prompt_tokens=21, generated_tokens=9),
    )


def test_a_journal_without_servers_has_no_tries_and_no_table_of_them(tmp_path):
    with Journal(tmp_path / "j") as store:
        model = JournaledModel(ScriptedModel(lambda *_: "yes"), store)
        asyncio.run(model.generate(PROMPT, Sampling(), seed=1))
    assert read_tries(tmp_path / "j") == ()
    with closing(sqlite3.connect(tmp_path / "j")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'tries'").fetchall() == []


def test_tries_that_cannot_be_written_are_said_and_none_is_lost_to_a_fault_that_passes(tmp_path):
    store = Journal(tmp_path / "j")
    store._writer.execute("PRAGMA query_only = ON")
    make_calls(store, [13])
    with pytest.raises(JournalError, match=r"the tries of 1 call at servers could not be written"):
        store.close()
    store.close()
    with Journal(tmp_path / "j") as store:
        store._writer.execute("PRAGMA query_only = ON")
        make_calls(store, [1])
        store._writer.execute("PRAGMA query_only = OFF")
        make_calls(store, [2])
        assert len(rows(tmp_path / "j")) == 4


def test_outside_of_a_call_tries_are_not_kept():
    note_try(TIMED_OUT)
