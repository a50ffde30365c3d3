"""GGUF files, against the library of their makers, transformers and the folders they were made from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from backends import BACKENDS, needs_kernels
from checkpoints import save_model_folder
from gguf_files import K_QUANTIZED, PLAIN, QUANTIZED, load_weights, write_gguf
from notes import Notes
from safetensors.torch import save_file

from gpt2cli.checkpoint.gguf.quantized import numbers_of
from gpt2cli.checkpoint.gguf.tensor_types import READABLE
from gpt2cli.errors import CheckpointError, HubError
from gpt2cli.hub.cache import assets_folder
from gpt2cli.hub.checkpoint_files import lacks_files
from gpt2cli.hub.converted_files import converted_files
from gpt2cli.hub.model_files import ModelFiles, find_model
from gpt2cli.hub.removal import plan_prune, remove
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.model import load_model
from gpt2cli.ops.backend import open_backend
from gpt2cli.text.loading import load_tokenizer

pytestmark = pytest.mark.slow

Array = np.ndarray[Any, np.dtype[Any]]
# Blocks hold 256 numbers, and each width is another.
SHAPE = {"vocab_size": 320, "n_positions": 40, "n_embd": 256, "n_layer": 2, "n_head": 4, "n_inner": 768}
TOLERANCE = 1e-4
IDS = [[5, 300, 7, 7, 19, 250, 31]]


class Made:
    """A GGUF file, its files as gpt2cli finds them, and the model of transformers with the same numbers."""

    def __init__(self, path: Path, reference: Any, numbers: Mapping[str, Array], tokenizer: Path) -> None:
        self.path = path
        self.reference = reference
        self.numbers = numbers
        self.tokenizer = tokenizer

    @property
    def files(self) -> ModelFiles:
        files = find_model(str(self.path))
        assert files is not None
        return files


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    """Return a function that makes a GGUF file of a type once."""
    kept: dict[tuple[Any, ...], Made] = {}

    def make(kind: str = "F32", **config: Any) -> Made:
        key = kind, *sorted(config.items())
        if key not in kept:
            folder = tmp_path_factory.mktemp(kind)
            reference = save_model_folder(folder, **SHAPE | config)
            path, tokenizer = folder / f"{kind}.gguf", folder / "tokenizer.json"
            numbers = write_gguf(path, reference, tokenizer, kind)
            load_weights(reference, numbers)
            kept[key] = Made(path, reference, numbers, tokenizer)
        return kept[key]

    return make


def our_logits(files: ModelFiles, backend: str = "numpy", device: str = "cpu", **settings: Any) -> Array:
    model: Any = load_model(files, open_backend(device, backend, threads=1, **settings))
    ops = model.ops
    return np.array(ops.to_numpy(logits(model, hidden_states(model, ops.token_ids(IDS)))))


def reference_logits(reference: Any) -> Array:
    with torch.no_grad():
        return np.asarray(reference(torch.tensor(IDS)).logits.numpy())


def test_the_types_are_those_of_the_library() -> None:
    known = {kind.name: kind for kind in gguf.GGMLQuantizationType}
    for kind in READABLE:
        assert known[kind.name] == kind.code
        assert gguf.GGML_QUANT_SIZES[known[kind.name]] == (kind.block, kind.block_bytes)


@pytest.mark.parametrize("kind", [*PLAIN, *QUANTIZED, *K_QUANTIZED])
def test_weights_are_those_that_the_library_reads(made: Callable[..., Made], kind: str) -> None:
    file = made(kind)
    stored = file.files.read_checkpoint()[1]
    architecture = file.files.read_config().architecture
    assert {architecture.full_name(name) for name in stored} == file.numbers.keys()
    for name, tensor in stored.items():
        numbers = file.numbers[architecture.full_name(name)]
        assert tensor.shape == numbers.shape
        np.testing.assert_array_equal(numbers_of(tensor), numbers)
    matrices = {
        tensor.dtype
        for name, tensor in stored.items()
        if name.startswith("layers") and len(tensor.shape) == 2
    }
    assert matrices == {kind}


@pytest.mark.slow
@pytest.mark.parametrize("place", BACKENDS)
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_K"])
def test_logits_are_those_of_transformers_on_the_same_numbers(
    made: Callable[..., Made], kind: str, place: tuple[str, str]
) -> None:
    file = made(kind)
    expected = reference_logits(file.reference)
    assert np.abs(our_logits(file.files, *place) - expected).max() < TOLERANCE * max(
        1, np.abs(expected).max()
    )


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_may_be_apart_from_the_embedding(made: Callable[..., Made], tied: bool) -> None:
    file = made("F32", tie_word_embeddings=tied)
    assert file.files.read_config().tie_word_embeddings is tied
    np.testing.assert_allclose(our_logits(file.files), reference_logits(file.reference), atol=TOLERANCE)


def test_a_head_that_repeats_the_embedding_is_tied(tmp_path: Path) -> None:
    reference = save_model_folder(tmp_path)
    # transformers shares the memory, and the config decides what is written.
    reference.config.tie_word_embeddings = False
    path = tmp_path / "repeated.gguf"
    write_gguf(path, reference, tmp_path / "tokenizer.json")
    assert "output.weight" in {tensor.name for tensor in gguf.GGUFReader(path).tensors}
    files = find_model(str(path))
    assert files is not None
    assert files.read_config().tie_word_embeddings
    assert "head.weight" not in files.read_checkpoint()[1]


def test_odd_shapes_are_read_from_files_with_any_alignment(tmp_path: Path) -> None:
    reference = save_model_folder(tmp_path, n_inner=20)
    path = tmp_path / "odd.gguf"
    numbers = write_gguf(path, reference, tmp_path / "tokenizer.json", "F16", {"general.alignment": 32})
    load_weights(reference, numbers)
    files = find_model(str(path))
    assert files is not None
    np.testing.assert_allclose(our_logits(files), reference_logits(reference), atol=TOLERANCE)


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_numbers_are_mapped_as_they_are_stored(made: Callable[..., Made], kind: str) -> None:
    file = made(kind)
    before = converted_files()
    stored = file.files.read_checkpoint()[1]
    matrix = stored["layers.1.mlp_in.weight"]
    assert not matrix.array.flags.owndata
    assert matrix.array.T.flags.c_contiguous
    assert stored["token_embedding.weight"].read_rows is not None
    load_model(file.files, open_backend("cpu", "numpy", threads=1))
    assert converted_files() == before


def test_dequantized_numbers_are_kept_for_later_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path / "assets"))
    reference = save_model_folder(tmp_path, **SHAPE)
    path = tmp_path / "kept.gguf"
    write_gguf(path, reference, tmp_path / "tokenizer.json", "Q8_0")
    files = find_model(str(path))
    assert files is not None
    first = our_logits(files)
    (kept,) = converted_files()
    assert (kept.storage, kept.model) == ("float32", path)
    written = kept.path.stat()
    np.testing.assert_array_equal(our_logits(files), first)
    assert kept.path.stat().st_ino == written.st_ino
    # The same name with other numbers.
    write_gguf(path, save_model_folder(tmp_path, seed=1, **SHAPE), tmp_path / "tokenizer.json", "Q8_0")
    again = find_model(str(path))
    assert again is not None
    assert np.abs(our_logits(again) - first).max() > 0.1
    assert [file.path for file in converted_files()] == [kept.path]
    assert len(list(assets_folder().glob("*.unpacked"))) == 1


@needs_kernels
@pytest.mark.parametrize("kind", ["F32", "F16", "Q4_0"])
def test_8_bits_are_the_same_as_from_the_same_numbers_in_a_folder(
    made: Callable[..., Made], kind: str, tmp_path: Path
) -> None:
    file = made(kind)
    file.reference.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(file.tokenizer.read_bytes())
    folder = find_model(str(tmp_path))
    assert folder is not None
    settings = {"quantize": "int8"}
    np.testing.assert_array_equal(
        our_logits(file.files, "compiled", **settings), our_logits(folder, "compiled", **settings)
    )


@needs_kernels
def test_8_bits_keep_only_what_they_need_of_the_dequantized_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path / "assets"))
    path = tmp_path / "small.gguf"
    write_gguf(path, save_model_folder(tmp_path, **SHAPE), tmp_path / "tokenizer.json", "Q8_0")
    files = find_model(str(path))
    assert files is not None
    narrow = our_logits(files, "compiled", quantize="int8")
    sizes = {file.storage: file.size for file in converted_files()}
    assert sizes.keys() == {"int8", "float32"}
    assert sizes["float32"] < 4 * 320 * 256 + 4096
    # What was kept for 8 bits is not all that 32 bits need, and the other way round.
    np.testing.assert_allclose(our_logits(files, "compiled"), our_logits(files), atol=TOLERANCE)
    np.testing.assert_array_equal(our_logits(files, "compiled", quantize="int8"), narrow)


def test_a_file_works_where_nothing_can_be_kept(
    made: Callable[..., Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made("Q8_0")
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path / "file"))
    files = file.files
    notes = Notes()
    load_model(files, open_backend("cpu", "numpy", threads=1), reporter=notes)
    (note,) = notes.lines
    assert note.startswith("The converted weights could not be saved: ")
    np.testing.assert_allclose(our_logits(files), reference_logits(file.reference), atol=1e-3)


def test_a_damaged_list_of_tensors_is_read_again_from_the_file(made: Callable[..., Made]) -> None:
    files = made("F16").files
    assert files.unpacked is not None
    listed = files.unpacked / "tensors.json"
    before = listed.read_text()
    expected = our_logits(files)
    for text in ("", "[]", '{"x": 1}', '{"x": ["F99", [1], 0, 4]}', "[" * 100_000):
        listed.write_text(text)
        np.testing.assert_array_equal(our_logits(files), expected)
    listed.write_text(before)


def test_what_was_unpacked_and_has_changed_since_is_unpacked_again(tmp_path: Path) -> None:
    path = tmp_path / "kept.gguf"
    write_gguf(path, save_model_folder(tmp_path, **SHAPE), tmp_path / "tokenizer.json", "F32")
    files = find_model(str(path))
    assert files is not None
    assert files.unpacked is not None
    for name in ("config.json", "tokenizer.json", "tensors.json"):
        kept = files.unpacked / name
        sound, before = kept.read_bytes(), kept.stat()
        # As a copy of the folder would be.
        kept.rename(tmp_path / "moved")
        kept.write_bytes(sound)
        copied = kept.stat().st_ino
        find_model(str(path))
        assert kept.stat().st_ino == copied
        damaged = sound.replace(b"1", b"2", 1)
        assert damaged != sound
        kept.write_bytes(damaged)
        os.utime(kept, ns=(before.st_mtime_ns, before.st_mtime_ns))
        find_model(str(path))
        assert kept.read_bytes() == sound


def test_a_second_start_imports_neither_the_library_nor_its_tokenizer(
    made: Callable[..., Made], environment: dict[str, str]
) -> None:
    code = (
        "import sys; from gpt2cli.cli.app import app; app(sys.argv[1:], standalone_mode=False); "
        "print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "generate", "-m", str(made("Q8_0").path), "-n", "2", "Once"]
    loaded = [
        set(
            subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            ).stderr.split()
        )
        for _ in range(2)
    ]
    assert "gguf" in loaded[0]
    slow = {"gguf", "tokenizers", "hashlib", "tempfile", "gpt2cli.checkpoint.gguf.tokenizer.stored_tokenizer"}
    assert not loaded[1] & slow


def test_a_tokenizer_is_the_one_that_the_file_was_made_from(
    made: Callable[..., Made], tmp_path: Path
) -> None:
    file = made("F32")
    files = file.files
    tokenizer = load_tokenizer(files, files.read_config())
    (tmp_path / "config.json").write_bytes(files.config.read_bytes())
    original = files._replace(tokenizer=(file.tokenizer,))
    expected = load_tokenizer(original, files.read_config())
    text = "The cat can't say «größe»:  12345 <|endoftext|>\n\n\tend 🙂"
    for special in (False, True):
        assert tokenizer.encode(text, special) == expected.encode(text, special)
    assert tokenizer.decode(tokenizer.encode(text)) == text.encode()
    assert (tokenizer.bos_id, tokenizer.eos_id) == (0, 0)


def test_a_folder_may_hold_one_file(made: Callable[..., Made], tmp_path: Path) -> None:
    file = made("F16")
    (tmp_path / "any.gguf").symlink_to(file.path)
    files = find_model(str(tmp_path))
    assert files is not None
    np.testing.assert_array_equal(our_logits(files), our_logits(file.files))
    (tmp_path / "other.gguf").symlink_to(file.path)
    with pytest.raises(HubError, match=r"has 2 \.gguf files: any\.gguf, other\.gguf\. Name one of them"):
        find_model(str(tmp_path))


def test_what_was_kept_of_a_file_is_pruned(
    made: Callable[..., Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    file = made("Q8_0")
    before = our_logits(file.files)
    removals = plan_prune()
    assert sorted(removal.path.suffix for removal in removals) == [".safetensors", ".unpacked"]
    assert all(removal.size > 1000 for removal in removals)
    remove(removals)
    assert not list(assets_folder().iterdir())
    np.testing.assert_array_equal(our_logits(file.files), before)


def test_a_repository_with_such_a_file_says_that_it_can_be_read_from_a_path() -> None:
    missing = ["model.safetensors or pytorch_model.bin"]
    told = str(lacks_files("acme/tiny", missing, ["config.json", "tiny.Q8_0.gguf"]))
    assert told.endswith("It has tiny.Q8_0.gguf, which can be read from a local path.")


def test_an_adapter_is_merged_into_a_quantized_base(made: Callable[..., Made], tmp_path: Path) -> None:
    file = made("Q8_0")
    numbers = file.numbers["transformer.h.1.mlp.c_fc.weight"]
    factors = {
        f"base_model.model.transformer.h.1.mlp.c_fc.lora_{name}.weight": torch.full(shape, 0.25)
        for name, shape in (("A", (2, numbers.shape[0])), ("B", (numbers.shape[1], 2)))
    }
    save_file(factors, tmp_path / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 2,
        "target_modules": ["c_fc"],
        "fan_in_fan_out": True,
    }
    settings["base_model_name_or_path"] = str(file.path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    files = find_model(str(tmp_path))
    assert files is not None
    merged = files.read_checkpoint()[1]["layers.1.mlp_in.weight"]
    np.testing.assert_allclose(merged.array, numbers + 0.125, rtol=1e-6)
    assert np.isfinite(our_logits(files)).all()


def test_safetensors_come_before_a_file_beside_them(made: Callable[..., Made]) -> None:
    folder = made("F16").path.parent
    files = find_model(str(folder))
    assert files is not None
    assert files.weights == (folder / "model.safetensors",)


UNSUPPORTED: dict[str, tuple[dict[str, Any], str]] = {
    "architecture": (
        {"general.architecture": "falcon"},
        "has the architecture 'falcon'. Architectures that can be read are: gpt2, llama, qwen2, gptneox.",
    ),
    "kind of tokenizer": (
        {"tokenizer.ggml.model": "t5"},
        "has a tokenizer of the kind 't5'. Known are gpt2 (byte-level BPE) and llama (SentencePiece's BPE).",
    ),
    "no tokenizer": ({"tokenizer.ggml.model": None}, "has a tokenizer of the kind None"),
    "splitting": (
        {"tokenizer.ggml.pre": "tekken"},
        "splits text in the way 'tekken', which is not known. Known are gpt-2, default,",
    ),
    "a part": (
        {"split.count": 3},
        "is one of 3 parts of a model. Join them with llama-gguf-split of llama.cpp.",
    ),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_not_supported_is_one_line(made: Callable[..., Made], tmp_path: Path, name: str) -> None:
    values, message = UNSUPPORTED[name]
    file, path = made("F32"), tmp_path / "other.gguf"
    write_gguf(path, file.reference, file.tokenizer, values=values)
    with pytest.raises(CheckpointError) as caught:
        find_model(str(path))
    assert f"{path} {message}" in str(caught.value)


def test_a_type_that_cannot_be_read_is_named(made: Callable[..., Made], tmp_path: Path) -> None:
    path = tmp_path / "iq.gguf"
    data = bytearray(made("Q4_0").path.read_bytes())
    # The name of a tensor is followed by its shape, and this by its type.
    at = data.index(b"token_embd.weight") + len(b"token_embd.weight") + 4 + 16
    assert data[at] == gguf.GGMLQuantizationType.Q4_0
    data[at] = gguf.GGMLQuantizationType.IQ4_XS
    path.write_bytes(data)
    with pytest.raises(
        CheckpointError, match=r"stores 'token_embd.weight' as IQ4_XS. Types .* are F32, F16, "
    ):
        find_model(str(path))


@pytest.mark.parametrize(
    ("beginning", "message"),
    [
        (b"GGUF\0\0\0\3", "is big-endian. Convert it with gguf-convert-endian of the gguf package."),
        (b"GGUF\1\0\0\0", "is GGUF version 1. Versions 2 and 3 can be read."),
        (b"GGUF\x07\0\0\0", "is GGUF version 7. Versions 2 and 3 can be read."),
        (b"GGJT\1\0\0\0", "is not a GGUF file. Its first four bytes must be GGUF."),
        (b"", "is not a GGUF file. Its first four bytes must be GGUF."),
        (b"GGUF\3\0", "is damaged: its header is cut off after 6 bytes. Copy it again from where it came."),
    ],
)
def test_what_is_not_such_a_file_is_one_line(tmp_path: Path, beginning: bytes, message: str) -> None:
    path = tmp_path / "wrong.gguf"
    path.write_bytes(beginning + (b"\0" * 64 if len(beginning) == 8 else b""))
    with pytest.raises(CheckpointError) as caught:
        find_model(str(path))
    assert str(caught.value) == f"{path} {message}"
