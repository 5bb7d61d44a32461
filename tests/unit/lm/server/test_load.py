"""Proves how many requests a server is given at once: against models of servers whose capacity is known."""

import heapq
from itertools import pairwise

import pytest

from solon.lm.server.faults import Fault
from solon.lm.server.load import FIRST_REST, LONGEST_REST, START, Server, Window

CROWDED = Fault("overloaded", "", 503)


def simulate(window: Window, seconds, answers: int) -> list[int]:
    """Ask a server for `answers`, always as many at once as the window says; return its sizes.

    What an answer takes when so many are under way, `seconds` says.
    """
    now, sizes, queue = 0.0, [], []
    for _ in range(answers):
        while len(queue) < window.size:
            under_way = len(queue) + 1
            heapq.heappush(queue, (now + seconds(under_way), now, under_way == window.size))
        now, begun, was_full = heapq.heappop(queue)
        window.answered(begun, now, was_full=was_full)
        sizes.append(window.size)
    return sizes


def slots(number: int):
    """Answer in a second, one after another in so many slots."""
    return lambda under_way: max(1.0, under_way / number)


@pytest.mark.parametrize("number", [8, 12, 16, 40, 100])
def test_a_window_grows_to_the_slots_of_a_server_and_not_far_beyond(number):
    sizes = simulate(Window(1000), slots(number), 200 * number)
    assert max(sizes) <= 4 * number
    assert number <= sorted(sizes)[len(sizes) // 2] <= 2 * number


def test_where_more_was_not_worth_it_a_window_is_left_as_it_was_for_most_of_the_time():
    sizes = simulate(Window(1000), slots(8), 4000)[2000:]
    assert sizes.count(8) > len(sizes) / 2
    assert max(sizes) > 8


def test_a_window_grows_on_where_answers_slow_down_but_more_of_them_come():
    sizes = simulate(Window(256), lambda under_way: 1 + under_way / 64, 5000)
    assert max(sizes) >= 128


def test_a_window_is_never_larger_than_allowed():
    assert max(simulate(Window(5), slots(100), 1000)) == 5
    assert max(simulate(Window(30), slots(100), 1000)) == 30


def test_a_window_that_is_not_used_does_not_grow():
    window = Window(100)
    for second in range(1000):
        window.answered(second, second + 1, was_full=False)
    assert window.size == START


def test_a_window_is_halved_once_for_a_wave():
    window = Window(100)
    for begun in (0.0, 0.1, 0.2):
        window.crowded(begun, 1.0)
    assert window.size == START // 2
    window.crowded(1.5, 2.0)
    assert window.size == START // 4
    for now in range(3, 20):
        window.crowded(now - 0.5, float(now))
    assert window.size == 1


def test_after_a_wave_a_window_grows_by_one_at_a_time():
    window = Window(100)
    window.crowded(0.0, 0.0)
    sizes = simulate(window, slots(100), 400)
    assert {after - before for before, after in pairwise(sizes)} == {0, 1}
    assert sizes[-1] > START


def server() -> Server:
    return Server("http://a/v1", Window(100))


@pytest.mark.parametrize(("reason", "needed"), [("unreachable", 1), ("broken", 3), ("timeout", 3)])
def test_a_server_is_dead_after_so_many_silences_in_a_row(reason, needed):
    dying = server()
    for number in range(needed):
        assert dying.has_room(0.0)
        dying.failed(Fault(reason, ""), float(number), float(number))
    assert not dying.has_room(float(needed) - 1 + FIRST_REST / 2)


def test_an_answer_or_a_refusal_between_them_means_that_it_lives():
    living = server()
    for number in range(10):
        living.failed(Fault("broken", ""), number, number)
        living.failed(Fault("server_error", "", 500), number, number)
    assert living.rest_ends is None


def test_a_dead_server_rests_longer_each_time_and_takes_one_request_after():
    dead, now, rests = server(), 0.0, []
    for _ in range(8):
        dead.failed(Fault("unreachable", ""), now, now)
        rests.append(dead.rest_ends - now)
        assert not dead.has_room(dead.rest_ends - 0.01)
        now = dead.rest_ends
        assert dead.has_room(now)
        dead.under_way = 1
        assert not dead.has_room(now)
        dead.under_way = 0
    assert rests == [min(LONGEST_REST, FIRST_REST * 2**n) for n in range(8)]
    dead.answered(now, now + 1, was_full=False)
    dead.failed(Fault("unreachable", ""), now + 2, now + 2)
    assert dead.rest_ends - (now + 2) == FIRST_REST


def test_a_server_that_asks_to_wait_is_given_nothing_meanwhile():
    busy = server()
    busy.failed(Fault("rate_limited", "", 429, wait=5.0), 0.0, 1.0)
    busy.failed(Fault("rate_limited", "", 429, wait=1.0), 0.0, 1.5)
    assert [busy.has_room(now) for now in (1.5, 5.9, 6.0)] == [False, False, True]
    busy.failed(Fault("server_error", "", 500, wait=5.0), 6.0, 6.0)
    busy.failed(Fault("rate_limited", "", 429, wait=1e6), 6.0, 6.0)  # the call that was told so fails; the next may ask
    assert busy.has_room(6.0)


def test_failures_of_requests_from_before_its_rest_do_not_lengthen_it():
    dead = server()
    dead.failed(Fault("unreachable", ""), 1.0, 2.0)
    for _ in range(5):
        dead.failed(Fault("unreachable", ""), 1.5, 2.5)
    assert dead.rest_ends == 2.0 + FIRST_REST
