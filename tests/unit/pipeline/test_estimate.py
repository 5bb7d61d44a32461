"""Proves that what a run is expected to ask is what it asks: exactly where that is fixed, at most elsewhere; that what
is answered already is not counted; and that numbers rest on what they say they rest on.
"""

import json

import pytest

from solon.errors import RunError
from solon.lm import read_uses
from solon.pipeline.overrides import merge
from solon.pipeline.run import plan, run
from solon.records import RunEstimate, RunPaths
from solon.tasks.judging import JudgeGrader
from tests.pipeline_fakes import SMALL, FakeModels, read_folder
from tests.servers.dialects import OpenAI
from tests.servers.wired import serve

PRICES = "- {model: m, currency: USD, prompt: 1000, cached: 0, output: 2000, as_of: 2026-03-01}\n"

FORMS = {
    "as it is": {},
    "direct": {"revision": {"direct": True, "rounds": 2, "helpful_samples": 3, "helpful_max_tokens": 9}},
    "no helpful answers": {"revision": {"helpful_samples": 0, "rounds": 1}},
    "one order, more principles": {"feedback": {"orders": "ab", "principles_per_comparison": 3}},
    "reasoning": {"feedback": {"chain_of_thought": True}},
    "samples": {"evaluation": {"samples_per_prompt": 2}},
}


class Place:
    def __init__(self, root):
        self.root, self.fakes = root, FakeModels(root / "fakes")

    def settings(self, changes):
        return merge({**SMALL, **self.fakes.assistant}, changes)

    def run(self, name, changes=None, **options):
        with self.fakes.installed():
            return run(out=self.root / name, preset="smoke", overrides=self.settings(changes or {}), **options)

    def plan(self, name, changes=None, **options):
        with self.fakes.installed():
            return plan(out=self.root / name, preset="smoke", overrides=self.settings(changes or {}), **options)

    def uses(self, name):
        return {(use.stage, use.role): use for use in read_uses(RunPaths(self.root / name).journal)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("estimate"))


@pytest.fixture(scope="module")
def whole(place):
    place.run("whole")
    return place.uses("whole")


@pytest.mark.parametrize("form", FORMS)
def test_calls_are_foreseen_exactly_where_they_are_fixed_and_bounded_elsewhere(place, form):
    expected = place.plan(form, FORMS[form])
    place.run(form, FORMS[form])
    used = {key: use.calls for key, use in place.uses(form).items()}
    planned = {(row.stage, row.role): row for row in expected.calls}
    assert used.keys() <= planned.keys()
    assert any(row.fixed for row in expected.calls)
    for key, row in planned.items():
        if row.fixed:
            assert used[key] == row.calls, key
        else:
            assert used.get(key, 0) <= row.calls, key


def test_calls_of_a_judge_are_bounded(place):
    judged = {"grader": JudgeGrader(), "until": "revision"}
    expected = {(row.stage, row.role): row for row in place.plan("judged", **judged).calls}
    place.run("judged", **judged)
    assert 0 < place.uses("judged")["evaluation", "judge"].calls <= expected["evaluation", "judge"].calls


def test_a_plan_claims_nothing_and_asks_nobody(place, whole):
    with serve(OpenAI()) as server:
        place.plan("planned", {"models": {"feedback": {"source": f"{server.base}#m"}}})
        assert server.seen == []
    assert not (place.root / "planned").exists()
    before = read_folder(place.root / "whole", "**/*")
    place.plan("whole")
    assert read_folder(place.root / "whole", "**/*") == before


def test_what_a_folder_has_answered_is_not_counted_again(place, whole):
    assert {row.left for row in place.plan("whole").calls} == {0}
    assert {row.tokens for row in place.plan("whole").training} == {0}
    place.run("begun", until="sl-cai")
    rows = {(row.stage, row.role): row for row in place.plan("begun").calls}
    assert rows["revision", "assistant"].left == 0
    assert rows["comparisons", "sl-cai"].left == rows["comparisons", "sl-cai"].calls
    # Base and SL-CAI were evaluated already, by a shorter method.
    assert [rows["evaluation", role].left for role in ("assistant", "sl-cai")] == [0, 0]
    assert rows["evaluation", "rl-cai"].answered == 0
    tokens = {row.stage: row.tokens for row in place.plan("begun").training}
    assert tokens["sft"] == 0 < tokens["preference-model"]


def test_an_old_run_answers_as_far_as_it_did_the_same(place, whole):
    old = place.root / "whole"
    assert {row.left for row in place.plan("new", old=old).calls} == {0}
    changed = {"feedback": {"principles_per_comparison": 2}}
    rows = {(row.stage, row.role): row for row in place.plan("new", changed, old=old).calls}
    assert rows["comparisons", "sl-cai"].left == 0 < rows["feedback", "feedback"].left
    assert rows["evaluation", "rl-cai"].left == rows["evaluation", "rl-cai"].calls  # of another preference model
    assert {row.answered for row in place.plan("new", {"seed": 5}, old=old).calls} == {0}
    with pytest.raises(RunError, match="is not the folder of a run"):
        place.plan("new", old=place.fakes.base)


def test_numbers_rest_on_what_they_say(place, whole):
    bare = {(row.stage, row.role): row for row in place.plan("bare").calls}
    row = bare["comparisons", "sl-cai"]
    assert (row.prompt_basis, row.output_basis, row.seconds) == ("characters", "limit", None)  # fakes have no tokenizer
    assert row.output_tokens == row.most_output_tokens == row.calls * 64
    rows = {(r.stage, r.role): r for r in place.plan("bare", {"seed": 5}, old=place.root / "whole").calls}
    row, use = rows["comparisons", "sl-cai"], whole["comparisons", "sl-cai"]
    assert row.output_basis == "journal"
    assert row.output_tokens == pytest.approx(row.calls * use.generated_tokens / use.calls, abs=1)
    assert row.seconds == pytest.approx(row.calls * use.seconds / use.timed)
    for row in rows.values():
        assert row.output_tokens <= row.most_output_tokens
        assert row.prompt_tokens <= row.most_prompt_tokens


def test_cost_is_foreseen_kept_and_shown_beside_what_was_paid(place):
    (place.root / "prices.yaml").write_text(PRICES)
    with serve(OpenAI()) as server:
        served = {"models": {"feedback": {"source": f"{server.base}#m"}}}
        bare = {(row.stage, row.role): row for row in place.plan("served", served).calls}["feedback", "feedback"]
        assert (bare.priced, bare.cost, bare.most_cost) == (True, None, None)
        served["prices"] = str(place.root / "prices.yaml")
        result = place.run("served", served)
    paths = RunPaths(result.folder)
    kept = RunEstimate.from_json(paths.plan.read_text())
    row = {(row.stage, row.role): row for row in kept.calls}["feedback", "feedback"]
    assert row.cost == pytest.approx((row.prompt_tokens * 1000 + row.output_tokens * 2000) / 1e6)
    use = place.uses("served")["feedback", "feedback"]
    (told,) = (one for one in result.results["usage"] if one["stage"] == "feedback")
    assert told["counted"] == {"prompt": use.tries.prompt_tokens, "generated": use.tries.generated_tokens}
    assert told["cost"] == pytest.approx((use.tries.prompt_tokens * 1000 + use.tries.generated_tokens * 2000) / 1e6)
    assert told["cost"] <= row.most_cost
    assert (told["planned_calls"], told["planned_cost"], told["tries"]) == (row.calls, row.cost, use.tries.tries)
    assert result.results["currency"] == "USD"
    page = paths.report.read_text()
    for shown in (
        f"{told['cost']:.4g}",
        f"{row.cost:.4g}",
        f"{use.tries.tries}, 0 failed",
        "by the prices of 2026-03-01",
    ):
        assert shown in page
    assert all(one["counted"] is None and one["cost"] is None for one in result.results["usage"] if one != told)


def test_the_estimate_of_the_first_start_is_kept(place, whole):
    file = RunPaths(place.root / "whole").plan
    before = json.loads(file.read_text())
    assert {row["answered"] for row in before["calls"]} == {0}
    place.run("whole", accept_code=True)
    assert json.loads(file.read_text()) == before


def test_a_server_that_does_not_count_is_said_so(place):
    def hide(path, request, answer):
        answer.pop("usage", None)
        return answer

    with serve(OpenAI(twist=hide)) as server:
        result = place.run("uncounted", {"models": {"feedback": {"source": f"{server.base}#m"}}})
    (told,) = (one for one in result.results["usage"] if one["stage"] == "feedback")
    assert (told["counted"], told["uncounted"]) == (None, told["tries"])
    assert "not counted" in RunPaths(result.folder).report.read_text()
