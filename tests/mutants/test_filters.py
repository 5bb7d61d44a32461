"""Proves that tests of filters would notice: without any one filter, with one that lets nothing pass, with a bound
another, or with books that forget what was filtered, one fails.
"""

from collections.abc import Callable
from typing import Any

import pytest

from solon.revision import FILTERS, FilterName, filters, targets
from tests.mutating import assert_killed
from tests.properties import test_filtering
from tests.unit.revision import test_filters as unit


def leaves_out(name: FilterName) -> None:
    for text in unit.LEFT_OUT[name]:
        unit.test_each_filter_leaves_out_its_kind(name, text)


def passes() -> None:
    for text in unit.PASSING:
        unit.test_what_is_only_near_passes(text)


@pytest.mark.parametrize("name", list(FILTERS))
@pytest.mark.parametrize("passed", [True, False])
def test_every_filter_is_held_by_a_test(name: FilterName, passed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILTERS, name, lambda candidate: passed)  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        leaves_out(name) if passed else passes()


BOUNDS: dict[str, tuple[float, Callable[[], None]]] = {
    "_COPIED": (7, passes),
    "_LEAKED": (5, passes),
    "_SHORTEST_REQUEST": (2, passes),
    "_NEARLY": (0.97, lambda: leaves_out("not_a_critique")),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_every_bound_is_held_by_a_test(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other, test = BOUNDS[name]
    test()
    monkeypatch.setattr(filters, name, other)
    with pytest.raises(AssertionError):
        test()


READ_SHOWN = filters.Shown.of.__func__  # type: ignore[attr-defined]


def one_round_alone() -> None:
    unit.test_a_revision_that_is_filtered_takes_no_other_round_with_it()


def balance() -> None:
    test_filtering.test_in_is_kept_and_every_reason_and_both_books_say_the_same()


MUTANTS: dict[str, tuple[Any, str, str, Callable[[], Any]]] = {
    "filters that are not set are asked": (
        filters.find_filter,
        "name in names and ",
        "",
        unit.test_the_first_filter_in_their_order_is_named_whichever_order_they_are_given_in,
    ),
    "the last filter is named": (
        filters.find_filter,
        "FILTERS.items()",
        "reversed(FILTERS.items())",
        unit.test_the_first_filter_in_their_order_is_named_whichever_order_they_are_given_in,
    ),
    "words of the template may leak": (
        filters._leaks,
        "leaks_template(candidate.text) or ",
        "",
        lambda: leaves_out("no_leak"),
    ),
    "a short request is too short to leak": (
        filters._leaks,
        "min(len(_words(request)), _LEAKED)",
        "_LEAKED",
        lambda: leaves_out("no_leak"),
    ),
    "a text about the response passes": (
        filters._is_critique,
        "if speaks_of_response(candidate.request, candidate.text):",
        "if False:",
        lambda: leaves_out("not_a_critique"),
    ),
    "what may be about the response is a critique": (
        filters._is_critique,
        "if speaks_of_response(candidate.request, candidate.text):",
        "if speaks_of_response(candidate.request, candidate.text) is not False:",
        unit.test_what_cannot_be_told_passes,
    ),
    "no critique is equal to no text": (
        filters._is_critique,
        "bool(candidate.critique) and ",
        "",
        unit.test_without_a_critique_nothing_is_one,
    ),
    "a short copy passes": (
        filters._runs,
        ' or frozenset({" ".join(words)})',
        "",
        lambda: leaves_out("not_copied"),
    ),
    "exemplars have no critiques": (
        READ_SHOWN,
        "(item.response, item.critique, item.revision)",
        "(item.response, item.revision)",
        unit.test_requests_and_exemplars_of_a_constitution_are_what_can_be_copied,
    ),
    "the requests of exemplars may leak": (
        READ_SHOWN,
        "(*constitution.principles, *exemplars)",
        "constitution.principles",
        unit.test_requests_and_exemplars_of_a_constitution_are_what_can_be_copied,
    ),
    "the last turn is the request": (
        targets.filter_revisions,
        "prompt.conversation.asked",
        "prompt.conversation.messages[-1].text",
        unit.test_all_that_the_user_said_is_the_request_and_nothing_that_the_assistant_said,
    ),
    "what the assistant said is the request": (
        targets.filter_revisions,
        "prompt.conversation.asked",
        '" ".join(message.text for message in prompt.conversation.messages)',
        unit.test_all_that_the_user_said_is_the_request_and_nothing_that_the_assistant_said,
    ),
    "the critique of another round": (
        targets.filter_revisions,
        "chain.steps[number - 1].critique",
        "chain.steps[0].critique",
        unit.test_the_critique_of_the_same_round_is_looked_at_and_there_may_be_none,
    ),
    "every round is filtered": (
        targets.filter_revisions,
        "_target_rounds(chain, config)",
        "range(1, len(chain.steps) + 1)",
        unit.test_only_what_would_be_a_target_is_filtered_and_each_filter_is_counted,
    ),
    "what is filtered is learnt": (targets.sft_targets, "if name in left_out:", "if False:", one_round_alone),
    "a filter takes the whole chain": (
        targets.sft_targets,
        "            if name in left_out:\n                continue\n",
        "            if any(r.chain_id == chain.id for r in filtered):\n                continue\n",
        one_round_alone,
    ),
    "what is filtered is kept too": (targets.count_revision_targets, "kept = -len(filtered)", "kept = 0", balance),
    "what is filtered has no reason": (
        targets.count_revision_targets,
        "Counter(revision.reason for revision in filtered)",
        "Counter()",
        balance,
    ),
    "a filter that takes nothing is not counted": (
        targets.count_revision_targets,
        "for name in config.filters",
        "for name in ()",
        unit.test_only_what_would_be_a_target_is_filtered_and_each_filter_is_counted,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_killed(name: str) -> None:
    function, *_ = MUTANTS[name]
    assert_killed(*MUTANTS[name], filters.Shown if function is READ_SHOWN else None)
