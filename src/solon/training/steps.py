"""The loop under SFT and the preference model: batches in a random order, one clipped AdamW step for each.

What is particular to a loop comes in as two functions: one adds the gradient of a batch's mean loss to the weights,
one measures on what was held out. Everything else (order, learning rate, metrics, checkpoints, resuming) is here once.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from solon.nets import Trainable
from solon.training.batching import batch_at
from solon.training.checkpoint import Checkpoint
from solon.training.metrics import StepLog
from solon.training.optimizer import LearningRateSchedule, build_adamw, learning_rate_at, take_step

OnProgress = Callable[[int, int], None]
"""Called with the number of steps done and the number of steps in all."""


class StepsConfig(Protocol):
    """What the loop reads of a configuration; documented there."""

    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def schedule(self) -> LearningRateSchedule: ...  # noqa: D102
    @property
    def warmup_steps(self) -> int: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102
    @property
    def max_grad_norm(self) -> float: ...  # noqa: D102
    @property
    def evaluate_every(self) -> int: ...  # noqa: D102
    @property
    def checkpoint_every(self) -> int: ...  # noqa: D102


def run_steps(
    name: str,
    model: Trainable,
    count: int,
    config: StepsConfig,
    *,
    accumulate: Callable[[Sequence[int]], float],
    measure: Callable[[], Mapping[str, float | None]],
    checkpoint: Checkpoint,
    seed: int,
    metrics: Path,
    on_progress: OnProgress | None,
) -> dict[str, Any]:
    """Train `model` from the start or from its checkpoint, to the end.

    Args:
        name: prefix of the metrics `loss`, `grad_norm`, `learning_rate`.
        model: trained in place.
        count: number of examples.
        config: how many steps and how large.
        accumulate: adds the gradient of the mean loss of these examples to the weights; returns that loss.
        measure: looks at what was held out; its numbers are logged under their own names, None is not logged.
        checkpoint: where to take up again.
        seed: decides the order of examples.
        metrics: JSON lines file.
        on_progress: told after every step.

    Returns:
        `steps`, `loss_first`, `loss_last`, and `before` and `after`: what `measure` found at either end.
    """
    total = config.epochs * -(-count // config.batch_size)
    optimizer = build_adamw(model, weight_decay=config.weight_decay)
    resumed = checkpoint.restore({"model": model}, {"model": optimizer})
    start = resumed.step if resumed else 0
    notes: dict[str, Any] = resumed.extra if resumed else {"steps": total}
    with StepLog(metrics, after=start) as log:
        if start == 0:
            notes["before"] = notes["after"] = _measure(model, measure)
            log.write(0, _present(notes["before"]))
        for step in range(start, total):
            model.train()
            loss = accumulate(batch_at(step, count, config.batch_size, seed=seed))
            rate = learning_rate_at(
                step,
                total=total,
                peak=config.learning_rate,
                schedule=config.schedule,
                warmup_steps=config.warmup_steps,
            )
            norm = take_step(optimizer, learning_rate=rate, max_grad_norm=config.max_grad_norm)
            line = {f"{name}/loss": loss, f"{name}/grad_norm": norm, f"{name}/learning_rate": rate}
            done = step + 1
            if done % config.evaluate_every == 0 or done == total:
                notes["after"] = _measure(model, measure)
                line |= _present(notes["after"])
            log.write(done, line)
            notes.setdefault("loss_first", loss)
            notes["loss_last"] = loss
            if done % config.checkpoint_every == 0 and done < total:
                log.sync()
                checkpoint.save(done, {"model": model}, {"model": optimizer}, notes)
            if on_progress is not None:
                on_progress(done, total)
    model.eval()
    return notes


def _measure(model: Trainable, measure: Callable[[], Mapping[str, float | None]]) -> dict[str, float | None]:
    model.eval()
    return dict(measure())


def _present(found: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in found.items() if value is not None}
