"""Searches among the files of models."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random

import gpt2cli
from fuzz.files.hostile_files import FileSearch
from fuzz.mutation import changed_bytes, changed_json, changed_lines, changed_safetensors
from gpt2cli.generation.model_defaults import ModelDefaults
from gpt2cli.hub.model_facts import describe_model
from gpt2cli.hub.model_files import find_model
from gpt2cli.text.loading import load_tokenizer
from gpt2cli.text.streaming.stream_encoder import StreamEncoder

SHAPE = {"vocab_size": 300, "n_positions": 16, "n_embd": 8, "n_layer": 2, "n_head": 2}
SAMPLE = "The cat's 12 é中\N{THUMBS UP SIGN} <|endoftext|>\r\n\tx"


def searches() -> Iterator[FileSearch]:
    """Yield the searches among the files of models."""
    yield FileSearch("config", make_families, use, {"config.json": changed_json})
    yield FileSearch("safetensors", make_model, use_as_the_reference, {"*.safetensors": changed_safetensors})
    yield FileSearch(
        "int8",
        make_model,
        partial(use, quantize="int8"),
        {"model.safetensors": changed_safetensors, "config.json": changed_json},
    )
    yield FileSearch("index", make_sharded, use, {"*.index.json": changed_json})
    yield FileSearch("pickle", make_pickle, use, {"*.bin": changed_archive})
    yield FileSearch("gguf", make_gguf, use, {"*.gguf": changed_bytes})
    yield FileSearch(
        "adapter",
        make_adapter,
        use_adapter,
        {"adapter_config.json": changed_json, "*.safetensors": changed_safetensors},
    )
    yield FileSearch("tokenizer", make_tokenizers, tokenize, {"*.json": changed_json, "*.txt": changed_lines})


def make_model(folder: Path) -> None:
    """Make a small model."""
    from checkpoints import save_model_folder

    save_model_folder(folder, **SHAPE)


def make_families(folder: Path) -> None:
    """Make a small model of each family, in a folder each."""
    from checkpoints import save_tokenizer
    from families import FAMILIES, save_family

    for name in FAMILIES:
        save_family(folder / name, name, vocab_size=300)
        save_tokenizer(folder / name, 300)


def make_sharded(folder: Path) -> None:
    """Make a model whose weights are in several files."""
    from checkpoints import save_model_folder

    save_model_folder(folder, **SHAPE).save_pretrained(folder, max_shard_size="4KB")
    (folder / "model.safetensors").unlink()


def make_pickle(folder: Path) -> None:
    """Make a model that PyTorch pickled."""
    import torch
    from checkpoints import save_model_folder

    model = save_model_folder(folder, **SHAPE)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def make_gguf(folder: Path) -> None:
    """Make models in GGUF files of several types."""
    from checkpoints import save_model_folder
    from gguf_files import write_gguf

    (folder / "sound").mkdir()
    reference = save_model_folder(folder / "sound", **SHAPE | {"n_embd": 32, "n_inner": 32})
    for kind in ("F32", "F16", "Q4_0", "Q8_0"):
        write_gguf(folder / f"{kind}.gguf", reference, folder / "sound" / "tokenizer.json", kind)


def make_adapter(folder: Path) -> None:
    """Make an adapter and its base."""
    import numpy as np
    from checkpoints import save_model_folder
    from safetensors.numpy import save_file

    (folder / "base").mkdir()
    (folder / "adapter").mkdir()
    save_model_folder(folder / "base", **SHAPE)
    settings = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["c_attn"],
        "fan_in_fan_out": True,
    }
    settings |= {"base_model_name_or_path": str(folder / "base"), "bias": "none", "task_type": "CAUSAL_LM"}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    tensors = {}
    for layer in range(2):
        name = f"base_model.model.transformer.h.{layer}.attn.c_attn.lora"
        tensors[f"{name}_A.weight"] = np.full((2, 8), 0.1, np.float32)
        tensors[f"{name}_B.weight"] = np.full((24, 2), 0.1, np.float32)
    save_file(tensors, folder / "adapter" / "adapter_model.safetensors")


def make_tokenizers(folder: Path) -> None:
    """Make tokenizers of the kinds that models have, with all the files beside them."""
    from checkpoints import save_checkpoint, save_tokenizer

    sound, old = folder / "sound", folder / "old"
    for place in (sound, old):
        save_checkpoint(place, **SHAPE)
        save_tokenizer(place, 300)
        companions = {
            "tokenizer_config.json": {
                "bos_token": "<|endoftext|>",
                "add_bos_token": True,
                "add_prefix_space": True,
            },
            "special_tokens_map.json": {"eos_token": {"content": "<|endoftext|>", "lstrip": False}},
            "added_tokens.json": {"<|endoftext|>": 0},
        }
        for name, content in companions.items():
            (place / name).write_text(json.dumps(content))
    model = json.loads((old / "tokenizer.json").read_text())["model"]
    (old / "tokenizer.json").unlink()
    (old / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (old / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))


def use(path: Path, quantize: str = "none") -> None:
    """Describe and load the model in a file or its folder, and continue a text."""
    name = str(path if path.suffix == ".gguf" else path.parent)
    files = find_model(name)
    assert files is not None
    describe_model(files)
    model = gpt2cli.load(name, device="cpu", threads=1, offline=True, quantize=quantize)
    model.generate("ab", max_tokens=3, seed=1)


def use_as_the_reference(path: Path) -> None:
    """Use a safetensors file, which must be refused if the format's own library refuses it."""
    from safetensors import SafetensorError, safe_open

    use(path)
    try:
        with safe_open(path, "np") as file:
            file.keys()
    except SafetensorError as error:
        raise AssertionError("it is read, though the format's own library refuses it") from error


def use_adapter(path: Path) -> None:
    """Continue a text with an adapter."""
    use(path.parents[1] / "adapter" / "adapter_config.json")


def tokenize(path: Path) -> None:
    """Read a model's tokenizer and what else decides where its texts end, and encode and decode a text."""
    files = find_model(str(path.parent))
    assert files is not None
    config = files.read_config()
    ModelDefaults(files.generation).keywords()
    tokenizer = load_tokenizer(files, config)
    for special in (False, True):
        ids = tokenizer.encode(SAMPLE, special=special)
        tokenizer.decode(ids)
        for _ in StreamEncoder(tokenizer, special).encode([SAMPLE.encode()], "sample"):
            pass
    for number in range(tokenizer.id_limit):
        tokenizer.token_bytes(number)
        tokenizer.begins_word(number)
    tokenizer.to_json()


def changed_archive(draw: Random, data: bytes) -> bytes:
    """Return a zip archive with a changed or compressed member, or changed bytes."""
    if draw.random() < 0.4:
        return changed_bytes(draw, data)
    changed, compression = (
        io.BytesIO(),
        draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)),
    )
    with zipfile.ZipFile(io.BytesIO(data)) as sound, zipfile.ZipFile(changed, "w", compression) as archive:
        names = sound.namelist()
        chosen = draw.choice((draw.choice(names), next(name for name in names if name.endswith(".pkl"))))
        for name in names:
            content = sound.read(name)
            archive.writestr(name, changed_bytes(draw, content) if name == chosen else content)
    return changed.getvalue()
