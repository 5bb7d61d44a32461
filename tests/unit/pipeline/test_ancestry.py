"""Proves that records are found by their ids whatever their texts hold, and that what is ambiguous is not guessed."""

import pytest

from solon.errors import RecordError, RunError
from solon.pipeline.ancestry import describe
from solon.records import Conversation, Origin, Prompt, RunHeader, RunPaths, load_records, save_records
from tests.scripts import make_constitution


@pytest.fixture
def paths(tmp_path):
    """A folder with a header, a constitution and one prompt whose text holds what other programs call line breaks."""
    paths = RunPaths(tmp_path)
    law = make_constitution()
    origin = Origin(source="given", digest=law.digest)
    asked = RunHeader(
        code_version="1", config={"preset": "smoke"}, task=origin, constitution=origin, models={"assistant": origin}
    )
    asked.save(paths.header)
    paths.constitution.write_text(law.to_json())
    texts = ("one\u2028two\x85three\x0bfour", "five")
    prompts = [Prompt.make(Conversation.of(t), kind="helpful", source="t", split="train") for t in texts]
    save_records(paths.records("prompts_ppo"), prompts)
    return paths


def ids(paths):
    return [record.id for record in load_records(paths.records("prompts_ppo"), Prompt)]


def test_only_a_line_feed_ends_a_record(paths):
    first, second = ids(paths)
    told = describe(paths.root, first)
    assert told.startswith("records/prompts_ppo.jsonl:1\n")
    assert "one\u2028two\x85three\x0bfour" in told
    assert describe(paths.root, second).startswith("records/prompts_ppo.jsonl:2\n")
    assert describe(paths.root, second[:9]) == describe(paths.root, second)


def test_what_is_ambiguous_unknown_or_too_short_is_refused(paths):
    prompt = Prompt.make(Conversation.of("six"), kind="helpful", source="t", split="train")
    twins = [prompt.model_copy(update={"id": name}) for name in ("abcd1", "abcd2", "abcd22")]
    save_records(paths.records("prompts_ppo"), twins)
    with pytest.raises(RunError, match=r"several records.*abcd1, abcd2, abcd22: give more"):
        describe(paths.root, "abcd")
    assert "abcd22" not in describe(paths.root, "abcd2")
    with pytest.raises(RunError, match="no record and no model call"):
        describe(paths.root, "ffff")
    with pytest.raises(RunError, match="at least the first 4"):
        describe(paths.root, "abc")


def test_a_damaged_line_is_named(paths):
    first, _ = ids(paths)
    file = paths.records("prompts_ppo")
    file.write_text(file.read_text().replace(f'"{first}"', f'"{first}', 1))
    with pytest.raises(RecordError, match=r"prompts_ppo\.jsonl:1: not a JSON line"):
        describe(paths.root, first)
    file.write_bytes(b"\xff" + file.read_bytes())
    with pytest.raises(RecordError, match=r"prompts_ppo\.jsonl: is not text in UTF-8"):
        describe(paths.root, first)


def test_principles_are_never_told_from_another_constitution(paths):
    paths.constitution.write_text(make_constitution("pqr").to_json())
    with pytest.raises(RecordError, match=r"constitution\.json: is not the constitution of this run"):
        describe(paths.root, ids(paths)[0])
