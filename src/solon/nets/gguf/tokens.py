"""Byte-level tokenizers in GGUF files.

A file holds a vocabulary, the kinds of its tokens, and merges, but no rule by which text is cut before it is merged: it
names the rule (`tokenizer.ggml.pre`), and whoever reads the file has to know it. A name stands for more than a way of
cutting: of some, a piece that is a word of the vocabulary is that word whatever the merges say. transformers knows
several ways and cuts as GPT-2 does where it does not know a name, and no merges are left out; here a name that nobody
knows is an error.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from solon.errors import ModelError
from solon.nets.protocols import Tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Kinds of tokens, as GGUF numbers them."""

_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN_2 = _LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True)
class Cutting:
    """How text becomes pieces before merging.

    Attributes:
        pattern: what a piece is; None for GPT-2's own.
        digits: each digit is a piece, before anything else.
        whole_words: a piece that is a word of the vocabulary is that word, whatever the merges say.
        composed: letters and their accents are composed first (NFC).
    """

    pattern: str | None = None
    digits: bool = False
    whole_words: bool = False
    composed: bool = False


CUTTINGS = {
    "gpt-2": Cutting(),
    "smollm": Cutting(digits=True),
    "llama-bpe": Cutting(_LLAMA_3, whole_words=True),
    "smaug-bpe": Cutting(_LLAMA_3),
    "qwen2": Cutting(_QWEN_2, composed=True),
}
"""Ways that are written, by the name that they are written under."""

_SAME = {
    **dict.fromkeys(("phi-2", "mpt", "olmo", "jais"), "gpt-2"),
    **dict.fromkeys(("starcoder", "refact", "command-r", "codeshell", "exaone"), "smollm"),
    **dict.fromkeys(("llama3", "llama-v3", "falcon3", "pixtral"), "llama-bpe"),
    "dbrx": "smaug-bpe",
}
"""Other names for the same ways."""

_WHOLE_WORDS = ("tekken", "falcon-h1", "midm-2.0", "lfm2", "jina-v5-nano")
"""Names of ways that transformers knows, but not that words come before merges."""


_PROBES = (
    "Hello world! It's 2024, isn't it? They'LL see.",
    "  two  spaces\n\n\n  and\tlines \r\n  1234567 x= -3.14e10;  ",
    "naïve café, cafe\u0301, Ａ ﬁ ² ½, 你好，世界。 Привет! שלום नमस्ते",
    "👩‍🚀🏽 \u200b\u00a0\ufeff\x00\x7f §§ <|im_start|> </s> [INST] {{ x }} %%% ____ camelCaseWordsXYZ",
)
"""Texts on which tokenizers differ."""


def rebuild_engine(
    engine: "Engine", tokens: list[str], kinds: list[int], name: str | None, *, where: object
) -> "Engine":
    """Return a byte-level engine as its file means it, made from transformers' reading.

    Args:
        engine: what transformers made of the file.
        tokens: the vocabulary, by id.
        kinds: of the tokens.
        name: of the rule by which text is cut; None where the file names none.
        where: the file.

    Raises:
        ModelError: nobody knows the name.
    """
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Engine

    body = json.loads(engine.to_str())
    cutting = CUTTINGS.get(_SAME.get(name or "", name or ""))
    if cutting is not None:
        body |= _describe(cutting)
    elif body["pre_tokenizer"] == _describe(Cutting())["pre_tokenizer"]:
        raise ModelError(
            f"{where}: says of its tokenizer that text is cut by the rule {name or '(none)'!r}, which neither this "
            "package nor transformers knows, so its tokens would be others: start from the model's Hugging Face folder"
        )
    body["model"]["ignore_merges"] = name in _WHOLE_WORDS or (cutting is not None and cutting.whole_words)
    added = [index for index, kind in enumerate(kinds) if kind in (CONTROL, USER_DEFINED)]
    unused = {index for index, kind in enumerate(kinds) if kind == UNUSED}
    # transformers spells a token that is outside the byte alphabet as text would spell it, and then no text becomes it
    words = {word: index for word, index in body["model"]["vocab"].items() if index not in unused.union(added)}
    body["model"]["vocab"] = words | {tokens[index]: index for index in added}
    body["added_tokens"] = []
    rebuilt: Engine = Engine.from_str(json.dumps(body))
    for index in added:
        special = kinds[index] == CONTROL
        token = AddedToken(tokens[index], normalized=False, special=special)
        rebuilt.add_special_tokens([token]) if special else rebuilt.add_tokens([token])
    return rebuilt


def name_cutting(engine: "Engine") -> str | None:
    """Return the name under which a byte-level engine's way of cutting text is written; None where it has none."""
    body = json.loads(engine.to_str())
    if body["model"].get("type") != "BPE":
        return None
    found = {"normalizer": body["normalizer"], "pre_tokenizer": body["pre_tokenizer"]}
    whole_words = bool(body["model"].get("ignore_merges"))
    for name, cutting in CUTTINGS.items():
        if cutting.whole_words == whole_words and _plain(found) == _plain(_describe(cutting)):
            return name
    return None


def list_tokens(engine: "Engine", rows: int) -> Iterator[tuple[str, int]]:
    """Return each of a model's rows as GGUF lists tokens, with its kind; rows without a token are unused ones."""
    added = engine.get_added_tokens_decoder()
    for index in range(rows):
        token = added.get(index)
        if token is not None:
            yield token.content, CONTROL if token.special else USER_DEFINED
        elif (word := engine.id_to_token(index)) is not None:
            yield word, NORMAL
        else:
            yield f"[PAD{index}]", UNUSED


def find_difference(one: Tokenizer, other: Tokenizer) -> str | None:
    """Return a text that two tokenizers read as other tokens, or a word that one alone has; None where there is none.

    Asked of hard texts, of each added token within a text, and of the chat template.
    """
    added = [token.content for token in one.backend_tokenizer.get_added_tokens_decoder().values()]
    template = one.get_chat_template() if one.chat_template else ""
    for text in (*_PROBES, *(f"a{word} {word}b" for word in added), template):
        if one.backend_tokenizer.encode(text).ids != other.backend_tokenizer.encode(text).ids:
            return text
    return next((word for word, _ in one.get_vocab().items() ^ other.get_vocab().items()), None)


def _describe(cutting: Cutting) -> dict[str, Any]:
    """Return a way of cutting as tokenizer.json says it."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    steps: list[pre_tokenizers.PreTokenizer] = []
    if cutting.digits:
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    if cutting.pattern is not None:
        steps.append(pre_tokenizers.Split(Regex(cutting.pattern), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cutting.pattern is None))
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    if cutting.composed:
        engine.normalizer = normalizers.NFC()
    body = json.loads(engine.to_str())
    return {"normalizer": body["normalizer"], "pre_tokenizer": body["pre_tokenizer"]}


def _plain(body: object) -> object:
    """Return a description without what decides offsets only, and without sequences of one or none."""
    if not isinstance(body, dict):
        return body
    inner = body.get("pretokenizers", body.get("normalizers"))
    if inner is not None and len(inner) < 2:
        return _plain(inner[0]) if inner else None
    plain = {key: _plain(value) for key, value in body.items() if key != "trim_offsets"}
    return plain if inner is None else {"steps": [_plain(step) for step in inner]}
