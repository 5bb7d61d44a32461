"""Reading a GGUF file into a checkpoint folder, in float32.

transformers reads the configuration, the vocabulary and the tensors. It passes over whatever it does not know: scaled
positions, caps on logits, tensors of no place. A file with any of it is refused by name.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import yaml

from solon.errors import ModelError
from solon.nets.folder import quiet_transformers, weights_digest
from solon.nets.gguf.library import require_gguf
from solon.nets.gguf.tokens import find_difference, rebuild_engine
from solon.nets.llama import LlamaConfig
from solon.nets.protocols import CausalLM, Tokenizer
from solon.nets.tokenizer import load_tokenizer
from solon.storage import replace_folder

_KNOWN = ("attention.key_length", "attention.value_length")
"""Facts that transformers passes over and this reader sees to: sizes, which have to fit the tensors."""


@dataclass(frozen=True)
class GGUFFile:
    """What a file says.

    Attributes:
        path: where it lies.
        facts: its table, by name.
        kinds: how many tensors are of each type, the most frequent first.
        names: of its tensors.
    """

    path: Path
    facts: dict[str, Any]
    kinds: dict[str, int]
    names: tuple[str, ...]

    @property
    def architecture(self) -> str:
        """What kind of model it is."""
        return str(self.facts.get("general.architecture", ""))


def import_gguf(file: Path, folder: Path) -> dict[str, Any]:
    """Read a GGUF file into a plain Hugging Face folder, whole or not at all; its weights become float32.

    Args:
        file: the GGUF file.
        folder: where the checkpoint goes; not there yet, or empty.

    Returns:
        The folder's manifest: the file's name, size, digest and licence, what its weights were, the folder's digest.

    Raises:
        MissingExtraError: the library for GGUF files is not installed.
        ModelError: the folder is not empty; the file is no whole GGUF file, or says something that would be lost.
    """
    file, folder = Path(file), Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ModelError(f"{folder}: is there already and is no empty folder: name another, or remove it")
    contents = read_file(file)
    tokenizer = read_tokenizer(contents)
    model = _read_model(contents)
    with replace_folder(folder) as temporary:
        with quiet_transformers():
            model.save_pretrained(str(temporary))
            tokenizer.save_pretrained(str(temporary))
        # of some families transformers makes a tokenizer of its own again, whatever the folder says
        if (text := find_difference(tokenizer, load_tokenizer(temporary))) is not None:
            raise ModelError(
                f"{file}: transformers would read {text[:40]!r} in the folder otherwise than the file says: start from "
                "the model's Hugging Face folder"
            )
        parameters = sum(weight.numel() for weight in model.parameters())
        manifest = _describe(contents, parameters=parameters, digest=weights_digest(temporary))
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(_write_card(manifest), encoding="utf-8")
    return manifest


def read_file(path: Path) -> GGUFFile:
    """Read what a GGUF file says, without its tensors.

    Raises:
        MissingExtraError, ModelError: as `import_gguf`.
    """
    gguf = require_gguf()
    if not path.is_file():
        raise ModelError(f"{path}: no such file: give the path of a GGUF file")
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise ModelError(f"{path}: is no GGUF file: it does not begin with those letters")
    try:
        reader = gguf.GGUFReader(path)
        facts = {name: field.contents() for name, field in reader.fields.items()}
        end = max((tensor.data_offset + tensor.n_bytes for tensor in reader.tensors), default=0)
    except Exception as error:
        raise ModelError(f"{path}: is damaged or cut short ({_first_line(error)}): copy it again") from error
    if end > path.stat().st_size:
        raise ModelError(f"{path}: is cut short: {path.stat().st_size} of {end} bytes: copy it again")
    kinds = Counter(tensor.tensor_type.name for tensor in reader.tensors)
    return GGUFFile(path, facts, dict(kinds.most_common()), tuple(tensor.name for tensor in reader.tensors))


def read_tokenizer(contents: GGUFFile) -> Tokenizer:
    """Return a file's tokenizer.

    Raises:
        ModelError: it has none, or one that cannot be rebuilt.
    """
    from transformers import PreTrainedTokenizerFast

    facts = contents.facts
    family, tokens = facts.get("tokenizer.ggml.model"), facts.get("tokenizer.ggml.tokens")
    if not tokens:
        raise ModelError(f"{contents.path}: holds no tokenizer: use a file that has one")
    if family == "llama" and not facts.get("tokenizer.ggml.add_space_prefix", True):
        raise ModelError(
            f"{contents.path}: its tokenizer puts no space before a text, which transformers does not read from GGUF: "
            "start from the model's Hugging Face folder"
        )
    with _reading(contents) as options:
        read = PreTrainedTokenizerFast.from_pretrained(**options)
    engine = read.backend_tokenizer
    if family == "gpt2":
        kinds = facts.get("tokenizer.ggml.token_type") or [1] * len(tokens)
        engine = rebuild_engine(engine, tokens, kinds, facts.get("tokenizer.ggml.pre"), where=contents.path)
    control = [token.content for token in engine.get_added_tokens_decoder().values() if token.special]
    named = {name: getattr(read, name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
    tokenizer: Tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=engine,
        chat_template=read.chat_template,
        add_bos_token=read.init_kwargs.get("add_bos_token", False),
        add_eos_token=read.init_kwargs.get("add_eos_token", False),
        clean_up_tokenization_spaces=False,
        model_max_length=facts.get(f"{contents.architecture}.context_length"),
        extra_special_tokens=[word for word in control if word not in named.values()],
        **named,
    )
    return tokenizer


def _read_model(contents: GGUFFile) -> CausalLM:
    """Return a file's model, its weights made float32.

    Raises:
        ModelError: transformers does not read this architecture, or would pass over something that the file says.
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import (
        GGUF_SUPPORTED_ARCHITECTURES,
        TENSOR_PROCESSORS,
        TensorProcessor,
        get_gguf_hf_weights_map,
        load_gguf_checkpoint,
    )

    kind = contents.architecture
    if kind not in GGUF_SUPPORTED_ARCHITECTURES:
        raise ModelError(f"{contents.path}: transformers does not read models of architecture {kind!r} from GGUF files")
    _check_facts(contents)
    with _reading(contents) as options:
        config = AutoConfig.from_pretrained(**options)
        if (width := contents.facts.get(f"{kind}.attention.key_length")) is not None:
            config.head_dim = width
        for name in ("bos", "eos", "pad"):  # a configuration has ids of its own for what a file leaves out
            key = "padding" if name == "pad" else name
            setattr(config, f"{name}_token_id", contents.facts.get(f"tokenizer.ggml.{key}_token_id"))
        config.dtype = torch.float32
        vars(config).pop("_model_name_or_path", None)
        with torch.device("meta"):  # the file's own weights take the places of its weights: none is made twice
            model = AutoModelForCausalLM.from_config(config)
        read = load_gguf_checkpoint(
            str(contents.path), return_tensors=True, model_to_load=model, torch_dtype=torch.float32
        )
        if len(read["tensors"]) != len(contents.names):  # the map takes as long as all the rest
            places = get_gguf_hf_weights_map(model, TENSOR_PROCESSORS.get(kind, TensorProcessor)(config={}))
            _check_places(contents, places)
        model.load_state_dict(read["tensors"], strict=False, assign=True)
        model.tie_weights()
    lacking = [name for name, weight in model.state_dict().items() if weight.is_meta]
    if lacking:
        raise ModelError(f"{contents.path}: has no tensor for {lacking[0]}: the file is not whole")
    _check_rotation(contents, config)
    return cast(CausalLM, model.eval())


def _check_places(contents: GGUFFile, places: Mapping[str, str]) -> None:
    """Make sure that each of a file's tensors has a place in the model; experts have theirs without `.weight`."""
    for name in contents.names:
        if not {name, name.removesuffix(".weight")} & places.keys():
            raise ModelError(
                f"{contents.path}: holds {name}, which transformers does not read from GGUF files, so the folder would "
                "hold another model: start from the model's Hugging Face folder"
            )


def _check_facts(contents: GGUFFile) -> None:
    """Make sure that all that a file says of its model is read."""
    from transformers.integrations import GGUF_CONFIG_MAPPING

    kind = contents.architecture
    for name, value in contents.facts.items():
        fact = name.removeprefix(f"{kind}.")
        if fact == name or fact in GGUF_CONFIG_MAPPING[kind] or fact in _KNOWN:
            continue
        if fact == "rope.scaling.type" and value == "none":
            continue
        if fact == "rope.scaling.original_context_length" and value == contents.facts.get(f"{kind}.context_length"):
            continue
        raise ModelError(
            f"{contents.path}: says {name} = {value}, which transformers does not read from GGUF files, so the folder "
            "would hold another model: start from the model's Hugging Face folder"
        )


def _check_rotation(contents: GGUFFile, config: LlamaConfig) -> None:
    """Make sure that as much of each head is rotated by position as the file says."""
    stated = contents.facts.get(f"{contents.architecture}.rope.dimension_count")
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rotary = (getattr(config, "rope_parameters", None) or {}).get("partial_rotary_factor", 1.0) * width
    if stated is not None and stated != rotary:
        raise ModelError(
            f"{contents.path}: rotates {stated} of each head's {width} dimensions, which transformers does not read "
            "from GGUF files: start from the model's Hugging Face folder"
        )


@contextmanager
def _reading(contents: GGUFFile) -> Iterator[dict[str, Any]]:
    """Give what transformers is to be told, and keep what it draws on the terminal off it.

    Raises:
        ModelError: transformers cannot make sense of the file.
    """
    path = contents.path
    try:
        with quiet_transformers(), redirect_stderr(io.StringIO()):  # it draws a bar whatever it is told
            yield {
                "pretrained_model_name_or_path": str(path.parent),
                "gguf_file": path.name,
                "local_files_only": True,
                "trust_remote_code": False,
            }
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{path}: transformers cannot read it ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _describe(contents: GGUFFile, *, parameters: int, digest: str) -> dict[str, Any]:
    licence = contents.facts.get("general.license")
    with contents.path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "schema": 1,
        "command": "solon model import",
        "file": contents.path.name,
        "bytes": contents.path.stat().st_size,
        "sha256": sha256,
        "name": contents.facts.get("general.name"),
        "architecture": contents.architecture,
        "license": None if licence is None else str(licence),
        "quantization": contents.kinds,
        "dtype": "float32",
        "parameters": parameters,
        "digest": digest,
    }


def describe_origin(manifest: dict[str, Any]) -> str:
    """Say what the weights of an imported folder were in their file, in one line."""
    kinds = ", ".join(
        f"{kind} ({count} tensor{'s' * (count != 1)})" for kind, count in manifest["quantization"].items()
    )
    verb = "dequantised" if _is_quantised(manifest) else "converted"
    return f"{verb} to {manifest['dtype']} from {kinds}"


def _is_quantised(manifest: dict[str, Any]) -> bool:
    return not set(manifest["quantization"]) <= {"F64", "F32", "F16", "BF16"}


def _write_card(manifest: dict[str, Any]) -> str:
    """Return the folder's README, a model card."""
    licence = manifest["license"]
    head = "" if licence is None else f"---\n{yaml.safe_dump({'license': licence})}---\n\n"
    name = " ".join(str(manifest["name"] or manifest["file"]).split())
    loss = (
        " What quantisation took from the weights is not given back: this is the model of the file, not the one that "
        "the file was made from."
    )
    return (
        f"{head}# {name}\n\n"
        f"Read from the GGUF file `{manifest['file']}` ({manifest['bytes']} bytes, SHA-256 `{manifest['sha256']}`) by "
        f"`solon model import`: {describe_origin(manifest)}."
        f"{loss if _is_quantised(manifest) else ''}\n\n"
        f"Licence: {'the file names none' if licence is None else f'{licence}, as the file says'}.\n"
    )
