"""A model of a few thousand weights that has read a little of the world: it ends its answers and knows nothing else.

Built in seconds, for runs of the whole pipeline in which only the machinery matters.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from solon.nets import CausalLM, Tokenizer, save_policy
from solon.records import Conversation, Layout, SFTExample
from solon.training.sft import SFTConfig, run_sft
from solon.world.grammar import render_response, sample_dialogue, sample_style
from solon.world.nano.shape import build_nano_config, build_nano_model, build_tokenizer
from solon.world.plans import sample_helpful_only_plan
from solon.world.splits import DOCUMENTED_GOALS

TINY_RUN = [
    "prompts.revision.red_team=16",
    "prompts.revision.helpful=10",
    "prompts.comparisons.red_team=24",
    "prompts.comparisons.helpful=12",
    "prompts.ppo.red_team=32",
    "prompts.ppo.helpful=32",
    "prompts.evaluation.harmful=12",
    "prompts.evaluation.benign=12",
    "prompts.evaluation.twins=6",
    "heldout_pairs=0.25",
    "max_failure_fraction=1",
    "revision.rounds=2",
    "feedback.mass_floor=0",
    "sft.batch_size=8",
    "sft.checkpoint_every=2",
    "preference_model.batch_size=8",
    "preference_model.checkpoint_every=2",
    "ppo.iterations=4",
    "ppo.responses_per_iteration=16",
    "ppo.checkpoint_every=1",
    *(f"{place}=40" for place in ("revision.max_tokens", "revision.max_critique_tokens", "comparisons.max_tokens")),
    *(f"{place}=40" for place in ("ppo.max_response_tokens", "evaluation.max_tokens")),
]
"""Values for `--set` that make the smoke preset a matter of seconds."""


def make_examples() -> list[SFTExample]:
    """Return a few hundred answers of the helpful-only assistant."""
    rng = random.Random(0)
    examples = []
    for number in range(400):
        goal = rng.choice(DOCUMENTED_GOALS)
        conversation = Conversation.of(*sample_dialogue(goal, rng, single_turn=1.0).turns)
        response = render_response(sample_helpful_only_plan(goal, rng), goal, sample_style(rng))
        examples.append(
            SFTExample(
                id=str(number), prompt_id=str(number), conversation=conversation, response=response, source="helpful"
            )
        )
    return examples


def make_transcripts() -> list[SFTExample]:
    """Return the same answers, every second of which goes on with another request, as the texts of a base model do."""
    examples = make_examples()
    following = [example.conversation.messages[0].text for example in examples[1:]]
    return [
        example.model_copy(update={"response": f" {example.response}\n\nHuman: {more}"}) if number % 2 else example
        for number, (example, more) in enumerate(zip(examples, following, strict=False))
    ]


def make_world_tokenizer() -> Tokenizer:
    """Return a tokenizer for what these answers are made of."""
    texts = [text for e in make_examples() for text in (e.conversation.messages[0].text, e.response)]
    return build_tokenizer(texts, vocab_size=900, merges=64)


def train_in_the_world(
    start: CausalLM,
    tokenizer: Tokenizer,
    path: Path,
    *,
    examples: Sequence[SFTExample] | None = None,
    layout: Layout = "chat",
    before: str = "",
) -> Path:
    """Train a tiny model on these answers, or others, each with the same text before it, and save it."""
    untrained = path.with_name(f"{path.name}-untrained")
    save_policy(start, tokenizer, untrained)
    sft = SFTConfig(epochs=4, batch_size=16, learning_rate=1e-2, eval_fraction=0.0)
    learnt = make_examples() if examples is None else examples
    learnt = [example.model_copy(update={"response": before + example.response}) for example in learnt]
    run_sft(untrained, learnt, sft, path, seed=0, metrics=path.with_name("tiny.jsonl"), layout=layout)
    return path


def start_tiny_llama(tokenizer: Tokenizer) -> CausalLM:
    """Return a tiny Llama that has learnt nothing."""
    return build_nano_model(build_nano_config(tokenizer, width=32, layers=1, heads=2, max_length=512), seed=1)


def build_tiny_world_model(path: Path) -> Path:
    """Train a tiny Llama on these answers and save it."""
    tokenizer = make_world_tokenizer()
    return train_in_the_world(start_tiny_llama(tokenizer), tokenizer, path)


def build_tiny_base_model(path: Path) -> Path:
    """Train a tiny Llama without a chat template on transcripts of these answers and save it."""
    tokenizer = make_world_tokenizer()
    tokenizer.chat_template = None
    config = build_nano_config(tokenizer, width=32, layers=1, heads=2, max_length=2048)
    start = build_nano_model(config, seed=1)
    return train_in_the_world(start, tokenizer, path, examples=make_transcripts(), layout="transcript")


def tiny_options(model: Path) -> list[str]:
    """Return the options of `solon run` for a run of seconds on this model."""
    settings = [f"models.assistant.source={model}", *TINY_RUN]
    return ["--preset", "smoke", *(word for setting in settings for word in ("--set", setting))]
