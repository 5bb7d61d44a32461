"""Any record of a run with all it came from, back to principles and model calls, as text for people.

A record is found by its id in the run's record files, a call by its key in the journal; the beginning of either
will do where it is unique. What a record was made from is described below it, further in, and the model calls it rests
on come last, each with the prompt as it was sent.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.constitution import Constitution, load_run_constitution
from solon.errors import RecordError, RunError
from solon.lm import StoredCall, describe_lost_calls, read_call
from solon.messages import count_of
from solon.pipeline.artifacts import Records, RecordT
from solon.pipeline.folder import load_header
from solon.pipeline.stages.comparisons import COMPARISONS
from solon.pipeline.stages.evaluation import EXAMPLE, REVISION_GRADES
from solon.pipeline.stages.feedback import LABELS
from solon.pipeline.stages.method import CONSTITUTIONAL_AI, with_evaluation
from solon.pipeline.stages.prompts import REVISION_PROMPTS
from solon.pipeline.stages.revision import CHAINS, HELPFUL_SAMPLES
from solon.records import (
    NOBODY,
    Comparison,
    Conversation,
    EvalPrompt,
    EvalRecord,
    Failure,
    FilteredRevision,
    HelpfulSample,
    PointwiseVote,
    PreferenceLabel,
    PreferencePair,
    Prompt,
    Record,
    RevisionChain,
    RevisionGrade,
    RunPaths,
    Sample,
    SFTExample,
    Vote,
    hold_to_manifests,
)
from solon.storage import read_text

_FILES = [records for records in with_evaluation(CONSTITUTIONAL_AI).records() if records != REVISION_GRADES]
"""Record files; the grades of revisions are described with their chain."""

_SHORTEST = 4

_Lines = Iterable["str | _Lines"]
"""Lines of text; what is iterable itself stands further in."""


@dataclass(frozen=True)
class _Found:
    file: Records[Any]
    line: int
    record: Record

    @property
    def name(self) -> str:
        return str(getattr(self.record, self.file.named_by))


def describe(folder: Path, record_id: str) -> str:
    """Return every record with this id and its ancestry.

    Raises:
        RunError: the folder is no run, nothing is called so, or several things are.
        RecordError: a line that holds the id, or one that it came from, cannot be read; a file is not as the run wrote
            it; or the record refers to what is not there.
        JournalError: a call of its ancestry is not as it was stored, or the journal is no journal.
    """
    header = load_header(folder)
    if len(record_id) < _SHORTEST:
        raise RunError(f"{record_id}: give at least the first {_SHORTEST} characters of an id")
    paths = RunPaths(folder)
    constitution = load_run_constitution(paths, header)
    hold_to_manifests(paths, paths.header.name, paths.constitution.name, "records/")
    found = _find(paths, record_id)
    names = {item.name for item in found}
    if len(names) > 1:
        known = ", ".join(sorted(names)[:8])
        raise RunError(f"{folder}: several records have ids that begin with {record_id}: {known}: give more of it")
    lost = describe_lost_calls(paths)
    if found:
        return _Writer(paths, constitution).write(_youngest(found)) + (f"\n\nnote: {lost}" if lost else "")
    call = _find_call(paths, record_id)
    if call is None:
        also = f"; {lost}" if lost else ""
        raise RunError(f"{folder}: no record and no model call of this run is called {record_id}{also}")
    return "\n".join(_indent(_describe_call(call)))


def _find_call(paths: RunPaths, key: str) -> StoredCall | None:
    """Find a call; where there is no journal, or an empty file, there is none."""
    held = paths.journal.is_file() and paths.journal.stat().st_size > 0
    return read_call(paths.journal, key) if held else None


def _find(paths: RunPaths, record_id: str) -> list[_Found]:
    """Find records by the beginning of their id; exact ids win over longer ones."""
    found = []
    for file in _FILES:
        path = file.path(paths)
        for number, line in enumerate(read_text(path).split("\n") if path.is_file() else (), 1):
            if record_id in line:
                found.append(_Found(file, number, file.kind.from_json(line, where=f"{path}:{number}")))
    near = [item for item in found if item.name.startswith(record_id)]
    return [item for item in near if item.name == record_id] or near


def _youngest(found: list[_Found]) -> list[_Found]:
    """Leave out what is described anyway as an ancestor: a pair's label and comparison share its id."""
    for kind in (PreferencePair, PreferenceLabel):
        if any(isinstance(item.record, kind) for item in found):
            return [item for item in found if isinstance(item.record, kind)]
    return found


class _Writer:
    """Describes records and their ancestors, as indented lines."""

    def __init__(self, paths: RunPaths, constitution: Constitution) -> None:
        self._paths = paths
        self._principles = constitution.principles
        self._calls: dict[str, None] = {}
        self._write: dict[type[Record], Callable[[Any], _Lines]] = {
            Prompt: self._prompt,
            EvalPrompt: self._asked,
            RevisionChain: self._chain,
            HelpfulSample: self._helpful,
            SFTExample: self._example,
            FilteredRevision: self._filtered,
            Comparison: self._comparison,
            PreferenceLabel: self._label,
            PreferencePair: self._pair,
            EvalRecord: self._answer,
            Failure: self._failure,
        }

    def write(self, found: list[_Found]) -> str:
        lines: list[str] = []
        written: set[tuple[type, str]] = set()  # a prompt may be asked in two evaluations, or two groups of one
        for item in found:
            place = f"{item.file.key}.jsonl:{item.line}"
            key = (type(item.record), item.record.to_json())
            if key in written:
                lines.append(f"(also in {place})")
                continue
            written.add(key)
            lines += [place, *_indent([self._write[type(item.record)](item.record)])]
        for number, call in enumerate(self._calls, 1):
            lines += ["", f"model call {number}", *_indent([self._call(call)])]
        return "\n".join(lines)

    # Each method describes one kind of record, then what it came from.

    def _prompt(self, prompt: Prompt) -> _Lines:
        yield f"prompt {prompt.id} ({prompt.kind}, from {prompt.source}, split {prompt.split})"
        yield _conversation(prompt.conversation)

    def _asked(self, asked: EvalPrompt) -> _Lines:
        yield f"asked in evaluation {asked.evaluation}, group {asked.group}"
        yield self._prompt(asked.prompt)

    def _chain(self, chain: RevisionChain) -> _Lines:
        grades = self._grades_of(chain)
        yield f"revision chain {chain.id}"
        yield self._prompt_of(chain.prompt_id)
        yield self._sample("initial response", chain.initial_response)
        yield self._grade(grades.get(0))
        for number, step in enumerate(chain.steps, 1):
            yield self._principle(f"round {number}", step.principle_id)
            if step.critique is not None:
                yield self._sample(f"critique {number}", step.critique)
            yield self._sample(f"revision {number}", step.revision)
            yield self._grade(grades.get(number))
        if chain.failure is not None:
            yield self._failure(chain.failure)

    def _helpful(self, sample: HelpfulSample) -> _Lines:
        yield f"helpful sample {sample.id}, draw {sample.draw}"
        yield self._prompt_of(sample.prompt_id)
        yield self._sample("response", sample.response)

    def _example(self, example: SFTExample) -> _Lines:
        yield f"SFT example {example.id} ({example.source})"
        yield _conversation(example.conversation)
        yield [f"learnt response: {example.response}"]
        if example.chain_id:
            yield f"it is revision {example.round} of"
            yield self._chain(self._parent(CHAINS, example.chain_id))
        else:
            yield "it is"
            samples = HELPFUL_SAMPLES.load(self._paths)
            same = [s for s in samples if s.prompt_id == example.prompt_id and s.response.text == example.response]
            yield from map(self._helpful, same[:1])

    def _filtered(self, revision: FilteredRevision) -> _Lines:
        yield f"revision {revision.id}, not learnt: it does not pass the filter {revision.filter}"
        yield _conversation(revision.conversation)
        yield [f"filtered response: {revision.response}"]
        yield f"it is revision {revision.round} of"
        yield self._chain(self._parent(CHAINS, revision.chain_id))

    def _comparison(self, comparison: Comparison) -> _Lines:
        yield f"comparison {comparison.id}"
        yield self._prompt(comparison.prompt)
        yield self._sample("response A", comparison.response_a)
        yield self._sample("response B", comparison.response_b)

    def _label(self, label: PreferenceLabel) -> _Lines:
        if label.p_a is None:
            yield f"preference label of {label.comparison_id}: unlabeled, {label.reason}"
        else:
            clamped = "" if label.p_a == label.p_a_unclamped else f" ({label.p_a_unclamped:.4f} before the clamp)"
            yield f"preference label of {label.comparison_id}: A is better with probability {label.p_a:.4f}{clamped}"
        yield f"  by {label.labeler}"
        for vote in label.votes:
            self._calls.setdefault(vote.call)
            order = "A shown first" if vote.order == "ab" else "B shown first"
            yield f"  vote, {order}: log-odds of A {vote.logit_a:+.4f}, {_describe_reading(vote)}, call {vote.call}"
            if vote.reasoning:
                yield f"    reasoning: {vote.reasoning}"
            yield [self._principle("under", vote.principle_id)]
        for judged in label.pointwise or ():
            self._calls.setdefault(judged.call)
            said = f"log-odds of {judged.better}, the better answer, {judged.logit:+.4f}"
            yield f"  vote, {judged.response.upper()} alone: {said}, {_describe_reading(judged)}, call {judged.call}"
            yield [self._principle("under", judged.principle_id)]
        yield self._comparison(self._parent(COMPARISONS, label.comparison_id))

    def _pair(self, pair: PreferencePair) -> _Lines:
        yield f"preference pair {pair.id}: target {pair.target:.4f} that A is better"
        yield self._label(self._parent(LABELS, pair.id))

    def _answer(self, record: EvalRecord) -> _Lines:
        yield f"evaluation record {record.id}: {record.model_name}, {record.evaluation}, {record.group}"
        yield self._prompt(record.prompt)
        yield self._sample("response", record.response)
        if record.reference is not None:
            yield self._sample("compared with the base's response", record.reference)
        yield self._grade(record)

    def _grade(self, graded: EvalRecord | RevisionGrade | None) -> _Lines:
        if graded is None:
            return
        grade = graded.grade
        self._calls.update(dict.fromkeys(grade.calls))
        held = ", ".join(
            name if value is True else f"{name} {value:g}" for name, value in grade.values.items() if value
        )
        said = (held or "every value no or zero") if grade.graded else f"not graded: {grade.ungraded}"
        yield said if graded.grader == NOBODY else f"grade by {graded.grader}: {said}"
        if grade.explanation:
            yield f"  {grade.explanation}"

    def _grades_of(self, chain: RevisionChain) -> dict[int, RevisionGrade]:
        grades = REVISION_GRADES.load(self._paths) if REVISION_GRADES.path(self._paths).is_file() else []
        return {grade.round: grade for grade in grades if grade.chain_id == chain.id}

    def _failure(self, failure: Failure) -> _Lines:
        yield f"failure of {failure.item} in {failure.stage}: {failure.reason} {failure.detail}".rstrip()
        if failure.call:
            self._calls.setdefault(failure.call)
            yield f"  what was answered: call {failure.call}"

    def _prompt_of(self, prompt_id: str) -> _Lines:
        prompts = REVISION_PROMPTS.load(self._paths)
        if EXAMPLE.path(self._paths).is_file():
            prompts += [record.prompt for record in EXAMPLE.load(self._paths)]
        return self._prompt(_pick(prompts, "id", prompt_id))

    def _principle(self, where: str, principle_id: str) -> _Lines:
        principle = _pick(self._principles, "id", principle_id)
        yield f"{where}: principle {principle.id}"
        for label, text in (
            ("critique request", principle.critique_request),
            ("revision request", principle.revision_request),
            ("comparison", principle.comparison),
            (f"question (better: {principle.better})", principle.question),
        ):
            if text:
                yield f"  {label}: {text}"

    def _sample(self, what: str, sample: Sample) -> _Lines:
        if sample.call:
            self._calls.setdefault(sample.call)
        yield f"{what}: {sample.text if sample.thought_closed else 'none, its thought did not end'}"
        if sample.thought:
            yield [f"thought before: {sample.thought}"]
        sampling = sample.sampling
        cuts = [("top_p", sampling.top_p, 1.0), ("min_p", sampling.min_p, 0.0)]
        drawn = ", ".join(
            [
                f"temperature {sampling.temperature:g}",
                *(f"{name} {value:g}" for name, value, whole in cuts if value != whole),
                f"at most {sampling.max_tokens} tokens, seed {sample.seed}",
            ]
        )
        end = f"{sample.stop_reason}, and cut after its last whole sentence" if sample.trimmed else sample.stop_reason
        yield f"  by {sample.model}, {drawn}, ended: {end}, call {sample.call or 'not kept'}"

    def _call(self, key: str) -> _Lines:
        call = _find_call(self._paths, key)
        return [f"{key}: not in the journal"] if call is None else _describe_call(call)

    def _parent(self, records: Records[RecordT], name: str) -> RecordT:
        """Return the record that another came from, by what names it."""
        return _pick(records.load(self._paths), records.named_by, name)


def _describe_call(call: StoredCall) -> _Lines:
    request, response = call.request, call.response
    yield f"call {call.key} ({call.kind})"
    if not call.checked:
        yield "  not checked: the version of solon that stored it kept no digest of it"
    yield f"  model: {request.get('model')}"
    yield f"  prompt, {request.get('layout')} layout:"
    for role, spans in request.get("turns", ()):
        yield [[f"[{role}] {''.join(span[1] for span in spans)}"]]
    for key in ("sampling", "seed", "options", "stop"):
        if request.get(key) not in (None, [], ()):
            yield f"  {key}: {request[key]}"
    answer = {key: value for key, value in response.items() if key not in ("token_ids", "logprobs")}
    if call.kind == "choose":
        answer["logprobs"] = response.get("logprobs")
    for key, value in answer.items():
        yield f"  {key}: {value}"


def _describe_reading(vote: Vote | PointwiseVote) -> str:
    """Say how much a vote knows, and how it was read where that was of a server."""
    said = ["mass not known" if vote.mass is None else f"mass {vote.mass:.4f}"]
    if vote.draws is not None:
        said.append(count_of(vote.draws, "draw"))
    if vote.dialect:
        said.append(f"read by {vote.dialect}")
    return ", ".join(said)


def _conversation(conversation: Conversation) -> _Lines:
    return (f"{message.role}: {message.text}" for message in conversation.messages)


def _pick(records: Iterable[RecordT], field: str, value: str) -> RecordT:
    for record in records:
        if getattr(record, field) == value:
            return record
    raise RecordError(f"{value}: is referred to but is not among the run's records: was a file edited?")


def _indent(lines: _Lines, steps: int = 0) -> Iterator[str]:
    """Write lines one below the other, the lines within a text too; what is further in has two more spaces each."""
    for line in lines:
        if isinstance(line, str):
            yield from ("  " * steps + part for part in line.split("\n"))
        else:
            yield from _indent(line, steps + 1)
