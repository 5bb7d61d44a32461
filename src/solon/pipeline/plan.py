"""What a run is, worked out before its folder is claimed: anything wrong with it is said while nothing is done."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from solon import __version__
from solon.constitution import SHIPPED, Constitution, check_constitution, load_constitution
from solon.errors import ConfigError
from solon.evaluation import Grader, PairGrader, asks_of, check_grader, measures_of, weighs_of
from solon.lm import Caps, Price
from solon.lm.spec import LOCAL, ModelSpec
from solon.pipeline.artifacts import ASSISTANT, CONSTITUTION, GRADERS, MODELS, TEMPLATES, Checkpoint, Given, Input, Role
from solon.pipeline.config import RunConfig, build_config
from solon.pipeline.graph import Graph
from solon.pipeline.models import (
    Tokenizers,
    check_askable,
    check_devices,
    check_labels,
    check_layouts,
    check_openings,
    check_trainable,
    describe_idle_roles,
    describe_idle_templates,
    describe_judges,
    describe_thoughts,
    find_origins,
    locate_model,
    place_of,
    trained_model,
)
from solon.pipeline.overrides import flatten, merge
from solon.pipeline.preflight import refuse_prompts
from solon.pipeline.prices import PriceTable, load_prices, name_of
from solon.pipeline.prompt_pools import RunPrompts, describe_prompts, draw_prompts
from solon.pipeline.requests import Known
from solon.pipeline.room import check_room
from solon.pipeline.task import Task, source_of
from solon.prompting import load_templates, templates_digest
from solon.records import GIVEN, Origin, OwnTemplates, RunHeader, RunPaths
from solon.storage import content_digest, path_digest


@dataclass(frozen=True)
class RunPlan:
    """Everything that decides a run.

    Attributes:
        task: what is asked and how it is judged.
        config: the whole configuration.
        constitution: what governs the run.
        prompts: every prompt, and the evaluations.
        models: role to its model, checkpoints found.
        header: what the run says about itself.
        graph: the stages.
        grader_source: how a grader was given in the place of the task's own; empty where none was.
        until: where the graph was ended; None for the whole method.
        templates: file, such as `chat/user.txt`, to what stands in the place of the package's template.
        prices: what models behind servers cost; None where nobody said.
        tokenizers: those that were loaded to work it out.
    """

    task: Task
    config: RunConfig
    constitution: Constitution
    prompts: RunPrompts
    models: Mapping[str, ModelSpec]
    header: RunHeader
    graph: Graph
    grader_source: str
    until: str | None
    templates: Mapping[str, str]
    prices: PriceTable | None
    tokenizers: Tokenizers

    @property
    def known(self) -> Known:
        """What is known of the run before it begins."""
        return Known(self.config, self.constitution, self.prompts, self.task.example(), self.templates)

    def model(self, item: Role | Checkpoint, paths: RunPaths) -> ModelSpec:
        """Return the model of a role, or one that is made here, which is opened as the assistant is."""
        if isinstance(item, Role):
            return self.models[item.key]
        return trained_model(self.models[ASSISTANT.key], item.path(paths))

    def price_of(self, role: str) -> Price | None:
        """Return what the model of a role costs; None where it costs nothing or that is not known."""
        return self.prices.find(self.models[role]) if self.prices is not None and role in self.models else None

    def digest(self, item: Input, paths: RunPaths) -> str:
        """Return the digest of what a stage reads."""
        if isinstance(item, Role):
            return self.header.models[item.key].digest
        if not isinstance(item, Given):
            return path_digest(item.path(paths))
        graders = [[e.name, e.grader.identity, e.measures.to_json()] for e in self.prompts.evaluations]
        digests = {
            CONSTITUTION: self.constitution.digest,
            TEMPLATES: templates_digest(self.templates),
            GRADERS: content_digest(graders),
            MODELS: content_digest({role: origin.digest for role, origin in self.header.models.items()}),
        }
        return digests[item]


def resolve_config(
    task: Task, constitution: Constitution | str | Path, preset: str | None, settings: Mapping[str, Any]
) -> RunConfig:
    """Return the whole configuration of a run.

    Args:
        task: what is asked and how it is judged.
        constitution: what governs the run, or where to load it from.
        preset: one of the task's presets; None is the one that it chooses for this machine.
        settings: fields set over the preset, nested.

    Raises:
        ConfigError: the preset or a field is wrong.
    """
    for name, instead in (("constitution", "--constitution"), ("preset", "--preset")):
        if name in settings:
            raise ConfigError(f"{name} cannot be set over a preset: give it with {instead}")
    return build_config(preset, merge(settings, {"constitution": _source_of(constitution)}), task)


def gather_known(
    task: Task,
    config: RunConfig,
    constitution: Constitution | str | Path,
    grader: Grader | PairGrader | None,
    templates: Path | str | Mapping[str, str] | None,
) -> tuple[Known, dict[str, ModelSpec], PriceTable | None]:
    """Read what a run is given; return it with its models by role, checkpoints found, and with what these cost.

    Args:
        task: what is asked and how it is judged.
        config: the whole configuration.
        constitution: what governs the run, or where to load it from.
        grader: grades in place of the task's own graders; None for these.
        templates: own templates, or their folder; None for the package's alone.

    Raises:
        ConfigError, ConstitutionError, ModelError: as `solon.run`.
    """
    own = {} if templates is None else load_templates(templates)
    prices = None if config.prices is None else load_prices(config.prices)
    rules = constitution if isinstance(constitution, Constitution) else load_constitution(constitution)
    prompts = _regrade(draw_prompts(task, config, rules), grader)
    refuse_prompts(prompts, config, rules)
    models = {role: locate_model(spec, task) for role, spec in config.models.items()}
    return Known(config, rules, prompts, task.example(), own), models, prices


def build_plan(
    task: Task,
    config: RunConfig,
    constitution: Constitution | str | Path,
    *,
    settings: Mapping[str, Any],
    grader: Grader | PairGrader | None,
    grader_source: str,
    graph: Graph,
    until: str | None,
    notes: tuple[str, ...] = (),
    templates: Path | str | Mapping[str, str] | None = None,
) -> RunPlan:
    """Work out a run.

    Args:
        task: what is asked and how it is judged.
        config: the whole configuration.
        constitution: what governs the run, or where to load it from.
        settings: what was set over the preset, for the header.
        grader: grades in place of the task's own graders; None for these.
        grader_source: how it can be given again.
        graph: the stages.
        until: where the graph was ended, as it was asked for.
        notes: what the user should know before what is found here.
        templates: own templates, or their folder; None for the package's alone.

    Raises:
        ConfigError, ConstitutionError, ModelError: as `solon.run`.
    """
    known, models, prices = gather_known(task, config, constitution, grader, templates)
    rules, prompts, own = known.constitution, known.prompts, known.templates
    check_devices(models)
    trained = [role.key for stage in graph for role in stage.trains if isinstance(role, Role)]
    checked = {_asked_as(models[role]) for role in trained}
    asked: dict[tuple[str | None, ...], str] = {}
    for role, spec in models.items():  # roles that share a model are looked at once
        asked.setdefault(_asked_as(spec), role)
    tokenizers = Tokenizers()
    notices = (
        *notes,
        *(notice for role in trained for notice in check_trainable(role, models[role])),
        *(notice for key, role in asked.items() if key not in checked for notice in check_askable(role, models[role])),
        *check_layouts(models, own, tokenizers),
        *describe_idle_templates(own, models),
        *describe_thoughts(models, trained, tokenizers),
        *check_constitution(rules).notes,
        *([describe_prompts(prompts)] if task.says_counts else []),
        *task.notices(rules, {role: spec.source for role, spec in config.models.items()}),
        *describe_idle_roles(models),
    )
    check_openings(models, tokenizers)
    origins = find_origins(models, {role: spec.source for role, spec in config.models.items()})
    known = Known(config, rules, prompts, task.example(), own)
    check_labels(dict.fromkeys(role for role in _weighing_roles(graph, known) if role in models), models)
    header = RunHeader(
        code_version=__version__,
        config=config.model_dump(mode="json"),
        task=Origin(source=source_of(task), name=task.name, digest=task.identity),
        constitution=Origin(source=config.constitution, name=rules.name, digest=rules.digest),
        models=origins,
        places={r: place for r, s in models.items() if (place := place_of(config.models[r], s)) is not None},
        overrides={name: value for name, value in flatten(settings) if name != "seed"},
        notices=(
            *notices,
            *describe_judges(prompts.evaluations, origins),
            *check_room(graph, known, models, tokenizers),
        ),
        templates=OwnTemplates(
            source=GIVEN if isinstance(templates, Mapping) else str(templates), digest=content_digest(own), texts=own
        )
        if own
        else None,
        prices=None if prices is None else prices.origin,
    )
    source = "" if grader is None else grader_source
    return RunPlan(task, config, rules, prompts, models, header, graph, source, until, own, prices, tokenizers)


def find_asked_roles(graph: Graph, prompts: RunPrompts, models: Mapping[str, ModelSpec]) -> list[str]:
    """Return the roles that a graph may ask, those of its graders included: all where one does not say whom it asks."""
    read = {item.key for stage in graph for item in stage.reads if isinstance(item, Role)}
    for evaluation in prompts.evaluations:
        asks = asks_of(evaluation.grader)
        read |= models.keys() if asks is None else set(asks)
    return [role for role in models if role in read]


def refuse_unpriced(plan: RunPlan, caps: Caps) -> None:
    """Refuse a limit on the cost where what may be asked has no price.

    Raises:
        ConfigError: a role that may be asked has a model that is not in this process, and no price.
    """
    if caps.cost is None:
        return
    for role in find_asked_roles(plan.graph, plan.prompts, plan.models):
        spec = plan.models[role]
        if spec.backend != LOCAL and plan.price_of(role) is None:
            where = (
                "give a table of prices with  --prices FILE"
                if plan.prices is None
                else f"add it to {plan.prices.source}"
            )
            raise ConfigError(f"--max-cost: no price of {name_of(spec)} is known, which is models.{role}: {where}")


def _asked_as(spec: ModelSpec) -> tuple[str | None, ...]:
    """Return what decides whether a model can be asked."""
    return spec.source, spec.layout, spec.device, spec.dtype


def _source_of(constitution: Constitution | str | Path) -> str:
    """Return where a constitution can be had again: the file, the name of a shipped one, or `GIVEN`."""
    if not isinstance(constitution, Constitution):
        return str(constitution)
    return next((name for name in SHIPPED if load_constitution(name).digest == constitution.digest), GIVEN)


def _regrade(prompts: RunPrompts, grader: Grader | PairGrader | None) -> RunPrompts:
    """Put a grader in the place of the task's own, with the measures that it declares."""
    if grader is None:
        return prompts
    own = check_grader(grader, f"grader {type(grader).__name__}")
    graded = [replace(e, grader=own, measures=measures_of(own, e.prompts)) for e in prompts.evaluations]
    return replace(prompts, evaluations=graded)


def _weighing_roles(graph: Graph, known: Known) -> Iterator[str]:
    """Yield the roles whose models weigh options in a run: for a stage, or for a grader that says so."""
    for stage in graph:
        for request in stage.asks(known) if stage.asks is not None else ():
            if request.limit is None and isinstance(request.model, Role):
                yield request.model.key
    for evaluation in known.prompts.evaluations:
        yield from weighs_of(evaluation.grader)
