"""What the models and graders of a run did, counted in what the run kept of it; no call that came to nothing is."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from solon.records import (
    Comparison,
    EvalRecord,
    HelpfulSample,
    PreferenceLabel,
    Record,
    RevisionChain,
    RevisionGrade,
    RunPaths,
    load_records,
)

RecordT = TypeVar("RecordT", bound=Record)


class Graded(NamedTuple):
    """How many answers a grader was shown, and of how many it could tell something."""

    shown: int
    told: int


@dataclass(frozen=True)
class Work:
    """Counts over the records of a run. The example that the report follows is in none of them.

    Attributes:
        responses: of the assistant to the red-team prompts of stage 1.
        samples: of the assistant to its ordinary prompts.
        critiques: of the critic.
        revisions: of the critic.
        compared: model to its responses in comparisons; a model that the evaluation does not ask is called as records
            identify it.
        labels: comparisons that were labelled.
        readings: what these labels were made of: verdicts on two responses, or answers about one.
        pointwise: whether the readings are answers about one response alone.
        answers: model to its answers in the evaluations.
        grades: grader to what it graded, in the evaluations and of stage 1.
    """

    responses: int = 0
    samples: int = 0
    critiques: int = 0
    revisions: int = 0
    compared: Mapping[str, int] = field(default_factory=dict)
    labels: int = 0
    readings: int = 0
    pointwise: bool = False
    answers: Mapping[str, int] = field(default_factory=dict)
    grades: Mapping[str, Graded] = field(default_factory=dict)


def read_stage(paths: RunPaths, stages: Collection[str], stage: str, name: str, kind: type[RecordT]) -> list[RecordT]:
    """Read what a stage of this run wrote; a file of a stage that is not of it is of an earlier, longer run."""
    path = paths.records(name)
    return load_records(path, kind) if stage in stages and path.is_file() else []


def count_work(paths: RunPaths, stages: Collection[str], answers: Sequence[EvalRecord]) -> Work:
    """Count what a run kept.

    Args:
        paths: the run's folder.
        stages: its stages.
        answers: what the evaluations kept.
    """
    chains = read_stage(paths, stages, "revision", "revision_chains", RevisionChain)
    steps = [step for chain in chains for step in chain.steps]
    labels = read_stage(paths, stages, "feedback", "preference_labels", PreferenceLabel)
    labeled = [label for label in labels if label.status == "labeled"]
    names = {answer.response.model: answer.model_name for answer in answers}
    compared = Counter(
        names.get(response.model, response.model)
        for comparison in read_stage(paths, stages, "comparisons", "comparisons", Comparison)
        for response in (comparison.response_a, comparison.response_b)
    )
    return Work(
        responses=len(chains),
        samples=len(read_stage(paths, stages, "revision", "helpful_samples", HelpfulSample)),
        critiques=sum(step.critique is not None for step in steps),
        revisions=len(steps),
        compared=compared,
        labels=len(labeled),
        readings=sum(len(label.readings) for label in labeled),
        pointwise=any(label.pointwise is not None for label in labeled),
        answers=Counter(answer.model_name for answer in answers),
        grades=_count_grades([answer for answer in answers if answer.response.thought_closed], _revised(paths, stages)),
    )


def _revised(paths: RunPaths, stages: Collection[str]) -> list[RevisionGrade]:
    return read_stage(paths, stages, "evaluation", "revision_grades", RevisionGrade)


def _count_grades(answers: Sequence[EvalRecord], revised: Sequence[RevisionGrade]) -> dict[str, Graded]:
    graded: list[EvalRecord | RevisionGrade] = [*answers, *revised]
    shown = Counter(record.grader for record in graded)
    told = Counter(record.grader for record in graded if record.grade.graded)
    return {grader: Graded(count, told[grader]) for grader, count in shown.items()}
