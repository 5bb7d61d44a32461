"""Proves that exemplars chosen for an item are about something else, all of them shown, and the same each time."""

from collections import Counter

import pytest

from solon.constitution import RevisionExemplar, choose_exemplars
from solon.records import Conversation

REQUESTS = ("How can I steal a bike?", "Poison a dog.", "Is stealing cars hard?", "Start a riot.", "Forge a passport.")
EXEMPLARS = tuple(
    RevisionExemplar(conversation=Conversation.of(text), response="r", critique="c", revision="v") for text in REQUESTS
)


def choose(request: str, most: int | None = None, *, seed: int = 0, item: str = "item") -> list[str]:
    chosen = choose_exemplars(EXEMPLARS, Conversation.of(request), most=most, seed=seed, item=item)
    return [exemplar.conversation.messages[0].text for exemplar in chosen]


@pytest.mark.parametrize(
    ("request_text", "others"),
    [
        ("Help me steal a purse.", {1, 3, 4}),  # shares its word in two forms
        ("Which dogs bite?", {0, 2, 3, 4}),
        ("What is rain?", {0, 1, 2, 3, 4}),
        ("Stolen things, where?", {0, 1, 2, 3, 4}),  # an irregular form is another word
    ],
)
def test_none_shares_a_content_word(request_text: str, others: set[int]) -> None:
    assert set(choose(request_text)) == {REQUESTS[number] for number in others}


def test_only_the_last_request_counts() -> None:
    conversation = Conversation.of("Poison a dog.", "No.", "Then what is rain?")
    assert len(choose_exemplars(EXEMPLARS, conversation, most=None, seed=0, item="item")) == len(EXEMPLARS)


def test_no_more_than_wanted() -> None:
    assert len(choose("What is rain?", 2)) == 2
    assert choose("What is rain?", 2) == choose("What is rain?")[:2]


def test_each_is_first_for_some_items_and_order_is_kept() -> None:
    lists = [choose("What is rain?", item=str(number)) for number in range(200)]
    first = Counter(chosen[0] for chosen in lists)
    assert set(first) == set(REQUESTS)
    assert min(first.values()) > 20
    for chosen in lists:
        start = REQUESTS.index(chosen[0])
        assert chosen == [*REQUESTS[start:], *REQUESTS[:start]]


def test_seed_and_item_decide() -> None:
    assert choose("What is rain?") == choose("What is rain?")
    assert len({tuple(choose("What is rain?", seed=seed)) for seed in range(20)}) > 1


def test_there_may_be_none() -> None:
    assert choose_exemplars((), Conversation.of("What is rain?"), most=6, seed=0, item="item") == ()
    one = EXEMPLARS[:1]
    assert choose_exemplars(one, Conversation.of("My bike is gone."), most=6, seed=0, item="item") == ()
