"""Reinforcement learning from AI feedback: stage 2's last step, from SL-CAI to RL-CAI.

Each iteration samples a response to every prompt of a batch, scores it with the preference model, charges the policy
for each nat it has moved from SL-CAI, token by token, and takes a few clipped steps towards what turned out better
than the value model expected. Policy, reference and sampler start as SL-CAI; the value model starts as the preference
model. Sampling is at temperature 1, as throughout the paper, and from the whole distribution: the importance ratio
divides by its log-probabilities.

Scores are standardised by the mean and standard deviation of SL-CAI's own scores: those of the first iteration, whose
policy is SL-CAI, frozen for the rest of the run. So one unit of reward means the same in every iteration and for
every preference model, and `kl_coef` and `missing_end_penalty` are in those units. Metrics give scores as they are.

In the `transcript` layout a response may end with a stop string (`Human:` on a new line) as well as with the end token.
Such an episode has ended: no penalty for a missing end falls on it. The preference model scores it as it learnt such
texts, up to the string and with the end token behind; policy and value model learn from all that was sampled, tokens of
the stop string included, since these are the actions that were taken and by whose log-probabilities the ratio divides.

Departures from the paper (Bai et al. 2022, arXiv 2212.08073, section 4.2, which refers to arXiv 2204.05862):
1. Scores are standardised, so `kl_coef` is not comparable with the paper's coefficient of 0.001.
2. A response that does not end scores at most `missing_end_penalty`; the paper does not say what it does.
3. Batch, steps, clip ranges and learning rates are not published there; the defaults held on the reference world.

Leaves out: an adaptive KL coefficient, a trunk shared by policy and value model, several devices, mixed precision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from solon.algorithms import explained_variance, kl_k1, kl_k3
from solon.errors import ModelError, RecordError
from solon.inference import MakeSampler, Sampler, TokenSampler
from solon.nets import (
    CausalLM,
    Scorer,
    Tokenizer,
    count_rows,
    decode_response,
    find_absent_rows,
    load_policy,
    load_scorer,
    load_tokenizer,
    save_policy,
    save_scorer,
    stored_dtype,
    weights_digest,
)
from solon.prompting import LayoutLike
from solon.records import Prompt, Sampling, TemplateArgument
from solon.storage import content_digest, derive_seed
from solon.training.batching import RowEncoder, TokenRow, shuffle_order
from solon.training.checkpoint import Checkpoint, copy_to_own_storage, seeded
from solon.training.learner import Learner, update
from solon.training.metrics import StepLog
from solon.training.rollout import (
    Rollout,
    ScoreScale,
    Targets,
    ValueModel,
    compute_targets,
    mean_entropy,
    read_rollout,
)
from solon.training.settings.ppo import PPOConfig
from solon.training.steps import OnProgress
from solon.training.summary import TrainingSummary

_SHOWN = 4


class PPOSummary(TrainingSummary):
    """What came of it.

    Attributes:
        iterations: rounds of sampling and learning.
        responses: responses sampled in all.
        prompts_left_out: prompts longer than `max_prompt_tokens`.
        kl: nats per response from SL-CAI, estimator k1, mean over the last tenth of the iterations.
        score_first: mean score of SL-CAI's own responses, in preference-model units.
        score_last: mean score over the last tenth of the iterations.
        score_mean: what scores were centred by, in preference-model units.
        score_std: what scores were divided by.
        ended: share of responses that ended, over the last tenth of the iterations.
    """

    iterations: int
    responses: int
    prompts_left_out: int
    kl: float
    score_first: float
    score_last: float
    score_mean: float
    score_std: float
    ended: float


Query = tuple[Prompt, tuple[int, ...]]
"""A prompt and its tokens."""


class Actors(NamedTuple):
    """What has a part in a rollout.

    Attributes:
        sampler: draws from the policy.
        reference: what the policy pays to leave.
        scorer: the preference model.
        value: the value model.
        encoder: turns prompts and responses into rows.
        absent: rows of policy and reference that stand for no token; None where there are none.
    """

    sampler: TokenSampler
    reference: CausalLM
    scorer: Scorer
    value: ValueModel
    encoder: RowEncoder
    absent: Tensor | None


@dataclass
class PPOState:
    """What the loop remembers from iteration to iteration, beside weights; kept in its checkpoints.

    Attributes:
        scale: what scores are standardised by; None before the first rollout.
        score: mean score of each iteration so far, in preference-model units.
        kl: nats per response from the reference, of each.
        ended: share of responses that ended, of each.
    """

    scale: ScoreScale | None = None
    score: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    def add(self, line: Mapping[str, float]) -> None:
        """Remember the metrics of an iteration."""
        self.score.append(line["objective/score"])
        self.kl.append(line["objective/kl"])
        self.ended.append(line["objective/ended_frac"])

    def to_json(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "PPOState":
        """Take up what a checkpoint holds."""
        return cls(**{**body, "scale": ScoreScale(*body["scale"])})


def run_ppo(
    policy: Path,
    preference_model: Path,
    prompts: Sequence[Prompt],
    config: PPOConfig,
    out: Path,
    *,
    seed: int,
    metrics: Path,
    on_progress: OnProgress | None = None,
    device: str = "cpu",
    chat_template_kwargs: Mapping[str, TemplateArgument] | None = None,
    system_prompt: str | None = None,
    layout: LayoutLike = "chat",
    value_out: Path | None = None,
    make_sampler: MakeSampler[TokenSampler] = Sampler,
) -> PPOSummary:
    """Train `policy` against `preference_model` and save the result as a Hugging Face folder, in its precision.

    Called again after an interruption it carries on from its last checkpoint, to the same result.

    Args:
        policy: checkpoint folder of SL-CAI: where the policy starts, and the reference it pays to leave.
        preference_model: checkpoint folder of the preference model.
        prompts: what responses are sampled for.
        config: how.
        out: folder of the result, replaced whole at the end; `.checkpoint` lies in it until then.
        seed: decides prompts, samples and minibatches.
        metrics: JSON lines file, a line per iteration; texts go beside it, into `<name>_samples.jsonl`.
        on_progress: told after every iteration.
        device: where the models run.
        chat_template_kwargs: what the chat template is told beside the conversation, as where the model is asked.
        system_prompt: what comes before every conversation, as where the model is asked; None for nothing.
        layout: how conversations are laid out, as where the model is asked.
        value_out: folder for the value model; None does not keep it.
        make_sampler: puts over the policy what its responses are drawn by.

    Raises:
        RecordError: no prompt is left to answer.
        RunError: `out` holds a checkpoint of something else.
        ModelError: a model cannot be loaded, the two have different tokens, or training diverged.
    """
    tokenizer = load_tokenizer(policy, chat_template_kwargs)
    pm_tokenizer = load_tokenizer(preference_model)
    if pm_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ModelError(
            f"{preference_model}: its tokens are not those of {policy}, whose responses it would score: "
            "train the preference model from that policy"
        )
    encoder = RowEncoder(tokenizer, system_prompt, layout)
    queries = [(prompt, encoder.prompt(prompt.conversation)) for prompt in prompts]
    asked = [query for query in queries if len(query[1]) <= config.max_prompt_tokens]
    if not asked:
        why = f"all {len(prompts)} are longer than max_prompt_tokens {config.max_prompt_tokens}"
        raise RecordError(f"no prompt to answer: {why if prompts else 'none was given'}")
    identity = content_digest(
        [
            "ppo",
            config.model_dump(exclude={"checkpoint_every"}),
            seed,
            weights_digest(policy),
            weights_digest(preference_model),
            [[prompt.id, ids] for prompt, ids in asked],
            encoder.stop,
        ]
    )
    checkpoint = Checkpoint(out, identity)
    samples = metrics.with_name(f"{metrics.stem}_samples.jsonl")
    with seeded(derive_seed(seed, "ppo")):
        reference = load_policy(policy, device=device, dtype=torch.float32).requires_grad_(False)
        scorer = load_scorer(preference_model, device=device, dtype=torch.float32).requires_grad_(False)
        trained = load_policy(policy, device=device, dtype=torch.float32)
        network = (
            load_scorer(preference_model, device=device, dtype=torch.float32) if config.train_value_trunk else None
        )
        for model in (reference, scorer, trained, network):
            if model is not None:
                copy_to_own_storage(model)
        absent = find_absent_rows(tokenizer, count_rows(trained.config), trained.device)
        learner = Learner.build(trained, ValueModel(scorer, network), absent)
        sampler = make_sampler(trained, tokenizer, batch_size=config.responses_per_iteration)
        actors = Actors(sampler, reference, scorer, learner.value, encoder, absent)
        # Restored before the logs are opened: they keep what was written up to the checkpoint and no more.
        resumed = checkpoint.restore(learner.models, learner.optimizers)
        start, state = (resumed.step, PPOState.from_json(resumed.extra)) if resumed else (0, PPOState())
        with StepLog(metrics, after=start) as log, StepLog(samples, after=start) as texts:
            for iteration in range(start, config.iterations):
                # 1. Sample, and let every network read the responses before any weight moves: ratios, prices and
                #    advantages are all against the policy that sampled. Which prompts and which draws follows from
                #    the iteration's number alone, so that a run that was resumed has the same.
                picked = _pick(asked, iteration, config, seed)
                rollout = _roll_out(actors, picked, config, iteration=iteration, seed=seed)
                # 2. The scale of scores is that of SL-CAI's own responses, which the first iteration's are, since
                #    nothing is learnt yet. From then on it is frozen, so that one unit of reward, and of what a nat
                #    costs, means the same in every iteration.
                if state.scale is None:
                    state.scale = ScoreScale.of(rollout.scores)
                # 3. What the responses were worth, against what the value model expected before it learns from them.
                targets = compute_targets(
                    rollout,
                    state.scale,
                    kl_coef=config.kl_coef,
                    missing_end_penalty=config.missing_end_penalty,
                    gamma=config.gamma,
                    gae_lambda=config.gae_lambda,
                    standardize_advantages=config.standardize_advantages,
                )
                # 4. Learn.
                learnt = update(learner, rollout, targets, state.scale, config, iteration=iteration, seed=seed)
                # 5. Log. What is said of the rollout is of the policy before it learnt.
                done = iteration + 1
                line = describe(rollout, targets) | learnt
                log.write(done, line)
                state.add(line)
                if iteration % config.sample_every == 0 or done == config.iterations:
                    for text in _show([prompt for prompt, _ in picked], rollout, tokenizer):
                        texts.write(done, text)
                # 6. The checkpoint, after the logs are safe on the disk: a line that is missing before a checkpoint
                #    would stay missing, one that is there after it is cut off and written again.
                if done % config.checkpoint_every == 0 and done < config.iterations:
                    log.sync()
                    texts.sync()
                    checkpoint.save(done, learner.models, learner.optimizers, state.to_json())
                if on_progress is not None:
                    on_progress(done, config.iterations)
        # The policy last: it takes the place of the checkpoint, from which all else could be made again.
        if value_out is not None:
            if learner.value.head is not None:
                scorer.score.weight.data.copy_(learner.value.head.weight.data)
            save_scorer(scorer if network is None else network, pm_tokenizer, value_out)
        save_policy(trained.to(stored_dtype(policy)), tokenizer, out)
    checkpoint.remove()
    assert state.scale is not None  # there is at least one iteration
    tail = -max(1, config.iterations // 10)
    return PPOSummary(
        iterations=config.iterations,
        responses=config.iterations * config.responses_per_iteration,
        prompts_left_out=len(prompts) - len(asked),
        kl=_mean(state.kl[tail:]),
        score_first=state.score[0],
        score_last=_mean(state.score[tail:]),
        score_mean=state.scale.mean,
        score_std=state.scale.std,
        ended=_mean(state.ended[tail:]),
    )


def describe(rollout: Rollout, targets: Targets) -> dict[str, float]:
    """Return the metrics of a rollout; scores in preference-model units, KL in nats per response."""
    mask = rollout.mask
    return {
        "objective/score": float(rollout.scores.mean()),
        "objective/kl": float(kl_k1(rollout.logprobs, rollout.ref_logprobs, mask).mean()),
        "objective/kl_k3": float(kl_k3(rollout.logprobs, rollout.ref_logprobs, mask).mean()),
        "objective/reward": float(targets.rewards.sum(dim=1).mean()),
        "objective/response_tokens": float(mask.sum(dim=1).double().mean()),
        "objective/ended_frac": float(rollout.ended.double().mean()),
        "policy/entropy": mean_entropy(rollout),
        "value/explained_variance": float(explained_variance(targets.old_values, targets.returns, mask)),
    }


def _pick(asked: Sequence[Query], iteration: int, config: PPOConfig, seed: int) -> list[Query]:
    """Return an iteration's prompts, each as often as it is answered.

    They are a window of all prompts, shuffled anew each time they have all had their turn.
    """
    count = config.responses_per_iteration // config.responses_per_prompt
    picked = []
    orders: dict[int, list[int]] = {}
    for place in range(iteration * count, (iteration + 1) * count):
        epoch, index = divmod(place, len(asked))
        if epoch not in orders:
            orders[epoch] = shuffle_order(len(asked), seed=derive_seed(seed, "prompts"), epoch=epoch)
        picked += [asked[orders[epoch][index]]] * config.responses_per_prompt
    return picked


def _roll_out(actors: Actors, picked: Sequence[Query], config: PPOConfig, *, iteration: int, seed: int) -> Rollout:
    """Sample a response to each prompt and let every network read it."""
    encoder = actors.encoder
    # The policy has learnt since the last time, or was restored from a checkpoint after the sampler was made.
    actors.sampler.refresh()
    drawn = actors.sampler.sample(
        [list(ids) for _, ids in picked],
        Sampling(temperature=1.0, max_tokens=config.max_response_tokens),
        [derive_seed(seed, "response", iteration, place) for place in range(len(picked))],
        stop=encoder.stop,
    )
    return read_rollout(
        [TokenRow((*ids, *one.token_ids), len(ids)) for (_, ids), one in zip(picked, drawn, strict=True)],
        [one.stop_reason != "length" for one in drawn],
        [one.logprobs for one in drawn],
        stopped={
            place: encoder.stopped(prompt.conversation, one.token_ids)
            for place, ((prompt, _), one) in enumerate(zip(picked, drawn, strict=True))
            if one.stop_reason == "stop"
        },
        reference=actors.reference,
        scorer=actors.scorer,
        value=actors.value,
        end=encoder.end,
        absent=actors.absent,
        microbatch_tokens=config.microbatch_tokens,
    )


def _show(prompts: Sequence[Prompt], rollout: Rollout, tokenizer: Tokenizer) -> list[Mapping[str, Any]]:
    """Return the first few responses of an iteration as people read them."""
    kl = kl_k1(rollout.logprobs, rollout.ref_logprobs, rollout.mask)
    shown: list[Mapping[str, Any]] = []
    for row in range(min(_SHOWN, len(prompts))):
        scored = rollout.scored[row]
        shown.append(
            {
                "prompt_id": prompts[row].id,
                "prompt": prompts[row].conversation.messages[-1].text,
                "response": decode_response(tokenizer, list(scored.ids[scored.prompt_length : -1])),
                "score": float(rollout.scores[row]),
                "kl": float(kl[row]),
                "ended": bool(rollout.ended[row]),
            }
        )
    return shown


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
