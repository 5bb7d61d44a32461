"""Proves that a run may be asked for again with higher limits on what models write, that it then ends as a run which
had them from the beginning, and that only what the old limits cut is asked again.
"""

import pytest

from solon.errors import RunError
from solon.lm import ScriptedModel, describe_lost_calls
from solon.pipeline.folder import load_header
from solon.pipeline.limits import LIMITS
from solon.pipeline.manifests import load_manifest
from solon.pipeline.run import load_run, run
from solon.records import RunHeader, RunPaths
from solon.report import write_report
from tests import pipeline_fakes
from tests.pipeline_fakes import SMALL, FakeModels, read_folder
from tests.unit.pipeline.test_run import Log, data

LOW, HIGH = {"revision": {"max_tokens": 16}}, {"revision": {"max_tokens": 64}}


class CuttingModels(FakeModels):
    """Its models write what they write, up to the limit."""

    def open_model(self, checkpoint):
        inner = super().open_model(checkpoint)
        model = ScriptedModel(
            lambda prompt, sampling, seed: cut(inner._reply(prompt, sampling, seed), sampling.max_tokens),
            pipeline_fakes._choose,
            identity=inner.identity,
            limit_only_cuts=True,
        )
        self.models[-1] = model
        return model

    def asked(self):
        """Return the limit and seed of every call that was made, and forget them."""
        calls = [(sampling.max_tokens, seed) for model in self.models for _, sampling, seed in model.generated]
        self.models.clear()
        return calls


def cut(reply, limit):
    if isinstance(reply, Exception):
        return reply
    text = reply if isinstance(reply, str) else reply[0]
    words = text.split()
    return text if len(words) <= limit else (" ".join(words[:limit]), "length")


def start(tmp_path, fakes, changes, *, out="run", log=None, **options):
    overrides = {**SMALL, **fakes.assistant, "max_failure_fraction": 1.0, **changes}
    log = log or Log()
    with fakes.installed():
        return run(out=tmp_path / out, preset="smoke", overrides=overrides, observer=log, **options)


def made(log):
    return [name for name, skipped in log.finished if not skipped]


@pytest.fixture
def fakes(tmp_path):
    return CuttingModels(tmp_path / "fakes")


@pytest.fixture
def low(tmp_path, fakes):
    """The folder of a run under the low limit."""
    folder = start(tmp_path, fakes, LOW).folder
    fakes.asked()
    return folder


def test_the_limits_are_those_on_what_models_write_in_data_stages():
    assert {
        "revision.max_tokens",
        "revision.max_critique_tokens",
        "revision.helpful_max_tokens",
        "comparisons.max_tokens",
        "feedback.max_reasoning_tokens",
        "evaluation.max_tokens",
    } == LIMITS


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (LOW, HIGH, "revision.max_tokens grows from 16 to 64: stages revision and evaluation are made again"),
        (
            {"comparisons": {"max_tokens": 18}},
            {"comparisons": {"max_tokens": 30}},
            "comparisons.max_tokens grows from 18 to 30: stage comparisons is made again",
        ),
        (
            {"evaluation": {"max_tokens": 18}},
            {"evaluation": {"max_tokens": 40}},
            "evaluation.max_tokens grows from 18 to 40: stage evaluation is made again",
        ),
        (
            {"revision": {"max_critique_tokens": 5}},
            {"revision": {"max_critique_tokens": 6}},
            "revision.max_critique_tokens grows from 5 to 6: stages revision and evaluation are made again",
        ),
    ],
)
def test_a_run_whose_limit_grows_ends_as_one_that_had_it(tmp_path, fakes, before, after, said):
    start(tmp_path, fakes, before)
    (section,) = before
    (limit,) = before[section].values()
    old = {(section, seed) for most, seed in fakes.asked() if most == limit}
    log = Log()
    grown = start(tmp_path, fakes, after, log=log)
    asked = fakes.asked()
    fresh = start(tmp_path, fakes, after, out="fresh")
    needed = fakes.asked()
    assert data(grown.folder) == data(fresh.folder)
    assert grown.results["models"] == fresh.results["models"]
    assert 0 < len(asked) < len(needed)
    assert old  # the limit did something at all
    assert log.notices == [f"{said}; answers of local models that ended are kept, cut ones are drawn again"]
    header = load_header(grown.folder)
    assert header == load_header(fresh.folder)
    assert describe_lost_calls(RunPaths(grown.folder)) is None
    assert load_run(grown.folder).config == fresh.config
    again = Log()
    start(tmp_path, fakes, after, log=again)
    assert (made(again), again.notices) == ([], [])


def test_only_what_was_cut_is_drawn_again(tmp_path, fakes):
    before = {"comparisons": {"max_tokens": 18}}
    paths = RunPaths(start(tmp_path, fakes, before, until="comparisons").folder)
    text = paths.records("comparisons").read_text()
    cut_ones = text.count('"stop_reason":"length"')
    assert 0 < cut_ones < text.count('"stop_reason":')
    fakes.asked()
    start(tmp_path, fakes, {"comparisons": {"max_tokens": 64}}, until="comparisons")
    assert len(fakes.asked()) == cut_ones
    manifest = load_manifest(paths.manifest("comparisons"))
    assert manifest.model_calls - manifest.replayed_calls == cut_ones


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"revision": {"max_tokens": 15}}, ["revision.max_tokens: 16 -> 15"]),
        (
            {"revision": {"max_tokens": 64}, "ppo": {"kl_coef": 0.1}},
            ["revision.max_tokens: 16 -> 64", "ppo.kl_coef: 0.03 -> 0.1"],
        ),
        (
            {"revision": {"max_tokens": 64, "max_critique_tokens": 63}},
            ["revision.max_critique_tokens: 64 -> 63", "revision.max_tokens: 16 -> 64"],
        ),
        ({**LOW, "sft": {"max_tokens": 257}}, ["sft.max_tokens: 256 -> 257"]),
        ({**LOW, "preference_model": {"max_tokens": 257}}, ["preference_model.max_tokens: 256 -> 257"]),
        ({**LOW, "ppo": {"max_response_tokens": 65}}, ["ppo.max_response_tokens: 64 -> 65"]),
    ],
)
def test_a_limit_that_shrinks_and_every_other_difference_is_refused_and_changes_nothing(
    tmp_path, fakes, low, changes, shown
):
    before = read_folder(low, "**/*")
    with pytest.raises(RunError, match="asked for something else") as caught:
        start(tmp_path, fakes, changes)
    assert all(difference in str(caught.value) for difference in shown)
    assert read_folder(low, "**/*") == before


def test_one_stage_alone_under_a_limit_that_grows(tmp_path, fakes, low):
    before = read_folder(low, "**/*")
    with pytest.raises(RunError, match=r"--only sft: .*sft_examples\.jsonl is not as stage revision writes it"):
        start(tmp_path, fakes, HIGH, only="sft")
    assert read_folder(low, "**/*") == before  # so the run may still be asked for as it was
    log = Log()
    start(tmp_path, fakes, HIGH, only="revision", log=log)
    assert made(log) == ["revision"]
    start(tmp_path, fakes, HIGH, only="sft")
    with pytest.raises(RunError, match="asked for something else"):
        start(tmp_path, fakes, LOW)
    whole, fresh = start(tmp_path, fakes, HIGH), start(tmp_path, fakes, HIGH, out="fresh")
    assert data(whole.folder) == data(fresh.folder)


def test_a_part_of_a_run_under_a_limit_that_grows(tmp_path, fakes, low):
    log = Log()
    start(tmp_path, fakes, HIGH, until="sl-cai", log=log)
    assert made(log) == ["revision", "sft", "evaluation", "report"]
    whole, fresh = start(tmp_path, fakes, HIGH), start(tmp_path, fakes, HIGH, out="fresh")
    assert data(whole.folder) == data(fresh.folder)


def test_answers_of_an_old_run_that_ended_are_kept_in_a_new_folder_too(tmp_path, fakes, low):
    log = Log()
    new = start(tmp_path, fakes, HIGH, out="new", old=low, until="revision", log=log)
    asked = fakes.asked()
    fresh = start(tmp_path, fakes, HIGH, out="fresh", until="revision")
    assert 0 < len(asked) < len(fakes.asked())
    assert data(new.folder) == data(fresh.folder)
    assert (log.notices, describe_lost_calls(RunPaths(new.folder))) == ([], None)
    # An ended answer answers under a lower limit too, if it keeps to it.
    lower = start(tmp_path, fakes, LOW, out="lower", old=fresh.folder, until="revision")
    asked = fakes.asked()
    again = start(tmp_path, fakes, LOW, out="again", until="revision")
    assert 0 < len(asked) < len(fakes.asked())
    assert data(lower.folder) == data(again.folder)


def test_results_of_the_old_limit_are_not_shown_as_those_of_the_new(tmp_path, fakes, low):
    changes = {"evaluation": {"max_tokens": 65}, **LOW}
    start(tmp_path, fakes, changes, only="sft")
    assert load_header(low).config["evaluation"]["max_tokens"] == 65
    for read in (load_run, write_report):
        with pytest.raises((RunError, ValueError), match=r"evaluation\.json: is not the manifest .* give the run's"):
            read(low)
    start(tmp_path, fakes, changes)
    load_run(low)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_while_the_header_is_renewed_leaves_no_false_word(tmp_path, fakes, low, monkeypatch, moment):
    save = RunHeader.save

    def die(header, path):
        if moment == "after":
            save(header, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunHeader, "save", die)
    with pytest.raises(KeyboardInterrupt):
        start(tmp_path, fakes, HIGH)
    monkeypatch.undo()
    log = Log()
    grown = start(tmp_path, fakes, HIGH, log=log)
    assert not [notice for notice in log.notices if "made again" in notice and "grows" not in notice]
    assert len(log.notices) == (moment == "before")
    fresh = start(tmp_path, fakes, HIGH, out="fresh")
    assert data(grown.folder) == data(fresh.folder)


def test_a_header_that_was_edited_is_still_said(tmp_path, fakes, low):
    text = (low / "run.yaml").read_text()
    (low / "run.yaml").write_text(text.replace("code_version: ", "code_version: 9"))
    log = Log()
    start(tmp_path, fakes, HIGH, log=log)
    assert f"{low / 'run.yaml'}: was not as the run wrote it: it is made again" in log.notices
