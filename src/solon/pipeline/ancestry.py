"""Any record of a run with all it came from, back to principles and model calls, as text for people.

A record is found by its id in the run's record files, a call by its key in the journal; the beginning of either
will do where it is unique. What a record was made from is told below it, further in, and the model calls it rests
on come last, each with the prompt as it was sent.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solon.constitution import Constitution, load_run_constitution
from solon.errors import RecordError, RunError
from solon.lm import StoredCall, describe_lost_calls, read_call
from solon.pipeline.artifacts import Records
from solon.pipeline.folder import load_header
from solon.pipeline.stages.evaluation import REVISION_GRADES
from solon.pipeline.stages.method import CONSTITUTIONAL_AI, with_evaluation
from solon.records import (
    NOBODY,
    Comparison,
    Conversation,
    EvalPrompt,
    EvalRecord,
    Failure,
    HelpfulSample,
    PreferenceLabel,
    PreferencePair,
    Prompt,
    Record,
    RevisionChain,
    RevisionGrade,
    RunPaths,
    Sample,
    SFTExample,
    hold_to_accounts,
    load_records,
)
from solon.storage import read_text

_FILES: dict[str, Records[Any]] = {
    records.name: records for records in with_evaluation(CONSTITUTIONAL_AI).records() if records != REVISION_GRADES
}
"""Record files by name; the grades of revisions are told with their chain."""

_SHORTEST = 4


@dataclass(frozen=True)
class _Found:
    file: str
    line: int
    record: Record


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
    hold_to_accounts(paths, paths.header.name, paths.constitution.name, "records/")
    teller = _Teller(paths, constitution)
    found = list(_find(paths, record_id))
    names = {_name(item) for item in found}
    if len(names) > 1:
        known = ", ".join(sorted(names)[:8])
        raise RunError(f"{folder}: several records have ids that begin with {record_id}: {known}: give more of it")
    lost = describe_lost_calls(paths)
    if found:
        return teller.tell(_youngest(found)) + (f"\n\nnote: {lost}" if lost else "")
    call = _find_call(paths, record_id)
    if call is None:
        also = f"; {lost}" if lost else ""
        raise RunError(f"{folder}: no record and no model call of this run is called {record_id}{also}")
    return "\n".join(_tell_call(call))


def _find_call(paths: RunPaths, key: str) -> StoredCall | None:
    """Find a call; where there is no journal, or an empty file, there is none."""
    held = paths.journal.is_file() and paths.journal.stat().st_size > 0
    return read_call(paths.journal, key) if held else None


def _name(found: _Found) -> str:
    return str(getattr(found.record, _FILES[found.file].named_by))


def _find(paths: RunPaths, record_id: str) -> Iterator[_Found]:
    """Find records by the beginning of their id; exact ids win over longer ones."""
    near: list[_Found] = []
    exact = False
    for file, records in _FILES.items():
        path = records.path(paths)
        if not path.is_file():
            continue
        for number, line in enumerate(read_text(path).split("\n"), 1):
            if record_id not in line:
                continue
            record = records.kind.from_json(line, where=f"{path}:{number}")
            name = str(getattr(record, records.named_by))
            if name.startswith(record_id):
                near.append(_Found(file, number, record))
                exact |= name == record_id
    yield from (found for found in near if not exact or _name(found) == record_id)


def _youngest(found: list[_Found]) -> list[_Found]:
    """Leave out what is told anyway as an ancestor: a pair's label and comparison share its id."""
    for kind in (PreferencePair, PreferenceLabel):
        if any(isinstance(item.record, kind) for item in found):
            return [item for item in found if isinstance(item.record, kind)]
    return found


class _Teller:
    """Writes records and their ancestors as indented lines."""

    def __init__(self, paths: RunPaths, constitution: Constitution) -> None:
        self._paths = paths
        self._constitution = constitution
        self._calls: dict[str, None] = {}
        self._tell: dict[type[Record], Callable[[Any], Iterator[str]]] = {
            Prompt: self._prompt,
            EvalPrompt: self._asked,
            RevisionChain: self._chain,
            HelpfulSample: self._helpful,
            SFTExample: self._example,
            Comparison: self._comparison,
            PreferenceLabel: self._label,
            PreferencePair: self._pair,
            EvalRecord: self._answer,
            Failure: self._failure,
        }

    def tell(self, found: list[_Found]) -> str:
        lines: list[str] = []
        told: set[tuple[type, str]] = set()  # the same prompt may be asked in two evaluations, or two groups of one
        for item in found:
            place = f"records/{item.file}.jsonl:{item.line}"
            key = (type(item.record), item.record.to_json())
            if key in told:
                lines.append(f"(also in {place})")
                continue
            told.add(key)
            lines += [f"{place}", *_indent(self._tell[type(item.record)](item.record))]
        for number, key_of_call in enumerate(self._calls, 1):
            lines += ["", f"model call {number}", *_indent(self._call(key_of_call))]
        return "\n".join(lines)

    # Each method tells one kind of record, then what it came from.

    def _prompt(self, prompt: Prompt) -> Iterator[str]:
        yield f"prompt {prompt.id} ({prompt.kind}, from {prompt.source}, split {prompt.split})"
        yield from _indent(_conversation(prompt.conversation))

    def _asked(self, asked: EvalPrompt) -> Iterator[str]:
        yield f"asked in evaluation {asked.evaluation}, group {asked.group}"
        yield from _indent(self._prompt(asked.prompt))

    def _chain(self, chain: RevisionChain) -> Iterator[str]:
        grades = self._grades_of(chain)
        yield f"revision chain {chain.id}"
        yield from _indent(self._prompt_of(chain.prompt_id))
        yield from _indent(self._sample("initial response", chain.initial_response))
        yield from _indent(self._grade(grades.get(0)))
        for number, step in enumerate(chain.steps, 1):
            yield from _indent(self._principle(f"round {number}", step.principle_id))
            if step.critique is not None:
                yield from _indent(self._sample(f"critique {number}", step.critique))
            yield from _indent(self._sample(f"revision {number}", step.revision))
            yield from _indent(self._grade(grades.get(number)))
        if chain.failure is not None:
            yield from _indent(self._failure(chain.failure))

    def _helpful(self, sample: HelpfulSample) -> Iterator[str]:
        yield f"helpful sample {sample.id}, draw {sample.draw}"
        yield from _indent(self._prompt_of(sample.prompt_id))
        yield from _indent(self._sample("response", sample.response))

    def _example(self, example: SFTExample) -> Iterator[str]:
        yield f"SFT example {example.id} ({example.source})"
        yield from _indent([*_conversation(example.conversation), f"learnt response: {example.response}"])
        if example.chain_id:
            yield f"it is revision {example.round} of"
            chains = load_records(self._paths.records("revision_chains"), RevisionChain)
            yield from _indent(self._chain(_pick(chains, "id", example.chain_id)))
        else:
            yield "it is"
            samples = load_records(self._paths.records("helpful_samples"), HelpfulSample)
            same = [s for s in samples if s.prompt_id == example.prompt_id and s.response.text == example.response]
            yield from _indent(self._helpful(same[0])) if same else ()

    def _comparison(self, comparison: Comparison) -> Iterator[str]:
        yield f"comparison {comparison.id}"
        yield from _indent(self._prompt(comparison.prompt))
        yield from _indent(self._sample("response A", comparison.response_a))
        yield from _indent(self._sample("response B", comparison.response_b))

    def _label(self, label: PreferenceLabel) -> Iterator[str]:
        if label.p_a is None:
            yield f"preference label of {label.comparison_id}: unlabeled, {label.reason}"
        else:
            clamped = "" if label.p_a == label.p_a_unclamped else f" ({label.p_a_unclamped:.4f} before the clamp)"
            yield f"preference label of {label.comparison_id}: A is better with probability {label.p_a:.4f}{clamped}"
        yield f"  by {label.labeler}"
        for vote in label.votes:
            self._calls.setdefault(vote.call)
            order = "A shown first" if vote.order == "ab" else "B shown first"
            yield f"  vote, {order}: log-odds of A {vote.logit_a:+.4f}, mass {vote.mass:.4f}, call {vote.call}"
            if vote.reasoning:
                yield f"    reasoning: {vote.reasoning}"
            yield from _indent(self._principle("under", vote.principle_id), 2)
        for judged in label.pointwise or ():
            self._calls.setdefault(judged.call)
            said = f"log-odds of {judged.better}, the better answer, {judged.logit:+.4f}"
            yield f"  vote, {judged.response.upper()} alone: {said}, mass {judged.mass:.4f}, call {judged.call}"
            yield from _indent(self._principle("under", judged.principle_id), 2)
        comparisons = load_records(self._paths.records("comparisons"), Comparison)
        yield from _indent(self._comparison(_pick(comparisons, "id", label.comparison_id)))

    def _pair(self, pair: PreferencePair) -> Iterator[str]:
        yield f"preference pair {pair.id}: target {pair.target:.4f} that A is better"
        labels = load_records(self._paths.records("preference_labels"), PreferenceLabel)
        yield from _indent(self._label(_pick(labels, "comparison_id", pair.id)))

    def _answer(self, record: EvalRecord) -> Iterator[str]:
        yield f"evaluation record {record.id}: {record.model_name}, {record.evaluation}, {record.group}"
        yield from _indent(self._prompt(record.prompt))
        yield from _indent(self._sample("response", record.response))
        if record.reference is not None:
            yield from _indent(self._sample("compared with the base's response", record.reference))
        yield from _indent(self._grade(record))

    def _grade(self, graded: EvalRecord | RevisionGrade | None) -> Iterator[str]:
        if graded is None:
            return
        grade = graded.grade
        for key in grade.calls:
            self._calls.setdefault(key)
        held = ", ".join(
            name if value is True else f"{name} {value:g}" for name, value in grade.values.items() if value
        )
        said = (held or "every value no or zero") if grade.graded else f"not graded: {grade.ungraded}"
        yield said if graded.grader == NOBODY else f"grade by {graded.grader}: {said}"
        if grade.explanation:
            yield f"  {grade.explanation}"

    def _grades_of(self, chain: RevisionChain) -> dict[int, RevisionGrade]:
        path = self._paths.records("revision_grades")
        grades = load_records(path, RevisionGrade) if path.is_file() else []
        return {grade.round: grade for grade in grades if grade.chain_id == chain.id}

    def _failure(self, failure: Failure) -> Iterator[str]:
        yield f"failure of {failure.item} in {failure.stage}: {failure.reason} {failure.detail}".rstrip()
        if failure.call:
            self._calls.setdefault(failure.call)
            yield f"  what was answered: call {failure.call}"

    def _prompt_of(self, prompt_id: str) -> Iterator[str]:
        prompts = load_records(self._paths.records("prompts_revision"), Prompt)
        example = self._paths.records("example")
        if example.is_file():
            prompts += [record.prompt for record in load_records(example, EvalRecord)]
        yield from self._prompt(_pick(prompts, "id", prompt_id))

    def _principle(self, where: str, principle_id: str) -> Iterator[str]:
        principle = _pick(self._constitution.principles, "id", principle_id)
        yield f"{where}: principle {principle.id}"
        for label, text in (
            ("critique request", principle.critique_request),
            ("revision request", principle.revision_request),
            ("comparison", principle.comparison),
            (f"question (better: {principle.better})", principle.question),
        ):
            if text:
                yield f"  {label}: {text}"

    def _sample(self, what: str, sample: Sample) -> Iterator[str]:
        if sample.call:
            self._calls.setdefault(sample.call)
        yield f"{what}: {sample.text}"
        sampling = sample.sampling
        cuts = [("top_p", sampling.top_p, 1.0), ("min_p", sampling.min_p, 0.0)]
        drawn = ", ".join(
            [
                f"temperature {sampling.temperature:g}",
                *(f"{name} {value:g}" for name, value, whole in cuts if value != whole),
                f"at most {sampling.max_tokens} tokens, seed {sample.seed}",
            ]
        )
        yield f"  by {sample.model}, {drawn}, ended: {sample.stop_reason}, call {sample.call or 'not kept'}"

    def _call(self, key: str) -> Iterator[str]:
        call = _find_call(self._paths, key)
        yield from [f"{key}: not in the journal"] if call is None else _tell_call(call)


def _tell_call(call: StoredCall) -> Iterator[str]:
    request, response = call.request, call.response
    yield f"call {call.key} ({call.kind})"
    if not call.checked:
        yield "  not checked: the version of solon that stored it kept no digest of it"
    yield f"  model: {request.get('model')}"
    yield f"  prompt, {request.get('layout')} layout:"
    for role, spans in request.get("turns", ()):
        text = "".join(span[1] for span in spans)
        yield from _indent([f"[{role}] {text}"], 2)
    for key in ("sampling", "seed", "options", "stop"):
        if request.get(key) not in (None, [], ()):
            yield f"  {key}: {request[key]}"
    answer = {key: value for key, value in response.items() if key not in ("token_ids", "logprobs")}
    if call.kind == "choose":
        answer["logprobs"] = response.get("logprobs")
    for key, value in answer.items():
        yield f"  {key}: {value}"


def _conversation(conversation: Conversation) -> Iterator[str]:
    for message in conversation.messages:
        yield f"{message.role}: {message.text}"


def _pick(records: Sequence[Any], field: str, value: str) -> Any:
    for record in records:
        if getattr(record, field) == value:
            return record
    raise RecordError(f"{value}: is referred to but is not among the run's records: was a file edited?")


def _indent(lines: Any, steps: int = 1) -> Iterator[str]:
    """Indent lines, and the lines within them."""
    for line in lines:
        for part in str(line).split("\n"):
            yield "  " * steps + part
