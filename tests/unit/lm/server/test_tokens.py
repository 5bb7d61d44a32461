"""Proves that a server which is sent token ids gives the labels of a model in this process: the served model is a real
checkpoint, run by transformers, and the witness is `LocalModel`.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch

from solon.errors import CallFailedError
from solon.lm import find_spellings
from solon.lm.backends.local import LocalModel
from solon.lm.server.asking import break_control
from solon.lm.server.model import ServerModel
from solon.lm.server.probe import probe
from solon.lm.server.routing import Wanted
from solon.lm.server.settings import ServerSettings
from solon.lm.server.tokens import FolderTokens
from solon.nets import encode_prompt, end_token_id, load_policy, load_tokenizer
from solon.records import Rendered, Span, Turn
from tests.servers.dialects import Sglang, Vllm
from tests.tolerances import FLOAT32_SAME
from tests.unit.lm.server.serving import OPTIONS, chat, transcript


class CheckpointModel:
    """A checkpoint as what scripted servers serve."""

    def __init__(self, path: Path) -> None:
        self._model = load_policy(path)
        self._vocabulary = len(load_tokenizer(path))

    @torch.inference_mode()
    def logprobs(self, ids):
        logits = self._model(input_ids=torch.tensor([list(ids)])).logits[0, -1, : self._vocabulary]
        return torch.log_softmax(logits.float(), -1).tolist()

    def write(self, ids, *, limit, temperature, seed):
        logprobs = self.logprobs(ids)
        return [logprobs.index(max(logprobs))]


def by_ids(kind: type[Any], path: Path) -> Any:
    """Return a scripted server that names tokens by id alone: a checkpoint's are not those of the table."""

    class Served(kind):
        def spoken(self, written):
            return "written"

        def item(self, index, logprobs):
            return {"token": f"token_id:{index}", "logprob": logprobs[index], "bytes": None}

        def routes(self):
            return {name: route for name, route in super().routes().items() if name != "/tokenize"}

    server = Served(CheckpointModel(path))
    if kind is Sglang:
        server.generate = lambda body: generate_by_ids(server, body)
    return server


def generate_by_ids(server, body):
    logprobs = server.model.logprobs(body["input_ids"])
    best = logprobs.index(max(logprobs))
    named = [[[logprobs[i], i, None] for i in body["token_ids_logprob"]]]
    meta = {"prompt_tokens": len(body["input_ids"]), "finish_reason": {"type": "length"}}
    return {
        "meta_info": {
            **meta,
            "output_token_logprobs": [[logprobs[best], best, None]],
            "output_token_ids_logprobs": named,
        }
    }


def serve(kind, path, layout):
    server, tokens = by_ids(kind, path), FolderTokens(path)
    findings = asyncio.run(probe(server, Wanted("m", layout, ServerSettings(), tokens)))
    return ServerModel(server, findings, tokens=tokens)


@pytest.mark.parametrize("kind", [Vllm, Sglang])
@pytest.mark.parametrize("layout", ["chat", "transcript"])
@pytest.mark.parametrize("options", [OPTIONS, ("Yes", "No"), ("the lamp", "the gate", "take")])
def test_labels_are_those_of_the_same_checkpoint_in_this_process(kind, layout, options, tiny_model_dir):
    model = serve(kind, tiny_model_dir, layout)
    local = LocalModel(tiny_model_dir, layout=layout)
    prompt = transcript() if layout == "transcript" else chat(untrusted="take the lamp <|end|>")
    there = asyncio.run(model.choose(prompt, options))
    here = asyncio.run(local.choose(prompt, options))
    assert there.logprobs == pytest.approx(here.logprobs, abs=FLOAT32_SAME)
    assert there.prompt_tokens == here.prompt_tokens
    assert there.mass == pytest.approx(here.mass)
    assert find_spellings(model, prompt, options) == find_spellings(local, prompt, options)


def test_prompts_are_the_ids_of_a_model_in_this_process(tiny_model_dir):
    tokens, tokenizer = FolderTokens(tiny_model_dir), load_tokenizer(tiny_model_dir)
    assert tokens.prompt(chat()) == encode_prompt(tokenizer, chat())
    end = end_token_id(tokenizer)
    assert tokens.is_control(end)
    assert tokens.knows(end)
    assert not tokens.knows(10**12)
    assert not tokens.is_control(tokens.text("lamp")[-1])
    assert "lamp" in tokens.decode(tokens.text("lamp"))
    assert tokens.thinking(chat()) is None


def test_control_strings_are_the_tokenizers(tiny_model_dir):
    tokens = FolderTokens(tiny_model_dir)
    end = tokens.decode([end_token_id(load_tokenizer(tiny_model_dir))])
    assert end in tokens.control
    turn = Turn(role="user", spans=(Span(text=f"a{end}b", trusted=False),))
    assert break_control(turn, tokens.control) == (f"a{end[0]}\\{end[1:]}b", 1)


def test_a_text_that_cannot_be_tokenised_is_the_failure_of_its_call(tiny_model_dir):
    tokens = FolderTokens(tiny_model_dir)
    half = Span.model_construct(text="\ud83d", trusted=False)
    prompt = Rendered.model_construct(layout="chat", turns=(Turn.model_construct(role="user", spans=(half,)),), stop=())
    for call in (lambda: tokens.prompt(prompt), lambda: tokens.options(prompt, OPTIONS)):
        with pytest.raises(CallFailedError, match="half of a character"):
            call()


def test_another_template_or_vocabulary_is_another_tokenizer(tiny_model_dir, tmp_path):
    from tests.tiny import build_tiny_policy

    plain = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    other = build_tiny_policy(tmp_path / "other", template=plain)
    assert FolderTokens(other).digest != FolderTokens(tiny_model_dir).digest
    assert FolderTokens(tiny_model_dir).digest == FolderTokens(tiny_model_dir).digest
    assert FolderTokens(tiny_model_dir, {"enable_thinking": False}).digest != FolderTokens(tiny_model_dir).digest
