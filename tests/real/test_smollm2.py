"""Proves that a real instruct model, read from a 4-bit GGUF file, speaks through Solon: SmolLM2-135M-Instruct.

`make smollm2` fetches it. Where that was not done these tests are skipped, and say so.
"""

import asyncio
import json
from pathlib import Path

import pytest
import torch

from benchmarks.smollm2 import GGUF
from solon.lm.backends.local import LocalModel
from solon.nets import Tokenizer, encode_prompt, load_policy, load_tokenizer, weights_digest
from solon.nets.gguf import export_gguf, import_gguf
from solon.records import Sample, Sampling
from tests.asking import ask
from tests.real.conftest import require_smollm2

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def smollm2() -> Path:
    return require_smollm2()


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Tokenizer:
    return load_tokenizer(smollm2)


@pytest.fixture(scope="module")
def model(smollm2: Path) -> LocalModel:
    return LocalModel(smollm2)


def answer(model: LocalModel, question: str, *, max_tokens: int) -> Sample:
    sampling = Sampling(temperature=0.0, max_tokens=max_tokens)
    return asyncio.run(model.generate(ask(("user", question)), sampling, seed=0))


def test_the_folder_says_where_it_came_from(smollm2: Path) -> None:
    manifest = json.loads((smollm2 / "manifest.json").read_text())
    assert manifest["sha256"] == GGUF.sha256
    assert manifest["license"] == "apache-2.0"
    assert manifest["quantization"] == {"Q4_1": 210, "F32": 61, "Q8_0": 1}
    assert manifest["digest"] == weights_digest(smollm2)


def test_text_has_the_tokens_of_the_published_tokenizer(tokenizer: Tokenizer) -> None:
    """Each digit is a token, and spaces before one are those that end a line's words."""
    engine = tokenizer.backend_tokenizer
    assert engine.encode("Hello world! 123").ids == [19556, 905, 17, 216, 33, 34, 35]
    assert [engine.decode([index]) for index in engine.encode("in  2024").ids] == ["in", "  ", "2", "0", "2", "4"]
    assert sorted(tokenizer.all_special_ids) == list(range(17))


def test_prompts_are_laid_out_by_its_template(tokenizer: Tokenizer) -> None:
    text = tokenizer.backend_tokenizer.decode(encode_prompt(tokenizer, ask(("user", "Hi"))), skip_special_tokens=False)
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_it_answers_a_question_and_ends(model: LocalModel) -> None:
    sample = answer(model, "What is the capital of France?", max_tokens=32)
    assert "Paris" in sample.text
    assert sample.stop_reason == "end"


def test_a_long_answer_is_cut(model: LocalModel) -> None:
    sample = answer(model, "Tell me how bread is made.", max_tokens=24)
    assert sample.stop_reason == "length"
    assert sample.generated_tokens == 24
    assert "flour" in sample.text


@pytest.mark.slow
def test_written_as_gguf_and_read_again_it_is_the_same_folder(smollm2: Path, tmp_path: Path) -> None:
    export_gguf(smollm2, tmp_path / "smollm2.gguf")
    manifest = import_gguf(tmp_path / "smollm2.gguf", tmp_path / "again")
    assert manifest["quantization"] == {"F32": 272}
    one, other = (load_policy(folder).state_dict(keep_vars=False) for folder in (smollm2, tmp_path / "again"))
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
