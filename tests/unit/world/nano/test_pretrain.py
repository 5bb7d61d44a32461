"""Proves that pretraining computes what it says: the hand-written forward and backward pass is Hugging Face's.

Witnesses: the Hugging Face model's logits and autograd gradients on each document alone; `torch.optim.AdamW` over
that model for whole runs; a singular value decomposition for Muon; worked numbers for packing and the schedule.
Then that neither the number of processes nor of data workers changes what is learned, that every knob turns
something, that a task is learned, and that what cannot be trained correctly is refused.
"""

import itertools
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from solon.errors import ModelError, RunError, ShapeError
from solon.world.nano.pretrain import (
    CHECKPOINT_NAME,
    METRICS_NAME,
    Document,
    FusedLlama,
    PretrainConfig,
    copy_weights,
    count_parameters,
    name_weights,
    orthogonalize,
    pack_documents,
    read_shape,
    run_pretrain,
    sample_shard,
    view_weights,
)
from solon.world.nano.pretrain.optimizer import split_evenly
from tests.tolerances import ACCUMULATED_STEP, FLOAT32_SAME

VOCAB = 61


def build_model(**changes: object) -> LlamaForCausalLM:
    sizes = {
        "vocab_size": VOCAB,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
        "rms_norm_eps": 1e-5,
    }
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**(sizes | changes)))
    with torch.no_grad():  # gains and biases away from their initial 1 and small values, or folding is not tested
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


class Copies:
    """Documents that say a random word twice: the second saying is trained on. Sometimes its last token is a tie."""

    def __init__(self, ties: bool = True) -> None:
        self.ties = ties

    def __call__(self, step: int, seed: int) -> Iterator[Document]:
        rng = np.random.default_rng([seed, step])
        while True:
            word = rng.integers(2, VOCAB, int(rng.integers(3, 12))).astype(np.int32)
            ids = np.concatenate([[0], word, [1], word]).astype(np.int32)
            weights = np.zeros(len(ids), np.float32)
            weights[len(word) + 2 :] = rng.uniform(0.5, 1.5, len(word))
            soft = [(len(ids) - 1, {3: 0.25, 5: 0.75})] if self.ties and rng.random() < 0.5 else []
            yield Document(ids, weights, soft)


class Fatal(Copies):
    """Kills the process that asks for step 2 of the second shard."""

    def __call__(self, step: int, seed: int) -> Iterator[Document]:
        if step == 2 and seed == _seed_of(step=2, shard=1):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(step, seed)


def _seed_of(step: int, shard: int) -> int:
    seen: list[int] = []

    def record(step: int, seed: int) -> Iterator[Document]:
        seen.append(seed)
        return iter(())

    sample_shard(record, PretrainConfig(steps=9), step, shard)
    return seen[0]


def config(**changes: object) -> PretrainConfig:
    settings = {"steps": 4, "batch_tokens": 400, "chunk_tokens": 100, "warmup_steps": 1, "log_every": 1}
    return PretrainConfig.model_validate(settings | changes)


def reference_loss(model: LlamaForCausalLM, document: Document) -> tuple[torch.Tensor, torch.Tensor]:
    """Hugging Face on one document: summed weighted loss, and the logits that predict trained tokens."""
    ids = torch.from_numpy(document.ids.astype(np.int64))
    logits = model(ids[None], use_cache=False).logits[0]
    target = torch.nn.functional.one_hot(ids, VOCAB).float()
    for position, distribution in document.soft:
        target[position] = 0
        for token, probability in distribution.items():
            target[position, token] = probability
    losses = cross_entropy(logits[:-1], target[1:], reduction="none")
    weights = torch.from_numpy(document.weights)[1:]
    return losses @ weights, logits[:-1][weights > 0]


def build_kernel(model: LlamaForCausalLM) -> FusedLlama:
    shape = read_shape(model)
    flat = torch.zeros(count_parameters(shape))
    copy_weights(model, view_weights(flat, shape), into_model=False)
    return FusedLlama(flat, shape, model.model.rotary_emb.inv_freq)


@torch.no_grad()
def final_weights(out: Path, model: LlamaForCausalLM | None = None, **changes: object) -> torch.Tensor:
    model = model or build_model()
    run_pretrain(model, Copies(), config(**changes), out)
    return torch.cat([parameter.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("layers", [1, 3])
def test_logits_loss_and_gradients_are_hugging_faces_on_each_document_alone(layers: int) -> None:
    model = build_model(num_hidden_layers=layers)
    documents = sample_shard(Copies(), config(), step=0, shard=0)
    assert any(document.soft for document in documents)
    chunks = pack_documents(documents, 80)
    assert len(chunks) > 1
    references = [reference_loss(model, document) for document in documents]
    torch.stack([loss for loss, _ in references]).sum().backward()
    kernel, shape = build_kernel(model), read_shape(model)
    gradient = torch.full((count_parameters(shape),), torch.nan)
    with torch.no_grad():
        for _ in range(2):  # the second time in the arena, and over an old gradient
            kernel.fold()
            logits = torch.cat([kernel.logits(chunk) for chunk in chunks])
            loss = sum(kernel.accumulate(chunk) for chunk in chunks)
            kernel.write_gradient(gradient)
    expected = torch.cat([rows for _, rows in references])
    torch.testing.assert_close(logits, expected.detach(), rtol=FLOAT32_SAME, atol=FLOAT32_SAME)
    torch.testing.assert_close(loss, sum(loss for loss, _ in references).detach(), rtol=FLOAT32_SAME, atol=0)
    parameters = dict(model.named_parameters())
    for name, part in name_weights(view_weights(gradient, shape)).items():
        expected = parameters[name].grad
        assert (part - expected).abs().max() <= FLOAT32_SAME * expected.abs().max(), name


def test_chunk_is_laid_out_as_worked_by_hand() -> None:
    first = Document(np.array([7, 8, 9], np.int32), np.array([0, 0, 2], np.float32), [(2, {4: 0.25, 9: 0.75})])
    given = Document(np.array([7, 7], np.int32), np.array([0, 0], np.float32))
    second = Document(np.array([5, 6], np.int32), np.array([0, 0.5], np.float32))
    (chunk,) = pack_documents([first, given, second], 100)
    assert chunk.ids.tolist() == [7, 8, 9, 5, 6] + [0] * 11
    assert chunk.lengths == [3, 2, 11]
    assert chunk.tokens == 5
    assert chunk.rows.tolist() == [1, 3]
    assert chunk.row_weights.tolist() == [2, 0.5]
    entries = zip(chunk.entry_rows.tolist(), chunk.entry_ids.tolist(), chunk.entry_weights.tolist(), strict=True)
    assert sorted(entries) == [(0, 4, 0.5), (0, 9, 1.5), (1, 6, 0.5)]


def test_chunks_keep_the_order_and_share_the_tokens() -> None:
    documents = [Document(np.full(10, i, np.int32), np.eye(10, dtype=np.float32)[9]) for i in range(1, 13)]
    chunks = pack_documents(documents, 45)
    assert [chunk.tokens for chunk in chunks] == [40, 40, 40]
    assert torch.cat([chunk.ids[: chunk.tokens] for chunk in chunks])[::10].tolist() == list(range(1, 13))


@pytest.mark.parametrize(
    ("ids", "weights", "soft", "message"),
    [
        ([1, 2], [0, 1, 1], [], "document 1: ids"),
        ([1], [0], [], "document 1: ids"),
        ([1, 2], [1, 1], [], "0 on the first token"),
        ([1, 2], [0, -1], [], "none negative"),
        ([1, 2], [0, 1], [(2, {1: 1.0})], "soft target at 2"),
        ([1, 2], [0, 1], [(1, {1: 0.5})], "soft target at 1"),
        ([1, 2], [0, 1], [(1, {1: -0.5, 2: 1.5})], "soft target at 1"),
        ([1, 2], [0, 1], [(1, {1: float("nan")})], "soft target at 1"),
        ([1, 2], [0, 1], [(1, {1: 1.0}), (1, {2: 1.0})], "two soft targets"),
        ([1, 2], [0, 1], [(1, {-1: 1.0})], "must not be negative"),
        ([1, -2], [0, 1], [], "must not be negative"),
    ],
)
def test_malformed_document_is_named(ids: list[int], weights: list[float], soft: list, message: str) -> None:
    fine = Document(np.array([1, 2], np.int32), np.array([0, 1], np.float32))
    wrong = Document(np.array(ids, np.int32), np.array(weights, np.float32), soft)
    with pytest.raises(ShapeError, match=message):
        pack_documents([fine, wrong], 100)


def test_document_longer_than_the_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="positions"):
        run_pretrain(build_model(max_position_embeddings=8), Copies(), config(), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": 1},
        {"tie_word_embeddings": False},
        {"attention_bias": True},
        {"head_dim": 64},
        {"hidden_act": "gelu"},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
    ],
)
def test_model_the_kernel_would_compute_wrongly_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=next(iter(changes)).removesuffix("_parameters")):
        read_shape(build_model(**changes))


def test_run_equals_torch_adamw_over_hugging_face(tmp_path: Path) -> None:
    settings = config(optimizer="adamw", weight_decay=0.1, clip_norm=0.5, shards=1, steps=5, decay_share=0.5)
    trained, witness = build_model(), build_model()
    run_pretrain(trained, Copies(), settings, tmp_path)
    layers = [p for n, p in witness.named_parameters() if ".layers." in n and p.dim() == 2]
    others = [p for p in witness.parameters() if not any(p is q for q in layers)]
    groups = [{"params": layers, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    for step in range(5):
        documents = sample_shard(Copies(), settings, step, shard=0)
        total = torch.stack([reference_loss(witness, document)[0] for document in documents]).sum()
        (total / sum(float(document.weights.sum()) for document in documents)).backward()
        torch.nn.utils.clip_grad_norm_(witness.parameters(), 0.5)
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * settings.rate_scale(step)
        optimizer.step()
        optimizer.zero_grad()
    for (name, got), want in zip(trained.named_parameters(), witness.parameters(), strict=True):
        assert (got - want).norm() <= ACCUMULATED_STEP * want.norm(), name


@pytest.mark.parametrize("size", [(32, 32), (96, 32), (32, 96)])
def test_orthogonalize_keeps_singular_vectors_and_brings_values_near_one(size: tuple[int, int]) -> None:
    x = torch.randn(3, *size, generator=torch.Generator().manual_seed(1))
    got = orthogonalize(x)
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    inner = u.transpose(1, 2) @ got @ v.transpose(1, 2)
    values = inner.diagonal(dim1=1, dim2=2)
    assert (inner - torch.diag_embed(values)).abs().max() < 1e-4
    assert values.min() > 0.3
    assert values.max() < 1.3
    assert values.median() > 0.7


@pytest.mark.parametrize("numbers", [10, 2**24 + 1, 10**9 + 7])
def test_parts_of_the_parameters_meet_and_leave_out_none(numbers: int) -> None:
    edges = split_evenly(3, numbers, 3)
    assert edges[0] == 3
    assert edges[-1] == numbers
    sizes = [high - low for low, high in itertools.pairwise(edges)]
    assert max(sizes) - min(sizes) <= 1


def test_rates_rise_stay_and_fall_as_worked_by_hand() -> None:
    settings = PretrainConfig(steps=10, warmup_steps=3, decay_share=0.4)
    scales = [settings.rate_scale(step) for step in range(10)]
    np.testing.assert_allclose(scales, [0.25, 0.5, 0.75, 1, 1, 1, 1, 0.75, 0.5, 0.25])


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_two_processes_learn_what_one_learns(tmp_path: Path, optimizer: str) -> None:
    one = final_weights(tmp_path / "1", optimizer=optimizer)
    two = final_weights(tmp_path / "2", optimizer=optimizer, processes=2)
    assert (one - two).norm() <= ACCUMULATED_STEP * one.norm()


@pytest.mark.slow
def test_data_workers_change_nothing(tmp_path: Path) -> None:
    assert torch.equal(final_weights(tmp_path / "0"), final_weights(tmp_path / "1", data_workers=1))


@pytest.mark.slow
@pytest.mark.parametrize("helpers", [{"processes": 2}, {"data_workers": 1}])
def test_death_of_a_process_ends_the_run_and_says_what_to_do(tmp_path: Path, helpers: dict[str, int]) -> None:
    with pytest.raises(RunError, match="run again"):
        run_pretrain(build_model(), Fatal(), config(**helpers), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 5},
        {"batch_tokens": 800},
        {"optimizer": "adamw"},
        {"learning_rate": 1e-3},
        {"muon_learning_rate": 1e-3},
        {"warmup_steps": 2},
        {"decay_share": 1.0},
        {"weight_decay": 0.5},
        {"clip_norm": 0.01},
        {"seed": 1},
        {"shards": 1},
    ],
)
def test_every_knob_turns_something(tmp_path: Path, change: dict[str, object]) -> None:
    plain = final_weights(tmp_path / "plain")
    assert torch.equal(plain, final_weights(tmp_path / "same"))
    assert not torch.equal(plain, final_weights(tmp_path / "changed", **change))


def test_chunks_only_change_rounding(tmp_path: Path) -> None:
    small, large = (final_weights(tmp_path / str(n), chunk_tokens=n) for n in (50, 1000))
    assert (small - large).norm() <= ACCUMULATED_STEP * small.norm()


def test_logs_and_checkpoints_come_as_often_as_asked(tmp_path: Path) -> None:
    lines = []
    settings = config(steps=7, log_every=3, checkpoint_every=6)
    summary = run_pretrain(build_model(), Copies(), settings, tmp_path, lines.append)
    written = [json.loads(line) for line in (tmp_path / METRICS_NAME).read_text().splitlines()]
    assert [line.step for line in lines] == [line["step"] for line in written] == [3, 6, 7]
    assert summary.steps == 7
    assert summary.tokens == lines[-1].tokens >= 7 * 400
    assert summary.loss == lines[-1].loss == written[-1]["loss"]


def test_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    final_weights(tmp_path)
    with pytest.raises(RunError, match="another run"):
        final_weights(tmp_path, seed=1)


def test_checkpoint_of_another_program_is_refused(tmp_path: Path) -> None:
    save_file({"parameters": torch.zeros(2)}, tmp_path / CHECKPOINT_NAME)
    with pytest.raises(RunError, match="another run"):
        final_weights(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not safetensors"])
def test_checkpoint_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / CHECKPOINT_NAME
    path.write_bytes(content)
    with pytest.raises(ModelError, match=re.escape(f"{path}: cannot be read")):
        final_weights(tmp_path)
    assert path.read_bytes() == content


def test_divergence_is_an_error(tmp_path: Path) -> None:
    model = build_model()
    with torch.no_grad():
        model.model.norm.weight.fill_(torch.inf)
    with pytest.raises(ModelError, match="step 0"):
        run_pretrain(model, Copies(), config(), tmp_path)


def test_processes_that_cannot_share_the_work_are_refused() -> None:
    with pytest.raises(ValidationError, match="2 processes cannot share 3 shards"):
        config(shards=3, processes=2)
    with pytest.raises(ValidationError, match="data_workers"):
        config(processes=2, data_workers=1)
    with pytest.raises(ValidationError, match="multiple"):
        config(log_every=3, checkpoint_every=10)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_copying_is_learned(tmp_path: Path, optimizer: str) -> None:
    torch.manual_seed(0)
    model, lines = LlamaForCausalLM(build_model().config), []
    settings = config(optimizer=optimizer, steps=150, batch_tokens=1600, chunk_tokens=800, log_every=10)
    run_pretrain(
        model, Copies(ties=False), settings.model_copy(update={"checkpoint_every": 150}), tmp_path, lines.append
    )
    assert lines[0].loss > 3.5
    assert lines[-1].loss < 1.0
