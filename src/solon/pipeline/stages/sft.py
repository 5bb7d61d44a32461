"""Stage 1, the model: the base fine-tuned on revisions and helpful answers, SL-CAI."""

from collections import Counter

from solon.pipeline.artifacts import ASSISTANT, TEMPLATES, Checkpoint, Curve
from solon.pipeline.context import StageContext
from solon.pipeline.graph import Stage
from solon.pipeline.manifests import Outcome
from solon.pipeline.requests import Known
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


def foresee_learning(known: Known) -> int:
    """Return how many tokens are learnt from at most: every revision and helpful answer, as long as is allowed."""
    revision, sft = known.config.revision, known.config.sft
    kinds = Counter(prompt.kind for prompt in known.prompts.pools["revision"])
    revised = kinds["red_team"] * (revision.rounds if revision.targets == "all" else 1)
    return (revised + kinds["helpful"] * revision.helpful_samples) * sft.max_tokens * sft.epochs


SFT = Stage(
    "sft",
    settings=("sft",),
    reads=(TEMPLATES, SFT_EXAMPLES, ASSISTANT),
    writes=(SL_CAI, SFT_CURVE),
    work=fine_tune,
    learns=foresee_learning,
    trains=(ASSISTANT,),
)
