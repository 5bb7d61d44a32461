"""What a run will ask, train and cost, worked out from what its stages foresee; nothing is asked for it.

A call that a journal has is not counted: those of the folder, where it holds the same run, and those of the stages that
an old run did alike. What its calls took there says how long the others will be and how fast; where nothing was
measured no time is given. Prompts are counted by the model's tokenizer where that is at hand; of those that are drawn
under a principle, or hold a text that is not known yet, a sample is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from operator import attrgetter
from pathlib import Path
from typing import Any

from solon.evaluation import asks_of, calls_of
from solon.lm import ModelSpec, RoleUse, read_uses
from solon.lm.spec import LOCAL
from solon.pipeline.artifacts import ASSISTANT, CONSTITUTION, MODELS, TEMPLATES, Checkpoint, Given, Role
from solon.pipeline.example import DRAWS
from solon.pipeline.folder import ROUNDING_ONLY, load_header
from solon.pipeline.graph import Graph, Stage
from solon.pipeline.manifests import load_manifest
from solon.pipeline.models import Tokenizers, identify_model
from solon.pipeline.prices import PriceTable, name_of
from solon.pipeline.requests import Known, Pool, Request
from solon.pipeline.room import Reader
from solon.pipeline.stages.revision import CHAINS
from solon.prompting import Templates, add_system_prompt, templates_digest
from solon.records import Basis, Conversation, PlannedCalls, PlannedTraining, RunEstimate, RunHeader, RunPaths

_SAMPLE = 16
"""Prompts that are counted where not all are: their mean stands for all."""

_CHARACTERS = 4
"""Characters taken for one token where no tokenizer is at hand."""


def estimate_run(
    graph: Graph,
    known: Known,
    models: Mapping[str, ModelSpec],
    *,
    task: str,
    prices: PriceTable | None = None,
    folders: Sequence[Path] = (),
    tokenizers: Tokenizers | None = None,
) -> RunEstimate:
    """Work out what a run will ask, train and cost.

    Args:
        graph: its stages.
        known: what is known of it.
        models: role to its model, checkpoints found.
        task: identity of the task.
        prices: what models behind servers cost.
        folders: of runs whose calls are not made again, the run's own first; any that is not there is passed over.
        tokenizers: those that are loaded already.

    Raises:
        RunError, JournalError: a folder holds what cannot be read.
    """
    asked = _Asked(known, models, task)
    runs = [_Run(root, asked, graph) for root in folders if RunPaths(root).header.is_file()]
    readers: dict[str, Reader | None] = {}
    tokenizers = tokenizers or Tokenizers()
    calls: list[PlannedCalls] = []
    training = []
    for stage in graph:
        if stage.learns is not None:
            training.append(_plan_training(stage, stage.learns(known), runs))
            continue
        foreseen = _gather(stage, known)
        for role, requests in foreseen.items():
            spec = models.get(role, models[ASSISTANT.key])
            if role not in models:
                spec = spec.model_copy(update={"backend": LOCAL})
            key = spec.model_dump_json()
            if key not in readers:
                readers[key] = _find_reader(spec, known, tokenizers)
            row = _Row(stage, role, requests, spec, known, readers[key], runs)
            calls.append(_price(row.plan(), spec, prices))
        if MODELS in stage.reads:
            calls += [_price(row, models[row.role], prices) for row in _plan_graders(stage, known, models, runs)]
    return RunEstimate(
        calls=tuple(calls), training=tuple(training), currency=None if prices is None else prices.currency
    )


def _gather(stage: Stage, known: Known) -> dict[str, list[Request]]:
    """Return role to what it is asked in a stage."""
    gathered: dict[str, list[Request]] = {}
    for request in stage.asks(known) if stage.asks is not None else ():
        if request.pool.conversations:
            gathered.setdefault(request.model.key, []).append(request)
    return gathered


def _find_reader(spec: ModelSpec, known: Known, tokenizers: Tokenizers) -> Reader | None:
    """Return what counts the tokens of a model; None where its tokenizer is not at hand."""
    if spec.backend != LOCAL:
        if spec.server.tokenizer is None:
            return None
        spec = spec.model_copy(update={"source": spec.server.tokenizer})
    reader = Reader(spec, known.templates, tokenizers)
    return reader if reader.has_tokenizer else None


@dataclass(frozen=True)
class _Asked:
    """What decides which answers of another run are this run's too."""

    known: Known
    models: Mapping[str, ModelSpec]
    task: str


class _Run:
    """A run there is: what it did as the one that is planned would, and what it took."""

    def __init__(self, root: Path, asked: _Asked, graph: Graph) -> None:
        self._paths = RunPaths(root)
        self._header = load_header(root)
        self._asked = asked
        self._makers = {output: stage for stage in graph for output in stage.writes}
        self._alike: dict[str, bool] = {}

    @cached_property
    def uses(self) -> dict[tuple[str, str], RoleUse]:
        """Stage and role to what was used."""
        if not self._paths.journal.is_file():
            return {}
        return {(use.stage, use.role): use for use in read_uses(self._paths.journal)}

    def is_done(self, stage: Stage) -> bool:
        """Say whether it did the whole stage as the planned run would, and not that of a shorter method."""
        manifest = load_manifest(self._paths.manifest(stage.name))
        if manifest is None or manifest.status != "complete":
            return False
        return manifest.inputs.keys() >= {item.key for item in stage.reads} and self.did_alike(stage)

    def did_alike(self, stage: Stage) -> bool:
        """Say whether a stage has the settings there that it would have, and reads the same."""
        if stage.name not in self._alike:
            self._alike[stage.name] = self.has_settings_of(stage) and all(map(self._reads_alike, stage.reads))
        return self._alike[stage.name]

    def has_settings_of(self, stage: Stage) -> bool:
        """Say whether seed, task and the stage's settings are the same."""
        old, new = self._header.config, self._asked.known.config.model_dump(mode="json")
        same = all(old.get(name) == new[name] for name in ("seed", "heldout_pairs", "prompts", *stage.settings))
        return same and self._header.task.digest == self._asked.task

    def seconds_of(self, stage: Stage) -> float | None:
        """Return how long it took to do a whole stage with the same settings."""
        manifest = load_manifest(self._paths.manifest(stage.name))
        if manifest is None or manifest.status != "complete" or not self.has_settings_of(stage):
            return None
        return manifest.seconds

    def _reads_alike(self, item: Any) -> bool:
        header, asked = self._header, self._asked
        if isinstance(item, Role):
            return _says_alike(header, item.key, asked.models)
        if item == CONSTITUTION:
            return header.constitution.digest == asked.known.constitution.digest
        if item == TEMPLATES:
            return templates_digest(header.own_templates) == templates_digest(dict(asked.known.templates))
        if isinstance(item, Given):
            return True
        return item not in self._makers or self.did_alike(self._makers[item])


def _says_alike(header: RunHeader, role: str, models: Mapping[str, ModelSpec]) -> bool:
    """Say whether a role has the same model; of one behind a server, as far as its name and settings tell."""
    new = models[role]
    if role not in header.models:
        return False
    if new.backend == LOCAL:
        return header.models[role].digest == identify_model(new)
    old = ModelSpec.model_validate(header.config["models"][role])
    same_name = old.backend == new.backend and name_of(old) == name_of(new)
    return same_name and old.model_dump(exclude=ROUNDING_ONLY) == new.model_dump(exclude=ROUNDING_ONLY)


@dataclass(frozen=True)
class _Row:
    """What one role is asked in one stage."""

    stage: Stage
    role: str
    requests: Sequence[Request]
    spec: ModelSpec
    known: Known
    reader: Reader | None
    runs: Sequence[_Run]

    def plan(self) -> PlannedCalls:
        """Work it out."""
        calls = round(sum(request.calls * len(request.pool.conversations) for request in self.requests))
        fixed = all(request.fixed for request in self.requests)
        answered = _count_answered(self.stage, self.role, calls, self.runs)
        share = (calls - answered) / calls if calls else 0.0
        told = [self._count(request) for request in self.requests]
        prompt, most_prompt, output = (ceil(share * sum(part)) for part in zip(*told, strict=True))
        measured = _find_measured(self.stage, self.role, self.runs)
        row = PlannedCalls(
            stage=self.stage.name,
            role=self.role,
            what=" and ".join(dict.fromkeys(request.what for request in self.requests)),
            calls=calls,
            fixed=fixed,
            answered=answered,
            prompt_tokens=prompt,
            most_prompt_tokens=most_prompt,
            prompt_basis=self._find_basis(share),
            output_tokens=output,
            most_output_tokens=output,
            output_basis="limit",
        )
        return row if measured is None else _rest_on(row, measured, keeps_prompt=prompt == most_prompt)

    def _find_basis(self, share: float) -> Basis:
        if self.reader is None:
            return "characters"
        return "sample" if 0.0 < share < 1.0 or any(map(_is_drawn, self.requests)) else "tokenizer"

    def _count(self, request: Request) -> tuple[float, float, float]:
        """Return tokens of all prompts of a request as far as they are known, the most, and the most that is written.

        A label is read from one token; where a server gives no log-probabilities it takes several draws.
        """
        pool, limits = request.pool.conversations, request.filled
        calls = request.calls * len(pool)
        sample = pool[:: max(1, len(pool) // _SAMPLE)] if _is_drawn(request) else pool
        known = calls * sum(map(self._length_of(request), sample)) / len(sample)
        draws = self.spec.server.votes if request.limit is None and self.spec.backend != LOCAL else 1
        written = 1 if request.limit is None else self._value(request.limit)
        most = (known + calls * sum(map(self._value, limits))) * draws
        return known, most, calls * written * draws

    def _length_of(self, request: Request) -> Callable[[Conversation], int]:
        layout = Templates(self.spec.layout, self.known.templates)

        def length(conversation: Conversation) -> int:
            if self.reader is not None:
                return self.reader.count(request.render(conversation, self.reader.layout))
            text = add_system_prompt(request.render(conversation, layout), self.spec.system_prompt, layout).text
            return ceil(len(text) / _CHARACTERS)

        return length

    def _value(self, field: str) -> int:
        value: int = attrgetter(field)(self.known.config)
        return value


def _is_drawn(request: Request) -> bool:
    """Say whether prompts depend on what is drawn or written in the run."""
    return request.principle is not None or bool(request.filled)


def _count_answered(stage: Stage, role: str, calls: int, runs: Sequence[_Run]) -> int:
    """Return how many calls need not be made: all of a stage that is done, else those that the runs have of it."""
    if any(run.is_done(stage) for run in runs):
        return calls
    had = (run.uses.get((stage.name, role)) for run in runs if run.did_alike(stage))
    return min(calls, max((use.calls for use in had if use is not None), default=0))


def _find_measured(stage: Stage, role: str, runs: Sequence[_Run]) -> RoleUse | None:
    """Return what the calls of a stage and role took in the first run that has any."""
    found = (run.uses.get((stage.name, role)) for run in runs)
    return next((use for use in found if use is not None and use.calls), None)


def _rest_on(row: PlannedCalls, measured: RoleUse, *, keeps_prompt: bool = False) -> PlannedCalls:
    """Have what is expected rest on what was measured; a number of tokens that was counted whole is kept."""
    if (left := row.left) is None:
        return row
    counted = measured.tries.prompt_tokens + measured.tries.generated_tokens > 0 and measured.made > 0
    tokens = measured.tries if counted else measured
    calls = measured.made if counted else measured.calls
    prompt, output = ceil(left * tokens.prompt_tokens / calls), ceil(left * tokens.generated_tokens / calls)
    changed: dict[str, object] = {"output_tokens": _at_most(output, row.most_output_tokens), "output_basis": "journal"}
    if not keeps_prompt:
        changed |= {"prompt_tokens": _at_most(prompt, row.most_prompt_tokens), "prompt_basis": "journal"}
    if measured.seconds > 0.0:
        changed["seconds"] = left * measured.seconds / measured.timed
    return row.model_copy(update=changed)


def _at_most(value: int, most: int | None) -> int:
    return value if most is None else min(value, most)


def _plan_graders(
    stage: Stage, known: Known, models: Mapping[str, ModelSpec], runs: Sequence[_Run]
) -> Iterator[PlannedCalls]:
    """Yield what the graders of a stage ask of roles, as far as they state it; how long that is only a journal says."""
    asked: dict[str, int | None] = {}
    made = [item for item in stage.reads if isinstance(item, Checkpoint) or item == ASSISTANT]
    for number, evaluation in enumerate(known.prompts.evaluations):
        each, answers = calls_of(evaluation.grader), sum(map(len, evaluation.prompts.values()))
        answers *= len(made) * known.config.evaluation.samples_per_prompt
        if number == 0:  # the main evaluation grades the revisions and the example's answers too
            revised = Pool.of(known.prompts.pools["revision"], "red_team") if CHAINS in stage.reads else Pool([])
            answers += len(revised.conversations) * (known.config.revision.rounds + 1)
            answers += 0 if known.example is None else DRAWS + len(made) - 1
        asks = asks_of(evaluation.grader)
        for role in models if asks is None else asks:
            before = asked.get(role, 0)
            asked[role] = None if each is None or before is None else before + each * answers
    for role, calls in asked.items():
        if role in models:
            answered = 0 if calls is None else _count_answered(stage, role, calls, runs)
            row = PlannedCalls(
                stage=stage.name, role=role, what="grades", calls=calls, fixed=calls == 0, answered=answered
            )
            measured = _find_measured(stage, role, runs)
            yield row if measured is None else _rest_on(row, measured)


def _plan_training(stage: Stage, tokens: int, runs: Sequence[_Run]) -> PlannedTraining:
    """Return what a stage is still to learn."""
    if any(run.is_done(stage) for run in runs[:1]):  # models of another run are not taken over, calls alone are
        return PlannedTraining(stage=stage.name, tokens=0, seconds=0.0)
    took = (run.seconds_of(stage) for run in runs)
    return PlannedTraining(stage=stage.name, tokens=tokens, seconds=next((s for s in took if s is not None), None))


def _price(row: PlannedCalls, spec: ModelSpec, prices: PriceTable | None) -> PlannedCalls:
    """Say what calls cost, where they are of a model behind a server."""
    if spec.backend == LOCAL:
        return row
    price = None if prices is None else prices.find(spec)
    if price is None:
        return row.model_copy(update={"priced": True})

    def cost(prompt: int | None, output: int | None) -> float | None:
        return None if prompt is None or output is None else price.of(prompt, output)

    return row.model_copy(
        update={
            "priced": True,
            "cost": cost(row.prompt_tokens, row.output_tokens),
            "most_cost": cost(row.most_prompt_tokens, row.most_output_tokens),
        }
    )
