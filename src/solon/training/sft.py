"""Supervised fine-tuning: stage 1's last step, from revisions (and helpful samples) to SL-CAI.

The base model learns to give at once the response that critique and revision arrived at. Each example is a
conversation and a response; loss falls on the response's tokens and on the token that ends it, never on the
conversation. A response that was cut off has no such token. What is learnt per step is the mean over all counted tokens
of a batch, however it is cut up.

Departures from the paper (Bai et al. 2022, arXiv 2212.08073, section 3.2):
1. The learning rate is a number of its own; the paper gives it as half of its unpublished pre-training rate.
2. The batch is far smaller than the paper's 1024 sequences by default, in keeping with far smaller data.
3. A share of the prompts can be held out, to watch the loss on what was not learnt from; the paper reports none.

Leaves out: packing of several examples into one row, mixed precision, several devices.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from solon.algorithms import sequence_nll
from solon.errors import RecordError
from solon.nets import (
    CausalLM,
    count_rows,
    find_absent_rows,
    load_policy,
    load_tokenizer,
    save_policy,
    stored_dtype,
    weights_digest,
)
from solon.prompting import LayoutLike
from solon.records import SFTExample, TemplateArgument
from solon.storage import content_digest, derive_seed
from solon.training.batching import RowEncoder, TokenRow, pack_rows, plan_microbatches, rows_digest
from solon.training.checkpoint import Checkpoint, copy_to_own_storage, seeded
from solon.training.forward import can_share_prompts, read_logprobs
from solon.training.settings.sft import SFTConfig
from solon.training.steps import OnProgress, run_steps
from solon.training.summary import TrainingSummary


class SFTSummary(TrainingSummary):
    """What came of it.

    Attributes:
        steps: optimizer steps.
        examples: examples learnt from.
        eval_examples: examples held out.
        left_out: examples longer than `max_tokens`.
        reread: examples whose text was read anew, since what was sampled is not on record in the base's tokens.
        target_tokens: counted tokens per epoch.
        loss_first: nats per counted token at the first step.
        loss_last: the same at the last step.
        eval_loss_before: nats per counted token of held-out examples before training; None where none are.
        eval_loss_after: the same after it.
    """

    steps: int
    examples: int
    eval_examples: int
    left_out: int
    reread: int
    target_tokens: int
    loss_first: float
    loss_last: float
    eval_loss_before: float | None
    eval_loss_after: float | None


def run_sft(
    base: Path,
    examples: Sequence[SFTExample],
    config: SFTConfig,
    out: Path,
    *,
    seed: int,
    metrics: Path,
    on_progress: OnProgress | None = None,
    device: str = "cpu",
    chat_template_kwargs: Mapping[str, TemplateArgument] | None = None,
    system_prompt: str | None = None,
    layout: LayoutLike = "chat",
) -> SFTSummary:
    """Fine-tune `base` on `examples` and save the result as a Hugging Face folder, in the precision of `base`.

    Called again after an interruption it carries on from its last checkpoint, to the same result.

    Args:
        base: checkpoint folder to start from; its tokenizer goes into the result.
        examples: what to learn.
        config: how.
        out: folder of the result, replaced whole at the end; `.checkpoint` lies in it until then.
        seed: decides the order of examples.
        metrics: JSON lines file: `sft/loss`, `sft/eval_loss`, `sft/grad_norm`, `sft/learning_rate`.
        on_progress: told after every step.
        device: where the model runs.
        chat_template_kwargs: what the chat template is told beside the conversation, as where the model is asked.
        system_prompt: what comes before every conversation, as where the model is asked; None for nothing.
        layout: how conversations are laid out, as where the model is asked.

    Raises:
        RecordError: no example is left to learn from.
        RunError: `out` holds a checkpoint of something else.
        ModelError: `base` cannot be loaded, or training diverged.
    """
    tokenizer = load_tokenizer(base, chat_template_kwargs)
    encoder = RowEncoder(tokenizer, system_prompt, layout)
    rows, held_out, left_out = _encode(examples, config, encoder)
    identity = content_digest(
        [
            "sft",
            config.model_dump(exclude={"checkpoint_every"}),
            seed,
            weights_digest(base),
            rows_digest(rows),
            rows_digest(held_out),
        ]
    )
    checkpoint = Checkpoint(out, identity)
    with seeded(derive_seed(seed, "sft")):
        model = load_policy(base, device=device, dtype=torch.float32)
        copy_to_own_storage(model)
        absent = find_absent_rows(tokenizer, count_rows(model.config), model.device)
        limit = config.microbatch_tokens
        course = run_steps(
            "sft",
            model,
            len(rows),
            config,
            pieces=lambda batch: _pieces(model, [rows[index] for index in batch], limit, absent),
            measure=lambda: {"sft/eval_loss": mean_nll(model, held_out, limit, absent)},
            checkpoint=checkpoint,
            seed=seed,
            metrics=metrics,
            on_progress=on_progress,
        )
    save_policy(model.to(stored_dtype(base)), tokenizer, out)
    checkpoint.remove()
    return SFTSummary(
        steps=course.steps,
        examples=len(rows),
        eval_examples=len(held_out),
        left_out=left_out,
        reread=encoder.reread,
        target_tokens=sum(row.response_length for row in rows),
        loss_first=course.loss_first,
        loss_last=course.loss_last,
        eval_loss_before=course.before["sft/eval_loss"],
        eval_loss_after=course.after["sft/eval_loss"],
    )


def mean_nll(model: CausalLM, rows: Sequence[TokenRow], microbatch_tokens: int, absent: Tensor | None) -> float | None:
    """Return the mean negative log-likelihood in nats per response token; None without rows.

    Args:
        model: a causal model.
        rows: what it is measured on.
        microbatch_tokens: tokens that go through the model at once.
        absent: rows of its embeddings that stand for no token; None where there are none.
    """
    if not rows:
        return None
    with torch.no_grad():
        return sum(float(loss) for loss in _pieces(model, rows, microbatch_tokens, absent))


def _encode(
    examples: Sequence[SFTExample], config: SFTConfig, encoder: RowEncoder
) -> tuple[list[TokenRow], list[TokenRow], int]:
    """Return the rows to learn from, the rows held out, and how many examples were too long."""
    kept: list[tuple[str, TokenRow]] = []
    for example in examples:
        (row,) = encoder.rows(example.conversation, (example.response, example.tokens, example.ended))
        if len(row.ids) <= config.max_tokens:
            kept.append((example.prompt_id, row))
    held = {prompt for prompt, _ in kept if derive_seed("sft held out", prompt) < config.eval_fraction * 2**63}
    rows = [row for prompt, row in kept if prompt not in held]
    if not rows:
        why = (
            f"of {len(examples)}, {len(examples) - len(kept)} are longer than max_tokens {config.max_tokens}, the rest "
            "held out; raise max_tokens or lower eval_fraction"
        )
        raise RecordError(f"no example to learn from: {why if examples else 'none was given'}")
    return rows, [row for prompt, row in kept if prompt in held], len(examples) - len(kept)


def _pieces(
    model: CausalLM, rows: Sequence[TokenRow], microbatch_tokens: int, absent: Tensor | None
) -> Iterator[Tensor]:
    """Yield each microbatch's share of the mean loss over all counted tokens of `rows`."""
    # Each token weighs the same in the batch, however long its row is and whatever microbatch it falls into.
    count = sum(row.response_length for row in rows)
    share = can_share_prompts(model)
    for group in plan_microbatches(rows, max_tokens=microbatch_tokens, share_prompts=share):
        batch = pack_rows([rows[index] for index in group], share_prompts=share, device=model.device)
        yield sequence_nll(read_logprobs(model, batch, absent), batch.response_mask, count=count)
