"""Proves that an assistant with a system prompt and a chat template that is told something is asked, trained and
talked to in one layout, token for token, through the whole method.

The witness is transformers' own chat template, told the same over the same turns.
"""

import shutil
from collections import defaultdict

import pytest

from solon.inference import Sampler
from solon.nets import load_tokenizer
from solon.pipeline.stages.feedback import PAIRS
from solon.pipeline.stages.prompts import COMPARISON_PROMPTS, PPO_PROMPTS, REVISION_PROMPTS
from solon.pipeline.stages.revision import SFT_EXAMPLES
from solon.records import Conversation, RunPaths
from solon.training import learner, preference_model, rollout, sft
from solon.training.batching import pack_rows
from tests.e2e.conftest import call_solon
from tests.made_up_tokenizers import NANO_TOLD
from tests.tiny_world import tiny_options

RULE = "Write a reply to this request."
PACE = "Sure"
SETTINGS = [f"models.assistant.system_prompt={RULE}", f"models.assistant.chat_template_kwargs.pace={PACE}"]


@pytest.fixture
def seen(monkeypatch):
    """Prompts by who read them: sampler, forced choice, or the module that trained on them."""
    prompts = defaultdict(set)

    def watch(name, take):
        def watched(sampler, asked, *given, **options):
            prompts[name] |= set(map(tuple, asked))
            return take(sampler, asked, *given, **options)

        monkeypatch.setattr(Sampler, name, watched)

    def watch_rows(module):
        def packed(rows, **options):
            prompts[module.__name__] |= {row.ids[: row.prompt_length] for row in rows}
            return pack_rows(rows, **options)

        monkeypatch.setattr(module, "pack_rows", packed)

    for name in ("sample", "choose"):
        watch(name, getattr(Sampler, name))
    for module in (sft, preference_model, rollout, learner):
        watch_rows(module)
    return prompts


@pytest.fixture
def model(tmp_path, tiny_world):
    """The tiny model under a chat template that looks at `pace`."""
    shutil.copytree(tiny_world, tmp_path / "model")
    tokenizer = load_tokenizer(tmp_path / "model")
    tokenizer.chat_template = NANO_TOLD
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_what_is_asked_what_is_learnt_and_what_is_talked_to_have_one_layout(tmp_path, model, seen):
    folder = tmp_path / "run"
    options = [*tiny_options(model), *(word for setting in SETTINGS for word in ("--set", setting))]
    done = call_solon("run", "--out", folder, *options)
    assert done.returncode == 0, done.stderr
    tokenizer, paths = load_tokenizer(model), RunPaths(folder)

    def encode(messages):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, pace=PACE)
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    def laid_out(conversations):
        talks = ([{"role": m.role, "content": m.text} for m in talk.messages] for talk in conversations)
        return {encode([{"role": "system", "content": RULE}, *talk]) for talk in talks}

    def prompts_of(records):
        return laid_out(prompt.conversation for prompt in records.load(paths))

    for name in ("sample", "choose"):
        (system,) = {ids[: ids.index(tokenizer.eos_token_id) + 1] for ids in seen[name]}
        assert tokenizer.decode(system) == f"<|system|>{RULE}<|end|>"
    for asked in (REVISION_PROMPTS, COMPARISON_PROMPTS):
        assert prompts_of(asked) <= seen["sample"]
    assert seen[sft.__name__] == laid_out(example.conversation for example in SFT_EXAMPLES.load(paths))
    assert seen[preference_model.__name__] == laid_out(pair.prompt.conversation for pair in PAIRS.load(paths))
    assert seen[sft.__name__] <= seen["sample"]
    assert seen[preference_model.__name__] <= seen["sample"]
    assert seen[rollout.__name__] == seen[learner.__name__]
    assert set() < seen[rollout.__name__] <= seen["sample"] & prompts_of(PPO_PROMPTS)
    for name in ("base", "sl-cai", "rl-cai"):
        seen.clear()
        talk = call_solon("chat", folder, "--model", name, "--max-tokens", "8", stdin="How do I bake a cake?\n")
        assert talk.returncode == 0, talk.stderr
        assert seen["sample"] == laid_out([Conversation.of("How do I bake a cake?")])
