"""Proves that the preference model learns: it ranks a planted feature on new prompts, and meets soft labels exactly."""

import random
from pathlib import Path

import pytest
import torch

from solon.nets import load_scorer, load_tokenizer
from solon.records import Conversation, PreferencePair, Prompt
from solon.training.batching import RowEncoder
from solon.training.preference_model import PreferenceModelConfig, run_preference_model
from tests.alone import score_alone
from tests.tiny import WORDS, build_tiny_policy
from tests.tolerances import SOFT_TARGET

PLANTED = WORDS[0]


def pair(number: int, target: float) -> PreferencePair:
    """A names the planted word somewhere among others, B does not; which side is which alternates."""
    rng = random.Random(number)
    others = [rng.choice(WORDS[1:]) for _ in range(6)]
    with_it = [*others[:2], PLANTED] if rng.random() < 0.5 else [PLANTED, *others[:2]]
    texts = ["take the " + " and the ".join(words) + " today" for words in (with_it, others[3:])]
    conversation = Conversation.of(f"how do i find the {others[0]} {number}")
    a, b = texts if number % 2 == 0 else reversed(texts)
    return PreferencePair(
        id=f"p{number}",
        prompt=Prompt.make(conversation, kind="red_team", source="test", split="train"),
        response_a=a,
        response_b=b,
        target=target if number % 2 == 0 else 1 - target,
    )


@pytest.mark.slow
def test_it_ranks_a_planted_feature_on_prompts_it_has_not_seen(tmp_path: Path) -> None:
    base = build_tiny_policy(tmp_path / "base", layers=1)
    config = PreferenceModelConfig(epochs=3, batch_size=16, learning_rate=5e-3)
    summary = run_preference_model(
        base,
        [pair(number, 0.9) for number in range(320)],
        [pair(number, 0.9) for number in range(320, 420)],
        config,
        tmp_path / "pm",
        seed=1,
        metrics=tmp_path / "pm.jsonl",
    )
    assert summary.clear_pairs == 100
    assert summary.accuracy is not None
    assert summary.accuracy >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.5, 0.6, 0.9])
def test_it_meets_a_soft_label_and_does_not_go_beyond(tmp_path: Path, target: float) -> None:
    base = build_tiny_policy(tmp_path / "base", layers=1)
    pairs = [pair(number, target) for number in range(8)]
    config = PreferenceModelConfig(epochs=200, batch_size=8, learning_rate=3e-3)
    run_preference_model(base, pairs, [], config, tmp_path / "pm", seed=1, metrics=tmp_path / "pm.jsonl")
    model, encoder = load_scorer(tmp_path / "pm"), RowEncoder(load_tokenizer(tmp_path / "pm"))
    for one in pairs:
        rows = [encoder.row(one.prompt.conversation, text) for text in (one.response_a, one.response_b)]
        a, b = (score_alone(model, row.ids) for row in rows)
        assert float(torch.sigmoid(a - b)) == pytest.approx(one.target, abs=SOFT_TARGET)


@pytest.mark.slow
def test_centering_settles_the_level_of_scores_and_not_their_gaps(tmp_path: Path) -> None:
    base = build_tiny_policy(tmp_path / "base", layers=1)
    pairs = [pair(number, 0.8) for number in range(8)]
    config = PreferenceModelConfig(epochs=200, batch_size=8, learning_rate=3e-3, centering_coef=0.1)
    run_preference_model(base, pairs, [], config, tmp_path / "pm", seed=1, metrics=tmp_path / "pm.jsonl")
    model, encoder = load_scorer(tmp_path / "pm"), RowEncoder(load_tokenizer(tmp_path / "pm"))
    for one in pairs:
        rows = [encoder.row(one.prompt.conversation, text) for text in (one.response_a, one.response_b)]
        a, b = (score_alone(model, row.ids) for row in rows)
        assert float(a + b) == pytest.approx(0.0, abs=0.1)
        assert float(torch.sigmoid(a - b)) == pytest.approx(one.target, abs=SOFT_TARGET)
