"""Proves that a run stops at its limits with nothing half done, says what was spent, and goes on under a higher one to
the same records; the feedback model is a server behind a socket.
"""

import re
import sqlite3
from contextlib import closing

import pytest

from solon.errors import ConfigError, LimitReachedError
from solon.lm import Caps, read_uses
from solon.pipeline.overrides import merge
from solon.pipeline.run import run
from solon.records import RunHeader, RunPaths
from tests.pipeline_fakes import SMALL, FakeModels, read_folder
from tests.servers.dialects import OpenAI
from tests.servers.wired import serve

PRICES = "- {model: m, currency: USD, prompt: 1000, output: 1000, as_of: 2026-03-01}\n"


@pytest.fixture(scope="module")
def server():
    dialect = OpenAI()
    with serve(dialect) as listening:
        listening.dialect = dialect
        yield listening


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("spending")
    (root / "prices.yaml").write_text(PRICES)
    return root


@pytest.fixture(scope="module")
def start(server, place):
    fakes = FakeModels(place / "fakes")
    feedback = {"models": {"feedback": {"source": f"{server.base}#m"}}, "prices": str(place / "prices.yaml")}

    def begin(name, **changes):
        overrides = merge({**SMALL, **fakes.assistant}, merge(feedback, changes.pop("overrides", {})))
        with fakes.installed():
            return run(out=place / name, preset="smoke", overrides=overrides, **changes)

    return begin


@pytest.fixture(scope="module")
def whole(start):
    return start("whole")


def made(folder):
    return sum(use.made for use in read_uses(RunPaths(folder).journal))


def test_a_run_that_is_stopped_again_and_again_ends_in_the_same_records(start, place, whole):
    wanted, stopped = made(whole.folder), []
    for most in [*range(0, wanted, 40), wanted]:
        try:
            start("calls", caps=Caps(calls=most))
        except LimitReachedError as error:
            stopped.append(str(error))
            assert made(place / "calls") == most
    assert made(place / "calls") == wanted
    assert len(stopped) == len(range(0, wanted, 40))
    assert re.fullmatch(
        r"revision: stopped, as what comes next would pass --max-calls 0: 0 calls made in all, 0 USD spent at most, "
        r"\S+ hours since this start; what was done is kept, and the same command with a higher --max-calls goes on",
        stopped[0],
    )
    assert {said.split(":")[0] for said in stopped} >= {"revision", "comparisons", "feedback", "evaluation"}
    assert read_folder(place / "calls", "records/*") == read_folder(whole.folder, "records/*")


def test_a_limit_on_the_cost_is_kept_and_what_is_paid_is_not_paid_again(start, place, whole):
    (use,) = (use for use in read_uses(RunPaths(whole.folder).journal) if use.stage == "feedback")
    cost = (use.tries.prompt_tokens + use.tries.generated_tokens) / 1000
    with pytest.raises(LimitReachedError, match=r"--max-cost .* USD spent at most, .* a higher --max-cost goes on"):
        start("cost", caps=Caps(cost=cost / 2))
    (half,) = (use for use in read_uses(RunPaths(place / "cost").journal) if use.stage == "feedback")
    assert 0 < (half.tries.prompt_tokens + half.tries.generated_tokens) / 1000 <= cost / 2
    start("cost", caps=Caps(cost=cost * 1.5))
    (all_of_it,) = (use for use in read_uses(RunPaths(place / "cost").journal) if use.stage == "feedback")
    assert (all_of_it.made, all_of_it.tries) == (use.made, use.tries)
    assert read_folder(place / "cost", "records/*") == read_folder(whole.folder, "records/*")


def test_what_a_journal_has_counts_nothing(start, place, whole):
    start("copied", old=whole.folder, caps=Caps(calls=0, cost=0))
    assert made(place / "copied") == 0
    calls = {(use.stage, use.role): use.calls for use in read_uses(RunPaths(place / "copied").journal)}
    assert calls == {(use.stage, use.role): use.calls for use in read_uses(RunPaths(whole.folder).journal)}


def test_hours_stop_training_too(start, place, whole, monkeypatch):
    monkeypatch.setattr("solon.lm.spending.Spending._find_reached", lambda self, most: None)
    with pytest.raises(LimitReachedError, match=r"^sft: stopped, .* --max-hours 0: .* and the same command goes on$"):
        start("hours", caps=Caps(hours=0))
    monkeypatch.undo()
    start("hours")
    assert read_folder(place / "hours", "records/*") == read_folder(whole.folder, "records/*")


def test_a_cost_of_what_has_no_price_is_refused_before_anything_is_claimed(start, place):
    for overrides, mend in (
        ({"prices": None}, "give a table of prices with  --prices FILE"),
        ({"prices": str(place / "others.yaml")}, f"add it to {place / 'others.yaml'}"),
    ):
        (place / "others.yaml").write_text(PRICES.replace("model: m", "model: other"))
        said = f"--max-cost: no price of m is known, which is models.feedback: {mend}"
        with pytest.raises(ConfigError, match=re.escape(said)):
            start("refused", caps=Caps(cost=1), overrides=overrides)
        assert not (place / "refused").exists()
    start("unasked", caps=Caps(cost=1), until="sl-cai", overrides={"prices": None})  # nobody asks the server


def test_prices_are_said_in_the_header_and_may_change(start, place, whole):
    header = RunHeader.load(RunPaths(whole.folder).header)
    assert (header.prices.name, header.prices.as_of) == ("USD", ("2026-03-01", "2026-03-01"))
    (place / "dearer.yaml").write_text(PRICES.replace("1000", "2000"))
    before = made(whole.folder)
    again = start("whole", overrides={"prices": str(place / "dearer.yaml")})
    header = RunHeader.load(RunPaths(again.folder).header)
    assert header.prices.source == str(place / "dearer.yaml")
    assert made(again.folder) == before
    start("whole")


def test_a_call_and_its_use_are_written_together(whole):
    with closing(sqlite3.connect(RunPaths(whole.folder).journal)) as connection:
        lacking = "SELECT count(*) FROM calls WHERE key NOT IN (SELECT call FROM uses WHERE answered)"
        assert connection.execute(lacking).fetchone() == (0,)
