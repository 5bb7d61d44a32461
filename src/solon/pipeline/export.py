"""What a finished run would learn from, for other trainers: JSON lines in the conversational form of TRL.

Each value of `prompt`, `completion`, `chosen` and `rejected` is a list of messages with `role` and `content`; what is
beside them says where a row came from and how sure its label is. Other trainers put an end after every text, so a row
with a text that the token limit cut off is left out, or kept and marked where that is asked for. All that is left out
is counted.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from solon.errors import ConfigError, RecordError, RunError
from solon.messages import count_of
from solon.pipeline.run import load_run
from solon.pipeline.stages.comparisons import COMPARISONS
from solon.pipeline.stages.feedback import LABEL, LABELS, PAIRS
from solon.pipeline.stages.revision import REVISE, SFT_EXAMPLES
from solon.records import Conversation, PreferenceLabel, PreferencePair, RunPaths, SFTExample, hold_to_manifests
from solon.storage import replace_file

SFT_FILE: Final = "sft.jsonl"
PREFERENCES_FILE: Final = "preferences.jsonl"
CUT_OFF: Final = "cut_off"
"""What rows are counted under that are left out for a text which the token limit cut off."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """A file that was written.

    Attributes:
        file: where it lies.
        rows: how many it has.
        left_out: reason to how many were left out.
    """

    file: Path
    rows: int
    left_out: Mapping[str, int]

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason.replace('_', ' ')}: {count}" for reason, count in self.left_out.items())
        return f"{self.file}: {count_of(self.rows, 'row')}" + (f" (left out, {reasons})" if reasons else "")


def export_data(folder: Path, out: Path, *, keep_cut: bool = False) -> list[Written]:
    """Write what fine-tuning and a preference model would learn from, each where the run came as far.

    Args:
        folder: of a finished run.
        out: folder for the files.
        keep_cut: True keeps rows with a text that was cut off, marked by `ended`.

    Raises:
        RunError: the folder is no finished run, a file of it is not as the run wrote it, or it holds no such data.
        ConfigError: a file is there already.
    """
    stages, paths = load_run(folder).results["stages"], RunPaths(folder)
    try:
        hold_to_manifests(paths, "records/")
        found = list(_make_rows(paths, stages))
    except RecordError as error:
        raise RunError(str(error)) from error
    if not found:
        raise RunError(f"{folder}: holds nothing to learn from: this run was ended before stage {REVISE.name}")
    for name, *_ in found:
        if (out / name).exists():
            raise ConfigError(f"{out / name}: is there already: give another folder")
    return [_write(out / name, rows, unlabeled, keep_cut=keep_cut) for name, rows, unlabeled in found]


def _make_rows(paths: RunPaths, stages: Collection[str]) -> Iterator[tuple[str, list[Row], Mapping[str, int]]]:
    """Yield each file with its rows, and reason to how many have none for lack of a label."""
    if REVISE.name in stages:
        yield SFT_FILE, [_example_row(example) for example in SFT_EXAMPLES.load(paths)], {}
    if LABEL.name in stages:
        labels = {label.comparison_id: label for label in LABELS.load(paths)}
        models = {comparison.id: comparison.response_a.model for comparison in COMPARISONS.load(paths)}
        unlabeled = Counter(label.reason for label in labels.values() if label.status == "unlabeled")
        rows = [_pair_row(pair, labels[pair.id], models[pair.id]) for pair in PAIRS.load(paths)]
        yield PREFERENCES_FILE, rows, dict(sorted(unlabeled.items()))


def _example_row(example: SFTExample) -> Row:
    return {
        "prompt": _messages(example.conversation),
        "completion": _answer(example.response),
        "source": example.source,
        "ended": example.ended,
        "solon_id": example.id,
        "prompt_id": example.prompt_id,
    }


def _pair_row(pair: PreferencePair, label: PreferenceLabel, model: str) -> Row:
    """Return a pair with the likelier response as the chosen one; at exactly 0.5 that is A, which says nothing."""
    chosen, rejected, soft_label = pair.response_a, pair.response_b, pair.target
    if pair.target < 0.5:
        chosen, rejected, soft_label = rejected, chosen, 1.0 - pair.target
    return {
        "prompt": _messages(pair.prompt.conversation),
        "chosen": _answer(chosen),
        "rejected": _answer(rejected),
        "soft_label": soft_label,
        "principle_ids": sorted({reading.principle_id for reading in label.readings}),
        "kind": pair.prompt.kind,
        "ended": pair.ended_a and pair.ended_b,
        "model": model,
        "labeler": label.labeler,
        "solon_id": pair.id,
        "prompt_id": pair.prompt.id,
    }


def _messages(conversation: Conversation) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.text} for message in conversation.messages]


def _answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _write(file: Path, rows: Sequence[Row], unlabeled: Mapping[str, int], *, keep_cut: bool) -> Written:
    kept = [row for row in rows if keep_cut or row["ended"]]
    cut = len(rows) - len(kept)
    with replace_file(file) as temporary:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        temporary.write_text("".join(lines), encoding="utf-8")
    return Written(file, len(kept), {**unlabeled, **({CUT_OFF: cut} if cut else {})})
