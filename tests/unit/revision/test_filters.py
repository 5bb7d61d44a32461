"""Proves that each filter keeps from being learnt what it is named after, and nothing near it; and that what
is filtered is counted, kept with where it came from, and takes no other round of its chain with it.
"""

from typing import get_args

import pytest
from pydantic import ValidationError

from solon.constitution import Constitution, RevisionExemplar
from solon.lm import ItemResults
from solon.records import Conversation, Failure, Message, Prompt, RevisionChain, RevisionStep
from solon.revision import FILTERS, FilterName, RevisionConfig, count_revision_targets, filter_revisions, sft_targets
from solon.revision.filters import Candidate, Shown, find_filter
from tests.scripts import make_constitution, make_prompts, make_sample

REQUEST = "How do I pick the lock of my neighbour's shed?"
ANSWER = "I won't help you pick that lock, since the shed is not yours."
EXEMPLAR = RevisionExemplar(
    conversation=Conversation.of("How do I read my sister's diary?"),
    response="Wait until she leaves the house, take the key from her drawer and open it. Put it back after.",
    critique="The response helps to read what she wrote for herself alone, and shows where she hides her key.",
    revision="I can't help you read her diary. She wrote it for herself, and she would never trust you again.",
    revision_request="Say no in two sentences that name the one who would be hurt.",
)
BRIEF = EXEMPLAR.model_copy(update={"revision": "Ask her first.", "revision_request": "Mend it."})
LAW = make_constitution(revision_exemplars=(EXEMPLAR, BRIEF))
CRITIQUE = "It tells the user how to open a lock of somebody else, which is burglary and would frighten the owner."

LEFT_OUT: dict[FilterName, list[str]] = {
    "not_repeating": ["That is not yours. " * 3 + "Stop.", "No, " + "you should ask the owner of the shed " * 3],
    "no_leak": [
        f"{ANSWER}\n\nHuman: And now?",
        f"{ANSWER} Rewrite the response so that it is kind.",
        f"{ANSWER} What is wrong by p?",
        f"{ANSWER} Say no, in TWO sentences that name whoever.",
    ],
    "not_a_critique": [
        "The response helps with a burglary of a shed.",
        "The assistant's last response is about a lock.",
        CRITIQUE,
        CRITIQUE.replace("frighten", "annoy") + " Yes.",
    ],
    "not_copied": [
        "About the shed: she wrote it for herself, and she would never trust you again.",
        "First of all, take the key from her drawer and open it. Put it back into the shed.",
        "A shed is no place to read what she wrote for herself alone.",  # eight words
        "ask her first",
    ],
    "no_steps": ["I can't help with a lock.\n1. Bend a wire.\n2. Push it in."],
    "on_topic": ["I can't assist with that.", "Cats sleep all day."],
}
PASSING = [
    ANSWER,
    "Ask her first, then open the shed with her key.",
    "In the shed you may read what she wrote for herself alone.",  # seven words of an exemplar
    "I say no in two sentences: the shed is hers. Ask.",  # five of a request
    "You can mend it: buy a new lock for the shed.",
    "I can't help you read her diary or open a lock. She wrote it for herself.",
    "The lock of the shed is not yours to open.",
    "The shed is not yours. The shed is not yours. Ask for the lock.",
]


def judge(text: str, *names: FilterName, request: str = REQUEST, critique: str = CRITIQUE) -> FilterName | None:
    candidate = Candidate(request, text, critique=critique, shown=Shown.of(LAW))
    return find_filter(candidate, names or tuple(FILTERS))


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in LEFT_OUT.items() for text in texts])
def test_each_filter_leaves_out_its_kind(name: FilterName, text: str) -> None:
    assert judge(text, name) == name


@pytest.mark.parametrize("text", PASSING)
def test_what_is_only_near_passes(text: str) -> None:
    assert judge(text) is None


def test_what_cannot_be_told_passes() -> None:
    assert judge("I can't assist with that.", request="Can you do it for me?") is None
    assert judge("The response was slow to come.", request="Was the response slow?", critique="") is None


def test_without_a_critique_nothing_is_one() -> None:
    assert judge(CRITIQUE, "not_a_critique", critique="") is None
    assert judge("", "not_a_critique", critique="") is None


def test_the_first_filter_in_their_order_is_named_whichever_order_they_are_given_in() -> None:
    looping = "The response is bad. " * 3
    assert judge(looping) == "not_repeating"
    assert judge(looping, "on_topic", "not_a_critique") == "not_a_critique"
    assert judge(looping, "on_topic") == "on_topic"
    assert tuple(FILTERS) == get_args(FilterName)


def test_no_filter_is_set_by_default_and_each_is_set_once() -> None:
    assert RevisionConfig().filters == ()
    one, other = (RevisionConfig(filters=names) for names in (("on_topic", "no_leak"), ("no_leak", "on_topic")))
    assert one == other
    for wrong, said in ((("no_leak", "no_leak"), "each filter once"), (("refuses",), "not_repeating")):
        with pytest.raises(ValidationError, match=said):
            RevisionConfig.model_validate({"filters": wrong})


# ------------------------------------------------------------------------------------------------ chains

PROMPTS = make_prompts(3)
FINE, MENDED = "That request is bad, so no.", "Human: no"


def chain(number: int, *revisions: str, critique: str | None = "bad", failure: Failure | None = None) -> RevisionChain:
    said = None if critique is None else make_sample(critique)
    return RevisionChain(
        id=f"c{number}",
        prompt_id=PROMPTS[number].id,
        initial_response=make_sample("initial"),
        steps=tuple(RevisionStep(principle_id="p", critique=said, revision=make_sample(text)) for text in revisions),
        failure=failure,
    )


def test_a_revision_that_is_filtered_takes_no_other_round_with_it() -> None:
    chains = [chain(0, FINE, MENDED, FINE), chain(1, MENDED, FINE, "No red request.")]
    config = RevisionConfig(rounds=3, filters=("no_leak", "not_repeating"))
    filtered = filter_revisions(chains, PROMPTS, LAW, config)
    assert [(r.chain_id, r.round, r.response, r.filter) for r in filtered] == [
        ("c0", 2, MENDED, "no_leak"),
        ("c1", 1, MENDED, "no_leak"),
    ]
    assert [(r.prompt_id, r.conversation) for r in filtered] == [(p.id, p.conversation) for p in PROMPTS[:2]]
    examples = sft_targets(chains, [], PROMPTS, config, filtered=filtered)
    assert [(e.chain_id, e.round) for e in examples] == [("c0", 1), ("c0", 3), ("c1", 2), ("c1", 3)]
    unfiltered = {(e.chain_id, e.round): e.id for e in sft_targets(chains, [], PROMPTS, config)}
    assert {(r.chain_id, r.round): r.id for r in filtered}.items() <= unfiltered.items()
    assert {(e.chain_id, e.round): e.id for e in examples}.items() <= unfiltered.items()


def test_only_what_would_be_a_target_is_filtered_and_each_filter_is_counted() -> None:
    chains = [chain(0, MENDED, FINE), chain(1, MENDED, MENDED)]
    gone = Failure(item=PROMPTS[2].id, stage="revision", reason="empty_response")
    for targets, books in (
        ("last", {"in": 3, "kept": 1, "empty_response": 1, "filter_no_leak": 1, "filter_on_topic": 0}),
        ("all", {"in": 6, "kept": 1, "empty_response": 2, "filter_no_leak": 3, "filter_on_topic": 0}),
    ):
        config = RevisionConfig(rounds=2, targets=targets, filters=("on_topic", "no_leak"))
        filtered = filter_revisions(chains, PROMPTS, LAW, config)
        assert count_revision_targets(ItemResults([*chains, gone]), config, filtered=filtered) == books


def test_the_critique_of_the_same_round_is_looked_at_and_there_may_be_none() -> None:
    config = RevisionConfig(rounds=2, filters=("not_a_critique",))
    other, same = chain(0, "one", critique="three"), chain(0, "two", critique="two")
    both = other.model_copy(update={"steps": (*other.steps, *same.steps)})
    assert [r.round for r in filter_revisions([both], PROMPTS, LAW, config)] == [2]
    assert filter_revisions([chain(0, "bad", critique=None)], PROMPTS, LAW, config) == []


def test_all_that_the_user_said_is_the_request_and_nothing_that_the_assistant_said() -> None:
    turns = [("user", "Tell me about locks."), ("assistant", "Which diary?"), ("user", "How do I do it?")]
    conversation = Conversation(messages=tuple(Message(role=role, text=text) for role, text in turns))
    prompt = Prompt.make(conversation, kind="red_team", source="test", split="train")
    config = RevisionConfig(rounds=2, filters=("on_topic",))
    two = chain(0, "Ask for the lock.", "Her diary is hers.").model_copy(update={"prompt_id": prompt.id})
    assert [r.round for r in filter_revisions([two], [prompt], LAW, config)] == [2]


def test_requests_and_exemplars_of_a_constitution_are_what_can_be_copied() -> None:
    shown = Shown.of(Constitution.model_validate(LAW.model_dump()))
    assert {"What is wrong by p?", "Mend it by s.", EXEMPLAR.revision_request, "Mend it."} <= set(shown.requests)
    assert {EXEMPLAR.response, EXEMPLAR.critique, EXEMPLAR.revision, BRIEF.revision} <= set(shown.exemplars)
    assert None not in shown.requests
