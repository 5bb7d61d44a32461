"""Where a pretraining run can take up again: one safetensors file of three flat tensors, its header the progress.

Apart from `training.checkpoint`, which keeps modules and torch optimizers: here there are neither, and no random
state, since documents are drawn from the seed and the step.
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from solon.errors import ModelError, RunError
from solon.storage import replace_file
from solon.world.nano.pretrain.config import PretrainConfig
from solon.world.nano.pretrain.optimizer import TrainState
from solon.world.nano.pretrain.weights import LlamaShape

CHECKPOINT_NAME = "checkpoint.safetensors"


@dataclass(slots=True)
class Progress:
    """How far a run is.

    Attributes:
        step: steps done.
        tokens: trained on so far.
        loss: mean of the last line of metrics, in nats per unit of weight.
        seconds: of training, those before a resume included.
    """

    step: int = 0
    tokens: int = 0
    loss: float = math.nan
    seconds: float = 0.0


def identify_run(config: PretrainConfig, shape: LlamaShape) -> str:
    """Write what a checkpoint must agree with for a resumed run to be the same run; documents are the caller's care."""
    free = {"log_every", "checkpoint_every", "data_workers"}
    return json.dumps([config.model_dump(exclude=free), dataclasses.asdict(shape)], sort_keys=True)


def save_checkpoint(path: Path, state: TrainState, identity: str, progress: Progress) -> None:
    """Write the state and the progress in place of the checkpoint before."""
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in state.tensors().items()}
    metadata = {"identity": identity, "progress": json.dumps(dataclasses.asdict(progress))}
    with replace_file(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_checkpoint(path: Path, state: TrainState, identity: str) -> Progress:
    """Fill the state from a checkpoint, and return its progress.

    Raises:
        ModelError: the file cannot be read.
        RunError: the checkpoint belongs to another configuration or shape.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("identity") != identity:
                raise RunError(
                    f"{path} belongs to another run: use another folder, or its config: {metadata.get('identity')}"
                )
            for name, tensor in state.tensors().items():
                tensor.copy_(file.get_tensor(name))
    except SafetensorError as error:
        raise ModelError(f"{path}: cannot be read ({error}): remove it to train anew") from error
    return Progress(**json.loads(metadata["progress"]))
