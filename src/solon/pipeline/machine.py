"""What this machine has for a run: libraries, processors, memory, GPUs; and how large a model it can train.

Only facts are gathered here, and those that the system does not tell are None. Nothing is refused: a run is held to
what it needs where it needs it. Works without torch, which is imported only where it is installed.

Training is in float32 and of every weight. By parameter, in bytes:

    weights 4 + gradients 4 + two moments of AdamW 8                    16   fine-tuning, the preference model
    16 for the policy + 4 reference + 4 preference model                24   PPO with `ppo.train_value_trunk` false
    24 + 16 for the value model, a whole copy of the preference model   40   PPO with `ppo.train_value_trunk` true

The policy's rollouts are drawn from the weights that learn, which takes no copy. To that comes what does not grow with
the number of parameters alone, the program and the activations of `microbatch_tokens` tokens: `RESERVED`.
"""

import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from solon.errors import ModelError
from solon.messages import one_line
from solon.pipeline.artifacts import ASSISTANT
from solon.pipeline.models import has_gpu
from solon.pipeline.task import find_shipped_model, load_task

DISTRIBUTION: Final = "solon"
LOCAL_EXTRA: Final = "local"
"""The extra without which no model of this machine can be asked or trained."""

GIB: Final = 2**30
RESERVED: Final = 2 * GIB
"""Bytes that the program and the activations take beside weights; 1.5 GiB were seen with SmolLM2-135M."""

TRAINING_BYTES: Final[Mapping[str, int]] = {"SL-CAI": 16, "RL-CAI": 24, "RL-CAI with ppo.train_value_trunk": 40}
"""What is trained to how many bytes a parameter it takes."""

_CPU_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_MEMORY_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_NVIDIA: Final = "/dev/nvidia0"


@dataclass(frozen=True)
class Extra:
    """An optional part of this distribution.

    Attributes:
        name: what it is installed by.
        has: its packages that are there, with their versions.
        lacks: its packages that are missing, of another version than is needed or broken, in words.
    """

    name: str
    has: tuple[str, ...]
    lacks: tuple[str, ...]


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch finds.

    Attributes:
        name: what it calls itself.
        memory: in bytes.
    """

    name: str
    memory: int


@dataclass(frozen=True)
class Machine:
    """What there is for a run.

    Attributes:
        python: version of Python.
        system: name of the operating system and of the processor's architecture.
        extras: the extras of this distribution.
        processors: how many this process may use.
        memory: bytes that this process may use, a container's limit included; None where it cannot be told.
        free_memory: bytes of it that nothing uses now; None where it cannot be told.
        computes_bfloat16: whether the processors have instructions for bfloat16; None where it cannot be told.
        gpus: those that torch finds.
        has_idle_gpu: whether there is an NVIDIA GPU that torch does not find.
        free_disk: bytes on the disk of the folder.
        shipped_fault: what is wrong with the model of the default task, which ships with the package; empty where it is
            there.
    """

    python: str
    system: str
    extras: tuple[Extra, ...]
    processors: int
    memory: int | None
    free_memory: int | None
    computes_bfloat16: bool | None
    gpus: tuple[Gpu, ...]
    has_idle_gpu: bool
    free_disk: int
    shipped_fault: str

    @property
    def has_local(self) -> bool:
        """Whether models of this machine can be asked and trained."""
        return not any(extra.lacks for extra in self.extras if extra.name == LOCAL_EXTRA)

    @property
    def is_ready(self) -> bool:
        """Whether the default run has all that it needs."""
        return self.has_local and not self.shipped_fault


def look_at_machine(folder: Path) -> Machine:
    """Gather what this machine has.

    Args:
        folder: whose disk is looked at.
    """
    extras = tuple(read_extras())
    has_torch = any(package.startswith("torch ") for extra in extras for package in extra.has)
    gpus = read_gpus() if has_torch else ()
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        extras=extras,
        processors=count_processors(),
        memory=read_memory(),
        free_memory=read_free_memory(),
        computes_bfloat16=read_bfloat16(),
        gpus=gpus,
        has_idle_gpu=has_torch and not gpus and Path(_NVIDIA).exists(),
        free_disk=shutil.disk_usage(folder).free,
        shipped_fault=find_shipped_fault(),
    )


def read_extras() -> Iterator[Extra]:
    """Yield the extras of this distribution, as its metadata says, with what is installed of each."""
    needed = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or ()]
    for extra in metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or ():
        states = [
            _look_up(each) for each in needed if each.marker is not None and each.marker.evaluate({"extra": extra})
        ]
        if states:
            yield Extra(
                extra,
                has=tuple(said for said, fits in states if fits),
                lacks=tuple(said for said, fits in states if not fits),
            )


def _look_up(package: Requirement) -> tuple[str, bool]:
    """Return what to call a package, and whether it is there as it is needed."""
    try:
        version = metadata.version(package.name)
    except metadata.PackageNotFoundError:
        return package.name, False
    if not fits_bounds(version, package.specifier):
        return f"{package.name} {package.specifier} (found {version})", False
    if package.name == "torch" and (fault := find_torch_fault()):
        return f"{package.name} {version}, which cannot be imported ({fault})", False
    return f"{package.name} {version}", True


def fits_bounds(version: str, bounds: SpecifierSet) -> bool:
    """Say whether a version is within bounds such as `<6,>=5.16`, be it one before a release."""
    return bounds.contains(version, prereleases=True)


def find_torch_fault() -> str:
    """Return why torch, which is installed, cannot be imported; empty where it can."""
    try:
        import torch  # noqa: F401
    except Exception as error:  # whatever its libraries raise
        return one_line(f"{type(error).__name__}: {error}", 200)
    return ""


def count_processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_memory() -> int | None:
    """Return how many bytes of memory this process may use; None where it cannot be told."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    limits = (_read(file).strip() for file in _MEMORY_LIMITS)
    return min([total, *(int(limit) for limit in limits if limit.isdigit())])


def read_free_memory() -> int | None:
    """Return how many bytes are free of what this process may use, or could be made so; None where it cannot be told.

    What others in a container have taken of its limit is not told.
    """
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", _read("/proc/meminfo"), re.MULTILINE)
    if found is None:
        return None
    free, memory = int(found[1]) * 1024, read_memory()
    return free if memory is None else min(free, memory)


def read_bfloat16() -> bool | None:
    """Say whether the processors have instructions for bfloat16, by their flags; None where they are not told."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return bool(_CPU_FLAGS & set(found[1].split())) if found else None


def read_gpus() -> tuple[Gpu, ...]:
    """Return the GPUs that torch finds."""
    if not has_gpu():
        return ()
    import torch

    found = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return tuple(Gpu(gpu.name, gpu.total_memory) for gpu in found)


def find_shipped_fault() -> str:
    """Return what is wrong with the model of the default task; empty where it is there."""
    name = load_task().models[ASSISTANT.key]["source"]
    try:
        folder = find_shipped_model(name)
    except ModelError as error:
        return str(error)
    return "" if folder is not None else f"no model is called {name}"


def training_memory(parameters: int, bytes_each: int) -> int:
    """Return about how many bytes a training takes.

    Args:
        parameters: of the model.
        bytes_each: one of `TRAINING_BYTES`.
    """
    return parameters * bytes_each + RESERVED


def most_parameters(memory: int, bytes_each: int) -> int:
    """Return about how many parameters a model can have that is trained in so much memory; the inverse of the above.

    Args:
        memory: in bytes.
        bytes_each: one of `TRAINING_BYTES`.
    """
    return max(0, memory - RESERVED) // bytes_each


def _read(file: str) -> str:
    """Return a file of the system; empty where this system has none, or keeps it to itself."""
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
