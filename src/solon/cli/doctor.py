"""What `solon doctor` says: what this machine can run, what is missing and how it is had, what a model is good for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from solon.cli.tables import format_table
from solon.errors import advise_install
from solon.lm import ModelSpec
from solon.pipeline.candidate import Candidate, Trial
from solon.pipeline.machine import GIB, TRAINING_BYTES, Extra, Machine, most_parameters, training_memory
from solon.pipeline.models import describe_served
from solon.pipeline.task import load_task

UNKNOWN: Final = "cannot be told here"

_USES: Final = {
    "local": "asks and trains models",
    "gguf": "reads and writes GGUF files",
    "api": "asks models on servers",
    "leaks": "finds near copies in pools of more than 5,000 prompts",
    "dev": "tests and checks of this package",
}
"""What each extra is for."""

_SHOWN: Final = 3
"""Most packages of an extra whose versions are shown."""


def machine_lines(machine: Machine, version: str, folder: Path) -> Iterator[str]:
    """Say what the machine has, a line for each thing.

    Args:
        machine: its facts.
        version: of this package.
        folder: whose disk was looked at.
    """
    yield f"solon {version}, Python {machine.python}, {machine.system}"
    for extra in machine.extras:
        yield _describe_extra(extra)
    yield f"processors: {machine.processors}, of which a run uses  --set threads=N"
    yield f"bfloat16 on the processors: {_describe_bfloat16(machine.computes_bfloat16)}"
    yield f"memory: {_size(machine.memory)}, of which free: {_size(machine.free_memory)}"
    yield f"GPU: {_describe_gpus(machine)}"
    yield f"disk of {folder}: {_size(machine.free_disk)} free"
    yield f"nano model: {machine.shipped_fault or 'is there'}"
    yield f"the default run: {'has all that it needs' if machine.is_ready else 'cannot be done here, see above'}"
    if machine.has_local:
        yield f"a run on your own prompts: {load_task('starter').choose_preset(has_gpu=bool(machine.gpus))[1]}"
        if places := _places(machine):
            yield from ("", "largest model that can be trained, in float32, roughly:", _sizes_table(places))


def model_lines(candidate: Candidate, trial: Trial | None, machine: Machine, source: str) -> Iterator[str]:
    """Say what a checkpoint is and whether it can be asked and trained.

    Args:
        candidate: what it is.
        trial: what came of loading it; None where its weights were not loaded.
        machine: on which it would be used.
        source: what `--model` was given.
    """
    yield f"model {source}: {candidate.family}, {candidate.parameters:,} parameters, {candidate.dtype}"
    yield f"context: {candidate.context} tokens for a prompt and what follows it"
    if candidate.has_chat_template:
        turn = "a system turn" if candidate.has_system_turn else "no system turn"
        yield f"chat template: yes, with {turn}: the layouts chat and single"
    else:
        yield "chat template: none, so it is asked in plain text:  --set models.assistant.layout=transcript"
    if trial is None:
        yield f"can be asked: not tried, since its weights take {_size(candidate.weight_bytes)}, more than is free"
    else:
        yield "can be asked: yes"
        yield f"can be trained: {f'no: {trial.untrainable}' if trial.untrainable else 'yes'}"
    for name, memory in _places(machine):
        yield f"training on {name}, with {_size(memory)}, takes about: {_needs(candidate.parameters, memory)}"
    for note in trial.notes if trial is not None else ():
        yield f"note: {note}"


def served_lines(source: str) -> Iterator[str]:
    """Ask a server what it can do, as before a run, and say so.

    Raises:
        ConfigError, ModelError: there is no such server, or it does not serve the model.
    """
    found = describe_served(ModelSpec(source=source))
    yield f"model {source}: is behind a server, so it can be asked and not trained"
    yield from (f"{name}: {value}" for name, value in found.items())
    yield "found without its tokenizer; a run that is given  models.ROLE.server.tokenizer  may read more from it"


def _describe_extra(extra: Extra) -> str:
    use = f" ({_USES[extra.name]})" if extra.name in _USES else ""
    if extra.lacks:
        return f"extra {extra.name}{use}: lacks {', '.join(extra.lacks)}: {advise_install(extra.name)}"
    return f"extra {extra.name}{use}: {', '.join(extra.has) if len(extra.has) <= _SHOWN else 'is there'}"


def _describe_bfloat16(computes: bool | None) -> str:
    if computes is None:
        return UNKNOWN
    return "computed as such" if computes else "not computed as such: answers are faster with  --dtype float32"


def _describe_gpus(machine: Machine) -> str:
    if machine.gpus:
        return ", ".join(f"{gpu.name} with {_size(gpu.memory)}" for gpu in machine.gpus)
    if not machine.has_local:
        return UNKNOWN
    if machine.has_idle_gpu:
        return "one is there and torch does not find it: install a build of torch with CUDA that fits its driver"
    return "torch finds none"


def _places(machine: Machine) -> list[tuple[str, int]]:
    """Return where models can be trained, and the memory in bytes there; a run trains in one of them."""
    processors = [("the processors", machine.memory)] if machine.memory is not None else []
    return [*processors, *((gpu.name, gpu.memory) for gpu in machine.gpus)]


def _needs(parameters: int, memory: int) -> str:
    """Say what each training of a model takes, and which is more than there is."""
    needs = {what: training_memory(parameters, each) for what, each in TRAINING_BYTES.items()}
    return "; ".join(f"{what} {_size(need)}{'' if need <= memory else ', too much'}" for what, need in needs.items())


def _sizes_table(places: list[tuple[str, int]]) -> str:
    head = ["", "memory", *TRAINING_BYTES]
    rows = [
        [name, _size(memory), *(_count(most_parameters(memory, each)) for each in TRAINING_BYTES.values())]
        for name, memory in places
    ]
    return format_table([head, *rows])


def _size(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number / GIB:.1f} GiB"


def _count(parameters: int) -> str:
    """Return a rough number of parameters: 0.8 B, 40 M."""
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.0f} M"
