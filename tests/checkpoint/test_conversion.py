"""Matrices in 16 and 8 bits: their numbers and their cached files."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends import needs_kernels
from checkpoints import convert_model, save_checkpoint, save_model_folder
from conftest import Gpt2, obey_permissions, run_limited
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GPT2LMHeadModel

from gpt2cli.checkpoint.architectures import GPT2
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.conversion import convert
from gpt2cli.checkpoint.formats import kept_sums
from gpt2cli.checkpoint.formats.kept_sums import checksums
from gpt2cli.checkpoint.gguf import quantized
from gpt2cli.checkpoint.weights import expected_shapes, load_weights
from gpt2cli.hub.cache import assets_folder
from gpt2cli.hub.checks.verification import verify_model
from gpt2cli.hub.converted_files import conversion_place, converted_files
from gpt2cli.hub.model_files import ModelFiles, find_model
from gpt2cli.ops.operations import Storage, StoredTensor

TYPES: dict[Storage, torch.dtype] = {"float16": torch.float16, "bfloat16": torch.bfloat16}
STORAGES = ["float16", "bfloat16", pytest.param("int8", marks=needs_kernels)]
MATRICES = ("attention_qkv", "attention_output", "mlp_in", "mlp_out")
HEAD, TOKENS = "head.weight", "token_embedding.weight"
PROMPT = "Once upon a time"

Weights = dict[str, StoredTensor]


@pytest.fixture(autouse=True)
def assets(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let this process keep its files where the commands of the test keep theirs, and return the folder."""
    monkeypatch.delenv("HF_ASSETS_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", environment["HF_HOME"])
    return assets_folder()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conversion")
    save_model_folder(folder)
    return folder


@pytest.fixture
def checkpoint(original: Path, tmp_path: Path) -> Path:
    """Return a copy of a checkpoint that a test may change."""
    return shutil.copytree(original, tmp_path / "my model")


def load(folder: Path, storage: Storage) -> Weights:
    return dict(convert_model(str(folder), storage))


def found(folder: Path) -> ModelFiles:
    files = find_model(str(folder))
    assert files is not None
    return files


def table_of(numbers: Tensor, folder: Path) -> tuple[Weights, Path, ModelConfig]:
    """Return a stored model whose tied head holds the numbers, padded with zeros."""
    width = 16
    rows = -(-numbers.numel() // width)
    config = ModelConfig(vocab_size=rows, n_positions=2, n_embd=width, n_layer=1, n_head=2)
    tensors = {
        GPT2.bare_name(name): torch.zeros(shape, dtype=numbers.dtype)
        for name, shape in expected_shapes(config).items()
    }
    tensors["wte.weight"].view(-1)[: numbers.numel()] = numbers
    path = folder / "model.safetensors"
    save_file(tensors, path)
    return load_weights([path], config), path, config


def only_file(assets: Path) -> Path:
    (path,) = assets.glob("*.safetensors")
    return path


def stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def tensor(stored: StoredTensor) -> Tensor:
    bits = torch.from_numpy(stored.array)
    return bits.view(torch.bfloat16) if stored.dtype == "BF16" else bits


def unpacked(stored: StoredTensor) -> np.ndarray[Any, Any]:
    """Return the matrix of shape (in, out) that panels of (panel, in / 4, column, 4) and scales stand for."""
    assert stored.scales is not None
    panels = stored.array.astype(np.float64) - 128
    columns = panels.transpose(0, 2, 1, 3).reshape(len(stored.scales), -1)
    numbers: np.ndarray[Any, Any] = columns.T * stored.scales
    return numbers


def assert_same(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys()
    for name, entry in one.items():
        assert (entry.dtype, entry.shape) == (other[name].dtype, other[name].shape)
        np.testing.assert_array_equal(entry.array, other[name].array)
        if entry.scales is not None:
            np.testing.assert_array_equal(entry.scales, other[name].scales)
        if entry.totals is not None:
            np.testing.assert_array_equal(entry.totals, other[name].totals)


def awkward_numbers() -> Tensor:
    """Return float32 of all signs and exponents, at, between and beside what 16 bits can hold."""
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    around_bfloat16 = (upper[:, None] | lower).view(np.float32).ravel()
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[:-1] + halves[1:]) / 2
    around_float16 = np.concatenate([np.nextafter(middles, side) for side in (0, middles, np.inf)])
    edges = np.array([65519.99, 65520, 65536, np.finfo(np.float32).max, np.inf], np.float32)
    positive = np.concatenate([around_float16, edges]).astype(np.float32)
    return torch.from_numpy(np.concatenate([around_bfloat16, positive, -positive]))


@pytest.mark.parametrize("storage", TYPES)
def test_numbers_are_rounded_to_16_bits_as_torch_rounds_them(tmp_path: Path, storage: Storage) -> None:
    numbers = awkward_numbers()
    stored, path, config = table_of(numbers, tmp_path)
    converted = tensor(convert(stored, conversion_place([path]), config, storage).weights[HEAD])
    got, expected = converted.view(-1)[: numbers.numel()], numbers.to(TYPES[storage])
    assert got.dtype == expected.dtype
    unknown = expected.isnan()
    assert torch.equal(got.isnan(), unknown)
    assert torch.equal(got.view(torch.int16)[~unknown], expected.view(torch.int16)[~unknown])


@pytest.mark.parametrize("source", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("storage", TYPES)
def test_every_type_of_source_is_converted_as_torch_does(
    tmp_path: Path, source: torch.dtype, storage: Storage
) -> None:
    numbers = torch.randn(5000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(source)
    stored, path, config = table_of(numbers, tmp_path)
    weights = stored | dict(convert(stored, conversion_place([path]), config, storage).weights)
    head = weights.get(HEAD, weights[TOKENS])
    assert torch.equal(tensor(head).view(-1)[: numbers.numel()], numbers.to(TYPES[storage]))


@needs_kernels
def test_whole_numbers_are_within_half_a_scale_of_the_weights(checkpoint: Path) -> None:
    config = ModelConfig.from_json(checkpoint / "config.json")
    stored, converted = load_weights(found(checkpoint).weights, config), load(checkpoint, "int8")
    for name, entry in converted.items():
        weight = stored[TOKENS].array.T if name == HEAD else stored[name].array
        depth, columns = weight.shape
        assert entry.scales is not None
        numbers = unpacked(entry)[:depth, :columns]
        scales = entry.scales[:columns]
        np.testing.assert_allclose(scales, abs(weight).max(0) / 127, rtol=1e-6)
        assert (abs(numbers - weight) <= scales * 0.5001).all()
        # Products run over whole panels.
        assert not unpacked(entry)[depth:].any()
        assert not entry.scales[columns:].any()


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_the_file_holds_what_a_token_is_multiplied_with_and_no_more(
    tmp_path: Path, assets: Path, storage: Storage, tied: bool
) -> None:
    model = save_checkpoint(tmp_path, tie_word_embeddings=tied)
    converted = load(tmp_path, storage)
    matrices = {f"layers.{layer}.{part}.weight" for layer in range(3) for part in MATRICES}
    expected = {*matrices, HEAD}
    assert converted.keys() == expected
    scales = {f"{name}.scales" for name in expected} if storage == "int8" else set()
    scales |= {f"{name}.totals" for name in matrices if storage == "int8"}
    with safe_open(only_file(assets), "pt") as file:
        assert set(file.keys()) == expected | scales
        notes = file.metadata()
        if storage != "int8":
            head = model.lm_head.weight.detach().to(TYPES[storage])
            assert torch.equal(file.get_tensor(HEAD), head)
    assert (notes["type"], notes["model"]) == (storage, str(tmp_path))
    assert notes["source"].startswith(str(tmp_path.resolve() / "model.safetensors"))
    # Embeddings are looked up, where float32 costs nothing.
    assert TOKENS not in converted


@pytest.mark.parametrize("storage", STORAGES)
def test_a_second_load_maps_the_file_and_converts_nothing(
    checkpoint: Path, assets: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, made = load(checkpoint, storage), stamp(only_file(assets))

    def fail(*arguments: object) -> None:
        raise AssertionError("the weights were converted again")

    monkeypatch.setattr(quantized, "numbers_of", fail)
    if storage == "int8":
        from gpt2cli.ops import kernels

        monkeypatch.setattr(kernels, "pack_int8", fail)
    second = load(checkpoint, storage)
    assert stamp(only_file(assets)) == made
    assert_same(first, second)
    for weights in (first, second):
        assert not any(entry.array.flags.owndata for entry in weights.values())


def replaced(checkpoint: Path, file: Path) -> None:
    save_checkpoint(checkpoint, seed=1, vocab_size=320)


def touched(checkpoint: Path, file: Path) -> None:
    os.utime(checkpoint / "model.safetensors", (1, 1))


def cut_short(checkpoint: Path, file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def emptied(checkpoint: Path, file: Path) -> None:
    os.truncate(file, 0)


def without_notes(checkpoint: Path, file: Path) -> None:
    save_file(load_file(file), file)


def of_another_type(checkpoint: Path, file: Path) -> None:
    with safe_open(file, "pt") as kept:
        notes = kept.metadata()
    save_file({name: entry.double() for name, entry in load_file(file).items()}, file, notes)


def lacking_a_matrix(checkpoint: Path, file: Path) -> None:
    with safe_open(file, "pt") as kept:
        notes = kept.metadata()
    tensors = load_file(file)
    del tensors["layers.1.mlp_in.weight"]
    save_file(tensors, file, notes)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    "spoil",
    [replaced, touched, cut_short, emptied, without_notes, of_another_type, lacking_a_matrix],
    ids=lambda spoil: spoil.__name__.replace("_", " "),
)
def test_a_file_that_no_longer_serves_is_made_again(
    checkpoint: Path, assets: Path, storage: Storage, spoil: Callable[[Path, Path], None]
) -> None:
    load(checkpoint, storage)
    file = only_file(assets)
    spoil(checkpoint, file)
    before = stamp(file)
    again = load(checkpoint, storage)
    assert only_file(assets) == file
    assert stamp(file) != before
    file.unlink()
    assert_same(again, load(checkpoint, storage))


def test_another_layout_is_made_again(
    checkpoint: Path, assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(checkpoint, "float16")
    before = stamp(only_file(assets))
    monkeypatch.setattr("gpt2cli.checkpoint.conversion.LAYOUT", "of the future")
    load(checkpoint, "float16")
    assert stamp(only_file(assets)) != before


def test_a_head_that_is_tied_no_more_is_converted_from_its_own_numbers(tmp_path: Path) -> None:
    tied = save_checkpoint(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = {name: entry.clone() for name, entry in tied.state_dict().items()}
    config = ModelConfig.from_json(tmp_path / "config.json")
    for name, offset in (("transformer.wte.weight", 0), ("lm_head.weight", 1)):
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"] + offset
        save_file(tensors, path)
        done = convert(load_weights([path], config), conversion_place([path]), config, "float16")
        assert torch.equal(tensor(done.weights[HEAD]), tensors[name].half())


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("form", ["shards", "pickle", "pickled shards"])
def test_weights_in_several_files_and_old_ones_are_converted_too(
    checkpoint: Path, tmp_path: Path, storage: Storage, form: str
) -> None:
    expected = load(checkpoint, storage)
    model = GPT2LMHeadModel.from_pretrained(checkpoint)
    folder = tmp_path / "other"
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("model*"))
    if form == "shards":
        model.save_pretrained(folder, max_shard_size="20KB")
    elif form == "pickle":
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    else:
        save_pickled_shards(model, folder)
    assert (len(found(folder).weights) > 1) is ("shards" in form)
    assert_same(load(folder, storage), expected)
    # The last of the shards counts like the first.
    before = {file.path: stamp(file.path) for file in converted_files()}
    os.utime(found(folder).weights[-1], (1, 1))
    assert_same(load(folder, storage), expected)
    after = {file.path: stamp(file.path) for file in converted_files()}
    assert [path for path in after if after[path] != before[path]] == [
        file.path for file in converted_files() if file.model == folder
    ]


def save_pickled_shards(model: GPT2LMHeadModel, folder: Path) -> None:
    state = list(model.state_dict().items())
    names: dict[str, str] = {}
    for number in (1, 2):
        part = dict(state[number - 1 :: 2])
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save(part, folder / file)
        names |= dict.fromkeys(part, file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": names}))


@pytest.mark.parametrize("storage", TYPES)
def test_matrices_that_have_the_type_already_stay_where_they_are(
    checkpoint: Path, assets: Path, storage: Storage
) -> None:
    path = checkpoint / "model.safetensors"
    # Biases may be longer; only the matrices count.
    save_file(
        {
            name: entry.to(TYPES[storage]) if entry.ndim == 2 else entry
            for name, entry in load_file(path).items()
        },
        path,
    )
    assert load(checkpoint, storage) == {}
    assert not assets.exists()


def test_models_of_one_folder_have_files_of_their_own(checkpoint: Path, assets: Path) -> None:
    shutil.copy(checkpoint / "model.safetensors", checkpoint / "other.safetensors")
    for _ in range(2):
        for name in ("", "other.safetensors"):
            load(checkpoint / name, "float16")
    made = {file.model: stamp(file.path) for file in converted_files()}
    assert made.keys() == {checkpoint, checkpoint / "other.safetensors"}
    load(checkpoint, "float16")
    assert {file.model: stamp(file.path) for file in converted_files()} == made


def test_a_model_is_known_by_its_whole_path_wherever_a_command_is_run(
    checkpoint: Path, assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(checkpoint, "float16")
    made = stamp(only_file(assets))
    monkeypatch.chdir(checkpoint.parent)
    load(Path(checkpoint.name), "float16")
    assert stamp(only_file(assets)) == made
    assert [file.model for file in converted_files()] == [checkpoint]


# Without transformers, whose import is slow.
CONVERT = """
import sys
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.conversion import convert
from gpt2cli.checkpoint.formats import kept_sums
from gpt2cli.checkpoint.formats.kept_sums import checksums
from gpt2cli.checkpoint.weights import load_weights
from gpt2cli.hub.converted_files import conversion_place
from gpt2cli.hub.model_files import find_model
files = find_model(sys.argv[1])
config = ModelConfig.from_json(files.config)
stored, place = load_weights(files.weights, config), conversion_place(files.weights)
assert not convert(stored, place, config, "float16").problem
"""


@pytest.fixture
def convert_command(checkpoint: Path) -> list[str]:
    """Return a command that converts the checkpoint in a process of its own."""
    return [sys.executable, "-c", CONVERT, str(checkpoint)]


def test_a_process_may_finish_while_another_makes_the_same_file(
    checkpoint: Path,
    assets: Path,
    environment: dict[str, str],
    convert_command: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others: list[tuple[int, int]] = []
    sync = os.fsync

    def let_another_in(descriptor: int) -> None:
        if not others:
            subprocess.run(convert_command, env=environment, check=True)
            others.extend(stamp(path) for path in assets.glob("*.safetensors"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", let_another_in)
    weights = load(checkpoint, "float16")
    assert len(others) == 1
    assert stamp(only_file(assets)) not in others
    assert not any(entry.array.flags.owndata for entry in weights.values())


def test_processes_that_start_together_all_convert(
    assets: Path, environment: dict[str, str], convert_command: list[str]
) -> None:
    processes = [subprocess.Popen(convert_command, env=environment) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert only_file(assets).suffix == ".safetensors"


@pytest.fixture
def generate(gpt2: Gpt2, checkpoint: Path) -> Gpt2:
    def run(*arguments: str | Path, **options: Any) -> Any:
        fixed = ("--device", "cpu", "--temperature", "0", "-n", "20", "--ignore-eos", "-m", checkpoint)
        return gpt2("generate", PROMPT, *fixed, *arguments, **options)

    return run


@pytest.mark.slow
@needs_kernels
@pytest.mark.parametrize(
    ("option", "name"), [("--quantize", "int8"), ("--dtype", "bfloat16"), ("--dtype", "float16")]
)
def test_a_command_converts_once_and_writes_the_same_text_again(
    generate: Gpt2, assets: Path, option: str, name: str
) -> None:
    first = generate(option, name, "--json")
    made = stamp(only_file(assets))
    second = generate(option, name, "--json")
    assert stamp(only_file(assets)) == made
    reports = [json.loads(result.stdout) for result in (first, second)]
    assert (first.stderr, second.stderr) == (b"", b"")
    assert reports[0]["text"] == reports[1]["text"]
    assert (reports[1]["settings"]["backend"], reports[1]["settings"]["dtype"]) == ("compiled", name)


@pytest.mark.slow
@needs_kernels
def test_a_checkpoint_of_16_bits_needs_no_file_and_computes_in_float32(
    generate: Gpt2, checkpoint: Path, assets: Path
) -> None:
    path = checkpoint / "model.safetensors"
    save_file({name: entry.half() for name, entry in load_file(path).items()}, path)
    texts = [generate(*options).stdout for options in ((), ("--dtype", "float16"), ("--backend", "numpy"))]
    assert texts[0] == texts[1] == texts[2] != b""
    assert not assets.exists()


def assert_ran_from_memory(result: subprocess.CompletedProcess[bytes], reason: str) -> None:
    assert result.returncode == 0
    assert result.stdout.strip()
    note = result.stderr.decode()
    assert note.startswith("The converted weights could not be saved: ")
    assert note.endswith(f": {reason}.\n")
    assert note.count("\n") == 1


@pytest.mark.slow
@needs_kernels
def test_a_full_disk_is_one_note_and_leaves_nothing(
    generate: Gpt2, checkpoint: Path, assets: Path, environment: dict[str, str]
) -> None:
    limit = (20_000, 20_000)
    words = ["generate", PROMPT, "-n", "3", "--device", "cpu", "--quantize", "int8", "-m", str(checkpoint)]
    result = run_limited(words, environment, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert_ran_from_memory(result, "File too large")
    assert list(assets.iterdir()) == []
    quiet = run_limited([*words, "-q"], environment, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert (quiet.returncode, quiet.stderr) == (0, b"")


@pytest.mark.slow
@needs_kernels
@pytest.mark.parametrize("place", ["a closed folder", "a file"])
def test_a_place_that_takes_no_files_is_one_note(
    checkpoint: Path, tmp_path: Path, environment: dict[str, str], place: str
) -> None:
    closed = tmp_path / "closed"
    if place == "a file":
        closed.touch()
    else:
        closed.mkdir(mode=0o555)
    words = ["generate", PROMPT, "-n", "3", "--device", "cpu", "--quantize", "int8", "-m", str(checkpoint)]
    result = run_limited(words, environment | {"HF_ASSETS_CACHE": str(closed)}, obey_permissions)
    assert_ran_from_memory(result, "Not a directory" if place == "a file" else "Permission denied")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--quantize", "int8", "--dtype", "float16"], 2, "--quantize int8 excludes --dtype."),
        (["--quantize", "int8", "--backend", "numpy"], 2, "numpy cannot compute in int8."),
        (["--quantize", "int8", "--backend", "torch"], 2, "torch cannot compute in int8."),
        (["--quantize", "int8", "--device", "cuda"], 2, "--quantize int8 works only on a CPU."),
        (["--quantize", "int8", "--device", "mps"], 2, "--quantize int8 works only on a CPU."),
        (["--quantize", "int4"], 2, "Invalid value for '--quantize'"),
        (["--backend", "compiled", "--device", "cuda"], 2, "compiled cannot compute on cuda."),
        (["--backend", "numpy", "--dtype", "bfloat16"], 2, "numpy cannot compute in bfloat16."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_contradiction_is_one_line_before_a_model_is_looked_for(
    gpt2: Gpt2, arguments: list[str], code: int, message: str
) -> None:
    result = gpt2("generate", PROMPT, "-m", "there/is-none", "--offline", *arguments)
    assert (result.returncode, result.stdout) == (code, b"")
    assert result.stderr.decode().startswith(f"Error: {message}")
    assert result.stderr.count(b"\n") == 1


def test_without_kernels_there_are_no_8_bits(gpt2: Gpt2, without_kernels: dict[str, str]) -> None:
    result = gpt2(
        "generate",
        PROMPT,
        "-m",
        "there/is-none",
        "--device",
        "cpu",
        "--quantize",
        "int8",
        env=without_kernels,
    )
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == (
        "Error: gpt2cli was installed without its compiled kernels. "
        "Reinstall it with a C compiler available, or use --backend numpy.\n"
    )


@pytest.mark.slow
def test_without_kernels_torch_computes_in_16_bits(
    generate: Gpt2, assets: Path, without_kernels: dict[str, str]
) -> None:
    result = generate("--dtype", "bfloat16", "--json", env=without_kernels)
    assert result.stderr == b""
    settings = json.loads(result.stdout)["settings"]
    assert (settings["backend"], settings["dtype"]) == ("torch", "bfloat16")
    assert not assets.exists()


def spoil(path: Path, begin: int, data: bytes) -> None:
    """Write other bytes into a file, and put its time back."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def data_start(path: Path) -> int:
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("what", ["zeroed", "a bit", "the last bit"])
def test_kept_numbers_that_have_changed_are_made_again(
    checkpoint: Path, assets: Path, storage: Storage, what: str
) -> None:
    before = load(checkpoint, storage)
    kept = only_file(assets)
    whole = kept.read_bytes()
    start = data_start(kept)
    begin = {"zeroed": start, "a bit": (start + len(whole)) // 2, "the last bit": len(whole) - 1}[what]
    spoil(kept, begin, bytes(len(whole) - start) if what == "zeroed" else bytes([whole[begin] ^ 128]))
    (problem,) = [check.problem for check in verify_model(found(checkpoint)) if check.kind == "checksum"]
    assert problem == "its numbers are not those that were written"
    assert_same(load(checkpoint, storage), before)
    assert kept.read_bytes() == whole
    assert not any(check.problem for check in verify_model(found(checkpoint)))


def test_kept_numbers_are_compared_only_if_the_file_may_have_changed(
    checkpoint: Path, assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def counted(arrays: Any) -> str:
        compared.append(len(arrays))
        return checksums(arrays)

    monkeypatch.setattr(kept_sums, "checksums", counted)
    for _ in range(2):
        load(checkpoint, "bfloat16")
    assert compared == []
    kept = only_file(assets)
    spoil(kept, 0, kept.read_bytes()[:1])
    for _ in range(2):
        load(checkpoint, "bfloat16")
    assert len(compared) == 1


def test_without_kernels_kept_numbers_have_checksums_too(
    checkpoint: Path, without_kernels: dict[str, str]
) -> None:
    code = (
        "import numpy as np; from gpt2cli.checkpoint.formats.kept_sums import checksums\n"
        "array = np.arange(1000, dtype=np.float32); one = checksums({'a': array})\n"
        "array[500] += 1; assert one != checksums({'a': array})"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | without_kernels, check=True)


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickle"])
def test_a_change_of_any_matrix_is_seen_though_size_and_time_are_the_same(
    checkpoint: Path, assets: Path, pickled: bool
) -> None:
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    if pickled:
        path.unlink()
        path = checkpoint / "pytorch_model.bin"

    def save(changed: dict[str, Tensor]) -> None:
        if pickled:
            torch.save(changed, path)
        else:
            save_file(changed, path)
        os.utime(path, ns=(1, 1))

    save(tensors)
    sources = {conversion_place([path]).source}
    for name in tensors:
        save({**tensors, name: tensors[name] + 1})
        sources.add(conversion_place([path]).source)
    assert len(sources) == len(tensors) + 1
