"""Proves what SFT learns from: the response and its end token, nothing of the prompt, nothing held out."""

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.errors import RecordError, RunError
from solon.nets import encode_text, end_token_id, load_policy, load_tokenizer, vocabulary_digest
from solon.records import Conversation, SampledTokens
from solon.training import sft
from solon.training.batching import RowEncoder, TokenRow
from solon.training.sft import SFTConfig, run_sft
from tests.loops import Seen, assert_every_field_is_tried, assert_field_turns_something, watch
from tests.tiny import build_tiny_policy, make_example

EXAMPLES = [make_example(number) for number in range(24)]
CONFIG = SFTConfig(batch_size=6, eval_fraction=0.3, evaluate_every=2, learning_rate=1e-3)
CHANGES: dict[str, dict[str, Any]] = {
    "epochs": {"epochs": 2},
    "batch_size": {"batch_size": 5},
    "learning_rate": {"learning_rate": 2e-3},
    "schedule": {"schedule": "cosine"},
    "warmup_steps": {"warmup_steps": 2},
    "weight_decay": {"weight_decay": 0.1},
    "max_grad_norm": {"max_grad_norm": 1e-3},
    "eval_fraction": {"eval_fraction": 0.0},
    "evaluate_every": {"evaluate_every": 1},
    "max_tokens": {"max_tokens": 24},
    "microbatch_tokens": {"microbatch_tokens": 64},
    "checkpoint_every": {"checkpoint_every": 1},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_policy(tmp_path_factory.mktemp("models") / "base")


def train(base: Path, folder: Path, config: SFTConfig = CONFIG, **options: Any) -> Seen:
    run = partial(run_sft, base, EXAMPLES, config=config, seed=3)
    return watch(run, folder, **options)


@cache
def default_run(base: Path, folder: Path) -> Seen:
    return train(base, folder, monkeypatch=pytest.MonkeyPatch(), modules=[sft])


def test_every_field_is_tried() -> None:
    assert_every_field_is_tried(SFTConfig, list(CHANGES))


@pytest.mark.parametrize("name", list(CHANGES))
def test_field_turns_something(
    name: str, base: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = default_run(base, tmp_path_factory.getbasetemp() / "sft-default")
    config = SFTConfig(**{**CONFIG.model_dump(), **CHANGES[name]})
    assert_field_turns_something(name, before, train(base, tmp_path, config, monkeypatch=monkeypatch, modules=[sft]))


def test_loss_falls_on_what_is_learnt_and_on_what_is_held_out(base: Path, tmp_path: Path) -> None:
    config = SFTConfig(epochs=15, batch_size=6, eval_fraction=0.3, learning_rate=3e-3)
    summary = train(base, tmp_path, config).summary
    assert summary.loss_last < 0.5 * summary.loss_first
    assert summary.eval_loss_after < 0.7 * summary.eval_loss_before


def test_only_response_tokens_and_the_end_token_are_counted(base: Path) -> None:
    """Changing a response token changes the loss; so does the end token; a prompt token only as context."""
    tokenizer, model = load_tokenizer(base), load_policy(base)
    row = RowEncoder(tokenizer).row(EXAMPLES[3].conversation, EXAMPLES[3].response)
    with torch.no_grad():
        logprobs = torch.log_softmax(model(torch.tensor([row.ids])).logits[0].double(), dim=-1)
    by_hand = [float(logprobs[t - 1, row.ids[t]]) for t in range(row.prompt_length, len(row.ids))]
    assert row.ids[-1] == end_token_id(tokenizer)
    assert sft.mean_nll(model, [row], 4096, None) == pytest.approx(-sum(by_hand) / len(by_hand), rel=1e-5)


def test_a_response_that_was_cut_off_is_learnt_without_the_end_token(base: Path) -> None:
    encoder = RowEncoder(load_tokenizer(base))
    whole = make_example(0)
    cut = whole.model_copy(update={"ended": False})
    ((row, shorter), _, _) = sft._encode([whole, cut], SFTConfig(eval_fraction=0.0), encoder)
    assert row.ids == (*shorter.ids, encoder.end)
    assert row.response_length == shorter.response_length + 1


def test_a_row_that_stands_for_no_token_is_neither_counted_nor_taught(tmp_path: Path) -> None:
    base = build_tiny_policy(tmp_path / "base", spare_rows=40)
    tokenizer, model = load_tokenizer(base), load_policy(base)
    row = RowEncoder(tokenizer).row(EXAMPLES[3].conversation, EXAMPLES[3].response)
    with torch.no_grad():
        logits = model(torch.tensor([row.ids])).logits[0].double()
    assert logits.shape[1] == len(tokenizer) + 40
    logprobs = torch.log_softmax(logits[:, : len(tokenizer)], dim=-1)
    by_hand = [float(logprobs[t - 1, row.ids[t]]) for t in range(row.prompt_length, len(row.ids))]
    config = SFTConfig(eval_fraction=0.0, batch_size=1)
    summary = run_sft(base, [EXAMPLES[3]], config, tmp_path / "out", seed=3, metrics=tmp_path / "m.jsonl")
    assert summary.loss_first == pytest.approx(-sum(by_hand) / len(by_hand), rel=1e-5)
    before, after = (load_policy(path).get_output_embeddings().weight for path in (base, tmp_path / "out"))
    changed = (before != after).any(dim=1)
    assert changed[: len(tokenizer)].all()
    assert not changed[len(tokenizer) :].any()


def test_what_was_sampled_is_learnt_and_what_is_read_anew_is_counted(base: Path, tmp_path: Path) -> None:
    tokenizer, model = load_tokenizer(base), load_policy(base)
    example = EXAMPLES[3]
    spelled = tuple(index for letter in example.response for index in encode_text(tokenizer, letter))
    tokens = SampledTokens(ids=spelled, vocabulary=vocabulary_digest(tokenizer))
    config = SFTConfig(eval_fraction=0.0, batch_size=1)
    losses = []
    for number, (kept, reread) in enumerate(
        [(tokens, 0), (None, 1), (tokens.model_copy(update={"vocabulary": ""}), 1)]
    ):
        given = example.model_copy(update={"tokens": kept})
        out = tmp_path / str(number)
        summary = run_sft(base, [given], config, out, seed=3, metrics=tmp_path / "m.jsonl")
        assert (summary.reread, summary.examples) == (reread, 1)
        losses.append(summary.loss_first)
    plain = RowEncoder(tokenizer).row(example.conversation, example.response)
    row = TokenRow((*plain.ids[: plain.prompt_length], *spelled, end_token_id(tokenizer)), plain.prompt_length)
    expected = [sft.mean_nll(model, [this], 4096, None) for this in (row, plain, plain)]
    assert losses == pytest.approx(expected, rel=1e-5)
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_a_long_response_weighs_by_its_tokens_however_the_batch_is_cut(base: Path) -> None:
    tokenizer, model = load_tokenizer(base), load_policy(base)
    encoder = RowEncoder(tokenizer)
    rows = [encoder.row(e.conversation, e.response) for e in EXAMPLES[:5]]
    tokens = [row.response_length for row in rows]
    each = [sft.mean_nll(model, [row], 4096, None) for row in rows]
    expected = sum(n * loss for n, loss in zip(tokens, each, strict=True) if loss) / sum(tokens)
    for limit in (1, 60, 4096):
        assert sft.mean_nll(model, rows, limit, None) == pytest.approx(expected, rel=1e-5)
    assert sft.mean_nll(model, [], 4096, None) is None


def test_held_out_prompts_are_whole_and_the_same_for_every_seed(base: Path) -> None:
    encoder = RowEncoder(load_tokenizer(base))
    kept, held, left_out = sft._encode(EXAMPLES, CONFIG, encoder)
    assert len(kept) + len(held) == len(EXAMPLES)
    assert left_out == 0
    prompts = [{row.ids[: row.prompt_length] for row in rows} for rows in (kept, held)]
    assert all(prompts)
    assert not prompts[0] & prompts[1]


def test_the_result_loads_and_the_summary_adds_up(base: Path, tmp_path: Path) -> None:
    seen = train(base, tmp_path, SFTConfig(batch_size=6, eval_fraction=0.3, max_tokens=24, checkpoint_every=2))
    summary = seen.summary
    assert summary.left_out > 0
    assert summary.examples + summary.eval_examples + summary.left_out == len(EXAMPLES)
    assert seen.progress == [(done, summary.steps) for done in range(1, summary.steps + 1)]
    assert not (tmp_path / "out" / ".checkpoint").exists()
    encoder = RowEncoder(load_tokenizer(tmp_path / "out"))
    held = sft._encode(EXAMPLES, SFTConfig(eval_fraction=0.3, max_tokens=24), encoder)[1]
    assert sft.mean_nll(load_policy(tmp_path / "out"), held, 4096, None) == pytest.approx(
        summary.eval_loss_after, rel=1e-5
    )
    lines = [json.loads(line) for line in seen.files["metrics/loop.jsonl"].decode().splitlines()]
    assert [line["step"] for line in lines] == list(range(summary.steps + 1))
    assert lines[0] == {"step": 0, "sft/eval_loss": summary.eval_loss_before}
    assert lines[-1]["sft/eval_loss"] == summary.eval_loss_after


def test_nothing_to_learn_from_is_an_error_that_says_why(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="of 24, 24 are longer than max_tokens 3"):
        train(base, tmp_path, SFTConfig(max_tokens=3))
    with pytest.raises(RecordError, match="none was given"):
        sft.run_sft(base, [], SFTConfig(), tmp_path, seed=3, metrics=tmp_path / "m.jsonl")


def test_a_checkpoint_of_other_settings_is_refused(base: Path, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise StopError

    config = SFTConfig(batch_size=6, checkpoint_every=1)
    for options, error in (({"seed": 3}, StopError), ({"seed": 4}, RunError), ({"seed": 3}, StopError)):
        with pytest.raises(error):
            run_sft(base, EXAMPLES, config, tmp_path, metrics=tmp_path / "m.jsonl", on_progress=stop, **options)
    other = [*EXAMPLES[:-1], EXAMPLES[-1].model_copy(update={"conversation": Conversation.of("how")})]
    with pytest.raises(RunError, match=r"remove .*checkpoint"):
        run_sft(base, other, config, tmp_path, seed=3, metrics=tmp_path / "m.jsonl")
