"""Proves that the journal knows a model without its folder's name, and calls that it once knew with it."""

import asyncio
from pathlib import Path

import pytest

from solon.lm import Journal, JournaledModel, LanguageModel, NamedModel, ScriptedModel
from solon.lm.backends.local import LocalModel
from solon.records import Sampling
from tests.asking import ask
from tests.tiny import build_tiny_policy

PROMPT = ask(("user", "how"))


class InFolder(ScriptedModel):
    """A model that calls itself by a folder and a digest."""

    def __init__(self, name: str, digest: str = "d") -> None:
        super().__init__(
            lambda *_: "one two", lambda *_: (-0.1, -3.0), identity=f"{name}@{digest}", limit_only_cuts=True
        )
        self.nameless_identity = digest


def ask_both(model: LanguageModel, store: Journal, *, max_tokens: int = 8) -> tuple[list[str], int]:
    """Have a model write and choose; return what it calls itself and how many of the two calls were replayed."""
    journaled = JournaledModel(model, store)
    sample = asyncio.run(journaled.generate(PROMPT, Sampling(max_tokens=max_tokens), seed=1))
    choice = asyncio.run(journaled.choose(PROMPT, ("A", "B")))
    assert sample.text == "one two"
    return [sample.model, choice.model], journaled.counter.replayed


def test_another_name_is_the_same_model_and_another_digest_is_not(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as store:
        assert ask_both(InFolder("one"), store) == (["one@d", "one@d"], 0)
        assert ask_both(InFolder("other"), store) == (["other@d", "other@d"], 2)
        assert ask_both(InFolder("one", "e"), store) == (["one@e", "one@e"], 0)


@pytest.mark.parametrize("max_tokens", [8, 16])
def test_calls_of_before_are_found_while_the_folder_has_its_name(max_tokens: int, tmp_path: Path) -> None:
    old = ScriptedModel(lambda *_: "one two", lambda *_: (-0.1, -3.0), identity="one@d")
    with Journal(tmp_path / "old") as store:
        assert ask_both(old, store) == (["one@d", "one@d"], 0)
    with Journal(tmp_path / "other", also_read=[tmp_path / "old"]) as store:
        assert ask_both(InFolder("other"), store, max_tokens=max_tokens)[1] == 0
    with Journal(tmp_path / "new", also_read=[tmp_path / "old"]) as store:
        assert ask_both(InFolder("one"), store, max_tokens=max_tokens)[1] == 2
    for path in (tmp_path / "new", tmp_path / "old"):
        with Journal(path) as store:
            assert ask_both(InFolder("one"), store, max_tokens=max_tokens)[1] == 2
            assert ask_both(InFolder("other"), store, max_tokens=max_tokens) == (["other@d", "other@d"], 2)


def test_a_folder_s_name_is_for_people(tmp_path: Path) -> None:
    folder = build_tiny_policy(tmp_path / "one")
    one = LocalModel(folder)
    other = LocalModel(folder.rename(tmp_path / "other@2"))
    assert isinstance(one, NamedModel)
    assert one.nameless_identity == other.nameless_identity
    assert [one.identity, other.identity] == [f"one@{one.nameless_identity}", f"other@2@{one.nameless_identity}"]
