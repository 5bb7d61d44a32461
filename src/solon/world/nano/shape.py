"""The nano model's shape: a byte-level tokenizer in which frequent words are one token, and a small Llama.

The tokenizer splits text as Llama 3 does and, also as Llama 3 does, looks a whole word up before it applies any
merge (`ignore_merges`). So a frequent word costs one token and no intermediate merges, which in a vocabulary of a
thousand leaves room for several hundred words; a few merges and the 256 bytes spell everything else. Engines that
load Llama 3's tokenizer load this one.

Each turn is `<|role|>text<|end|>`: the control tokens stand apart from any text, and no token is spent on layout.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable

import torch

from solon.errors import ModelError
from solon.nets import CausalLM, Tokenizer
from solon.nets.llama import LlamaConfig

PAD, END, SYSTEM, USER, ASSISTANT = CONTROL_TOKENS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text is cut into words before anything else; the pattern Llama 3 made common."""


def build_tokenizer(
    spans: Iterable[str], *, vocab_size: int = 1024, merges: int = 128, min_count: int = 2, max_length: int = 1024
) -> Tokenizer:
    """Build a byte-level tokenizer from the texts it is for.

    Args:
        spans: texts as they will be tokenised, each on its own: the first word of a span has no space before it,
            and its form without one is counted apart.
        vocab_size: tokens in all: control tokens, 256 bytes, merges and whole words.
        merges: tokens kept at least for merges, so that rare words are not spelled byte by byte.
        min_count: a rarer word is not given a token of its own.
        max_length: context of the model in tokens, for the tokenizer's configuration.

    Raises:
        ModelError: the vocabulary is too small to hold the bytes.
    """
    from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Engine
    from transformers import PreTrainedTokenizerFast

    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    counts: Counter[str] = Counter()
    for text, times in Counter(spans).items():
        for word, _ in splitter.pre_tokenize_str(text):
            counts[word] += times
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    room = vocab_size - len(CONTROL_TOKENS) - len(alphabet)
    if room < 0:
        raise ModelError(f"a vocabulary of {vocab_size} cannot hold 256 bytes and the control tokens: 261 is the least")
    eligible = sum(count >= min_count for count in counts.values())
    rules = _learn_merges(counts, alphabet, min(max(merges, room - eligible), room))
    tokens = [*CONTROL_TOKENS, *alphabet, *dict.fromkeys(left + right for left, right in rules)]
    known = set(tokens)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    words = [word for word in ranked if word not in known and counts[word] >= min_count]
    tokens += words[: vocab_size - len(tokens)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    engine = Engine(models.BPE(vocab=vocabulary, merges=rules, ignore_merges=True))
    engine.pre_tokenizer = splitter
    engine.decoder = decoders.ByteLevel()
    engine.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS])
    tokenizer: Tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=engine,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=[SYSTEM, USER, ASSISTANT],
        model_max_length=max_length,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _learn_merges(counts: Counter[str], alphabet: list[str], merges: int) -> list[tuple[str, str]]:
    """Learn merges from words weighted by the logarithm of their count, so that rare spellings have a say."""
    from tokenizers import Tokenizer as Engine
    from tokenizers import models, trainers

    engine = Engine(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + merges, initial_alphabet=alphabet, show_progress=False, special_tokens=[]
    )
    words = (word for word in sorted(counts) for _ in range(1 + int(math.log2(counts[word]))))
    engine.train_from_iterator(words, trainer)
    return [(left, right) for left, right in json.loads(engine.to_str())["model"]["merges"]]


def build_nano_config(
    tokenizer: Tokenizer,
    *,
    width: int = 160,
    layers: int = 5,
    heads: int = 5,
    kv_heads: int | None = None,
    hidden_factor: float = 8 / 3,
    max_length: int = 1024,
) -> LlamaConfig:
    """Return the configuration of a small Llama for a tokenizer: tied embeddings, rotary positions.

    Args:
        tokenizer: gives the vocabulary's size and the control tokens.
        width: of the residual stream; `width / heads` is best a multiple of 32 for other engines.
        layers: how many.
        heads: query heads.
        kv_heads: key and value heads, a divisor of `heads`; None for as many. Fewer make the cache smaller and
            sampling faster.
        hidden_factor: width of the feed-forward layers over `width`, rounded down to a multiple of 16.
        max_length: context in tokens.
    """
    from transformers import LlamaConfig as Config

    config: LlamaConfig = Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=int(width * hidden_factor) // 16 * 16,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads or heads,
        max_position_embeddings=max_length,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return config


def build_nano_model(config: LlamaConfig, *, seed: int) -> CausalLM:
    """Return a freshly initialised model of a configuration; the caller's random state is left as it was."""
    from transformers import LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: CausalLM = LlamaForCausalLM(config)
        return model.eval()
