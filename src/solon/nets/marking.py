"""A tokenizer's engine that takes control tokens from those who know its marks, and from no text.

Each control token is written as a mark: a long random number, drawn anew for each engine, and the id of the token,
between the token's own first and last character, by which an added word beside it tells where it ends. Whole texts go
through a copy of the engine that knows the marks, the added words, and no other added token. So what a person or a
model wrote cannot be taken for a control token, however it is spelled, while everything between two marks is
normalised, split and merged as the tokenizer does it in the whole text. Where the vocabulary itself still yields a
control token, the text is cut inside it by one more mark, which stands for nothing.
"""

import json
import re
import secrets
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from solon.errors import PromptingError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_CUT = 99_999_999
"""An id that no token has."""


class MarkedEngine:
    """A tokenizer's engine in which control tokens are written by marks that no text can know, and by nothing else.

    A mark holds a long random number and the id of the token that it stands for. It splits text as its token does.

    Args:
        engine: of the tokenizers library; it is copied.
        control: control tokens and their ids.
        words: added tokens that text may hold, none of which is a control token.
    """

    def __init__(self, engine: "Tokenizer", control: Mapping[str, int], words: Collection[str] = ()) -> None:
        secret = str(2**127 + secrets.randbits(127))  # decimal digits, which hardly any normaliser changes
        self._marks = {token: f"{token[0]}{secret}{index:08d}{token[-1]}" for token, index in control.items()}
        self._words = frozenset(words)
        self._cut = f"{secret}{_CUT:08d}"
        self._names = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))) or "(?!)")
        self._numbers = re.compile(f"{secret}([0-9]{{8}})")
        self._control = frozenset((*control.values(), _CUT))
        self._engine, self._meanings = self._copy(engine)
        self._strict: Tokenizer | None = None

    def mark(self, text: str) -> str:
        """Put marks in place of the control tokens of a template."""
        return self._names.sub(lambda name: self._marks[name[0]], text)

    def read(self, text: str) -> list[int]:
        """Return the ids of the marks in a text."""
        return [int(number) for number in self._numbers.findall(text)]

    def encode(self, text: str) -> list[int]:
        """Tokenise text; its marks are its control tokens.

        Raises:
            PromptingError: text that cannot be tokenised without another control token, that takes a control token's
                first characters for the end of a word, or that holds half of a character.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PromptingError(
                f"the text holds half of a character (U+{ord(text[error.start]):04X}, a lone surrogate): "
                "write the whole character"
            ) from None
        ids = self._encode(self._engine, text)
        if ids is None:  # text beside a mark kept it from being recognised, as it would keep the token
            ids = self._encode(self._build_strict(), text)
        if ids is None:
            raise PromptingError(
                "an added word of this tokenizer takes in the beginning of the control token that follows it: "
                "leave the word out where a text ends"
            )
        return ids

    def _encode(self, engine: "Tokenizer", text: str) -> list[int] | None:
        """Tokenise text, cut wherever the vocabulary itself yields a control token; None where a mark is lost."""
        while True:
            encoding = engine.encode(text, add_special_tokens=False)
            cuts = self._find_cuts(text, encoding)
            if not cuts:
                break
            text = self._cut.join(text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True))
        ids = [self._meanings.get(index, index) for index in encoding.ids]
        if [index for index in ids if index in self._control] != self.read(text):
            return None
        return [index for index in ids if index != _CUT]

    def _find_cuts(self, text: str, encoding: "Encoding") -> list[int]:
        """Return the places after the first character of every control token that is no mark."""
        cuts = []
        for index, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
            if index in self._control and index not in self._meanings:
                if stop - start < 2:
                    raise PromptingError(
                        f"{text[start:stop]!r} is by itself the control token {index} of this tokenizer and cannot "
                        "be written as text: leave the character out"
                    )
                cuts.append(start + 1)
        return cuts

    def _copy(self, engine: "Tokenizer") -> tuple["Tokenizer", dict[int, int]]:
        """Return a copy whose added tokens are marks and words, and what their ids are in the original."""
        from tokenizers import AddedToken, Tokenizer

        body = json.loads(engine.to_str())
        added = body["added_tokens"]
        body |= {"added_tokens": [], "padding": None, "truncation": None, "post_processor": None}
        copy = Tokenizer.from_str(json.dumps(body))
        known = copy.get_vocab()
        gaps = max(known.values(), default=-1) + 1 - len(known)  # an added token's id is the number of those before it
        copy.add_tokens([AddedToken(f"{secrets.token_hex(16)}{gap}", normalized=False) for gap in range(gaps)])
        flags = {
            token["content"]: {name: token[name] for name in ("lstrip", "rstrip", "normalized")} for token in added
        }
        meanings = {self._cut: _CUT}
        copy.add_tokens([AddedToken(self._cut, normalized=False)])
        for content, mark in self._marks.items():
            copy.add_tokens([AddedToken(mark, **flags.get(content, {"normalized": False}))])
            meanings[mark] = self.read(mark)[0]
        for token in added:
            if token["content"] in self._words:
                copy.add_tokens([AddedToken(**{name: value for name, value in token.items() if name != "id"})])
                meanings[token["content"]] = token["id"]
        ids = copy.get_vocab(with_added_tokens=True)
        return copy, {ids[content]: index for content, index in meanings.items()}

    def _build_strict(self) -> "Tokenizer":
        """Return the engine with marks that are recognised whatever stands beside them."""
        from tokenizers import Tokenizer

        if self._strict is None:
            body = json.loads(self._engine.to_str())
            for token in body["added_tokens"]:
                token["normalized"] &= not self.read(token["content"])
            self._strict = Tokenizer.from_str(json.dumps(body))
        return self._strict
