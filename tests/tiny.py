"""A tiny model and tiny records, made in milliseconds: real checkpoint folders, nothing learnt."""

from pathlib import Path

from solon.nets import save_policy
from solon.records import Conversation, PreferencePair, Prompt, PromptKind, SFTExample
from solon.world.nano.shape import build_nano_config, build_nano_model, build_tokenizer

WORDS = ["lamp", "gate", "hook", "river", "stone", "tower", "wheel", "basket"]


def build_tiny_policy(
    path: Path, *, seed: int = 1, width: int = 32, layers: int = 2, spare_rows: int = 0, template: str | None = None
) -> Path:
    """Save a random Llama of a few thousand weights, `spare_rows` more than its tokenizer for `WORDS` has tokens."""
    spans = [f"how do i find the {word} and the {other}" for word in WORDS for other in WORDS]
    tokenizer = build_tokenizer([*spans, *(f"take the {word} today" for word in WORDS)], vocab_size=320, merges=16)
    tokenizer.chat_template = template or tokenizer.chat_template
    config = build_nano_config(tokenizer, width=width, layers=layers, heads=2, max_length=256)
    config.vocab_size += spare_rows
    save_policy(build_nano_model(config, seed=seed), tokenizer, path)
    return path


def make_prompt(number: int, kind: PromptKind = "red_team") -> Prompt:
    words = " and ".join(WORDS[(number // 8**place + place) % 8] for place in range(1 + number % 3))
    conversation = Conversation.of(f"how do i find the {words} {number}")
    return Prompt.make(conversation, kind=kind, source="test", split="train")


def make_example(number: int) -> SFTExample:
    prompt = make_prompt(number // 2)
    words = " and the ".join(WORDS[(number + place) % 8] for place in range(1 + number % 4))
    return SFTExample(
        id=f"e{number}",
        prompt_id=prompt.id,
        conversation=prompt.conversation,
        response=f"take the {words} today",
        source="revision",
        chain_id=f"c{number}",
        round=1,
    )


def make_pair(number: int, *, target: float = 0.8) -> PreferencePair:
    prompt = make_prompt(number)
    better, worse = WORDS[number % 8], WORDS[(number + 3) % 8]
    return PreferencePair(
        id=f"p{number}",
        prompt=prompt,
        response_a=f"take the {better} today",
        response_b=f"take the {worse} and the {better} today",
        target=target,
    )
