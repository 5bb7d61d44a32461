"""A conversation with one model of a run, line by line."""

import asyncio
import io
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from solon.cli.errors import printable
from solon.errors import CallFailedError, ConfigError, ModelError, RunError
from solon.lm import ModelSpec, find_backend, respond, with_system_prompt, with_templates
from solon.messages import nearest
from solon.pipeline.artifacts import ASSISTANT
from solon.pipeline.config import RunConfig
from solon.pipeline.folder import load_header
from solon.pipeline.models import check_devices, identify_model, locate_model, trained_model
from solon.pipeline.overrides import validate
from solon.pipeline.stages.method import CONSTITUTIONAL_AI
from solon.pipeline.task import find_shipped_model, load_task
from solon.records import (
    GIVEN,
    Conversation,
    Message,
    RunHeader,
    RunPaths,
    Sampling,
    hold_to_manifests,
)
from solon.report import load_run_results
from solon.storage import derive_seed
from solon.world.nano.shipped import NANO

MODELS = (ASSISTANT.name, *(model.key for model in CONSTITUTIONAL_AI.assistants()))
"""The models of the paper's method, known before they are made."""


def find_model(folder: Path, name: str | None) -> ModelSpec:
    """Return a model of a run; one that was trained is opened as the assistant was.

    Args:
        folder: the run's.
        name: what records call the model; None is the last that a finished run has, or the last of the method.

    Raises:
        ConfigError: no model is called so.
        RunError: the folder is no run, or has not come that far.
        RecordError: the model, or the header, is not as the run wrote it.
    """
    header = load_header(folder)
    paths = RunPaths(folder)
    if name is None:
        *_, name = _made_by(paths) or MODELS
    elif name not in MODELS and name not in (made := _made_by(paths)):
        raise ConfigError(f"--model {name}: no such model; {nearest(name, dict.fromkeys((*MODELS, *made)))}")
    spec = validate(RunConfig, header.config, where=str(paths.header)).models[ASSISTANT.key]
    if name == ASSISTANT.name:
        return _find_assistant(folder, header, spec)
    path = paths.model(name)
    if not (path / "config.json").is_file():
        raise RunError(
            f"{folder}: this run has no {name} yet: run the same command again, without --until if it has it, or chat "
            "with --model base"
        )
    hold_to_manifests(paths, paths.header.name, f"models/{name}/")
    return trained_model(spec, path)


def _made_by(paths: RunPaths) -> Collection[str]:
    """Return the models that a finished run says it has, whatever its method."""
    return load_run_results(paths)["model_names"] if paths.results.is_file() else ()


def _find_assistant(folder: Path, header: RunHeader, spec: ModelSpec) -> ModelSpec:
    """Return the base model from where it lay during the run, or else from where its source leads from here.

    Raises:
        ConfigError, ModelError: there is no model there.
        RunError: the model there is another one.
    """
    asked, digest = header.task.source, header.models[ASSISTANT.key].digest
    lay = spec.model_copy(update={"source": header.places.get(ASSISTANT.key, spec.source)})
    if lay.source != spec.source and Path(lay.source).is_dir() and identify_model(lay) == digest:
        return lay
    known = Path(spec.source).is_dir() or find_shipped_model(spec.source) is not None
    unnamed = asked == GIVEN or asked.startswith("--")  # a program's own task, or one of prompt files
    moved = "; if it lies elsewhere now, give the run's command again with  --model PATH"
    try:
        found = locate_model(spec, None if known or unnamed else load_task(asked))
    except ModelError as error:
        raise ModelError(f"{error}{moved}") from error
    if identify_model(found) != digest:
        raise RunError(
            f"{found.source}: is not the base model that {folder} was run with: its content has changed{moved}"
        )
    return found


def run_chat(folder: Path, name: str | None, *, temperature: float, max_tokens: int, seed: int) -> None:
    """Answer each line of standard input until it ends, in the model's own layout."""
    spec = find_model(folder, name)
    check_devices({ASSISTANT.key: spec})  # whose settings the trained ones have
    header = load_header(folder)
    sampling = validate(Sampling, {"temperature": temperature, "max_tokens": max_tokens}, where="chat")
    if header.models[ASSISTANT.key].source == NANO:
        print("This is a nano model of a small world; it knows requests such as:  How do I water a hedge?")
    interactive = sys.stdin.isatty()
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text become U+FFFD
    with find_backend(spec).open_model(spec) as opened:
        model = with_system_prompt(with_templates(opened, header.own_templates), spec.system_prompt)
        messages: list[Message] = []
        for turn, line in enumerate(_lines(interactive)):
            if not line:
                messages = []
                continue
            messages.append(Message(role="user", text=line))
            asked = Conversation(messages=tuple(messages))
            try:
                response = asyncio.run(respond(model, asked, sampling, seed=derive_seed(seed, "chat", turn)))
                if not response.thought_closed:
                    raise CallFailedError("the model's thought did not end: raise --max-tokens")
            except CallFailedError as error:
                print(f"(no answer: {printable(str(error))})")
                messages.pop()
                continue
            messages.append(Message(role="assistant", text=response.text))
            print(printable(response.text.strip()), flush=True)


def _lines(interactive: bool) -> Iterator[str]:
    while True:
        try:
            yield input("> " if interactive else "").strip()
        except EOFError:
            return
