"""The commands. Each imports what it needs when it is called."""

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from solon.cli.errors import FAILED, INTERRUPTED, fail, reports_errors

if TYPE_CHECKING:
    from solon.evaluation import Grader, PairGrader
    from solon.lm import Caps
    from solon.pipeline.task import Task
    from solon.world.nano.pretrain import PretrainLog
    from solon.world.splits import Split

app = typer.Typer(
    help="Constitutional AI, whole: from a constitution to a harmless, helpful, non-evasive model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
constitution_app = typer.Typer(help="Look at constitutions.", no_args_is_help=True)
world_app = typer.Typer(help="Build and check the nano model of the reference world.", no_args_is_help=True)
task_app = typer.Typer(help="Look at tasks.", no_args_is_help=True)
app.add_typer(constitution_app, name="constitution")
app.add_typer(task_app, name="task")
model_app = typer.Typer(help="Take models from GGUF files and to them.", no_args_is_help=True)
app.add_typer(world_app, name="world")
app.add_typer(model_app, name="model")

RunFolder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from solon import __version__

        print(f"solon {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@dataclass(frozen=True)
class _Request:
    """What the options of `run` and `plan` ask for.

    Attributes:
        task: what is asked and how it is judged.
        folder: the run's folder.
        settings: fields set over the preset, nested.
        overrides: the same, as words of `--set`.
        grader: name of the grader, if one was given.
        part: what `solon.run` and `plan` call as the options do.
        caps: limits on what may be spent.
        accept_code: keep stages that other sources made.
    """

    task: "Task"
    folder: Path
    settings: dict[str, Any]
    overrides: list[str]
    grader: str | None
    part: dict[str, Any]
    caps: "Caps"
    accept_code: bool


def _read_options(
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="What is asked: a task's YAML file, or starter; the world if left out."),
    ] = None,
    red_team: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Without a task file: prompts that ask for harm, to train on.")
    ] = None,
    helpful: Annotated[Path | None, typer.Option(metavar="FILE", help="Ordinary prompts to train on.")] = None,
    harmful: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Prompts that ask for harm, to measure on.")
    ] = None,
    benign: Annotated[Path | None, typer.Option(metavar="FILE", help="Ordinary prompts to measure on.")] = None,
    grader: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Grades in place of the task's own grader: rules, judge or MODULE:CLASS."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="The assistant, where training starts: a checkpoint folder."),
    ] = None,
    critic: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Criticises and revises; the assistant if left out.")
    ] = None,
    feedback: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Compares answers; the assistant if left out.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="For graders that ask one; the feedback model if left out.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Precision in which the assistant answers: float32, bfloat16 or float16; its own if left out.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where the assistant answers and is trained, e.g. cuda; cpu if left out."),
    ] = None,
    drop_leaks: Annotated[
        bool, typer.Option("--drop-leaks", help="Leave out training prompts that are evaluation prompts.")
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Of the world nano or smoke; of a task from files small, small-gpu or paper."
        ),
    ] = None,
    constitution: Annotated[
        str, typer.Option(metavar="FILE", help="A constitution file, or the name of a shipped one.")
    ] = "default",
    templates: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Prompt templates in the place of some of the package's.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The run's folder; in runs/ if left out.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of every draw; 0 if left out.")] = None,
    until: Annotated[
        str | None, typer.Option(metavar="NAME", help="End with this stage, record file or model, e.g. sl-cai.")
    ] = None,
    labels_only: Annotated[
        bool,
        typer.Option(
            "--labels-only", help="Train nothing: the assistant, which may be a server, gives what is labelled."
        ),
    ] = False,
    only: Annotated[str | None, typer.Option(metavar="STAGE", help="Do this stage of the run alone.")] = None,
    old: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="An old run: the calls it made are not made again.")
    ] = None,
    accept_code: Annotated[
        bool, typer.Option("--accept-code", help="Keep stages that another version of the code made.")
    ] = False,
    prices: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A table of what models behind servers cost.")
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(metavar="X", min=0.0, help="Stop before a call by which the run, all starts, might cost more."),
    ] = None,
    max_calls: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Stop where the run, all starts, has made so many calls.")
    ] = None,
    max_hours: Annotated[
        float | None, typer.Option(metavar="H", min=0.0, help="Stop this start after so many hours.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Set a field, e.g. ppo.kl_coef=0.05.")
    ] = None,
) -> _Request:
    """Gather what the options say; they are declared here for all commands that have them."""
    from solon.cli.tasks import default_folder, find_task
    from solon.lm import Caps
    from solon.pipeline.overrides import merge, nest
    from solon.pipeline.stages.method import CONSTITUTIONAL_AI, CONSTITUTIONAL_DATA

    found = find_task(task, red_team=red_team, helpful=helpful, harmful=harmful, benign=benign)
    given = {
        "assistant": {"source": model, "dtype": dtype, "device": device},
        "critic": {"source": critic},
        "feedback": {"source": feedback},
        "judge": {"source": judge},
    }
    settings: dict[str, object] = {"prompts": {"drop_leaks": True}} if drop_leaks else {}
    if prices is not None:
        settings["prices"] = str(prices)
    for role, fields in given.items():
        for field, value in fields.items():
            if value is not None:
                settings = merge(settings, nest(("models", role, field), value))
    return _Request(
        task=found,
        folder=out if out is not None else default_folder(found, preset),
        settings=settings,
        overrides=overrides or [],
        grader=grader,
        part={
            "constitution": constitution,
            "preset": preset,
            "seed": seed,
            "until": until,
            "only": only,
            "old": old,
            "templates": templates,
            "method": CONSTITUTIONAL_DATA if labels_only else CONSTITUTIONAL_AI,
        },
        caps=Caps(calls=max_calls, cost=max_cost, hours=max_hours),
        accept_code=accept_code,
    )


def _with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `_read_options` in the place of its `**options`; typer reads signatures."""
    own = [p for p in signature(command).parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
    shared = signature(_read_options).parameters.values()
    parameters = [*own[:1], *shared, *own[1:]]
    setattr(command, "__signature__", Signature(parameters))  # noqa: B010
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


@app.command()
@reports_errors
@_with_options
def run(context: typer.Context, **options: Any) -> None:
    """Run the whole method, or a part of it.

    To resume after an interruption, run the same command again.
    """
    request = _read_options(**options)
    try:
        _run(request)
    except KeyboardInterrupt:
        named = [] if options["out"] is not None else ["--out", str(request.folder)]
        again = shlex.join(["solon", "run", *_words(context), *named])
        sys.stderr.write(f"interrupted: what was done is kept; resume with\n  {again}\n")
        raise SystemExit(INTERRUPTED) from None


@app.command()
@reports_errors
@_with_options
def plan(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")] = False,
    **options: Any,
) -> None:
    """Say what a run would ask, train and cost; nothing is done.

    Takes the options of `solon run`. What the run's folder or an old run has answered already is not counted.
    """
    request = _read_options(**options)
    grader = _check_files(request)
    from solon.cli.errors import printable
    from solon.cli.tables import estimate_table
    from solon.pipeline.run import plan as plan_run

    estimate = plan_run(
        out=request.folder, task=request.task, overrides=request.settings, grader=grader, **request.part
    )
    print(printable(estimate.model_dump_json(indent=1) if as_json else estimate_table(estimate)))


def _words(context: typer.Context) -> list[str]:
    """Return the options that a command was given, as words of a command line."""
    words: list[str] = []
    for option in context.command.params:
        source, value = context.get_parameter_source(option.name or ""), context.params.get(option.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        if value is True:
            words.append(option.opts[0])
            continue
        for each in value if isinstance(value, list | tuple) else [value]:
            words += [option.opts[0], str(each)]
    return words


def _check_files(request: _Request) -> "Grader | PairGrader | None":
    """Say what is wrong with the files that a request names before anything heavy is imported; return its grader."""
    from solon.constitution import load_constitution
    from solon.pipeline.folder import check_run_folder
    from solon.pipeline.overrides import merge, nest, parse_override
    from solon.prompting import load_templates
    from solon.tasks import load_grader

    for text in request.overrides:
        request.settings.update(merge(request.settings, nest(*parse_override(text))))
    check_run_folder(request.folder)
    load_constitution(request.part["constitution"])
    if (templates := request.part["templates"]) is not None:
        load_templates(templates)
    return None if request.grader is None else load_grader(request.grader, Path.cwd())


def _run(request: _Request) -> None:
    from solon.cli.failpoints import arm_failpoint
    from solon.pipeline.usage import Meter

    meter = Meter(whole_process=True)
    arm_failpoint(os.environ)
    grader = _check_files(request)

    from solon.cli.errors import printable
    from solon.cli.progress import make_observer
    from solon.cli.tables import results_table
    from solon.pipeline.run import run as run_pipeline

    with make_observer(sys.stderr) as observer:
        result = run_pipeline(
            out=request.folder,
            task=request.task,
            overrides=request.settings,
            observer=observer,
            grader=grader,
            grader_source=request.grader or "",
            meter=meter,
            caps=request.caps,
            accept_code=request.accept_code,
            **request.part,
        )
    if request.part["only"] is not None:
        return
    print(printable(results_table(result.results)))
    for notice in result.results["notices"]:
        print(printable(f"note: {notice}"))
    print(printable(f"report: {result.report}"))


@app.command()
@reports_errors
def chat(
    folder: RunFolder,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="base, or a model the run made; the last if left out.")
    ] = None,
    temperature: Annotated[float, typer.Option(metavar="T", min=0.0, help="0 is greedy.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Longest answer, in tokens.")] = 128,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the answers.")] = 0,
) -> None:
    """Talk to a model of a run.

    One line at a time; an empty line starts a new conversation, end of input ends.
    """
    from solon.cli.chat import run_chat

    run_chat(folder, model, temperature=temperature, max_tokens=max_tokens, seed=seed)


@app.command()
@reports_errors
def show(
    folder: RunFolder,
    record_id: Annotated[str, typer.Argument(metavar="ID", help="A record's id, or the beginning of one.")],
) -> None:
    """Print a record and all it came from.

    Its ancestry goes back to principles and model calls. The beginning of an id will do if it is unique.
    """
    from solon.cli.errors import printable
    from solon.pipeline.ancestry import describe

    print(printable(describe(folder, record_id)))


@app.command()
@reports_errors
def report(folder: RunFolder) -> None:
    """Write the report of a finished run again."""
    from solon.cli.errors import printable
    from solon.lm import describe_lost_calls
    from solon.records import RunPaths
    from solon.report import write_report

    print(printable(str(write_report(folder))))
    if (lost := describe_lost_calls(RunPaths(folder))) is not None:
        sys.stderr.write(printable(f"note: {folder}: {lost}\n"))


@app.command()
@reports_errors
def export(
    folder: RunFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the files, which must not be there yet.")],
    keep_cut: Annotated[
        bool, typer.Option("--keep-cut", help="Keep rows with a text that the token limit cut off, and mark them.")
    ] = False,
) -> None:
    """Write the data of a finished run as files that other trainers read.

    sft.jsonl has prompt and completion; preferences.jsonl has prompt, chosen, rejected and soft_label.
    """
    from solon.cli.errors import printable
    from solon.pipeline.export import export_data

    for written in export_data(folder, out, keep_cut=keep_cut):
        print(printable(str(written)))


@app.command()
@reports_errors
def doctor(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE", help="A checkpoint folder to look at: can it be asked, and trained? Or a model's URL."
        ),
    ] = None,
) -> None:
    """Say what this machine can run, and what is missing.

    The exit code is 1 if the default run lacks something.
    """
    from solon import __version__
    from solon.cli.doctor import machine_lines, model_lines, served_lines
    from solon.cli.errors import printable
    from solon.lm.spec import is_url
    from solon.pipeline.machine import look_at_machine

    machine = look_at_machine(Path.cwd())
    print(printable("\n".join(machine_lines(machine, __version__, Path.cwd()))))
    if model is not None and is_url(model):
        print(printable("\n".join(["", *served_lines(model)])))
    elif model is not None and not machine.has_local:
        print(printable(f"model {model}: not looked at, since the extra local is not whole"))
    elif model is not None:
        from solon.pipeline.candidate import describe_candidate, try_candidate

        candidate = describe_candidate(Path(model))
        fits = machine.free_memory is None or candidate.weight_bytes <= machine.free_memory
        trial = try_candidate(Path(model), candidate.layout) if fits else None
        print(printable("\n".join(["", *model_lines(candidate, trial, machine, model)])))
    if not machine.is_ready:
        raise SystemExit(FAILED)


@constitution_app.command("check")
@reports_errors
def check_constitution(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A constitution file, or the name of a shipped one.")],
) -> None:
    """Say what a constitution holds, or what is wrong with it."""
    from solon.cli.errors import printable
    from solon.constitution import check_constitution as gather_facts
    from solon.constitution import load_constitution
    from solon.world.vocabulary import describe_unknown_words

    constitution = load_constitution(file)
    facts = gather_facts(constitution)
    critique = sum(1 for principle in constitution.principles if principle.critique_request)
    comparison = sum(1 for principle in constitution.principles if principle.comparison)
    question = sum(1 for principle in constitution.principles if principle.question)
    lines = [
        f"{file}: {facts.name}, version {facts.version}, digest {facts.digest}",
        f"{facts.principles} principles: {critique} for critique and revision, {comparison} for comparison"
        + (f", {question} with a question" if question else ""),
        f"sample prompts: {facts.prompts['red_team']} red-team, {facts.prompts['helpful']} helpful; "
        f"exemplars: {facts.exemplars['revision']} of revision, {facts.exemplars['comparison']} of comparison",
        *(f"note: {note}" for note in facts.notes),
        *(f"note: {note}" for note in describe_unknown_words(constitution)),
    ]
    print(printable("\n".join(lines)))


@task_app.command("check")
@reports_errors
def check_task(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task's YAML file, or the name of a shipped one.")],
) -> None:
    """Say what a task holds, and what its author may not have meant."""
    from solon.cli.errors import printable
    from solon.cli.tables import pools_table
    from solon.pipeline.task import load_task
    from solon.tasks import check_task as gather_facts

    facts = gather_facts(load_task(task))
    gold = ", ".join(f"{count} {kind}" for kind, count in facts.gold.items()) or "none"
    lines = [f"task {facts.name}", pools_table(facts.pools), f"gold comparisons: {gold}"]
    print(printable("\n".join([*lines, *(f"note: {note}" for note in facts.notes)])))


@world_app.command("build")
@reports_errors
def build_world(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the checkpoint goes.")] = Path("runs/nano-model"),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Set a field of the recipe, e.g. seed=1.")
    ] = None,
) -> None:
    """Build the nano model from nothing; an interrupted build goes on."""
    from solon.cli.progress import format_seconds
    from solon.pipeline.overrides import merge, nest, parse_override, validate
    from solon.world.nano.build import NanoConfig, run_nano_build

    settings: dict[str, object] = {}
    for text in overrides or ():
        settings = merge(settings, nest(*parse_override(text)))
    config = validate(NanoConfig, settings, where="the recipe")

    def print_progress(log: "PretrainLog") -> None:
        left = (config.tokens - log.tokens) / max(log.tokens_per_second, 1.0)
        rate = f"{log.tokens_per_second:,.0f} tokens/s, {format_seconds(left)} left"
        print(f"{log.tokens:,} of {config.tokens:,} tokens, loss {log.loss:.3f}, {rate}", file=sys.stderr)

    manifest = run_nano_build(config, out, on_log=print_progress)
    print(f"{out}: {manifest['parameters']} parameters, digest {manifest['digest']}")
    took = format_seconds(manifest["training_seconds"])
    print(f"trained in {took}; measure it with  solon world check --model {out}")


@world_app.command("check")
@reports_errors
def check_world(
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A checkpoint; the shipped one if left out.")
    ] = None,
    n: Annotated[int, typer.Option("--n", metavar="N", min=10, help="Items of each ability.")] = 300,
    split: Annotated[
        str, typer.Option(metavar="NAME", help="Goals to ask for: heldout, or dev while a recipe is tuned.")
    ] = "heldout",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of every draw.")] = 0,
    record: Annotated[bool, typer.Option("--record", help="Write the table into the checkpoint's manifest.")] = False,
) -> None:
    """Measure what the nano model can do.

    The exit code is 1 if a bar is not reached.
    """
    from solon.cli.tables import format_table
    from solon.lm.backends.local import LocalModel
    from solon.world.nano.build import load_nano_manifest
    from solon.world.nano.check import format_abilities, measure_abilities, record_abilities
    from solon.world.nano.shipped import find_nano_model

    if split not in ("heldout", "dev"):
        fail(f"--split {split}: expected heldout or dev")
    path = model if model is not None else find_nano_model()
    if record:
        load_nano_manifest(path)
    goals: Split = "dev" if split == "dev" else "heldout"
    rows = measure_abilities(LocalModel(path), n=n, split=goals, seed=seed)
    print(format_table(format_abilities(rows)))
    if record:
        record_abilities(path, rows, split=goals, seed=seed)
    if not all(row.reached for row in rows):
        raise SystemExit(1)


@model_app.command("import")
@reports_errors
def import_model(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A GGUF file.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the checkpoint goes; not there yet, or empty.")],
) -> None:
    """Read a GGUF file into a plain Hugging Face folder.

    Weights become float32. Needs the extra gguf.
    """
    from solon.cli.errors import printable
    from solon.nets.gguf import describe_origin, import_gguf

    manifest = import_gguf(file, folder)
    print(printable(f"{folder}: {manifest['parameters']} parameters, digest {manifest['digest']}"))
    print(printable(f"{describe_origin(manifest)}; licence: {manifest['license'] or 'the file names none'}"))


@model_app.command("export")
@reports_errors
def export_model(
    gguf: Annotated[Path, typer.Option(metavar="FILE", help="Where the GGUF file goes; not there yet.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A checkpoint folder; the nano model if left out.")
    ] = None,
) -> None:
    """Write a Llama-shaped model as a GGUF file in float32.

    The tokenizer and the chat template go with it. Needs the extra gguf.
    """
    from solon.cli.errors import printable
    from solon.nets.gguf import export_gguf
    from solon.world.nano.shipped import find_nano_model

    export_gguf(folder if folder is not None else find_nano_model(), gguf)
    print(printable(f"{gguf}: {gguf.stat().st_size} bytes"))
