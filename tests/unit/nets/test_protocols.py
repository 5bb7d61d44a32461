"""Models and tokenizers of transformers are what our protocols say they are, whatever their family."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import tokenizers
import torch
from torch import nn

from solon.nets import CausalLM, Scorer, Tokenizer, Trainable, init_scorer_from_policy, is_llama_shaped, save_policy
from solon.nets.llama import LlamaModel
from solon.nets.protocols import CausalOutput, TrunkOutput
from tests import made_up_tokenizers
from tests.language_models import FUSED, OTHERS, make_model, make_tokenizer

Members = dict[str, Any]


def is_protocol(kind: Any) -> bool:
    return getattr(kind, "_is_protocol", False) and kind.__module__.startswith("solon.")


def find_misfits(value: Any, kind: Any, where: str = "it") -> list[str]:
    """What of a value is not as a type says: attributes that are missing or of another type, methods with another
    signature.
    """
    if kind in (Any, object):
        return []
    if is_protocol(kind):
        protocols = [base for base in kind.__mro__ if is_protocol(base)]
        hints: Members = get_type_hints(kind, localns={"Engine": tokenizers.Tokenizer})
        methods = {
            name: member
            for base in protocols
            for name, member in vars(base).items()
            if inspect.isfunction(member) and (name in ("__call__", "__len__") or not name.startswith("_"))
        }
        missing = [f"{where} has no {name}" for name in {**hints, **methods} if not hasattr(value, name)]
        wrong = [
            misfit
            for name, hint in hints.items()
            if hasattr(value, name)
            for misfit in find_misfits(getattr(value, name), hint, f"{where}.{name}")
        ]
        return (
            missing
            + wrong
            + [
                f"{where}.{name} takes other parameters"
                for name, method in methods.items()
                if hasattr(value, name) and not takes(getattr(value, name), method)
            ]
        )
    outer, inner = get_origin(kind), get_args(kind)
    if outer is UnionType:
        found = [find_misfits(value, option, where) for option in inner]
        return [] if [] in found else found[0]
    if outer is Callable:
        return [] if callable(value) else [f"{where} cannot be called"]
    if outer is Sequence:  # a `ModuleList` is one in all but name
        return [
            misfit for place, one in enumerate(value) for misfit in find_misfits(one, inner[0], f"{where}[{place}]")
        ]
    plain = outer or kind
    return [] if isinstance(value, (int, float) if plain is float else plain) else [f"{where} is a {type(value)}"]


def takes(function: Callable[..., Any], protocol: Callable[..., Any]) -> bool:
    """Whether a method can be called as a protocol's may be."""
    given = list(inspect.signature(protocol).parameters.values())[1:]
    positional = [one for one in given if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    named = {one.name: None for one in given if one.kind is one.KEYWORD_ONLY}
    try:
        inspect.signature(function).bind(*positional, **named)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("name", [*FUSED, *OTHERS])
def test_a_causal_model_is_one(name: str) -> None:
    model = make_model(name)
    assert find_misfits(model, CausalLM) == []
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        assert find_misfits(model(input_ids=ids, use_cache=False), CausalOutput) == []
        assert find_misfits(model.base_model(input_ids=ids, use_cache=False), TrunkOutput) == []


@pytest.mark.parametrize("name", [*FUSED, *OTHERS])
def test_what_is_called_llama_shaped_has_what_the_decoder_reads(name: str) -> None:
    model = make_model(name)
    assert is_llama_shaped(model) == (name in FUSED)
    if is_llama_shaped(model):
        assert find_misfits(model, LlamaModel) == []


@pytest.mark.parametrize("name", ["llama", "mistral, sliding window", "qwen3", "gemma 2", "granite", "ctrl"])
def test_a_scorer_is_one(name: str, tmp_path: Path) -> None:
    save_policy(make_model(name), make_tokenizer(), tmp_path)
    assert find_misfits(init_scorer_from_policy(tmp_path, seed=1), Scorer) == []


def test_a_head_alone_can_be_trained() -> None:
    assert find_misfits(nn.Linear(2, 1), Trainable) == []


@pytest.mark.parametrize("make", [made_up_tokenizers.nano, made_up_tokenizers.chatml, made_up_tokenizers.unigram])
def test_a_tokenizer_is_one(make: Callable[[], Any]) -> None:
    assert find_misfits(make(), Tokenizer) == []


def test_what_does_not_fit_is_named() -> None:
    assert find_misfits(nn.Linear(2, 1), Scorer)[:2] == ["it has no config", "it has no device"]
    model = make_model("llama")
    model_without_score = find_misfits(model, Scorer)
    assert model_without_score == ["it has no score"]

    class Llama:
        config, base_model = model.config, model

        def get_output_embeddings(self, of: str) -> None: ...

    found = find_misfits(Llama(), LlamaModel)
    assert found[0] == "it.base_model has no embed_tokens"
    assert found[-1] == "it.get_output_embeddings takes other parameters"
