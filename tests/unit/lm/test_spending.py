"""Proves that no call is let through that would pass a limit, that those under way end first, and that every use, try
and token of a role is counted once.
"""

import asyncio
import math
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solon.errors import CallFailedError, ConfigError, LimitReachedError
from solon.lm import Account, Caps, Journal, JournaledModel, Price, RoleTries, ScriptedModel, Spending, read_uses
from solon.lm.tries import Try, add_tries, note_try
from solon.records import Sampling
from tests.asking import ask

PROMPT = ask(("user", "how"))
PRICE = Price(prompt=1.0, output=2.0, cached=0.5)


class Served(ScriptedModel):
    """A model whose requests count as the test says, and which notes how many calls were under way."""

    def __init__(self, *tries):
        super().__init__(lambda *_: "yes", identity="served")
        self.tries, self.under_way, self.most, self.ended = tries, 0, 0, 0

    async def generate(self, prompt, sampling, *, seed):
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        for made in self.tries:
            note_try(made)
        self.under_way -= 1
        self.ended += 1
        if seed == 13:
            raise CallFailedError("no answer")
        return await super().generate(prompt, sampling, seed=seed)


def make_calls(path, model, seeds, caps=None, *, price=None, role="critic", **spent):
    """Make calls side by side; return what each came to, and what was spent."""
    spending = Spending(caps, **spent)

    async def make():
        with Journal(path) as store:
            asked = JournaledModel(model, store).on_account(Account("revision", role, spending, price))
            return await asyncio.gather(*(call(asked, seed) for seed in seeds), return_exceptions=True)

    async def call(asked, seed):
        try:
            return await asked.generate(PROMPT, Sampling(max_tokens=5), seed=seed)
        except LimitReachedError:
            assert model.under_way == 0
            raise

    return asyncio.run(make()), spending


def test_calls_under_way_end_before_a_limit_is_said_to_be_reached(tmp_path):
    model = Served()
    found, spending = make_calls(tmp_path / "j", model, range(20), Caps(calls=6))
    stopped = [each for each in found if isinstance(each, LimitReachedError)]
    assert (len(stopped), model.ended, model.under_way, spending.calls) == (14, 6, 0, 6)
    assert model.most == 6
    assert {str(each) for each in stopped} == {"--max-calls 6"}
    assert sum(use.calls for use in read_uses(tmp_path / "j")) == 6


def test_the_same_calls_under_a_higher_limit_repeat_nothing(tmp_path):
    make_calls(tmp_path / "j", Served(), range(20, 40), Caps(calls=6))
    (use,) = read_uses(tmp_path / "j")
    again = Served()
    found, spending = make_calls(tmp_path / "j", again, range(20, 40), Caps(calls=20), calls=use.made)
    assert not any(isinstance(each, Exception) for each in found)
    assert (again.ended, spending.calls) == (14, 20)
    (use,) = read_uses(tmp_path / "j")
    assert (use.calls, use.made, use.prompt_tokens) == (20, 20, 20 * found[0].prompt_tokens)


def test_a_call_that_failed_was_made_and_one_that_is_found_was_not(tmp_path):
    make_calls(tmp_path / "j", Served(), [1, 13])
    make_calls(tmp_path / "j", Served(), [1, 13])
    (use,) = read_uses(tmp_path / "j")
    assert (use.calls, use.made) == (1, 3)


def test_hours_end_a_start_and_training_at_once(tmp_path):
    hours = iter([0.5, 0.9, 1.0, 1.0, 1.0, 1.0])
    found, _ = make_calls(tmp_path / "j", Served(), range(3), Caps(hours=1), read_hours=lambda: next(hours))
    assert sum(isinstance(each, LimitReachedError) for each in found) == 1
    Spending(Caps(hours=1), read_hours=lambda: 0.999).check_hours()
    with pytest.raises(LimitReachedError, match="--max-hours 1"):
        Spending(Caps(hours=1), read_hours=lambda: 1.0).check_hours()


@settings(max_examples=20, deadline=None)
@given(
    st.floats(0, 2e-3),
    st.integers(1, 30),
    st.sampled_from(
        [
            (Try("s", 0, 1, 200, prompt_tokens=7, generated_tokens=3),),
            (Try("s", 0, 1, 200, prompt_tokens=7, generated_tokens=3, cached_tokens=4),),
            (Try("s", 0, 1, 200),),
            (Try("s", 0, 1, 503, fault="server_error"), Try("s", 0, 1, 200, prompt_tokens=60, generated_tokens=5)),
        ]
    ),
)
def test_the_cost_never_passes_its_limit_and_stops_no_sooner_than_a_call_needs(tmp_path_factory, most, count, tries):
    path = tmp_path_factory.mktemp("cost") / "j"
    found, spending = make_calls(path, Served(*tries), range(count), Caps(cost=most), price=PRICE)
    assert spending.cost <= most * (1 + 1e-12)
    longest = PRICE.of(len("how") + 64, 5)
    if any(isinstance(each, LimitReachedError) for each in found):
        assert spending.cost + longest > most
    (use, *_) = read_uses(path) or [None]
    if use is not None:
        total = PRICE.counted(use.tries) + PRICE.uncounted(use.tries)
        assert total == pytest.approx(spending.cost, abs=1e-12)  # as the next start will find it


def test_a_try_that_may_have_been_charged_counts_at_its_most(tmp_path):
    tries = (Try("s", 0, 1, fault="timeout", maybe_paid=True), Try("s", 0, 1, 200, prompt_tokens=7, generated_tokens=3))
    _, spending = make_calls(tmp_path / "j", Served(*tries), [1], price=PRICE)
    (use,) = read_uses(tmp_path / "j")
    assert use.tries == RoleTries(2, 1, 1, 7, 3, most_prompt=len("how") + 64, most_generated=5)
    assert spending.cost == pytest.approx(PRICE.of(7 + 67, 3 + 5))


def test_a_model_without_a_price_is_held_to_no_cost(tmp_path):
    found, spending = make_calls(tmp_path / "j", Served(), range(3), Caps(cost=0))
    assert not any(isinstance(each, Exception) for each in found)
    assert spending.cost == 0


def test_a_call_that_two_roles_ask_is_made_once_and_paid_by_the_first(tmp_path):
    counted = Try("s", 0, 1, 200, prompt_tokens=7, generated_tokens=3)
    model, spending = Served(counted), Spending()

    async def make():
        with Journal(tmp_path / "j") as store:
            shared = JournaledModel(model, store)
            roles = [shared.on_account(Account("evaluation", role, spending, PRICE)) for role in ("base", "judge")]
            await asyncio.gather(*(asked.generate(PROMPT, Sampling(max_tokens=5), seed=1) for asked in roles))

    asyncio.run(make())
    uses = {use.role: use for use in read_uses(tmp_path / "j")}
    assert (model.ended, uses["base"].made, uses["judge"].made) == (1, 1, 0)
    assert (uses["base"].calls, uses["judge"].calls) == (1, 1)
    assert (uses["base"].tries.tries, uses["judge"].tries.tries) == (1, 0)


def test_times_of_calls_side_by_side_are_not_added_up(tmp_path, monkeypatch):
    clock = iter([10.0, 10.0, 14.0, 15.0])
    monkeypatch.setattr("solon.lm.journaled.time.time", lambda: next(clock))
    make_calls(tmp_path / "j", Served(), [1, 2])
    (use,) = read_uses(tmp_path / "j")
    assert (use.seconds, use.timed) == (5.0, 2)


@pytest.mark.parametrize("caps", [{"cost": math.nan}, {"hours": math.inf}, {"calls": -1}])
def test_a_limit_that_would_hold_nothing_is_refused(caps):
    with pytest.raises(ConfigError, match=rf"--max-{next(iter(caps))}: expected a number of at least 0"):
        Caps(**caps)


def test_tries_of_a_version_that_kept_no_cached_tokens_are_read_and_added_to(tmp_path):
    make_calls(tmp_path / "j", Served(Try("s", 0, 1, 200, prompt_tokens=7, generated_tokens=3)), [1])
    with closing(sqlite3.connect(tmp_path / "j")) as connection, connection:
        connection.execute("ALTER TABLE tries DROP COLUMN cached_tokens")
    (use,) = read_uses(tmp_path / "j")
    assert (use.tries.prompt_tokens, use.tries.cached_tokens) == (7, 0)
    with closing(sqlite3.connect(tmp_path / "j")) as connection, connection:
        add_tries(connection, [("key", Try("s", 0, 1, cached_tokens=2))])
        assert connection.execute("SELECT cached_tokens FROM tries").fetchall() == [(None,), (2,)]


def test_a_journal_without_an_account_keeps_no_uses(tmp_path):
    with Journal(tmp_path / "j") as store:
        asyncio.run(JournaledModel(Served(), store).generate(PROMPT, Sampling(), seed=1))
    assert read_uses(tmp_path / "j") == ()
