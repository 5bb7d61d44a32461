"""Made-up tokenizers of the kinds there are in the wild, built on the spot."""

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from solon.nets import build_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRIPPING = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DROPPING = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %}{{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
TEXTS = [
    "how do i find the lamp and the gate",
    "take the lamp to the river today",
    "Please rewrite it. Say no, and say why.",
    "user assistant system think tool",
]


def nano() -> Any:
    """Control tokens, the nano model's template."""
    return build_tokenizer(TEXTS, vocab_size=400)


def chatml() -> Any:
    """Byte-level BPE with ChatML; `<think>` and `</think>` are ordinary added tokens, as some families have them."""
    return _byte_level(CHATML, ordinary=["<think>", "</think>"])


def stripping() -> Any:
    """A template that trims its contents, refuses a system turn and begins with <s>."""
    return _byte_level(STRIPPING)


def dropping() -> Any:
    """A template that silently leaves system turns out, with text rather than tokens around the user's."""
    return _byte_level(DROPPING)


def without_template() -> Any:
    """A base model's tokenizer: begins every sequence with <s>, has no chat template."""
    return _byte_level(None)


def unigram() -> Any:
    """A Unigram vocabulary that itself holds the strings of its control tokens."""
    pieces = [("<pad>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("<|im_start|>", 0.0), ("<|im_end|>", 0.0), ("<unk>", -20.0)]
    letters = sorted({letter for text in TEXTS for letter in text} | set("▁<>|/_simend\n"))
    engine = Tokenizer(models.Unigram([*pieces, *((letter, -8.0) for letter in letters)], unk_id=5))
    engine.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    engine.decoder = decoders.Metaspace(prepend_scheme="never")
    engine.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece, _ in pieces[:5]])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=engine, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def word_level(vocabulary: dict[str, int]) -> Any:
    """Whole words under the ids they are given; the last ends a text. Its ids need not be consecutive."""
    engine = Tokenizer(models.WordLevel(vocabulary, unk_token=next(iter(vocabulary))))
    return PreTrainedTokenizerFast(tokenizer_object=engine, eos_token=list(vocabulary)[-1])


ALL = {builder.__name__: builder for builder in (nano, chatml, stripping, dropping, without_template, unigram)}
CHATTING = {name: builder for name, builder in ALL.items() if name != "without_template"}


def _byte_level(template: str | None, ordinary: list[str] | None = None) -> Any:
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    control = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=control,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator(TEXTS, trainer)
    engine.add_tokens([AddedToken(token, special=False, normalized=False) for token in ordinary or []])
    if template is None:
        engine.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=engine, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="right"
    )
    tokenizer.chat_template = template
    return tokenizer
