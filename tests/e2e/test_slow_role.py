"""Proves that a role elsewhere, whose answers come late and in any order, changes nothing but the rounding of floating
point, and holds up only the items that need it.
"""

import json
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest

from benchmarks.same_run import compare_runs
from solon.pipeline.observer import Observer
from solon.pipeline.overrides import merge, nest, parse_override
from solon.pipeline.run import run
from tests.tiny_world import TINY_RUN

FLIPS = 0.005
"""Share of the draws that rounding may turn."""

LOGPROBS = 1e-5


class Order(Observer):
    """Remembers what was finished when."""

    def __init__(self):
        self.seen = []

    def stage_progressed(self, stage, part, done, total):
        self.seen.append((stage, part, done, total))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_world):
    """Two runs of one seed with all roles local, and one with critic and feedback model elsewhere."""
    folder = tmp_path_factory.mktemp("slow")

    def start(name, **models):
        settings = {"models": {"assistant": {"source": str(tiny_world)}, **models}}
        for text in TINY_RUN:
            settings = merge(settings, nest(*parse_override(text)))
        log = Order()
        run(out=folder / name, preset="smoke", overrides=settings, until="feedback", observer=log)
        return SimpleNamespace(folder=folder / name, log=log)

    slow = {"source": str(tiny_world), "backend": "tests.slow_backend"}
    return SimpleNamespace(one=start("one"), other=start("other"), slow=start("slow", critic=slow, feedback=slow))


def calls(folder):
    """Return key to answer of every call."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as journal:
        return {key: json.loads(text) for key, text in journal.execute("SELECT key, response FROM calls")}


def test_two_runs_of_one_seed_with_all_roles_local_have_equal_records(runs):
    for file in sorted((runs.one.folder / "records").iterdir()):
        assert file.read_bytes() == (runs.other.folder / "records" / file.name).read_bytes(), file.name


def test_a_role_elsewhere_changes_rounding_alone(runs):
    here, there = calls(runs.one.folder), calls(runs.slow.folder)
    both = here.keys() & there.keys()
    flipped = [key for key in both if here[key].get("text") != there[key].get("text")]
    assert len(both) >= (1 - FLIPS) * len(here)
    assert len(flipped) <= FLIPS * len(both)
    if not flipped:  # then all that follows is the same too: ids, texts, labels; log-probabilities but for rounding
        assert here.keys() == there.keys()
        reports = compare_runs(runs.one.folder, runs.slow.folder, logprobs_within=LOGPROBS, losses_within=LOGPROBS)
        assert [report.name for report in reports if report.different and report.name.startswith("records/")] == []


def test_what_does_not_need_the_slow_role_does_not_wait_for_it(runs):
    revision = [(part, done == total) for stage, part, done, total in runs.slow.log.seen if stage == "revision"]
    assert revision.index(("helpful answers", True)) < revision.index(("chains", True))
