"""Prompts that have nothing in common, and files of them in every form that is read."""

import csv
import io
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_SYLLABLES: Final = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]


def make_texts(count: int, *, seed: int, words: int = 12) -> list[str]:
    """Return requests of made-up words, no two of which nearly say the same."""
    rng = random.Random(seed)
    return [" ".join("".join(rng.sample(_SYLLABLES, 2)) for _ in range(words)) + "?" for _ in range(count)]


def _lines(rows: Sequence[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _csv(texts: Sequence[str]) -> str:
    table = io.StringIO()
    csv.writer(table).writerows([("prompt", "note"), *((text, "") for text in texts)])
    return table.getvalue()


FORMS: Final[dict[str, Callable[[Sequence[str]], str]]] = {
    "plain": lambda texts: "\n".join(texts),
    "plain.txt": lambda texts: "\r\n".join(texts) + "\r\n",
    "prompts.jsonl": lambda texts: _lines([{"prompt": text, "rating": 1} for text in texts]),
    "prompts.json": lambda texts: json.dumps([{"prompt": text} for text in texts], indent=2),
    "texts.json": lambda texts: json.dumps(list(texts)),
    "prompts.csv": _csv,
    "turns.jsonl": lambda texts: _lines([{"turns": [text]} for text in texts]),
    "messages.jsonl": lambda texts: _lines([{"messages": [{"role": "user", "content": text}]} for text in texts]),
    "chosen.jsonl": lambda texts: _lines(
        [{"chosen": f"\n\nHuman: {text}\n\nAssistant: Yes.", "rejected": ""} for text in texts]
    ),
    "transcripts.jsonl": lambda texts: _lines(
        [{"transcript": f"Human: Well?\n\nAssistant: Well.\n\nHuman: {text}"} for text in texts]
    ),
    "instructions.json": lambda texts: json.dumps(
        [{"instruction": text, "input": "", "output": "x"} for text in texts]
    ),
    "goals.csv": lambda texts: _csv(texts).replace("prompt,note", "goal,target", 1),
}
"""Name of a file to what writes it."""


def write_prompts(folder: Path, form: str, texts: Sequence[str], *, name: str | None = None) -> Path:
    """Write a file of prompts in one of the forms; its name ends as the form's does."""
    path = folder / (form if name is None else name + Path(form).suffix)
    path.write_bytes(FORMS[form](texts).encode())
    return path
