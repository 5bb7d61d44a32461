"""Proves that a preference model is the policy's trunk with a drawn head, and loads as a plain sequence classifier."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.errors import ModelError
from solon.nets import (
    check_trainable,
    encode_text,
    init_scorer_from_policy,
    load_policy,
    load_scorer,
    load_tokenizer,
    save_policy,
    save_scorer,
)
from tests.alone import score_alone
from tests.language_models import make_model, make_tokenizer
from tests.tolerances import FLOAT32_SAME

WITHOUT_END = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
WITH_NEW_TOKEN = "{% for m in messages %}<|new|>{{ m['content'] }}<|end|>{% endfor %}"
ROWS = [[7, 9, 30, 41, 1], [12, 8], [100, 3, 55, 1, 60, 61, 62, 1]]


def test_a_padded_batch_in_plain_transformers_has_the_scores_of_the_rows_alone(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    """Which is what a padding token apart from the end token is for: the rows hold the end token in the middle."""
    from transformers import AutoModelForSequenceClassification

    scorer = init_scorer_from_policy(tiny_model_dir, seed=1)
    tokenizer = load_tokenizer(tiny_model_dir)
    save_scorer(scorer, tokenizer, tmp_path / "pm")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "pm")
    assert plain.config.num_labels == 1
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (12 - len(row)) for row in ROWS])
    mask = torch.arange(12) < torch.tensor([[len(row)] for row in ROWS])
    loaded = load_scorer(tmp_path / "pm")
    assert not loaded.training
    alone = torch.stack([score_alone(loaded, row) for row in ROWS])
    with torch.no_grad():
        found = plain(input_ids=ids, attention_mask=mask.long()).logits.squeeze(-1)
    torch.testing.assert_close(found.double(), alone, rtol=FLOAT32_SAME, atol=FLOAT32_SAME)
    assert alone.std() > 0.01


def test_the_trunk_is_the_policys_and_the_head_is_drawn_from_the_seed(tiny_model_dir: Path) -> None:
    policy = load_policy(tiny_model_dir)
    state = torch.random.get_rng_state()
    one, same, other = (init_scorer_from_policy(tiny_model_dir, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(one.score.weight, same.score.weight)
    assert not torch.equal(one.score.weight, other.score.weight)
    trunk = dict(one.model.named_parameters())
    assert all(torch.equal(value, trunk[name]) for name, value in policy.model.named_parameters())


def test_scores_of_a_fresh_head_are_of_unit_size(tiny_model_dir: Path) -> None:
    heads = [init_scorer_from_policy(tiny_model_dir, seed=seed).score.weight for seed in range(30)]
    weights = torch.cat(heads).detach()
    assert float(weights.std()) == pytest.approx(33**-0.5, rel=0.1)
    assert float(weights.mean()) == pytest.approx(0.0, abs=0.02)


def test_gradients_reach_trunk_and_head(tiny_model_dir: Path) -> None:
    scorer = init_scorer_from_policy(tiny_model_dir, seed=1)
    scorer(torch.tensor(ROWS[:1])).logits.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in scorer.parameters())


def pad_with(path: Path, out: Path, token: str | None) -> Path:
    """Save a policy whose tokenizer pads with another token, new to it or not."""
    model, tokenizer = load_policy(path), load_tokenizer(path)
    tokenizer.pad_token = token
    model.config.pad_token_id = tokenizer.pad_token_id
    save_policy(model, tokenizer, out)
    return out


@pytest.mark.parametrize("token", ["<|end|>", None, "[PAD]"])
def test_without_padding_of_its_own_a_scorer_pads_with_a_token_that_ends_nothing(
    token: str | None, tiny_model_dir: Path, tmp_path: Path
) -> None:
    """The end token, no token at all, one that the embeddings have no row for: as many checkpoints are published."""
    base = pad_with(tiny_model_dir, tmp_path / "base", token)
    scorer = init_scorer_from_policy(base, seed=1)
    assert scorer.config.pad_token_id == load_tokenizer(tiny_model_dir).pad_token_id == 0
    tokenizer = load_tokenizer(base)
    save_scorer(scorer, tokenizer, tmp_path / "pm")
    assert load_tokenizer(tmp_path / "pm").pad_token_id == load_scorer(tmp_path / "pm").config.pad_token_id == 0
    assert tokenizer.pad_token == token


def test_a_scorer_that_pads_with_a_word_leaves_it_a_word(tiny_model_dir: Path, tmp_path: Path) -> None:
    scorer, tokenizer = init_scorer_from_policy(tiny_model_dir, seed=1), load_tokenizer(tiny_model_dir)
    word = encode_text(tokenizer, " lamp")
    (scorer.config.pad_token_id,) = word
    save_scorer(scorer, tokenizer, tmp_path / "pm")
    saved = load_tokenizer(tmp_path / "pm")
    assert saved.pad_token is None
    assert encode_text(saved, " lamp") == word


@pytest.mark.parametrize("padding", [1, -1, 10**6])
def test_whatever_the_padding_token_is_every_row_learns(padding: int, tiny_model_dir: Path, tmp_path: Path) -> None:
    """The end token among them, which a layer of embeddings would hold still if it padded as well."""
    folder = pad_with(tiny_model_dir, tmp_path / "base", "<|end|>")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"pad_token_id": padding}))
    for model in (load_policy(folder), init_scorer_from_policy(folder, seed=1)):
        embeddings = model.get_input_embeddings()
        embeddings(torch.tensor([0, 1, len(embeddings.weight) - 1])).sum().backward()
        assert embeddings.weight.grad[[0, 1, -1]].all()


def test_a_policy_is_no_scorer(tiny_model_dir: Path) -> None:
    with pytest.raises(ModelError, match="weights do not fit"):
        load_scorer(tiny_model_dir)


@pytest.mark.parametrize(
    ("added", "template", "said"),
    [
        ({}, None, "has no chat template"),
        ({"eos_token": "</s>"}, WITHOUT_END, r"writes token 311 \('</s>'\), its embeddings end at row 310"),
        ({"extra_special_tokens": ["<|new|>"]}, WITH_NEW_TOKEN, r"writes token 311 \('<\|new\|>'\)"),
    ],
)
def test_what_cannot_be_trained_is_known_without_its_weights(
    added: dict[str, Any], template: str | None, said: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    assert check_trainable(tiny_model_dir) == ()
    model, tokenizer = load_policy(tiny_model_dir), load_tokenizer(tiny_model_dir)
    tokenizer.add_special_tokens(added)
    tokenizer.chat_template = template
    save_policy(model, tokenizer, tmp_path / "m")
    with pytest.raises(ModelError, match=said):
        check_trainable(tmp_path / "m")


@pytest.mark.parametrize("name", ["llama", "gemma 2", "opt", "qwen3"])
@pytest.mark.parametrize("padding", [-1, 10**6, "new"])
def test_a_padding_token_without_a_row_keeps_no_model_from_training(
    padding: int | str, name: str, tmp_path: Path
) -> None:
    """As where somebody gave the tokenizer `[PAD]`, put it into the configuration and left the embeddings alone."""
    model, tokenizer = make_model(name), copy.deepcopy(make_tokenizer())
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    save_policy(model, tokenizer, tmp_path / "m")
    settings = json.loads((tmp_path / "m" / "config.json").read_text())
    assert tokenizer.pad_token_id >= settings["vocab_size"]
    settings["pad_token_id"] = tokenizer.pad_token_id if padding == "new" else padding
    (tmp_path / "m" / "config.json").write_text(json.dumps(settings))
    (note,) = check_trainable(tmp_path / "m")
    assert "('[PAD]'), beyond the" in note
    assert load_policy(tmp_path / "m").config.pad_token_id is None
    assert init_scorer_from_policy(tmp_path / "m", seed=1).config.pad_token_id < settings["vocab_size"]


def test_an_added_word_needs_a_row_since_text_may_hold_it(tiny_model_dir: Path, tmp_path: Path) -> None:
    model, tokenizer = load_policy(tiny_model_dir), load_tokenizer(tiny_model_dir)
    tokenizer.add_tokens(["SARS-CoV-2"])
    save_policy(model, tokenizer, tmp_path / "m")
    with pytest.raises(ModelError, match=r"writes token 311 \('SARS-CoV-2'\), its embeddings end at row 310"):
        check_trainable(tmp_path / "m")


def test_an_architecture_without_a_causal_language_model_is_refused_with_its_name(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_model_dir, tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(ModelError, match="no causal language model of the architecture 't5'"):
        check_trainable(tmp_path / "m")


def test_a_configuration_of_which_no_model_can_be_made_is_refused(tiny_model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model_dir, tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"hidden_act": "no such function"}))
    with pytest.raises(ModelError, match=r"no model can be made of its config\.json"):
        check_trainable(tmp_path / "m")


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("<|end|>", r"pads with a token that ends texts, 1 ('<|end|>')"),
        (None, "has no padding token"),
        ("[PAD]", r"has padding token 311 ('[PAD]'), beyond the 311 rows of its embeddings"),
    ],
)
def test_a_padding_that_is_not_its_own_is_said(
    token: str | None, said: str, tiny_model_dir: Path, tmp_path: Path
) -> None:
    path = pad_with(tiny_model_dir, tmp_path / "m", token)
    assert check_trainable(path) == (f"{path}: {said}: batches are padded with 0 ('<|pad|>')",)
