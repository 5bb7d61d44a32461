"""Proves that pairs carry their own label and texts, and that the summary counts what it says."""

import math
from typing import Any

import pytest

from solon.errors import RecordError
from solon.feedback import feedback_summary, preference_pairs
from solon.feedback.comparing import make_comparison
from solon.records import PreferenceLabel, SampledTokens, Vote
from tests.scripts import make_prompts, make_sample

PAIRS = [make_comparison(p, make_sample(f"a{i}"), make_sample(f"b{i}")) for i, p in enumerate(make_prompts(6))]


def vote(p_a: float, order: str, mass: float = 0.8, principle: str = "p") -> Vote:
    return Vote(
        principle_id=principle, order=order, logprob_a=math.log(mass * p_a), logprob_b=math.log(mass * (1 - p_a))
    )


def label(number: int, p_a: float | None, *votes: Vote, reason: str = "") -> PreferenceLabel:
    return PreferenceLabel(
        comparison_id=PAIRS[number].id,
        p_a=p_a,
        p_a_unclamped=p_a,
        votes=votes,
        labeler="x",
        status="labeled" if p_a is not None else "unlabeled",
        reason=reason,
    )


def test_pairs_join_by_id_and_leave_out_the_unlabeled() -> None:
    labels = [label(2, 0.3), label(0, 0.0), label(1, None, reason="identical")]
    pairs = preference_pairs(PAIRS[:3], labels)
    assert [(p.id, p.prompt, p.response_a, p.response_b, p.target) for p in pairs] == [
        (PAIRS[0].id, PAIRS[0].prompt, "a0", "b0", 0.0),
        (PAIRS[2].id, PAIRS[2].prompt, "a2", "b2", 0.3),
    ]


def test_pairs_carry_what_their_responses_were_sampled_as() -> None:
    sides = {"response_a": make_sample("a", token_ids=(7, 1), vocabulary="v"), "response_b": make_sample("b")}
    comparison = PAIRS[0].model_copy(update=sides)
    (pair,) = preference_pairs([comparison], [label(0, 0.5)])
    assert (pair.tokens_a, pair.tokens_b) == (SampledTokens(ids=(7,), vocabulary="v"), None)
    (pair,) = preference_pairs([comparison.swap()], [label(0, 0.5)])
    assert (pair.tokens_a, pair.tokens_b) == (None, SampledTokens(ids=(7,), vocabulary="v"))


def test_pairs_say_which_of_their_responses_ended() -> None:
    cut = make_sample("It is so.", stop_reason="length").model_copy(update={"trimmed": True})
    comparison = PAIRS[0].model_copy(update={"response_a": cut, "response_b": make_sample("b", stop_reason="stop")})
    (pair,) = preference_pairs([comparison], [label(0, 0.5)])
    assert (pair.ended_a, pair.ended_b) == (False, True)
    (pair,) = preference_pairs([comparison.swap()], [label(0, 0.5)])
    assert (pair.ended_a, pair.ended_b) == (True, False)


def test_labels_and_comparisons_must_belong_together() -> None:
    with pytest.raises(RecordError, match="no label"):
        preference_pairs(PAIRS[:2], [label(0, 0.5)])
    with pytest.raises(RecordError, match="no comparison"):
        preference_pairs(PAIRS[:1], [label(0, 0.5), label(1, 0.5)])
    with pytest.raises(RecordError, match="two labels"):
        preference_pairs(PAIRS[:1], [label(0, 0.5), label(0, 0.6)])


def test_disagreements_and_their_direction() -> None:
    labels = [
        label(0, 0.7, vote(0.8, "ab"), vote(0.6, "ba")),  # both prefer A
        label(1, 0.5, vote(0.9, "ab"), vote(0.2, "ba")),  # each prefers what it is shown first
        label(2, 0.5, vote(0.9, "ab"), vote(0.1, "ba")),
        label(3, 0.5, vote(0.2, "ab"), vote(0.9, "ba")),  # each prefers what it is shown second
        label(4, 0.5, vote(0.5, "ab"), vote(0.9, "ba")),  # one order is exactly even
        label(5, None, vote(0.9, "ab"), vote(0.1, "ba"), reason="below_mass_floor"),  # unlabeled does not count
    ]
    summary = feedback_summary(labels)
    assert (summary.comparisons, summary.pairs, summary.unlabeled) == (6, 5, {"below_mass_floor": 1})
    assert (summary.both_orders, summary.order_disagreements, summary.first_choices) == (5, 3, 2)
    assert summary.order_disagreement == 3 / 5
    assert summary.mean_mass == pytest.approx(0.8)


def test_near_ties_and_sure_contradictions_stand_beside_the_raw_figure() -> None:
    labels = [
        label(0, 0.5, vote(0.8, "ab"), vote(0.2, "ba")),  # two sure votes that contradict each other
        label(1, 0.5, vote(0.51, "ab"), vote(0.48, "ba")),  # a coin flip
        label(2, 0.5, vote(0.99, "ab"), vote(0.3, "ba")),  # one of them is sure
        label(3, 0.9, vote(0.9, "ab"), vote(0.9, "ba")),  # two sure votes that agree
        label(4, 0.4, vote(0.4, "ab"), vote(0.4, "ba")),  # a near tie, the end included
        label(5, 0.39, vote(0.39, "ab")),  # one order; no tie
    ]
    summary = feedback_summary(labels)
    assert (summary.both_orders, summary.order_disagreements) == (5, 3)
    assert (summary.both_sure, summary.sure_contradictions) == (2, 1)
    assert summary.near_ties == 4


def test_a_tie_is_told_before_the_clamp() -> None:
    clamped = label(0, 0.6, vote(0.9, "ab"), vote(0.9, "ba")).model_copy(update={"p_a_unclamped": 0.9})
    assert feedback_summary([clamped]).near_ties == 0


def test_the_winner_of_an_order_is_that_of_all_its_principles() -> None:
    votes = [vote(0.9, "ab"), vote(0.4, "ab", principle="q"), vote(0.9, "ba"), vote(0.4, "ba", principle="q")]
    assert feedback_summary([label(0, 0.7, *votes)]).order_disagreements == 0


def test_nothing_is_nothing_not_zero() -> None:
    broken = Vote(principle_id="p", order="ab", logprob_a=math.nan, logprob_b=1e9)
    summary = feedback_summary([label(0, None, broken, reason="invalid_logprobs"), label(1, 0.7, vote(0.7, "ab"))])
    assert summary.order_disagreement is None
    assert summary.mean_mass == pytest.approx(0.8)
    assert feedback_summary([]).mean_mass is None


def read(how: dict[str, Any], *votes: Vote) -> list[Vote]:
    return [vote.model_copy(update=how) for vote in votes]


def test_only_a_mass_that_is_known_is_in_the_mean() -> None:
    proportions = read({"has_mass": False}, vote(0.7, "ab", mass=1.0), vote(0.7, "ba", mass=1.0))
    broken = Vote(principle_id="p", order="ab", logprob_a=math.nan, logprob_b=-1.0, has_mass=False)
    labels = [
        label(0, 0.7, vote(0.7, "ab", mass=0.6), proportions[1]),
        label(1, 0.7, *proportions),
        label(2, 0.7, vote(0.7, "ab", mass=0.8)),
        label(3, None, proportions[0], vote(0.5, "ba", mass=0.1), reason="below_mass_floor"),
        label(4, None, broken, reason="invalid_logprobs"),
    ]
    summary = feedback_summary(labels)
    assert summary.mean_mass == pytest.approx(0.5)
    assert (summary.votes_with_mass, summary.votes_without_mass, summary.labels_without_mass) == (3, 4, 2)
    summary = feedback_summary(labels[1:2])
    assert (summary.mean_mass, summary.votes_with_mass, summary.votes_without_mass) == (None, 0, 2)


def test_labels_are_counted_by_how_servers_were_read_for_them() -> None:
    votes = vote(0.7, "ab"), vote(0.7, "ba")
    labels = [
        label(0, 0.7, *read({"dialect": "y", "draws": 16}, *votes)),
        label(1, 0.7, *read({"dialect": "x"}, *votes)),
        label(2, 0.7, *read({"dialect": "y", "draws": 8}, votes[0]), *read({"dialect": "y", "draws": 16}, votes[1])),
        label(3, 0.7, *votes),
        label(4, None, *read({"dialect": "x", "draws": 8}, *votes), reason="below_mass_floor"),
    ]
    summary = feedback_summary(labels)
    assert list(summary.labels_by_dialect.items()) == [("x", 1), ("y", 2)]
    assert list(summary.labels_by_draws.items()) == [(8, 1), (16, 2)]
    unread = feedback_summary(labels[3:4])
    assert (unread.labels_by_dialect, unread.labels_by_draws, unread.labels_without_mass) == ({}, {}, 0)


def test_a_vote_that_is_a_share_of_drawn_answers_is_never_sure() -> None:
    sure = vote(0.9, "ab"), vote(0.1, "ba")
    drawn = label(0, 0.5, *read({"draws": 8}, *sure))
    half = label(1, 0.5, sure[0], *read({"draws": 8}, sure[1]))
    summary = feedback_summary([drawn, half, label(2, 0.5, *sure)])
    assert (summary.both_orders, summary.order_disagreements) == (3, 3)
    assert (summary.both_weighed, summary.both_sure, summary.sure_contradictions) == (1, 1, 1)


def test_a_mass_of_nothing_is_a_mass() -> None:
    faint = Vote(principle_id="p", order="ab", logprob_a=-800.0, logprob_b=-801.0)
    assert faint.mass == 0.0
    summary = feedback_summary([label(0, None, faint, reason="below_mass_floor")])
    assert (summary.mean_mass, summary.votes_with_mass, summary.votes_without_mass) == (0.0, 1, 0)
