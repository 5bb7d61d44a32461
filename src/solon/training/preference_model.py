"""The preference model: a scalar score for a response, learnt from soft labels.

It starts as SL-CAI with its word head taken off and a scalar head put on, reads prompt and response up to the end
token, or up to the last token of a response that was cut off and has none, and is trained so that
sigmoid(score of A - score of B) meets the label's probability that A is better. A label of 0.6 is a target to hit, not
a vote for A: that is what keeps the scores modest where the feedback was unsure.

Departures from the paper (Bai et al. 2022, arXiv 2212.08073, section 4):
1. It starts from SL-CAI; the paper's starts from a model pre-trained on other preferences, which a small world lacks.
2. Labels on helpful prompts come from the feedback model too, where the pairs contain any; the paper used people's.
3. An optional term can centre the scores, whose level preferences leave open; it is off by default.

Leaves out: several devices, ensembles, and scores of anything but whole responses.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from solon.algorithms import calibration_error, preference_accuracy, soft_preference_loss
from solon.errors import RecordError
from solon.nets import Scorer, init_scorer_from_policy, load_tokenizer, save_scorer, weights_digest
from solon.prompting import LayoutLike
from solon.records import PreferencePair, TemplateArgument
from solon.storage import content_digest, derive_seed
from solon.training.batching import RowEncoder, TokenRow, pack_rows, plan_microbatches, rows_digest
from solon.training.checkpoint import Checkpoint, copy_to_own_storage, seeded
from solon.training.forward import can_share_prompts, read_scores
from solon.training.settings.preference_model import PreferenceModelConfig
from solon.training.steps import OnProgress, run_steps
from solon.training.summary import TrainingSummary


class PMSummary(TrainingSummary):
    """What came of it.

    Attributes:
        steps: optimizer steps.
        pairs: pairs learnt from.
        heldout_pairs: pairs it was measured on.
        left_out: pairs with a text longer than `max_tokens`, of either kind.
        reread: responses whose text was read anew, since what was sampled is not on record in the model's tokens.
        train_loss: nats per pair at the last step.
        loss: nats per held-out pair after training; None without held-out pairs.
        accuracy: share of clear held-out pairs ranked as labelled; None without clear pairs.
        clear_pairs: number of clear held-out pairs.
        ece_10_mirrored: expected calibration error in 10 bins on held-out pairs, each entered both ways round; None
            without any.
        ranked: id of each clear held-out pair to 1 where it is ranked as labelled, 0.5 where the scores are equal, 0
            where it is ranked the other way round; `accuracy` is the mean.
    """

    steps: int
    pairs: int
    heldout_pairs: int
    left_out: int
    reread: int
    train_loss: float
    loss: float | None
    accuracy: float | None
    clear_pairs: int
    ece_10_mirrored: float | None
    ranked: dict[str, float]


class _PairRow(NamedTuple):
    """Both texts of a pair as tokens, its label, and the id of the pair."""

    a: TokenRow
    b: TokenRow
    target: float
    id: str


def run_preference_model(
    init: Path,
    pairs: Sequence[PreferencePair],
    heldout: Sequence[PreferencePair],
    config: PreferenceModelConfig,
    out: Path,
    *,
    seed: int,
    metrics: Path,
    on_progress: OnProgress | None = None,
    device: str = "cpu",
    chat_template_kwargs: Mapping[str, TemplateArgument] | None = None,
    system_prompt: str | None = None,
    layout: LayoutLike = "chat",
) -> PMSummary:
    """Train a preference model on soft labels and save it as a Hugging Face folder.

    Called again after an interruption it carries on from its last checkpoint, to the same result.

    Args:
        init: checkpoint folder of the causal model it starts from (SL-CAI).
        pairs: what to learn.
        heldout: what to measure on; shares no prompt with `pairs`.
        config: how.
        out: folder of the result, replaced whole at the end; `.checkpoint` lies in it until then.
        seed: decides the head's first weights and the order of pairs.
        metrics: JSON lines file: `pm/loss`, `pm/heldout_loss`, `pm/accuracy`, `pm/ece_10_mirrored`, `pm/grad_norm`,
            `pm/learning_rate`.
        on_progress: told after every step.
        device: where the model runs.
        chat_template_kwargs: what the chat template is told beside the conversation, as where the model is asked.
        system_prompt: what comes before every conversation, as where the model is asked; None for nothing.
        layout: how conversations are laid out, as where the model is asked.

    Raises:
        RecordError: no pair is left to learn from, or a held-out pair shares its prompt with one.
        RunError: `out` holds a checkpoint of something else.
        ModelError: `init` cannot be loaded, or training diverged.
    """
    _check_apart(pairs, heldout)
    tokenizer = load_tokenizer(init, chat_template_kwargs)
    encoder = RowEncoder(tokenizer, system_prompt, layout)
    rows = _encode(pairs, config, encoder)
    measured = _encode(heldout, config, encoder)
    if not rows:
        why = f"all {len(pairs)} are longer than max_tokens {config.max_tokens}" if pairs else "none was given"
        raise RecordError(f"no pair to learn from: {why}")
    identity = content_digest(
        [
            "preference model",
            config.model_dump(exclude={"checkpoint_every"}),
            seed,
            weights_digest(init),
            _digest(rows),
            _digest(measured),
        ]
    )
    checkpoint = Checkpoint(out, identity)
    with seeded(derive_seed(seed, "preference model")):
        model = init_scorer_from_policy(init, tokenizer, seed=derive_seed(seed, "scalar head"), device=device)
        copy_to_own_storage(model)
        course = run_steps(
            "pm",
            model,
            len(rows),
            config,
            pieces=lambda batch: _pieces(model, [rows[index] for index in batch], config),
            measure=lambda: _measure(model, measured, config),
            checkpoint=checkpoint,
            seed=seed,
            metrics=metrics,
            on_progress=on_progress,
        )
        ranked = _rank(model, measured, config)
    save_scorer(model, tokenizer, out)
    checkpoint.remove()
    found = course.after
    return PMSummary(
        steps=course.steps,
        pairs=len(rows),
        heldout_pairs=len(measured),
        left_out=len(pairs) + len(heldout) - len(rows) - len(measured),
        reread=encoder.reread,
        train_loss=course.loss_last,
        loss=found["pm/heldout_loss"],
        accuracy=found["pm/accuracy"],
        clear_pairs=len(ranked),
        ece_10_mirrored=found["pm/ece_10_mirrored"],
        ranked=ranked,
    )


def _check_apart(pairs: Sequence[PreferencePair], heldout: Sequence[PreferencePair]) -> None:
    learnt = {pair.prompt.id for pair in pairs}
    for pair in heldout:
        if pair.prompt.id in learnt:
            raise RecordError(
                f"held-out pair {pair.id} has prompt {pair.prompt.id}, which is also learnt from: split by prompt"
            )


def _encode(pairs: Sequence[PreferencePair], config: PreferenceModelConfig, encoder: RowEncoder) -> list[_PairRow]:
    rows = []
    for pair in pairs:
        responses = (
            (pair.response_a, pair.tokens_a, pair.ended_a),
            (pair.response_b, pair.tokens_b, pair.ended_b),
        )
        a, b = encoder.rows(pair.prompt.conversation, *responses)
        if max(len(a.ids), len(b.ids)) <= config.max_tokens:
            rows.append(_PairRow(a, b, pair.target, pair.id))
    return rows


def _digest(rows: Sequence[_PairRow]) -> list[Any]:
    return [rows_digest([row.a for row in rows]), rows_digest([row.b for row in rows]), [row.target for row in rows]]


def _scored(
    model: Scorer, rows: Sequence[_PairRow], microbatch_tokens: int
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield microbatches of pairs with the scores of both texts; each is read once, and the prompt once for both."""
    texts = [text for row in rows for text in (row.a, row.b)]
    share = can_share_prompts(model)
    # Planned as if prompts were shared even where they are not, which keeps pairs together at up to twice the tokens.
    limit = microbatch_tokens if share else microbatch_tokens // 2
    for group in plan_microbatches(texts, max_tokens=limit, share_prompts=True):
        batch = pack_rows([texts[index] for index in group], share_prompts=share, device=model.device)
        scores = read_scores(model, batch)
        yield [index // 2 for index in group[::2]], scores[::2], scores[1::2]


def _pieces(model: Scorer, batch: Sequence[_PairRow], config: PreferenceModelConfig) -> Iterator[Tensor]:
    """Yield each microbatch's share of the batch's mean loss."""
    for group, a, b in _scored(model, batch, config.microbatch_tokens):
        targets = torch.tensor([batch[i].target for i in group], device=a.device)
        yield soft_preference_loss(a, b, targets, centering_coef=config.centering_coef, count=len(batch))


def _measure(model: Scorer, rows: Sequence[_PairRow], config: PreferenceModelConfig) -> dict[str, float | None]:
    if not rows:
        return {"pm/heldout_loss": None, "pm/accuracy": None, "pm/ece_10_mirrored": None, "pm/clear_pairs": 0}
    gaps, targets = _read_gaps(model, rows, config)
    accuracy, clear = preference_accuracy(gaps, targets, margin=config.clear_margin)
    return {
        "pm/heldout_loss": float(soft_preference_loss(gaps, torch.zeros_like(gaps), targets)),
        "pm/accuracy": accuracy,
        "pm/ece_10_mirrored": calibration_error(gaps, targets, bins=10),
        "pm/clear_pairs": clear,
    }


def _read_gaps(model: Scorer, rows: Sequence[_PairRow], config: PreferenceModelConfig) -> tuple[Tensor, Tensor]:
    """Return the score of A minus that of B, and the label; float64. Shape (N,) each."""
    gaps = torch.empty(len(rows), dtype=torch.float64)
    with torch.no_grad():
        for group, a, b in _scored(model, rows, config.microbatch_tokens):
            gaps[group] = (a - b).double().cpu()
    return gaps, torch.tensor([row.target for row in rows], dtype=torch.float64)


def _rank(model: Scorer, rows: Sequence[_PairRow], config: PreferenceModelConfig) -> dict[str, float]:
    """Return for each clear pair, by id, the accuracy of this pair alone."""
    gaps, targets = _read_gaps(model, rows, config)
    alone = [preference_accuracy(gaps[[i]], targets[[i]], margin=config.clear_margin) for i in range(len(rows))]
    return {row.id: found.accuracy for row, found in zip(rows, alone, strict=True) if found.accuracy is not None}
