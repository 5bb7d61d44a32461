"""Proves that prompts are read from every form they may have, once each, and that a bad line is named."""

from pathlib import Path

import pytest

from solon.errors import RecordError
from solon.records import Conversation, Prompt, save_records
from solon.redteam import load_prompts, prompt_key, prompts_from_constitution
from tests.scripts import make_constitution, make_prompts


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def said(prompts: tuple[Prompt, ...]) -> list[list[str]]:
    return [[message.text for message in prompt.conversation.messages] for prompt in prompts]


def test_plain_text_is_one_prompt_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, "asked.txt", "\ufeffHow?: like so\r\n\n  \n  Why?  \nhow? like so\nHOW?: like so\n")
    pool = load_prompts(path, kind="red_team", split="heldout")
    assert said(pool.prompts) == [["How?: like so"], ["Why?"], ["how? like so"]]
    assert pool.counts == {"in": 4, "kept": 3, "duplicate": 1}
    assert {(p.kind, p.split, p.source) for p in pool.prompts} == {("red_team", "heldout", "asked.txt")}


def test_json_lines_in_every_form(tmp_path: Path) -> None:
    lines = [
        '{"prompt": "One?", "kind": "helpful", "rating": 3}',
        '{"turns": ["Two?", "No.", "And now?"], "split": "dev"}',
        '{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Three?"}]}',
        '{"messages": [{"role": "user", "text": "Four?"}]}',
    ]
    pool = load_prompts(write(tmp_path, "asked.jsonl", "\n".join(lines)), kind="red_team", split="train")
    assert said(pool.prompts) == [["One?"], ["Two?", "No.", "And now?"], ["S", "Three?"], ["Four?"]]
    assert [p.kind for p in pool.prompts] == ["helpful", "red_team", "red_team", "red_team"]
    assert [p.split for p in pool.prompts] == ["train", "dev", "train", "train"]
    assert [m.role for m in pool.prompts[1].conversation.messages] == ["user", "assistant", "user"]
    assert pool.prompts[0].id == Prompt.make(Conversation.of("One?"), kind="helpful", source="", split="dev").id


def test_stored_prompts_come_back_as_they_were(tmp_path: Path) -> None:
    prompts = make_prompts(3, "helpful", "novel")
    save_records(tmp_path / "prompts.jsonl", prompts)
    assert list(load_prompts(tmp_path / "prompts.jsonl").prompts) == prompts


def test_a_stored_prompt_that_was_edited_is_refused(tmp_path: Path) -> None:
    line = make_prompts(1)[0].to_json().replace("request 0", "request 9")
    with pytest.raises(RecordError, match="edited"):
        load_prompts(write(tmp_path, "prompts.jsonl", line))


def test_split_by_hash_is_that_of_the_text_alone(tmp_path: Path) -> None:
    lines = [f"Prompt {number}" for number in range(200)]
    pool = load_prompts(write(tmp_path, "a.txt", "\n".join(lines)), kind="helpful")
    other = load_prompts(
        write(tmp_path, "b.txt", "\n".join(f" {line.upper()}! " for line in reversed(lines))), kind="red_team"
    )
    splits = {prompt_key(p.conversation): p.split for p in other.prompts}
    assert all(splits[prompt_key(p.conversation)] == p.split for p in pool.prompts)
    assert set(splits.values()) == {"train", "dev", "heldout"}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", " \n\n", "holds no prompt"),
        ("a.txt", "fine\n\0\n", "binary"),
        ("a.jsonl", '{"prompt": "fine"}\n{"prompt"', ":2: is not a line of JSON"),
        ("a.jsonl", "[1]", ":1: expected a JSON object, found list"),
        ("a.jsonl", '{"text": "x"}', "'prompt', 'turns' or 'messages'"),
        ("a.jsonl", '{"prompt": 3}', "without words"),
        ("a.jsonl", '{"prompt": " "}', "without words"),
        ("a.jsonl", '{"turns": "x"}', "must be a list"),
        ("a.jsonl", '{"turns": []}', "at least 1"),
        ("a.jsonl", '{"turns": ["x", "y"]}', "must end with a user message"),
        ("a.jsonl", '{"messages": ["x"]}', "must be an object"),
        ("a.jsonl", '{"messages": [{"role": "human", "content": "x"}]}', "role"),
        ("a.jsonl", '{"prompt": "x", "split": "test"}', "split"),
        ("a.jsonl", '{"prompt": "x", "kind": "rude"}', "kind"),
        ("a.jsonl", '{"prompt": "fine"}\n{"prompt": "x\\ud83d"}', ":2: text: holds half of a character"),
        ("a.jsonl", '{"schema": 1, "id": "\\udc00"}', ":1: Prompt.id: holds half of a character"),
        ("a.jsonl", "[" * 100_000, "is not a line of JSON"),
        ("a.jsonl", '{"schema": 1, "id": "x"}', "Prompt"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str, text: str, expected: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(RecordError) as caught:
        load_prompts(path, kind="red_team", split="train")
    assert str(caught.value).startswith(str(path))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_a_folder_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00a")
    for path, expected in [(tmp_path / "a.txt", "UTF-8"), (tmp_path, "cannot be read"), (tmp_path / "no", "cannot be")]:
        with pytest.raises(RecordError, match=expected):
            load_prompts(path, kind="helpful")


def test_the_kind_must_be_said_somewhere(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r":1: does not say its kind"):
        load_prompts(write(tmp_path, "a.jsonl", '{"prompt": "x"}'))


def test_sample_prompts_of_a_constitution() -> None:
    constitution = make_constitution(red_team_prompts=("Rob?", "rob"), helpful_prompts=("Bake?",))
    pool = prompts_from_constitution(constitution)
    assert said(pool.prompts) == [["Rob?"], ["Bake?"]]
    assert [(p.kind, p.split, p.source) for p in pool.prompts] == [
        ("red_team", "train", "constitution test"),
        ("helpful", "train", "constitution test"),
    ]
    assert pool.counts["duplicate"] == 1
