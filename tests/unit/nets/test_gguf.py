"""Proves that a model written as GGUF and read again is the same model with the same tokenizer, and that a file or
folder of which something would be lost is refused in one line, with nothing written.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Engine
from transformers import PreTrainedTokenizerFast

from solon.errors import MissingExtraError, ModelError
from solon.nets import load_policy, load_tokenizer, save_policy, weights_digest
from solon.nets.gguf import export_gguf, import_gguf
from solon.nets.gguf.tokens import CUTTINGS
from solon.nets.vocabulary import find_absent_rows
from solon.world.nano.shipped import find_nano_model
from tests import made_up_tokenizers
from tests.language_models import FUSED, OTHERS, make_model, make_tokenizer
from tests.tiny import build_tiny_policy

LOST = {"llama, biases": "have biases", "llama, one kv head, long positions": "positions are scaled"}
HARD = (
    "",
    " ",
    "Hello world! 123",
    "   two  spaces, 2024,  1234567\n\n\n  x\t\ty \r\n z ",
    "It's they'LL I'd've -3.14e10 x=y_z; ....  ?!",
    "cafe\u0301 café naïve ﬁ Ａ ² ½ 你好，世界。 Привет! שלום नमस्ते",
    "👩‍🚀🏽\u200b\u00a0\ufeff\x00\x7f <|end|> <|user|>x<|end|>",
)


def change(
    source: Path, target: Path, facts: dict[str, Any], tensors: dict[str, np.ndarray | None] | None = None
) -> Path:
    """Write a GGUF file again with other facts and tensors; None leaves one out."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, facts.pop("general.architecture", "llama"))
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture" and name not in facts:
            writer.add_key_value(name, field.contents(), field.types[0], field.types[-1])
    for name, value in facts.items():
        if isinstance(value, float):
            writer.add_float32(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        elif value is not None:
            writer.add_string(name, value)
    kept = {tensor.name: np.array(tensor.data) for tensor in reader.tensors} | (tensors or {})
    for name, data in kept.items():
        if data is not None:
            writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as a GGUF file; not to be written to."""
    folder = tmp_path_factory.mktemp("gguf")
    export_gguf(build_tiny_policy(folder / "tiny"), folder / "tiny.gguf")
    return folder / "tiny.gguf"


def import_again(folder: Path, aside: Path) -> Path:
    export_gguf(folder, aside / "model.gguf")
    import_gguf(aside / "model.gguf", aside / "again")
    return aside / "again"


def assert_equal_logits(first: Path, second: Path) -> None:
    one, other = load_policy(first), load_policy(second)
    rows = torch.randint(one.config.get_text_config().vocab_size, (3, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(other(rows).logits, one(rows).logits, atol=1e-5, rtol=0.0)


def refuse(work: Callable[[], object], said: str, folder: Path) -> None:
    """Make sure that work is refused in one line, and leaves the folder as it was."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(ModelError, match=said) as refused:
        work()
    assert len(str(refused.value).splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


# ---------------------------------------------------------------------------------------- there and back


def test_the_nano_model_comes_back_whole(tmp_path: Path) -> None:
    nano = find_nano_model()
    again = import_again(nano, tmp_path)
    assert_equal_logits(nano, again)
    one, other = load_tokenizer(nano), load_tokenizer(again)
    assert other.get_vocab() == one.get_vocab()
    assert other.chat_template == one.chat_template
    assert (other.eos_token, other.pad_token, other.bos_token) == ("<|end|>", "<|pad|>", None)
    assert set(other.all_special_ids) == set(one.all_special_ids) == {0, 1, 2, 3, 4}
    for text in HARD:
        assert other.backend_tokenizer.encode(text).ids == one.backend_tokenizer.encode(text).ids, text
    defaults = json.loads((again / "generation_config.json").read_text())
    assert {key: defaults.get(key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")} == {
        "bos_token_id": None,  # the file names none, and transformers' own default is another token
        "eos_token_id": 1,
        "pad_token_id": 0,
    }


@pytest.mark.parametrize("name", sorted(FUSED.keys() - LOST))
def test_llama_shaped_families_come_back_with_equal_logits(name: str, tmp_path: Path) -> None:
    cutting = "qwen2" if name.startswith("qwen") else "llama-bpe"  # transformers has one for all Qwen
    save_policy(make_model(name), make_cutting_tokenizer(cutting), tmp_path / "model")
    assert_equal_logits(tmp_path / "model", import_again(tmp_path / "model", tmp_path))


@pytest.mark.parametrize("kind", sorted(made_up_tokenizers.ALL.keys() - {"unigram"}))
def test_tokenizers_come_back_with_equal_tokens(kind: str, tmp_path: Path) -> None:
    tokenizer = made_up_tokenizers.ALL[kind]()
    read = load_tokenizer(save_with(tokenizer, tmp_path))
    assert read.get_vocab() == tokenizer.get_vocab()
    assert read.chat_template == tokenizer.chat_template
    for text in (*HARD, *made_up_tokenizers.TEXTS, "<think>a</think> <think> b", "<s>[INST] x [/INST]</s>"):
        assert read.backend_tokenizer.encode(text).ids == tokenizer.backend_tokenizer.encode(text).ids, text
    one, other = (it.backend_tokenizer.get_added_tokens_decoder() for it in (tokenizer, read))
    assert {index: (token.content, token.special) for index, token in other.items()} == {
        index: (token.content, token.special) for index, token in one.items()
    }


def save_with(tokenizer: Any, folder: Path) -> Path:
    """Save a tiny model for a tokenizer, write it as GGUF and return what is read from there."""
    from solon.world.nano.shape import build_nano_config, build_nano_model

    config = build_nano_config(tokenizer, width=16, layers=1, heads=2, max_length=64)
    save_policy(build_nano_model(config, seed=1), tokenizer, folder / "model")
    return import_again(folder / "model", folder)


def make_cutting_tokenizer(name: str) -> Any:
    """Bytes, merges that reach over digits, spaces and signs, and a word that no merge makes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [
        ("Ġ", "Ġ"),
        ("1", "2"),
        ("2", "0"),
        ("20", "2"),
        ("Ġ", "1"),
        ("l", "l"),
        ("'", "s"),
        ("Ċ", "Ċ"),
        ("Ġ", "w"),
    ]
    words = [*letters, *("".join(pair) for pair in merges), "Hello", "<|endoftext|>"]
    engine = Engine(models.BPE({word: n for n, word in enumerate(words)}, merges, ignore_merges=name == "llama-bpe"))
    engine.decoder = decoders.ByteLevel()
    cut_engine(engine, published(name))
    engine.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=engine, eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def cut_engine(engine: Any, described: dict[str, Any]) -> None:
    body = json.loads(engine.to_str()) | described
    made = Engine.from_str(json.dumps(body))
    engine.pre_tokenizer = made.pre_tokenizer
    if made.normalizer is not None:
        engine.normalizer = made.normalizer


def published(name: str) -> dict[str, Any]:
    """What the published tokenizer.json of a family says of how text is cut."""
    bytes_alone = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    whole = bytes_alone | {"use_regex": True}
    pattern = {
        "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
        "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    }
    pattern["smaug-bpe"] = pattern["llama-bpe"]
    if name == "gpt-2":
        return {"normalizer": None, "pre_tokenizer": whole}
    if name == "smollm":
        steps = [{"type": "Digits", "individual_digits": True}, whole]
    else:
        split = {"type": "Split", "pattern": {"Regex": pattern[name]}, "behavior": "Isolated", "invert": False}
        steps = [split, bytes_alone]
    normalizer = {"type": "NFC"} if name == "qwen2" else None
    return {"normalizer": normalizer, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}


@pytest.mark.parametrize("name", sorted(CUTTINGS))
def test_every_way_of_cutting_text_is_written_under_its_name_and_read_back(name: str, tmp_path: Path) -> None:
    tokenizer = make_cutting_tokenizer(name)
    read = load_tokenizer(save_with(tokenizer, tmp_path))
    facts = gguf.GGUFReader(tmp_path / "model.gguf").fields
    assert facts["tokenizer.ggml.pre"].contents() == name
    for text in HARD:
        assert read.backend_tokenizer.encode(text).ids == tokenizer.backend_tokenizer.encode(text).ids, text
    body = json.loads(read.backend_tokenizer.to_str())
    assert {key: body[key] for key in ("normalizer", "pre_tokenizer")} == published(name)


def test_control_tokens_outside_the_byte_alphabet_stay_control_tokens(tmp_path: Path) -> None:
    tokenizer = made_up_tokenizers.chatml()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<｜User｜>", "<a b>"]})
    tokenizer.add_tokens([AddedToken("⟨step⟩", special=False, normalized=False)])
    read = load_tokenizer(save_with(tokenizer, tmp_path))
    assert read.get_vocab() == tokenizer.get_vocab()
    text = "x<｜User｜>y <a b>⟨step⟩"
    assert read.backend_tokenizer.encode(text).ids == tokenizer.backend_tokenizer.encode(text).ids
    assert {"<｜User｜>", "<a b>"} <= set(read.all_special_tokens)
    assert "⟨step⟩" not in read.all_special_tokens


def test_rows_without_a_token_have_none_afterwards(tmp_path: Path) -> None:
    model = build_tiny_policy(tmp_path / "tiny", spare_rows=5)
    again = import_again(model, tmp_path)
    assert_equal_logits(model, again)
    rows = load_policy(again).config.get_text_config().vocab_size
    absent = find_absent_rows(load_tokenizer(again), rows)
    assert absent is not None
    assert absent.tolist() == [rows - 5, rows - 4, rows - 3, rows - 2, rows - 1]


# --------------------------------------------------------------------------------------------- import


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "F16"])
def test_quantised_weights_become_float32_and_the_folder_says_so(kind: str, tiny_file: Path, tmp_path: Path) -> None:
    type_ = gguf.GGMLQuantizationType[kind]
    reader = gguf.GGUFReader(tiny_file)
    writer = gguf.GGUFWriter(tmp_path / "q.gguf", "llama")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            writer.add_key_value(name, field.contents(), field.types[0], field.types[-1])
    writer.add_license("apache-2.0")
    (embeddings,) = (tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    packed = gguf.quantize(embeddings.data, type_)
    for tensor in reader.tensors:
        if tensor.name == "token_embd.weight":
            writer.add_tensor(tensor.name, packed, raw_dtype=type_)
        else:
            writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    manifest = import_gguf(tmp_path / "q.gguf", tmp_path / "q")
    weights = load_policy(tmp_path / "q").get_input_embeddings().weight
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.detach().numpy(), gguf.dequantize(packed, type_), atol=0.0, rtol=0.0)
    assert manifest["quantization"] == {"F32": len(reader.tensors) - 1, kind: 1}
    assert manifest["license"] == "apache-2.0"
    assert manifest["digest"] == weights_digest(tmp_path / "q")
    assert json.loads((tmp_path / "q" / "manifest.json").read_text()) == manifest
    card = (tmp_path / "q" / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n---\n")
    assert f"{'converted' if kind == 'F16' else 'dequantised'} to float32 from F32 (" in card
    assert ("What quantisation took" in card) == (kind != "F16")


def test_an_empty_folder_is_filled_and_another_is_left_alone(tiny_file: Path, tmp_path: Path) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file", "full/mine.txt"):
        refuse(lambda name=name: import_gguf(tiny_file, tmp_path / name), "is there already", tmp_path)
    import_gguf(tiny_file, tmp_path / "empty")
    load_policy(tmp_path / "empty")


@pytest.mark.parametrize("part", [0.0, 0.0002, 0.01, 0.1, 0.3, 0.6, 0.95, 0.9999])
def test_a_file_that_is_cut_short_is_refused(part: float, tiny_file: Path, tmp_path: Path) -> None:
    content = tiny_file.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(content[: int(part * len(content))])
    refuse(lambda: import_gguf(tmp_path / "cut.gguf", tmp_path / "model"), "cut.gguf: is ", tmp_path)


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"PK\x03\x04 and so on" * 100)
    refuse(lambda: import_gguf(tmp_path / "a.gguf", tmp_path / "model"), "is no GGUF file", tmp_path)
    for path in (tmp_path, tmp_path / "missing.gguf"):
        refuse(lambda path=path: import_gguf(path, tmp_path / "model"), "no such file", tmp_path)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"general.architecture": "rwkv7"}, "does not read models of architecture 'rwkv7'"),
        ({"llama.rope.scaling.type": "linear"}, "llama.rope.scaling.type = linear"),
        ({"llama.logit_scale": 0.5}, "llama.logit_scale = 0.5"),
        ({"llama.rope.dimension_count": 8}, "8"),
        ({"tokenizer.ggml.pre": "viking"}, "cut by the rule 'viking'"),
        ({"tokenizer.ggml.pre": None}, r"cut by the rule '\(none\)'"),
        ({"tokenizer.ggml.tokens": None}, "holds no tokenizer"),
        ({"tokenizer.ggml.model": "bert"}, "bert"),
        ({"llama.embedding_length": None}, "transformers cannot read it"),
        ({"llama.embedding_length": 64}, "transformers cannot read it"),
    ],
)
def test_what_the_file_says_and_the_folder_could_not_is_refused(
    facts: dict[str, Any], said: str, tiny_file: Path, tmp_path: Path
) -> None:
    file = change(tiny_file, tmp_path / "changed.gguf", dict(facts))
    refuse(lambda: import_gguf(file, tmp_path / "model"), said, tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("rope_freqs.weight", np.ones(8, np.float32), "holds rope_freqs.weight"),
        ("blk.0.attn_q.bias", np.ones(32, np.float32), "holds blk.0.attn_q.bias"),
        ("blk.1.ffn_up.weight", None, "has no tensor for model.layers.1.mlp.up_proj.weight"),
    ],
)
def test_tensors_without_a_place_and_places_without_a_tensor_are_refused(
    name: str, data: np.ndarray | None, said: str, tiny_file: Path, tmp_path: Path
) -> None:
    file = change(tiny_file, tmp_path / "changed.gguf", {}, {name: data})
    refuse(lambda: import_gguf(file, tmp_path / "model"), said, tmp_path)


@pytest.mark.parametrize("spelling", ["llama3", "llama-v3"])
def test_other_names_for_a_way_of_cutting_are_known(spelling: str, tiny_file: Path, tmp_path: Path) -> None:
    import_gguf(tiny_file, tmp_path / "one")
    import_gguf(change(tiny_file, tmp_path / "b.gguf", {"tokenizer.ggml.pre": spelling}), tmp_path / "other")
    assert weights_digest(tmp_path / "one") == weights_digest(tmp_path / "other")


# --------------------------------------------------------------------------------------------- export


@pytest.mark.parametrize("name", [*LOST, *sorted(OTHERS.keys() - {"gemma 2"})])
def test_models_that_a_file_could_not_hold_are_refused(name: str, tmp_path: Path) -> None:
    save_policy(make_model(name), make_tokenizer(), tmp_path / "model")
    said = LOST.get(name, "is no Llama-shaped model")
    refuse(lambda: export_gguf(tmp_path / "model", tmp_path / "model.gguf"), said, tmp_path)


def test_a_token_that_the_embeddings_have_no_row_for_is_named(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(build_tiny_policy(tmp_path / "tiny"))
    model = load_policy(tmp_path / "tiny")
    tokenizer.add_tokens(["<late>"])  # type: ignore[attr-defined]
    save_policy(model, tokenizer, tmp_path / "model")
    refuse(lambda: export_gguf(tmp_path / "model", tmp_path / "model.gguf"), "no row for the token '<late>'", tmp_path)


def test_a_tokenizer_that_transformers_would_not_leave_as_it_is_is_refused(tmp_path: Path) -> None:
    save_policy(make_model("qwen2"), make_cutting_tokenizer("qwen2"), tmp_path / "model")
    export_gguf(tmp_path / "model", tmp_path / "a.gguf")
    facts = {"general.architecture": "qwen2", "tokenizer.ggml.pre": "smollm"}
    file = change(tmp_path / "a.gguf", tmp_path / "b.gguf", facts)
    refuse(lambda: import_gguf(file, tmp_path / "again"), "otherwise than the file says", tmp_path)


def make_unknown(kind: str) -> Any:
    """Return a tokenizer that a file cannot say."""
    tokenizer = made_up_tokenizers.chatml()
    engine = tokenizer.backend_tokenizer
    if kind == "prefix space":
        engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    elif kind == "stripping token":
        tokenizer.add_tokens([AddedToken("<gap>", lstrip=True, normalized=False)])
    elif kind == "two templates":
        tokenizer.chat_template = {"default": tokenizer.chat_template, "other": "x"}
    elif kind == "normalised token":
        tokenizer.add_tokens([AddedToken("lamp", normalized=True)])
        tokenizer.add_tokens([AddedToken("lam", normalized=False)])
    else:
        return made_up_tokenizers.unigram()
    return tokenizer


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("unigram", "no byte-level BPE"),
        ("prefix space", "no byte-level BPE"),
        ("stripping token", "takes white space"),
        ("two templates", "several chat templates"),
        ("normalised token", "would have other tokens"),
    ],
)
def test_tokenizers_that_a_file_could_not_hold_are_refused(kind: str, said: str, tmp_path: Path) -> None:
    from solon.world.nano.shape import build_nano_config, build_nano_model

    tokenizer = make_unknown(kind)
    config = build_nano_config(tokenizer, width=16, layers=1, heads=2, max_length=64)
    save_policy(build_nano_model(config, seed=1), tokenizer, tmp_path / "model")
    refuse(lambda: export_gguf(tmp_path / "model", tmp_path / "model.gguf"), said, tmp_path)


def test_a_file_that_is_there_is_left_alone(tiny_model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.gguf").write_text("mine")
    refuse(lambda: export_gguf(tiny_model_dir, tmp_path / "mine.gguf"), "is there already", tmp_path)


def test_the_name_and_the_licence_of_an_imported_folder_go_on(tiny_file: Path, tmp_path: Path) -> None:
    named = change(tiny_file, tmp_path / "a.gguf", {"general.name": "Tiny One", "general.license": "mit"})
    import_gguf(named, tmp_path / "model")
    export_gguf(tmp_path / "model", tmp_path / "b.gguf")
    manifest = import_gguf(tmp_path / "b.gguf", tmp_path / "again")
    assert (manifest["name"], manifest["license"]) == ("Tiny One", "mit")


def test_without_the_library_the_extra_is_named(
    tiny_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtraError, match=r"gguf is not installed.*\[gguf\]"):
        import_gguf(tiny_file, tmp_path / "model")
    with pytest.raises(MissingExtraError, match=r"\[gguf\]"):
        export_gguf(tmp_path, tmp_path / "model.gguf")
