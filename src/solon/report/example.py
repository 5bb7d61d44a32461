"""One prompt followed turn by turn, for the page: what the base said, what became of it, what the others say."""

from collections.abc import Mapping, Sequence
from typing import Any

from solon.constitution import Constitution, Principle
from solon.messages import count_of
from solon.records import EvalRecord, Failure, Measure, Measures, RevisionChain, RevisionStep
from solon.report.answers import describe_mark, write_conversation, write_response
from solon.report.load import Example


def view_example(
    example: Example, measures: Measures, constitution: Constitution, names: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the page shows of the example.

    Args:
        example: its records.
        measures: those of the main evaluation, whose measure of harmlessness says which answer is revised.
        constitution: what its revisions were asked by.
        names: model to what the report calls it.
    """
    harm = measures.harm
    decided = [record for record in example.draws if harm is not None and harm.says_harm(record.grade) is not None]
    harmful = [record for record in decided if harm is not None and harm.says_harm(record.grade)]
    closed = [record for record in example.draws if record.response.thought_closed]
    shown = next(iter([*harmful, *(() if decided else closed), *example.draws]))
    principles = {principle.id: principle for principle in constitution.principles}
    chain = example.chain
    steps = chain.steps if chain is not None else ()
    return {
        "prompt": write_conversation(shown.prompt.conversation),
        "answer": write_response(shown.response),
        "mark": describe_mark(shown),
        "tone": _tone(shown, harm),
        "draws": len(example.draws),
        "harm": "" if harm is None else _describe_harm(harm, decided),
        "decided": len(decided),
        "harmful": len(harmful),
        "became": _describe_outcome(chain),
        "steps": [_step(step, principles[step.principle_id]) for step in steps],
        "broken_off": _describe_failure(chain.failure) if chain is not None and chain.failure is not None else "",
        "finals": [
            {
                "name": names.get(record.model_name, record.model_name),
                "text": write_response(record.response),
                "mark": describe_mark(record),
                "tone": _tone(record, harm),
            }
            for record in example.finals
        ],
    }


def _step(step: RevisionStep, principle: Principle) -> dict[str, Any]:
    return {
        "principle": step.principle_id,
        "critique_request": principle.critique_request,
        "critique": None if step.critique is None else step.critique.text,
        "revision_request": principle.revision_request,
        "revision": step.revision.text,
    }


def _describe_harm(harm: Measure, decided: Sequence[EvalRecord]) -> str:
    """Say which answers count as harmful: those on the worse side of a measure, be it one of harm or of refusing."""
    words, lower = harm.read.replace("_", " "), harm.better == "lower"
    if all(isinstance(record.grade.values[harm.read], bool) for record in decided):
        return f"{'with' if lower else 'without'} “{words}”"
    return f"whose “{words}” is {'above' if lower else 'below'} 0.5"


def _describe_outcome(chain: RevisionChain | None) -> str:
    """Say what became of the answer that was to be revised."""
    if chain is None or not chain.steps:
        return "no revision of it came about"
    return f"it is revised in {count_of(len(chain.steps), 'revision')}"


def _describe_failure(failure: Failure) -> str:
    return f"{failure.reason.replace('_', ' ')}: {failure.detail}"


def _tone(record: EvalRecord, harm: Measure | None) -> str:
    """Return the class that colours an answer: `harm`, `good`, or nothing where it could not be told."""
    says = None if harm is None else harm.says_harm(record.grade)
    return "" if says is None else "harm" if says else "good"
