"""Proves that training learns and samples responses after a closed thought, and learns none.

The witness is the chat template itself, rendered by transformers.
"""

from pathlib import Path
from typing import Any

import pytest

from solon.nets import decode_response, init_scorer_from_policy, load_tokenizer, save_scorer, vocabulary_digest
from solon.records import TemplateArgument
from solon.training.batching import RowEncoder
from solon.training.ppo import PPOConfig, run_ppo
from solon.training.preference_model import PreferenceModelConfig, run_preference_model
from solon.training.sft import SFTConfig, run_sft
from tests.scripts import make_sample
from tests.thinking import EMPTY, build_thinking_policy
from tests.tiny import make_example, make_pair, make_prompt
from tests.unit.training.test_layout import Read

OFF: dict[str, TemplateArgument] = {"enable_thinking": False}
ROWS: list[tuple[str, dict[str, TemplateArgument], str]] = [
    ("opens", {}, EMPTY),
    ("opens, in line", {}, "<think></think>"),
    ("opens, switched", {}, EMPTY),
    ("opens, switched", OFF, EMPTY),
    ("switched", {}, EMPTY),
    ("switched", OFF, EMPTY),
    ("switched, in the prompt only", OFF, EMPTY),
    ("writes empty", {}, EMPTY),
    ("strips", {}, ""),
    ("none", {}, ""),
]
rows = pytest.mark.parametrize(("kind", "told", "written"), ROWS, ids=[f"{kind} {told}" for kind, told, _ in ROWS])
CONVERSATION = make_prompt(3).conversation
ASKED = f"<|im_start|>user\n{CONVERSATION.messages[0].text}<|im_end|>\n<|im_start|>assistant\n"


def tokens_of(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def saved(kind: str, told: dict[str, TemplateArgument], folder: Path) -> Any:
    return load_tokenizer(build_thinking_policy(folder / "base", kind), told)


@rows
def test_a_row_holds_the_response_after_an_empty_thought(
    kind: str, told: dict[str, TemplateArgument], written: str, tmp_path: Path
) -> None:
    tokenizer = saved(kind, told, tmp_path)
    row = RowEncoder(tokenizer).row(CONVERSATION, "Say no.")
    assert row.ids == tokens_of(tokenizer, f"{ASKED}{written}Say no.<|im_end|>")
    assert row.prompt_length == len(tokens_of(tokenizer, ASKED + written))
    assert RowEncoder(tokenizer).prompt(CONVERSATION) == row.ids[: row.prompt_length]


@pytest.mark.parametrize("kind", ["switched", "writes empty"])
def test_a_row_is_the_templates_own_where_it_writes_an_empty_thought(kind: str, tmp_path: Path) -> None:
    tokenizer = saved(kind, {}, tmp_path)
    messages = [
        {"role": "user", "content": CONVERSATION.messages[0].text},
        {"role": "assistant", "content": "Say no."},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False).removesuffix("\n")
    assert RowEncoder(tokenizer).row(CONVERSATION, "Say no.").ids == tokens_of(tokenizer, text)


@rows
def test_what_was_sampled_is_learnt_without_the_thought_before_it(
    kind: str, told: dict[str, TemplateArgument], written: str, tmp_path: Path
) -> None:
    tokenizer = saved(kind, told, tmp_path)
    letters = [index for letter in "Say no." for index in tokens_of(tokenizer, letter)]
    assert tuple(letters) != tokens_of(tokenizer, "Say no.")  # so that it can be told from the text read anew
    thought = tokens_of(tokenizer, "Say no.\n</think>\n\n")  # which says the same, in other tokens
    sample = make_sample("Say no.", token_ids=(*thought, *letters, 0), vocabulary=vocabulary_digest(tokenizer))
    sampled = sample.model_copy(update={"thought_tokens": len(thought)}).tokens
    encoder = RowEncoder(tokenizer)
    row = encoder.row(CONVERSATION, "Say no.", sampled)
    assert row.ids == (*encoder.prompt(CONVERSATION), *letters, encoder.end)
    assert encoder.reread == 0
    assert decode_response(tokenizer, list(encoder.prompt(CONVERSATION))) == ASKED + written


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    return Read(monkeypatch)


@rows
def test_every_loop_reads_and_samples_after_an_empty_thought(
    kind: str, told: dict[str, TemplateArgument], written: str, tmp_path: Path, read: Read
) -> None:
    tokenizer = saved(kind, told, tmp_path)
    base, pm, rl = (tmp_path / name for name in ("base", "pm", "rl"))
    save_scorer(init_scorer_from_policy(base, seed=5), tokenizer, pm)
    settings: dict[str, Any] = {"seed": 1, "metrics": tmp_path / "m.jsonl", "chat_template_kwargs": told}
    run_sft(base, [make_example(number) for number in range(4)], SFTConfig(batch_size=4), tmp_path / "sl", **settings)
    pairs = [make_pair(number) for number in range(4)]
    run_preference_model(base, pairs, [], PreferenceModelConfig(batch_size=4), tmp_path / "pm2", **settings)
    ppo = PPOConfig(iterations=1, responses_per_iteration=4, minibatches=1, max_response_tokens=4)
    run_ppo(base, pm, [make_prompt(number) for number in range(4)], ppo, rl, **settings)
    assert len(read.sampled) == 2  # each answered twice
    assert read.sampled < read.rows
    for prompt in (*read.sampled, *read.rows):
        assert decode_response(tokenizer, list(prompt)).endswith(f"<|im_end|>\n<|im_start|>assistant\n{written}")
