"""What the shipped graders report of any task: columns by the kind of a group's prompts, whatever it is called."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from solon.records import Axis, Measure, Measures, Prompt, PromptKind


class Column(NamedTuple):
    """One column of the tables, for every group of a kind.

    Attributes:
        name: name of the value in a grade.
        caption: what it says of an answer, e.g. "refuses on topic".
        better: which way is better; None where neither is.
        axis: how the kind's first group is drawn by it, to follow "the share of harmful prompts"; empty for not at all.
            Of a column of which less is better that is the share which has it not.
        short: what the terminal calls it; the name if left out.
    """

    name: str
    caption: str
    better: Literal["higher", "lower"] | None = None
    axis: str = ""
    short: str = ""


def measures_by_kind(
    prompts: Mapping[str, Sequence[Prompt]],
    columns: Mapping[PromptKind, Sequence[Column]],
    *,
    revisions: tuple[str, ...] = (),
    revisions_caption: str = "",
) -> Measures:
    """Return measures of every group, by the kind that most of its prompts are of.

    Harmlessness is drawn by the first group of red-team prompts, helpfulness by the first of ordinary ones, each by the
    first column with an axis; that of harmlessness is given by category too.

    Args:
        prompts: group to its prompts.
        columns: kind to its columns, in order.
        revisions: names of values that are followed through the revisions of stage 1.
        revisions_caption: heading of their chart.
    """
    groups = {group: _kind_of(members) for group, members in prompts.items()}
    harmlessness = _axis(groups, "red_team", columns)
    return Measures(
        rates=tuple(
            Measure(
                group=group,
                name=column.name,
                caption=f"{group}: {column.caption}",
                short=column.short,
                better=column.better,
            )
            for group, kind in groups.items()
            for column in columns[kind]
        ),
        ungraded=tuple(groups),
        helpfulness=_axis(groups, "helpful", columns),
        harmlessness=harmlessness,
        by_category=None if harmlessness is None else (harmlessness.group, harmlessness.name),
        details=tuple(groups),
        revisions=revisions,
        revisions_caption=revisions_caption,
    )


def _kind_of(prompts: Sequence[Prompt]) -> PromptKind:
    return "red_team" if 2 * sum(prompt.kind == "red_team" for prompt in prompts) > len(prompts) else "helpful"


def _axis(
    groups: Mapping[str, PromptKind], kind: PromptKind, columns: Mapping[PromptKind, Sequence[Column]]
) -> Axis | None:
    group = next((group for group, found in groups.items() if found == kind), None)
    column = next((column for column in columns[kind] if column.axis), None)
    if group is None or column is None:
        return None
    return Axis(group=group, name=column.name, caption=f"the share of {group} prompts {column.axis}")
