"""What the labels and rates of a run can and cannot mean, in the first lines of its report."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Writer:
    """A model that wrote, labelled or graded something.

    Attributes:
        name: what the report calls it.
        base: whether it is the base model itself.
        labeler: whether it gave labels of this run.
    """

    name: str
    base: bool = False
    labeler: bool = False


@dataclass(frozen=True)
class Reader:
    """A grader whose readings the rates are.

    Attributes:
        name: its identity.
        asks: the models that it states it asks.
        limits: what it states that it cannot tell; empty where it states nothing, None where that is not on record.
    """

    name: str
    asks: Sequence[Writer] = ()
    limits: str | None = ""


@dataclass(frozen=True)
class Facts:
    """What the first lines depend on.

    Attributes:
        labels: preference labels of the run.
        pointwise: whether they are made of answers about one response alone.
        feedback: the model that gave them.
        revisions: revisions that the run kept.
        critiques: critiques that it kept.
        critic: the model that wrote both.
        examples: worked critiques and revisions that it was shown first, at most.
        chosen: whether these were chosen for each prompt, so that there may have been fewer.
        graders: those of the evaluations; none where nobody graded.
    """

    labels: int
    pointwise: bool
    feedback: Writer
    revisions: int
    critiques: int
    critic: Writer
    examples: int
    chosen: bool
    graders: Sequence[Reader]


def describe_meaning(facts: Facts) -> str:
    """Return, in two or three sentences, what the labels and rates of a run can and cannot mean."""
    said = [_describe_labels(facts), _describe_revisions(facts), _describe_rates(facts.graders)]
    return " ".join(sentence for sentence in said if sentence)


def _describe_labels(facts: Facts) -> str:
    if not facts.labels:
        return "This run holds no preference labels."
    which = "The preference label" if facts.labels == 1 else f"Each of the {facts.labels} preference labels"
    asked = "Yes and No, asked about each of two answers" if facts.pointwise else "either of two answers as the better"
    return (
        f"{which} is made of the probabilities that {_describe_writer(facts.feedback)} gives to {asked}: it says what "
        f"{facts.feedback.name} takes for better and not what is better, and no person has checked "
        f"{'it' if facts.labels == 1 else 'one'}."
    )


def _describe_revisions(facts: Facts) -> str:
    if not facts.revisions:
        return ""
    which = "The one revision was" if facts.revisions == 1 else f"The {facts.revisions} revisions were"
    how = [*([] if facts.critiques else ["without critiques"]), _describe_examples(facts)]
    return f"{which} written by {_describe_writer(facts.critic)}, {' and '.join(how)}."


def _describe_examples(facts: Facts) -> str:
    if not facts.examples:
        return "without worked examples"
    number = f"up to {facts.examples}" if facts.chosen else str(facts.examples)
    return f"after {number} worked example{'' if facts.examples == 1 else 's'}"


def _describe_rates(graders: Sequence[Reader]) -> str:
    if not graders:
        return "There are no rates of what answers do: nobody graded them."
    one = len(graders) == 1
    named = " and ".join(_describe_reader(grader) for grader in graders)
    return f"The rates are the readings of the {'grader' if one else 'graders'} {named}; {_describe_limits(graders)}."


def _describe_limits(graders: Sequence[Reader]) -> str:
    said = {None if grader.limits is None else bool(grader.limits) for grader in graders}
    it, states = ("it", "states") if len(graders) == 1 else ("they", "state")
    if said == {True}:
        return f"what {it} cannot tell is said below them"
    if said == {False}:
        return f"{it} {states} nothing of what {it} cannot tell"
    if None in said:
        return f"what {it} cannot tell is not on record"
    return "what they cannot tell is said below them, as far as they state it"


def _describe_reader(grader: Reader) -> str:
    asked = " and ".join(_describe_writer(model) for model in grader.asks)
    return f"{grader.name}, which asks {asked}" if asked else grader.name


def _describe_writer(model: Writer) -> str:
    said = [*(["the base model itself"] if model.base else []), *(["which gave the labels"] if model.labeler else [])]
    return f"{model.name} ({', '.join(said)})" if said else model.name


_STAGES = (
    {
        "revision": "a base model’s answers are {how} under a constitution",
        "sft": "it is trained on the revisions (SL-CAI)",
    },
    {
        "feedback": "pairs of its answers are labelled under the constitution",
        "ppo": "it is trained by reinforcement learning against a preference model of those labels (RL-CAI)",
    },
)
"""What the two stages of the paper's method do, by the stages of a run."""


def describe_method(stages: Sequence[str], until: str | None, *, direct: bool, labels_only: bool = False) -> str:
    """Return what a run of the paper's method, or of its data alone, did, by the stages that it had.

    Args:
        stages: their names.
        until: what the run was ended with; None for the whole method.
        direct: whether answers were revised without being criticised first.
        labels_only: whether nothing is trained, and the base model is in the place of SL-CAI.
    """
    how = "revised, without a critique," if direct else "criticised and revised"
    halves = [[what.format(how=how) for name, what in half.items() if name in stages] for half in _STAGES]
    did = "; ".join(", and ".join(half) for half in halves if half)
    ended = "" if until is None else f" This run was ended with {until}: what comes after that was not done."
    if labels_only:
        did += "; no model is trained, and the base model is in the place of SL-CAI"
        return f"The data of the method of Bai et al. (2022): {did}.{ended}"
    return f"The method of Bai et al. (2022){': ' if did else ''}{did}.{ended}"
