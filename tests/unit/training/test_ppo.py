"""Proves what PPO samples, reads and learns from, and that every field of its configuration turns something."""

import json
import math
from collections import Counter
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from solon.errors import ModelError, RecordError
from solon.inference import Generated, Sampler
from solon.nets import (
    encode_text,
    init_scorer_from_policy,
    load_policy,
    load_scorer,
    load_tokenizer,
    save_policy,
    save_scorer,
)
from solon.training import learner, ppo, rollout
from solon.training.batching import RowEncoder, TokenRow
from solon.training.ppo import PPOConfig, run_ppo
from solon.training.preference_model import PreferenceModelConfig, run_preference_model
from solon.training.rollout import Rollout, ScoreScale, ValueModel, compute_targets, read_rollout
from solon.world.nano.shape import build_tokenizer
from tests.alone import logprobs_alone, score_alone, values_alone
from tests.loops import Seen, assert_every_field_is_tried, assert_field_turns_something, watch
from tests.plain_sampler import PlainSampler
from tests.tiny import build_tiny_policy, make_pair, make_prompt
from tests.tolerances import FLOAT32_SAME

PROMPTS = [make_prompt(number) for number in range(10)]
CONFIG = PPOConfig(
    iterations=3,
    responses_per_iteration=6,
    max_response_tokens=6,
    learning_rate=2e-3,
    value_learning_rate=2e-3,
    sample_every=2,
    checkpoint_every=5,
)
CHANGES: dict[str, dict[str, Any]] = {
    "iterations": {"iterations": 2},
    "responses_per_iteration": {"responses_per_iteration": 4},
    "responses_per_prompt": {"responses_per_prompt": 1},
    "epochs": {"epochs": 2},
    "minibatches": {"minibatches": 1},
    "learning_rate": {"learning_rate": 1e-3},
    "value_learning_rate": {"value_learning_rate": 1e-3},
    "schedule": {"schedule": "constant"},
    "kl_coef": {"kl_coef": 0.5},
    "clip_range": {"clip_range": 1e-4},
    "value_clip_range": {"value_clip_range": 1e-4},
    "gamma": {"gamma": 0.9},
    "gae_lambda": {"gae_lambda": 0.5},
    "standardize_advantages": {"standardize_advantages": False},
    "missing_end_penalty": {"missing_end_penalty": -4.0},
    "max_grad_norm": {"max_grad_norm": 1e-3},
    "train_value_trunk": {"train_value_trunk": False},
    "max_response_tokens": {"max_response_tokens": 5},
    "max_prompt_tokens": {"max_prompt_tokens": 12},
    "microbatch_tokens": {"microbatch_tokens": 64},
    "sample_every": {"sample_every": 1},
    "checkpoint_every": {"checkpoint_every": 1},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    build_tiny_policy(folder / "sl-cai")
    save_scorer(init_scorer_from_policy(folder / "sl-cai", seed=5), load_tokenizer(folder / "sl-cai"), folder / "pm")
    return folder


def train(models: Path, folder: Path, config: PPOConfig = CONFIG, **options: Any) -> Seen:
    run = partial(run_ppo, models / "sl-cai", models / "pm", PROMPTS, config, seed=3, value_out=folder / "value")
    return watch(run, folder, **options)


@cache
def default_run(models: Path, folder: Path) -> Seen:
    return train(models, folder, monkeypatch=pytest.MonkeyPatch(), modules=[learner, rollout])


def lines(seen: Seen, name: str = "loop") -> list[dict[str, Any]]:
    return [json.loads(line) for line in seen.files[f"metrics/{name}.jsonl"].decode().splitlines()]


def test_every_field_is_tried() -> None:
    assert_every_field_is_tried(PPOConfig, list(CHANGES))


@pytest.mark.parametrize("name", list(CHANGES))
def test_field_turns_something(
    name: str, models: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = default_run(models, tmp_path_factory.getbasetemp() / "ppo-default")
    config = PPOConfig(**{**CONFIG.model_dump(), **CHANGES[name]})
    after = train(models, tmp_path, config, monkeypatch=monkeypatch, modules=[learner, rollout])
    assert_field_turns_something(name, before, after)


def test_the_first_iteration_is_the_reference_and_its_scores_set_the_scale(models: Path, tmp_path: Path) -> None:
    seen = train(models, tmp_path)
    first = lines(seen)[0]
    assert first["objective/kl"] == pytest.approx(0.0, abs=1e-5)
    assert seen.summary.score_first == first["objective/score"] == pytest.approx(seen.summary.score_mean, rel=1e-5)
    assert seen.progress == [(1, 3), (2, 3), (3, 3)]
    assert seen.summary.responses == 18
    assert seen.summary.kl == lines(seen)[-1]["objective/kl"]
    for name in ("out", "value"):
        assert (tmp_path / name / "tokenizer.json").is_file()
    load_scorer(tmp_path / "value")
    load_policy(tmp_path / "out")


@pytest.mark.parametrize("own_trunk", [True, False])
def test_with_rows_that_stand_for_no_token_the_policy_still_begins_as_its_reference(
    own_trunk: bool, tmp_path: Path
) -> None:
    """Sampler, reference and learner take log-probabilities over the same tokens: there is nothing to pay at first."""
    path = build_tiny_policy(tmp_path / "padded" / "sl-cai", spare_rows=256)
    save_scorer(init_scorer_from_policy(path, seed=2), load_tokenizer(path), tmp_path / "padded" / "pm")
    once = CONFIG.model_copy(update={"iterations": 1, "minibatches": 1, "train_value_trunk": own_trunk})
    (line,) = lines(train(tmp_path / "padded", tmp_path, once))
    assert line["objective/kl"] == pytest.approx(0.0, abs=1e-5)
    assert line["objective/kl_k3"] == pytest.approx(0.0, abs=1e-9)
    assert line["policy/approxkl"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("token", ["<|end|>", None, "[PAD]"])
def test_whatever_a_checkpoint_pads_with_the_method_learns_the_same(
    token: str | None, models: Path, tmp_path: Path
) -> None:
    """From the preference model's first step to the policy's last: ends are known by their place."""
    pairs = [make_pair(number) for number in range(6)]
    learnt = []
    for name in ("own", "other"):
        policy, pm = tmp_path / name / "sl-cai", tmp_path / name / "pm"
        model, tokenizer = load_policy(models / "sl-cai"), load_tokenizer(models / "sl-cai")
        if name == "other":
            tokenizer.pad_token = None
            if token is not None:
                tokenizer.add_special_tokens({"pad_token": token})
            model.config.pad_token_id = tokenizer.pad_token_id
        save_policy(model, tokenizer, policy)
        run_preference_model(policy, pairs, [], PreferenceModelConfig(), pm, seed=3, metrics=tmp_path / "m.jsonl")
        train(tmp_path / name, tmp_path / name)
        learnt.append(
            [load_scorer(pm), load_policy(tmp_path / name / "out"), load_scorer(tmp_path / name / "value")],
        )
    for one, other in zip(*learnt, strict=True):
        for (name, weights), (_, expected) in zip(other.named_parameters(), one.named_parameters(), strict=True):
            assert torch.equal(weights, expected), name


class Recorded(Sampler):
    """Keeps what it drew."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.drawn: list[list[Generated]] = []

    def sample(self, *args: Any, **options: Any) -> list[Generated]:
        self.drawn.append(super().sample(*args, **options))
        return self.drawn[-1]


def test_responses_may_be_drawn_by_any_sampler(models: Path, tmp_path: Path) -> None:
    """One that reads every row anew for every token gives the same rollouts, up to rounding, update after update."""
    made: list[Any] = []

    def keep(kind: Any) -> Any:
        def make(*args: Any, **options: Any) -> Any:
            made.append(kind(*args, **options))
            return made[-1]

        return make

    for kind in (Recorded, PlainSampler):
        run = partial(run_ppo, models / "sl-cai", models / "pm", PROMPTS, CONFIG, seed=3, make_sampler=keep(kind))
        watch(run, tmp_path / kind.__name__)
    assert [len(sampler.drawn) for sampler in made] == [CONFIG.iterations] * 2
    for ours, theirs in zip(*(sampler.drawn for sampler in made), strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert (one.token_ids, one.stop_reason) == (other.token_ids, other.stop_reason)
            assert one.logprobs == pytest.approx(other.logprobs, rel=0, abs=FLOAT32_SAME)
    assert len({tuple(row.logprobs) for rows in made[0].drawn for row in rows}) > CONFIG.responses_per_iteration


def test_texts_are_shown_beside_the_metrics(models: Path, tmp_path: Path) -> None:
    shown = lines(train(models, tmp_path), "loop_samples")
    assert Counter(line["step"] for line in shown) == {1: 4, 3: 4}
    assert set(shown[0]) == {"step", "prompt_id", "prompt", "response", "score", "kl", "ended"}
    assert {line["prompt_id"] for line in shown} <= {prompt.id for prompt in PROMPTS}


@pytest.mark.parametrize("together", [1, 2])
def test_every_prompt_has_its_turn_before_any_has_two(together: int) -> None:
    asked = [(prompt, (1, 2)) for prompt in PROMPTS]
    config = PPOConfig(responses_per_iteration=4 * together, responses_per_prompt=together)
    drawn = [prompt.id for iteration in range(5) for prompt, _ in ppo._pick(asked, iteration, config, seed=3)]
    assert len(drawn) == 20 * together
    assert drawn[::together] == drawn[together - 1 :: together]
    turns = drawn[::together]
    assert set(Counter(turns[:10]).values()) == {1}
    assert set(Counter(turns[10:]).values()) == {1}
    assert turns[:10] != turns[10:]
    assert turns[:4] != [prompt.id for prompt, _ in ppo._pick(asked, 0, config, seed=4)][::together]


def test_responses_must_fit_prompts_and_minibatches() -> None:
    with pytest.raises(ValidationError, match="responses_per_iteration 7 must be a multiple of responses_per_prompt 2"):
        PPOConfig(responses_per_iteration=7, responses_per_prompt=2)
    with pytest.raises(ValidationError, match="at least a prompt for each of 3 minibatches"):
        PPOConfig(responses_per_iteration=4, responses_per_prompt=2, minibatches=3)


def read(models: Path, *, own_trunk: bool) -> tuple[Rollout, list[TokenRow]]:
    encoder = RowEncoder(load_tokenizer(models / "sl-cai"))
    rows = [
        encoder.row(PROMPTS[0].conversation, "take the lamp today"),
        encoder.row(PROMPTS[1].conversation, "take"),
        encoder.row(PROMPTS[2].conversation, "take the gate and the hook today"),
    ]
    cut = TokenRow(rows[2].ids[:-1], rows[2].prompt_length)
    scorer = load_scorer(models / "pm")
    value = ValueModel(scorer, load_scorer(models / "pm") if own_trunk else None)
    sampled = [*rows[:2], cut]
    result = read_rollout(
        sampled,
        [True, True, False],
        [[-0.5] * row.response_length for row in sampled],
        stopped={},
        reference=load_policy(models / "sl-cai"),
        scorer=scorer,
        value=value,
        end=encoder.end,
        absent=None,
        microbatch_tokens=64,
    )
    return result, rows


@pytest.mark.parametrize("own_trunk", [True, False])
def test_a_rollout_holds_what_each_network_says_of_each_response_alone(models: Path, own_trunk: bool) -> None:
    found, closed = read(models, own_trunk=own_trunk)
    scorer, reference = load_scorer(models / "pm"), load_policy(models / "sl-cai")
    assert found.mask.sum(dim=1).tolist() == [row.response_length for row in found.rows]
    assert torch.equal(found.logprobs, torch.where(found.mask, -0.5, 0.0))
    for number, row in enumerate(found.rows):
        length, before = row.response_length, row.prompt_length - 1
        for said, expected in (
            (found.ref_logprobs[number, :length], logprobs_alone(reference, row.ids)[before:]),
            # The value before a token is what the preference model says of the text up to the token before it.
            (found.values[number, :length], values_alone(scorer, row.ids)[before:-1]),
            (found.scores[number], score_alone(scorer, closed[number].ids)),
        ):
            torch.testing.assert_close(said.double(), expected, rtol=FLOAT32_SAME, atol=FLOAT32_SAME)
    for values in (found.values, found.ref_logprobs):
        assert bool((values[~found.mask] == 0).all())


class Stopping(Sampler):
    """Ends every second response by a stop string."""

    def sample(self, prompts: Any, sampling: Any, seeds: Any, *, stop: Any = ()) -> list[Generated]:
        assert "\n\nHuman:" in stop
        drawn = super().sample(prompts, sampling, seeds, stop=stop)
        ids = encode_text(self._tokenizer, " take the lamp\n\nHuman:")
        return [Generated(ids, [-2.0] * len(ids), "stop") if n % 2 else one for n, one in enumerate(drawn)]


@pytest.mark.parametrize("own_trunk", [True, False])
@pytest.mark.parametrize("limit", [1, 1024])
def test_an_episode_that_a_stop_string_ended_has_ended_and_is_scored_before_the_string(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_trunk: bool, limit: int
) -> None:
    found: list[tuple[Rollout, Any]] = []
    whole = ppo.update
    monkeypatch.setattr(
        ppo, "update", lambda learner, *given, **options: found.append(given) or whole(learner, *given, **options)
    )
    changes = {"iterations": 1, "minibatches": 1, "train_value_trunk": own_trunk, "microbatch_tokens": limit}
    run_ppo(
        models / "sl-cai",
        models / "pm",
        PROMPTS,
        CONFIG.model_copy(update=changes),
        tmp_path / "out",
        seed=3,
        metrics=tmp_path / "m.jsonl",
        layout="transcript",
        make_sampler=Stopping,
    )
    ((rollout, targets, scale, _),) = found
    tokenizer, scorer = load_tokenizer(models / "sl-cai"), load_scorer(models / "pm")
    reference = load_policy(models / "sl-cai")
    written, kept = (encode_text(tokenizer, text) for text in (" take the lamp\n\nHuman:", " take the lamp"))
    assert written[: len(kept)] == kept
    for place, row in enumerate(rollout.rows):
        length, before = row.response_length, row.prompt_length - 1
        prompt, response = row.ids[: row.prompt_length], row.ids[row.prompt_length :]
        if place % 2:
            assert response == tuple(written)
            assert bool(rollout.ended[place])
            text = (*prompt, *kept, tokenizer.eos_token_id)
        else:
            text = row.ids if response[-1] == tokenizer.eos_token_id else (*row.ids, tokenizer.eos_token_id)
        assert rollout.scored[place].ids == text
        for said, expected in (
            (rollout.scores[place], score_alone(scorer, text)),
            # Policy and value model learn from every token that was sampled, those of the string included.
            (rollout.ref_logprobs[place, :length], logprobs_alone(reference, row.ids)[before:]),
            (rollout.values[place, :length], values_alone(scorer, row.ids)[before:-1]),
        ):
            torch.testing.assert_close(said.double(), expected, rtol=FLOAT32_SAME, atol=FLOAT32_SAME)
    # The whole score is earned with the last token of the string, and no penalty for a missing end is.
    length = len(written)
    gap = rollout.logprobs[1, length - 1] - rollout.ref_logprobs[1, length - 1]
    expected = scale.apply(rollout.scores[1]) - CONFIG.kl_coef * gap
    torch.testing.assert_close(targets.rewards[1, length - 1], expected)
    shown = [line["response"] for line in map(json.loads, (tmp_path / "m_samples.jsonl").read_text().splitlines())]
    assert shown[1] == shown[3] == " take the lamp"


def plain_rollout(scores: list[float], ended: list[bool]) -> Rollout:
    count = len(scores)
    return Rollout(
        rows=tuple(TokenRow((1, 2, 3), 1) for _ in scores),
        scored=tuple(TokenRow((1, 2, 3), 1) for _ in scores),
        ended=torch.tensor(ended),
        mask=torch.ones(count, 2, dtype=torch.bool),
        logprobs=torch.full((count, 2), -1.0),
        ref_logprobs=torch.full((count, 2), -1.5),
        scores=torch.tensor(scores),
        values=torch.full((count, 2), 3.0),
    )


def targets_of(scores: list[float], ended: list[bool], **changes: Any) -> Any:
    options = {
        "kl_coef": 0.1,
        "missing_end_penalty": -2.0,
        "gamma": 1.0,
        "gae_lambda": 1.0,
        "standardize_advantages": False,
        **changes,
    }
    return compute_targets(plain_rollout(scores, ended), ScoreScale(1.0, 2.0), **options)


def test_scores_and_values_are_standardised_and_kl_is_charged_per_token() -> None:
    targets = targets_of([5.0], [True])
    assert targets.rewards[0].tolist() == pytest.approx([-0.05, 2.0 - 0.05])
    assert targets.old_values[0].tolist() == [1.0, 1.0]
    assert targets.returns[0].tolist() == pytest.approx([1.9, 1.95])
    assert targets.advantages[0].tolist() == pytest.approx([0.9, 0.95])


def test_leaving_the_end_away_never_pays() -> None:
    rewards = targets_of([5.0, 5.0, -9.0, -9.0], [True, False, True, False]).rewards.sum(dim=1)
    assert rewards.tolist() == pytest.approx([1.9, -2.1, -5.1, -5.1])


def test_what_is_reported_of_a_rollout() -> None:
    """In the units it says: nats per response and per token, scores as the preference model gave them."""
    found = plain_rollout([5.0, 1.0], [True, False])
    line = ppo.describe(found, targets_of([5.0, 1.0], [True, False]))
    assert line == {
        "objective/score": 3.0,
        "objective/kl": pytest.approx(2 * 0.5),
        "objective/kl_k3": pytest.approx(2 * (math.exp(-0.5) - 1 + 0.5)),
        "objective/reward": pytest.approx((2.0 - 2.0) / 2 - 0.1 * 2 * 0.5),
        "objective/response_tokens": 2.0,
        "objective/ended_frac": 0.5,
        "policy/entropy": 1.0,
        "value/explained_variance": pytest.approx(0.0, abs=1e-6),
    }


def test_standardised_advantages_leave_returns_as_they_are() -> None:
    plain = targets_of([5.0, 1.0, 2.0], [True] * 3)
    done = targets_of([5.0, 1.0, 2.0], [True] * 3, standardize_advantages=True)
    assert torch.equal(plain.returns, done.returns)
    assert float(done.advantages.mean()) == pytest.approx(0.0, abs=1e-6)
    assert float(done.advantages.std(correction=0)) == pytest.approx(1.0, rel=1e-5)


def test_the_scale_is_mean_and_deviation_and_never_divides_by_zero() -> None:
    assert ScoreScale.of(torch.tensor([1.0, 3.0])) == (2.0, 1.0)
    assert ScoreScale.of(torch.tensor([4.0, 4.0])) == (4.0, 1.0)
    assert ScoreScale.of(torch.tensor([4.0, 4.0 + 4.8e-7])).std == 1.0
    assert ScoreScale(2.0, 4.0).apply(torch.tensor([10.0])).tolist() == [2.0]


def test_what_scores_differ_by_in_rounding_is_no_unit() -> None:
    """A run would keep it for good, and every score after the first step would be millions of them away."""
    noise = 6e-8 * torch.randn(96, generator=torch.Generator().manual_seed(1))
    for level in (0.731, -12.5, 300.0):
        scores = level + level * noise
        assert len(scores.unique()) > 1
        assert ScoreScale.of(scores) == (pytest.approx(level, rel=1e-6), 1.0)
    small = ScoreScale.of(0.731 + 1e-4 * torch.randn(96, generator=torch.Generator().manual_seed(1)))
    assert small.std == pytest.approx(1e-4, rel=0.2)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused(wrong: float) -> None:
    with pytest.raises(ModelError, match=f"the score of response 1 is {wrong}: the preference model has diverged"):
        ScoreScale.of(torch.tensor([1.0, wrong, 2.0, wrong]))


def test_the_first_step_has_ratio_one(models: Path, tmp_path: Path) -> None:
    """The sampler's log-probabilities are the policy's own: before any step nothing is clipped and nothing differs."""
    config = CONFIG.model_copy(update={"iterations": 1, "minibatches": 1})
    line = lines(train(models, tmp_path, config))[0]
    assert line["policy/clipfrac"] == 0.0
    assert line["policy/approxkl"] == pytest.approx(0.0, abs=1e-8)


def test_the_first_step_has_values_where_they_were(models: Path, tmp_path: Path) -> None:
    """Before any step the value model says what it said when the rollout was read: no value is clipped."""
    config = CONFIG.model_copy(update={"iterations": 1, "minibatches": 1, "value_clip_range": 1e-4})
    assert lines(train(models, tmp_path, config))[0]["value/clipfrac"] == 0.0


def test_only_the_head_learns_where_the_trunk_is_frozen(models: Path, tmp_path: Path) -> None:
    train(models, tmp_path, CONFIG.model_copy(update={"train_value_trunk": False}))
    before, after = load_scorer(models / "pm").state_dict(), load_scorer(tmp_path / "value").state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == ["score.weight"]


def test_a_preference_model_of_other_tokens_is_refused(models: Path, tmp_path: Path) -> None:
    """It would score other texts than the policy wrote, and nothing would show it."""
    tokenizer = build_tokenizer(["how do i find the lamp", "take the gate"], vocab_size=300, merges=8)
    save_scorer(load_scorer(models / "pm"), tokenizer, tmp_path / "pm")
    with pytest.raises(ModelError, match=r"pm: its tokens are not those of .*sl-cai"):
        run_ppo(models / "sl-cai", tmp_path / "pm", PROMPTS, CONFIG, tmp_path, seed=3, metrics=tmp_path / "m.jsonl")


@pytest.mark.parametrize("own_trunk", [True, False])
def test_prompts_are_shared_only_where_every_network_that_learns_can(models: Path, own_trunk: bool) -> None:
    policy, scorer = load_policy(models / "sl-cai"), load_scorer(models / "pm")
    network = load_scorer(models / "pm") if own_trunk else None
    made = learner.Learner.build(policy, ValueModel(scorer, network), absent=None)
    assert made.can_share_prompts
    (scorer if network is None else network).config.hidden_act = "gelu"
    assert made.can_share_prompts == (not own_trunk)
    policy.config.hidden_act = "gelu"
    assert not made.can_share_prompts


def test_prompts_too_long_are_left_out_and_counted(models: Path, tmp_path: Path) -> None:
    summary = train(models, tmp_path / "some", CONFIG.model_copy(update={"max_prompt_tokens": 12})).summary
    assert 0 < summary.prompts_left_out < len(PROMPTS)
    with pytest.raises(RecordError, match="all 10 are longer than max_prompt_tokens 2"):
        train(models, tmp_path / "none", CONFIG.model_copy(update={"max_prompt_tokens": 2}))


def test_without_prompts_nothing_is_blamed_on_their_length(models: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no prompt to answer: none was given"):
        run_ppo(models / "sl-cai", models / "pm", [], CONFIG, tmp_path, seed=3, metrics=tmp_path / "m.jsonl")
