"""Proves that a system prompt comes before whatever a model is asked, and is in the journal with it."""

import asyncio
import json
from pathlib import Path

import pytest

from solon.lm import Journal, JournaledModel, LanguageModel, ScriptedModel, read_call, respond, with_system_prompt
from solon.prompting import add_system_prompt, render_comparison
from solon.records import Conversation, Layout, Sampling
from tests.asking import ask

RULE = "Be brief."
ASKED = ask(("user", "Hello?"), ("assistant", "(A"))


def scripted(layout: Layout = "chat") -> ScriptedModel:
    return ScriptedModel(lambda *_: "Yes.", lambda *_: (-0.1, -3.0), identity="m", layout=layout)


def test_without_one_the_model_is_itself() -> None:
    model = scripted()
    assert with_system_prompt(model, None) is model


@pytest.mark.parametrize("layout", ["chat", "transcript"])
def test_whatever_it_is_asked_begins_with_it(layout: Layout) -> None:
    inner = scripted(layout)
    model = with_system_prompt(inner, RULE)
    assert isinstance(model, LanguageModel)
    assert (model.layout, model.limit_only_cuts) == (layout, inner.limit_only_cuts)
    asyncio.run(respond(model, Conversation.of("Hello?"), Sampling(), seed=3))
    asyncio.run(model.choose(ASKED, ("A", "B")))
    ((asked, sampling, seed),) = inner.generated
    assert (sampling, seed) == (Sampling(), 3)
    expected = "[system] Be brief.\n\n[user] Hello?" if layout == "chat" else "\n\nSystem: Be brief.\n\nHuman: Hello?"
    assert asked.text.startswith(expected)
    assert inner.chosen == [(add_system_prompt(ASKED, RULE), ("A", "B"))]


def test_its_identity_tells_it_from_others() -> None:
    models = [with_system_prompt(scripted(), text) for text in (None, RULE, "Be kind.", RULE)]
    assert len({model.identity for model in models}) == 3
    assert models[1].identity == models[3].identity


def test_the_journal_holds_the_whole_prompt_and_calls_without_one_keep_their_keys(tmp_path: Path) -> None:
    async def ask_all() -> list[str]:
        with Journal(tmp_path / "journal.sqlite") as journal:
            inner = JournaledModel(scripted(), journal)
            models = [with_system_prompt(inner, text) for text in (None, RULE, None, RULE)]
            samples = [await model.generate(ASKED, Sampling(), seed=1) for model in models]
            assert (inner.counter.calls, inner.counter.replayed) == (4, 2)
            assert samples[0] == await JournaledModel(scripted(), journal).generate(ASKED, Sampling(), seed=1)
        return [str(sample.call) for sample in samples]

    keys = asyncio.run(ask_all())
    assert keys[:2] == keys[2:]
    turns = []
    for key in keys[:2]:
        call = read_call(tmp_path / "journal.sqlite", key)
        assert call is not None
        turns.append(json.loads(json.dumps(call.request))["turns"])
    assert turns[1] == [["system", [[0, RULE]]], *turns[0]]


def test_a_prompt_with_exemplars_has_it_once() -> None:
    from solon.constitution import ComparisonExemplar, Principle

    shot = ComparisonExemplar(conversation=Conversation.of("q"), response_a="x", response_b="y", better="b")
    principle = Principle(id="p", comparison="Pick one.")
    rendered = render_comparison(Conversation.of("Hello?"), "x", "y", principle, exemplars=[shot])
    assert [turn.role for turn in add_system_prompt(rendered, RULE).turns] == ["system", *["user", "assistant"] * 2]
