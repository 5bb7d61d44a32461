"""Proves that what a row becomes does not depend on the rows it is batched with, nor on which path computed it."""

import copy
from typing import Any

import pytest
import torch

from solon.errors import ModelError, PromptingError
from solon.inference import cache, decoder, fallback
from solon.inference import sampler as module
from solon.inference.sampler import Generated, Sampler
from solon.nets import decode_response
from solon.records import Sampling
from tests.language_models import make_model, make_prompts, make_tokenizer
from tests.tolerances import FLOAT32_SAME

SAMPLING = Sampling(max_tokens=40)


def assert_same(found: list[Generated], expected: list[Generated]) -> None:
    assert [(row.token_ids, row.stop_reason) for row in found] == [(row.token_ids, row.stop_reason) for row in expected]
    for left, right in zip(found, expected, strict=True):
        torch.testing.assert_close(left.logprobs, right.logprobs, rtol=0, atol=FLOAT32_SAME)


@pytest.fixture(params=["llama, grouped", "qwen3"])
def model(request: pytest.FixtureRequest) -> Any:
    return make_model(request.param)


def prompts_of_every_kind() -> list[list[int]]:
    """Lengths of all sorts, a shared head, and one prompt several times."""
    return make_prompts(9) + make_prompts(6, seed=1, head=25) + make_prompts(1, seed=2) * 4


def test_batched_is_one_at_a_time(model: Any) -> None:
    prompts = prompts_of_every_kind()
    seeds = list(range(50, 50 + len(prompts)))
    together = Sampler(model, make_tokenizer()).sample(prompts, SAMPLING, seeds)
    alone = Sampler(model, make_tokenizer(), batch_size=1).sample(prompts, SAMPLING, seeds)
    assert_same(together, alone)
    assert len({row.stop_reason for row in together}) == 2  # some rows end early: the batch was compacted
    order = list(reversed(range(len(prompts))))
    shuffled = Sampler(model, make_tokenizer(), batch_size=7).sample(
        [prompts[i] for i in order], SAMPLING, [seeds[i] for i in order]
    )
    assert_same(shuffled, [together[i] for i in order])


def test_rows_that_end_early_leave_the_others_as_they_are(model: Any) -> None:
    """A sixth of the vocabulary ends a row: some that ended stay a while, then the batch is made smaller, and again."""
    prompts, ends = make_prompts(40, seed=8), range(5, 300, 6)
    together = Sampler(model, make_tokenizer(), end_ids=ends).sample(prompts, SAMPLING, range(40))
    alone = Sampler(model, make_tokenizer(), end_ids=ends, batch_size=1).sample(prompts, SAMPLING, range(40))
    assert_same(together, alone)
    lengths = sorted(len(row.token_ids) for row in together)
    assert lengths[20] <= 6 < lengths[35]


def test_one_prompt_under_several_seeds_gives_several_texts(model: Any) -> None:
    prompts = make_prompts(1) * 8
    found = Sampler(model, make_tokenizer()).sample(prompts, SAMPLING, range(8))
    assert len({tuple(row.token_ids) for row in found}) == 8
    again = Sampler(model, make_tokenizer()).sample(prompts, SAMPLING, [3] * 8)
    assert_same(again, [found[3]] * 8)


def test_how_reading_is_cut_up_changes_nothing(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few tokens at a time, a cache that grows often, rotations computed when a position is first reached."""
    prompts, options = prompts_of_every_kind(), [[[10], [11, 12, 13]]] * 19
    whole = Sampler(model, make_tokenizer())
    expected, weighed = whole.sample(prompts, SAMPLING, range(19)), whole.choose(prompts, options)
    for constant, place, value in (("CHUNK_TOKENS", decoder, 40), ("POSITIONS", decoder, 1), ("BUCKET", cache, 3)):
        monkeypatch.setattr(place, constant, value)
        cut = Sampler(model, make_tokenizer())
        assert_same(cut.sample(prompts, SAMPLING, range(19)), expected)
        for left, right in zip(cut.choose(prompts, options), weighed, strict=True):
            assert left == pytest.approx(right, rel=0, abs=2 * FLOAT32_SAME)


def test_the_fallback_weighs_the_same_a_row_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, options = make_prompts(7), [[[10], [11, 12]], [[10], [13, 14, 15]]] * 3 + [[[9], [8, 7]]]
    sampler = Sampler(make_model("gpt2"), make_tokenizer())
    expected = sampler.choose(prompts, options)
    monkeypatch.setattr(fallback, "MAX_LOGITS", 1)
    for left, right in zip(sampler.choose(prompts, options), expected, strict=True):
        assert left == pytest.approx(right, rel=0, abs=2 * FLOAT32_SAME)


def test_the_fallback_draws_the_same(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = prompts_of_every_kind()
    drawn = Sampler(model, make_tokenizer()).sample(prompts, SAMPLING, range(len(prompts)))
    options = [[[10], [11, 12]]] * len(prompts)
    weighed = Sampler(model, make_tokenizer()).choose(prompts, options)
    monkeypatch.setattr(module, "is_llama_shaped", lambda model: False)
    sampler = Sampler(model, make_tokenizer())
    assert not sampler.has_own_pass
    assert_same(sampler.sample(prompts, SAMPLING, range(len(prompts))), drawn)
    for left, right in zip(sampler.choose(prompts, options), weighed, strict=True):
        assert left == pytest.approx(right, rel=0, abs=2 * FLOAT32_SAME)


def test_choices_do_not_depend_on_the_batch(model: Any) -> None:
    prompts = prompts_of_every_kind()
    options = [[[10], [11, 12], [13, 14, 15]]] * len(prompts)
    together = Sampler(model, make_tokenizer()).choose(prompts, options)
    alone = Sampler(model, make_tokenizer(), batch_size=1).choose(prompts, options)
    for left, right in zip(together, alone, strict=True):
        assert left == pytest.approx(right, rel=0, abs=FLOAT32_SAME)


def test_what_an_optimizer_does_to_the_weights_is_seen_at_once() -> None:
    model, prompts = copy.deepcopy(make_model("llama")), make_prompts(4)
    sampler = Sampler(model, make_tokenizer())
    before = sampler.sample(prompts, SAMPLING, range(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    model(torch.tensor(prompts[0])[None], labels=torch.tensor(prompts[0])[None]).loss.backward()
    optimizer.step()
    after = sampler.sample(prompts, SAMPLING, range(4))
    assert [row.token_ids for row in after] != [row.token_ids for row in before]
    assert_same(Sampler(model, make_tokenizer()).sample(prompts, SAMPLING, range(4)), after)


def test_weights_that_others_replace_are_taken_up_when_it_is_told() -> None:
    model, prompts = copy.deepcopy(make_model("llama")), make_prompts(4)
    sampler = Sampler(model, make_tokenizer())
    before = sampler.sample(prompts, SAMPLING, range(4))
    for parameter in model.parameters():
        parameter.data = 1.5 * parameter.data
    sampler.refresh()
    after = sampler.sample(prompts, SAMPLING, range(4))
    assert [row.token_ids for row in after] != [row.token_ids for row in before]
    assert_same(Sampler(model, make_tokenizer()).sample(prompts, SAMPLING, range(4)), after)


def test_a_stop_string_ends_a_row_where_it_first_appears(model: Any) -> None:
    tokenizer = make_tokenizer()
    prompts = make_prompts(6, seed=7)
    free = Sampler(model, tokenizer).sample(prompts, SAMPLING, range(6))
    texts = [decode_response(tokenizer, row.token_ids) for row in free]
    for stop in (texts[0][5:8], texts[1][9:10], " "):
        found = Sampler(model, tokenizer).sample(prompts, SAMPLING, range(6), stop=(stop, "never in a text"))
        for row, plain, text in zip(found, free, texts, strict=True):
            assert row.token_ids == plain.token_ids[: len(row.token_ids)]
            so_far = decode_response(tokenizer, row.token_ids[:-1])
            if row.stop_reason == "stop":
                assert stop in decode_response(tokenizer, row.token_ids)
                assert stop not in so_far
            else:
                assert_same([row], [plain])
                assert stop not in text.removesuffix("<|end|>")
    assert any(row.stop_reason == "stop" for row in found)


def test_an_empty_stop_string_is_refused(model: Any) -> None:
    with pytest.raises(PromptingError, match="an empty stop string ends every text"):
        Sampler(model, make_tokenizer()).sample([[5]], SAMPLING, [1], stop=("x", ""))


def test_prompts_that_cannot_be_read_are_refused(model: Any) -> None:
    sampler = Sampler(model, make_tokenizer())
    for prompts in ([[5], []], [[5], [5] * 250]):
        with pytest.raises(ModelError, match=r"prompt 1 has (0|250) tokens .* takes 1 to 256"):
            sampler.sample(prompts, SAMPLING, [0, 1])
    assert sampler.sample([], SAMPLING, []) == []
    assert sampler.choose([], []) == []
    longest = sampler.sample([[5] * 216], SAMPLING, [1])
    assert longest[0].token_ids
    options = [[[7], [8]], [[7], [8, 9, 10]]]
    (full, _), alone = sampler.choose([[5] * 256, [5]], options), sampler.choose([[5] * 256], options[:1])
    assert full == pytest.approx(alone[0], rel=0, abs=FLOAT32_SAME)
    with pytest.raises(ModelError, match=r"prompt 1 has 255 tokens and 2 may follow"):
        sampler.choose([[5] * 256, [5] * 255], options)
