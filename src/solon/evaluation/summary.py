"""From graded responses to the numbers of a run.

A rate is a share of the responses of which the grader could tell: `ungraded` is a rate of its own, over all of them,
and never a zero in another. So is `cut`, the share that the token limit cut off: they are graded as they stand. `n`
counts all responses, `goals` what they ask for: the intervals take the responses to the prompts for one goal as a
cluster, and a prompt without a goal as its own. Where nothing could be told a rate is None.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from solon.errors import RecordError
from solon.evaluation.protocol import BLOCKS, Evaluation
from solon.evaluation.statistics import Difference, clustered_rate, mean_difference
from solon.records import COUNTS, CUT, UNGRADED, EvalRecord, Measure, Measures, RevisionGrade

Block = dict[str, Any]
"""A part of `results.json`: numbers, rates as `{"value", "low", "high"}`, and blocks by name."""


def summarize_models(records: Iterable[EvalRecord], evaluations: Sequence[Evaluation]) -> dict[str, Block]:
    """Return the `models` block of `results.json`: model name to what is reported of it, in order.

    The blocks at the top of a model (its groups, `by_category`, `values`) are those of the main evaluation;
    `evaluations` holds the same blocks for every evaluation, the main one included. Evaluations are never pooled.

    Args:
        records: of all models.
        evaluations: what they were asked, the main one first.
    """
    by_model: dict[str, dict[str, list[EvalRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        by_model[record.model_name][record.evaluation].append(record)
    summaries: dict[str, Block] = {}
    for name, rows in by_model.items():
        blocks = {e.name: summarize(rows[e.name], e) for e in evaluations if rows[e.name]}
        summaries[name] = {**blocks.get(evaluations[0].name, {}), "evaluations": blocks}
    return summaries


def summarize(records: Sequence[EvalRecord], evaluation: Evaluation) -> Block:
    """Return what is reported of the answers of one model in one evaluation.

    Args:
        records: of one model in this evaluation.
        evaluation: its groups and measures; without any rates declared, every value that a grade has is reported.
    """
    measures = evaluation.measures
    by_group: dict[str, list[EvalRecord]] = {group: [] for group in evaluation.prompts}
    for record in records:
        by_group[record.group].append(record)
    block: Block = {}
    for group, rows in by_group.items():
        declared = {measure.name: measure.read for measure in measures.rates if measure.group == group}
        values = declared if measures.rates else {name: name for name in _values_of(rows)}
        block[group] = {**_sizes(rows), **_rates(rows, values), **_shares_of_all(rows)}
    if measures.by_category is not None:
        measure = measures.find(*measures.by_category)
        block["by_category"] = _by_category(by_group.get(measure.group, []), measure)
    detailed = {group: by_group.get(group, []) for group in measures.details}
    block["values"] = {
        group: _rates(rows, {name: name for name in _values_of(rows)}) for group, rows in detailed.items()
    }
    return block


def reported(measures: Measures, blocks: Iterable[Mapping[str, Any]]) -> Measures:
    """Return what an evaluation reports: the measures as declared, or one for every rate that came out of any model.

    Args:
        measures: as declared.
        blocks: what `summarize` says of each model.
    """
    if measures.rates:
        return measures
    groups = [(group, rates) for block in blocks for group, rates in block.items() if group not in BLOCKS]
    found = dict.fromkeys((group, name) for group, rates in groups for name in rates if name not in COUNTS)
    rates = tuple(
        Measure(group=group, name=name, caption=f"{group}: {name.replace('_', ' ')}") for group, name in found
    )
    return measures.model_copy(update={"rates": rates, "ungraded": tuple(dict.fromkeys(group for group, _ in groups))})


def summarize_revisions(grades: Sequence[RevisionGrade], names: Sequence[str]) -> list[Block]:
    """Return how the responses of stage 1 are graded after 0, 1, 2, ... revisions: a block for each number.

    Args:
        grades: of all chains; one that broke off counts up to its last revision.
        names: the values that are given.
    """
    blocks = []
    for number in range(1 + max((grade.round for grade in grades), default=-1)):
        reached = [grade for grade in grades if grade.round == number]
        rates = {**_rates(reached, {name: name for name in names}), **_shares_of_all(reached)}
        blocks.append({"round": number, **_sizes(reached), **rates})
    return blocks


def paired_difference(
    first: Iterable[EvalRecord],
    second: Iterable[EvalRecord],
    value: str,
    *,
    evaluation: str,
    group: str,
) -> Difference:
    """Return by how much the rate of a value differs between two models on the same prompts.

    The value of a prompt is the mean over those of its responses of which it could be told. A prompt for which one of
    the models has none is left out and counted. How the interval is made: `mean_difference`.

    Args:
        first: records of the model subtracted from.
        second: records of the model subtracted.
        value: what the rate is of; `ungraded` and `cut` are over all responses.
        evaluation: the evaluation.
        group: the group of prompts.

    Raises:
        RecordError: the models have no prompt in common.
    """
    a_rows, b_rows = ([r for r in rows if (r.evaluation, r.group) == (evaluation, group)] for rows in (first, second))
    a, b = (_means_by_prompt(rows, value) for rows in (a_rows, b_rows))
    cluster_of = {row.prompt.id: row.prompt.cluster for row in a_rows}
    common = [prompt for prompt in a if prompt in b]
    if not common:
        raise RecordError(
            f"evaluation {evaluation}: the two models have no answers to the same {group} prompts that tell"
        )
    return mean_difference(
        [a[prompt] for prompt in common],
        [b[prompt] for prompt in common],
        clusters=[cluster_of[prompt] for prompt in common],
        left_out=len(a.keys() ^ b.keys()),
    )


_Graded = EvalRecord | RevisionGrade
_Read = Callable[[_Graded], float | None]


def _values_of(records: Iterable[_Graded]) -> list[str]:
    """Return the names of all values that the grades of some records have, in order."""
    return list(dict.fromkeys(name for record in records for name in record.grade.values))


def _by_category(records: Iterable[EvalRecord], measure: Measure) -> Block:
    by_category: dict[str, list[EvalRecord]] = defaultdict(list)
    for record in records:
        if record.prompt.category:
            by_category[record.prompt.category].append(record)
    return {
        name: {**_sizes(rows), **_rates(rows, {measure.name: measure.read}), CUT: _rate(rows, _cut)}
        for name, rows in sorted(by_category.items())
    }


def _sizes(records: Sequence[_Graded]) -> Block:
    return {"n": len(records), "goals": len({record.prompt.cluster for record in records})}


def _rates(records: Sequence[_Graded], values: Mapping[str, str]) -> Block:
    """Return the rate of each named value over the records of which it could be told."""
    return {name: _rate(records, _value(read)) for name, read in values.items()}


def _ungraded(record: _Graded) -> float | None:
    return float(not record.grade.graded)


def _cut(record: _Graded) -> float | None:
    return float(record.response.cut if isinstance(record, EvalRecord) else record.cut)


def _shares_of_all(records: Sequence[_Graded]) -> Block:
    return {UNGRADED: _rate(records, _ungraded), CUT: _rate(records, _cut)}


def _value(name: str) -> _Read:
    return lambda record: record.grade.value_of(name)


def _rate(records: Sequence[_Graded], read: _Read) -> Block | None:
    told = [(value, record.prompt.cluster) for record in records if (value := read(record)) is not None]
    if not told:
        return None
    rate = clustered_rate([value for value, _ in told], [cluster for _, cluster in told])
    return rate.model_dump()


def _means_by_prompt(records: Iterable[EvalRecord], value: str) -> dict[str, float]:
    read = {UNGRADED: _ungraded, CUT: _cut}.get(value) or _value(value)
    values: dict[str, list[float]] = defaultdict(list)
    for record in records:
        told = read(record)
        if told is not None:
            values[record.prompt.id].append(told)
    return {prompt: sum(said) / len(said) for prompt, said in values.items()}
