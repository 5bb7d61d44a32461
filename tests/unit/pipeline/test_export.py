"""Proves what is written for other trainers: every row once, the likelier response chosen, what is left out counted;
of a finished run alone, as it was written, and over no file that is there.
"""

import json

import pytest

from solon.errors import ConfigError, RunError
from solon.pipeline.export import PREFERENCES_FILE, SFT_FILE, export_data
from solon.pipeline.stages.comparisons import COMPARISONS
from solon.pipeline.stages.feedback import LABELS, PAIRS
from solon.pipeline.stages.method import CONSTITUTIONAL_DATA
from solon.pipeline.stages.revision import SFT_EXAMPLES
from solon.records import RunPaths
from tests.pipeline_fakes import FakeModels
from tests.unit.pipeline.test_run import Log, start


@pytest.fixture
def fakes(tmp_path):
    return FakeModels(tmp_path / "fakes")


def rows_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_data_alone_are_exported_with_their_labels_and_who_gave_them(tmp_path, fakes):
    log = Log()
    result = start(tmp_path, fakes, method=CONSTITUTIONAL_DATA, log=log)
    paths = RunPaths(result.folder)
    assert [name for name, _ in log.finished] == [
        "prompts",
        "revision",
        "comparisons",
        "feedback",
        "evaluation",
        "report",
    ]
    stand_in = f"comparisons: both responses of a pair are of models.assistant ({fakes.base}), in the place of SL-CAI"
    assert any(notice.startswith(stand_in) for notice in log.notices)
    assert not list(paths.root.glob("models/*"))

    sft, preferences = export_data(result.folder, tmp_path / "data", keep_cut=True)
    pairs = {pair.id: pair for pair in PAIRS.load(paths)}
    unlabeled = [label for label in LABELS.load(paths) if label.status == "unlabeled"]
    assert preferences.rows == len(pairs) == len(COMPARISONS.load(paths)) - len(unlabeled)
    assert sum(preferences.left_out.values()) == len(unlabeled)
    rows = rows_of(preferences.file)
    assert {(row["model"], row["labeler"]) for row in rows} == {(fakes.digest(fakes.base),) * 2}
    for row in rows:
        pair = pairs.pop(row["solon_id"])
        texts = (pair.response_a, pair.response_b) if pair.target >= 0.5 else (pair.response_b, pair.response_a)
        assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == texts
        assert row["soft_label"] == max(pair.target, 1 - pair.target)
        assert row["prompt"] == [{"role": m.role, "content": m.text} for m in pair.prompt.conversation.messages]
    assert pairs == {}
    assert [row["completion"] for row in rows_of(sft.file)] == [
        [{"role": "assistant", "content": example.response}] for example in SFT_EXAMPLES.load(paths)
    ]


def test_a_whole_run_is_exported_with_sl_cai_and_one_that_ended_early_as_far_as_it_came(tmp_path, fakes):
    early = start(tmp_path, fakes, until="revision")
    assert [written.file.name for written in export_data(early.folder, tmp_path / "early")] == [SFT_FILE]
    sl_cai = start(tmp_path, fakes)
    *_, preferences = export_data(sl_cai.folder, tmp_path / "whole")
    assert preferences.file.name == PREFERENCES_FILE
    compared = COMPARISONS.load(RunPaths(sl_cai.folder))
    assert {row["model"] for row in rows_of(preferences.file)} == {pair.response_a.model for pair in compared}
    assert fakes.digest(fakes.base) not in {row["model"] for row in rows_of(preferences.file)}


def test_nothing_is_written_over_or_of_what_the_run_did_not_write(tmp_path, fakes):
    result = start(tmp_path, fakes, method=CONSTITUTIONAL_DATA)
    export_data(result.folder, tmp_path / "data")
    with pytest.raises(ConfigError, match=r"data/sft\.jsonl: is there already: give another folder$"):
        export_data(result.folder, tmp_path / "data")
    file = SFT_EXAMPLES.path(RunPaths(result.folder))
    file.write_text(file.read_text().replace("help", "harm"))
    with pytest.raises(RunError, match=r"sft_examples\.jsonl: is not as the run wrote it"):
        export_data(result.folder, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_run_that_made_no_texts_or_is_not_finished_has_nothing(tmp_path, fakes):
    early = start(tmp_path, fakes, until="prompts")
    with pytest.raises(RunError, match="holds nothing to learn from: this run was ended before stage revision"):
        export_data(early.folder, tmp_path / "data")
    (early.folder / "results.json").unlink()
    with pytest.raises(RunError, match="this run is not finished"):
        export_data(early.folder, tmp_path / "data")


def test_the_folder_of_data_alone_goes_on_with_the_whole_method(tmp_path, fakes):
    start(tmp_path, fakes, method=CONSTITUTIONAL_DATA)
    log = Log()
    whole = start(tmp_path, fakes, log=log)
    assert [name for name, skipped in log.finished if skipped] == ["prompts", "revision"]
    assert whole.results["method"] is None
    assert "in the place of SL-CAI" not in whole.report.read_text()
