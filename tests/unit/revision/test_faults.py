"""Proves that empty, truncated and failed draws are each counted once, end their chain where they happen, and never
become a training text; and that failed calls are held to their bound wherever they happen.
"""

from collections.abc import Callable
from typing import Any

import pytest

from solon.errors import StageFailedError
from solon.lm import ScriptedModel
from solon.lm.backends.scripted import Reply
from solon.records import Failure, HelpfulSample, Rendered, RevisionChain, Sampling
from solon.revision import RevisionConfig, count_revision_targets, run_revision, sample_helpful, sft_targets
from tests.scripts import call_failed, make_constitution, make_prompts, wait_for

Write = Callable[[Rendered, Sampling, int], Reply]

CONSTITUTION = make_constitution()


def faulty(*, every: int) -> Write:
    """Fail every `every`-th draw: a dead line, then nothing, then white space, then a text without an end."""
    count = 0

    def write(rendered: Rendered, sampling: Sampling, seed: int) -> Reply:
        nonlocal count
        count += 1
        if count % every:
            return f"fine {count}"
        return [call_failed(), "", " \n", ("cut o", "length")][count // every % 4]

    return write


def run(prompts: int, bound: float = 1.0, write: Write | None = None, **config: Any):
    model = ScriptedModel(write or faulty(every=10))
    settings = RevisionConfig(**config)
    results = wait_for(
        run_revision(
            make_prompts(prompts),
            assistant=model,
            critic=model,
            constitution=CONSTITUTION,
            config=settings,
            seed=1,
            max_failure_fraction=bound,
        )
    )
    return results, settings, model


def reasons(results: Any) -> list[str]:
    failures = [item if isinstance(item, Failure) else item.failure for item in results.results]
    return [failure.reason for failure in failures if failure is not None]


@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("rounds", [1, 4])
def test_the_books_balance_and_no_fault_becomes_a_text(targets: str, direct: bool, rounds: int) -> None:
    results, config, _ = run(80, targets=targets, direct=direct, rounds=rounds)
    assert len(results.results) == 80
    chains = [item for item in results.results if isinstance(item, RevisionChain)]
    examples = sft_targets(chains, [], make_prompts(80), config)
    assert examples
    assert all(example.response.startswith("fine") for example in examples)
    assert all(
        sample.text.startswith("fine")
        for chain in chains
        for step in chain.steps
        for sample in (step.critique, step.revision)
        if sample is not None
    )
    books = count_revision_targets(results, config)
    assert books["kept"] == len(examples)
    assert books["in"] == 80 * (rounds if targets == "all" else 1)
    assert books["in"] == books["kept"] + sum(n for name, n in books.items() if name not in ("in", "kept"))
    for chain in chains:
        reached = len(chain.steps)
        assert reached == rounds if chain.failure is None else chain.failure.detail.startswith(f"round {reached + 1}: ")
    kinds = {"call_failed"} | {
        f"{fault}_{what}" for fault in ("empty", "truncated") for what in ("response", "revision")
    }
    assert set(reasons(results)) >= kinds if rounds == 4 and not direct else set(reasons(results))
    assert set(reasons(results)) <= kinds | {"empty_critique", "truncated_critique"}


@pytest.mark.parametrize("what", ["critique", "revision"])
@pytest.mark.parametrize(
    ("said", "reason", "detail"),
    [
        (("cut o", "length"), "truncated_", "round 2: no end within 256 tokens"),
        (" ", "empty_", "round 2: the model wrote nothing"),
        (call_failed(), "call_failed", "round 2: the line is dead"),
    ],
)
def test_a_chain_keeps_what_came_before_its_fault_and_asks_nothing_more(
    what: str, said: Reply, reason: str, detail: str
) -> None:
    def write(rendered: Rendered, sampling: Sampling, seed: int) -> Reply:
        last = rendered.turns[-1].text
        asked = "critique" if "What is wrong" in last else "revision" if "Mend" in last else "response"
        second_round = any(turn.text == "fine revision" for turn in rendered.turns)
        return said if second_round and asked == what else f"fine {asked}"

    results, _, model = run(1, write=write, rounds=4)
    (chain,) = results.results
    assert [step.revision.text for step in chain.steps] == ["fine revision"]
    assert chain.failure.reason == (reason + what if reason.endswith("_") else reason)
    assert chain.failure.detail == detail
    assert chain.failure.item == chain.prompt_id
    assert len(model.generated) == (4 if what == "critique" else 5)


def test_without_an_initial_response_there_is_no_chain() -> None:
    results, _, model = run(2, write=lambda *_: ("no end", "length"))
    assert [item.reason for item in results.results] == ["truncated_response"] * 2
    assert len(model.generated) == 2


def test_helpful_samples_are_held_to_the_same() -> None:
    config = RevisionConfig(helpful_samples=2)
    prompts = make_prompts(50, "helpful")
    model = ScriptedModel(faulty(every=5))
    results = wait_for(
        sample_helpful(prompts, assistant=model, config=config, seed=1, max_failure_fraction=1.0)
    ).results
    samples = [item for item in results if isinstance(item, HelpfulSample)]
    failures = [item for item in results if isinstance(item, Failure)]
    assert (len(samples), len(failures)) == (80, 20)
    assert {f.reason for f in failures} == {"call_failed", "empty_response", "truncated_response"}
    assert len({f.item for f in failures}) == 20
    assert all(f.detail for f in failures)
    assert all(e.response.startswith("fine") for e in sft_targets([], samples, prompts, config))


@pytest.mark.parametrize("asked", ["", "What is wrong", "Mend"])
def test_failed_calls_stop_the_stage_past_the_bound_in_whatever_round(asked: str) -> None:
    def write(rendered: Rendered, sampling: Sampling, seed: int) -> Reply:
        return call_failed() if asked in rendered.turns[-1].text and "request 3" in rendered.text else "fine"

    results, *_ = run(10, bound=0.1, write=write)
    assert reasons(results) == ["call_failed"]
    with pytest.raises(StageFailedError, match=r"revision.* 1 of 10"):
        run(10, bound=0.09, write=write)


def test_a_bound_that_is_reached_exactly_holds_in_whatever_round() -> None:
    """The product of 0.29 and 100 is below 29 in floating point."""
    broken = {prompt.conversation.messages[0].text for prompt in make_prompts(29)}

    def write(rendered: Rendered, sampling: Sampling, seed: int) -> Reply:
        return call_failed() if rendered.turns[0].text in broken and len(rendered.turns) > 1 else "fine"

    results, *_ = run(100, bound=0.29, write=write, rounds=1)
    assert reasons(results) == ["call_failed"] * 29


def test_prompts_that_come_to_nothing_are_bounded_too_and_steps_lost_to_faults_are_not() -> None:
    with pytest.raises(StageFailedError, match="empty_response"):
        run(10, bound=0.9, write=lambda *_: "")

    def write(rendered: Rendered, sampling: Sampling, seed: int) -> Reply:
        return "" if rendered.turns[-1].text.startswith("Mend") else "fine"

    results, *_ = run(10, bound=0.0, write=write)
    assert reasons(results) == ["empty_revision"] * 10


@pytest.mark.parametrize("asked", ["request", "What is wrong", "Mend"])
def test_an_error_that_is_no_failed_call_is_not_swallowed(asked: str) -> None:
    with pytest.raises(ZeroDivisionError):
        run(2, write=lambda rendered, *_: ZeroDivisionError() if asked in rendered.turns[-1].text else "fine")
