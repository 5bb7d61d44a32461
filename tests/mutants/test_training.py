"""Proves that the tests of the loops would notice: each wrong version below is caught by one of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from solon.nets import init_scorer_from_policy, load_tokenizer, policy, save_scorer
from solon.training import (
    batching,
    checkpoint,
    forward,
    learner,
    metrics,
    optimizer,
    ppo,
    preference_model,
    probe,
    rollout,
    sft,
)
from tests import language_models
from tests.invariants import test_cutting
from tests.laws import test_ppo as laws
from tests.mutating import assert_killed
from tests.reference import test_reading_against_hf as against_hf
from tests.tiny import build_tiny_policy
from tests.unit.training import (
    test_batching,
    test_keeping,
    test_layout,
    test_ppo,
    test_preference_model,
    test_probe,
    test_sft,
)


def on_a_new_model(test: Callable[[], Any]) -> None:
    language_models.make_model.cache_clear()
    try:
        test()
    finally:
        language_models.make_model.cache_clear()


def no_number(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        test_probe.test_no_number_is_a_difference(folder / "no number", patch)


def as_asked(
    test: Callable[..., Any], told: dict[str, Any] = test_layout.TOLD | test_layout.RULE
) -> Callable[[Path, Path], Any]:
    """Run a test of layouts, by default under a system prompt and a template that is told something."""

    def run(models: Path, folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            test(told, test_layout.build(folder), folder, test_layout.Read(patch))

    return run


def stopped(models: Path, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        check = test_ppo.test_an_episode_that_a_stop_string_ended_has_ended_and_is_scored_before_the_string
        folder.mkdir()
        check(models, folder, patch, own_trunk=True, limit=64)


Case = tuple[Any, str, str, Callable[[Path, Path], Any]]


def short_law(models: Path, folder: Path) -> None:
    config = laws.PLAIN.model_copy(update={"iterations": 80, "responses_per_iteration": 96})
    assert laws.distance(laws.two_tokens(), config) <= laws.BANDIT_TOTAL_VARIATION


def pairs_summary(models: Path, folder: Path) -> None:
    test_preference_model.test_the_summary_is_what_the_saved_model_scores(models / "base", folder)


def with_a_response_cut_off(models: Path, folder: Path, side: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        test_preference_model.test_a_response_that_was_cut_off_is_scored_at_its_last_token_and_no_end_is_learnt_after_it(
            models / "base", folder, patch, side
        )


def side_by_side(models: Path, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        test_preference_model.test_each_side_is_learnt_as_it_was_sampled_and_what_is_read_anew_is_counted(
            models / "base", folder, patch
        )


FUNCTIONS: dict[str, Case] = {
    "a text that was cut keeps all that was sampled": (
        batching.cut_tokens,
        "tuple(ids[start:stop])",
        "tuple(ids)",
        lambda m, f: test_batching.test_a_text_that_was_cut_is_a_run_of_what_was_sampled("chatml"),
    ),
    "what was not sampled is taken for what was": (
        batching.cut_tokens,
        "return None",
        "return tuple(ids)",
        lambda m, f: test_batching.test_a_text_that_begins_or_ends_within_a_token_is_read_anew_and_counted(),
    ),
    "response B is learnt as response A was sampled": (
        preference_model._encode,
        "pair.response_b, pair.tokens_b",
        "pair.response_b, pair.tokens_a",
        lambda m, f: side_by_side(m, f),
    ),
    "the end of response B is that of response A": (
        preference_model._encode,
        "pair.ended_b",
        "pair.ended_a",
        lambda m, f: with_a_response_cut_off(m, f, "b"),
    ),
    "what was sampled is not learnt": (
        sft._encode,
        "example.response, example.tokens,",
        "example.response, None,",
        lambda m, f: test_sft.test_what_was_sampled_is_learnt_and_what_is_read_anew_is_counted(m / "base", f),
    ),
    "each token is foretold one token late": (
        batching.pack_rows,
        "torch.arange(start - 1, start + length - 1)",
        "torch.arange(start, start + length)",
        lambda m, f: test_batching.test_rows_of_their_own_are_padded_right_and_need_no_mask(),
    ),
    "the first token is foretold by the response before": (
        batching.pack_rows,
        "before[:1] = prompt_length - 1",
        "pass",
        lambda m, f: test_cutting.test_sharing_a_prompt_changes_nothing_that_is_read_of_a_row(m, 0),
    ),
    "positions go on through the responses": (
        batching.pack_rows,
        "torch.arange(prompt_length, prompt_length + length)",
        "torch.arange(start, start + length)",
        lambda m, f: test_cutting.test_sharing_a_prompt_changes_nothing_that_is_read_of_a_row(m, 0),
    ),
    "scores are read one token early": (
        batching.pack_rows,
        "(start if length else prompt_length) + length - 1",
        "start + length - 2",
        lambda m, f: test_cutting.test_sharing_a_prompt_changes_nothing_that_is_read_of_a_row(m, 0),
    ),
    "responses see each other": (
        batching._who_sees_whom,
        "before & ((seen == 0) | (seen == seer))",
        "before.expand(len(segments), -1, -1)",
        lambda m, f: test_cutting.test_sharing_a_prompt_changes_nothing_that_is_read_of_a_row(m, 0),
    ),
    "a token sees what comes after it": (
        batching._who_sees_whom,
        ".tril()",
        "",
        lambda m, f: test_cutting.test_sharing_a_prompt_changes_nothing_that_is_read_of_a_row(m, 0),
    ),
    "log-probabilities with the wrong sign": (
        forward.read_logprobs,
        "-cross_entropy",
        "cross_entropy",
        lambda m, f: test_cutting.test_sharing_a_prompt_changes_nothing_that_is_read_of_a_row(m, 0),
    ),
    "log-probabilities over rows that stand for no token": (
        forward.read_logprobs,
        ", absent)",
        ", None)",
        lambda m, f: test_ppo.test_with_rows_that_stand_for_no_token_the_policy_still_begins_as_its_reference(True, f),
    ),
    "the reference over rows that stand for no token": (
        rollout.read_rollout,
        "batch, absent)",
        "batch, None)",
        lambda m, f: test_ppo.test_with_rows_that_stand_for_no_token_the_policy_still_begins_as_its_reference(True, f),
    ),
    "the learner over rows that stand for no token": (
        learner._pieces,
        "learner.absent",
        "None",
        lambda m, f: test_ppo.test_with_rows_that_stand_for_no_token_the_policy_still_begins_as_its_reference(True, f),
    ),
    "fine-tuning over rows that stand for no token": (
        sft._pieces,
        "batch, absent)",
        "batch, None)",
        lambda m, f: test_sft.test_a_row_that_stands_for_no_token_is_neither_counted_nor_taught(f),
    ),
    "the end learns nothing where it pads as well": (
        policy.load_checkpoint,
        "model.get_input_embeddings().padding_idx = None",
        "pass",
        lambda m, f: test_ppo.test_whatever_a_checkpoint_pads_with_the_method_learns_the_same("<|end|>", m, f),
    ),
    "what follows the head is left out": (
        forward._read_logits,
        "return logits[0] if reduced",
        "return model.get_output_embeddings()(read_trunk(model, batch)[batch.sources]) if reduced",
        lambda m, f: against_hf.test_logprobs_are_those_of_the_models_own_logits("granite", False),
    ),
    "a model keeps what was done to its head": (
        forward._read_logits,
        "(reduce).remove",
        "(reduce).__repr__",
        lambda m, f: on_a_new_model(lambda: against_hf.test_only_rows_that_are_wanted_go_through_the_head("gpt2")),
    ),
    "pairs are laid out by a template that is told nothing": (
        preference_model.run_preference_model,
        "load_tokenizer(init, chat_template_kwargs)",
        "load_tokenizer(init)",
        as_asked(test_layout.test_the_preference_model),
    ),
    "what a stop string ended is scored with the string": (
        rollout.read_rollout,
        "scored = [stopped.get(place, row)",
        "stopped = {}\n    scored = [stopped.get(place, row)",
        stopped,
    ),
    "what a stop string ended was cut off": (
        ppo._roll_out,
        'one.stop_reason != "length"',
        'one.stop_reason == "end"',
        stopped,
    ),
    "rollouts go on after a stop string": (ppo._roll_out, "stop=encoder.stop", "stop=()", stopped),
    "no number is no difference": (
        probe.check_reading,
        "if not difference <= tolerance",
        "if difference > tolerance",
        lambda m, f: no_number(f),
    ),
    "values after a token in place of before it": (
        forward.read_values,
        "batch.sources",
        "(batch.sources + 1).clamp_max(batch.ids.numel() - 1)",
        lambda m, f: test_cutting.test_sharing_a_prompt_changes_nothing_that_is_read_of_a_row(m, 0),
    ),
    "scores before the end token": (
        forward.read_scores,
        "[batch.last]",
        "[batch.last - 1]",
        lambda m, f: test_cutting.test_sharing_a_prompt_changes_nothing_that_is_read_of_a_row(m, 0),
    ),
    "positions of the sequence in place of the row's": (
        forward._shared,
        ', "position_ids": batch.positions',
        "",
        lambda m, f: test_cutting.test_sharing_a_prompt_changes_nothing_that_is_read_of_a_row(m, 0),
    ),
    "entropy with the wrong sign": (
        rollout.mean_entropy,
        "-masked_mean",
        "masked_mean",
        lambda m, f: test_ppo.test_what_is_reported_of_a_rollout(),
    ),
    "KL reported per token": (
        ppo.describe,
        "float(kl_k1(rollout.logprobs, rollout.ref_logprobs, mask).mean())",
        "float(kl_k1(rollout.logprobs, rollout.ref_logprobs, mask).sum() / mask.sum())",
        lambda m, f: test_ppo.test_what_is_reported_of_a_rollout(),
    ),
    "KL reported of the other direction": (
        ppo.describe,
        "kl_k1(rollout.logprobs, rollout.ref_logprobs, mask)",
        "kl_k1(rollout.ref_logprobs, rollout.logprobs, mask)",
        lambda m, f: test_ppo.test_what_is_reported_of_a_rollout(),
    ),
    "microbatches ignore padding": (
        batching.plan_microbatches,
        "(count + 1) * longest <= max_tokens",
        "sum(len(rows[i].ids) for i in groups[-1]) + lengths[place] <= max_tokens",
        lambda m, f: test_batching.test_microbatches_hold_similar_lengths_within_the_limit(),
    ),
    "every epoch in the same order": (
        batching.batch_at,
        "seed=seed, epoch=epoch",
        "seed=seed, epoch=0",
        lambda m, f: test_batching.test_an_epoch_visits_each_example_once_and_the_next_in_another_order(10, 4),
    ),
    "each piece is a mean of its own": (
        sft._pieces,
        "count=count",
        "count=None",
        lambda m, f: test_sft.test_a_long_response_weighs_by_its_tokens_however_the_batch_is_cut(m / "base"),
    ),
    "the mean is over the prompt's tokens too": (
        sft._pieces,
        "sum(row.response_length",
        "sum(len(row.ids)",
        lambda m, f: test_sft.test_only_response_tokens_and_the_end_token_are_counted(m / "base"),
    ),
    "held-out prompts are learnt": (
        sft._encode,
        "if prompt not in held]",
        "]",
        lambda m, f: test_sft.test_held_out_prompts_are_whole_and_the_same_for_every_seed(m / "base"),
    ),
    "scores of A and B swapped": (
        preference_model._scored,
        "scores[::2], scores[1::2]",
        "scores[1::2], scores[::2]",
        pairs_summary,
    ),
    "B is a second copy of A": (preference_model._encode, "pair.response_b,", "pair.response_a,", pairs_summary),
    "pairs are averaged per piece": (
        preference_model._pieces,
        "count=len(batch)",
        "count=None",
        lambda m, f: test_cutting.test_preference_gradient(m),
    ),
    "held-out prompts may be learnt from": (
        preference_model._check_apart,
        "if pair.prompt.id in learnt",
        "if False",
        lambda m, f: test_preference_model.test_a_held_out_prompt_that_is_learnt_from_is_refused(m / "base", f),
    ),
    "an end left away may pay": (
        rollout.compute_targets,
        "scores.clamp(max=missing_end_penalty)",
        "scores",
        lambda m, f: test_ppo.test_leaving_the_end_away_never_pays(),
    ),
    "an end left away lifts a bad text": (
        rollout.compute_targets,
        "scores.clamp(max=missing_end_penalty)",
        "torch.full_like(scores, missing_end_penalty)",
        lambda m, f: test_ppo.test_leaving_the_end_away_never_pays(),
    ),
    "values are not standardised": (
        rollout.compute_targets,
        "scale.apply(rollout.values)",
        "rollout.values",
        lambda m, f: test_ppo.test_scores_and_values_are_standardised_and_kl_is_charged_per_token(),
    ),
    "returns are advantages": (rollout.compute_targets, "advantages + old_values", "advantages + 0.0", short_law),
    "returns of standardised advantages": (
        rollout.compute_targets,
        "    returns = advantages + old_values\n    if standardize_advantages:\n"
        "        advantages = standardize(advantages, rollout.mask)\n",
        "    if standardize_advantages:\n        advantages = standardize(advantages, rollout.mask)\n"
        "    returns = advantages + old_values\n",
        lambda m, f: test_ppo.test_standardised_advantages_leave_returns_as_they_are(),
    ),
    "policy and reference swapped": (
        rollout.compute_targets,
        "rollout.logprobs, rollout.ref_logprobs",
        "rollout.ref_logprobs, rollout.logprobs",
        short_law,
    ),
    "a cut response is scored where it was cut": (
        rollout.read_rollout,
        "TokenRow((*row.ids, end), row.prompt_length)",
        "row",
        lambda m, f: test_ppo.test_a_rollout_holds_what_each_network_says_of_each_response_alone(m, True),
    ),
    "features one token late": (
        rollout._features_and_scores,
        "hidden[batch.sources]",
        "hidden[batch.sources + 1]",
        lambda m, f: test_ppo.test_a_rollout_holds_what_each_network_says_of_each_response_alone(m, False),
    ),
    "learning away from what was better": (
        learner._pieces,
        "part(targets.advantages)",
        "-part(targets.advantages)",
        short_law,
    ),
    "the value model learns rewards": (
        learner._pieces,
        "part(targets.returns)",
        "part(targets.rewards)",
        short_law,
    ),
    "values are compared unscaled": (
        learner._pieces,
        "scale.apply(learner.value.read(batch, features))",
        "learner.value.read(batch, features)",
        lambda m, f: test_ppo.test_the_first_step_has_values_where_they_were(m, f),
    ),
    "the same prompts every iteration": (
        ppo._pick,
        "range(iteration * count, (iteration + 1) * count)",
        "range(count)",
        lambda m, f: test_ppo.test_every_prompt_has_its_turn_before_any_has_two(2),
    ),
    "the scale of scores is measured anew every iteration": (
        ppo.run_ppo,
        "if state.scale is None:",
        "if True:",
        lambda m, f: test_ppo.test_the_first_iteration_is_the_reference_and_its_scores_set_the_scale(m, f),
    ),
    "responses are drawn by the weights of before": (
        ppo._roll_out,
        "actors.sampler.refresh()",
        "pass",
        lambda m, f: test_ppo.test_responses_may_be_drawn_by_any_sampler(m, f),
    ),
    "decay of vectors": (
        optimizer.build_adamw,
        '"weight_decay": 0.0',
        '"weight_decay": weight_decay',
        lambda m, f: test_keeping.test_a_step_clips_over_all_weights_and_decays_matrices_only(),
    ),
    "warm-up starts at zero": (
        optimizer.learning_rate_at,
        "(step + 1) / warmup_steps",
        "step / warmup_steps",
        lambda m, f: test_keeping.test_learning_rates_over_time(),
    ),
    "moments are not restored": (
        checkpoint._optimizer_state,
        "if key.startswith(prefix)",
        "if key.startswith(prefix) and not key.endswith('exp_avg_sq')",
        lambda m, f: test_keeping.test_a_checkpoint_continues_bitwise(f),
    ),
}

METHODS: dict[str, tuple[type, Case]] = {
    "rows are in the chat layout whatever their model is asked in": (
        batching.RowEncoder,
        (
            batching.RowEncoder._render,
            "render_response(conversation, self._layout)",
            "render_response(conversation)",
            as_asked(test_layout.test_fine_tuning, test_layout.PLAIN),
        ),
    ),
    "a transcript's response follows its speaker without a space": (
        batching.RowEncoder,
        (
            batching.RowEncoder._after_lead,
            "self._lead + text",
            "text",
            lambda m, f: test_batching.test_in_a_transcript_a_response_read_anew_follows_the_space_of_the_template(
                "chatml", "take the lamp"
            ),
        ),
    ),
    "rows are learnt without the system prompt": (
        batching.RowEncoder,
        (
            batching.RowEncoder.rows,
            "self._render(conversation), anew",
            "render_response(conversation), anew",
            as_asked(test_layout.test_fine_tuning),
        ),
    ),
    "rollouts are drawn without the system prompt": (
        batching.RowEncoder,
        (
            batching.RowEncoder.prompt,
            "self._render(conversation)",
            "render_response(conversation)",
            as_asked(test_layout.test_rollouts_and_what_is_learnt_from_them),
        ),
    ),
    "tokens of another vocabulary are learnt": (
        batching.RowEncoder,
        (
            batching.RowEncoder._sampled,
            "tokens.vocabulary != self._vocabulary",
            "not tokens.vocabulary",
            lambda m, f: test_batching.test_a_response_is_what_was_sampled_and_not_what_its_text_reads_as(),
        ),
    ),
    "texts read anew are not counted": (
        batching.RowEncoder,
        (
            batching.RowEncoder.rows,
            "self.reread += len(anew)",
            "pass",
            lambda m, f: test_batching.test_a_text_that_begins_or_ends_within_a_token_is_read_anew_and_counted(),
        ),
    ),
    "a response that was cut off has an end": (
        batching.RowEncoder,
        (
            batching.RowEncoder.rows,
            "(self.end,) if ended else ()",
            "(self.end,)",
            lambda m, f: test_batching.test_a_response_that_was_cut_off_has_the_tokens_it_was_sampled_as_and_no_end(
                "chatml"
            ),
        ),
    ),
    "responses without their end": (
        batching.RowEncoder,
        (
            batching.RowEncoder.rows,
            "(self.end,) if ended else ()",
            "()",
            lambda m, f: test_batching.test_a_row_is_what_the_sampler_reads_and_then_the_response_with_its_end(f),
        ),
    ),
    "random state is not restored": (
        checkpoint.Checkpoint,
        (
            checkpoint.Checkpoint.restore,
            'torch.set_rng_state(tensors[f"{_RANDOM}/cpu"].clone())',
            "pass",
            lambda m, f: test_keeping.test_a_checkpoint_continues_bitwise(f),
        ),
    ),
    "any checkpoint will do": (
        checkpoint.Checkpoint,
        (
            checkpoint.Checkpoint.restore,
            'or header.get("identity") != self.identity',
            "",
            lambda m, f: test_keeping.test_a_checkpoint_of_something_else_is_refused_and_kept(f),
        ),
    ),
    "metrics of the checkpoint's step are cut too": (
        metrics.StepLog,
        (
            metrics.StepLog.__init__,
            "_step(line) <= after",
            "_step(line) < after",
            lambda m, f: test_keeping.test_metrics_after_the_checkpoint_are_cut_off(f),
        ),
    ),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = build_tiny_policy(folder / "base")
    build_tiny_policy(folder / "sl-cai")
    save_scorer(init_scorer_from_policy(base, seed=1), load_tokenizer(base), folder / "pm")
    return folder


def in_folders(test: Callable[[Path, Path], Any], models: Path, tmp_path: Path) -> Callable[[], Any]:
    runs = iter(range(100))
    return lambda: test(models, tmp_path / str(next(runs)))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_mutant_function_is_killed(name: str, models: Path, tmp_path: Path) -> None:
    function, old, new, test = FUNCTIONS[name]
    assert_killed(function, old, new, in_folders(test, models, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(METHODS))
def test_mutant_method_is_killed(name: str, models: Path, tmp_path: Path) -> None:
    owner, (function, old, new, test) = METHODS[name]
    assert_killed(function, old, new, in_folders(test, models, tmp_path), owner)
