"""Proves what SFT learns from stage 1: revisions of the right rounds and helpful samples, each for its own prompt."""

import pytest

from solon.errors import RecordError
from solon.lm import ItemResults, ScriptedModel
from solon.records import Failure, HelpfulSample, Layout, RevisionChain, RevisionStep, SampledTokens, Sampling
from solon.revision import (
    RevisionConfig,
    count_revision_targets,
    revision_metrics,
    sample_helpful,
    sft_targets,
)
from tests.scripts import make_prompts, make_sample, wait_for

PROMPTS = make_prompts(4)
ASKED = make_prompts(3, "helpful")
FAILURE = Failure(item="x", stage="revision", reason="empty_critique")


def chain(number: int, steps: int, failure: Failure | None = None) -> RevisionChain:
    made = [
        RevisionStep(
            principle_id="p",
            critique=make_sample(f"critique {number}.{i}"),
            revision=make_sample(f"revision {number}.{i}"),
        )
        for i in range(1, steps + 1)
    ]
    return RevisionChain(
        id=f"c{number}",
        prompt_id=PROMPTS[number].id,
        initial_response=make_sample(f"initial {number}"),
        steps=tuple(made),
        failure=failure,
    )


CHAINS = [chain(0, 3), chain(1, 2, FAILURE), chain(2, 0, FAILURE)]
GONE = Failure(item=PROMPTS[3].id, stage="revision", reason="call_failed")


@pytest.mark.parametrize(
    ("targets", "rounds", "expected"),
    [
        ("all", 3, [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]),
        ("last", 3, [(0, 3)]),
        ("all", 2, [(0, 1), (0, 2), (1, 1), (1, 2)]),
        ("last", 2, [(0, 2), (1, 2)]),
    ],
)
def test_targets_are_the_revisions_of_the_asked_rounds_and_the_books_balance(targets, rounds, expected) -> None:
    config = RevisionConfig(rounds=rounds, targets=targets)
    examples = sft_targets(CHAINS, [], PROMPTS, config)
    assert [(e.response, e.round, e.chain_id) for e in examples] == [
        (f"revision {c}.{r}", r, f"c{c}") for c, r in expected
    ]
    for example, (number, _) in zip(examples, expected, strict=True):
        assert example.source == "revision"
        assert example.prompt_id == PROMPTS[number].id
        assert example.conversation == PROMPTS[number].conversation
    assert len({example.id for example in examples}) == len(examples)
    books = count_revision_targets(ItemResults([*CHAINS, GONE]), config)
    assert books.pop("kept") == len(examples)
    assert books.pop("in") == len(examples) + sum(books.values())
    assert books["call_failed"] == (rounds if targets == "all" else 1)


def test_rounds_that_no_chain_has_are_counted() -> None:
    assert count_revision_targets(ItemResults([CHAINS[0]]), RevisionConfig(rounds=5)) == {
        "in": 5,
        "kept": 3,
        "not_reached": 2,
    }


def test_helpful_samples_are_drawn_as_often_as_asked_and_mixed_in() -> None:
    model = ScriptedModel(lambda rendered, sampling, seed: f"answer {seed}")
    config = RevisionConfig(helpful_samples=3, max_tokens=9, temperature=0.7, top_p=0.9, min_p=0.1)
    results = wait_for(sample_helpful(ASKED, assistant=model, config=config, seed=5, max_failure_fraction=0.0)).results
    samples = [item for item in results if isinstance(item, HelpfulSample)]
    assert [(s.prompt_id, s.draw) for s in samples] == [(p.id, d) for p in ASKED for d in (1, 2, 3)]
    assert len({s.response.text for s in samples}) == 9
    drawn = Sampling(temperature=0.7, max_tokens=9, top_p=0.9, min_p=0.1)
    assert {sampling for _, sampling, _ in model.generated} == {drawn}
    examples = sft_targets([CHAINS[0]], samples, [*PROMPTS, *ASKED], config)
    assert [e.source for e in examples] == ["revision"] * 3 + ["helpful"] * 9
    for example, sample in zip(examples[3:], samples, strict=True):
        prompt = next(p for p in ASKED if p.id == sample.prompt_id)
        assert (example.response, example.conversation) == (sample.response.text, prompt.conversation)
        assert (example.round, example.chain_id) == (0, "")
    assert len({example.id for example in examples}) == 12


def test_targets_carry_what_they_were_sampled_as() -> None:
    revision = make_sample("r", token_ids=(7, 8, 1), vocabulary="v")
    answer = make_sample("h", token_ids=(7, 8), vocabulary="v", stop_reason="stop")
    made = chain(0, 2).model_copy(
        update={"steps": (*chain(0, 1).steps, RevisionStep(principle_id="p", critique=None, revision=revision))}
    )
    helpful = HelpfulSample(id="s", prompt_id=ASKED[0].id, draw=1, response=answer)
    examples = sft_targets([made], [helpful], [*PROMPTS, *ASKED], RevisionConfig(rounds=2))
    same = SampledTokens(ids=(7, 8), vocabulary="v")  # the end token is no part of the text
    assert [example.tokens for example in examples] == [None, same, same]


@pytest.mark.parametrize(
    ("written", "learnt", "text", "expected", "sampled"),
    [
        ("chat", "chat", "No.", "No.", True),
        ("chat", "single", " No.", " No.", True),
        ("transcript", "transcript", " No.", " No.", True),
        ("transcript", "chat", " No.", "No.", False),
        ("transcript", "chat", "No.", "No.", False),
        ("transcript", "single", "  No.", " No.", False),
        ("chat", "transcript", "No.", "No.", False),
    ],
)
def test_a_revision_is_learnt_without_the_space_of_the_layout_it_was_written_in(
    written: Layout, learnt: Layout, text: str, expected: str, sampled: bool
) -> None:
    revision = make_sample(text, token_ids=(7, 8), vocabulary="v", stop_reason="stop")
    step = RevisionStep(principle_id="p", critique=None, revision=revision)
    made = chain(0, 1).model_copy(update={"steps": (step,)})
    (example,) = sft_targets([made], [], PROMPTS, RevisionConfig(rounds=1), written_in=written, learnt_in=learnt)
    assert example.response == expected
    assert example.tokens == (SampledTokens(ids=(7, 8), vocabulary="v") if sampled else None)


def test_none_are_drawn_where_none_are_asked_for() -> None:
    config = RevisionConfig(helpful_samples=0)
    assert (
        wait_for(
            sample_helpful(ASKED, assistant=ScriptedModel(), config=config, seed=5, max_failure_fraction=0.0)
        ).results
        == []
    )


def test_a_text_without_its_prompt_is_an_error() -> None:
    with pytest.raises(RecordError, match=f"c0 answers prompt {PROMPTS[0].id}"):
        sft_targets(CHAINS, [], PROMPTS[1:], RevisionConfig())


def test_metrics() -> None:
    still = RevisionStep(principle_id="p", critique=None, revision=make_sample("initial 0"))
    same = CHAINS[0].model_copy(update={"steps": (still, *CHAINS[0].steps)})
    assert revision_metrics([same, CHAINS[1]]) == {
        "revision/unchanged_frac": 1 / 6,
        "revision/whole_frac": 0.5,
        "revision/cut_responses": 0.0,
    }
    assert revision_metrics([]) == {}
