"""Proves that a folder holds one run, one process at a time, and that nothing of anyone else's is touched."""

import os
import subprocess
import sys

import pytest
import yaml

from solon.errors import RecordError, RunError
from solon.pipeline.folder import claim_folder, compare_headers, load_header
from solon.records import Origin, RunHeader
from tests.children import start_child

HEADER = RunHeader(
    code_version="1",
    config={"preset": "smoke", "seed": 0, "ppo": {"kl_coef": 0.05, "sizes": [1, 2]}, "threads": 1},
    task=Origin(source="world", name="world", digest="t1"),
    constitution=Origin(source="default", name="n", digest="c1"),
    models={"assistant": Origin(source="nano", digest="m1")},
)


def variant(**config):
    return HEADER.model_copy(update={"config": {**HEADER.config, **config}})


def listing(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


def test_a_new_folder_becomes_a_run_and_the_same_request_resumes_it(tmp_path):
    with claim_folder(tmp_path / "a" / "run", HEADER) as paths:
        (paths.root / "kept").write_text("x")
    with claim_folder(tmp_path / "a" / "run", HEADER) as paths:
        assert (paths.root / "kept").read_text() == "x"
    assert load_header(tmp_path / "a" / "run") == HEADER


def test_another_request_is_refused_with_every_difference_and_changes_nothing(tmp_path):
    with claim_folder(tmp_path, HEADER) as paths:
        (paths.root / "models" / "sl-cai").mkdir(parents=True)
        (paths.root / "models" / "sl-cai" / "weights").write_text("hours of work")
    before = listing(tmp_path)
    other = variant(seed=1, ppo={"kl_coef": 0.1, "sizes": [1, 2]})
    with pytest.raises(RunError) as caught, claim_folder(tmp_path, other):
        pass
    assert "ppo.kl_coef: 0.05 -> 0.1" in str(caught.value)
    assert "seed: 0 -> 1" in str(caught.value)
    assert "sizes" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert listing(tmp_path) == before


def test_content_counts_and_its_place_does_not():
    moved = HEADER.model_copy(update={"constitution": Origin(source="/elsewhere", name="n", digest="c1")})
    assert compare_headers(HEADER, moved) == []
    assert compare_headers(HEADER, variant(threads=2, preset="nano")) == []
    changed = HEADER.model_copy(update={"models": {"assistant": Origin(source="nano", digest="m2")}})
    assert [str(d) for d in compare_headers(HEADER, changed)] == ["digest.models.assistant: m1 -> m2"]
    moved = HEADER.model_copy(update={"task": Origin(source="/elsewhere/task.yaml", name="world", digest="t1")})
    assert compare_headers(HEADER, moved) == []
    changed = HEADER.model_copy(update={"task": Origin(source="world", name="world", digest="t2")})
    assert [str(d) for d in compare_headers(HEADER, changed)] == ["digest.task: t1 -> t2"]


def test_strangers_are_refused_and_left_alone(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(RunError, match="is a file"), claim_folder(file, HEADER):
        pass
    assert file.read_text() == "mine"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty and holds no run"), claim_folder(folder, HEADER):
        pass
    assert listing(folder).keys() == {(folder / "thesis.txt").relative_to(folder)}
    (folder / "run.yaml").write_text("not: a header")
    with pytest.raises(RunError, match=r"run\.yaml"), claim_folder(folder, HEADER):
        pass
    assert (folder / "run.yaml").read_text() == "not: a header"


def test_what_an_attempt_killed_at_once_left_behind_is_no_obstacle(tmp_path):
    (tmp_path / ".lock").write_text("99999999\n")
    (tmp_path / ".run.yaml.123.tmp").write_text("half")
    with claim_folder(tmp_path, HEADER) as paths:
        assert not (tmp_path / ".run.yaml.123.tmp").exists()
        (paths.root / "models" / "sl-cai").mkdir(parents=True)
        (paths.root / "models" / ".sl-cai.7.old").mkdir()
    with claim_folder(tmp_path, HEADER):
        assert [entry.name for entry in (tmp_path / "models").iterdir()] == ["sl-cai"]


def test_a_folder_moved_aside_for_one_that_never_came_is_moved_back(tmp_path):
    with claim_folder(tmp_path, HEADER) as paths:
        aside = paths.root / "models" / ".sl-cai.7.old"
        aside.mkdir(parents=True)
        (aside / "checkpoint").write_text("hours of work")
    with claim_folder(tmp_path, HEADER):
        assert (tmp_path / "models" / "sl-cai" / "checkpoint").read_text() == "hours of work"
        assert not aside.exists()


def test_a_second_process_is_refused_and_a_dead_one_is_not_in_the_way(tmp_path):
    hold = "import sys,time; from pathlib import Path; from solon.pipeline.folder import lock_folder\n"
    hold += "with lock_folder(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with start_child([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=rf"process {other.pid} is working here"):
            claim_folder(tmp_path, HEADER).__enter__()
        other.kill()
    with claim_folder(tmp_path, HEADER):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="cannot be"), claim_folder(tmp_path / "run", HEADER):
        pass


def test_header_of_another_version_or_of_nothing_is_refused(tmp_path):
    path = tmp_path / "run.yaml"
    for text in ("", "schema: 99\n", "schema: 2\nfoo: 1\n", "\x00\x01", "a: [", "schema: 2\nconfig: 3\n"):
        path.write_text(text)
        with pytest.raises(RecordError, match=r"run\.yaml: [^\n]+$"):
            RunHeader.load(path)


def test_a_header_of_before_there_were_tasks_says_which_version_reads_it(tmp_path):
    path = tmp_path / "run.yaml"
    HEADER.save(path)
    body = yaml.safe_load(path.read_text())
    assert body.pop("task")
    assert body["schema"] == 3
    path.write_text(yaml.safe_dump({**body, "schema": 1, "code_version": "0.1.0"}))
    with pytest.raises(
        RecordError, match=r"run\.yaml: .*schema 1, .*reads 3: .* that reads schema 1; version 0\.1\.0 wrote it$"
    ):
        RunHeader.load(path)
