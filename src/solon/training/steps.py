"""The loop under SFT and the preference model: batches in a random order, one clipped AdamW step for each.

What is particular to a loop comes in as two functions: one gives a batch's mean loss in pieces, one measures on what
was held out. Everything else (order, learning rate, metrics, checkpoints, resuming) is here once.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from solon.nets import Trainable
from solon.training.batching import batch_at
from solon.training.checkpoint import Checkpoint
from solon.training.metrics import StepLog
from solon.training.optimizer import accumulate, build_adamw, learning_rate_at, take_step
from solon.training.settings.loop import LoopConfig

OnProgress = Callable[[int, int], None]
"""Called with the number of steps done and the number of steps in all."""

Measured = Mapping[str, float | None]
"""What was found on held-out data, by metric; None where there was nothing to measure."""


@dataclass
class Course:
    """What the loop remembers from step to step, kept in its checkpoints, and gives back.

    Attributes:
        steps: in all.
        before: what was measured before training.
        after: what was measured last.
        loss_first: of the first step; NaN until it is done.
        loss_last: of the last step that is done.
    """

    steps: int
    before: Measured
    after: Measured
    loss_first: float = math.nan
    loss_last: float = math.nan


def run_steps(
    name: str,
    model: Trainable,
    count: int,
    config: LoopConfig,
    *,
    pieces: Callable[[Sequence[int]], Iterable[Tensor]],
    measure: Callable[[], Measured],
    checkpoint: Checkpoint,
    seed: int,
    metrics: Path,
    on_progress: OnProgress | None,
) -> Course:
    """Train `model` from the start or from its checkpoint, to the end.

    Args:
        name: prefix of the metrics `loss`, `grad_norm`, `learning_rate`.
        model: trained in place.
        count: number of examples.
        config: how many steps and how large.
        pieces: reads these examples, microbatch by microbatch, and gives each one's share of their mean loss.
        measure: looks at what was held out; its numbers are logged under their own names, None is not logged.
        checkpoint: where to take up again.
        seed: decides the order of examples.
        metrics: JSON lines file.
        on_progress: told after every step.
    """
    total = config.epochs * -(-count // config.batch_size)
    optimizer = build_adamw(model, weight_decay=config.weight_decay)
    # Restored before the log is opened: the log keeps what was written up to the checkpoint's step and no more.
    resumed = checkpoint.restore({"model": model}, {"model": optimizer})
    start = resumed.step if resumed else 0
    with StepLog(metrics, after=start) as log:
        if resumed:
            course = Course(**resumed.extra)
        else:
            # Measured before the first step, which is the only time that the untrained model can be.
            before = _measure(model, measure)
            course = Course(total, before, before)
            log.write(0, _present(before))
        for step in range(start, total):
            # 1. The gradient. Which examples a step has, and below its rate, follow from its number alone, so that a
            #    loop that was resumed needs to remember neither. Measuring has switched dropout off: on again.
            model.train()
            loss = accumulate({"loss": piece} for piece in pieces(batch_at(step, count, config.batch_size, seed=seed)))
            # 2. The step.
            rate = learning_rate_at(
                step,
                total=total,
                peak=config.learning_rate,
                schedule=config.schedule,
                warmup_steps=config.warmup_steps,
            )
            norm = take_step(optimizer, learning_rate=rate, max_grad_norm=config.max_grad_norm)
            # 3. What came of it. The loss is of the weights before the step, what is measured of those after it.
            done = step + 1
            course.loss_last = loss["loss"]
            if step == 0:
                course.loss_first = course.loss_last
            line = {f"{name}/loss": course.loss_last, f"{name}/grad_norm": norm, f"{name}/learning_rate": rate}
            if done % config.evaluate_every == 0 or done == total:
                course.after = _measure(model, measure)
                line |= _present(course.after)
            log.write(done, line)
            # 4. The checkpoint, after the log is safe on the disk: a line that is missing before a checkpoint would
            #    stay missing, one that is there after it is cut off and written again. None after the last step, whose
            #    result takes its place.
            if done % config.checkpoint_every == 0 and done < total:
                log.sync()
                checkpoint.save(done, {"model": model}, {"model": optimizer}, asdict(course))
            if on_progress is not None:
                on_progress(done, total)
    model.eval()
    return course


def _measure(model: Trainable, measure: Callable[[], Measured]) -> dict[str, float | None]:
    model.eval()
    return dict(measure())


def _present(found: Measured) -> dict[str, float]:
    return {name: value for name, value in found.items() if value is not None}
