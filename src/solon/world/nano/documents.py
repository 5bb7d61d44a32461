"""Lessons of the world as token ids with loss weights: what the nano model is pretrained on.

A lesson has the tokens that `nets.encode_prompt` gives to the prompt it was rendered for, so that what is learned is
what is asked later. It is tokenised in pieces, since weights differ from span to span, and the pieces meet where the
nano tokenizer splits text anyway, but for a full stop and a line break after it: these are two tokens where two pieces
meet, as the shipped model has learnt them, and one in a prompt. The answer to a comparison is one position with a soft
target over the options.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from solon.constitution import load_constitution
from solon.nets import Tokenizer, encode_text, load_tokenizer
from solon.prompting import OPTIONS
from solon.records import Span
from solon.world.corpus import Lesson, LessonTurn, RuleBook, sample_lesson
from solon.world.nano.pretrain import Document
from solon.world.nano.shape import ASSISTANT, END, SYSTEM, USER


class LessonEncoder:
    """Turns lessons into documents for one tokenizer.

    Args:
        tokenizer: the nano model's.
        answer_weight: weight of the loss on the answer to a comparison, relative to a written word.
    """

    def __init__(self, tokenizer: Tokenizer, *, answer_weight: float) -> None:
        self._tokenizer = tokenizer
        self._answer_weight = answer_weight
        ids = tokenizer.convert_tokens_to_ids
        self._roles = {"system": ids(SYSTEM), "user": ids(USER), "assistant": ids(ASSISTANT)}
        self._end = ids(END)
        (self._a,), (self._b,) = (encode_text(tokenizer, option) for option in OPTIONS)
        self._close = encode_text(tokenizer, ")")

    def encode(self, lesson: Lesson) -> Document:
        """Return the token ids and loss weights of one lesson."""
        ids: list[int] = []
        weights: list[float] = []
        soft: list[tuple[int, dict[int, float]]] = []
        for turn in lesson.turns:
            ids.append(self._roles[turn.role])
            weights.append(0.0)
            for text, weight in _weighted_texts(turn):
                tokens = encode_text(self._tokenizer, text)
                ids += tokens
                weights += [weight] * len(tokens)
            if turn.p_a is not None:
                soft.append((len(ids), _option_target(self._a, self._b, turn.p_a)))
                ids += [self._a if turn.p_a >= 0.5 else self._b, *self._close]
                weights += [self._answer_weight, *[0.0] * len(self._close)]
            ids.append(self._end)
            weights.append(turn.end)
        return Document(np.array(ids, np.int32), np.array(weights, np.float32), soft)


def _option_target(a: int, b: int, p_a: float) -> dict[int, float]:
    return {token: p for token, p in ((a, p_a), (b, 1.0 - p_a)) if p > 0.0}


def _weighted_texts(turn: LessonTurn) -> list[tuple[str, float]]:
    """Pair what is tokenised together with the largest weight among the spans it holds."""
    worded = [pair for pair in zip(turn.spans, turn.weights, strict=True) if pair[0].text]
    runs = groupby(worded, key=lambda pair: pair[0].trusted)
    weights = [max(weight for _, weight in run) for _, run in runs]
    return list(zip(join_spans(turn.spans), weights, strict=True))


def join_spans(spans: Sequence[Span]) -> list[str]:
    """Return what is tokenised together: runs of equal trust, the space at a boundary with the word after it."""
    texts: list[str] = []
    trusted: bool | None = None
    for span in spans:
        if not span.text:
            continue
        if span.trusted is trusted:
            texts[-1] += span.text
        else:
            texts.append(span.text)
            trusted = span.trusted
    for i in range(1, len(texts)):
        if texts[i - 1].endswith(" ") and not texts[i][0].isspace():
            texts[i - 1], texts[i] = texts[i - 1][:-1], " " + texts[i]
    return [text for text in texts if text]


class LessonSource:
    """The endless stream of documents of one build; a pure function of step and seed, and it pickles.

    Args:
        tokenizer: folder of the tokenizer.
        steps: optimizer steps of the whole build, for the curriculum.
        answer_weight: as for `LessonEncoder`.
        max_tokens: longer documents are left out.
    """

    def __init__(self, tokenizer: Path, steps: int, *, answer_weight: float, max_tokens: int) -> None:
        self.arguments = (tokenizer, steps, answer_weight, max_tokens)
        self._ready: tuple[LessonEncoder, RuleBook] | None = None

    def __getstate__(self) -> tuple[Path, int, float, int]:
        """Pickle the arguments only; each process builds its own encoder."""
        return self.arguments

    def __setstate__(self, state: tuple[Path, int, float, int]) -> None:
        """Restore from `__getstate__`."""
        self.arguments = state
        self._ready = None

    def __call__(self, step: int, seed: int) -> Iterator[Document]:
        """Yield the documents of one shard of a step."""
        tokenizer, steps, answer_weight, max_tokens = self.arguments
        if self._ready is None:
            encoder = LessonEncoder(load_tokenizer(tokenizer), answer_weight=answer_weight)
            self._ready = encoder, RuleBook(load_constitution("default"))
        encoder, rules = self._ready
        rng = random.Random(seed)
        while True:
            document = encoder.encode(sample_lesson(rules, rng, progress=step / steps))
            if len(document.ids) <= max_tokens:
                yield document
