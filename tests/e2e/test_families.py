"""Proves that every family of models runs every stage, and is read in each as transformers reads it.

Each family is a tiny random model made on the spot. The witness of log-probabilities, scores and values is
transformers' own forward pass over a row alone.
"""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModel, AutoModelForSequenceClassification

from solon.inference import Sampler
from solon.nets import (
    check_trainable,
    encode_prompt,
    encode_text,
    load_policy,
    load_scorer,
    load_tokenizer,
    save_policy,
    save_scorer,
)
from solon.prompting import render_response
from solon.records import Sampling
from solon.training.batching import RowEncoder, TokenRow, pack_rows
from solon.training.forward import can_share_prompts, read_logprobs, read_scores, read_values
from solon.training.ppo import PPOConfig, run_ppo
from solon.training.preference_model import PreferenceModelConfig, run_preference_model
from solon.training.probe import check_reading
from solon.training.sft import SFTConfig, run_sft
from tests import made_up_tokenizers
from tests.alone import logprobs_alone, score_alone
from tests.e2e.conftest import call_solon
from tests.language_models import FUSED, OTHERS, WITH_IMAGES, build_model, make_tokenizer, start_model
from tests.tiny import make_example, make_pair, make_prompt
from tests.tiny_world import make_world_tokenizer, tiny_options, train_in_the_world
from tests.tolerances import FLOAT32_SAME

FAMILIES = [*FUSED, *OTHERS, *WITH_IMAGES]
OURS = ["granite", "cohere", "cohere 2", "mamba", "ctrl"]
"""Families of which transformers has no sequence classifier, or none with one layer for a head."""

WEIGHTS = "model.safetensors"
SFT = SFTConfig(batch_size=4)
PM = PreferenceModelConfig(batch_size=3)
PPO = PPOConfig(
    iterations=1, responses_per_iteration=4, minibatches=1, max_response_tokens=8, learning_rate=1e-3, max_grad_norm=1.0
)


def pad_with_end() -> Any:
    tokenizer = copy.deepcopy(make_tokenizer())
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def save(name: str, folder: Path, tokenizer: Any) -> Path:
    save_policy(build_model(name, tokenizer), tokenizer, folder)
    return folder


def run_every_loop(base: Path, folder: Path) -> None:
    check_trainable(base)
    check_reading(base)
    examples = [make_example(number) for number in range(4)]
    run_sft(base, examples, SFT, folder / "sft", seed=1, metrics=folder / "sft.jsonl")
    pairs = [make_pair(number) for number in range(4)]
    out, metrics = folder / "pm", folder / "pm.jsonl"
    summary = run_preference_model(folder / "sft", pairs[:3], pairs[3:], PM, out, seed=1, metrics=metrics)
    assert summary.steps == 1
    prompts = [make_prompt(number) for number in range(2)]
    out, metrics = folder / "rl", folder / "ppo.jsonl"
    run_ppo(folder / "sft", folder / "pm", prompts, PPO, out, seed=1, metrics=metrics, value_out=folder / "value")


def is_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.double(), expected.double(), rtol=FLOAT32_SAME, atol=FLOAT32_SAME)


def check_sampler(folder: Path) -> None:
    model, tokenizer = load_policy(folder), load_tokenizer(folder)
    sampler = Sampler(model, tokenizer, batch_size=4)
    prompts = [encode_prompt(tokenizer, render_response(make_prompt(number).conversation)) for number in range(3)]
    for prompt, drawn in zip(prompts, sampler.sample(prompts, Sampling(max_tokens=9), range(3)), strict=True):
        is_same(torch.tensor(drawn.logprobs), logprobs_alone(model, [*prompt, *drawn.token_ids])[len(prompt) - 1 :])
    options = [encode_text(tokenizer, text) for text in ("A", "B", "take the lamp")]
    for prompt, found in zip(prompts, sampler.choose(prompts, [options] * 3), strict=True):
        alone = [logprobs_alone(model, [*prompt, *option])[len(prompt) - 1 :].sum() for option in options]
        is_same(torch.tensor(found), torch.stack(alone))


@torch.no_grad()
def scores_alone(scorer: Any, ids: Sequence[int]) -> Tensor:
    """Return the score at each token of a row by the trunk's own pass over it. Shape (T,)."""
    hidden: Tensor = scorer.base_model(torch.tensor([list(ids)])).last_hidden_state[0]
    return hidden @ scorer.score.weight[0]


def rows_of(folder: Path) -> list[TokenRow]:
    encoder = RowEncoder(load_tokenizer(folder))
    examples = [make_example(number) for number in range(4)]  # two answer one prompt, and two another
    return [encoder.row(example.conversation, example.response) for example in examples]


def check_readers(policy: Path, preference_model: Path, value: Path) -> None:
    model, rows = load_policy(policy), rows_of(policy)
    networks = [load_scorer(folder) for folder in (preference_model, value)]
    for share in (False, True):
        batch = pack_rows(rows, share_prompts=share and can_share_prompts(model))
        with torch.no_grad():
            found = [read_logprobs(model, batch, None)]
            expected = [[logprobs_alone(model, row.ids)[row.prompt_length - 1 :] for row in rows]]
            for network in networks:
                assert can_share_prompts(network) == can_share_prompts(model)
                found.append(read_values(network, batch))
                scores = [scores_alone(network, row.ids) for row in rows]
                expected.append([every[row.prompt_length - 1 : -1] for row, every in zip(rows, scores, strict=True)])
                is_same(read_scores(network, batch), torch.stack([every[-1] for every in scores]))
        for read, alone in zip(found, expected, strict=True):
            for row, numbers, one in zip(rows, read, alone, strict=True):
                is_same(numbers[: row.response_length], one)


def check_plain_classifier(folder: Path) -> None:
    """A padded batch in plain transformers, without and with a mask, has the scores of the rows alone."""
    plain, rows = AutoModelForSequenceClassification.from_pretrained(folder), rows_of(folder)
    ours = load_scorer(folder)
    assert type(ours) is type(plain)
    lengths = torch.tensor([len(row.ids) for row in rows])
    padding = plain.config.get_text_config().pad_token_id
    ids = torch.full((len(rows), int(lengths.max())), padding)
    for place, row in enumerate(rows):
        ids[place, : len(row.ids)] = torch.tensor(row.ids)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    alone = torch.stack([score_alone(ours, row.ids) for row in rows])
    with torch.no_grad():
        is_same(plain(input_ids=ids).logits.squeeze(-1), alone)
        is_same(plain(input_ids=ids, attention_mask=mask).logits.squeeze(-1), alone)


def check_own_classifier(folder: Path) -> None:
    """Trunk and head are had from the folder with plain transformers and safetensors, as documented."""
    settings = json.loads((folder / "config.json").read_text())
    (name,) = settings["architectures"]
    assert name.endswith("ForSequenceClassification")
    assert list(settings["id2label"]) == ["0"]
    trunk = AutoModel.from_pretrained(folder)
    with safe_open(folder / WEIGHTS, framework="pt") as weights:
        head = weights.get_tensor("score.weight")
    scorer = load_scorer(folder)
    for row in rows_of(folder):
        with torch.no_grad():
            last = trunk(torch.tensor([row.ids])).last_hidden_state[0, -1]
        is_same(last @ head[0], scores_alone(scorer, row.ids)[-1])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_runs_every_stage_and_is_read_as_transformers_reads_it(name: str, tmp_path: Path) -> None:
    base = save(name, tmp_path / "base", make_tokenizer())
    run_every_loop(base, tmp_path)
    check_sampler(tmp_path / "rl")
    check_readers(tmp_path / "rl", tmp_path / "pm", tmp_path / "value")
    classifier = check_own_classifier if name in OURS else check_plain_classifier
    for folder in (tmp_path / "pm", tmp_path / "value"):
        classifier(folder)
    names = ("base", "sft", "rl", "pm", "value")
    weights = {one: load_file(tmp_path / one / WEIGHTS) for one in names}
    for before, after in (("base", "sft"), ("sft", "rl"), ("pm", "value")):
        same = [torch.equal(weight, weights[after][key]) for key, weight in weights[before].items()]
        assert not all(same), f"{after} has learnt nothing"


def test_families_are_those_of_transformers_or_ours() -> None:
    types = {name: type(build_model(name, make_tokenizer()).config) for name in FAMILIES}
    without = {name for name, kind in types.items() if kind not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING}
    assert without == {*OURS} - {"ctrl"}


@pytest.mark.parametrize("name", ["llama", "granite", "gemma 3, with images"])
def test_a_family_runs_whose_padding_is_its_end(name: str, tmp_path: Path) -> None:
    tokenizer = pad_with_end()
    base = save(name, tmp_path / "base", tokenizer)
    (note,) = check_trainable(base)
    assert "pads with a token that ends texts" in note
    run_every_loop(base, tmp_path)
    check_sampler(tmp_path / "rl")
    check_readers(tmp_path / "rl", tmp_path / "pm", tmp_path / "value")
    scorer = load_scorer(tmp_path / "pm")
    assert scorer.config.get_text_config().pad_token_id != tokenizer.eos_token_id
    save_scorer(scorer, load_tokenizer(tmp_path / "pm"), tmp_path / "again")
    assert load_scorer(tmp_path / "again").config.pad_token_id == scorer.config.pad_token_id


@pytest.mark.full
@pytest.mark.parametrize("make", [made_up_tokenizers.chatml, made_up_tokenizers.stripping, made_up_tokenizers.dropping])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_runs_under_every_template(name: str, make: Callable[[], Any], tmp_path: Path) -> None:
    base = save(name, tmp_path / "base", make())
    run_every_loop(base, tmp_path)
    check_sampler(tmp_path / "rl")
    check_readers(tmp_path / "rl", tmp_path / "pm", tmp_path / "value")


@pytest.mark.full
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_runs_the_whole_command(name: str, tmp_path: Path) -> None:
    tokenizer = make_world_tokenizer()
    model = train_in_the_world(start_model(name, tokenizer, context=512), tokenizer, tmp_path / "model")
    done = call_solon("run", "--out", tmp_path / "run", *tiny_options(model))
    assert done.returncode == 0, done.stderr
    for made in ("sl-cai", "preference-model", "value", "rl-cai"):
        assert (tmp_path / "run" / "models" / made / WEIGHTS).is_file()
    check_readers(*(tmp_path / "run" / "models" / made for made in ("rl-cai", "preference-model", "value")))
