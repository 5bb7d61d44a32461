"""Made-up tokenizers of the kinds there are in the wild, built on the spot."""

import json
from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Engine
from transformers import PreTrainedTokenizerFast

from solon.world.nano.shape import build_tokenizer

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
TOLD = (
    "{% if tone is defined %}{{ tone }}\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'].split(cut)[0] if cut is defined and cut in m['content'] else m['content'] }}"
    "{{ end if end is defined else '<|im_end|>' }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined %}{{ 'think' if enable_thinking else 'Say no' }}\n{% endif %}{% endif %}"
)
NANO_TOLD = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + (end or '<|end|>') }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}"
    "{% if pace is defined %}{{ pace }}{{ '\n' }}{% endif %}{% endif %}"
)
"""The nano model's template with a place for what it is told."""

TEXTS = [
    "how do i find the lamp and the gate",
    "take the lamp to the river today",
    "Please rewrite it. Say no, and say why.",
    "user assistant system think tool",
]
TEXTS_WITH_BORDERS = ["The answer is: (A)", "The answer is: (B)", "Assistant:A [/INST]a x(A x(B"] * 4
"""Texts in which a prompt and what follows it are often next to each other."""


def nano() -> Any:
    """Control tokens, the nano model's template."""
    return build_tokenizer(TEXTS, vocab_size=400)


def chatml() -> Any:
    """Byte-level BPE with ChatML; `<think>` and `</think>` are ordinary added tokens, as some families have them.

    Its template can write them, which makes them its markers.
    """
    return _byte_level(
        CHATML + "{% if thoughts %}<think>{{ thoughts + '</think>' }}{% endif %}", ordinary=["<think>", "</think>"]
    )


def told() -> Any:
    """A template that looks at what it is told; `<tool>` is an ordinary added token."""
    return _byte_level(TOLD, ordinary=["<tool>"])


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
    engine = Engine(models.Unigram([*pieces, *((letter, -8.0) for letter in letters)], unk_id=5))
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
    engine = Engine(models.WordLevel(vocabulary, unk_token=next(iter(vocabulary))))
    return PreTrainedTokenizerFast(tokenizer_object=engine, eos_token=list(vocabulary)[-1])


ALL = {builder.__name__: builder for builder in (nano, chatml, stripping, dropping, without_template, unigram)}
CHATTING = {name: builder for name, builder in ALL.items() if name != "without_template"}


def _byte_level(template: str | None, ordinary: list[str] | None = None) -> Any:
    engine = Engine(models.BPE())
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


TEMPLATES = {
    "chatml": CHATML,
    "llama 2": (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}"
        "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "llama 3": (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
        "{{ m['content'] }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "gemma": (
        "{{ bos_token }}{% for m in messages %}<start_of_turn>"
        "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] }}<end_of_turn>\n"
        "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ),
    "mistral": (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[SAY]{{ ' ' + m['content'] }}[/SAY]"
        "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    ),
    "transcript": (
        "{% for m in messages %}{{ 'Human' if m['role'] == 'user' else 'Assistant' }}: {{ m['content'] }}\n\n"
        "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
    ),
}
"""Shapes of chat templates: with control tokens around each turn, after a header, or around the user's text only (the
`[SAY]` of `mistral` is one, the `[INST]` of `llama 2` is text), and with none."""

REWRITING = {
    "llama 3, trimmed": TEMPLATES["llama 3"].replace("m['content']", "m['content'] | trim"),
    "gemma, trimmed": TEMPLATES["gemma"].replace("m['content']", "m['content'] | trim"),
    "qwen 3": (
        "{% for m in messages %}{% set content = m['content'] %}"
        "{% if m['role'] == 'assistant' and '</think>' in content %}"
        "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
        "<|im_start|>{{ m['role'] }}\n{{ content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    **{
        f"chatml, {name}": CHATML.replace("m['content']", f"(m['content']{change})")
        for name, change in {
            "upper": " | upper",
            "replaced": ".replace('lamp', 'rope')",
            "cut": "[:40]",
            "escaped": " | e",
            "left": ".lstrip()",
            "quoted": " | tojson",
        }.items()
    },
}
"""Templates that change what their turns hold."""

_TEMPLATE_CONTROL = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
_TEMPLATE_CONTROL += ["<start_of_turn>", "<end_of_turn>", "[SAY]", "[/SAY]"]
_SENTENCEPIECE = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
_LLAMA_3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def _split_then_bytes() -> Any:
    split = pre_tokenizers.Split(Regex(_LLAMA_3_SPLIT), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _bpe(normalizer: Any, pre_tokenizer: Any, decoder: Any, *, bytes_as: str, **options: Any) -> Engine:
    """A BPE of a few merges; `bytes_as` says how bytes are in its alphabet: in letters, in <0x..> tokens."""
    engine = Engine(models.BPE(unk_token="<unk>", byte_fallback=bytes_as == "tokens", **options))
    if normalizer is not None:
        engine.normalizer = normalizer
    if pre_tokenizer is not None:
        engine.pre_tokenizer = pre_tokenizer
    engine.decoder = decoder
    special = ["<unk>", *([f"<0x{byte:02X}>" for byte in range(256)] if bytes_as == "tokens" else [])]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet()) if bytes_as == "letters" else list("▁() :\n")
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + 400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    engine.train_from_iterator([*TEXTS, *TEXTS_WITH_BORDERS], trainer)
    body = json.loads(engine.to_str())
    body["added_tokens"] = body["added_tokens"][:1]  # bytes are tokens of the vocabulary, not added ones
    return Engine.from_str(json.dumps(body))


def _unigram_engine() -> Engine:
    engine = Engine(models.Unigram())
    engine.pre_tokenizer = pre_tokenizers.Metaspace()
    engine.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    engine.train_from_iterator(TEXTS * 3, trainer)
    return engine


def _wordpiece() -> Engine:
    engine = Engine(models.WordPiece(unk_token="<unk>"))
    engine.normalizer = normalizers.BertNormalizer()
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece()
    engine.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["<unk>"], show_progress=False)
    )
    return engine


def _words(pre_tokenizer: Any) -> Engine:
    words = sorted({word for text in TEXTS for word in text.split()})
    control = ["<s>", "</s>", *_TEMPLATE_CONTROL]  # which the vocabulary has, so that splitting alone yields them
    engine = Engine(
        models.WordLevel({word: n for n, word in enumerate(["<unk>", *words, *control])}, unk_token="<unk>")
    )
    engine.pre_tokenizer = pre_tokenizer
    return engine


def _prepend(scheme: str) -> Engine:
    metaspace = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    return _bpe(None, metaspace, decoders.Metaspace(prepend_scheme=scheme), bytes_as="tokens")


_BYTES = decoders.ByteLevel()
_CONSTRUCTIONS: dict[str, Callable[[], Engine]] = {
    "byte level": lambda: _bpe(None, pre_tokenizers.ByteLevel(add_prefix_space=False), _BYTES, bytes_as="letters"),
    "byte level, prefix": lambda: _bpe(
        None, pre_tokenizers.ByteLevel(add_prefix_space=True), _BYTES, bytes_as="letters"
    ),
    "sentencepiece": lambda: _bpe(
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        None,
        decoders.Sequence([*_SENTENCEPIECE, decoders.Strip(" ", 1, 0)]),
        bytes_as="tokens",
    ),
    "gemma": lambda: _bpe(
        normalizers.Replace(" ", "▁"),
        pre_tokenizers.Split(" ", "merged_with_previous"),
        decoders.Sequence(_SENTENCEPIECE),
        bytes_as="tokens",
    ),
    "metaspace, first": lambda: _prepend("first"),
    "metaspace, always": lambda: _prepend("always"),
    "metaspace, never": lambda: _prepend("never"),
    "unigram": _unigram_engine,
    "wordpiece": _wordpiece,
    "words": lambda: _words(pre_tokenizers.Whitespace()),
    "words between spaces": lambda: _words(pre_tokenizers.WhitespaceSplit()),
    "llama 3": lambda: _bpe(None, _split_then_bytes(), _BYTES, bytes_as="letters", ignore_merges=True),
    "qwen": lambda: _bpe(normalizers.NFC(), _split_then_bytes(), _BYTES, bytes_as="letters"),
}
CONSTRUCTIONS = tuple(_CONSTRUCTIONS)
"""What the tokenizers library builds tokenizers from, and families are known for."""


def construct(construction: str, template: str, *, normalized: bool = False) -> Any:
    """A tokenizer of a construction with a template.

    Args:
        construction: one of `CONSTRUCTIONS`.
        template: one of `TEMPLATES` or `REWRITING`.
        normalized: True where its control tokens are looked for in normalised text, as `add_tokens` makes them.
    """
    engine = _CONSTRUCTIONS[construction]()
    blank = ["\n\n", "  ", "▁▁"] if construction == "gemma" else []
    engine.add_tokens([AddedToken(token, normalized=False) for token in blank])
    control = ["<s>", "</s>", *_TEMPLATE_CONTROL]
    engine.add_special_tokens([AddedToken(token, special=True, normalized=normalized) for token in control])
    engine.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", engine.token_to_id("<s>"))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=engine,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = (TEMPLATES | REWRITING)[template]
    return tokenizer
