"""Proves that the tests of red-team prompts, revision and feedback would notice: each wrong version is caught."""

from collections.abc import Callable
from typing import Any

import pytest

from solon import words
from solon.feedback import comparing, labeling, pairing, votes
from solon.lm import responding, sentences, spelling
from solon.prompting import rendering
from solon.records import PointwiseVote, Reading, Vote, calls
from solon.redteam import normalize, selecting
from solon.revision import chains, helpful, metrics, targets
from tests.mutating import assert_killed
from tests.properties import test_prompt_keys, test_votes
from tests.unit.feedback import test_comparing, test_labeling, test_pairing, test_pointwise
from tests.unit.lm import test_responding, test_sentences, test_spelling
from tests.unit.prompting import test_rendering
from tests.unit.records import test_records
from tests.unit.redteam import test_selecting
from tests.unit.revision import test_chains, test_cut, test_faults, test_targets

Mutant = tuple[Any, str, str, Callable[[], Any]]


def books() -> None:
    test_faults.test_the_books_balance_and_no_fault_becomes_a_text("all", False, 4)


def targets_of_all_rounds() -> None:
    expected = [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]
    test_targets.test_targets_are_the_revisions_of_the_asked_rounds_and_the_books_balance("all", 3, expected)


def targets_of_the_last_round() -> None:
    test_targets.test_targets_are_the_revisions_of_the_asked_rounds_and_the_books_balance("last", 3, [(0, 3)])


def a_mass_below_the_floor() -> None:
    weighed = test_labeling.logprobs(0.8, mass=0.49)
    test_labeling.test_one_bad_vote_in_either_order_leaves_it_unlabeled(weighed, "below_mass_floor", False)


def an_invalid_number() -> None:
    test_labeling.test_one_bad_vote_in_either_order_leaves_it_unlabeled((float("nan"), -1.0), "invalid_logprobs", False)


def an_identical_pair() -> None:
    test_labeling.test_what_is_no_comparison_is_not_asked("same", "same", ("end", "end"), "identical")


def a_truncated_response() -> None:
    test_labeling.test_what_is_no_comparison_is_not_asked(
        "good words", "bad words", ("end", "length"), "truncated_response"
    )


def a_clamped_label() -> None:
    test_labeling.test_the_clamp_is_on_the_target_and_by_default_after_reasoning_only({"chain_of_thought": True}, 0.6)


def a_copy_of_an_evaluation_prompt() -> None:
    test_selecting.test_a_copy_of_an_evaluation_prompt_is_refused_whatever_it_calls_itself()


def a_stray_prompt() -> None:
    test_selecting.test_a_prompt_of_another_split_is_refused_by_name("novel")


def a_cut_response() -> None:
    test_cut.test_it_is_revised_up_to_its_last_whole_sentence_and_a_revision_must_end(False)


def in_doubt(text: str) -> Callable[[], None]:
    return lambda: test_sentences.test_what_may_not_be_an_end_is_none(text)


LENGTH: dict[str, Mutant] = {
    "a response that was cut off is revised as it is": (
        responding.respond,
        '"text": text, ',
        "",
        a_cut_response,
    ),
    "a response that was trimmed passes for one that ended": (
        responding.respond,
        '"trimmed": True}',
        '"trimmed": True, "stop_reason": "end"}',
        test_responding.test_a_response_that_was_cut_off_is_taken_up_to_its_last_whole_sentence_where_that_is_asked_for,
    ),
    "any response is trimmed": (
        responding.respond,
        "trim and response.cut and",
        "trim and",
        lambda: test_responding.test_any_other_response_is_left_as_it_is("It is so. And it"),
    ),
    "the switch turns nothing": (
        chains.run_revision,
        "trim=config.cut_responses",
        "trim=True",
        test_cut.test_by_default_it_is_a_failure,
    ),
    "the switch of comparisons turns nothing": (
        comparing.run_comparisons,
        "trim=config.cut_responses",
        "trim=False",
        test_comparing.test_a_response_that_was_cut_off_is_compared_up_to_its_last_whole_sentence_where_that_is_asked_for,
    ),
    "what was cut off is not counted": (
        metrics.revision_metrics,
        "chain.initial_response.trimmed",
        "chain.initial_response.cut and chain.failure is None",
        a_cut_response,
    ),
    "a pair forgets that a response was cut off": (
        pairing.preference_pairs,
        "not comparison.response_a.cut",
        "True",
        test_pairing.test_pairs_say_which_of_their_responses_ended,
    ),
    "a number ends a sentence": (
        sentences._ends_in_word,
        "return not line[-1:].isnumeric()",
        "return True",
        in_doubt("1. Buy a rope"),
    ),
    "a letter ends a sentence": (sentences._ends_in_word, "len(letters) > 1", "True", in_doubt("a. Buy")),
    "an abbreviation ends a sentence": (
        sentences._ends_in_word,
        "not _ABBREVIATIONS.fullmatch(letters)",
        "True",
        in_doubt("Ask Dr. Smith"),
    ),
    "a small letter begins a sentence": (
        sentences._ends_sentence,
        "if following.islower():",
        "if False:",
        in_doubt('"Stop!" she said'),
    ),
    "a point within a word ends a sentence": (
        sentences._ends_sentence,
        "if text[match.end() : match.end() + 1].strip():",
        "if False:",
        lambda: test_sentences.test_a_text_is_kept_up_to_its_last_whole_sentence("See Ex.Com", ""),
    ),
    "the first sentence is enough": (
        sentences.whole_sentences,
        "reversed(list(_MARK.finditer(text)))",
        "_MARK.finditer(text)",
        lambda: test_sentences.test_a_text_is_kept_up_to_its_last_whole_sentence("A lot. Of it. And", "A lot. Of it."),
    ),
}


def an_answer_below_its_floor() -> None:
    weighed = test_pointwise.answers(0.8, mass=0.09)
    test_pointwise.test_one_bad_answer_about_either_response_leaves_it_unlabeled(
        weighed, "below_pointwise_mass_floor", False
    )


POINTWISE: dict[str, Mutant] = {
    "the polarity is ignored": (
        PointwiseVote.logit,
        'if self.better == "yes" else -yes',
        "if True else -yes",
        test_pointwise.test_the_label_is_the_sigmoid_of_the_difference_in_the_principles_polarity,
    ),
    "one response is judged twice": (
        labeling._judge,
        'comparison.response_a if side == "a" else comparison.response_b',
        "comparison.response_a",
        test_pointwise.test_each_response_is_shown_alone_under_the_principle_drawn_for_the_comparison,
    ),
    "the sides change places": (
        labeling._judge,
        "response=side",
        'response="b" if side == "a" else "a"',
        test_pointwise.test_the_label_is_the_sigmoid_of_the_difference_in_the_principles_polarity,
    ),
    "only the first spelling counts": (
        labeling.weigh_answers,
        "choice.logprobs[: len(yes)]",
        "choice.logprobs[:1]",
        test_pointwise.test_every_spelling_counts_for_its_answer,
    ),
    "a spelling of one answer counts for the other": (
        labeling.weigh_answers,
        "choice.logprobs[len(yes) :]",
        "choice.logprobs[len(yes) - 1 :]",
        test_pointwise.test_every_spelling_counts_for_its_answer,
    ),
    "the floor is that of comparisons": (
        labeling._label_pointwise,
        "mass_floor=config.pointwise_mass_floor",
        "mass_floor=config.mass_floor",
        test_pointwise.test_the_floor_is_its_own,
    ),
    "only the first answer has a floor": (
        labeling._label_pointwise,
        "for vote in votes:",
        "for vote in votes[:1]:",
        an_answer_below_its_floor,
    ),
    "principles that compare are drawn": (
        labeling.asking_principles,
        'labels == "pointwise"',
        "False",
        test_pointwise.test_only_principles_with_a_question_for_the_kind_of_prompt_are_drawn,
    ),
    "summed over principles": (
        votes.combine_pointwise,
        "(strength_a - strength_b) / len(about_a)",
        "(strength_a - strength_b)",
        test_votes.test_principles_are_averaged_as_log_odds_each_in_its_own_polarity,
    ),
    "the log-odds are added": (
        votes.combine_pointwise,
        "strength_a - strength_b",
        "strength_a + strength_b",
        test_votes.test_a_pointwise_label_is_that_one_response_is_the_good_one,
    ),
    "a response without an answer is overlooked": (
        votes.combine_pointwise,
        "or sorted(asked_a) != sorted(asked_b)",
        "",
        lambda: test_votes.test_a_response_that_was_not_judged_once_under_each_principle_makes_no_label(
            [test_votes.about("a", 0.5, 0.5), test_votes.about("b", 0.5, 0.5, principle="q")]
        ),
    ),
    "an answer that was given twice counts twice": (
        votes.combine_pointwise,
        "or len(set(asked_a)) < len(asked_a) ",
        "",
        lambda: test_votes.test_a_response_that_was_not_judged_once_under_each_principle_makes_no_label(
            [test_votes.about(side, 0.5, 0.5) for side in "aabb"]
        ),
    ),
    "the likeliest spelling alone": (
        votes.sum_logprobs,
        "most + math.log(math.fsum(math.exp(logprob - most) for logprob in logprobs))",
        "most",
        test_votes.test_probabilities_add_up_as_logarithms,
    ),
    "what is read alike counts twice": (
        spelling.keep_distinct,
        "distinct.setdefault(tuple(ids), text)",
        "distinct.setdefault((*ids, len(distinct)), text)",
        lambda: test_spelling.test_what_is_counted_elsewhere_or_for_nobody_is_left_out(
            [[1], [1], [3], [3]], [[5], [6], [5], [6]], (("y", "z"), ("n", "N"))
        ),
    ),
    "what goes on from another counts beside it": (
        spelling.keep_distinct,
        "if other != ids",
        "if False",
        lambda: test_spelling.test_what_is_counted_elsewhere_or_for_nobody_is_left_out(
            [[1, 2], [1], [1, 3], [4]], [[5], [6, 1], [6], [7]], (("Y", "Z"), ("n", "m", "M"))
        ),
    ),
    "what could be either answer counts": (
        spelling.keep_distinct,
        "_begins(ids, other) or _begins(other, ids)",
        "ids == other",
        lambda: test_spelling.test_what_is_counted_elsewhere_or_for_nobody_is_left_out(
            [[1], [2], [9], [4]], [[5], [9], [7, 1], [2, 2]], (("y", "Z"), ("n", "m"))
        ),
    ),
}

REVISION: dict[str, Mutant] = {
    "a system prompt takes the place of a system message": (
        rendering.add_system_prompt,
        "trusted=False), *first.spans)), *rest]",
        "trusted=False))), *rest]",
        test_rendering.test_a_system_message_of_the_prompt_follows_the_system_prompt,
    ),
    "critique used as revision": (
        chains._Rounds.take_step,
        "critique=critique, revision=revision",
        "critique=critique, revision=critique",
        test_chains.test_each_round_works_on_the_response_as_it_stands,
    ),
    "critique takes the response's place": (
        chains.revise_response,
        "response = step.revision ",
        "response = step.critique ",
        test_chains.test_each_round_works_on_the_response_as_it_stands,
    ),
    "every round revises the initial response": (
        chains.revise_response,
        "response = step.revision ",
        "response = initial ",
        test_chains.test_each_round_works_on_the_response_as_it_stands,
    ),
    "principle ignored": (
        chains.revise_response,
        "choose_principle(principles, seed=seed, item=prompt.id, round=number)",
        "principles[0]",
        test_chains.test_each_round_works_on_the_response_as_it_stands,
    ),
    "one principle for all rounds": (
        chains.revise_response,
        "round=number",
        "round=1",
        test_chains.test_each_round_works_on_the_response_as_it_stands,
    ),
    "one seed for all rounds": (
        chains._Rounds._write,
        "item, what, number)",
        "item, what)",
        test_chains.test_every_draw_has_a_seed_of_its_own_and_its_own_limit,
    ),
    "the revision does not see the critique": (
        chains._Rounds.take_step,
        "None if critique is None else critique.text",
        "None",
        test_chains.test_each_round_works_on_the_response_as_it_stands,
    ),
    "one seed for critique and revision": (
        chains._Rounds._write,
        "item, what, number)",
        "item, number)",
        test_chains.test_every_draw_has_a_seed_of_its_own_and_its_own_limit,
    ),
    "a critique is as long as a response": (
        chains._Rounds.take_step,
        "self.config.max_critique_tokens",
        "self.config.max_tokens",
        test_chains.test_every_draw_has_a_seed_of_its_own_and_its_own_limit,
    ),
    "a model is asked in the layout of another": (
        responding.respond,
        ", model.layout)",
        ")",
        test_comparing.test_responses_are_asked_for_in_the_layout_of_the_model,
    ),
    "a critique is asked for in a layout that every model has": (
        chains._Rounds.take_step,
        "self.critic.layout",
        '"chat"',
        test_chains.test_every_request_is_in_the_layout_of_the_model_that_is_asked,
    ),
    "the nucleus is not passed on": (
        calls.DrawConfig.sampling,
        ", top_p=self.top_p",
        "",
        test_chains.test_every_draw_has_a_seed_of_its_own_and_its_own_limit,
    ),
    "the least share is not passed on": (
        calls.DrawConfig.sampling,
        ", min_p=self.min_p",
        "",
        test_chains.test_every_draw_has_a_seed_of_its_own_and_its_own_limit,
    ),
    "truncated is fine": (calls.Sample.fault, "self.cut and not self.trimmed", "False", books),
    "empty is fine": (calls.Sample.fault, "if self.text.strip() else", "if True else", books),
    "faults in a round are built on": (chains._Rounds._write, "sample.fault is not None", "False", books),
    "a failed call starts the chain over": (
        chains.revise_response,
        "        except _StepError as fault:\n",
        "        except _StepError as fault:\n            steps.clear()\n",
        books,
    ),
    "a fault does not end the chain": (chains.revise_response, "            break\n", "            continue\n", books),
    "failed calls of later rounds are not bounded": (
        chains._check_calls,
        "*(failure for failure in broken",
        "*(failure for failure in broken[:0]",
        lambda: test_faults.test_failed_calls_stop_the_stage_past_the_bound_in_whatever_round("Mend"),
    ),
    "an initial response that failed is revised": (
        chains.run_revision,
        "initial.fault is not None",
        "False",
        books,
    ),
    "helpful samples share a seed": (
        helpful.sample_helpful,
        "prompt.id, draw)\n",
        "prompt.id)\n",
        test_targets.test_helpful_samples_are_drawn_as_often_as_asked_and_mixed_in,
    ),
    "a helpful sample that failed is kept": (
        helpful.sample_helpful,
        "response.fault is not None",
        "False",
        test_faults.test_helpful_samples_are_held_to_the_same,
    ),
    "the response before the revision is learnt": (
        targets.sft_targets,
        "chain.response_after(number)\n",
        "chain.response_after(number - 1)\n",
        targets_of_all_rounds,
    ),
    "the critique is learnt": (
        targets.sft_targets,
        "chain.response_after(number)\n",
        "chain.steps[number - 1].critique\n",
        targets_of_all_rounds,
    ),
    "a helpful answer to another prompt": (
        targets.sft_targets,
        "prompt = _prompt_of(sample, known)",
        "prompt = next(iter(known.values()))",
        test_targets.test_helpful_samples_are_drawn_as_often_as_asked_and_mixed_in,
    ),
    "an earlier revision stands in for the last": (
        targets._target_rounds,
        "else config.rounds",
        "else len(chain.steps)",
        targets_of_the_last_round,
    ),
    "failures are not booked": (
        targets.count_revision_targets,
        '"in": each * len(results.results)',
        '"in": kept',
        targets_of_all_rounds,
    ),
    "unchanged against the initial response": (
        metrics.revision_metrics,
        "chain.response_after(number - 1).text",
        "chain.response_after(0).text + ' '",
        test_targets.test_metrics,
    ),
}

OWNERS: dict[Any, type] = {
    chains._Rounds.take_step: chains._Rounds,
    chains._Rounds._write: chains._Rounds,
    calls.Sample.fault: calls.Sample,
    PointwiseVote.logit: PointwiseVote,
    calls.DrawConfig.sampling: calls.DrawConfig,
}
"""What the methods and properties among them belong to."""

FEEDBACK: dict[str, Mutant] = {
    "both responses drawn alike": (
        comparing.run_comparisons,
        "prompt.id, side)",
        "prompt.id)",
        test_comparing.test_two_responses_with_seeds_of_their_own,
    ),
    "principle ignored": (
        labeling._draw_principles,
        "choose_principle(left, seed=seed, item=comparison.id, round=0)",
        "left[0]",
        test_labeling.test_both_orders_are_shown_under_the_principle_drawn_for_the_comparison,
    ),
    "principles drawn with replacement": (
        labeling._draw_principles,
        "if other.id != principle.id",
        "if True",
        test_labeling.test_several_principles_are_several_and_average_as_log_odds,
    ),
    "only one order": (
        labeling.label_comparison,
        '("ab", "ba") if',
        '("ab", "ab") if',
        lambda: test_labeling.test_a_model_that_always_says_a_gives_exactly_one_half(0.9),
    ),
    "identical responses are asked about": (labeling._find_fault, '"identical" if', "None if", an_identical_pair),
    "a truncated response is labelled": (
        labeling._find_fault,
        '("empty", "truncated")',
        '("empty",)',
        a_truncated_response,
    ),
    "an empty response is labelled": (
        labeling._find_fault,
        '("empty", "truncated")',
        '("truncated",)',
        lambda: test_labeling.test_what_is_no_comparison_is_not_asked(
            "", "bad words", ("end", "end"), "empty_response"
        ),
    ),
    "faulty votes are averaged in": (
        labeling.label_comparison,
        "    if reasons:",
        "    if False:",
        a_mass_below_the_floor,
    ),
    "the first vote alone is looked at": (
        labeling.label_comparison,
        "for vote in votes if (reason",
        "for vote in votes[:1] if (reason",
        a_mass_below_the_floor,
    ),
    "no floor": (votes.find_vote_fault, "vote.mass < mass_floor", "vote.mass < 0.0", a_mass_below_the_floor),
    "numbers are not looked at": (votes.find_vote_fault, "not math.isfinite(logprob)", "False", an_invalid_number),
    "probabilities averaged, not log-odds": (
        votes.combine_votes,
        "math.fsum(_leaning(group) for group in by_principle.values()) / len(by_principle)",
        "math.tan(math.fsum(math.atan(_leaning(group)) for group in by_principle.values()) / len(by_principle))",
        test_labeling.test_several_principles_are_several_and_average_as_log_odds,
    ),
    "the sign of the log-odds": (
        votes.combine_votes,
        "min(together, each, key=abs)",
        "-min(together, each, key=abs)",
        test_votes.test_one_vote_is_its_own_softmax,
    ),
    "the surer of two contradictory votes wins": (
        votes._leaning,
        "0.0 if orders is not None and contradict(orders) else mean_logit(votes)",
        "mean_logit(votes)",
        test_votes.test_a_label_whose_orders_contradict_is_no_surer_than_its_least_sure_vote,
    ),
    "contradictions are looked for over all principles at once": (
        votes.combine_votes,
        "setdefault(vote.principle_id, [])",
        "setdefault('', [])",
        test_votes.test_each_principle_has_its_own_say,
    ),
    "the order may decide where no principle contradicts itself": (
        votes.combine_votes,
        "together = _leaning(votes)",
        "together = mean_logit(votes)",
        test_votes.test_a_sure_principle_does_not_outvote_the_order,
    ),
    "one sure vote is enough to be sure": (
        votes.are_sure,
        "min(abs(logit)",
        "max(abs(logit)",
        test_pairing.test_near_ties_and_sure_contradictions_stand_beside_the_raw_figure,
    ),
    "a clamp that favours A": (
        votes.clamp_probability,
        "min(max(p, bounds[0]), bounds[1])",
        "max(p, bounds[0])",
        test_votes.test_clamping_treats_both_sides_alike,
    ),
    "the clamp is forgotten": (
        labeling._labeled,
        "clamp_probability(p_a, config.target_bounds)",
        "p_a",
        a_clamped_label,
    ),
    "calibration would be measured after the clamp": (
        labeling._labeled,
        "p_a_unclamped=p_a,",
        "p_a_unclamped=clamp_probability(p_a, config.target_bounds),",
        a_clamped_label,
    ),
    "a failed call is a coin flip": (
        labeling.run_feedback,
        "_unlabeled(item.item, item.reason, model) if isinstance(item, Failure)",
        "_unlabeled(item.item, item.reason, model).model_copy(update={'p_a': 0.5}) if isinstance(item, Failure)",
        lambda: test_labeling.test_a_failed_call_is_unlabeled_and_bounded(True),
    ),
    "swapped a and b": (
        pairing.preference_pairs,
        "response_a=comparison.response_a.text",
        "response_a=comparison.response_b.text",
        test_pairing.test_pairs_join_by_id_and_leave_out_the_unlabeled,
    ),
    "hard labels": (
        pairing.preference_pairs,
        "target=label_of.p_a",
        "target=float(label_of.p_a > 0.5)",
        test_pairing.test_pairs_join_by_id_and_leave_out_the_unlabeled,
    ),
    "unlabeled pairs are ties": (
        pairing.preference_pairs,
        "if label_of.p_a is not None:",
        "label_of = label_of if label_of.p_a else label_of.model_copy(update={'p_a': 0.5})\n        if True:",
        test_pairing.test_pairs_join_by_id_and_leave_out_the_unlabeled,
    ),
    "agreement is disagreement": (
        votes.contradict,
        "min(logits) < 0.0 < max(logits)",
        "0.0 < max(logits)",
        test_pairing.test_disagreements_and_their_direction,
    ),
    "the direction of disagreement": (
        pairing.feedback_summary,
        "shown_first > 0.0",
        "shown_first < 0.0",
        test_pairing.test_disagreements_and_their_direction,
    ),
}

VOTING: dict[str, tuple[str, str, str, Callable[[], Any]]] = {
    "the second order shows what the first showed": (
        "ask",
        "comparison if order ==",
        "comparison if order !=",
        test_labeling.test_both_orders_are_shown_under_the_principle_drawn_for_the_comparison,
    ),
    "the second order is read as the first": (
        "ask",
        'vote if order == "ab" else vote.swap()',
        "vote",
        test_labeling.test_the_label_follows_the_response_not_the_slot,
    ),
    "swapped a and b": (
        "ask",
        "first, second = choice.logprobs",
        "second, first = choice.logprobs",
        test_labeling.test_the_label_follows_the_response_not_the_slot,
    ),
    "the reasoning is not shown": (
        "ask",
        "reasoning=reasoning)",
        "reasoning=None)",
        test_labeling.test_reasoning_is_drawn_in_each_order_and_the_options_are_weighed_after_it,
    ),
    "both orders reason alike": (
        "ask",
        "principle.id, order)",
        "principle.id)",
        test_labeling.test_reasoning_is_drawn_in_each_order_and_the_options_are_weighed_after_it,
    ),
    "reasoning without an end is followed": (
        "ask",
        "sample.fault is not None",
        "False",
        lambda: test_labeling.test_reasoning_that_comes_to_nothing_is_unlabeled(
            ("on and on", "length"), "truncated_reasoning"
        ),
    ),
}

REDTEAM: dict[str, Mutant] = {
    "a selection by place": (
        selecting.select_prompts,
        'sorted(prompts, key=lambda prompt: (derive_seed(seed, "select", prompt.id), prompt.id))',
        "list(prompts)",
        test_selecting.test_a_selection_depends_on_seed_and_content_not_on_order,
    ),
    "a selection without a seed": (
        selecting.select_prompts,
        "derive_seed(seed, ",
        "derive_seed(",
        test_selecting.test_a_selection_depends_on_seed_and_content_not_on_order,
    ),
    "shares are not kept": (
        selecting.assign_split,
        "reached += shares[split]",
        "reached += 1 / len(wanted)",
        test_selecting.test_splits_have_their_shares,
    ),
    "exact copies only": (
        words.normalize_text,
        "return spaced.strip(_ENDS) or spaced",
        "return text",
        a_copy_of_an_evaluation_prompt,
    ),
    "case is kept": (words.normalize_text, ".casefold()", "", test_prompt_keys.test_looks_do_not_matter),
    "the last turn is all that counts": (
        normalize.prompt_key,
        "for message in conversation.messages",
        "for message in conversation.messages[-1:]",
        test_selecting.test_another_turn_makes_another_prompt,
    ),
    "novel prompts may be trained on": (
        selecting.refuse_evaluation_prompts,
        "p.split != TRAIN",
        'p.split not in (TRAIN, "novel")',
        a_stray_prompt,
    ),
    "copies may be trained on": (
        selecting.refuse_evaluation_prompts,
        "or prompt_key(p.conversation) in measured",
        "or False",
        a_copy_of_an_evaluation_prompt,
    ),
}


def the_mass_of_proportions() -> None:
    for reading in test_records.READINGS:
        test_records.test_the_mass_of_proportions_is_not_known(reading)


def proportions_below_a_floor() -> None:
    test_labeling.test_votes_without_a_mass_are_held_to_no_floor(1.0, 0.5)


READING: dict[str, tuple[Any, str, str, Callable[[], Any], type | None]] = {
    "a mass that is not known is 1": (Reading._sum, "else None", "else 1.0", the_mass_of_proportions, Reading),
    "a mass that is not known is 0": (Reading._sum, "else None", "else 0.0", the_mass_of_proportions, Reading),
    "a mass of 1 is in the mean where none is known": (
        Reading._sum,
        "else None",
        "else 1.0",
        test_pairing.test_only_a_mass_that_is_known_is_in_the_mean,
        Reading,
    ),
    "a mass of 0 is below the floor where none is known": (
        Reading._sum,
        "else None",
        "else 0.0",
        proportions_below_a_floor,
        Reading,
    ),
    "the floor takes a mass that is not known for 0": (
        votes.find_vote_fault,
        "vote.mass is not None and vote.mass < mass_floor",
        "(vote.mass or 0.0) < mass_floor",
        proportions_below_a_floor,
        None,
    ),
    "the mean takes a mass that is not known for 1": (
        pairing.feedback_summary,
        "[mass for mass in valid if mass is not None]",
        "[1.0 if mass is None else mass for mass in valid]",
        test_pairing.test_only_a_mass_that_is_known_is_in_the_mean,
        None,
    ),
    "the mean takes a mass that is not known for 0": (
        pairing.feedback_summary,
        "[mass for mass in valid if mass is not None]",
        "[0.0 if mass is None else mass for mass in valid]",
        test_pairing.test_only_a_mass_that_is_known_is_in_the_mean,
        None,
    ),
    "a vote with a mass of 0 is counted as one without": (
        pairing.feedback_summary,
        "[mass for mass in valid if mass is not None]",
        "[mass for mass in valid if mass]",
        test_pairing.test_a_mass_of_nothing_is_a_mass,
        None,
    ),
    "labels of servers are counted where they are none": (
        pairing.feedback_summary,
        "sum(not label.has_mass for label in labeled)",
        "sum(not label.has_mass for label in labels)",
        test_pairing.test_only_a_mass_that_is_known_is_in_the_mean,
        None,
    ),
    "drawn votes are sure": (
        votes.weighed_logits,
        "None if label.draws else",
        "",
        test_pairing.test_a_vote_that_is_a_share_of_drawn_answers_is_never_sure,
        None,
    ),
    "a swapped vote has a mass": (
        Vote.swap,
        "update={",
        'update={"has_mass": True,',
        test_votes.test_exchanging_the_responses_leaves_how_votes_were_read,
        Vote,
    ),
    "a swapped answer has a mass": (
        PointwiseVote.swap,
        "update={",
        'update={"has_mass": True,',
        test_votes.test_exchanging_the_responses_leaves_how_votes_were_read,
        PointwiseVote,
    ),
    **{
        f"a vote forgets {name}": (
            labeling._Voting.ask,
            f"{name}=choice.{name},",
            "",
            test_labeling.test_a_vote_says_how_a_server_was_read,
            labeling._Voting,
        )
        for name in Reading.model_fields
    },
    **{
        f"an answer forgets {name}": (
            labeling._judge,
            f"{name}=answers.{name},",
            "",
            test_pointwise.test_the_spellings_of_an_answer_without_a_mass_add_up_to_one_without_a_mass,
            None,
        )
        for name in Reading.model_fields
    },
}


@pytest.mark.parametrize("name", list(READING))
def test_how_a_server_was_read(name: str) -> None:
    assert_killed(*READING[name])


@pytest.mark.parametrize("name", list(REVISION))
def test_revision(name: str) -> None:
    function, old, new, test = REVISION[name]
    owner = OWNERS.get(function)
    assert_killed(function.fget if isinstance(function, property) else function, old, new, test, owner)


@pytest.mark.parametrize("name", list(LENGTH))
def test_a_mutant_of_length_is_killed(name: str) -> None:
    assert_killed(*LENGTH[name])


@pytest.mark.parametrize("name", list(FEEDBACK))
def test_feedback(name: str) -> None:
    assert_killed(*FEEDBACK[name])


@pytest.mark.parametrize("name", list(VOTING))
def test_voting(name: str) -> None:
    method, old, new, test = VOTING[name]
    assert_killed(getattr(labeling._Voting, method), old, new, test, labeling._Voting)


@pytest.mark.parametrize("name", list(POINTWISE))
def test_pointwise_labels(name: str) -> None:
    function, old, new, test = POINTWISE[name]
    owner = OWNERS.get(function)
    assert_killed(function.fget if isinstance(function, property) else function, old, new, test, owner)


@pytest.mark.parametrize("name", list(REDTEAM))
def test_redteam(name: str) -> None:
    assert_killed(*REDTEAM[name])
