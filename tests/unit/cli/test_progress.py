"""Proves that plain lines say what runs, how fast and how long yet, and that bars are drawn on terminals only."""

import io

import pytest

from solon.cli.progress import Bars, PlainLines, format_seconds, make_observer, summarize_stage
from solon.records import Manifest

MANIFEST = Manifest(
    stage="revision",
    status="complete",
    config={},
    seed=0,
    inputs={},
    code_version="1",
    counts={"in": 10, "kept": 8, "call_failed": 2},
    failures={"call_failed": 2},
    model_calls=90,
    replayed_calls=30,
    seconds=12.34,
)


def test_plain_lines_give_rate_and_time_left_every_ten_seconds():
    now = 0.0
    stream = io.StringIO()
    with PlainLines(stream, clock=lambda: now) as lines:
        lines.notice("watch \x1b[31mout")
        lines.stage_started("revision")
        for second in range(26):
            now = float(second)
            lines.stage_progressed("revision", "chains", 2 * second, 100)
        lines.stage_finished(MANIFEST, skipped=False)
    assert stream.getvalue().splitlines() == [
        "note: watch \\x1b[31mout",
        "revision: started",
        "revision: chains 20/100, 2.0/s, 0:40 left",
        "revision: chains 40/100, 2.0/s, 0:30 left",
        "revision: 12.3 s, kept 8 of 10, 90 model calls, 30 of them replayed, 2 failed",
    ]


def test_a_part_that_begins_again_is_measured_again():
    now = 0.0
    stream = io.StringIO()
    lines = PlainLines(stream, clock=lambda: now)
    for at, part, done in ((0, "a", 0), (5, "a", 100), (6, "b", 0), (16, "b", 10), (17, "b", 0), (27, "b", 30)):
        now = float(at)
        lines.stage_progressed("s", part, done, 100)
    assert stream.getvalue().splitlines() == ["s: b 10/100, 1.0/s, 1:30 left", "s: b 30/100, 3.0/s, 0:23 left"]


def test_parts_side_by_side_are_measured_each_by_itself():
    now = 0.0
    stream = io.StringIO()
    lines = PlainLines(stream, clock=lambda: now)
    for second in range(0, 21, 5):
        now = float(second)
        lines.stage_progressed("revision", "chains", second, 40)
        lines.stage_progressed("revision", "helpful answers", 2 * second, 60)
    assert stream.getvalue().splitlines() == [
        f"revision: {part} {done}/{total}, {rate}/s, {left} left"
        for done, late in ((10, ("0:30", "0:20")), (20, ("0:20", "0:10")))
        for part, done, total, rate, left in (
            ("chains", done, 40, "1.0", late[0]),
            ("helpful answers", 2 * done, 60, "2.0", late[1]),
        )
    ]


def test_a_stage_without_progress_has_no_rate_to_divide_by():
    now = 0.0
    stream = io.StringIO()
    lines = PlainLines(stream, clock=lambda: now)
    for at in (0.0, 11.0):
        now = at
        lines.stage_progressed("s", "a", 0, 100)
    assert stream.getvalue() == "s: a 0/100, 0.0/s\n"


def test_a_skipped_stage_says_so():
    assert summarize_stage(MANIFEST, skipped=True) == "revision: done before, nothing has changed"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3723, "1:02:03"), (-1, "0:00")]
)
def test_durations(seconds, text):
    assert format_seconds(seconds) == text


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bars_are_drawn_on_a_terminal_and_a_long_path_is_never_broken():
    assert isinstance(make_observer(io.StringIO()), PlainLines)
    stream = Terminal()
    path = "/a/" + "long/" * 60 + "file"
    with make_observer(stream) as bars:
        assert isinstance(bars, Bars)
        bars.notice(f"[bold]{path}")
        bars.stage_started("revision")
        bars.stage_progressed("revision", "chains [x]", 1, 10)
        bars.stage_progressed("revision", "chains [x]", 5, 10)
        bars.stage_progressed("revision", "critiques", 5, 10)
        bars.stage_finished(MANIFEST, skipped=False)
        bars.close()
    assert f"[bold]{path}" in stream.getvalue()
    assert "revision: 12.3 s" in stream.getvalue()
