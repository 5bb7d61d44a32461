"""Writing a Llama-shaped checkpoint folder as a GGUF file, in float32: nothing is quantised, nothing lost.

Only what a GGUF file can say is written. Models with scaled positions, and tokenizers other than byte-level BPE of a
known way of cutting, are refused; and the tokenizer is read back from the file and compared before the file is put in
place.
"""

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor

from solon.errors import ModelError
from solon.nets.folder import read_json_file
from solon.nets.gguf.library import require_gguf
from solon.nets.gguf.reading import read_file, read_tokenizer
from solon.nets.gguf.tokens import find_difference, list_tokens, name_cutting
from solon.nets.llama import LlamaConfig, is_llama_shaped
from solon.nets.policy import count_rows, load_policy
from solon.nets.protocols import CausalLM, Tokenizer
from solon.nets.tokenizer import load_tokenizer
from solon.storage import replace_file

_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""What GGUF calls the families of Llama-shaped models."""


def export_gguf(folder: Path, file: Path) -> None:
    """Write a checkpoint folder as a GGUF file of float32 tensors, with its tokenizer and chat template.

    Args:
        folder: a Hugging Face folder of a Llama-shaped model: Llama, Mistral, Qwen2 or Qwen3.
        file: the GGUF file; not there yet.

    Raises:
        MissingExtraError: the library for GGUF files is not installed.
        ModelError: the file is there; the folder's model or tokenizer cannot be said in a GGUF file.
    """
    folder, file = Path(folder), Path(file)
    require_gguf()
    if file.exists():
        raise ModelError(f"{file}: is there already: name another, or remove it")
    tokenizer = load_tokenizer(folder)
    cutting = name_cutting(tokenizer.backend_tokenizer)
    if cutting is None:
        raise ModelError(
            f"{folder}: its tokenizer is no byte-level BPE of a kind that a GGUF file can name (GPT-2's, SmolLM's, "
            "Llama 3's and Qwen2's are), so no file is written"
        )
    added = tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
    if any(token.lstrip or token.rstrip or token.single_word for token in added):
        raise ModelError(f"{folder}: an added token takes white space or stands alone, which a GGUF file cannot say")
    if isinstance(tokenizer.chat_template, dict):
        raise ModelError(f"{folder}: has several chat templates, and a GGUF file holds one: remove all but that one")
    model = load_policy(folder, dtype=torch.float32)
    _check_model(model, folder)
    beyond = [word for word, index in tokenizer.get_vocab().items() if index >= count_rows(model.config)]
    if beyond:
        raise ModelError(f"{folder}: its embeddings have no row for the token {beyond[0]!r}, so no file can list it")
    with replace_file(file) as temporary:
        _write(temporary, folder, model, tokenizer, cutting)
        if (text := find_difference(tokenizer, read_tokenizer(read_file(temporary)))) is not None:
            raise ModelError(
                f"{folder}: its tokenizer cannot be said in a GGUF file: {text[:40]!r} would have other tokens, so no "
                "file is written"
            )


def _check_model(model: CausalLM, folder: Path) -> None:
    config = cast(LlamaConfig, model.config)
    biases = [name for name in model.state_dict(keep_vars=True) if name.endswith(".bias")]
    if not is_llama_shaped(model):
        raise ModelError(f"{folder}: is no Llama-shaped model ({config.model_type}): only those can be written as GGUF")
    if (kind := (config.rope_parameters or {}).get("rope_type", "default")) != "default":
        raise ModelError(f"{folder}: its positions are scaled ({kind}), which is not written to GGUF files")
    if biases and _ARCHITECTURES[config.model_type] == "llama":
        raise ModelError(f"{folder}: its layers have biases, which a GGUF file of architecture llama does not hold")


def _write(path: Path, folder: Path, model: CausalLM, tokenizer: Tokenizer, cutting: str) -> None:
    gguf = require_gguf()
    config = cast(LlamaConfig, model.config)
    architecture = _ARCHITECTURES[config.model_type]
    writer = gguf.GGUFWriter(path, architecture)
    manifest = read_json_file(folder / "manifest.json") if (folder / "manifest.json").is_file() else {}
    writer.add_name(str(manifest.get("name") or folder.resolve().name))
    if manifest.get("license"):
        writer.add_license(str(manifest["license"]))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _write_sizes(writer, model)
    _write_tokenizer(writer, tokenizer, cutting, config.vocab_size)
    names = gguf.get_tensor_name_map(_find_architecture(gguf, architecture), config.num_hidden_layers)
    for name, weight in model.state_dict(keep_vars=False).items():
        if config.tie_word_embeddings and name == "lm_head.weight":
            continue  # the word head is the embeddings where a file has none
        written = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if written is None:
            raise ModelError(f"{folder}: GGUF has no name for its tensor {name}, so no file is written")
        if architecture == "llama" and re.search(r"\.[qk]_proj\.weight$", name):
            heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
            weight = interleave_halves(weight, heads)
        writer.add_tensor(written, weight.float().contiguous().numpy())
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _find_architecture(gguf: ModuleType, name: str) -> object:
    return next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)


def interleave_halves(weight: Tensor, heads: int) -> Tensor:
    """Return the rows of a query or key projection as GGUF's Llama has them.

    Rotary positions turn pairs of a head's dimensions. transformers pairs dimension i with i + D / 2, the programs that
    run GGUF files pair 2 i with 2 i + 1.

    Args:
        weight: rows head by head. Shape (heads * D, width).
        heads: how many.
    """
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
    return halves.transpose(1, 2).reshape(weight.shape)


def _write_sizes(writer: Any, model: CausalLM) -> None:
    config = cast(LlamaConfig, model.config)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _write_tokenizer(writer: Any, tokenizer: Tokenizer, cutting: str, rows: int) -> None:
    body = json.loads(tokenizer.backend_tokenizer.to_str())
    words, kinds = zip(*list_tokens(tokenizer.backend_tokenizer, rows), strict=True)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cutting)
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in body["model"]["merges"]])
    for write, index in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if index is not None:
            write(index)
    begins = tokenizer.backend_tokenizer.encode("").ids
    writer.add_add_bos_token(begins[:1] == [tokenizer.bos_token_id])
    writer.add_add_eos_token(begins[-1:] == [tokenizer.eos_token_id])
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.get_chat_template())
