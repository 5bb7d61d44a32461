"""Proves that every training row, rollout and probe is laid out as the model is asked: in its layout, under its system
prompt and in what its template is told.

The witness is transformers' own chat template, given the same; of the transcript layout, the tokenizer's own reading of
the text as it stands in the paper.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from solon.inference import Sampler
from solon.nets import encode_text, init_scorer_from_policy, load_scorer, load_tokenizer, save_scorer
from solon.prompting import Templates
from solon.records import Conversation
from solon.training import learner, preference_model, probe, rollout, sft
from solon.training.batching import TokenRow, pack_rows
from solon.training.ppo import PPOConfig, run_ppo
from solon.training.preference_model import PreferenceModelConfig, run_preference_model
from solon.training.probe import check_reading
from solon.training.sft import SFTConfig, run_sft
from tests.made_up_tokenizers import NANO_TOLD
from tests.tiny import build_tiny_policy, make_example, make_pair, make_prompt

TOLD: dict[str, Any] = {"chat_template_kwargs": {"pace": "slow"}}
RULE: dict[str, Any] = {"system_prompt": "take the lamp to the <|end|> gate"}
PLAIN: dict[str, Any] = {"layout": "transcript"}
PLAIN_RULE: dict[str, Any] = PLAIN | {"system_prompt": "take the lamp to the gate"}
OWN_TEMPLATES = Templates("transcript", {"transcript/system.txt": "\n\nRule: {{text}}\n"})
OWN: dict[str, Any] = PLAIN_RULE | {"layout": OWN_TEMPLATES}
EXAMPLES = [make_example(number) for number in range(6)]
PAIRS = [make_pair(number) for number in range(6)]
PROMPTS = [make_prompt(number) for number in range(4)]
PPO = PPOConfig(iterations=2, responses_per_iteration=4, minibatches=1, max_response_tokens=4)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("models"))


def build(folder: Path) -> Path:
    """Save a policy whose template can be told something, and a scorer of it."""
    base = build_tiny_policy(folder / "base", template=NANO_TOLD)
    save_scorer(init_scorer_from_policy(base, seed=5), load_tokenizer(base), folder / "pm")
    return folder


class Read:
    """Writes down the prompts of what was sampled and of what was read in training."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.sampled: set[tuple[int, ...]] = set()
        self.rows: set[tuple[int, ...]] = set()
        sample = Sampler.sample

        def watched(sampler: Sampler, prompts: Any, *given: Any, **options: Any) -> Any:
            self.sampled |= set(map(tuple, prompts))
            return sample(sampler, prompts, *given, **options)

        def packed(rows: list[TokenRow], **options: Any) -> Any:
            self.rows |= {row.ids[: row.prompt_length] for row in rows}
            return pack_rows(rows, **options)

        patch.setattr(Sampler, "sample", watched)
        for module in (sft, preference_model, rollout, learner, probe):
            if hasattr(module, "pack_rows"):
                patch.setattr(module, "pack_rows", packed)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    return Read(monkeypatch)


def laid_out(base: Path, conversations: Iterable[Conversation], told: dict[str, Any]) -> set[tuple[int, ...]]:
    """Return the tokens that transformers gives to prompts."""
    tokenizer: Any = load_tokenizer(base)
    if told.get("layout", "chat") not in ("chat", "single"):
        name = "Rule" if told == OWN else "System"
        rule = f"\n\n{name}: {told['system_prompt']}" if "system_prompt" in told else ""
        texts = [f"{rule}\n\nHuman: {talk.messages[0].text}\n\nAssistant:" for talk in conversations]
        return {tuple(tokenizer(text)["input_ids"]) for text in texts}
    found = set()
    for conversation in conversations:
        rule = [{"role": "system", "content": "RULE"}] if "system_prompt" in told else []
        messages = [*rule, *({"role": message.role, "content": message.text} for message in conversation.messages)]
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **told.get("chat_template_kwargs", {})
        )
        before, _, after = text.partition("RULE")
        rule_ids = encode_text(tokenizer, told["system_prompt"]) if rule else []  # in which nothing is a control token
        ids = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (before, after)]
        found.add((*ids[0], *rule_ids, *ids[1]))
    return found


settings = pytest.mark.parametrize(
    "told",
    [{}, TOLD, RULE, TOLD | RULE, {"layout": "single"}, PLAIN, PLAIN_RULE, OWN],
    ids=["nothing", "told", "rule", "both", "single", "transcript", "transcript, rule", "own templates"],
)


@settings
def test_fine_tuning(told: dict[str, Any], models: Path, tmp_path: Path, read: Read) -> None:
    config = SFTConfig(batch_size=4, eval_fraction=0.4)
    run_sft(models / "base", EXAMPLES, config, tmp_path / "out", seed=1, metrics=tmp_path / "m.jsonl", **told)
    assert read.rows == laid_out(models / "base", [example.conversation for example in EXAMPLES], told)


@settings
def test_the_preference_model(told: dict[str, Any], models: Path, tmp_path: Path, read: Read) -> None:
    config = PreferenceModelConfig(batch_size=4)
    out, metrics = tmp_path / "out", tmp_path / "m.jsonl"
    run_preference_model(models / "base", PAIRS[:4], PAIRS[4:], config, out, seed=1, metrics=metrics, **told)
    assert read.rows == laid_out(models / "base", [pair.prompt.conversation for pair in PAIRS], told)


def test_the_preference_model_does_not_pad_with_the_end_that_its_template_is_told(models: Path, tmp_path: Path) -> None:
    tokenizer, out = load_tokenizer(models / "base"), tmp_path / "out"
    told: dict[str, Any] = {"chat_template_kwargs": {"end": tokenizer.pad_token}}
    config = PreferenceModelConfig(batch_size=4)
    run_preference_model(models / "base", PAIRS, [], config, out, seed=1, metrics=tmp_path / "m.jsonl", **told)
    assert load_scorer(out).config.pad_token_id not in (None, tokenizer.pad_token_id)


@settings
def test_rollouts_and_what_is_learnt_from_them(told: dict[str, Any], models: Path, tmp_path: Path, read: Read) -> None:
    out, metrics = tmp_path / "out", tmp_path / "m.jsonl"
    run_ppo(models / "base", models / "pm", PROMPTS, PPO, out, seed=1, metrics=metrics, **told)
    assert read.sampled == laid_out(models / "base", [prompt.conversation for prompt in PROMPTS], told)
    assert read.rows == read.sampled


@settings
def test_the_check_before_a_run(told: dict[str, Any], models: Path, read: Read) -> None:
    check_reading(models / "base", **told)
    assert read.sampled == laid_out(models / "base", [probe._ASKED], told)
    assert read.rows == read.sampled
