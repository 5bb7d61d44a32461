"""Facts about a constitution that can be told without a model, for people to look over before a run."""

from collections.abc import Mapping

from solon.constitution.principles import Constitution, PrincipleUse
from solon.records import PromptKind, Record

_KINDS: tuple[PromptKind, ...] = ("red_team", "helpful")
_STAGES: Mapping[str, tuple[tuple[PrincipleUse, ...], str, tuple[PromptKind, ...]]] = {
    "critique": (("critique",), "revision stage", ("red_team",)),
    "comparison": (("comparison", "question"), "feedback stage", _KINDS),
}
"""What a stage's principles are said to be for, the uses it can make of one, what it is called, and the kinds of prompt
that it needs one for: the revision stage answers helpful prompts and revises none.
"""


class ConstitutionFacts(Record):
    """What a constitution holds.

    Attributes:
        name: what it is called.
        version: the author's own version.
        digest: digest of its content.
        principles: how many there are.
        counts: use (`critique`, `comparison`, `question`) to kind of prompt to how many principles may be drawn.
        shares: use to kind of prompt to principle id to the probability that it is drawn, in [0, 1].
        prompts: kind of prompt to how many sample prompts there are.
        exemplars: `revision` and `comparison` to how many exemplars there are.
        notes: what its author may not have meant, one sentence each.
    """

    name: str
    version: str
    digest: str
    principles: int
    counts: dict[str, dict[str, int]]
    shares: dict[str, dict[str, dict[str, float]]]
    prompts: dict[str, int]
    exemplars: dict[str, int]
    notes: tuple[str, ...] = ()


def check_constitution(constitution: Constitution) -> ConstitutionFacts:
    """Gather the facts of a constitution that has been loaded."""
    shares: dict[str, dict[str, dict[str, float]]] = {"critique": {}, "comparison": {}, "question": {}}
    for kind in _KINDS:
        for use, principles in (
            ("critique", constitution.critique_principles(kind)),
            ("comparison", constitution.comparison_principles(kind)),
            ("question", constitution.question_principles(kind)),
        ):
            total = sum(principle.weight for principle in principles)
            shares[use][kind] = {principle.id: principle.weight / total for principle in principles}
    return ConstitutionFacts(
        name=constitution.name,
        version=constitution.version,
        digest=constitution.digest,
        principles=len(constitution.principles),
        counts={use: {kind: len(of_kind) for kind, of_kind in kinds.items()} for use, kinds in shares.items()},
        shares=shares,
        prompts={"red_team": len(constitution.red_team_prompts), "helpful": len(constitution.helpful_prompts)},
        exemplars={
            "revision": len(constitution.revision_exemplars),
            "comparison": len(constitution.comparison_exemplars),
        },
        notes=_notes(constitution, shares),
    )


def _notes(constitution: Constitution, shares: Mapping[str, Mapping[str, Mapping[str, float]]]) -> tuple[str, ...]:
    notes = [
        f"no principle for {named} applies to {kind} prompts: the {stage} can do nothing with them"
        for named, (uses, stage, kinds) in _STAGES.items()
        for kind in kinds
        if not any(shares[use][kind] for use in uses)
    ]
    by_text: dict[tuple[str | None, ...], str] = {}
    for principle in constitution.principles:
        text = (
            principle.critique_request,
            principle.revision_request,
            principle.comparison,
            principle.question,
            principle.better,
        )
        if text in by_text:
            notes.append(f"principles '{by_text[text]}' and '{principle.id}' say the same: together they count twice")
        by_text.setdefault(text, principle.id)
    return tuple(notes)
