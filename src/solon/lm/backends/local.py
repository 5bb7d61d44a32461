"""A checkpoint in this process as a `LanguageModel`: the calls of many items gathered into batches.

A call is tokenised and queued. When the event loop has nothing else to do, which means that every item under way
is waiting for an answer, what is queued is sorted by length and run batch by batch; each batch's answers are handed
out, and stored if there is a journal, before the next is computed.

The computation runs in a thread, so that calls to models elsewhere, progress and interruptions do not wait for it. The
local models of one event loop compute one at a time, and none looks whether all items are waiting while another
computes. So where all models are local, what shares a batch depends on nothing but the calls: two runs of one seed
have equal batches. An answer from elsewhere comes when it comes, and may find another batch to share.
"""

import asyncio
import weakref
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from solon.errors import CallFailedError, ModelError, PromptingError
from solon.inference import ChoosingSampler, Generated, MakeSampler, Sampler, text_before_stop
from solon.lm.protocol import LanguageModel
from solon.lm.spec import ModelSpec
from solon.lm.spelling import check_apart, spell_distinct
from solon.lm.thoughts import Thinking, keep_thought_apart
from solon.nets import (
    CausalLM,
    Tokenizer,
    begins_thought,
    check_device,
    decode_response,
    describe_template_kwargs,
    encode_continuations,
    encode_prompt,
    find_thoughts,
    load_policy,
    load_tokenizer,
    vocabulary_digest,
    weights_digest,
)
from solon.records import Choice, Layout, Rendered, Sample, Sampling

IDLE_TURNS = 12
"""Turns of the event loop without a new call after which all items are taken to be waiting."""

SETTLE_TURNS = 4
"""Turns of the event loop in which answers reach their callers and are committed to a journal."""

BATCH_SIZE = 128
"""Rows decoded together by default."""


_TURNS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()
"""For each event loop, whose turn it is to compute."""


def identify(spec: ModelSpec) -> str:
    """Return the digest of a checkpoint folder; see `Backend`."""
    path = Path(spec.source)
    if not path.is_dir():
        raise ModelError(f"{path}: no such checkpoint folder: give the path of a Hugging Face model folder")
    return weights_digest(path)


def open_model(spec: ModelSpec) -> AbstractContextManager[LanguageModel]:
    """Load a checkpoint folder; see `Backend`."""
    check_device(spec.device)
    path = Path(spec.source)
    model = LocalModel(
        path,
        tokenizer=load_tokenizer(path, spec.chat_template_kwargs),
        device=spec.device,
        dtype=None if spec.dtype is None else getattr(torch, spec.dtype),
        batch_size=spec.batch_size,
        layout=spec.layout,
    )
    return nullcontext(model)


@dataclass(slots=True)
class _Call:
    """A queued call: what it needs, and where its answer goes."""

    ids: list[int]
    payload: Any
    answer: asyncio.Future[Any]


class LocalModel:
    """A causal language model in memory.

    Args:
        model: a checkpoint folder, or a model that is loaded already.
        tokenizer: the tokenizer of a loaded model; a folder brings its own.
        identity: what to call it. Needed for a loaded model; a folder's default is its name, and a digest of its
            content with what else decides its answers.
        device: where a folder's weights go.
        dtype: what they are converted to; None keeps what the checkpoint says.
        batch_size: rows decoded together.
        layout: how its prompts are laid out; `transcript` needs no chat template.
        make_sampler: puts over the model what tokens are drawn by.

    Raises:
        ModelError: the folder is not one this package loads.
    """

    def __init__(
        self,
        model: Path | CausalLM,
        tokenizer: Tokenizer | None = None,
        *,
        identity: str | None = None,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        batch_size: int = BATCH_SIZE,
        layout: Layout = "chat",
        make_sampler: MakeSampler[ChoosingSampler] = Sampler,
    ) -> None:
        name = ""
        if isinstance(model, str | Path):
            path = Path(model)
            tokenizer = load_tokenizer(path) if tokenizer is None else tokenizer
            model = load_policy(path, device=device, dtype=dtype)
            kind = "" if model.dtype == torch.float32 else f":{str(model.dtype).removeprefix('torch.')}"
            told = describe_template_kwargs(tokenizer)
            kind += "" if told == "{}" else f":{told}"
            # What such a model said to a version that did not know of thoughts is no answer of this one.
            kind += "" if find_thoughts(tokenizer) is None else ":thoughts apart"
            if identity is None:
                name, identity = f"{path.resolve().name}@", f"{weights_digest(path)[:16]}{kind}"
        if identity is None or tokenizer is None:
            raise TypeError("a model that is loaded already needs its tokenizer and an identity")
        self._nameless = identity
        self._identity = name + identity
        self._layout = layout
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary_digest(tokenizer)
        self._sampler = make_sampler(model, tokenizer, batch_size=batch_size)
        self._batch_size = batch_size
        self._queue: dict[Hashable, list[_Call]] = defaultdict(list)
        self._arrived = 0
        self._worker: asyncio.Task[None] | None = None

    @property
    def identity(self) -> str:
        """Name of the folder, for people, and digest of its content."""
        return self._identity

    @property
    def nameless_identity(self) -> str:
        """The identity without the folder's name, under which the journal knows its calls."""
        return self._nameless

    @property
    def layout(self) -> Layout:
        """How its prompts are laid out."""
        return self._layout

    @property
    def limit_only_cuts(self) -> bool:
        """True: a step's random number is a function of the seed and the step, and its logits see nothing ahead."""
        return True

    async def generate(self, prompt: Rendered, sampling: Sampling, *, seed: int) -> Sample:
        """Continue a prompt; see `LanguageModel.generate`."""
        with self._one_item():
            ids = encode_prompt(self._tokenizer, prompt)
        self._check_room(ids, sampling.max_tokens)
        drawn: Generated = await self._submit(("generate", sampling, prompt.stop), ids, seed)
        return self._to_sample(drawn, prompt, sampling, seed, len(ids))

    async def choose(self, prompt: Rendered, options: tuple[str, ...]) -> Choice:
        """Weigh options after a prompt, each as a whole; see `LanguageModel.choose`."""
        with self._one_item():
            ids, encoded = encode_continuations(self._tokenizer, prompt, options)
        check_apart(options, encoded, model=self._identity)
        self._check_room(ids, max(map(len, encoded)) - 1)
        logprobs: list[float] = await self._submit(("choose",), ids, encoded)
        return Choice(options=options, logprobs=tuple(logprobs), model=self._identity, prompt_tokens=len(ids))

    def spellings(self, prompt: Rendered, options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Return the spellings of each option that its tokenizer tells apart there; see `SpellingModel`."""
        with self._one_item():
            return spell_distinct(options, lambda texts: encode_continuations(self._tokenizer, prompt, texts)[1])

    @contextmanager
    def _one_item(self) -> Iterator[None]:
        """Turn a text that cannot be tokenised into the failure of its item; the others go on."""
        try:
            yield
        except PromptingError as error:
            raise CallFailedError(f"{self._identity}: {error}") from error

    def _check_room(self, ids: list[int], more: int) -> None:
        if not ids or len(ids) + more > self._sampler.context:
            raise CallFailedError(
                f"{self._identity}: the prompt has {len(ids)} tokens and {more} may follow, "
                f"the model takes 1 to {self._sampler.context}: shorten the prompt or max_tokens"
            )

    def _to_sample(
        self, drawn: Generated, prompt: Rendered, sampling: Sampling, seed: int, prompt_tokens: int
    ) -> Sample:
        ids = drawn.token_ids
        text = decode_response(self._tokenizer, ids[:-1] if drawn.stop_reason == "end" else ids)
        if drawn.stop_reason == "stop":
            text = text_before_stop(text, prompt.stop)
        sample = Sample(
            text=text,
            token_ids=tuple(ids),
            logprobs=tuple(round(value, 6) for value in drawn.logprobs),
            stop_reason=drawn.stop_reason,
            model=self._identity,
            sampling=sampling,
            seed=seed,
            prompt_tokens=prompt_tokens,
            generated_tokens=len(ids),
            vocabulary=self._vocabulary,
        )
        return self._keep_thought_apart(sample, prompt)

    def _keep_thought_apart(self, sample: Sample, prompt: Rendered) -> Sample:
        """Return a sample with its thought apart, by the marks of the chat template, and how many tokens that is."""
        thoughts = find_thoughts(self._tokenizer)
        if thoughts is None:
            return sample
        thinking = Thinking(*thoughts.marks, begun=begins_thought(self._tokenizer, prompt))
        apart = keep_thought_apart(sample, thinking)
        ids, before = sample.token_ids or (), sample.text.removesuffix(apart.text)
        if not before:
            return apart
        # The place at which what was decoded is as long; where a token reaches over it, there is none.
        count = bisect_left(range(len(ids)), len(before), key=lambda stop: len(self._decode(ids[:stop])))
        return apart.model_copy(update={"thought_tokens": count if self._decode(ids[:count]) == before else 0})

    def _decode(self, ids: Sequence[int]) -> str:
        return decode_response(self._tokenizer, list(ids))

    async def _submit(self, group: Hashable, ids: list[int], payload: Any) -> Any:
        """Queue a call among those that can share a batch; return its answer."""
        loop = asyncio.get_running_loop()
        if self._worker is None or self._worker.done() or self._worker.get_loop() is not loop:
            self._queue.clear()
            self._worker = loop.create_task(self._work())
            self._worker.add_done_callback(_retrieve)
        call = _Call(ids, payload, loop.create_future())
        self._queue[group].append(call)
        self._arrived += 1
        return await call.answer

    async def _work(self) -> None:
        """Run what is queued, wave after wave, until nothing is."""
        while True:
            await self._until_idle()
            if not self._queue:
                return
            # One group at a time, the largest first: what its answers lead to is queued before the next is chosen, and
            # may join it.
            group = max(self._queue, key=lambda name: len(self._queue[name]))
            calls = [call for call in self._queue.pop(group) if not call.answer.done()]
            # Sorted before it is cut into batches, so that neighbours are of one length and begin alike.
            calls.sort(key=lambda call: (len(call.ids), call.ids))
            for start in range(0, len(calls), self._batch_size):
                # Answers settle before another model has its turn: what they lead to is then queued.
                async with _turn():
                    await self._answer(group, calls[start : start + self._batch_size])
                    await _turn_loop(SETTLE_TURNS)

    async def _until_idle(self) -> None:
        """Let the event loop turn until no call has arrived for a while and no local model computes."""
        seen, quiet = self._arrived, 0
        while quiet < IDLE_TURNS:
            if (turn := _turn()).locked():  # nobody can be said to wait while answers are under way
                async with turn:
                    quiet = 0
            await _turn_loop(1)
            quiet = quiet + 1 if self._arrived == seen else 0
            seen = self._arrived

    async def _answer(self, group: Any, calls: Sequence[_Call]) -> None:
        """Compute a batch in a thread and hand out its answers; an error goes to each of its calls."""
        compute: Callable[[list[list[int]], list[Any]], Sequence[Any]]
        if group[0] == "generate":
            _, sampling, stop = group

            def compute(prompts: list[list[int]], payloads: list[Any]) -> Sequence[Any]:
                return self._sampler.sample(prompts, sampling, payloads, stop=stop)
        else:
            compute = self._sampler.choose
        try:
            prompts, payloads = [call.ids for call in calls], [call.payload for call in calls]
            answers = await asyncio.to_thread(compute, prompts, payloads)
        except Exception as error:
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(error)
            return
        for call, answer in zip(calls, answers, strict=True):
            if not call.answer.done():
                call.answer.set_result(answer)


def _retrieve(worker: asyncio.Task[None]) -> None:
    """Look at how a worker ended, lest asyncio complain; an interruption has reached the event loop by itself."""
    if not worker.cancelled():
        worker.exception()


def _turn() -> asyncio.Lock:
    """Return what a local model holds while it computes."""
    return _TURNS.setdefault(asyncio.get_running_loop(), asyncio.Lock())


async def _turn_loop(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
