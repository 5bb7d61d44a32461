"""Proves that a checkpoint that thinks goes through every stage: what it thinks is on record, and nowhere else.

The model is tiny and thinks one thing: it has learnt to, under a template that opens a thought and knows no mark that
closes one. What runs is the same checkpoint under the template of its kind.
"""

from types import SimpleNamespace

import pytest

from solon.nets import decode_response, load_tokenizer
from solon.pipeline.manifests import load_manifest
from solon.records import (
    Comparison,
    EvalRecord,
    HelpfulSample,
    PreferencePair,
    RevisionChain,
    SFTExample,
    load_records,
)
from tests.e2e.conftest import call_solon
from tests.tiny_world import make_world_tokenizer, start_tiny_llama, tiny_options, train_in_the_world

THOUGHT = "so."
_OPENED = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' }}{{ SAID }}{{ '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|><think>' }}ELSE{% endif %}"
)
TAUGHT = _OPENED.replace("SAID", "m.content").replace("ELSE", "")
THINKS = _OPENED.replace("SAID", "m.content.split('</think>')[-1]").replace(
    "ELSE", "{% if enable_thinking is defined and not enable_thinking %}{{ '</think>' }}{% endif %}"
)
OFF = ["--set", "models.assistant.chat_template_kwargs.enable_thinking=false"]


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    tokenizer = make_world_tokenizer()
    tokenizer.chat_template = TAUGHT
    path = tmp_path_factory.mktemp("thinker") / "model"
    train_in_the_world(start_tiny_llama(tokenizer), tokenizer, path, before=f"{THOUGHT}</think>")
    tokenizer.chat_template = THINKS
    tokenizer.save_pretrained(str(path))
    return path


@pytest.fixture(scope="module")
def thinking_run(tmp_path_factory, thinker):
    folder = tmp_path_factory.mktemp("thinking") / "run"
    done = call_solon("run", "--out", folder, *tiny_options(thinker))
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=folder, done=done)


def load(run, name, kind):
    return load_records(run.folder / "records" / f"{name}.jsonl", kind)


def test_it_is_said_before_the_run(thinking_run):
    said = [line for line in thinking_run.done.stderr.splitlines() if "begins every answer with a thought" in line]
    assert [line.partition(":")[0] for line in said] == ["note"]
    assert said[0].endswith(" ".join(OFF[1:]))


def test_what_it_thought_is_on_record_beside_what_it_answered(thinking_run):
    answers = [record.response for record in load(thinking_run, "evaluation", EvalRecord)]
    comparisons = load(thinking_run, "comparisons", Comparison)
    for samples in (answers, [response for pair in comparisons for response in (pair.response_a, pair.response_b)]):
        closed = [sample for sample in samples if sample.thought_closed]
        assert sum(sample.thought == THOUGHT for sample in closed) > len(samples) / 2
        assert not [sample.text for sample in closed if "</think>" in sample.text]
        for sample in samples:
            assert sample.thought_closed or (sample.text, sample.fault) == ("", "truncated")


def test_what_is_learnt_is_what_it_answered_as_it_was_sampled(thinking_run):
    chains = load(thinking_run, "revision_chains", RevisionChain)
    helpful = load(thinking_run, "helpful_samples", HelpfulSample)
    answered = [*(step.revision for chain in chains for step in chain.steps), *(sample.response for sample in helpful)]
    learnt = load(thinking_run, "sft_examples", SFTExample)
    assert learnt
    assert [example.response for example in learnt] == [sample.text for sample in answered]
    tokenizer = load_tokenizer(thinking_run.folder / "models" / "sl-cai")
    for example in learnt:
        assert decode_response(tokenizer, list(example.tokens.ids)) == example.response
    pairs = load(thinking_run, "preference_pairs", PreferencePair)
    assert pairs
    for pair in pairs:
        for response, tokens in ((pair.response_a, pair.tokens_a), (pair.response_b, pair.tokens_b)):
            assert decode_response(tokenizer, list(tokens.ids)) == response
    for stage in ("sft", "preference-model"):
        manifest = load_manifest(thinking_run.folder / "manifest" / f"{stage}.json")
        assert manifest.metrics["reread"] == 0


def test_nothing_is_said_and_nothing_thought_where_thoughts_are_off(thinker, tmp_path):
    done = call_solon("run", "--out", tmp_path / "run", *tiny_options(thinker), *OFF, "--until", "comparisons")
    assert done.returncode == 0, done.stderr
    assert "thought" not in done.stderr
    for path in (tmp_path / "run" / "records").glob("*.jsonl"):
        assert '"thought"' not in path.read_text()
