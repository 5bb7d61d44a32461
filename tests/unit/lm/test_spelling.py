"""Proves that what is weighed of an option are spellings that a tokenizer tells apart: none is counted twice, none for
two options, and a model that knows no tokenizer is asked for the option as it stands.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from solon.errors import CallFailedError, PromptingError
from solon.lm import Journal, JournaledModel, LanguageModel, ScriptedModel, SpellingModel, find_spellings
from solon.lm.backends.local import LocalModel
from solon.lm.spelling import keep_distinct, spell
from solon.nets import encode_prompt
from solon.prompting import ANSWERS
from solon.records import Rendered
from tests import made_up_tokenizers
from tests.asking import ask
from tests.tolerances import FLOAT32_SAME

PROMPT = ask(("user", "Is it kind? Answer Yes or No."))
PLAIN = ask(("user", "Is it kind? Answer Yes or No.\n\nAssistant:"), layout="transcript")


def test_an_option_is_spelled_in_both_cases_with_and_without_a_space() -> None:
    assert spell("Yes") == ("Yes", " Yes", "yes", " yes")
    assert spell("yes") == ("yes", " yes")


@pytest.mark.parametrize(
    ("yes", "no", "kept"),
    [
        ([[1], [2], [3], [4]], [[5], [6], [7], [8]], (("y", "Y", "z", "Z"), ("n", "N", "m", "M"))),
        ([[1], [1], [3], [3]], [[5], [6], [5], [6]], (("y", "z"), ("n", "N"))),  # read alike
        ([[1, 2], [1], [1, 3], [4]], [[5], [6, 1], [6], [7]], (("Y", "Z"), ("n", "m", "M"))),  # goes on from another
        ([[1], [2], [9], [4]], [[5], [9], [7, 1], [2, 2]], (("y", "Z"), ("n", "m"))),  # could be either
        ([[9], [9], [9], [9]], [[9], [9], [9], [9]], ((), ())),
        ([[1], [], [3], [4]], [[5], [6], [7], [8]], (("y", "z", "Z"), ())),  # what is written by nothing is everywhere
    ],
)
def test_what_is_counted_elsewhere_or_for_nobody_is_left_out(yes: Any, no: Any, kept: Any) -> None:
    assert tuple(keep_distinct(["yYzZ", "nNmM"], [yes, no])) == kept


def test_a_model_that_does_not_say_is_asked_for_the_options_as_they_stand(tmp_path: Path, tiny_model_dir: Path) -> None:
    scripted = ScriptedModel()
    assert not isinstance(scripted, SpellingModel)
    assert find_spellings(scripted, PROMPT, ANSWERS) == (("Yes",), ("No",))
    local = LocalModel(tiny_model_dir)
    with Journal(tmp_path / "journal.sqlite") as journal:
        inner: LanguageModel
        for inner in (scripted, local):
            found = find_spellings(JournaledModel(inner, journal), PROMPT, ANSWERS)
            assert found == find_spellings(inner, PROMPT, ANSWERS)
    assert len(find_spellings(local, PROMPT, ANSWERS)[0]) > 1


def over(tokenizer: Any) -> LocalModel:
    """A random model of this vocabulary, in which every token is about as likely."""
    torch.manual_seed(0)
    rows = max(tokenizer.get_vocab().values()) + 1
    config = LlamaConfig(
        vocab_size=rows, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    network: Any = LlamaForCausalLM(config).eval()
    return LocalModel(network, tokenizer, identity="random")


def read(model: LocalModel, ids: list[int]) -> torch.Tensor:
    """Log-probabilities of the tokens of a text, in one plain pass; of the first token none."""
    network: Any = model._sampler._model  # type: ignore[attr-defined]
    with torch.no_grad():
        steps = network(torch.tensor([ids])).logits[0].double().log_softmax(-1)[:-1]
    return steps.gather(1, torch.tensor(ids)[1:, None])[:, 0]


CASES = [(name, PROMPT) for name in made_up_tokenizers.CHATTING] + [(name, PLAIN) for name in made_up_tokenizers.ALL]


@pytest.mark.parametrize(("name", "prompt"), CASES, ids=[f"{name}, {prompt.layout}" for name, prompt in CASES])
def test_spellings_are_weighed_exactly_and_add_up(name: str, prompt: Rendered) -> None:
    tokenizer = made_up_tokenizers.ALL[name]()
    model = over(tokenizer)
    yes, no = model.spellings(prompt, ANSWERS)
    choice = asyncio.run(model.choose(prompt, (*yes, *no)))

    # By another way: prompt and answer laid out as one text, which is read whole in one plain pass.
    def lay_out(text: str) -> list[int]:
        if prompt.layout == "transcript":
            return encode_prompt(tokenizer, ask(("user", prompt.text + text), layout="transcript"))
        return encode_prompt(tokenizer, ask(*((turn.role, turn.text) for turn in prompt.turns), ("assistant", text)))

    start = choice.prompt_tokens
    wholes = [lay_out(text) for text in (*yes, *no)]
    for ids, logprob in zip(wholes, choice.logprobs, strict=True):
        assert ids[:start] == wholes[0][:start]
        expected = float(read(model, ids)[start - 1 :].sum())
        assert logprob == pytest.approx(expected, rel=0, abs=FLOAT32_SAME * (len(ids) - start))
        assert sum(other[: len(ids)] == ids for other in wholes) == 1  # so their probabilities add up

    # Nothing that can be told apart is missing: what is left out begins as, or is the beginning of, what is weighed.
    for text in {*spell("Yes"), *spell("No")} - {*yes, *no}:
        ids = lay_out(text)
        assert any(ids[: len(kept)] == kept or kept[: len(ids)] == ids for kept in wholes)


def test_answers_that_a_vocabulary_lacks_cannot_be_told_apart() -> None:
    tokenizer = made_up_tokenizers.word_level({"<unk>": 0, "kind": 1, "</s>": 2})
    model = over(tokenizer)
    assert model.spellings(PLAIN, ANSWERS) == (("Yes",), ("No",))
    with pytest.raises(PromptingError, match="cannot be told apart"):
        asyncio.run(model.choose(PLAIN, ("Yes", "No")))


def test_a_text_that_cannot_be_tokenised_is_the_failure_of_its_item() -> None:
    tokenizer = made_up_tokenizers.chatml()
    tokenizer.add_tokens(["!"], special_tokens=True)
    with pytest.raises(CallFailedError, match="'!' is by itself the control token"):
        over(tokenizer).spellings(ask(("user", "kind!")), ANSWERS)
