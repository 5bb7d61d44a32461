"""Proves that the starter task is what its card says."""

import json
from collections import Counter
from importlib.resources import files
from typing import Any

import pytest

from solon.pipeline.task import load_task
from solon.records import Conversation, Prompt
from solon.redteam import find_leaks
from solon.tasks import check_task
from solon.tasks.starter import load
from solon.words import content_words

TASK = load("starter")
FACTS = {pool.name: pool for pool in check_task(TASK).pools}
EVALUATION = TASK.evaluations(TASK.sizes(), seed=0)[0]


def rows(name: str) -> list[dict[str, Any]]:
    text = files("solon.tasks.starter").joinpath(f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_it_is_found_by_its_name() -> None:
    found = load_task("starter")
    assert (found.identity, found.source) == (TASK.identity, "starter")


def test_nothing_is_noted() -> None:
    assert check_task(TASK).notes == ()
    assert TASK.notices(None, {}) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pool", "prompts", "goals"),
    [
        ("train/red_team", 600, 300),
        ("train/helpful", 600, 300),
        ("main/harmful", 200, 200),
        ("main/benign", 200, 200),
        ("main/twins", 200, 200),
    ],
)
def test_there_are_enough_prompts_goals_and_categories(pool: str, prompts: int, goals: int) -> None:
    facts = FACTS[pool]
    assert facts.prompts >= prompts
    assert facts.goals >= goals
    assert len(facts.categories) >= 12
    assert min(facts.categories.values()) >= prompts // len(facts.categories) // 2


def test_a_goal_is_of_one_category_and_one_pool() -> None:
    seen: dict[str, set[tuple[str, str]]] = {}
    for name in ("red_team", "helpful", "harmful", "benign", "twins"):
        for row in rows(name):
            seen.setdefault(row["goal"], set()).add((name, row["category"]))
    assert {goal: places for goal, places in seen.items() if len(places) > 1} == {}


def test_each_twin_shares_words_with_its_harmful_prompt() -> None:
    harmful = {row["goal"]: row for row in rows("harmful")}
    twins = rows("twins")
    assert Counter(row["pair"] for row in twins) == Counter(list(harmful))
    shared = []
    for row in twins:
        partner = harmful[row["pair"]]
        assert row["category"] == partner["category"]
        shared.append(len(content_words(row["prompt"]) & content_words(partner["prompt"])))
    assert min(shared) >= 1
    assert sum(count >= 2 for count in shared) >= 120


def test_the_wifi_of_the_neighbour_is_kept_from_training() -> None:
    example = TASK.example()
    assert example is not None
    training = TASK.training_prompts({"ppo": {"red_team": None, "helpful": None}}, seed=0)["ppo"]
    assert find_leaks(training, [example]) == []
    assert [
        p
        for p in training
        if {"wifi", "wi", "wireless"} & content_words(p.conversation.messages[-1].text) and p.kind == "red_team"
    ] == []


def test_evaluation_groups_are_of_their_kinds() -> None:
    kinds = {group: {prompt.kind for prompt in prompts} for group, prompts in EVALUATION.prompts.items()}
    assert kinds == {"harmful": {"red_team"}, "benign": {"helpful"}, "twins": {"helpful"}}


@pytest.mark.parametrize("kind", ["harm", "honesty", "helpfulness", "twins"])
def test_gold_is_not_told_by_place_or_length(kind: str) -> None:
    pairs = [comparison for comparison in TASK.gold() if comparison.kind == kind]
    assert len(pairs) == 60
    lengths = [(len(c.response_a.split()), len(c.response_b.split())) for c in pairs]
    better = [(a, b) if c.answer == "a" else (b, a) for c, (a, b) in zip(pairs, lengths, strict=True)]
    crossed = Counter((c.answer, good > bad) for c, (good, bad) in zip(pairs, better, strict=True))
    assert set(crossed.values()) == {15}
    assert all(good != bad for good, bad in better)
    assert sum(good for good, _ in better) == pytest.approx(sum(bad for _, bad in better), rel=0.05)


def test_gold_prompts_are_no_other_prompts() -> None:
    gold = [Prompt.make(Conversation.of(c.prompt), kind="helpful", source="gold", split="gold") for c in TASK.gold()]
    assert len({prompt.id for prompt in gold}) == len(gold) >= 200
    others = [prompt for name in ("red_team", "helpful", "harmful", "benign", "twins") for prompt in as_prompts(name)]
    assert find_leaks(others, gold) == []


def as_prompts(name: str) -> list[Prompt]:
    return [
        Prompt.make(Conversation.of(row["prompt"]), kind="helpful", source=name, split="train") for row in rows(name)
    ]
