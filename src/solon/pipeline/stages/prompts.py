"""Every prompt of the run, as the task gave them; written down before anything is made of them."""

from solon.pipeline.artifacts import CONSTITUTION, Records
from solon.pipeline.context import StageContext
from solon.pipeline.graph import Stage
from solon.pipeline.manifests import Outcome
from solon.records import EvalPrompt, Prompt

REVISION_PROMPTS = Records("prompts_revision", Prompt)
COMPARISON_PROMPTS = Records("prompts_comparisons", Prompt)
PPO_PROMPTS = Records("prompts_ppo", Prompt)
EVALUATION_PROMPTS = Records("prompts_evaluation", EvalPrompt)


def save_prompts(context: StageContext) -> Outcome:
    """Write down the prompts of every stage and evaluation."""
    prompts = context.prompts
    context.write(
        {
            REVISION_PROMPTS: prompts.pools["revision"],
            COMPARISON_PROMPTS: prompts.pools["comparisons"],
            PPO_PROMPTS: prompts.pools["ppo"],
            EVALUATION_PROMPTS: prompts.asked,
        }
    )
    return Outcome(counts=prompts.counts)


DRAW_PROMPTS = Stage(
    "prompts",
    settings=("prompts",),
    reads=(CONSTITUTION,),
    writes=(REVISION_PROMPTS, COMPARISON_PROMPTS, PPO_PROMPTS, EVALUATION_PROMPTS),
    work=save_prompts,
)
