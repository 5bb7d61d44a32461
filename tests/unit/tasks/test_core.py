"""Proves that the core knows nothing of any task: no word of the reference world stands in its rooms."""

import re
from pathlib import Path

import solon

SOURCE = Path(solon.__file__).parent
ABOVE = {"world", "tasks", "cli"}
"""The rooms that may know a task by name; every other file of the package is the core."""

WORDS = re.compile("twins|novel|wifi|oracle|nano", re.IGNORECASE)


def core_files() -> list[Path]:
    ends = {".py", ".j2", ".css", ".txt", ".yaml"}
    files = [path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.suffix in ends]
    return sorted(path for path in files if path.parts[0] not in ABOVE)


def test_no_word_of_the_world_stands_in_the_core() -> None:
    files = core_files()
    assert {path.suffix for path in files} == {".py", ".j2", ".css", ".txt", ".yaml"}
    assert {"pipeline", "report", "evaluation", "records", "redteam"} <= {path.parts[0] for path in files}
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate((SOURCE / path).read_text(encoding="utf-8").split("\n"), 1)
        if WORDS.search(line.replace("jina-v5-nano", ""))  # what a tokenizer of somebody's is called in GGUF files
    ]
    assert found == []
