"""Proves that prompts are pooled once each with their details and a split, and that no goal is on both sides of it."""

from pathlib import Path

import pytest

from solon.errors import RecordError
from solon.records import Conversation, Prompt, save_records
from solon.redteam import load_prompts, prompt_key, prompts_from_constitution
from solon.words import normalize_text
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


def test_fields_that_are_not_read_are_counted_by_name(tmp_path: Path) -> None:
    lines = ['{"prompt": "One?", "rating": 3, "tags": []}', '{"prompt": "Two?", "rating": 1, "note": null}']
    pool = load_prompts(write(tmp_path, "asked.jsonl", "\n".join(lines)), kind="helpful")
    assert pool.passed_over == {"rating": 2, "tags": 1}


def test_goal_and_category_are_read_and_are_no_part_of_the_id(tmp_path: Path) -> None:
    rows = 'prompt,Category,goal,kind\n"Rob, how?",theft,rob a bank,red_team\nWhy?,,,red_team\n'
    pool = load_prompts(write(tmp_path, "asked.csv", rows))
    assert [(p.goal, p.category) for p in pool.prompts] == [("rob a bank", "theft"), (None, None)]
    plain = Prompt.make(Conversation.of("Rob, how?"), kind="red_team", source="", split="train")
    assert pool.prompts[0].id == plain.id


def test_a_stored_prompt_of_before_there_were_goals_still_loads(tmp_path: Path) -> None:
    [prompt] = make_prompts(1)
    line = prompt.to_json().replace(',"goal":null,"category":null', "")
    assert "goal" not in line
    assert load_prompts(write(tmp_path, "prompts.jsonl", line)).prompts == (prompt,)


def rows_with_goals(count: int, spelling: str = "goal {}") -> str:
    rows = [
        f'{{"prompt": "{form} {n}?", "goal": "{spelling.format(n)}"}}' for n in range(count) for form in ("How", "Why")
    ]
    return "\n".join(rows)


def test_prompts_of_one_goal_are_on_one_side_in_every_file(tmp_path: Path) -> None:
    one = load_prompts(write(tmp_path, "a.jsonl", rows_with_goals(100)), kind="red_team")
    other = load_prompts(write(tmp_path, "b.jsonl", rows_with_goals(100, " Goal  {}!")), kind="helpful")
    splits: dict[str, set[str]] = {}
    for prompt in (*one.prompts, *other.prompts):
        splits.setdefault(normalize_text(prompt.goal or ""), set()).add(prompt.split)
    assert len(splits) == 100
    assert all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "heldout"}


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_prompt_follows_what_another_says_of_its_goal(tmp_path: Path, split: str) -> None:
    stated = "\n".join(f'{{"prompt": "When {n}?", "goal": "goal {n}", "split": "{split}"}}' for n in range(20))
    pool = load_prompts(write(tmp_path, "a.jsonl", rows_with_goals(20) + "\n" + stated), kind="red_team")
    assert {p.split for p in pool.prompts} == {split}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            '{"prompt": "How?", "goal": "rob", "split": "train"}',
            '{"prompt": "Why?", "goal": "Rob!", "split": "heldout"}',
        ),
        ('{"prompt": "How?", "split": "dev"}', '{"prompt": "how", "split": "train"}'),
    ],
)
def test_a_goal_on_both_sides_is_refused(tmp_path: Path, first: str, second: str) -> None:
    path = write(tmp_path, "a.jsonl", f"{first}\n\n{second}")
    with pytest.raises(RecordError) as caught:
        load_prompts(path, kind="red_team")
    assert str(caught.value).startswith(f"{path}:3: is of split")
    assert f"{path}:1 of" in str(caught.value)


@pytest.mark.parametrize("split", ["train", "heldout", "test", "validation", "dev"])
def test_the_usual_names_of_splits_are_read(tmp_path: Path, split: str) -> None:
    pool = load_prompts(write(tmp_path, "a.jsonl", f'{{"prompt": "How?", "split": "{split}"}}'), kind="red_team")
    assert [p.split for p in pool.prompts] == [split]


def test_a_goal_may_be_in_two_splits_that_are_never_trained_on(tmp_path: Path) -> None:
    lines = '{"prompt": "How?", "goal": "rob", "split": "test"}\n{"prompt": "Why?", "goal": "rob", "split": "heldout"}'
    pool = load_prompts(write(tmp_path, "a.jsonl", lines), kind="red_team")
    assert [p.split for p in pool.prompts] == ["test", "heldout"]


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
    assert set(splits.values()) == {"train", "heldout"}


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
