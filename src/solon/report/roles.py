"""Who did what in a run: its roles, the models that had them, and how much each did."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from solon.messages import count_of
from solon.records import BASE, NOBODY, AskedResults, RunHeader
from solon.report.load import RunData
from solon.report.opening import Facts, Reader, Writer
from solon.report.work import Work

ASSISTANT, CRITIC, FEEDBACK = "assistant", "critic", "feedback"

NOTHING = "nothing in this run"
"""What is said of a role that had nothing to do."""


@dataclass(frozen=True)
class RoleRow:
    """A line of the table.

    Attributes:
        role: the role, or what the report calls a model of the run.
        model: the model's name.
        asked: how it was asked: layout, precision, device and backend.
        did: what it did, in counts; or that nothing is on record.
        idle: whether nothing is.
    """

    role: str
    model: str
    asked: str
    did: str
    idle: bool = False


def distinct_graders(asked: Sequence[AskedResults]) -> list[AskedResults]:
    """Return the first evaluation of each grader, in order; none of an evaluation that nobody graded."""
    return list({one.grader: one for one in reversed(asked) if one.grader != NOBODY}.values())[::-1]


def name_models(header: RunHeader) -> dict[str, str]:
    """Return by role what the report calls its model: the last part of its source, or all where two would be alike."""
    short = {role: _shorten(origin.source) for role, origin in header.models.items()}
    digests: dict[str, set[str]] = {}
    for role, origin in header.models.items():
        digests.setdefault(short[role], set()).add(origin.digest)
    return {
        role: short[role] if len(digests[short[role]]) == 1 else origin.source for role, origin in header.models.items()
    }


def _shorten(source: str) -> str:
    _, hash_sign, served = source.partition("#") if "://" in source else ("", "", "")
    return PurePath(served if hash_sign else source).name or source


def gather_facts(run: RunData, asked: Sequence[AskedResults]) -> Facts:
    """Return what the first lines of the report depend on."""
    settings: Mapping[str, Any] = run.header.config.get("revision", {})
    worked, most = len(run.constitution.revision_exemplars), settings.get("exemplars")
    return Facts(
        labels=run.work.labels,
        pointwise=run.work.pointwise,
        feedback=_writer(run, FEEDBACK, told=False),
        revisions=run.work.revisions,
        critiques=run.work.critiques,
        critic=_writer(run, CRITIC, told=False),
        examples=worked if most is None else min(worked, most),
        chosen=settings.get("exemplar_choice") == "unlike",
        graders=[
            Reader(one.grader, [_writer(run, role) for role in one.asks or ()], one.limits)
            for one in distinct_graders(asked)
        ],
    )


def _writer(run: RunData, role: str, *, told: bool = True) -> Writer:
    """Return the model of a role; `told` says whether it is to be told that it gave the labels."""
    models = run.header.models
    if role not in models:  # a model that the run made
        return Writer(run.results["model_names"].get(role, role))
    gave = told and run.work.labels > 0 and FEEDBACK in models
    return Writer(
        name_models(run.header)[role],
        base=models[role].digest == models[ASSISTANT].digest,
        labeler=gave and models[role].digest == models[FEEDBACK].digest,
    )


def describe_roles(run: RunData, asked: Sequence[AskedResults]) -> list[RoleRow]:
    """Return a row for each role that the run was given, each model that it made and can be asked, and each grader."""
    names, graders = name_models(run.header), distinct_graders(asked)
    idle = _describe_idle(graders)
    rows = []
    for role in run.header.models:
        did = "; ".join(_did(run.work, role, graders))
        rows.append(RoleRow(role, names[role], _describe_asking(run.header, role), did or idle, idle=not did))
    for name in run.results["models"]:
        if name != BASE:
            title = run.results["model_names"].get(name, name)
            did = "; ".join([*_written(run.work, name), *_asked_by(name, graders)])
            rows.append(RoleRow(title, "made by this run", "as the assistant", did or idle, idle=not did))
    return [*rows, *(_grader_row(run.work, one) for one in graders)]


def _did(work: Work, role: str, graders: Sequence[AskedResults]) -> Iterator[str]:
    """Yield what the model of a role did in that role."""
    if role == ASSISTANT:
        if work.responses or work.samples:
            yield (
                f"{count_of(work.responses, 'response')} to red-team prompts and {work.samples} to ordinary ones, for "
                "stage 1"
            )
        yield from _written(work, BASE)
    if role == CRITIC and work.revisions:
        critiques = count_of(work.critiques, "critique") if work.critiques else "no critiques"
        yield f"{critiques}, {count_of(work.revisions, 'revision')}"
    if role == FEEDBACK and work.labels:
        yield f"{count_of(work.labels, 'label')}, made of {count_of(work.readings, 'reading')}"
    yield from _asked_by(role, graders)


def _written(work: Work, model: str) -> Iterator[str]:
    if compared := work.compared.get(model, 0):
        yield f"{count_of(compared, 'response')} to be compared"
    if answers := work.answers.get(model, 0):
        yield f"{count_of(answers, 'answer')} of the evaluation"


def _asked_by(role: str, graders: Sequence[AskedResults]) -> Iterator[str]:
    yield from (f"asked by the grader {one.grader}" for one in graders if role in (one.asks or ()))


def _describe_idle(graders: Sequence[AskedResults]) -> str:
    """Say that a role did nothing, as far as the records of this run can tell."""
    silent = [one.grader for one in graders if one.asks is None]
    if not silent:
        return NOTHING
    return f"nothing that is on record; which models {' and '.join(silent)} asks is not"


def _describe_asking(header: RunHeader, role: str) -> str:
    settings: Mapping[str, Any] = header.config.get("models", {}).get(role, {})
    if not settings:
        return ""
    said = [f"layout {settings['layout']}", f"backend {settings['backend']}"]
    if settings["backend"] == "local":
        said += [settings["dtype"] or "in the precision of its checkpoint", f"on {settings['device']}"]
    found = header.models[role].found if role in header.models else {}
    said += [f"{name}: {value}" for name, value in found.items() if name != "model"]
    return ", ".join(said)


def _grader_row(work: Work, asked: AskedResults) -> RoleRow:
    shown, told = work.grades.get(asked.grader, (0, 0))
    graded = f"looked at {count_of(shown, 'answer')} of the evaluation and of stage 1, and could tell of {told}"
    if asked.asks is None:
        whom = "which models it asks is not on record"
    else:
        whom = f"asks the model of {' and '.join(asked.asks)}" if asked.asks else "asks no model"
    return RoleRow("grader", asked.grader, whom, graded)


def describe_sharing(run: RunData, rows: Sequence[RoleRow]) -> str:
    """Say in a line where one model had several of the roles that did anything; empty where none had."""
    models = run.header.models
    used = [row.role for row in rows if row.role in models and not row.idle]
    digests = {models[role].digest for role in used}
    if len(used) > 1 and len(digests) == 1:
        said = f"One model, {name_models(run.header)[used[0]]}, had every role that anything was done in."
        return f"{said} It revised its own answers, as in the paper." if CRITIC in used else said
    if CRITIC in used and models[CRITIC].digest == models[ASSISTANT].digest:
        return "The model that answered revised its own answers, as in the paper."
    return ""
