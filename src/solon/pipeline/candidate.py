"""What can be told of a checkpoint before it is given to a run: what it is, and whether it can be asked and trained.

The checks are those of a run (`pipeline.models`), in the layout that the presets of small models would ask it in: one
turn of its chat template, or plain text where it has none.
"""

from dataclasses import dataclass
from pathlib import Path

from solon.errors import ModelError
from solon.lm.spec import ModelSpec
from solon.pipeline.artifacts import ASSISTANT
from solon.pipeline.models import Tokenizers, check_askable, check_openings, check_trainable, describe_thoughts
from solon.records import Layout


@dataclass(frozen=True)
class Candidate:
    """What a checkpoint is.

    Attributes:
        family: its architecture, as transformers calls it.
        parameters: how many weights it has, tied ones once.
        dtype: its precision, as torch calls it.
        weight_bytes: what its weights take in that precision.
        context: tokens that a prompt and what follows it may have together.
        has_chat_template: whether it has one.
        has_system_turn: whether that has a place for a system prompt.
    """

    family: str
    parameters: int
    dtype: str
    weight_bytes: int
    context: int
    has_chat_template: bool
    has_system_turn: bool

    @property
    def layout(self) -> Layout:
        """In which layout it can be asked, and is tried."""
        return "single" if self.has_chat_template else "transcript"


@dataclass(frozen=True)
class Trial:
    """What came of loading it.

    Attributes:
        notes: what a person should know of how it is used.
        untrainable: why training cannot start from it; empty where it can.
    """

    notes: tuple[str, ...]
    untrainable: str


def describe_candidate(folder: Path) -> Candidate:
    """Say what a checkpoint is, without reading its weights.

    Raises:
        ModelError: it is no checkpoint that this package loads.
    """
    from solon.inference import read_context
    from solon.nets import count_parameters, has_system_turn, load_tokenizer, read_config, stored_dtype

    config, tokenizer = read_config(folder), load_tokenizer(folder)
    parameters, dtype = count_parameters(folder), stored_dtype(folder)
    has_template = bool(tokenizer.chat_template)
    return Candidate(
        family=config.model_type,
        parameters=parameters,
        dtype=str(dtype).removeprefix("torch."),
        weight_bytes=parameters * dtype.itemsize,
        context=read_context(config, tokenizer),
        has_chat_template=has_template,
        has_system_turn=has_template and has_system_turn(tokenizer),
    )


def try_candidate(folder: Path, layout: Layout) -> Trial:
    """Load a checkpoint and ask it, as before a run.

    Raises:
        ModelError: it cannot be asked, in no role.
    """
    role = ASSISTANT.key
    models = {role: ModelSpec(source=str(folder), layout=layout)}
    untrainable = ""
    try:
        notes = check_trainable(role, models[role])
    except ModelError as error:
        untrainable = str(error)
        notes = check_askable(role, models[role])
    tokenizers = Tokenizers()
    check_openings(models, tokenizers)
    return Trial((*notes, *describe_thoughts(models, [role], tokenizers)), untrainable)
