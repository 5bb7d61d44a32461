"""Proves that a test which interrupts a child is heard even where the tests themselves ignore interruptions, and that
no child outlives the block that started it.
"""

import signal
import subprocess
import sys

import pytest

from tests.children import start_child

SLEEP = "import time; print('asleep', flush=True); time.sleep(20)"


def test_a_child_hears_an_interruption_that_its_parent_ignores() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with start_child([sys.executable, "-c", SLEEP], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "asleep\n"
            child.send_signal(signal.SIGINT)
            assert "KeyboardInterrupt" in child.communicate()[1]
        assert child.returncode != 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_child_is_ended_where_its_test_fails() -> None:
    started = []

    def lose_patience() -> None:
        with start_child([sys.executable, "-c", SLEEP]) as child:
            started.append(child)
            child.wait(timeout=0.01)

    with pytest.raises(subprocess.TimeoutExpired):
        lose_patience()
    assert started[0].returncode == -signal.SIGKILL


def test_a_child_that_has_ended_keeps_its_return_code() -> None:
    with start_child([sys.executable, "-c", "raise SystemExit(3)"]) as child:
        child.wait()
    assert child.returncode == 3
