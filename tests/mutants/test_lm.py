"""Proves that the tests of sampling, reading, journal and items would notice: each wrong version is caught by one."""

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from solon.inference import cache, decoder, fallback, prefix_sharing, sampler, sampling
from solon.lm import draw_index, journal, journaled, runner, spelling, system_prompt
from solon.lm.backends import local
from solon.nets import folder, llama, marking, scorer, tokenizer, vocabulary
from solon.records import Sampling
from solon.storage import locks
from tests import made_up_tokenizers
from tests.invariants import test_journal as journals
from tests.invariants import test_sampler_batching as batching
from tests.language_models import make_model
from tests.mutating import assert_killed
from tests.properties import test_cuts
from tests.reference import test_sampler_against_hf as reference
from tests.unit.inference import test_decoder, test_prefix_sharing, test_sampler, test_sampling
from tests.unit.lm import test_journal, test_nameless, test_runner, test_system_prompt
from tests.unit.lm.backends import test_local
from tests.unit.nets import test_folder, test_scorer, test_template_kwargs, test_tokenizer, test_vocabulary
from tests.unit.nets import test_whole_text as whole_text

Test = Callable[[Path, Path], Any]
Mutant = tuple[Any, str, str, Test]


def draws(test: Callable[[], Any]) -> Test:
    return lambda model, tmp: test()


def with_llama(test: Callable[..., Any], name: str = "llama, grouped") -> Test:
    return lambda model, tmp: test(make_model(name))


def against_generate(model: Path, tmp: Path) -> None:
    reference.test_greedy_text_is_that_of_generate("llama, grouped")


def weighed_in_full(model: Path, tmp: Path) -> None:
    reference.test_choices_are_those_of_a_full_forward_pass("llama, grouped")


def weighed_without_a_cache(model: Path, tmp: Path) -> None:
    reference.test_choices_are_those_of_a_full_forward_pass("gpt2")


def cut_up(model: Path, tmp: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        batching.test_how_reading_is_cut_up_changes_nothing(make_model("llama, grouped"), patch)


def digest_follows(model: Path, tmp: Path) -> None:
    folder_of_its_own = Path(shutil.copytree(model, tmp / "model"))
    test_folder.test_the_digest_follows_content_not_place_or_time(folder_of_its_own, tmp / "copies")


def text_stays_text(model: Path, tmp: Path) -> None:
    """Of a tokenizer that has `<think>` as an ordinary added token, which no switch turns off; made anew each time."""
    chatml = made_up_tokenizers.chatml()
    assert not test_tokenizer.control_ids(chatml, tokenizer.encode_text(chatml, "so <think> and"))


def on_new_tokenizers(test: Callable[[], Any]) -> Test:
    """Run on tokenizers made anew each time, since what was worked out for one is kept with it."""

    def run(model: Path, tmp: Path) -> None:
        whole_text.construct.cache_clear()
        try:
            test()
        finally:
            whole_text.construct.cache_clear()

    return run


def keeps_to_limits(tmp: Path, drawn: int, asked: int, *, found: bool) -> None:
    test_journal.test_an_answer_that_ended_is_the_answer_under_every_limit_it_keeps_to(tmp, drawn, asked, found)


def spare_token(builder: str, reserved: tuple[str, ...]) -> None:
    chosen = reserved[-1] if reserved else "<s>"
    test_vocabulary.test_a_token_that_is_meant_for_padding_comes_first_among_those_to_spare(
        builder, reserved, chosen, None
    )


FUNCTIONS: dict[str, Mutant] = {
    "an option may begin another": (
        spelling.check_apart,
        "not ids or _begins(other, ids)",
        "not ids",
        lambda model, tmp: test_local.test_options_that_cannot_be_told_apart_are_refused(
            local.LocalModel(model), ("the", "the lamp")
        ),
    ),
    "rows without a token are drawn": (
        vocabulary.rule_out,
        "if absent is None",
        "if True",
        draws(lambda: test_sampler.test_only_tokens_that_the_tokenizer_has_are_drawn("Llama", Sampling(), ())),
    ),
    "padding with what ends a text": (
        vocabulary.choose_padding,
        " and index not in ends",
        "",
        draws(lambda: test_vocabulary.test_what_pads_never_ends_a_text("chatml")),
    ),
    "padding with a token that has no row": (
        vocabulary.choose_padding,
        " and index < rows",
        "",
        lambda model, tmp: test_scorer.test_without_padding_of_its_own_a_scorer_pads_with_a_token_that_ends_nothing(
            "[PAD]", model, tmp
        ),
    ),
    "padding with a token of the template": (
        vocabulary.choose_padding,
        "and token.content not in template",
        "",
        draws(lambda: spare_token("unpadded", ())),
    ),
    "any token to spare before one for padding": (
        vocabulary.choose_padding,
        '("pad" not in item[1].content.lower(), item[0])',
        "item[0]",
        draws(lambda: spare_token("unpadded", ("<|reserved_7|>", "<|finetune_right_pad_id|>"))),
    ),
    "a word becomes a control token by padding": (
        vocabulary.set_padding,
        "token.content if token is not None and token.special else None",
        "tokenizer.convert_ids_to_tokens(padding)",
        lambda model, tmp: test_scorer.test_a_scorer_that_pads_with_a_word_leaves_it_a_word(model, tmp),
    ),
    "a uniform may fall on what is impossible": (
        sampling.draw_tokens,
        "right=True",
        "right=False",
        draws(test_sampling.test_tokens_of_no_probability_are_never_drawn),
    ),
    "temperature ignored": (
        sampling.draw_tokens,
        "logits if plain else logits / sampling.temperature",
        "logits",
        draws(test_sampling.test_frequencies_are_the_probabilities),
    ),
    "log-probabilities at the temperature of the draw": (
        sampling.draw_tokens,
        "_logprobs_of(logits, tokens.squeeze(1))",
        "_logprobs_of(logits / sampling.temperature, tokens.squeeze(1))",
        draws(test_sampling.test_frequencies_are_the_probabilities),
    ),
    "log-probabilities within the nucleus": (
        sampling.draw_tokens,
        "_logprobs_of(logits, tokens.squeeze(1))",
        "(weights / weights.sum(-1, keepdim=True)).log().gather(1, tokens).squeeze(1)",
        draws(test_sampling.test_the_nucleus_is_the_smallest_set_of_likely_tokens_with_the_mass),
    ),
    "nucleus ignored": (
        sampling.draw_tokens,
        "probabilities if sampling.top_p == 1.0 else _nucleus(probabilities, sampling.top_p)",
        "probabilities",
        draws(test_sampling.test_the_nucleus_is_the_smallest_set_of_likely_tokens_with_the_mass),
    ),
    "nucleus without the token that fills it": (
        sampling._nucleus,
        "before >= top_p",
        "before + ranked > top_p",
        draws(test_sampling.test_the_nucleus_is_the_smallest_set_of_likely_tokens_with_the_mass),
    ),
    "the least share ignored": (
        sampling.draw_tokens,
        "_likely_enough(weights, sampling.min_p)",
        "weights",
        draws(test_cuts.test_what_is_drawn_is_what_the_equation_keeps_in_its_own_proportions),
    ),
    "the least share brings back what the nucleus cut": (
        sampling.draw_tokens,
        "_likely_enough(weights, sampling.min_p)",
        "_likely_enough(probabilities, sampling.min_p)",
        draws(test_cuts.test_what_is_drawn_is_what_the_equation_keeps_in_its_own_proportions),
    ),
    "the least share is of 1, not of the most likely": (
        sampling._likely_enough,
        "min_p * weights.amax(dim=-1, keepdim=True)",
        "min_p",
        draws(test_cuts.test_what_is_drawn_is_what_the_equation_keeps_in_its_own_proportions),
    ),
    "equals of the most likely are cut": (
        sampling._likely_enough,
        "weights < min_p",
        "weights <= min_p",
        draws(test_cuts.test_a_share_of_1_leaves_the_most_likely_and_its_equals),
    ),
    "log-probabilities not normalised": (
        sampling._logprobs_of,
        " - logits.logsumexp(dim=-1)",
        "",
        draws(test_sampling.test_temperature_zero_is_the_most_likely_and_the_first_of_equals),
    ),
    "neighbouring seeds give neighbouring draws": (
        sampling.draw_uniforms,
        "_mix(words)[:, None]",
        "words[:, None]",
        draws(test_sampling.test_uniforms_are_the_documented_hash),
    ),
    "the same uniforms at every step": (
        sampling.draw_uniforms,
        "np.arange(1, steps + 1, dtype=np.uint64)",
        "np.ones(steps, dtype=np.uint64)",
        draws(test_sampling.test_uniforms_are_uniform_and_independent),
    ),
    "read at the wrong place without a cache": (
        fallback.logits_after,
        "wanted.clamp_max(width - 1)",
        "(wanted + 1).clamp_max(width - 1)",
        weighed_without_a_cache,
    ),
    "a rest begins one token late": (
        prefix_sharing.plan_prefixes,
        "rows[index][cut:]",
        "rows[index][cut + 1 :] or [0]",
        draws(test_prefix_sharing.test_a_lone_row_is_cut_like_the_others),
    ),
    "a prefix as long as its first row's": (
        prefix_sharing.plan_prefixes,
        "min(shared, common_length(rows[members[-1]], rows[index]), len(rows[index]) - 1)",
        "min(shared, len(rows[index]) - 1)",
        draws(test_prefix_sharing.test_a_plan_puts_every_row_together_again),
    ),
    "sliding windows run through our own pass": (
        llama.is_llama_shaped,
        '(window and (windows is None or "sliding_attention" in windows))',
        "False",
        draws(reference.test_architectures_that_the_decoder_would_get_wrong_are_left_to_generate),
    ),
    "only the first layer is looked at": (
        llama.is_llama_shaped,
        "for layer in base.layers for",
        "for layer in base.layers[:1] for",
        draws(
            lambda: reference.test_one_adapted_layer_anywhere_is_enough_to_be_left_to_generate(
                "model.layers.2.self_attn.o_proj"
            )
        ),
    ),
    "one failure too many is allowed": (
        runner.check_failures,
        "len(failures) > max",
        "len(failures) > 1 + max",
        draws(test_runner.test_a_stage_fails_past_its_bound_and_not_before),
    ),
    "a share that is reached exactly is refused": (
        runner.check_failures,
        "* count + _ROUNDING",
        "* count",
        draws(lambda: test_runner.test_a_share_that_is_reached_exactly_is_allowed(29)),
    ),
    "a failed call stops the stage": (
        runner.run_items,
        "except CallFailedError as error",
        "except ZeroDivisionError as error",
        draws(test_runner.test_failed_calls_become_failures_of_their_item),
    ),
    "trust is not in the key": (
        journaled._prompt_request,
        "int(span.trusted)",
        "0",
        lambda model, tmp: test_journal.test_a_key_depends_on_everything_that_decides_the_answer(tmp),
    ),
    "an answer counts for more tokens than it has": (
        draw_index.ended_within,
        " and tokens <= max_tokens",
        "",
        lambda model, tmp: keeps_to_limits(tmp, 7, 4, found=False),
    ),
    "an answer that was cut has ended": (
        draw_index.ended_within,
        '("end", "stop")',
        '("end", "stop", "length")',
        lambda model, tmp: keeps_to_limits(tmp, 4, 7, found=False),
    ),
    "draws at every temperature are one": (
        draw_index.draw_of,
        "[temperature, *cuts]",
        "cuts",
        lambda model, tmp: test_journal.test_only_the_limit_may_differ(tmp),
    ),
    "an index that lacks calls stays so": (
        draw_index.make_index,
        "add_draws(connection, connection.execute(_LACKING))",
        "pass",
        lambda model, tmp: test_journal.test_ended_answers_are_found_where_the_index_is_not_whole(
            tmp, "none, as before there was one"
        ),
    ),
    "a journal without an index is passed over": (
        draw_index.make_index_beside,
        "add_draws(connection, connection.execute(_LACKING))",
        "pass",
        lambda model, tmp: test_journal.test_ended_answers_of_another_journal_are_copied_and_it_is_only_read(
            tmp, 2, "none, as before there was one"
        ),
    ),
    "several may write": (
        locks.take_lock,
        "fcntl.LOCK_EX",
        "fcntl.LOCK_SH",
        lambda model, tmp: journals.test_one_process_writes_and_a_dead_ones_lock_is_taken_over(tmp),
    ),
    "any database is a journal": (
        journal._check_version,
        "if application != _APPLICATION",
        "if False",
        lambda model, tmp: test_journal.test_files_that_are_no_sound_journal_are_refused_and_left(
            tmp, lambda path: test_journal.execute(path, "PRAGMA application_id = 7"), "is a database, but not"
        ),
    ),
    "weights are not in the digest": (
        folder._find_read_files,
        "if file.is_file()",
        'if file.suffix != ".safetensors"',
        digest_follows,
    ),
    "the chat template is not in the digest": (
        folder._find_read_files,
        'not file.name.startswith(".")',
        'file.suffix != ".jinja"',
        digest_follows,
    ),
    "what follows a prompt is tokenised alone": (
        tokenizer.encode_continuations,
        "lead + text if",
        "text if",
        on_new_tokenizers(
            lambda: whole_text.test_rows_to_learn_from_have_the_tokens_of_the_whole_text("sentencepiece", "llama 2")
        ),
    ),
    "a template is told nothing": (
        tokenizer._render,
        "**_template_kwargs.get(tokenizer, {}),",
        "",
        draws(test_template_kwargs.test_a_prompt_has_the_tokens_of_a_template_that_is_told_the_same),
    ),
    "a template is told what it was told before": (
        tokenizer._state,
        ", describe_template_kwargs(tokenizer)",
        "",
        draws(test_template_kwargs.test_a_prompt_has_the_tokens_of_a_template_that_is_told_the_same),
    ),
    "1 and true are told alike": (
        tokenizer._state,
        "describe_template_kwargs(tokenizer)",
        "tuple(sorted(_template_kwargs.get(tokenizer, {}).items()))",
        draws(test_template_kwargs.test_a_prompt_has_the_tokens_of_a_template_that_is_told_the_same),
    ),
    "a token that a template is told can be written": (
        tokenizer._find_template_strings,
        "if isinstance(text, str)",
        "if not text",
        draws(test_template_kwargs.test_no_text_becomes_a_token_that_the_template_writes_because_it_is_told),
    ),
    "the head begins too large": (
        scorer.init_scorer_from_policy,
        "(weight.shape[1] + 1) ** -0.5",
        "1.0",
        lambda model, tmp: test_scorer.test_scores_of_a_fresh_head_are_of_unit_size(model),
    ),
}


METHODS: dict[str, tuple[type, Mutant]] = {
    "options are weighed without the system prompt": (
        system_prompt.SystemPromptedModel,
        (
            system_prompt.SystemPromptedModel.choose,
            "self._under(prompt)",
            "prompt",
            draws(lambda: test_system_prompt.test_whatever_it_is_asked_begins_with_it("chat")),
        ),
    ),
    "the seed is not in the key": (
        journaled.GenerateCall,
        (
            journaled.GenerateCall._asked,
            ', "seed": self.seed',
            "",
            lambda model, tmp: test_journal.test_a_key_depends_on_everything_that_decides_the_answer(tmp),
        ),
    ),
    "the nucleus is not in the key": (
        journaled.GenerateCall,
        (
            journaled.GenerateCall._asked,
            ", self.sampling.top_p",
            "",
            lambda model, tmp: test_journal.test_a_key_depends_on_everything_that_decides_the_answer(tmp),
        ),
    ),
    "the least share is not in the key": (
        journaled.GenerateCall,
        (
            journaled.GenerateCall._asked,
            "self.sampling.min_p > 0.0",
            "False",
            lambda model, tmp: test_journal.test_a_key_depends_on_everything_that_decides_the_answer(tmp),
        ),
    ),
    "a least share that cuts nothing makes another key": (
        journaled.GenerateCall,
        (
            journaled.GenerateCall._asked,
            "self.sampling.min_p > 0.0",
            "True",
            lambda model, tmp: test_journal.test_a_call_can_be_read_by_its_key_or_the_beginning_of_it(tmp),
        ),
    ),
    "uniforms by place in the batch": (
        sampler.Sampler,
        (
            sampler.Sampler.sample,
            "uniforms[rows]",
            "uniforms[: len(rows)]",
            with_llama(batching.test_batched_is_one_at_a_time),
        ),
    ),
    "results by place in the batch": (
        sampler.Sampler,
        (
            sampler.Sampler.sample,
            "results[row] = generated",
            "results[rows.index(row)] = generated",
            with_llama(batching.test_batched_is_one_at_a_time),
        ),
    ),
    "rows are mixed up when finished ones are dropped": (
        sampler.Sampler,
        (
            sampler.Sampler._sample_ourselves,
            "rows[kept]",
            "rows[: len(kept)]",
            with_llama(batching.test_rows_that_end_early_leave_the_others_as_they_are),
        ),
    ),
    "a prompt that just fits is refused": (
        sampler.Sampler,
        (
            sampler.Sampler._check,
            "len(prompt) + more > self.context",
            "len(prompt) + more >= self.context",
            with_llama(batching.test_prompts_that_cannot_be_read_are_refused),
        ),
    ),
    "weights are read once": (
        sampler.Sampler,
        (
            sampler.Sampler.refresh,
            "self._decoder.refresh()",
            "pass",
            draws(batching.test_weights_that_others_replace_are_taken_up_when_it_is_told),
        ),
    ),
    "an option's later tokens are weighed one late": (
        sampler.Sampler,
        (sampler.Sampler._choose_batch, "torch.tensor(ids[1:]", "torch.tensor(ids[:-1]", weighed_in_full),
    ),
    "only an option's first token is weighed": (
        sampler.Sampler,
        (sampler.Sampler._choose_batch, "if len(ids) > 1", "if len(ids) > 9", weighed_in_full),
    ),
    "the end token is dropped": (
        sampler._Record,
        (sampler._Record.add, "= step + 1\n", "= step\n", against_generate),
    ),
    "a row that ended goes on": (
        sampler._Record,
        (sampler._Record.add, "goes_on = was_open & ~ends", "goes_on = ~ends", against_generate),
    ),
    "a row ends at its last end token": (
        sampler._Record,
        (
            sampler._Record.add,
            "closing = was_open & ends",
            "closing = ends",
            with_llama(batching.test_rows_that_end_early_leave_the_others_as_they_are),
        ),
    ),
    "a row that was cut off has ended": (
        sampler._Record,
        (sampler._Record.finish, '"length" if is_open', '"end" if is_open', against_generate),
    ),
    "a stop string is an end": (
        sampler._Record,
        (
            sampler._Record.finish,
            '"stop" if stopped',
            '"end" if stopped',
            with_llama(batching.test_a_stop_string_ends_a_row_where_it_first_appears),
        ),
    ),
    "positions of other rows": (
        cache.Cache,
        (
            cache.Cache.select,
            "self.positions.index_select(0, rows)",
            "self.positions[: len(rows)].clone()",
            with_llama(batching.test_batched_is_one_at_a_time),
        ),
    ),
    "padding is seen later": (
        decoder.LlamaDecoder,
        (
            decoder.LlamaDecoder._forward_block,
            "columns < lengths[:, None], 0.0, float",
            "columns < len(columns), 0.0, float",
            against_generate,
        ),
    ),
    "positions begin anew after a prefix": (
        decoder.LlamaDecoder,
        (
            decoder.LlamaDecoder._forward_block,
            "cache.positions[:, None] + columns",
            "0 * cache.positions[:, None] + columns",
            against_generate,
        ),
    ),
    "a token after a prefix sees the next": (
        decoder.LlamaDecoder,
        (
            decoder.LlamaDecoder._forward_block,
            "columns <= columns[:, None]",
            "columns <= columns[:, None] + 1",
            weighed_in_full,
        ),
    ),
    "positions stand still": (
        decoder.LlamaDecoder,
        (decoder.LlamaDecoder.step, "cache.positions += 1", "pass", against_generate),
    ),
    "what was peeked at is seen": (
        decoder.LlamaDecoder,
        (
            decoder.LlamaDecoder.extend_logits,
            'cache.bias[:, cache.used :] = float("-inf")',
            "pass",
            draws(test_decoder.test_a_peek_does_not_move_on),
        ),
    ),
    "weights are copied": (
        decoder._Linear,
        (
            decoder._Linear.of,
            "module.weight.detach()",
            "module.weight.detach().clone()",
            draws(lambda: test_decoder.test_it_reads_the_weights_of_the_model_themselves("llama, biases")),
        ),
    ),
    "rotations end": (
        decoder.LlamaDecoder,
        (decoder.LlamaDecoder._reserve, "2 * columns", "columns // 2", cut_up),
    ),
    "every part of a batch is read into its first rows": (
        decoder.LlamaDecoder,
        (decoder.LlamaDecoder._prefill_chunk, "cache.view(start, stop)", "cache.view(0, stop - start)", cut_up),
    ),
    "equal prompts are taken for their neighbours": (
        decoder.LlamaDecoder,
        (
            decoder.LlamaDecoder.prefill,
            "torch.tensor(inverse",
            "torch.tensor(sorted(inverse)",
            draws(lambda: test_decoder.test_each_prompt_has_its_own_logits_in_any_order("llama, grouped")),
        ),
    ),
    "used before it is on disk": (
        journaled.JournaledModel,
        (
            journaled.JournaledModel._make,
            "await self._journal.add(call.key, call.kind, call.request, _dump(response), use=use)",
            "asyncio.ensure_future(self._journal.add(call.key, call.kind, call.request, _dump(response), use=use))",
            lambda model, tmp: test_journal.test_a_write_that_fails_reaches_the_caller_and_is_not_used(tmp),
        ),
    ),
    "a call of another journal is not copied": (
        journaled.JournaledModel,
        (
            journaled.JournaledModel._answer,
            "if stored.file != self._journal.path",
            "if False",
            lambda model, tmp: test_journal.test_other_journals_are_asked_in_order_and_what_they_knew_is_copied(tmp),
        ),
    ),
    "an answer under another limit is not copied": (
        journaled.JournaledModel,
        (
            journaled.JournaledModel._answer,
            " or stored.key != call.key",
            "",
            lambda model, tmp: keeps_to_limits(tmp, 7, 9, found=True),
        ),
    ),
    "every model's limit only cuts": (
        journaled.JournaledModel,
        (
            journaled.JournaledModel._find,
            " and self.limit_only_cuts",
            "",
            lambda model, tmp: test_journal.test_only_a_model_that_says_so_has_limits_that_only_cut(tmp),
        ),
    ),
    "the index is believed": (
        journal._Calls,
        (
            journal._Calls.find_ended,
            " and draw_of(call.request) == draw",
            "",
            lambda model, tmp: test_journal.test_the_index_is_not_believed(tmp),
        ),
    ),
    "never looked up": (
        journaled.JournaledModel,
        (
            journaled.JournaledModel._find,
            "stored = self._journal.find(call.key_of(request))",
            "stored = None",
            lambda model, tmp: journals.test_journalled_results_equal_fresh_ones(tmp),
        ),
    ),
    "calls of before never looked up": (
        journaled.JournaledModel,
        (
            journaled.JournaledModel._find,
            "in call.requests()",
            "in [call.request]",
            lambda model, tmp: test_nameless.test_calls_of_before_are_found_while_the_folder_has_its_name(8, tmp),
        ),
    ),
    "equal calls are made side by side": (
        journaled.JournaledModel,
        (
            journaled.JournaledModel._answer,
            "while (other := self._under_way.get(call.key)) is not None",
            "while (other := None) is not None",
            lambda model, tmp: journals.test_equal_calls_under_way_are_made_once(tmp),
        ),
    ),
    "the last journal is asked first": (
        journal.Journal,
        (
            journal.Journal.find,
            "for reader in self._readers",
            "for reader in reversed(self._readers)",
            lambda model, tmp: test_journal.test_other_journals_are_asked_in_order_and_what_they_knew_is_copied(tmp),
        ),
    ),
    "every call is a transaction": (
        journal.Journal,
        (
            journal.Journal.add,
            "written))",
            "written)); self._commit()",
            lambda model, tmp: journals.test_calls_that_end_together_are_committed_together(tmp),
        ),
    ),
    "the end token is text": (
        local.LocalModel,
        (
            local.LocalModel._to_sample,
            'ids[:-1] if drawn.stop_reason == "end" else ids',
            "ids",
            lambda model, tmp: test_local.test_the_end_token_is_in_the_tokens_and_not_in_the_text(
                local.LocalModel(model), model
            ),
        ),
    ),
    "a text that cannot be tokenised stops everything": (
        local.LocalModel,
        (
            local.LocalModel._one_item,
            "except PromptingError as error",
            "except ZeroDivisionError as error",
            lambda model, tmp: test_local.test_a_text_that_cannot_be_tokenised_safely_fails_alone(model),
        ),
    ),
    "a call that could not be written is never told": (
        journal.Journal,
        (
            journal.Journal._commit,
            "except Exception as error",
            "except JournalError as error",
            lambda model, tmp: test_journal.test_a_row_that_cannot_be_encoded_fails_every_call_of_its_turn(tmp),
        ),
    ),
    "control tokens come from text": (
        marking.MarkedEngine,
        (
            marking.MarkedEngine._copy,
            'if token["content"] in self._words',
            "if True",
            text_stays_text,
        ),
    ),
    "control tokens come from the vocabulary": (
        marking.MarkedEngine,
        (
            marking.MarkedEngine._find_cuts,
            "index not in self._meanings",
            "False",
            on_new_tokenizers(
                lambda: whole_text.test_text_never_becomes_a_control_token("words between spaces", "chatml", False)
            ),
        ),
    ),
    "a text beside a control token takes it away": (
        marking.MarkedEngine,
        (
            marking.MarkedEngine._build_strict,
            '&= not self.read(token["content"])',
            "&= True",
            on_new_tokenizers(
                lambda: whole_text.test_control_tokens_that_are_looked_for_in_normalised_text_are_found("sentencepiece")
            ),
        ),
    ),
}


def in_folders(test: Test, model: Path, tmp_path: Path) -> Callable[[], Any]:
    """Give every call a folder of its own."""
    runs = count()

    def run() -> Any:
        folder_of_this_run = tmp_path / str(next(runs))
        folder_of_this_run.mkdir()
        return test(model, folder_of_this_run)

    return run


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_mutant_function_is_killed(name: str, tiny_model_dir: Path, tmp_path: Path) -> None:
    function, old, new, test = FUNCTIONS[name]
    assert_killed(function, old, new, in_folders(test, tiny_model_dir, tmp_path))


@pytest.mark.parametrize("name", list(METHODS))
def test_mutant_method_is_killed(name: str, tiny_model_dir: Path, tmp_path: Path) -> None:
    owner, (function, old, new, test) = METHODS[name]
    assert_killed(function, old, new, in_folders(test, tiny_model_dir, tmp_path), owner)
