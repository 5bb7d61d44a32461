"""Proves that a checkpoint answers as a `LanguageModel`: batches of many calls, exact choices, honest samples."""

import asyncio
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from solon.errors import CallFailedError, PromptingError
from solon.inference.sampler import Sampler
from solon.lm import LanguageModel, respond
from solon.lm.backends.local import LocalModel
from solon.nets import encode_prompt, encode_text, load_policy, load_tokenizer, vocabulary_digest, weights_digest
from solon.prompting import render_response
from solon.records import Choice, Conversation, Sample, Sampling
from tests.asking import ask
from tests.plain_sampler import PlainSampler
from tests.tolerances import FLOAT32_SAME

T = TypeVar("T")
PROMPT = ask(("user", "how do i find the lamp"))
SAMPLING = Sampling(max_tokens=8)


@pytest.fixture(scope="module")
def model(tiny_model_dir: Path) -> LocalModel:
    return LocalModel(tiny_model_dir)


def wait(awaitable: Awaitable[T]) -> T:
    async def run() -> T:
        return await awaitable

    return asyncio.run(run())


class Watched(LocalModel):
    """Writes down the sizes of its batches."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, batch_size=128)
        self.batches: list[int] = []

    async def _answer(self, group: Any, calls: Any) -> None:
        self.batches.append(len(calls))
        await super()._answer(group, calls)


def test_its_prompts_are_laid_out_as_it_was_made_for(model: LocalModel, tiny_model_dir: Path) -> None:
    assert model.layout == "chat"
    plain = LocalModel(tiny_model_dir, layout="transcript")
    assert plain.layout == "transcript"
    sample = wait(respond(plain, Conversation.of("lamp"), SAMPLING, seed=1))
    assert sample == wait(plain.generate(render_response(Conversation.of("lamp"), "transcript"), SAMPLING, seed=1))
    assert sample.prompt_tokens != wait(respond(model, Conversation.of("lamp"), SAMPLING, seed=1)).prompt_tokens


def test_it_is_a_language_model_named_by_its_weights(model: LocalModel, tiny_model_dir: Path) -> None:
    assert isinstance(model, LanguageModel)
    assert model.identity == f"tiny@{weights_digest(tiny_model_dir)[:16]}"
    assert LocalModel(tiny_model_dir, dtype=torch.bfloat16).identity == f"{model.identity}:bfloat16"
    loaded = LocalModel(load_policy(tiny_model_dir), load_tokenizer(tiny_model_dir), identity="mine")
    assert (
        wait(loaded.generate(PROMPT, SAMPLING, seed=1)).token_ids
        == wait(model.generate(PROMPT, SAMPLING, seed=1)).token_ids
    )
    with pytest.raises(TypeError, match="needs its tokenizer and an identity"):
        LocalModel(load_policy(tiny_model_dir), load_tokenizer(tiny_model_dir))


def test_tokens_may_be_drawn_by_any_sampler(model: LocalModel, tiny_model_dir: Path) -> None:
    plain = LocalModel(tiny_model_dir, make_sampler=PlainSampler)
    prompts = [ask(("user", f"how do i find the {word}"), stop=("a",)) for word in ("lamp", "gate", "hook", "river")]
    for prompt in prompts:
        ours, theirs = (wait(one.generate(prompt, SAMPLING, seed=5)) for one in (model, plain))
        assert (ours.text, ours.token_ids, ours.stop_reason) == (theirs.text, theirs.token_ids, theirs.stop_reason)
        assert ours.logprobs == pytest.approx(theirs.logprobs, rel=0, abs=FLOAT32_SAME)
        weighed = [wait(one.choose(prompt, ("take the lamp", "no"))).logprobs for one in (model, plain)]
        assert weighed[0] == pytest.approx(weighed[1], rel=0, abs=FLOAT32_SAME)


def test_a_sample_is_what_the_sampler_drew(model: LocalModel, tiny_model_dir: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_dir)
    ids = encode_prompt(tokenizer, PROMPT)
    sample = wait(model.generate(PROMPT, SAMPLING, seed=7))
    (drawn,) = Sampler(load_policy(tiny_model_dir), tokenizer).sample([ids], SAMPLING, [7])
    assert sample == Sample(
        text=tokenizer.decode(drawn.token_ids),
        token_ids=tuple(drawn.token_ids),
        logprobs=tuple(round(value, 6) for value in drawn.logprobs),
        stop_reason="length",
        model=model.identity,
        sampling=SAMPLING,
        seed=7,
        prompt_tokens=len(ids),
        generated_tokens=8,
        vocabulary=vocabulary_digest(tokenizer),
    )


def test_the_end_token_is_in_the_tokens_and_not_in_the_text(model: LocalModel, tiny_model_dir: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_dir)

    async def run() -> list[Sample]:
        long = Sampling(max_tokens=128)
        return await asyncio.gather(*(model.generate(PROMPT, long, seed=seed) for seed in range(20)))

    ended = [sample for sample in asyncio.run(run()) if sample.stop_reason == "end"]
    assert ended
    for sample in ended:
        assert sample.token_ids is not None
        assert sample.token_ids[-1] == tokenizer.eos_token_id
        assert sample.text == tokenizer.decode(sample.token_ids[:-1])
        assert len(sample.token_ids) == sample.generated_tokens < 128


def test_text_stops_before_a_stop_string(model: LocalModel) -> None:
    free = wait(model.generate(ask(("user", "lamp"), layout="transcript"), Sampling(max_tokens=40), seed=1)).text
    stop = free[10:13]
    found = wait(
        model.generate(ask(("user", "lamp"), layout="transcript", stop=(stop,)), Sampling(max_tokens=40), seed=1)
    )
    assert (found.text, found.stop_reason) == (free[: free.index(stop)], "stop")
    assert found.tokens is not None
    assert found.tokens.ids == found.token_ids  # its last tokens wrote the stop string


def test_a_choice_is_the_log_probability_of_whole_options(model: LocalModel, tiny_model_dir: Path) -> None:
    policy, tokenizer = load_policy(tiny_model_dir), load_tokenizer(tiny_model_dir)
    prompt = ask(("user", "which"), ("assistant", "The answer is: ("))
    for options in (("A", "B"), ("the lamp", "the gate", "river")):
        choice = wait(model.choose(prompt, options))
        ids = encode_prompt(tokenizer, prompt)
        assert (choice.options, choice.prompt_tokens, choice.model) == (options, len(ids), model.identity)
        for option, logprob in zip(options, choice.logprobs, strict=True):
            rest = encode_text(tokenizer, option)
            with torch.no_grad():
                steps = policy(torch.tensor([ids + rest])).logits[0].double().log_softmax(-1)[len(ids) - 1 : -1]
            expected = float(steps.gather(1, torch.tensor(rest)[:, None]).sum())
            assert logprob == pytest.approx(expected, rel=0, abs=FLOAT32_SAME * len(rest))


@pytest.mark.parametrize("options", [("A", "A"), ("the", "the lamp"), ("A", "")])
def test_options_that_cannot_be_told_apart_are_refused(model: LocalModel, options: tuple[str, ...]) -> None:
    with pytest.raises(PromptingError, match="cannot be told apart"):
        wait(model.choose(PROMPT, options))


def test_two_thousand_calls_at_once_run_in_full_batches(tiny_model_dir: Path) -> None:
    model = Watched(tiny_model_dir)

    async def ask_twice(number: int) -> tuple[str, str]:
        first = await model.generate(ask(("user", f"find {number}")), Sampling(max_tokens=3), seed=number)
        second = await model.generate(ask(("user", f"{number} again")), Sampling(max_tokens=3), seed=number)
        return first.text, second.text

    async def run() -> list[tuple[str, str]]:
        return await asyncio.gather(*(ask_twice(number) for number in range(2000)))

    texts = asyncio.run(run())
    assert sum(model.batches) == 4000
    assert len(model.batches) == 32
    assert texts[1234] == asyncio.run(ask_twice(1234))


def test_calls_that_arrive_over_several_turns_share_a_batch(tiny_model_dir: Path) -> None:
    model = Watched(tiny_model_dir)

    async def ask_after(turns: int) -> Sample:
        for _ in range(turns % 6):
            await asyncio.sleep(0)
        return await model.generate(PROMPT, Sampling(max_tokens=2), seed=turns)

    async def run() -> None:
        await asyncio.gather(*(ask_after(turns) for turns in range(60)))

    asyncio.run(run())
    assert model.batches == [60]


def test_calls_that_cannot_share_a_batch_are_kept_apart(tiny_model_dir: Path) -> None:
    model = Watched(tiny_model_dir)

    async def run() -> None:
        await asyncio.gather(
            *(model.generate(PROMPT, Sampling(max_tokens=length), seed=0) for length in (2, 3, 2)),
            *(model.choose(PROMPT, options) for options in (("A", "B"), ("lamp", "gate"))),
        )

    asyncio.run(run())
    assert sorted(model.batches) == [1, 2, 2]


def test_a_prompt_without_room_fails_alone(model: LocalModel) -> None:
    async def run() -> list[Any]:
        prompts = [PROMPT, ask(("user", "lamp " * 250)), PROMPT]
        calls = (model.generate(prompt, SAMPLING, seed=seed) for seed, prompt in enumerate(prompts))
        return await asyncio.gather(*calls, return_exceptions=True)

    good, bad, other = asyncio.run(run())
    assert isinstance(bad, CallFailedError)
    assert "the model takes 1 to 256: shorten the prompt or max_tokens" in str(bad)
    assert isinstance(good, Sample)
    assert isinstance(other, Sample)


def test_a_text_that_cannot_be_tokenised_safely_fails_alone(tiny_model_dir: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_dir)
    tokenizer.add_tokens(["!"], special_tokens=True)
    model = LocalModel(load_policy(tiny_model_dir), tokenizer, identity="marks")

    async def run() -> list[Any]:
        prompts = [ask(("user", text)) for text in ("take the lamp", "lamp ! gate")]
        return await asyncio.gather(*(model.choose(prompt, ("A", "B")) for prompt in prompts), return_exceptions=True)

    good, bad = asyncio.run(run())
    assert isinstance(good, Choice)
    assert isinstance(bad, CallFailedError)
    assert "marks: '!' is by itself the control token" in str(bad)


def test_an_error_in_a_batch_reaches_every_call_and_the_next_calls_work(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LocalModel(tiny_model_dir)

    async def run() -> list[Any]:
        calls = (model.generate(PROMPT, SAMPLING, seed=seed) for seed in range(3))
        return await asyncio.gather(*calls, return_exceptions=True)

    with monkeypatch.context() as patch:
        patch.setattr(model._sampler, "sample", lambda *_, **__: 1 / 0)
        assert [type(error) for error in asyncio.run(run())] == [ZeroDivisionError] * 3
    assert [type(sample) for sample in asyncio.run(run())] == [Sample] * 3


def test_a_cancelled_call_takes_none_with_it(model: LocalModel) -> None:
    async def run() -> Sample:
        first = asyncio.ensure_future(model.generate(PROMPT, SAMPLING, seed=0))
        second = asyncio.ensure_future(model.generate(PROMPT, SAMPLING, seed=1))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(run()) == wait(model.generate(PROMPT, SAMPLING, seed=1))


def test_an_interrupted_loop_leaves_nothing_behind(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model._sampler, "sample", interrupt)
        with pytest.raises(KeyboardInterrupt):
            wait(model.generate(PROMPT, SAMPLING, seed=0))
    assert wait(model.generate(PROMPT, SAMPLING, seed=0)).generated_tokens == 8


# ------------------------------------------------------------------------------------- beside other work


def test_the_event_loop_goes_on_while_a_batch_is_computed(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, elsewhere = LocalModel(tiny_model_dir), threading.Event()
    sample = model._sampler.sample

    def wait_for_it(*given: Any, **options: Any) -> Any:
        assert elsewhere.wait(timeout=10), "nothing else went on meanwhile"
        return sample(*given, **options)

    monkeypatch.setattr(model._sampler, "sample", wait_for_it)

    async def answer_elsewhere() -> None:
        await asyncio.sleep(0.01)
        elsewhere.set()

    async def run() -> Sample:
        drawn, _ = await asyncio.gather(model.generate(PROMPT, SAMPLING, seed=1), answer_elsewhere())
        return drawn

    assert asyncio.run(run()) == wait(LocalModel(tiny_model_dir).generate(PROMPT, SAMPLING, seed=1))


def test_local_models_compute_one_at_a_time_and_in_equal_batches_every_time(tiny_model_dir: Path) -> None:
    """Items ask two models in turn, some once and some thrice, so that waves of both overlap."""
    at_once: list[int] = []

    class Counted(Watched):
        async def _answer(self, group: Any, calls: Any) -> None:
            at_once.append(at_once[-1] + 1 if at_once else 1)
            await super()._answer(group, calls)
            at_once.append(at_once[-1] - 1)

    def run() -> tuple[list[int], list[int]]:
        first, second = Counted(tiny_model_dir), Counted(tiny_model_dir)

        async def item(number: int) -> None:
            for turn in range(1 + number % 3):
                model = (first, second)[(number + turn) % 2]
                await model.generate(PROMPT, SAMPLING, seed=number)

        async def work() -> None:
            await asyncio.gather(*(item(number) for number in range(40)))

        asyncio.run(work())
        return first.batches, second.batches

    batches = run()
    assert [run() for _ in range(3)] == [batches] * 3
    assert sum(map(sum, batches)) == sum(1 + number % 3 for number in range(40))
    assert max(at_once) == 1


def test_a_call_elsewhere_holds_up_only_the_items_that_need_it(tiny_model_dir: Path) -> None:
    model, order = LocalModel(tiny_model_dir), []

    async def near(number: int) -> None:
        await model.generate(PROMPT, SAMPLING, seed=number)
        order.append("near")

    async def far() -> None:
        while order.count("near") < 4:  # an answer that comes only after all that is near
            await asyncio.sleep(0.001)
        order.append("far")

    async def work() -> None:
        await asyncio.gather(far(), *(near(number) for number in range(4)))

    asyncio.run(asyncio.wait_for(work(), timeout=60))
    assert order == ["near"] * 4 + ["far"]


def test_a_limit_only_cuts_a_draw(model: LocalModel) -> None:
    assert model.limit_only_cuts
    request = ask(("user", "how do i find the lamp"), stop=(" t",))
    reasons = []
    for seed in range(40):
        whole = wait(model.generate(request, Sampling(max_tokens=24), seed=seed))
        assert whole.token_ids is not None
        for limit in (1, 2, 5, len(whole.token_ids)):
            drawn = wait(model.generate(request, Sampling(max_tokens=limit), seed=seed))
            assert drawn.token_ids == whole.token_ids[:limit]
            if limit >= len(whole.token_ids):
                assert (drawn.text, drawn.stop_reason) == (whole.text, whole.stop_reason)
                reasons.append(whole.stop_reason)
            else:
                assert drawn.stop_reason == "length"
    assert {"end", "stop"} <= set(reasons)
