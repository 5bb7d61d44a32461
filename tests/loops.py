"""Runs a loop on tiny data and returns everything that can be seen of it, so that tests can compare runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from solon.storage import watch_points


@dataclass
class Seen:
    """What a run left behind and did."""

    files: dict[str, bytes] = field(default_factory=dict)
    summary: Any = None
    progress: list[tuple[int, int]] = field(default_factory=list)
    checkpoints: int = 0
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def result(self) -> dict[str, bytes]:
        """What the result consists of; not how it was worked out."""
        return {**self.files, "summary": self.summary.to_json().encode()}


def watch(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch | None = None, modules: Sequence[Any] = ()
) -> Seen:
    """Call `run(out=, metrics=, on_progress=)` in `folder` and collect what it wrote and did."""
    seen = Seen()

    def point(name: str) -> None:
        seen.checkpoints += name == "wrote:.checkpoint/state.safetensors"

    for module in modules:
        original = module.pack_rows

        def recorded(rows: Any, *args: Any, original: Any = original, **options: Any) -> Any:
            batch = original(rows, *args, **options)
            seen.shapes.append(tuple(batch.ids.shape))
            return batch

        assert monkeypatch is not None
        monkeypatch.setattr(module, "pack_rows", recorded)
    watch_points(point)
    try:
        seen.summary = run(
            out=folder / "out",
            metrics=folder / "metrics" / "loop.jsonl",
            on_progress=lambda done, total: seen.progress.append((done, total)),
        )
    finally:
        watch_points(None)
        if monkeypatch is not None:
            monkeypatch.undo()
    seen.files = {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
    return seen


def assert_every_field_is_tried(config: type[BaseModel], tried: Sequence[str]) -> None:
    assert sorted(tried) == sorted(config.model_fields)


def assert_field_turns_something(field_name: str, before: Seen, after: Seen) -> None:
    """`microbatch_tokens` may only change how the work is cut, `checkpoint_every` only when it is kept."""
    if field_name == "microbatch_tokens":
        assert before.shapes != after.shapes
    elif field_name == "checkpoint_every":
        assert before.checkpoints != after.checkpoints
        assert before.result == after.result
    else:
        assert before.result != after.result
