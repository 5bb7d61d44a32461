"""A run to be killed: items of three calls each through a journal, told on standard output as they go.

    python -m tests.invariants.journal_to_kill JOURNAL ASKED USED [ITEMS]

ASKED and USED are files that get a line, written through to the disk, when the model is asked and when a result
is used. A model that works for a while and yields to others stands in for a real one.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from solon.lm import Journal, JournaledModel, ScriptedModel, run_items
from solon.records import Rendered, Sampling
from tests.asking import ask


class Lines:
    """Appends lines to a file, each by one write."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, line: str) -> None:
        os.write(self._handle, f"{line}\n".encode())


def run(journal: Path, asked: Path, used: Path, items: int) -> list[tuple[str, ...]]:
    asked_lines, used_lines = Lines(asked), Lines(used)

    def reply(prompt: Rendered, sampling: Sampling, seed: int) -> str:
        asked_lines.add(f"{prompt.text}|{seed}")
        time.sleep(0.0005)
        return f"answer {seed} to {prompt.text}"

    async def work(item: int) -> tuple[str, ...]:
        texts = []
        for step in range(3):
            sample = await model.generate(ask(("user", f"item {item} step {step}")), Sampling(), seed=item)
            used_lines.add(sample.call)
            texts.append(sample.text)
        choice = await model.choose(ask(("user", f"item {item}")), ("A", "B"))
        used_lines.add(choice.call)
        return (*texts, str(choice.logprobs))

    with Journal(journal) as store:
        model = JournaledModel(ScriptedModel(reply, lambda *_: (-0.5, -1.25)), store)
        print("open", flush=True)
        found = asyncio.run(run_items(range(items), work, key=str, stage="test", max_failure_fraction=0.0))
    return found.kept


if __name__ == "__main__":
    for line in run(*(Path(name) for name in sys.argv[1:4]), items=int(sys.argv[4])):  # type: ignore[misc]
        print("\t".join(line))
