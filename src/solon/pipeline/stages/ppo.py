"""Stage 2, the model: SL-CAI trained by reinforcement learning against the preference model, RL-CAI."""

from collections.abc import Iterator

from solon.pipeline.artifacts import TEMPLATES, Checkpoint, Curve
from solon.pipeline.context import StageContext
from solon.pipeline.graph import Stage
from solon.pipeline.manifests import Outcome
from solon.pipeline.requests import Known, Pool, Request
from solon.pipeline.stages.preference_model import PREFERENCE_MODEL
from solon.pipeline.stages.prompts import PPO_PROMPTS
from solon.pipeline.stages.sft import SL_CAI
from solon.prompting import render_response
from solon.records import Chart, Figure

RL_CAI = Checkpoint("rl-cai", title="RL-CAI")
VALUE_MODEL = Checkpoint("value", answers=False)
PPO_CURVE = Curve(
    "ppo",
    charts=(
        Chart(caption="PPO: preference-model score", keys=("objective/score",)),
        Chart(caption="PPO: KL to SL-CAI (nats per response)", keys=("objective/kl",)),
        Chart(caption="PPO: entropy of the policy (nats per token)", keys=("policy/entropy",)),
        Chart(caption="PPO: clipped fraction", keys=("policy/clipfrac", "value/clipfrac")),
    ),
)
PPO_TEXTS = Curve("ppo_samples")


def reinforce(context: StageContext) -> Outcome:
    """Train RL-CAI against the preference model; the loop writes its curve and, beside it, sampled texts."""
    from solon.training.ppo import run_ppo

    prompts = context.read(PPO_PROMPTS)
    summary = run_ppo(
        context.folder(SL_CAI),
        context.folder(PREFERENCE_MODEL),
        prompts,
        context.config.ppo,
        context.path(RL_CAI),
        seed=context.seed,
        metrics=context.path(PPO_CURVE),
        on_progress=context.progress("iterations"),
        device=context.assistant.device,
        chat_template_kwargs=context.assistant.chat_template_kwargs,
        system_prompt=context.assistant.system_prompt,
        layout=context.layout,
        value_out=context.path(VALUE_MODEL),
    )
    left_out = summary.prompts_left_out
    counts = {"in": len(prompts), "kept": len(prompts) - left_out, "too_long": left_out}
    return Outcome(counts=counts, metrics=summary.numbers())


def foresee(known: Known) -> Iterator[Request]:
    """Say what is asked: responses; one that is cut off is scored with an end after it."""
    yield Request(
        SL_CAI,
        "a response",
        Pool.of(known.prompts.pools["ppo"]),
        render_response,
        limit="ppo.max_response_tokens",
        skips="ppo.max_prompt_tokens",
        ends=1,
    )


def foresee_learning(known: Known) -> int:
    """Return how many tokens are learnt from at most: every response of every round after its prompt."""
    config = known.config.ppo
    responses = config.iterations * config.responses_per_iteration * config.epochs
    return responses * (config.max_prompt_tokens + config.max_response_tokens)


PPO = Stage(
    "ppo",
    settings=("ppo",),
    reads=(TEMPLATES, PPO_PROMPTS, SL_CAI, PREFERENCE_MODEL),
    writes=(RL_CAI, VALUE_MODEL, PPO_CURVE, PPO_TEXTS),
    work=reinforce,
    asks=foresee,
    learns=foresee_learning,
    trains=(SL_CAI, PREFERENCE_MODEL),
    figures=(
        Figure(caption="PPO iterations", metrics=("iterations",), digits=0),
        Figure(caption="PPO: KL to SL-CAI at the end, nats per response", metrics=("kl",)),
        Figure(caption="PPO: score at the start and at the end", metrics=("score_first", "score_last")),
    ),
)
