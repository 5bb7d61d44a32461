"""The commands. Each imports what it needs when it is called."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from solon.cli.errors import INTERRUPTED, fail, reports_errors

app = typer.Typer(
    help="Constitutional AI, whole: from a constitution to a harmless, helpful, non-evasive model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
constitution_app = typer.Typer(help="Look at constitutions.", no_args_is_help=True)
world_app = typer.Typer(help="Build and check the nano model of the reference world.", no_args_is_help=True)
app.add_typer(constitution_app, name="constitution")
app.add_typer(world_app, name="world")

RunFolder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")]


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="solon")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        raise SystemExit(INTERRUPTED) from None


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


@app.command()
@reports_errors
def run(
    preset: Annotated[str, typer.Option(help="What to run: nano (minutes) or smoke (under a minute).")] = "nano",
    constitution: Annotated[str, typer.Option(metavar="FILE", help="A constitution; the shipped one if left out.")] = (
        "default"
    ),
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The run's folder; runs/PRESET if left out.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw; the preset's if left out.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Set a field, e.g. ppo.kl_coef=0.05.")
    ] = None,
) -> None:
    """Run the whole method.

    To resume after an interruption, run the same command again.
    """
    from solon.cli.failpoints import arm_failpoint
    from solon.pipeline.usage import Meter

    meter = Meter(whole_process=True)
    arm_failpoint(os.environ)
    from solon.cli.progress import make_observer
    from solon.cli.tables import results_table
    from solon.pipeline.overrides import merge, nest, parse_override
    from solon.pipeline.run import run as run_pipeline

    folder = out if out is not None else Path("runs") / preset
    settings: dict[str, object] = {}
    for text in overrides or ():
        settings = merge(settings, nest(*parse_override(text)))
    with make_observer(sys.stderr) as observer:
        try:
            result = run_pipeline(
                out=folder,
                constitution=constitution,
                preset=preset,
                seed=seed,
                overrides=settings,
                observer=observer,
                meter=meter,
            )
        except KeyboardInterrupt:
            observer.close()
            again = shlex.join(["solon", "run", *_given(preset, constitution, folder, seed, overrides or [])])
            sys.stderr.write(f"interrupted: what was done is kept; resume with\n  {again}\n")
            raise SystemExit(INTERRUPTED) from None
    print(results_table(result.results))
    print(f"report: {result.report}")


def _given(preset: str, constitution: str, out: Path, seed: int | None, overrides: list[str]) -> list[str]:
    """Return the options that ask for the same run."""
    words = ["--preset", preset]
    if constitution != "default":
        words += ["--constitution", constitution]
    words += ["--out", str(out)]
    if seed is not None:
        words += ["--seed", str(seed)]
    return [*words, *(word for text in overrides for word in ("--set", text))]


@app.command()
@reports_errors
def chat(
    folder: RunFolder,
    model: Annotated[str, typer.Option(help="base, sl-cai or rl-cai.")] = "rl-cai",
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the answers.")] = 0,
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
    from solon.report import write_report

    print(write_report(folder))


@constitution_app.command("check")
@reports_errors
def check_constitution(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A constitution file, or the name of a shipped one.")],
) -> None:
    """Read a constitution and say what it holds, or what is wrong with it and where."""
    from solon.cli.errors import printable
    from solon.constitution import check_constitution as gather_facts
    from solon.constitution import load_constitution
    from solon.pipeline.vocabulary import describe_unknown_words

    constitution = load_constitution(file)
    facts = gather_facts(constitution)
    critique = sum(1 for principle in constitution.principles if principle.critique_request)
    comparison = sum(1 for principle in constitution.principles if principle.comparison)
    lines = [
        f"{file}: {facts.name}, version {facts.version}, digest {facts.digest}",
        f"{facts.principles} principles: {critique} for critique and revision, {comparison} for comparison",
        f"sample prompts: {facts.prompts['red_team']} red-team, {facts.prompts['helpful']} helpful; "
        f"exemplars: {facts.exemplars['revision']} of revision, {facts.exemplars['comparison']} of comparison",
        *(f"note: {note}" for note in facts.notes),
        *(f"note: {note}" for note in describe_unknown_words(constitution)),
    ]
    print(printable("\n".join(lines)))


def _absent(what: str) -> None:
    fail(f"{what} is not part of this installation")
