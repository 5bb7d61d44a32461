"""The embedded sampler: batches of prompts continued, or options weighed, on a model in memory.

A Llama-shaped model runs through our own forward pass (`inference.decoder`): equal prompts and equal beginnings are
read once, finished rows are dropped from the batch, log-probabilities of what was drawn cost nothing extra. Any
other architecture runs through transformers' `generate`, with the same draws from the same seeds.

What a row becomes depends on its prompt, seed, sampling and the weights. The rounding of floating point depends
on the batch as well: log-probabilities agree to about 1e-6, and a draw differs only where its uniform number falls
within that of a boundary between two tokens.

The distribution is over the tokens that the tokenizer has. A model may have more rows than that, its vocabulary padded
to a round number; these are ruled out before anything is drawn or weighed, and log-probabilities, recorded ones
included, are normalised over the rest.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from solon.errors import ModelError, PromptingError
from solon.inference.cache import Cache
from solon.inference.decoder import LlamaDecoder
from solon.inference.protocol import Generated
from solon.inference.sampling import draw_tokens, draw_uniforms
from solon.nets import (
    CausalLM,
    Tokenizer,
    count_rows,
    decode_response,
    end_token_id,
    find_absent_rows,
    is_llama_shaped,
    rule_out,
)
from solon.nets.protocols import ModelConfig
from solon.records import Sampling, StopReason

MAX_CONTEXT = 10**9
"""Tokens above which a tokenizer's `model_max_length` means that nobody knows."""

_CHANGING_POSITIONS = ("longrope", "dynamic")

_KEEP_FRACTION = 0.75
"""A batch is compacted once no more than this share of its rows is unfinished."""


class Sampler:
    """Samples from a causal language model in memory; a `ChoosingSampler`.

    A model that runs through our own forward pass is read where its weights are: what changes them in place, as an
    optimizer does, is seen at once, and `refresh` is for weights that others have taken the place of.

    Args:
        model: a causal language model in evaluation mode.
        tokenizer: its tokenizer; gives the end tokens and the text in which stop strings are sought.
        batch_size: rows decoded together.
        end_ids: tokens that end a continuation; None for the tokenizer's end of turn and end of sequence.

    Raises:
        ModelError: neither the model nor its tokenizer says how many tokens fit.
    """

    def __init__(
        self,
        model: CausalLM,
        tokenizer: Tokenizer,
        *,
        batch_size: int = 64,
        end_ids: Sequence[int] | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._device: torch.device = next(model.parameters()).device
        own_ends = (end_token_id(tokenizer), tokenizer.eos_token_id)
        self._end_ids = sorted({end for end in own_ends if end is not None} if end_ids is None else end_ids)
        self._context = read_context(model.config, tokenizer)
        self._rows = count_rows(model.config)
        self._absent = find_absent_rows(tokenizer, self._rows, self._device)
        self._watches: dict[tuple[str, ...], _StopWatch] = {}
        self._decoder = LlamaDecoder(model) if is_llama_shaped(model) else None

    @property
    def has_own_pass(self) -> bool:
        """True where the model runs through our own forward pass."""
        return self._decoder is not None

    @property
    def context(self) -> int:
        """Tokens that prompt and continuation may have together."""
        return self._context

    def refresh(self) -> None:
        """Find the model's weights again; see `TokenSampler.refresh`."""
        if self._decoder is not None:
            self._decoder.refresh()

    @torch.inference_mode()
    def sample(
        self, prompts: Sequence[list[int]], sampling: Sampling, seeds: Sequence[int], *, stop: Sequence[str] = ()
    ) -> list[Generated]:
        """Continue each prompt; see `TokenSampler.sample`."""
        self._check(prompts, [sampling.max_tokens] * len(prompts))
        # Before rows are sorted into batches: what a row is drawn by depends on its seed and on nothing beside it.
        uniforms = torch.from_numpy(draw_uniforms(seeds, sampling.max_tokens)).to(self._device)
        watch = self._watch(tuple(stop))
        draw = self._sample_ourselves if self._decoder is not None else self._sample_generate
        results: list[Generated | None] = [None] * len(prompts)
        for rows in self._batches(prompts):
            batch = [prompts[row] for row in rows]
            drawn = draw(batch, sampling, uniforms[rows], watch)
            for row, generated in zip(rows, drawn, strict=True):
                results[row] = generated
        return [result for result in results if result is not None]

    @torch.inference_mode()
    def choose(self, prompts: Sequence[list[int]], options: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        """Return the log-probability of each option's whole token sequence after its prompt; see `ChoosingSampler`.

        Prompts are read once. Options of one token are looked up in the distribution that follows; longer ones
        are read in a second pass over the same cache.
        """
        self._check(prompts, [max(map(len, row)) - 1 for row in options])
        results: list[list[float]] = [[] for _ in prompts]
        for rows in self._batches(prompts):
            found = self._choose_batch([prompts[row] for row in rows], [options[row] for row in rows])
            for row, values in zip(rows, found, strict=True):
                results[row] = values
        return results

    def _check(self, prompts: Sequence[list[int]], room: Sequence[int]) -> None:
        """Check that each prompt fits the context with the tokens that may follow it, and has tokens of the model."""
        for row, (prompt, more) in enumerate(zip(prompts, room, strict=True)):
            if not prompt or len(prompt) + more > self.context:
                raise ModelError(
                    f"prompt {row} has {len(prompt)} tokens and {more} may follow: the model takes 1 to {self.context}"
                )
            if max(prompt) >= self._rows:
                raise ModelError(
                    f"prompt {row} has token {max(prompt)}, the model's embeddings end at row {self._rows - 1}: "
                    "put the tokenizer that its weights were trained with into its folder"
                )

    def _watch(self, stop: tuple[str, ...]) -> "_StopWatch | None":
        if "" in stop:
            raise PromptingError("an empty stop string ends every text before it begins: leave it out")
        if stop and stop not in self._watches:
            self._watches[stop] = _StopWatch(self._tokenizer, stop, self._rows, self._device)
        return self._watches.get(stop)

    def _batches(self, prompts: Sequence[list[int]]) -> list[list[int]]:
        """Rows in batches of similar length; prompts of one length that begin alike are neighbours."""
        order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), prompts[row]))
        return [order[start : start + self._batch_size] for start in range(0, len(order), self._batch_size)]

    def _sample_ourselves(
        self, prompts: list[list[int]], sampling: Sampling, uniforms: Tensor, watch: "_StopWatch | None"
    ) -> list[Generated]:
        decoder, batch, longest = self._decoder, len(prompts), sampling.max_tokens
        assert decoder is not None
        # 1. Read the prompts; equal ones and equal beginnings once.
        cache, logits = decoder.prefill(prompts)
        rows = torch.arange(batch, device=self._device)
        record = _Record(batch, longest, self._end_ids, self._device, watch)
        for step in range(longest):
            # 2. Draw, each row by its own number for this step, wherever it stands in what is left of the batch.
            tokens, logprobs = draw_tokens(rule_out(logits, self._absent), uniforms[rows, step], sampling)
            # 3. Record, and see who goes on, before a pass that none might need.
            open_rows = record.add(step, rows, tokens, logprobs)
            unfinished = int(open_rows.sum())
            if not unfinished or step + 1 == longest:
                break
            # 4. Drop finished rows, but only a good share at once: each time copies the cache of those that stay,
            #    which costs more than a few more steps of rows whose tokens nobody keeps.
            if unfinished <= _KEEP_FRACTION * len(rows):
                kept = open_rows.nonzero().squeeze(1)
                cache, rows, tokens = cache.select(kept), rows[kept], tokens[kept]
            # 5. Read what was drawn.
            logits = decoder.step(cache, tokens)
        return record.finish()

    def _sample_generate(
        self, prompts: list[list[int]], sampling: Sampling, uniforms: Tensor, watch: "_StopWatch | None"
    ) -> list[Generated]:
        from solon.inference.fallback import generate_with_draws

        record = _Record(len(prompts), sampling.max_tokens, self._end_ids, self._device, watch)
        rows = torch.arange(len(prompts), device=self._device)

        def draw(step: int, logits: Tensor) -> tuple[Tensor, bool]:
            tokens, logprobs = draw_tokens(rule_out(logits, self._absent), uniforms[:, step], sampling)
            return tokens, not bool(record.add(step, rows, tokens, logprobs).any())

        generate_with_draws(self._model, prompts, sampling.max_tokens, draw)
        return record.finish()

    def _choose_batch(self, prompts: list[list[int]], options: list[Sequence[list[int]]]) -> list[list[float]]:
        logits, cache = self._read(prompts)
        first = torch.log_softmax(rule_out(logits, self._absent), dim=-1)
        scores = [[float(first[row, ids[0]]) for ids in choices] for row, choices in enumerate(options)]
        # An option of one token is done. A longer one is read on from the same cache, all but its last token, after
        # which nothing is asked.
        longer = [
            (row, place) for row, choices in enumerate(options) for place, ids in enumerate(choices) if len(ids) > 1
        ]
        for start in range(0, len(longer), self._batch_size):
            part = longer[start : start + self._batch_size]
            rests = [options[row][place] for row, place in part]
            logits = self._read_on(prompts, cache, [row for row, _ in part], [ids[:-1] for ids in rests])
            after = torch.log_softmax(rule_out(logits, self._absent), dim=-1)
            for number, ((row, place), ids) in enumerate(zip(part, rests, strict=True)):
                positions = torch.arange(len(ids) - 1, device=self._device)
                targets = torch.tensor(ids[1:], device=self._device)
                scores[row][place] += float(after[number, positions, targets].double().sum())
        return scores

    def _read(self, prompts: list[list[int]]) -> tuple[Tensor, Cache | None]:
        """Return logits of the next token after each prompt (B, V), and the cache where there is one."""
        if self._decoder is not None:
            cache, logits = self._decoder.prefill(prompts)
            return logits, cache
        from solon.inference.fallback import logits_after

        last = torch.tensor([[len(prompt) - 1] for prompt in prompts], device=self._device)
        return logits_after(self._model, prompts, last).squeeze(1), None

    def _read_on(
        self, prompts: list[list[int]], cache: Cache | None, rows: list[int], blocks: list[list[int]]
    ) -> Tensor:
        """Return logits after each token of the blocks that continue the given prompts. Shape (N, longest, V)."""
        if self._decoder is not None and cache is not None:
            return self._decoder.extend_logits(cache.select(torch.tensor(rows, device=self._device)), blocks)
        from solon.inference.fallback import logits_after

        starts = torch.tensor([[len(prompts[row])] for row in rows], device=self._device)
        places = starts + torch.arange(max(map(len, blocks)), device=self._device)
        return logits_after(
            self._model, [prompts[row] + block for row, block in zip(rows, blocks, strict=True)], places
        )


def read_context(config: ModelConfig, tokenizer: Tokenizer) -> int:
    """Return how many tokens fit, as a model's configuration says or else its tokenizer; without positions none does.

    With `longrope` and `dynamic` positions, a row past the original length changes the rotations of all others in its
    batch, and so their log-probabilities. Such a model is used up to that length.

    Raises:
        ModelError: neither says so.
    """
    text = config.get_text_config()
    rotary = getattr(text, "rope_parameters", None) or {}
    for stated in (
        rotary.get("original_max_position_embeddings") if rotary.get("rope_type") in _CHANGING_POSITIONS else None,
        getattr(text, "max_position_embeddings", None),
        getattr(text, "max_seq_len", None),
        tokenizer.model_max_length,
    ):
        if stated is not None and 0 < stated < MAX_CONTEXT:
            return int(stated)
    raise ModelError(
        f"{config.model_type}: neither the model nor its tokenizer says how many tokens fit: "
        "set model_max_length in its tokenizer_config.json"
    )


class _Record:
    """What was drawn for each row of a batch, and which rows are still open."""

    def __init__(
        self, batch: int, longest: int, end_ids: list[int], device: torch.device, watch: "_StopWatch | None"
    ) -> None:
        self._tokens = torch.zeros((batch, longest), dtype=torch.long, device=device)
        self._logprobs = torch.zeros((batch, longest), device=device)
        self._lengths = torch.full((batch,), longest, dtype=torch.long, device=device)
        self._open = torch.ones(batch, dtype=torch.bool, device=device)
        self._stopped = torch.zeros(batch, dtype=torch.bool, device=device)
        self._ends = torch.tensor(end_ids, dtype=torch.long, device=device)
        self._watch = watch

    def add(self, step: int, rows: Tensor, tokens: Tensor, logprobs: Tensor) -> Tensor:
        """Record a step of the given rows; return which of them go on. A row that had ended stays ended."""
        self._tokens[rows, step] = tokens
        self._logprobs[rows, step] = logprobs
        was_open = self._open[rows]
        ends = (tokens[:, None] == self._ends).any(dim=1)
        # An end token goes before a stop string: a row that it has ended is not looked at any more.
        if self._watch is not None:
            for place in self._watch.candidates(tokens, was_open & ~ends):
                row = int(rows[place])
                if self._watch.found(self._tokens[row, : step + 1].tolist()):
                    ends[place] = True
                    self._stopped[row] = True
        closing = was_open & ends
        self._lengths[rows[closing]] = step + 1
        goes_on = was_open & ~ends
        self._open[rows] = goes_on
        return goes_on

    def finish(self) -> list[Generated]:
        """Return the continuations of all rows."""
        results = []
        for tokens, logprobs, length, is_open, stopped in zip(
            self._tokens.tolist(),
            self._logprobs.tolist(),
            self._lengths.tolist(),
            self._open.tolist(),
            self._stopped.tolist(),
            strict=True,
        ):
            reason: StopReason = "length" if is_open else "stop" if stopped else "end"
            results.append(Generated(tokens[:length], logprobs[:length], reason))
        return results


class _StopWatch:
    """Finds stop strings in decoded text, decoding only rows whose newest token could complete one."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str], rows: int, device: torch.device) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        vocabulary = [[index] for index in range(rows)]
        pieces = tokenizer.backend_tokenizer.decode_batch(vocabulary, skip_special_tokens=False)
        lasts = {text[-1] for text in self._stop}
        if not all(last.isascii() and last.isprintable() and last != " " for last in lasts):
            lasts = {""}  # a token's own text may hide spaces and parts of a character: look after every token
        may_complete = [any(last in piece for last in lasts) for piece in pieces]
        self._may_complete = torch.tensor(may_complete, device=device)

    def candidates(self, tokens: Tensor, alive: Tensor) -> list[int]:
        """Return places of rows that must be decoded."""
        found: list[int] = (self._may_complete[tokens] & alive).nonzero().squeeze(1).tolist()
        return found

    def found(self, ids: list[int]) -> bool:
        """Say whether the text of these tokens holds a stop string."""
        text = decode_response(self._tokenizer, ids)
        return any(stop in text for stop in self._stop)
