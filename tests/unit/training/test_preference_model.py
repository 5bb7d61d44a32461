"""Proves how a preference model reads pairs: each text once with its end, A as A and B as B, prompts kept apart."""

import json
import math
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.algorithms import calibration_error
from solon.errors import RecordError
from solon.nets import encode_text, load_scorer, load_tokenizer, vocabulary_digest
from solon.records import SampledTokens
from solon.training import preference_model
from solon.training.batching import RowEncoder, TokenRow
from solon.training.preference_model import PreferenceModelConfig, run_preference_model
from tests.alone import score_alone
from tests.loops import Seen, assert_every_field_is_tried, assert_field_turns_something, watch
from tests.tiny import build_tiny_policy, make_pair

PAIRS = [make_pair(number, target=0.9 if number % 3 else 0.3) for number in range(20)]
HELDOUT = [make_pair(number, target=0.7) for number in range(20, 28)]
CONFIG = PreferenceModelConfig(batch_size=6, evaluate_every=2, learning_rate=1e-3)
CHANGES: dict[str, dict[str, Any]] = {
    "epochs": {"epochs": 2},
    "batch_size": {"batch_size": 5},
    "learning_rate": {"learning_rate": 2e-3},
    "schedule": {"schedule": "constant"},
    "warmup_steps": {"warmup_steps": 2},
    "weight_decay": {"weight_decay": 0.1},
    "max_grad_norm": {"max_grad_norm": 1e-3},
    "centering_coef": {"centering_coef": 0.1},
    "clear_margin": {"clear_margin": 0.1},
    "evaluate_every": {"evaluate_every": 1},
    "max_tokens": {"max_tokens": 22},
    "microbatch_tokens": {"microbatch_tokens": 64},
    "checkpoint_every": {"checkpoint_every": 1},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_policy(tmp_path_factory.mktemp("models") / "base")


def train(base: Path, folder: Path, config: PreferenceModelConfig = CONFIG, **options: Any) -> Seen:
    run = partial(run_preference_model, base, PAIRS, HELDOUT, config, seed=3)
    return watch(run, folder, **options)


@cache
def default_run(base: Path, folder: Path) -> Seen:
    return train(base, folder, monkeypatch=pytest.MonkeyPatch(), modules=[preference_model])


def test_every_field_is_tried() -> None:
    assert_every_field_is_tried(PreferenceModelConfig, list(CHANGES))


@pytest.mark.parametrize("name", list(CHANGES))
def test_field_turns_something(
    name: str, base: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = default_run(base, tmp_path_factory.getbasetemp() / "pm-default")
    config = PreferenceModelConfig(**{**CONFIG.model_dump(), **CHANGES[name]})
    after = train(base, tmp_path, config, monkeypatch=monkeypatch, modules=[preference_model])
    assert_field_turns_something(name, before, after)


def test_the_summary_is_what_the_saved_model_scores(base: Path, tmp_path: Path) -> None:
    seen = train(base, tmp_path, CONFIG.model_copy(update={"clear_margin": 0.2}))
    model, encoder = load_scorer(tmp_path / "out"), RowEncoder(load_tokenizer(tmp_path / "out"))
    gaps = []
    for pair in HELDOUT:
        rows = [encoder.row(pair.prompt.conversation, text) for text in (pair.response_a, pair.response_b)]
        a, b = (float(score_alone(model, row.ids)) for row in rows)
        gaps.append(a - b)
    losses = [-0.7 * math.log(1 / (1 + math.exp(-gap))) - 0.3 * math.log(1 / (1 + math.exp(gap))) for gap in gaps]
    assert seen.summary.loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert seen.summary.accuracy == sum(gap > 0 for gap in gaps) / len(gaps)
    assert seen.summary.ranked == {pair.id: float(gap > 0) for pair, gap in zip(HELDOUT, gaps, strict=True)}
    assert seen.summary.clear_pairs == len(HELDOUT)
    expected = calibration_error(torch.tensor(gaps), torch.full((len(gaps),), 0.7), bins=10)
    assert seen.summary.ece_10_mirrored == pytest.approx(expected, abs=1e-5)
    assert seen.summary.pairs == len(PAIRS)
    last = json.loads(seen.files["metrics/loop.jsonl"].decode().splitlines()[-1])
    assert last["pm/accuracy"] == seen.summary.accuracy
    assert last["pm/ece_10_mirrored"] == seen.summary.ece_10_mirrored


def test_swapping_every_pair_with_its_label_learns_the_same(base: Path, tmp_path: Path) -> None:
    swapped = [
        pair.model_copy(
            update={"response_a": pair.response_b, "response_b": pair.response_a, "target": 1 - pair.target}
        )
        for pair in PAIRS
    ]
    row = RowEncoder(load_tokenizer(base)).row(PAIRS[0].prompt.conversation, "take the lamp")
    scores = []
    for name, pairs in (("one", PAIRS), ("two", swapped)):
        run_preference_model(base, pairs, [], CONFIG, tmp_path / name, seed=3, metrics=tmp_path / "m.jsonl")
        scores.append(float(score_alone(load_scorer(tmp_path / name), row.ids)))
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_each_text_is_read_once_and_both_of_a_pair_together(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[tuple[int, ...]]] = []
    original = preference_model.pack_rows
    monkeypatch.setattr(
        preference_model,
        "pack_rows",
        lambda rows, **options: (batches.append([row.ids for row in rows]), original(rows, **options))[1],
    )
    run_preference_model(base, PAIRS, [], CONFIG, tmp_path / "out", seed=3, metrics=tmp_path / "m.jsonl")
    encoder = RowEncoder(load_tokenizer(base))
    read = [ids for batch in batches for ids in batch]
    assert len(read) == 2 * len(PAIRS)
    for pair in PAIRS:
        a = encoder.row(pair.prompt.conversation, pair.response_a).ids
        b = encoder.row(pair.prompt.conversation, pair.response_b).ids
        assert sum(a in batch and b in batch for batch in batches) >= 1


def test_each_side_is_learnt_as_it_was_sampled_and_what_is_read_anew_is_counted(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load_tokenizer(base)

    def spell(text: str) -> SampledTokens:
        ids = tuple(index for letter in text for index in encode_text(tokenizer, letter))
        return SampledTokens(ids=ids, vocabulary=vocabulary_digest(tokenizer))

    pair = PAIRS[0]
    read: list[list[TokenRow]] = []
    original = preference_model.pack_rows
    monkeypatch.setattr(
        preference_model, "pack_rows", lambda rows, **options: (read.append(list(rows)), original(rows, **options))[1]
    )
    for side, spelled, plain in ((0, "tokens_a", pair.response_b), (1, "tokens_b", pair.response_a)):
        text = (pair.response_a, pair.response_b)[side]
        given = pair.model_copy(update={spelled: spell(text)})
        summary = run_preference_model(base, [given], [], CONFIG, tmp_path / spelled, seed=3, metrics=tmp_path / "m")
        assert summary.reread == 1
        rows = read[-1]
        assert rows[side].ids[rows[side].prompt_length : -1] == spell(text).ids
        assert rows[1 - side].ids[rows[1 - side].prompt_length : -1] == tuple(encode_text(tokenizer, plain))


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_response_that_was_cut_off_is_scored_at_its_last_token_and_no_end_is_learnt_after_it(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    read: list[TokenRow] = []
    original = preference_model.pack_rows
    monkeypatch.setattr(
        preference_model, "pack_rows", lambda rows, **options: (read.extend(rows), original(rows, **options))[1]
    )
    pair = PAIRS[0].model_copy(update={f"ended_{side}": False})
    summary = run_preference_model(base, [pair], [HELDOUT[0]], CONFIG, tmp_path / "cut", seed=3, metrics=tmp_path / "m")
    assert summary.pairs == 1
    end = RowEncoder(load_tokenizer(base)).end
    whole = [row for row in read if row.ids[-1] == end]
    cut = {row for row in read if row.ids[-1] != end}
    assert whole
    (row,) = cut
    text = pair.response_a if side == "a" else pair.response_b
    assert row.ids == RowEncoder(load_tokenizer(base)).row(pair.prompt.conversation, text).ids[:-1]


def test_a_held_out_prompt_that_is_learnt_from_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=f"held-out pair p2 has prompt {PAIRS[2].prompt.id}.*split by prompt"):
        run_preference_model(base, PAIRS, [PAIRS[2]], CONFIG, tmp_path / "out", seed=3, metrics=tmp_path / "m.jsonl")


def test_without_held_out_pairs_nothing_is_claimed_and_without_pairs_nothing_is_learnt(
    base: Path, tmp_path: Path
) -> None:
    summary = run_preference_model(base, PAIRS, [], CONFIG, tmp_path / "out", seed=3, metrics=tmp_path / "m.jsonl")
    assert (summary.loss, summary.accuracy, summary.ece_10_mirrored, summary.clear_pairs) == (None, None, None, 0)
    assert summary.ranked == {}
    with pytest.raises(RecordError, match="all 20 are longer than max_tokens 2"):
        train(base, tmp_path / "none", PreferenceModelConfig(max_tokens=2))
    with pytest.raises(RecordError, match="none was given"):
        run_preference_model(base, [], [], CONFIG, tmp_path / "none", seed=3, metrics=tmp_path / "m.jsonl")
