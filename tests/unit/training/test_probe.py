"""Proves that a model which the sampler or the training reader reads otherwise than it reads itself is refused."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertLMHeadModel

from solon.errors import ModelError
from solon.inference import decoder, sampler
from solon.lm import ModelSpec
from solon.nets import save_policy
from solon.pipeline.models import check_trainable
from solon.training import forward, probe
from solon.training.batching import TokenBatch
from tests.language_models import FUSED, OTHERS, make_model, make_tokenizer


def save(name: str, path: Path) -> Path:
    save_policy(make_model(name), make_tokenizer(), path)
    return path


def without_what_follows_the_head(model: Any, batch: TokenBatch) -> Tensor:
    logits: Tensor = model.get_output_embeddings()(forward.read_trunk(model, batch)[batch.sources])
    return logits


@pytest.mark.parametrize("name", [*FUSED, *OTHERS])
def test_every_family_is_read_as_it_reads_itself(name: str, tmp_path: Path) -> None:
    probe.check_reading(save(name, tmp_path / "model"))


@pytest.mark.parametrize("name", ["granite", "gemma 2", "cohere"])
def test_a_scale_that_training_leaves_out_is_refused_before_a_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(checkpoint: Path) -> object:
        if name == "gemma 2":
            return check_trainable("assistant", ModelSpec(source=str(checkpoint)))
        return probe.check_reading(checkpoint)  # the others have no scorer

    checkpoint = save(name, tmp_path / "model")
    check(checkpoint)
    monkeypatch.setattr(forward, "_read_logits", without_what_follows_the_head)
    with pytest.raises(
        ModelError, match=r"model: the training reader is \d.* nats off the .* more than rounding"
    ) as no:
        check(checkpoint)
    assert "\n" not in str(no.value)


def test_a_scale_that_the_sampler_leaves_out_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save("llama, grouped", tmp_path / "model")
    whole = decoder.LlamaDecoder._logits
    monkeypatch.setattr(decoder.LlamaDecoder, "_logits", lambda self, x: whole(self, x) / 8.0)
    with pytest.raises(ModelError, match=r"the sampler is \d.* nats off the llama model's own log-probabilities"):
        probe.check_reading(checkpoint)


def test_it_is_read_in_the_precision_in_which_it_will_be_asked(tmp_path: Path) -> None:
    """Numbers of this size are none in half precision of the older kind."""
    model = copy.deepcopy(make_model("llama, grouped"))
    model.get_input_embeddings().weight.data.mul_(1e6)
    save_policy(model, make_tokenizer(), tmp_path / "model")
    spec = ModelSpec(source=str(tmp_path / "model"))
    for dtype in (None, "float32", "bfloat16"):
        check_trainable("assistant", spec.model_copy(update={"dtype": dtype}))
    with pytest.raises(ModelError, match=r"no numbers .*: choose another dtype than float16, or copy it"):
        check_trainable("assistant", spec.model_copy(update={"dtype": "float16"}))


def test_a_model_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertLMHeadModel(BertConfig(vocab_size=len(tokenizer), initializer_range=0.25, **sizes)).eval()
    save_policy(model, tokenizer, tmp_path / "model")
    with pytest.raises(ModelError, match=r"the sampler is \d.* nats off the bert model's own log-probabilities"):
        probe.check_reading(tmp_path / "model")


def test_no_number_is_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save("gpt2", tmp_path / "model")
    monkeypatch.setattr(probe, "read_logprobs", lambda model, batch, absent: torch.full((2, 16), float("nan")))
    with pytest.raises(ModelError, match="the training reader is nan nats off"):
        probe.check_reading(checkpoint)


def test_a_model_in_half_precision_may_differ_by_its_rounding_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "model"
    save_policy(make_model("granite").bfloat16(), make_tokenizer(), checkpoint)
    make_model.cache_clear()
    probe.check_reading(checkpoint)
    monkeypatch.setattr(forward, "_read_logits", without_what_follows_the_head)
    with pytest.raises(ModelError, match=r"more than rounding \(0\.5\)"):
        probe.check_reading(checkpoint)


def test_rows_without_a_token_are_no_difference(tmp_path: Path) -> None:
    model = make_model("llama")
    try:
        model.resize_token_embeddings(model.config.vocab_size + 64, mean_resizing=False)
        save_policy(model, make_tokenizer(), tmp_path / "model")
    finally:
        make_model.cache_clear()
    probe.check_reading(tmp_path / "model")


def test_what_cannot_be_read_at_all_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = save("gpt2", tmp_path / "model")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(sampler.Sampler, "_sample_generate", fail)
    with pytest.raises(ModelError, match=r"model: a gpt2 model cannot be sampled and read \(no such thing\): use"):
        probe.check_reading(checkpoint)
