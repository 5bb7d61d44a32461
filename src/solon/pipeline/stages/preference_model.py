"""Stage 2, the preference model: starts as SL-CAI and learns the soft labels."""

from collections.abc import Sequence

from solon.evaluation import effective_count, wilson_interval
from solon.pipeline.artifacts import TEMPLATES, Checkpoint, Curve
from solon.pipeline.context import StageContext
from solon.pipeline.graph import Stage
from solon.pipeline.manifests import Outcome
from solon.pipeline.requests import Known
from solon.pipeline.stages.feedback import PAIRS
from solon.pipeline.stages.sft import SL_CAI
from solon.records import Chart, Figure, PreferencePair
from solon.storage import derive_seed

PREFERENCE_MODEL = Checkpoint("preference-model", answers=False)
PREFERENCE_CURVE = Curve(
    "preference-model",
    charts=(
        Chart(caption="Preference model: loss (nats)", keys=("pm/loss", "pm/heldout_loss")),
        Chart(caption="Preference model: accuracy on clear held-out pairs", keys=("pm/accuracy",)),
    ),
)


def hold_out_pairs(pairs: Sequence[PreferencePair], share: float) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Part pairs to learn from and pairs to measure on, by the hash of their prompt."""
    bound = share * 2**63
    held = [pair for pair in pairs if derive_seed("pair held out", pair.prompt.id) < bound]
    names = {pair.id for pair in held}
    return [pair for pair in pairs if pair.id not in names], held


def train_preference_model(context: StageContext) -> Outcome:
    """Train the preference model."""
    from solon.training.preference_model import run_preference_model

    pairs = context.read(PAIRS)
    learnt, held = hold_out_pairs(pairs, context.config.heldout_pairs)
    summary = run_preference_model(
        context.folder(SL_CAI),
        learnt,
        held,
        context.config.preference_model,
        context.path(PREFERENCE_MODEL),
        seed=context.seed,
        metrics=context.path(PREFERENCE_CURVE),
        on_progress=context.progress("steps"),
        device=context.assistant.device,
        chat_template_kwargs=context.assistant.chat_template_kwargs,
        system_prompt=context.assistant.system_prompt,
        layout=context.layout,
    )
    counts = {
        "in": len(pairs),
        "kept": summary.pairs,
        "held_out_to_measure": summary.heldout_pairs,
        "too_long": summary.left_out,
    }
    metrics = summary.numbers()
    if summary.ranked and summary.accuracy is not None:
        cluster_of = {pair.id: pair.prompt.cluster for pair in held}
        count = effective_count(list(summary.ranked.values()), [cluster_of[name] for name in summary.ranked])
        rate = wilson_interval(summary.accuracy, count)
        metrics |= {"clear_pairs_effective": count, "accuracy_low": rate.low, "accuracy_high": rate.high}
    return Outcome(counts=counts, metrics=metrics)


def foresee_learning(known: Known) -> int:
    """Return how many tokens are learnt from at most: both texts of every comparison, as long as is allowed."""
    config = known.config.preference_model
    return 2 * len(known.prompts.pools["comparisons"]) * config.max_tokens * config.epochs


TRAIN_PREFERENCE_MODEL = Stage(
    "preference-model",
    settings=("preference_model", "heldout_pairs"),
    reads=(TEMPLATES, PAIRS, SL_CAI),
    writes=(PREFERENCE_MODEL, PREFERENCE_CURVE),
    work=train_preference_model,
    learns=foresee_learning,
    trains=(SL_CAI,),
    figures=(
        Figure(caption="Preference model: agrees with clear held-out labels", metrics=("accuracy",), share=True),
        Figure(
            caption="Preference model: expected calibration error, 10 mirrored bins",
            metrics=("ece_10_mirrored",),
            digits=3,
        ),
    ),
)
