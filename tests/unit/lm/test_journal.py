"""Proves what a journal's key depends on, where calls are looked up, and what files are refused with which words."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from solon.errors import JournalError
from solon.lm import Journal, JournaledModel, ScriptedModel, journal, read_call
from solon.records import Choice, Layout, Rendered, Sample, Sampling, Span, StopReason, Turn
from tests.asking import ask

PROMPT = ask(("user", "how"), ("assistant", "so"))


def generate(
    store: Journal, prompt: Rendered = PROMPT, *, seed: int = 1, identity: str = "m", **sampling: Any
) -> tuple[Sample, bool]:
    """Ask for a sample; return it and whether it was replayed."""
    model = JournaledModel(ScriptedModel(lambda *_: f"text {seed}", identity=identity), store)
    sample = asyncio.run(model.generate(prompt, Sampling(**sampling), seed=seed))
    return sample, model.counter.replayed == 1


def choose(store: Journal, options: tuple[str, ...] = ("A", "B")) -> Choice:
    model = JournaledModel(ScriptedModel(choose=lambda *_: tuple(-1.0 for _ in options)), store)
    return asyncio.run(model.choose(PROMPT, options))


@pytest.mark.parametrize("layout", ["chat", "transcript"])
def test_behind_the_journal_a_model_has_the_layout_it_has(tmp_path: Path, layout: Layout) -> None:
    with Journal(tmp_path / "j") as store:
        assert JournaledModel(ScriptedModel(layout=layout), store).layout == layout


def test_a_key_depends_on_everything_that_decides_the_answer(tmp_path: Path) -> None:
    turns: tuple[Callable[[], Rendered], ...] = (
        lambda: ask(("user", "how"), ("assistant", "so?")),
        lambda: ask(("user", "how"), ("user", "so")),
        lambda: ask(("user", "howso")),
        lambda: ask(("user", "how"), ("assistant", "so"), layout="transcript"),
        lambda: ask(("user", "how"), ("assistant", "so"), stop=("x",)),
        lambda: Rendered(
            layout="chat", turns=(PROMPT.turns[0], Turn(role="assistant", spans=(Span(text="so", trusted=True),)))
        ),
    )
    with Journal(tmp_path / "j") as store:
        first, replayed = generate(store)
        assert not replayed
        assert generate(store) == (first, True)
        keys = {first.call}
        for prompt in turns:
            keys.add(generate(store, prompt())[0].call)
        for changes in (
            {"seed": 2},
            {"identity": "n"},
            {"temperature": 0.5},
            {"max_tokens": 5},
            {"top_p": 0.5},
            {"min_p": 0.5},
        ):
            sample, replayed = generate(store, **changes)
            assert not replayed
            keys.add(sample.call)
        for options in (("A", "B"), ("B", "A"), ("A", "B", "C"), ("AB",)):
            keys.add(choose(store, options).call)
    assert len(keys) == 1 + len(turns) + 6 + 4


def test_a_call_can_be_read_by_its_key_or_the_beginning_of_it(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        sample, _ = generate(store, seed=7, top_p=0.9)
        choice = choose(store)
        live = read_call(tmp_path / "j", sample.call)
    for key in (sample.call, sample.call[:6]):
        found = read_call(tmp_path / "j", key)
        assert found is not None
        assert found == live
        assert (found.key, found.kind, found.response["text"]) == (sample.call, "generate", "text 7")
        assert found.request == {
            "model": "m",
            "layout": "chat",
            "turns": [["user", [[0, "how"]]], ["assistant", [[0, "so"]]]],
            "stop": [],
            "sampling": [1.0, 64, 0.9],
            "seed": 7,
        }
    chosen = read_call(tmp_path / "j", choice.call)
    assert chosen is not None
    assert (chosen.kind, chosen.request["options"], chosen.response["logprobs"]) == ("choose", ["A", "B"], [-1, -1])
    assert read_call(tmp_path / "j", "no such key") is None
    with pytest.raises(JournalError, match="several calls have keys that begin with"):
        read_call(tmp_path / "j", "")


def test_other_journals_are_asked_in_order_and_what_they_knew_is_copied(tmp_path: Path) -> None:
    for name, seeds in (("old", (1, 2)), ("older", (2, 3))):
        with Journal(tmp_path / name) as store:
            for seed in seeds:
                model = JournaledModel(ScriptedModel([f"{name} {seed}"], identity="m"), store)
                asyncio.run(model.generate(PROMPT, Sampling(), seed=seed))
    before = {name: (tmp_path / name).read_bytes() for name in ("old", "older")}
    with Journal(tmp_path / "new", [tmp_path / "old", tmp_path / "older"]) as store:
        texts = [generate(store, seed=seed)[0].text for seed in (1, 2, 3, 4)]
        assert texts == ["old 1", "old 2", "older 3", "text 4"]
        assert [generate(store, seed=seed)[1] for seed in (1, 4)] == [True, True]
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    with Journal(tmp_path / "new") as store:
        copied = [generate(store, seed=seed) for seed in (1, 2, 3, 4, 5)]
    assert [sample.text for sample, _ in copied] == [*texts, "text 5"]
    assert [known for _, known in copied] == [True, True, True, True, False]


def test_another_journal_may_be_in_use_by_its_writer(tmp_path: Path) -> None:
    with Journal(tmp_path / "busy") as busy:
        generate(busy, seed=5)
        with Journal(tmp_path / "new", [tmp_path / "busy"]) as store:
            assert generate(store, seed=5)[1]


def test_a_journal_is_durable_by_its_settings(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        assert store.mode == "wal"
        assert store.notices == ()
        assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)


def test_on_a_network_file_system_it_keeps_a_rollback_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path / "j") as store:
        first, _ = generate(store)
    monkeypatch.setattr(journal, "_is_network", lambda path: True)
    with Journal(tmp_path / "j") as store:
        assert store.mode == "delete"
        (notice,) = store.notices
        assert notice.startswith(f"{tmp_path / 'j'}: on a network file system")
        assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)
        assert generate(store) == (first, True)
        assert not (tmp_path / "j-wal").exists()


def test_network_file_systems_are_told_by_the_table_of_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not journal._is_network(tmp_path / "j")
    mounts = f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path}/far nfs4 rw 0 0\n/dev/vdb {tmp_path}/far/near xfs rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: mounts)
    assert journal._is_network(tmp_path / "far" / "j")
    assert not journal._is_network(tmp_path / "far" / "near" / "j")
    assert not journal._is_network(tmp_path / "j")


def test_a_folder_that_cannot_be_written_can_still_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path / "j") as store:
        sample, _ = generate(store)
    connect = sqlite3.connect

    def refuse_index(name: str, **options: Any) -> sqlite3.Connection:
        if "mode=ro" in name:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(name, **options)

    monkeypatch.setattr(sqlite3, "connect", refuse_index)
    assert read_call(tmp_path / "j", sample.call) is not None


def fill(path: Path, calls: int = 200) -> None:
    async def ask_all(model: JournaledModel) -> None:
        await asyncio.gather(*(model.generate(PROMPT, Sampling(), seed=seed) for seed in range(calls)))

    with Journal(path) as store:
        asyncio.run(ask_all(JournaledModel(ScriptedModel(lambda *_: "a text " * 40), store)))


def execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def overwrite(path: Path, start: int, body: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(body)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "is damaged"),
        (lambda path: overwrite(path, 8192, b"\xff" * 4096), "is damaged"),
        (lambda path: overwrite(path, 0, b"not a database at all, by a long way"), "is damaged or not a journal"),
        (lambda path: execute(path, "PRAGMA user_version = 3"), "journal version 3, this version of solon reads 2"),
        (lambda path: execute(path, "PRAGMA application_id = 7"), "is a database, but not a journal of solon"),
    ],
)
def test_files_that_are_no_sound_journal_are_refused_and_left(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "j"
    fill(path)
    damage(path)
    before = path.read_bytes()
    with pytest.raises(JournalError, match=message) as caught:
        Journal(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    fill(tmp_path / "new")  # the lock of the refused one is not in the way of anything


def test_damage_met_while_reading_is_a_journal_error(tmp_path: Path) -> None:
    fill(tmp_path / "j")
    execute(tmp_path / "j", "UPDATE calls SET response = 'half a rec'")
    with Journal(tmp_path / "j") as store, pytest.raises(JournalError, match=r"call \w+ is damaged"):
        asyncio.run(JournaledModel(ScriptedModel(), store).generate(PROMPT, Sampling(), seed=3))


def replay(path: Path, *others: Path) -> None:
    with Journal(path, others) as store:
        generate(store, seed=1)


READS: dict[str, Callable[[Path, str], object]] = {
    "replay": lambda path, key: replay(path),
    "show": read_call,
    "another journal": lambda path, key: replay(path.with_name("new"), path),
}
CHANGES = {
    "the answer": ("response", "replace(response, '\"text 1\"', '\"text 2\"')"),
    "the answer, cut short": ("response", "substr(response, 1, 20)"),
    "the answer, no text": ("response", "7"),
    "the answer, no UTF-8": ("response", "CAST(x'7bff7d' AS TEXT)"),
    "the request": ("request", "replace(request, '\"how\"', '\"who\"')"),
    "the kind": ("kind", "'choose'"),
    "the digest": ("digest", "'0'"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("read", READS)
def test_a_call_that_was_changed_is_refused_and_not_made_again(tmp_path: Path, change: str, read: str) -> None:
    path = tmp_path / "j"
    with Journal(path) as store:
        kept = [generate(store, seed=seed)[0] for seed in (1, 2)]
    column, value = CHANGES[change]
    execute(path, f"UPDATE calls SET {column} = {value} WHERE key = '{kept[0].call}'")
    said = rf"^{path}: call {kept[0].call} is damaged \([^\n]+\): restore the file from a copy, or [^\n]*$"
    with pytest.raises(JournalError, match=said):
        READS[read](path, kept[0].call)
    with Journal(path) as store:
        assert generate(store, seed=2) == (kept[1], True)
    execute(path, f"DELETE FROM calls WHERE key = '{kept[0].call}'")
    with Journal(path) as store:
        assert generate(store, seed=1) == (kept[0], False)


def test_an_answer_under_another_key_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        first, second = (generate(store, seed=seed)[0].call for seed in (1, 2))
    execute(tmp_path / "j", f"DELETE FROM calls WHERE key = '{second}'")
    execute(tmp_path / "j", f"UPDATE calls SET key = '{second}' WHERE key = '{first}'")
    with Journal(tmp_path / "j") as store, pytest.raises(JournalError, match=f"call {second} is damaged"):
        generate(store, seed=2)


def make_old(path: Path) -> None:
    """Make a journal what the first version would have written."""
    execute(path, "ALTER TABLE calls DROP COLUMN digest")
    execute(path, "PRAGMA user_version = 1")


def test_a_journal_without_digests_is_read_as_before_and_said_to_be_unchecked(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path) as store:
        old, _ = generate(store, seed=1)
    assert getattr(read_call(path, old.call), "checked", None) is True
    make_old(path)
    before = path.read_bytes()
    assert getattr(read_call(path, old.call), "checked", None) is False
    with Journal(tmp_path / "new", [path]) as store:
        assert generate(store, seed=1) == (old, True)
    assert path.read_bytes() == before
    for replayed in (False, True):
        with Journal(path) as store:
            (notice,) = store.notices
            assert notice.startswith(f"{path}: calls that an earlier version of solon wrote carry no digest")
            assert generate(store, seed=1) == (old, True)
            new, found = generate(store, seed=2)
            assert found is replayed
    assert [getattr(read_call(path, call), "checked", None) for call in (old.call, new.call)] == [False, True]
    execute(path, "UPDATE calls SET response = replace(response, 'text ', 'next ')")
    with Journal(path) as store:
        assert generate(store, seed=1)[0].text == "next 1"
        with pytest.raises(JournalError, match=f"call {new.call} is damaged"):
            generate(store, seed=2)


@pytest.mark.parametrize("response", ["[]", "{}", '{"text": 7}', "[" * 100_000])
def test_an_unchecked_answer_that_fits_no_request_is_named(tmp_path: Path, response: str) -> None:
    with Journal(tmp_path / "j") as store:
        sample, _ = generate(store)
    make_old(tmp_path / "j")
    execute(tmp_path / "j", f"UPDATE calls SET response = '{response}'")
    with (
        Journal(tmp_path / "j") as store,
        pytest.raises(JournalError, match=rf"^{tmp_path}/j: call {sample.call} [^\n]*$"),
    ):
        generate(store)


def test_a_journal_whose_maker_was_killed_at_once_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "j").touch()
    generate_in(tmp_path / "j")
    connection = sqlite3.connect(tmp_path / "k")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    generate_in(tmp_path / "k")


def generate_in(path: Path) -> None:
    with Journal(path) as store:
        assert not generate(store)[1]
        assert generate(store)[1]


def test_a_journal_to_read_must_exist(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no such journal"):
        read_call(tmp_path / "none", "key")
    with pytest.raises(JournalError, match="none: no such journal"):
        Journal(tmp_path / "j", [tmp_path / "none"])
    Journal(tmp_path / "j").close()


def test_a_write_that_fails_reaches_the_caller_and_is_not_used(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        generate(store)
        store._writer.execute("PRAGMA max_page_count = 3")
        big = JournaledModel(ScriptedModel(["x" * 100_000, "x" * 100_000]), store)
        with pytest.raises(JournalError, match=r"database or disk is full: free the disk"):
            asyncio.run(big.generate(PROMPT, Sampling(), seed=9))
        store._writer.execute("PRAGMA max_page_count = 10000")
        assert asyncio.run(big.generate(PROMPT, Sampling(), seed=9)).text == "x" * 100_000


def test_a_row_that_cannot_be_encoded_fails_every_call_of_its_turn(tmp_path: Path) -> None:
    async def add_two(store: Journal) -> list[Any]:
        adding = (store.add("key", "choose", "{}", text) for text in ("{}", "\ud83d"))
        return await asyncio.wait_for(asyncio.gather(*adding, return_exceptions=True), timeout=5)

    with Journal(tmp_path / "j") as store:
        assert [type(error) for error in asyncio.run(add_two(store))] == [UnicodeEncodeError] * 2
        assert store.find("key") is None
        assert generate(store)[1] is False


def test_what_is_pending_is_kept_when_the_journal_closes(tmp_path: Path) -> None:
    async def leave_early(store: Journal) -> None:
        task = asyncio.ensure_future(store.add("key", "choose", "{}", "{}"))
        await asyncio.sleep(0)
        store.close()
        await task

    asyncio.run(leave_early(Journal(tmp_path / "j")))
    assert read_call(tmp_path / "j", "key") is not None


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    store = Journal(tmp_path / "j")
    store.close()
    store.close()


def test_stored_values_are_compact_json(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        generate(store)
        request, response = store._writer.execute("SELECT request, response FROM calls").fetchone()
    for text in (request, response):
        assert json.dumps(json.loads(text), separators=(",", ":")) == text
    assert set(json.loads(response)) == {
        "text",
        "token_ids",
        "logprobs",
        "stop_reason",
        "prompt_tokens",
        "generated_tokens",
        "vocabulary",
    }


# ------------------------------------------------------------------------------------------ limits that only cut


def answer(store: Journal, limit: int, *, words: int = 5, cuts: bool = True, seed: int = 1) -> tuple[Sample, bool]:
    """Ask a model that would write so many words; return what it wrote and whether it was replayed."""

    def write(prompt: Rendered, sampling: Sampling, seed: int) -> tuple[str, StopReason]:
        written = [str(number) for number in range(words)]
        return " ".join(written[: sampling.max_tokens]), "end" if words <= sampling.max_tokens else "length"

    model = JournaledModel(ScriptedModel(write, identity="m", limit_only_cuts=cuts), store)
    sample = asyncio.run(model.generate(PROMPT, Sampling(max_tokens=limit), seed=seed))
    return sample, model.counter.replayed == 1


@pytest.mark.parametrize(
    ("drawn", "asked", "found"),
    [(7, 9, True), (9, 7, True), (7, 5, True), (5, 7, True), (7, 4, False), (4, 7, False), (4, 3, False)],
)
def test_an_answer_that_ended_is_the_answer_under_every_limit_it_keeps_to(
    tmp_path: Path, drawn: int, asked: int, found: bool
) -> None:
    with Journal(tmp_path / "fresh") as store:
        fresh, _ = answer(store, asked)
    with Journal(tmp_path / "j") as store:
        first, _ = answer(store, drawn)
        assert answer(store, asked) == (fresh, found)
        assert answer(store, asked) == (fresh, True)
    copied = read_call(tmp_path / "j", fresh.call)  # the call that a record names is in its own right
    assert copied is not None
    assert copied.request["sampling"][1] == asked
    assert first.call != fresh.call


def test_only_a_model_that_says_so_has_limits_that_only_cut(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        answer(store, 7)
        assert answer(store, 9, cuts=False)[1] is False
        assert JournaledModel(ScriptedModel(limit_only_cuts=True), store).limit_only_cuts
        assert not JournaledModel(ScriptedModel(), store).limit_only_cuts


def test_only_the_limit_may_differ(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        answer(store, 7)
        assert answer(store, 9, seed=2)[1] is False
        model = JournaledModel(ScriptedModel(["x"] * 5, identity="m", limit_only_cuts=True), store)
        for prompt, sampling in (
            (PROMPT, Sampling(max_tokens=9, temperature=0.5)),
            (PROMPT, Sampling(max_tokens=9, top_p=0.5)),
            (PROMPT, Sampling(max_tokens=9, min_p=0.5)),
            (ask(("user", "how"), ("assistant", "so?")), Sampling(max_tokens=9)),
            (ask(("user", "how"), ("assistant", "so"), stop=("x",)), Sampling(max_tokens=9)),
        ):
            asyncio.run(model.generate(prompt, sampling, seed=1))
    assert (model.counter.calls, model.counter.replayed) == (5, 0)


def test_what_is_cut_by_min_p_is_found_under_another_limit_by_the_same_cut_alone(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        model = JournaledModel(ScriptedModel(lambda *_: "one two", identity="m", limit_only_cuts=True), store)
        for limit, share, replayed in ((7, 0.5, 0), (9, 0.5, 1), (9, 0.25, 1), (9, 0.0, 1), (20, 0.25, 2)):
            asyncio.run(model.generate(PROMPT, Sampling(max_tokens=limit, min_p=share), seed=1))
            assert model.counter.replayed == replayed


INDEXES = {
    "whole": "SELECT 1",
    "none, as before there was one": "DROP TABLE draws",
    "without what a version that has none added": "DELETE FROM draws",
}


@pytest.mark.parametrize("index", INDEXES)
def test_ended_answers_are_found_where_the_index_is_not_whole(tmp_path: Path, index: str) -> None:
    with Journal(tmp_path / "j") as store:
        answer(store, 4)
        answer(store, 7)
    execute(tmp_path / "j", INDEXES[index])
    with Journal(tmp_path / "j") as store:
        assert answer(store, 9)[1] is True


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("index", ["whole", "none, as before there was one"])
def test_ended_answers_of_another_journal_are_copied_and_it_is_only_read(
    tmp_path: Path, version: int, index: str
) -> None:
    with Journal(tmp_path / "old") as store:
        answer(store, 4)
        old, _ = answer(store, 7)
        answer(store, 4, words=6, seed=2)
    execute(tmp_path / "old", INDEXES[index])
    if version == 1:
        make_old(tmp_path / "old")
    before = (tmp_path / "old").read_bytes()
    with Journal(tmp_path / "new", [tmp_path / "old"]) as store:
        sample, found = answer(store, 9)
        assert (sample.text, found) == (old.text, True)
        assert answer(store, 9, words=6, seed=2)[1] is False
    assert (tmp_path / "old").read_bytes() == before
    with Journal(tmp_path / "new") as store:
        assert answer(store, 9) == (sample, True)
        assert getattr(read_call(tmp_path / "new", sample.call), "checked", None) is True


def test_the_index_is_not_believed(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        answer(store, 7)
        for seed in range(2, 12):
            answer(store, 7, words=2, seed=seed)
    execute(tmp_path / "j", "INSERT OR IGNORE INTO draws SELECT draws.draw, calls.key FROM draws, calls")
    with Journal(tmp_path / "j") as store:
        sample, found = answer(store, 9)
    assert (sample.generated_tokens, found) == (5, True)


def test_an_ended_answer_that_was_changed_is_refused_under_another_limit_too(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        kept, _ = answer(store, 7)
    execute(tmp_path / "j", "UPDATE calls SET response = replace(response, '0 1', '1 0')")
    with Journal(tmp_path / "j") as store, pytest.raises(JournalError, match=f"call {kept.call} is damaged"):
        answer(store, 9)


def test_a_request_that_cannot_be_read_is_in_no_index_and_in_nobodys_way(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        broken, _ = answer(store, 7)
        answer(store, 7, seed=2)
    for request in ("'half a rec'", "'[]'", "'{\"sampling\": 3}'", "CAST(x'7bff7d' AS TEXT)"):
        execute(tmp_path / "j", f"UPDATE calls SET request = {request} WHERE key = '{broken.call}'")
        execute(tmp_path / "j", "DELETE FROM draws")
        execute(tmp_path / "j", "DELETE FROM calls WHERE request LIKE '%[1.0,9,%'")
        with Journal(tmp_path / "j") as store:
            assert answer(store, 9, seed=2)[1] is True
            assert answer(store, 9)[1] is False


def test_the_keys_of_calls_are_those_of_every_journal_so_far(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        assert generate(store)[0].call == "766205598b31dcfbd5298c23dc8aac0f"
        assert choose(store).call == "efcdfd11a3b340d47c939f2c6affbf16"
