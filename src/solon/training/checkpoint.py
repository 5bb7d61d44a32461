"""Where a loop can take up again: one file with every weight, optimizer moment and random state.

The file is safetensors, its plain values JSON in the header, so nothing is ever unpickled; being a single file, it is
replaced in one move and is either the old one or the new one. Loops draw every random number from a seed derived
from what the draw is for, so besides the step there is little to remember; torch's global generator is kept for
models with dropout. A resumed loop continues bitwise on a CPU: weights are copied into memory that torch allocated,
since a matrix product may round differently in memory aligned by another hand.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from solon.errors import ModelError, RunError
from solon.nets import Trainable
from solon.storage import replace_file

_FORMAT = 1
_RANDOM = "random"


class Resumed(NamedTuple):
    """What a checkpoint says besides weights.

    Attributes:
        step: steps that were complete.
        extra: what the loop stored with it.
    """

    step: int
    extra: dict[str, Any]


class Checkpoint:
    """The checkpoint of one loop, in `<out>/.checkpoint`.

    Args:
        out: the folder the loop's result goes to.
        identity: digest of everything the result depends on: configuration, seed, data, initial weights.
    """

    def __init__(self, out: Path, identity: str) -> None:
        self.folder = out / ".checkpoint"
        self.path = self.folder / "state.safetensors"
        self.identity = identity

    def save(
        self,
        step: int,
        models: Mapping[str, Trainable],
        optimizers: Mapping[str, torch.optim.Optimizer],
        extra: Mapping[str, Any],
    ) -> None:
        """Write the state after `step` steps in place of the one before."""
        tensors: dict[str, Tensor] = {f"{_RANDOM}/cpu": torch.get_rng_state()}
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            for device in range(torch.cuda.device_count()):
                tensors[f"{_RANDOM}/cuda{device}"] = torch.cuda.get_rng_state(device)
        plain: dict[str, Any] = {}
        for name, model in models.items():
            tensors.update({f"model/{name}/{key}": value for key, value in unique_tensors(model).items()})
        for name, optimizer in optimizers.items():
            state = optimizer.state_dict()
            for index, entries in state["state"].items():
                for key, value in entries.items():
                    if isinstance(value, Tensor):
                        tensors[f"optimizer/{name}/{index}/{key}"] = value
                    else:
                        plain.setdefault(name, {}).setdefault(str(index), {})[key] = value
        header = {"format": _FORMAT, "identity": self.identity, "step": step, "optimizers": plain, "extra": dict(extra)}
        with replace_file(self.path) as temporary:
            whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            save_file(whole, temporary, metadata={"solon": json.dumps(header)})

    def restore(
        self, models: Mapping[str, Trainable], optimizers: Mapping[str, torch.optim.Optimizer]
    ) -> Resumed | None:
        """Put the saved state into `models`, `optimizers` and torch's generators; None where nothing was saved.

        Raises:
            RunError: the checkpoint was made with another configuration, seed, data or model.
            ModelError: the file cannot be read.
        """
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get("solon", "{}"))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(f"{self.path}: cannot be read ({error}): remove {self.folder} to train anew") from error
        if header.get("format") != _FORMAT or header.get("identity") != self.identity:
            raise RunError(
                f"{self.path}: was made with another configuration, seed, data or initial model: "
                f"remove {self.folder} to train anew, or choose another folder"
            )
        for name, model in models.items():
            with torch.no_grad():
                for key, value in unique_tensors(model).items():
                    value.copy_(tensors[f"model/{name}/{key}"])
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(
                {
                    "state": _optimizer_state(tensors, header["optimizers"].get(name, {}), name),
                    "param_groups": optimizer.state_dict()["param_groups"],
                }
            )
        torch.set_rng_state(tensors[f"{_RANDOM}/cpu"].clone())
        for device in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            if f"{_RANDOM}/cuda{device}" in tensors:
                torch.cuda.set_rng_state(tensors[f"{_RANDOM}/cuda{device}"].clone(), device)
        return Resumed(int(header["step"]), header["extra"])

    def remove(self) -> None:
        """Remove the checkpoint; the result has taken its place."""
        shutil.rmtree(self.folder, ignore_errors=True)


def unique_tensors(model: Trainable) -> dict[str, Tensor]:
    """Return a model's weights and stored buffers by name, tied ones once."""
    seen: set[int] = set()
    unique = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            unique[name] = value
    return unique


def copy_to_own_storage(model: Trainable) -> None:
    """Move every weight into memory that torch allocated, ties kept, so that arithmetic rounds the same each time."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators for a loop, and give the caller's state back afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def _optimizer_state(tensors: Mapping[str, Tensor], plain: Mapping[str, Any], name: str) -> dict[int, dict[str, Any]]:
    prefix = f"optimizer/{name}/"
    state: dict[int, dict[str, Any]] = {int(index): dict(entries) for index, entries in plain.items()}
    for key, value in tensors.items():
        if key.startswith(prefix):
            index, entry = key.removeprefix(prefix).split("/", 1)
            state.setdefault(int(index), {})[entry] = value.clone()
    return state
