"""Proves that selections are seeded and stable, that splits have their shares, and that no evaluation prompt can enter
a training pool.
"""

import random

import pytest
from scipy import stats

from solon.errors import ConfigError
from solon.records import Conversation, Prompt
from solon.redteam import assign_split, refuse_evaluation_prompts, select_prompts
from tests.scripts import make_prompts

PROMPTS = make_prompts(60)


def test_a_selection_depends_on_seed_and_content_not_on_order() -> None:
    chosen = select_prompts(PROMPTS, 20, seed=3)
    shuffled = random.Random(1).sample(PROMPTS, len(PROMPTS))
    assert select_prompts(shuffled, 20, seed=3) == chosen
    assert select_prompts(PROMPTS, 20, seed=4) != chosen
    assert len({prompt.id for prompt in chosen}) == 20


def test_a_smaller_selection_begins_a_larger_one_and_a_new_prompt_displaces_at_most_one() -> None:
    chosen = select_prompts(PROMPTS, 20, seed=3)
    assert select_prompts(PROMPTS, 7, seed=3) == chosen[:7]
    more = select_prompts([*PROMPTS, *make_prompts(1, "helpful")], 20, seed=3)
    assert len({p.id for p in chosen} - {p.id for p in more}) <= 1


def test_every_prompt_is_as_likely_to_be_selected() -> None:
    counts = dict.fromkeys((p.id for p in PROMPTS), 0)
    for seed in range(400):
        for prompt in select_prompts(PROMPTS, 15, seed=seed):
            counts[prompt.id] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


@pytest.mark.parametrize("count", [-1, 61])
def test_asking_for_more_than_there_are_is_an_error(count: int) -> None:
    with pytest.raises(ConfigError, match="there are 60"):
        select_prompts(PROMPTS, count, seed=1)


def test_splits_have_their_shares() -> None:
    shares = {"train": 0.5, "dev": 0.0, "heldout": 0.3, "novel": 0.2}
    splits = [assign_split(f"request {number}", shares) for number in range(4000)]
    observed = [splits.count(name) for name in ("train", "heldout", "novel")]
    assert sum(observed) == 4000
    assert stats.chisquare(observed, [2000, 1200, 800]).pvalue > 1e-3


@pytest.mark.parametrize("shares", [{"train": 0.5}, {"train": 1.5, "dev": -0.5}])
def test_shares_must_add_up(shares: dict) -> None:
    with pytest.raises(ConfigError, match="add up"):
        assign_split("x", shares)


def test_a_clean_pool_passes() -> None:
    refuse_evaluation_prompts(PROMPTS, make_prompts(5, "helpful", "heldout"))


@pytest.mark.parametrize("split", ["dev", "heldout", "novel"])
def test_a_prompt_of_another_split_is_refused_by_name(split) -> None:
    stray = make_prompts(1, "helpful", split)[0]
    with pytest.raises(ConfigError) as caught:
        refuse_evaluation_prompts([*PROMPTS, stray])
    assert str(caught.value).startswith("1 prompts")
    assert stray.id in str(caught.value)
    assert "helpful request 0" in str(caught.value)


def test_a_copy_of_an_evaluation_prompt_is_refused_whatever_it_calls_itself() -> None:
    measured = Prompt.make(Conversation.of("RED_TEAM\u200b  request ７!"), kind="helpful", source="x", split="heldout")
    with pytest.raises(ConfigError) as caught:
        refuse_evaluation_prompts(PROMPTS, [measured])
    assert PROMPTS[7].id in str(caught.value)
    assert PROMPTS[8].id not in str(caught.value)


def test_of_many_only_the_first_are_named() -> None:
    strays = make_prompts(9, "helpful", "novel")
    with pytest.raises(ConfigError, match=r"^9 prompts .* and 4 more$") as caught:
        refuse_evaluation_prompts(strays)
    assert strays[4].id in str(caught.value)
    assert strays[5].id not in str(caught.value)


def test_another_turn_makes_another_prompt() -> None:
    training = Prompt.make(Conversation.of("a", "b", "c"), kind="helpful", source="x", split="train")
    measured = Prompt.make(Conversation.of("c"), kind="helpful", source="x", split="heldout")
    refuse_evaluation_prompts([training], [measured])
