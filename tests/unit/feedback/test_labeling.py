"""Proves that a label is the feedback model's own probability, read in both orders under the principle that was drawn,
and that what could not be told is said with its reason and never becomes a label.
"""

import math
from pathlib import Path
from typing import Any

import pytest

from solon.constitution import ComparisonExemplar, Constitution, choose_principle
from solon.errors import ConstitutionError, StageFailedError
from solon.feedback import FeedbackConfig, run_feedback
from solon.feedback.comparing import make_comparison
from solon.lm import Journal, JournaledModel, LanguageModel, ScriptedModel
from solon.lm.backends.scripted import Reply
from solon.prompting import OPTIONS, render_comparison, render_reasoning
from solon.records import Choice, Comparison, Conversation, PreferenceLabel, Prompt, Rendered, Sampling, StopReason
from tests.scripts import call_failed, make_constitution, make_prompts, make_sample, wait_for

CONSTITUTION = make_constitution(
    comparison_exemplars=(
        ComparisonExemplar(
            conversation=Conversation.of("E1"), response_a="RA", response_b="RB", better="a", reasoning="T"
        ),
        ComparisonExemplar(
            conversation=Conversation.of("E2"), response_a="RA", response_b="RB", better="b", reasoning="T"
        ),
    )
)
PROMPTS = make_prompts(12)


def compare(prompt: Prompt, a: str, b: str, stop: tuple[StopReason, StopReason] = ("end", "end")) -> Comparison:
    first, second = (
        make_sample(text, stop_reason=why, seed=i) for i, (text, why) in enumerate(zip((a, b), stop, strict=True))
    )
    return make_comparison(prompt, first, second)


PAIRS = [compare(prompt, "good words", "bad words") for prompt in PROMPTS]


def label(
    comparisons: list[Comparison],
    model: LanguageModel,
    constitution: Constitution = CONSTITUTION,
    bound: float = 0.0,
    seed: int = 5,
    **config: Any,
) -> list[PreferenceLabel]:
    work = run_feedback(
        comparisons,
        model=model,
        constitution=constitution,
        config=FeedbackConfig(**config),
        seed=seed,
        max_failure_fraction=bound,
    )
    return wait_for(work)


def logprobs(p_first: float, mass: float = 0.9) -> tuple[float, float]:
    return math.log(mass * p_first), math.log(mass * (1.0 - p_first))


def good_is_first(rendered: Rendered) -> bool:
    shown = rendered.turns[-2].text if rendered.layout == "chat" else rendered.text
    return shown.rindex("good words") < shown.rindex("bad words")


def prefers_good(rendered: Rendered, *_: Any) -> tuple[float, float]:
    return logprobs(0.8 if good_is_first(rendered) else 0.2)


def think(rendered: Rendered, sampling: Sampling, seed: int) -> str:
    return f"first this, then that {seed}"


# ------------------------------------------------------------------------------------------------ what is asked


def test_the_label_follows_the_response_not_the_slot() -> None:
    swapped = [compare(prompt, "bad words", "good words") for prompt in PROMPTS]
    for pairs, expected in ((PAIRS, 0.8), (swapped, 0.2)):
        labels = label(pairs, ScriptedModel(choose=prefers_good))
        assert [item.comparison_id for item in labels] == [pair.id for pair in pairs]
        assert [item.p_a for item in labels] == pytest.approx([expected] * 12, abs=1e-12)
        assert all(item.p_a == item.p_a_unclamped for item in labels)
        assert {item.labeler for item in labels} == {"scripted"}


def test_swapping_a_comparison_swaps_its_label() -> None:
    def weigh(rendered: Rendered, *_: Any) -> tuple[float, float]:
        return logprobs(0.7 if good_is_first(rendered) else 0.55, mass=0.7)

    labels = label(PAIRS, ScriptedModel(choose=weigh))
    swapped = label([pair.swap() for pair in PAIRS], ScriptedModel(choose=weigh))
    for there, back in zip(labels, swapped, strict=True):
        assert back.p_a == pytest.approx(there.swap().p_a, abs=1e-15)
        assert set(back.votes) == set(there.swap().votes)


@pytest.mark.parametrize("lean", [0.5, 0.6, 0.9, 0.999999])
def test_a_model_that_always_says_a_gives_exactly_one_half(lean: float) -> None:
    for item in label(PAIRS, ScriptedModel(choose=lambda *_: logprobs(lean)), principles_per_comparison=3):
        assert item.p_a == 0.5
        assert item.status == "labeled"
    (one_order, *_) = label(PAIRS, ScriptedModel(choose=lambda *_: logprobs(lean)), orders="ab")
    assert one_order.p_a == pytest.approx(lean)


def test_both_orders_are_shown_under_the_principle_drawn_for_the_comparison() -> None:
    model = ScriptedModel(choose=prefers_good)
    labels = label(PAIRS, model)
    expected = []
    drawn = set()
    for pair, item in zip(PAIRS, labels, strict=True):
        principle = choose_principle(CONSTITUTION.principles, seed=5, item=pair.id, round=0)
        drawn.add(principle.id)
        assert [(vote.principle_id, vote.order) for vote in item.votes] == [(principle.id, "ab"), (principle.id, "ba")]
        for a, b in ((pair.response_a, pair.response_b), (pair.response_b, pair.response_a)):
            expected.append(
                render_comparison(
                    pair.prompt.conversation, a.text, b.text, principle, exemplars=CONSTITUTION.comparison_exemplars
                )
            )
    assert model.chosen == [(rendered, OPTIONS) for rendered in expected]
    assert len(drawn) > 1


def test_a_vote_says_which_call_it_was(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.sqlite") as journal:
        labels = label(PAIRS, JournaledModel(ScriptedModel(choose=prefers_good), journal))
        for item in labels:
            for vote in item.votes:
                stored = journal.find(vote.call)
                assert stored is not None
                scored = (vote.logprob_a, vote.logprob_b) if vote.order == "ab" else (vote.logprob_b, vote.logprob_a)
                assert tuple(stored.response["logprobs"]) == scored


def test_several_principles_are_several_and_average_as_log_odds() -> None:
    by_principle = {"p": 0.9, "q": 0.7, "r": 0.6, "s": 0.2}

    def weigh(rendered: Rendered, *_: Any) -> tuple[float, float]:
        p = next(value for name, value in by_principle.items() if f"better by {name}?" in rendered.turns[-2].text)
        return logprobs(p if good_is_first(rendered) else 1.0 - p)

    for wanted in (1, 2, 3, 4, 9):
        for item in label(PAIRS, ScriptedModel(choose=weigh), principles_per_comparison=wanted):
            names = [vote.principle_id for vote in item.votes[::2]]
            assert len(set(names)) == len(names) == min(wanted, 4)
            mean = sum(math.log(by_principle[n] / (1 - by_principle[n])) for n in names) / len(names)
            assert item.p_a == pytest.approx(1 / (1 + math.exp(-mean)), abs=1e-12)


def test_only_principles_for_the_kind_of_prompt_are_drawn() -> None:
    principles = [p.model_copy(update={"applies_to": ("helpful",)}) for p in CONSTITUTION.principles[:3]]
    only = make_constitution(principles=(*principles, CONSTITUTION.principles[3]))
    labels = label(PAIRS, ScriptedModel(choose=prefers_good), only)
    assert {vote.principle_id for item in labels for vote in item.votes} == {"s"}


def test_a_kind_without_principles_is_an_error_before_any_call() -> None:
    principles = tuple(p.model_copy(update={"applies_to": ("helpful",)}) for p in CONSTITUTION.principles)
    model = ScriptedModel(choose=prefers_good)
    with pytest.raises(ConstitutionError, match="red_team prompts"):
        label(PAIRS, model, make_constitution(principles=principles))
    assert model.chosen == []


# ---------------------------------------------------------------------------------------------- could not tell


@pytest.mark.parametrize(
    ("a", "b", "stop", "reason"),
    [
        ("same", "same", ("end", "end"), "identical"),
        ("", "bad words", ("end", "end"), "empty_response"),
        ("good words", " \n", ("end", "end"), "empty_response"),
        ("", "", ("end", "end"), "empty_response"),
        ("good words", "bad words", ("length", "end"), "truncated_response"),
        ("good words", "bad words", ("end", "length"), "truncated_response"),
        ("same", "same", ("end", "length"), "truncated_response"),
        ("good words", "", ("length", "end"), "empty_response"),
        ("good words", " ", ("end", "length"), "truncated_response"),
    ],
)
def test_what_is_no_comparison_is_not_asked(a: str, b: str, stop: Any, reason: str) -> None:
    model = ScriptedModel(choose=prefers_good)
    (item, fine) = label([compare(PROMPTS[0], a, b, stop), PAIRS[1]], model)
    assert (item.status, item.reason, item.p_a, item.p_a_unclamped, item.votes) == ("unlabeled", reason, None, None, ())
    assert fine.status == "labeled"
    assert len(model.chosen) == 2


def test_responses_taken_up_to_a_whole_sentence_are_compared() -> None:
    cut = PAIRS[0].response_a.model_copy(update={"stop_reason": "length", "trimmed": True})
    (found,) = label([PAIRS[0].model_copy(update={"response_a": cut})], ScriptedModel(choose=prefers_good))
    assert found.status == "labeled"


@pytest.mark.parametrize("bad_order", [True, False])
@pytest.mark.parametrize(
    ("weighed", "reason"),
    [
        (logprobs(0.8, mass=0.49), "below_mass_floor"),
        ((math.nan, -1.0), "invalid_logprobs"),
        ((-1.0, math.nan), "invalid_logprobs"),
        ((-math.inf, -0.1), "invalid_logprobs"),
        ((-0.1, -math.inf), "invalid_logprobs"),
        ((0.1, -1.0), "invalid_logprobs"),
        ((1e6, -1.0), "invalid_logprobs"),
    ],
)
def test_one_bad_vote_in_either_order_leaves_it_unlabeled(weighed: Any, reason: str, bad_order: bool) -> None:
    def weigh(rendered: Rendered, *_: Any) -> tuple[float, float]:
        return weighed if good_is_first(rendered) is bad_order else prefers_good(rendered)

    (item,) = label(PAIRS[:1], ScriptedModel(choose=weigh))
    assert (item.status, item.reason, item.p_a) == ("unlabeled", reason, None)
    assert len(item.votes) == 2
    again = PreferenceLabel.from_json(item.to_json())
    assert repr(again) == repr(item)


def test_mass_at_the_floor_is_enough() -> None:
    assert label(PAIRS[:1], ScriptedModel(choose=lambda *_: (math.log(0.25), math.log(0.25))))[0].status == "labeled"


@pytest.mark.parametrize("in_order", [True, False])
def test_a_failed_call_is_unlabeled_and_bounded(in_order: bool) -> None:
    def weigh(rendered: Rendered, *_: Any) -> tuple[float, float] | Exception:
        return (
            call_failed()
            if "request 3" in rendered.text and good_is_first(rendered) is in_order
            else prefers_good(rendered)
        )

    labels = label(PAIRS, ScriptedModel(choose=weigh), bound=0.1)
    assert [item.reason for item in labels] == ["", "", "", "call_failed", *[""] * 8]
    assert labels[3].comparison_id == PAIRS[3].id
    assert labels[3].p_a is None
    with pytest.raises(StageFailedError):
        label(PAIRS, ScriptedModel(choose=weigh), bound=0.05)


# --------------------------------------------------------------------------------------------- chain of thought


def test_reasoning_is_drawn_in_each_order_and_the_options_are_weighed_after_it() -> None:
    model = ScriptedModel(think, prefers_good)
    labels = label(PAIRS, model, chain_of_thought=True)
    asked = {f"first this, then that {seed}": rendered for rendered, _, seed in model.generated}
    assert len(asked) == 24
    assert {sampling for _, sampling, _ in model.generated} == {Sampling(temperature=1.0, max_tokens=256)}
    for pair, item in zip(PAIRS, labels, strict=True):
        for vote, shown in zip(item.votes, (pair, pair.swap()), strict=True):
            texts = (shown.prompt.conversation, shown.response_a.text, shown.response_b.text)
            principle = CONSTITUTION.principle(vote.principle_id)
            exemplars = CONSTITUTION.comparison_exemplars
            assert asked[vote.reasoning] == render_reasoning(*texts, principle, exemplars=exemplars)
            expected = render_comparison(*texts, principle, exemplars=exemplars, reasoning=vote.reasoning)
            assert (expected, OPTIONS) in model.chosen


@pytest.mark.parametrize(
    ("said", "reason"),
    [("", "empty_reasoning"), (" ", "empty_reasoning"), (("on and on", "length"), "truncated_reasoning")],
)
def test_reasoning_that_comes_to_nothing_is_unlabeled(said: Reply, reason: str) -> None:
    def write(rendered: Rendered, sampling: Sampling, seed: int) -> Reply:
        return said if rendered.text.rindex("good words") > rendered.text.rindex("bad words") else "think"

    (item,) = label(PAIRS[:1], ScriptedModel(write, prefers_good), chain_of_thought=True)
    assert (item.status, item.reason) == ("unlabeled", reason)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, 0.8),
        ({"chain_of_thought": True}, 0.6),
        ({"chain_of_thought": True, "clamp": None}, 0.8),
        ({"chain_of_thought": True, "clamp": (0.3, 0.7)}, 0.7),
        ({"clamp": (0.2, 0.8)}, 0.8),
        ({"clamp": (0.45, 0.55)}, 0.55),
        ({"clamp": None}, 0.8),
    ],
)
def test_the_clamp_is_on_the_target_and_by_default_after_reasoning_only(
    config: dict[str, Any], expected: float
) -> None:
    swapped = compare(PROMPTS[0], "bad words", "good words")
    there, back = label([PAIRS[0], swapped], ScriptedModel(think, prefers_good), **config)
    assert there.p_a == pytest.approx(expected, abs=1e-12)
    assert back.p_a == pytest.approx(1.0 - expected, abs=1e-12)
    assert there.p_a_unclamped == pytest.approx(0.8, abs=1e-12)


@pytest.mark.parametrize("clamp", [(0.4, 0.7), (0.6, 0.4), (-0.1, 1.1), "never"])
def test_a_clamp_that_would_favour_a_side_is_refused(clamp: Any) -> None:
    with pytest.raises(ValueError, match="clamp"):
        FeedbackConfig(clamp=clamp)


# ------------------------------------------------------------------------------------------------------- fields

BASE: dict[str, Any] = {"chain_of_thought": True}
CHANGES: dict[str, dict[str, Any]] = {
    "principles_per_comparison": {"principles_per_comparison": 2},
    "orders": {"orders": "ab"},
    "mass_floor": {"mass_floor": 0.95},
    "chain_of_thought": {"chain_of_thought": False},
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.9},
    "min_p": {"min_p": 0.1},
    "max_reasoning_tokens": {"max_reasoning_tokens": 9},
    "clamp": {"clamp": None},
    "exemplars": {"exemplars": 1},
}
POINTWISE = {"labels", "pointwise_mass_floor"}
"""Tried by `test_pointwise`."""


def test_every_field_is_tried() -> None:
    assert set(FeedbackConfig.model_fields) == {*CHANGES, *POINTWISE}


@pytest.mark.parametrize("name", list(CHANGES))
def test_fields_turn_something(name: str) -> None:
    def seen(**config: Any) -> tuple[Any, ...]:
        model = ScriptedModel(think, prefers_good)
        labels = label(PAIRS, model, **config)
        return model.generated, model.chosen, labels

    assert seen(**BASE) != seen(**{**BASE, **CHANGES[name]})


def test_every_request_is_in_the_layout_of_the_model_and_shows_so_many_exemplars() -> None:
    model = ScriptedModel(think, prefers_good, layout="transcript")
    label(PAIRS, model, chain_of_thought=True, exemplars=1)
    requests = [asked for asked, *_ in (*model.generated, *model.chosen)]
    assert len(requests) == 48
    assert {rendered.layout for rendered in requests} == {"transcript"}
    assert all("E1" in rendered.text and "E2" not in rendered.text for rendered in requests)


def test_labels_do_not_depend_on_each_other() -> None:
    together = label(PAIRS, ScriptedModel(think, prefers_good), chain_of_thought=True)
    alone = [label([pair], ScriptedModel(think, prefers_good), chain_of_thought=True)[0] for pair in reversed(PAIRS)]
    assert alone[::-1] == together


def test_when_every_tenth_call_fails_the_books_balance() -> None:
    count = 0

    def weigh(rendered: Rendered, *_: Any) -> tuple[float, float] | Exception:
        nonlocal count
        count += 1
        if count % 10:
            return prefers_good(rendered)
        return [call_failed(), (math.nan, 0.0), logprobs(0.5, mass=0.1)][count // 10 % 3]

    pairs = [compare(p, "good words", ["bad words", "", "good words"][i % 3]) for i, p in enumerate(make_prompts(90))]
    labels = label(pairs, ScriptedModel(choose=weigh), bound=1.0)
    assert len(labels) == 90
    reasons = [item.reason for item in labels]
    assert reasons.count("empty_response") == reasons.count("identical") == 30
    assert set(reasons) == {"", "empty_response", "identical", "call_failed", "invalid_logprobs", "below_mass_floor"}
    assert all(item.p_a == pytest.approx(0.8) for item in labels if item.status == "labeled")


# ---------------------------------------------------------------------------------------- what servers leave out


def behind_a_server(weigh: Any, **how: Any) -> ScriptedModel:
    """A model whose choices are read from a server as `how` says."""

    def choose(rendered: Rendered, options: tuple[str, ...]) -> Choice:
        weighed = weigh(rendered, options)
        return Choice(options=options, logprobs=weighed, model="server", prompt_tokens=1, **{"dialect": "d", **how})

    return ScriptedModel(choose=choose)


@pytest.mark.parametrize("mass", [1.0, 0.9, 1e-3])
@pytest.mark.parametrize("floor", [0.5, 1.0])
def test_votes_without_a_mass_are_held_to_no_floor(mass: float, floor: float) -> None:
    def weigh(rendered: Rendered, *_: Any) -> tuple[float, float]:
        return logprobs(0.8 if good_is_first(rendered) else 0.2, mass=mass)

    for item in label(PAIRS, behind_a_server(weigh, has_mass=False), mass_floor=floor):
        assert (item.status, item.p_a) == ("labeled", pytest.approx(0.8, abs=1e-12))
        read = {(vote.mass, vote.has_mass, vote.dialect, vote.draws) for vote in item.votes}
        assert read == {(None, False, "d", None)}
        assert not item.has_mass
    with_mass = label(PAIRS, behind_a_server(weigh), mass_floor=floor)
    assert {item.status for item in with_mass} == {"labeled" if mass >= floor else "unlabeled"}


def test_a_mass_that_is_known_is_held_to_its_floor_beside_one_that_is_not() -> None:
    def weigh(rendered: Rendered, options: tuple[str, ...]) -> Choice:
        first = good_is_first(rendered)
        weighed = logprobs(0.8 if first else 0.2, mass=1.0 if first else 0.4)
        return Choice(options=options, logprobs=weighed, model="m", prompt_tokens=1, has_mass=not first)

    (item,) = label(PAIRS[:1], ScriptedModel(choose=weigh))
    assert (item.reason, [vote.has_mass for vote in item.votes]) == ("below_mass_floor", [False, True])


def test_votes_without_a_mass_are_held_to_be_numbers() -> None:
    (item,) = label(PAIRS[:1], behind_a_server(lambda *_: (0.0, -math.inf), has_mass=False))
    assert item.reason == "invalid_logprobs"


def test_a_vote_says_how_a_server_was_read() -> None:
    how = {"has_mass": False, "dialect": "d", "draws": 8}
    (item,) = label(PAIRS[:1], behind_a_server(prefers_good, **how))
    assert [{name: getattr(vote, name) for name in how} for vote in item.votes] == [how, how]


def test_votes_that_are_shares_of_drawn_answers_say_of_how_many() -> None:
    def weigh(rendered: Rendered, *_: Any) -> tuple[float, float]:
        shares = (math.log(6.5 / 9.5), math.log(2.5 / 9.5))  # six and two of eight draws
        return shares if good_is_first(rendered) else shares[::-1]

    for item in label(PAIRS, behind_a_server(weigh, draws=8)):
        assert item.p_a == pytest.approx(6.5 / 9.0)
        assert [(vote.draws, vote.mass) for vote in item.votes] == [(8, pytest.approx(9.0 / 9.5))] * 2
        assert PreferenceLabel.from_json(item.to_json()) == item


def test_how_a_server_was_read_is_found_again_in_the_journal(tmp_path: Path) -> None:
    inner = behind_a_server(prefers_good, has_mass=False, draws=8)
    with Journal(tmp_path / "journal.sqlite") as journal:
        first, second = (label(PAIRS, JournaledModel(inner, journal)) for _ in range(2))
    assert first == second
    assert len(inner.chosen) == 2 * len(PAIRS)
    assert {(vote.has_mass, vote.dialect, vote.draws) for item in second for vote in item.votes} == {(False, "d", 8)}
