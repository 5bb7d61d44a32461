"""Proves that a manifest says started before and complete after, is believed only while nothing changed, and sums
over attempts.
"""

import pytest

from solon.pipeline.manifests import ManifestWriter, Outcome, load_manifest
from solon.pipeline.usage import Meter, Usage
from solon.records import RunPaths
from solon.storage import path_digest


def writer(root, **changes):
    given = {"config": {"n": [1, 2]}, "seed": 0, "inputs": {"prompts": "d1"}} | changes
    return ManifestWriter(RunPaths(root), "sft", **given)


def finish(root, **changes):
    (root / "records").mkdir(exist_ok=True)
    (root / "records" / "a.jsonl").write_text("one\n")
    (root / "models").mkdir(exist_ok=True)
    (root / "models" / "w").write_text("weights")
    (root / "models" / ".hidden").write_text("x")
    this = writer(root, **changes)
    this.save("started")
    outputs = (root / "records" / "a.jsonl", root / "models")
    return this.close(Outcome(counts={"in": 2, "kept": 1, "too_long": 1}, metrics={"loss": 0.5}), outputs)


def test_started_is_on_disk_before_the_work_and_complete_after(tmp_path):
    this = writer(tmp_path)
    this.save("started")
    started = load_manifest(tmp_path / "manifest" / "sft.json")
    assert started is not None
    assert started.status == "started"
    assert started.outputs == {}
    manifest = finish(tmp_path)
    assert load_manifest(tmp_path / "manifest" / "sft.json") == manifest
    assert manifest.status == "complete"
    assert set(manifest.outputs) == {"records/a.jsonl", "models/w"}
    assert all(len(digest) == 64 for digest in manifest.outputs.values())


def test_a_complete_stage_is_skipped_while_nothing_changed(tmp_path):
    manifest = finish(tmp_path)
    assert writer(tmp_path).is_complete() == manifest


@pytest.mark.parametrize("change", [{"config": {"n": [1, 3]}}, {"seed": 1}, {"inputs": {"prompts": "d2"}}])
def test_another_config_seed_or_input_runs_it_again(tmp_path, change):
    finish(tmp_path)
    assert writer(tmp_path, **change).is_complete() is None
    assert not writer(tmp_path, **change).continues


@pytest.mark.parametrize("damage", ["change", "remove", "truncate"])
def test_a_damaged_output_runs_it_again(tmp_path, damage):
    finish(tmp_path)
    file = tmp_path / "records" / "a.jsonl"
    match damage:
        case "change":
            file.write_text("two\n")
        case "remove":
            file.unlink()
        case "truncate":
            file.write_text("on")
    assert writer(tmp_path).is_complete() is None
    assert writer(tmp_path).continues


def test_a_started_or_unreadable_manifest_is_not_complete(tmp_path):
    writer(tmp_path).save("started")
    assert writer(tmp_path).is_complete() is None
    path = tmp_path / "manifest" / "sft.json"
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, 40):
        path.write_bytes(whole[:length])
        assert load_manifest(path) is None


@pytest.mark.parametrize("accept_code", [False, True])
def test_a_stage_that_other_sources_made_is_kept_only_where_they_are_accepted(tmp_path, accept_code):
    made = finish(tmp_path, inputs={"code": "old"})
    this = writer(tmp_path, inputs={"code": "new"}, accept_code=accept_code)
    assert this.is_of_other_code is not accept_code
    assert this.is_complete() == (made if accept_code else None)
    this.save("started")
    assert load_manifest(tmp_path / "manifest" / "sft.json").inputs == {"code": "old" if accept_code else "new"}
    begun = writer(tmp_path, inputs={"code": "newer"}, accept_code=accept_code)
    assert not begun.is_of_other_code
    assert not begun.continues


def test_amending_changes_what_was_written_and_nothing_else(tmp_path):
    made = finish(tmp_path)
    this = writer(tmp_path)
    this.amend({"run.yaml": "d"})
    path = tmp_path / "manifest" / "sft.json"
    assert load_manifest(path) == made.model_copy(update={"outputs": {"run.yaml": "d"}})
    assert this.save("started").outputs == {"run.yaml": "d"}


def test_time_is_summed_over_attempts_that_were_killed_too(tmp_path, monkeypatch):
    used = [Usage(2.0, 1.5, 100.0), Usage(3.0, 2.0, 90.0)]
    monkeypatch.setattr(Meter, "read", lambda _self: used[0])
    writer(tmp_path).save("started")
    monkeypatch.setattr(Meter, "read", lambda _self: used[1])
    manifest = finish(tmp_path)
    assert (manifest.seconds, manifest.cpu_seconds, manifest.metrics["peak_rss_mb"]) == (5.0, 3.5, 100.0)


def test_renewing_writes_the_time_at_most_every_few_seconds(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(Meter, "read", lambda _self: Usage(now, now, 1.0))
    renewed = []
    this = writer(tmp_path, on_renewal=lambda: renewed.append(now))
    this.save("started")
    for at in (1.0, 4.0, 6.0, 7.0, 12.0):
        now = at
        this.renew()
    assert renewed == [6.0, 12.0]
    manifest = load_manifest(tmp_path / "manifest" / "sft.json")
    assert manifest is not None
    assert (manifest.status, manifest.seconds) == ("started", 12.0)


def test_digest_of_a_folder_depends_on_names_and_contents(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a").write_text("1")
    first = path_digest(tmp_path / "x")
    (tmp_path / "x" / ".hidden").write_text("1")
    assert path_digest(tmp_path / "x") == first
    (tmp_path / "x" / "a").rename(tmp_path / "x" / "b")
    assert path_digest(tmp_path / "x") != first
    assert path_digest(tmp_path / "nothing") == "absent"
