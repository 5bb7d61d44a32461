"""Proves that how a batch is cut and padded changes nothing: one piece of eight is eight pieces of one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, CohereConfig, Gemma2Config, GraniteConfig, PreTrainedConfig

from solon.nets import init_scorer_from_policy, load_policy, load_scorer, load_tokenizer, save_scorer
from solon.training import learner as learner_module
from solon.training import preference_model, sft
from solon.training.batching import RowEncoder, TokenBatch, TokenRow, pack_rows
from solon.training.forward import can_share_prompts, read_logprobs, read_scores, read_values
from solon.training.learner import Learner
from solon.training.optimizer import accumulate
from solon.training.ppo import PPOConfig
from solon.training.preference_model import PreferenceModelConfig
from solon.training.rollout import ScoreScale, ValueModel, compute_targets, read_rollout
from tests.alone import logprobs_alone, score_alone, values_alone
from tests.tiny import WORDS, build_tiny_policy, make_example, make_pair
from tests.tolerances import FLOAT32_SAME

ONE, ALL = 1, 100_000


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    build_tiny_policy(folder / "base")
    save_scorer(init_scorer_from_policy(folder / "base", seed=1), load_tokenizer(folder / "base"), folder / "pm")
    return folder


def gradients(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=FLOAT32_SAME, atol=FLOAT32_SAME)


def test_sft_gradient(models: Path) -> None:
    encoder = RowEncoder(load_tokenizer(models / "base"))
    rows = [encoder.row(e.conversation, e.response) for e in (make_example(number) for number in range(8))]
    assert len({row.response_length for row in rows}) > 1
    found = []
    for limit in (ONE, ALL):
        model = load_policy(models / "base")
        loss = accumulate({"loss": piece} for piece in sft._pieces(model, rows, limit, None))["loss"]
        found.append((torch.tensor(loss), gradients(model)))
    same(*found)
    assert float(found[0][1].norm()) > 0.1


def test_preference_gradient(models: Path) -> None:
    encoder = RowEncoder(load_tokenizer(models / "base"))
    pairs = [make_pair(number, target=0.1 * number) for number in range(8)]
    found = []
    for limit in (ONE, ALL):
        config = PreferenceModelConfig(microbatch_tokens=limit, centering_coef=0.01)
        model = load_scorer(models / "pm")
        pieces = preference_model._pieces(model, preference_model._encode(pairs, config, encoder), config)
        loss = accumulate({"loss": piece} for piece in pieces)["loss"]
        found.append((torch.tensor(loss), gradients(model)))
    same(*found)
    assert float(found[0][1].norm()) > 0.01


@pytest.mark.parametrize("own_trunk", [True, False])
def test_ppo_gradients_and_metrics(models: Path, own_trunk: bool) -> None:
    encoder = RowEncoder(load_tokenizer(models / "base"))
    rows = [encoder.row(e.conversation, e.response) for e in (make_example(number) for number in range(8))]
    found = []
    for limit in (ONE, ALL):
        config = PPOConfig(microbatch_tokens=limit)
        scorer = load_scorer(models / "pm").requires_grad_(False)
        value = ValueModel(scorer, load_scorer(models / "pm") if own_trunk else None)
        learner = Learner.build(load_policy(models / "base"), value, absent=None)
        rollout = read_rollout(
            rows,
            [number % 3 > 0 for number in range(8)],
            [[-6.0 + 0.1 * t for t in range(row.response_length)] for row in rows],
            stopped={},
            reference=load_policy(models / "base"),
            scorer=scorer,
            value=value,
            end=encoder.end,
            absent=None,
            microbatch_tokens=limit,
        )
        targets = compute_targets(
            rollout,
            ScoreScale(0.1, 0.5),
            kl_coef=0.1,
            missing_end_penalty=-2.0,
            gamma=1.0,
            gae_lambda=0.9,
            standardize_advantages=True,
        )
        pieces = learner_module._pieces(learner, rollout, targets, ScoreScale(0.1, 0.5), list(range(8)), config)
        metrics = accumulate(pieces)
        found.append(
            (
                rollout.ref_logprobs,
                rollout.scores,
                rollout.values,
                targets.advantages,
                torch.tensor(list(metrics.values())),
                gradients(learner.policy),
                gradients(value.trained),
            )
        )
    same(*found)
    assert all(float(tensor.abs().max()) > 0.01 for tensor in found[0])


@pytest.mark.parametrize("pad_id", [0, 1, 300])
def test_padding_may_be_any_token_and_any_length(models: Path, pad_id: int) -> None:
    encoder = RowEncoder(load_tokenizer(models / "base"))
    rows = [encoder.row(e.conversation, e.response) for e in (make_example(number) for number in range(0, 8, 2))]
    longest = TokenRow((5, *rows[0].ids, *[5] * 40), rows[0].prompt_length)
    model, scorer = load_policy(models / "base"), load_scorer(models / "pm")
    together = pack_rows([*rows, longest], share_prompts=False, pad_id=pad_id)
    compare_with_rows_alone(model, scorer, together, rows)


@pytest.mark.parametrize("pad_id", [0, 300])
def test_sharing_a_prompt_changes_nothing_that_is_read_of_a_row(models: Path, pad_id: int) -> None:
    encoder = RowEncoder(load_tokenizer(models / "base"))
    texts = ["take the lamp today", "take", "take the gate and the hook and the river", ""]
    rows = [
        encoder.row(make_example(number).conversation, text)
        for number, text in [(0, texts[0]), (5, texts[1]), (0, texts[2]), (9, texts[0]), (0, texts[3]), (5, texts[2])]
    ]
    together = pack_rows(rows, share_prompts=True, pad_id=pad_id)
    assert len(together.ids) == 3
    compare_with_rows_alone(load_policy(models / "base"), load_scorer(models / "pm"), together, rows)


def compare_with_rows_alone(model: Any, scorer: Any, together: TokenBatch, rows: list[TokenRow]) -> None:
    with torch.no_grad():
        logprobs, values = read_logprobs(model, together, None), read_values(scorer, together)
        scores = read_scores(scorer, together)
        for number, row in enumerate(rows):
            length, first = row.response_length, row.prompt_length - 1
            same(logprobs[number, :length].double(), logprobs_alone(model, row.ids)[first:])
            same(values[number, :length].double(), values_alone(scorer, row.ids)[first:-1])
            same(scores[number].double(), score_alone(scorer, row.ids))
            assert bool((logprobs[number, length:] == 0).all())
            assert bool((values[number, length:] == 0).all())


SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "initializer_range": 1.0,
}
OTHER_HEADS = [
    GraniteConfig(logits_scaling=3.0, **SIZES),
    CohereConfig(logit_scale=0.2, **SIZES),
    Gemma2Config(final_logit_softcapping=2.0, head_dim=8, **SIZES),
]


@pytest.mark.parametrize("config", OTHER_HEADS, ids=lambda config: config.model_type)
def test_what_a_model_does_to_its_logits_after_the_head_is_read_too(models: Path, config: PreTrainedConfig) -> None:
    tokenizer = load_tokenizer(models / "base")
    config.vocab_size = len(tokenizer)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    encoder = RowEncoder(tokenizer)
    rows = [encoder.row(e.conversation, e.response) for e in (make_example(number) for number in range(4))]
    with torch.no_grad():
        logprobs = read_logprobs(model, pack_rows(rows, share_prompts=can_share_prompts(model)), None)
    for number, row in enumerate(rows):
        found, first = logprobs[number, : row.response_length].double(), row.prompt_length - 1
        same(found, logprobs_alone(model, row.ids)[first:])


def test_gradients_of_shared_rows_are_those_of_single_rows(models: Path) -> None:
    encoder = RowEncoder(load_tokenizer(models / "base"))
    rows = [encoder.row(make_example(number // 3).conversation, f"take the {WORDS[number]}") for number in range(6)]
    found = []
    for share in (True, False):
        model = load_policy(models / "base")
        batch = pack_rows(rows, share_prompts=share)
        assert len(batch.ids) == (1 if share else 6)
        read_logprobs(model, batch, None).sum().backward()
        found.append(gradients(model) / len(rows))
    same(*found)
    assert float(found[0].norm()) > 0.1
