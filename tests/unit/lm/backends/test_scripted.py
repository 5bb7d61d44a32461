"""Proves that the scripted model says what it was told to, remembers what it was asked, and is a `LanguageModel`."""

import asyncio

import pytest

from solon.errors import CallFailedError
from solon.lm import LanguageModel, ScriptedModel
from solon.records import Choice, Rendered, Sampling, Span, Turn

PROMPT = Rendered(layout="chat", turns=(Turn(role="user", spans=(Span(text="three short words", trusted=False),)),))


def test_replies_of_a_function() -> None:
    model = ScriptedModel(lambda prompt, sampling, seed: f"{prompt.turns[0].text} {sampling.max_tokens} {seed}")
    assert isinstance(model, LanguageModel)
    sample = asyncio.run(model.generate(PROMPT, Sampling(max_tokens=9), seed=4))
    assert sample.text == "three short words 9 4"
    assert (sample.stop_reason, sample.model, sample.seed) == ("end", "scripted", 4)
    assert (sample.prompt_tokens, sample.generated_tokens) == (4, 5)
    assert model.generated == [(PROMPT, Sampling(max_tokens=9), 4)]


def test_replies_of_a_list_are_given_out_in_order() -> None:
    model = ScriptedModel(["one", ("two", "length"), CallFailedError("three")], identity="list")

    async def ask() -> list[tuple[str, str]]:
        samples = [await model.generate(PROMPT, Sampling(), seed=0) for _ in range(2)]
        return [(sample.text, sample.stop_reason) for sample in samples]

    assert asyncio.run(ask()) == [("one", "end"), ("two", "length")]
    for message in ("three", "was asked for one more"):
        with pytest.raises(CallFailedError, match=message):
            asyncio.run(model.generate(PROMPT, Sampling(), seed=0))
    assert len(model.generated) == 4


def test_choices() -> None:
    model = ScriptedModel(choose=lambda prompt, options: tuple(-float(len(option)) for option in options))
    choice = asyncio.run(model.choose(PROMPT, ("A", "BB")))
    assert (choice.options, choice.logprobs, choice.model) == (("A", "BB"), (-1.0, -2.0), "scripted")
    assert model.chosen == [(PROMPT, ("A", "BB"))]
    whole = Choice(options=("A", "B"), logprobs=(-0.1, -2.4), model="server", prompt_tokens=3, has_mass=False, draws=8)
    assert asyncio.run(ScriptedModel(choose=[whole]).choose(PROMPT, ("A", "B"))) == whole
    with pytest.raises(CallFailedError, match="no"):
        asyncio.run(ScriptedModel(choose=[CallFailedError("no")]).choose(PROMPT, ("A", "B")))
