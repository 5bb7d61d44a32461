"""Stage 1, the model: the base fine-tuned on revisions and helpful answers, SL-CAI."""

from solon.pipeline.artifacts import ASSISTANT, TEMPLATES, Checkpoint, Curve
from solon.pipeline.context import StageContext
from solon.pipeline.graph import Stage
from solon.pipeline.manifests import Outcome
from solon.pipeline.stages.revision import SFT_EXAMPLES
from solon.records import Chart

SL_CAI = Checkpoint("sl-cai", title="SL-CAI")
SFT_CURVE = Curve(
    "sft", charts=(Chart(caption="SFT: loss per response token (nats)", keys=("sft/loss", "sft/eval_loss")),)
)


def fine_tune(context: StageContext) -> Outcome:
    """Train SL-CAI."""
    from solon.training.sft import run_sft

    examples = context.read(SFT_EXAMPLES)
    summary = run_sft(
        context.folder(ASSISTANT),
        examples,
        context.config.sft,
        context.path(SL_CAI),
        seed=context.seed,
        metrics=context.path(SFT_CURVE),
        on_progress=context.progress("steps"),
        device=context.assistant.device,
        chat_template_kwargs=context.assistant.chat_template_kwargs,
        system_prompt=context.assistant.system_prompt,
        layout=context.layout,
    )
    counts = {
        "in": len(examples),
        "kept": summary.examples,
        "held_out_to_measure": summary.eval_examples,
        "too_long": summary.left_out,
    }
    return Outcome(counts=counts, metrics=summary.numbers())


SFT = Stage(
    "sft",
    settings=("sft",),
    reads=(TEMPLATES, SFT_EXAMPLES, ASSISTANT),
    writes=(SL_CAI, SFT_CURVE),
    work=fine_tune,
    trains=(ASSISTANT,),
)
