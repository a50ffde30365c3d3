"""Weight files: the formats found in the wild, and every kind of damage."""

from __future__ import annotations

import gc
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gpt2cli.checkpoint import weights as weights_of_files
from gpt2cli.checkpoint.architectures import GPT2
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.formats import safetensors as tensor_file
from gpt2cli.checkpoint.formats.safetensors import MAPPED_FROM_BYTES, read_safetensors
from gpt2cli.checkpoint.weights import expected_shapes, load_weights
from gpt2cli.errors import CheckpointError
from gpt2cli.ops.operations import StoredTensor

CONFIG = ModelConfig(vocab_size=11, n_positions=5, n_embd=6, n_layer=2, n_head=3)
Tensors = dict[str, Tensor]


def random_tensors(config: ModelConfig = CONFIG, dtype: torch.dtype = torch.float32) -> Tensors:
    """Return weights under the names of a GPT-2 without its head."""
    generator = torch.Generator().manual_seed(0)
    shapes = {GPT2.bare_name(name): shape for name, shape in expected_shapes(config).items()}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def prefixed(tensors: Tensors) -> Tensors:
    return {f"transformer.{name}": tensor for name, tensor in tensors.items()}


def masks(dtype: torch.dtype) -> Tensors:
    mask = torch.ones(5, 5).tril().to(dtype).reshape(1, 1, 5, 5)
    return {
        f"h.{layer}.attn.{name}": tensor.clone()
        for layer in range(CONFIG.n_layer)
        for name, tensor in (("bias", mask), ("masked_bias", torch.tensor(-1e4)))
    }


def check(stored: dict[str, StoredTensor], expected: Tensors) -> None:
    named = {GPT2.bare_name(name): tensor for name, tensor in stored.items()}
    assert named.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(named[name].array, tensor.numpy())


def raw_file(path: Path, header: bytes, data: bytes = b"", length: int | None = None) -> Path:
    length = len(header) if length is None else length
    path.write_bytes(length.to_bytes(8, "little") + header + data)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("rename", [dict, prefixed], ids=["bare names", "prefixed names"])
@pytest.mark.parametrize("mask_type", [torch.float32, torch.bool, torch.uint8])
def test_names_come_without_prefix_and_without_mask_buffers(
    path: Path, rename: Callable[[Tensors], Tensors], mask_type: torch.dtype
) -> None:
    tensors = random_tensors()
    save_file(rename(tensors | masks(mask_type)), path)
    check(load_weights([path], CONFIG), tensors)


def test_a_tied_head_that_is_stored_again_is_dropped(path: Path) -> None:
    tensors = random_tensors()
    save_file(prefixed(tensors) | {"lm_head.weight": tensors["wte.weight"].clone()}, path)
    check(load_weights([path], CONFIG), tensors)


def test_an_untied_head_is_kept(path: Path) -> None:
    config = ModelConfig.from_dict(CONFIG.to_dict() | {"tie_word_embeddings": False})
    tensors = random_tensors(config)
    assert "lm_head.weight" in tensors
    save_file(tensors, path)
    check(load_weights([path], config), tensors)


def test_shards_make_one_checkpoint(tmp_path: Path) -> None:
    tensors = random_tensors()
    names = sorted(tensors)
    files = [tmp_path / f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    for number, file in enumerate(files):
        save_file({name: tensors[name] for name in names[number::3]}, file)
    check(load_weights(files, CONFIG), tensors)
    with pytest.raises(CheckpointError, match=f"{names[0]} is missing"):
        load_weights(files[1:], CONFIG)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickle"])
def test_every_number_type_is_read_as_it_is_stored(tmp_path: Path, dtype: torch.dtype, pickled: bool) -> None:
    tensors = random_tensors(dtype=dtype)
    if pickled:
        path = tmp_path / "pytorch_model.bin"
        torch.save(tensors, path)
    else:
        path = tmp_path / "model.safetensors"
        save_file(tensors, path)
    bits = dtype == torch.bfloat16
    expected = {name: tensor.view(torch.uint16) if bits else tensor for name, tensor in tensors.items()}
    check(load_weights([path], CONFIG), expected)


@pytest.mark.parametrize("mapped_from", [0, MAPPED_FROM_BYTES])
@pytest.mark.parametrize("padding", range(8))
def test_tensors_may_begin_at_any_byte(
    path: Path, padding: int, mapped_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensor_file, "MAPPED_FROM_BYTES", mapped_from)
    numbers = np.arange(6, dtype="<f4")
    entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    raw_file(path, json.dumps({"x": entry}).encode() + b" " * padding, numbers.tobytes())
    array = read_safetensors(path)["x"].array
    assert array.flags.aligned
    np.testing.assert_array_equal(array, numbers.reshape(2, 3))


def test_large_tensors_are_used_where_the_file_lies_mapped_and_small_ones_are_read(path: Path) -> None:
    config = replace(CONFIG, vocab_size=MAPPED_FROM_BYTES // 4 // CONFIG.n_embd + 1)
    save_file(random_tensors(config), path)
    tensors = load_weights([path], config)
    # Writing is possible, as torch wants it, and stays in this process.
    before = path.read_bytes()
    for tensor in tensors.values():
        tensor.array[-1] = 7
    assert path.read_bytes() == before
    with path.open("r+b") as file:
        file.write(bytes(len(before)))
    assert not tensors["token_embedding.weight"].array[:-2048].any()
    assert tensors["layers.1.mlp_in.weight"].array.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_rows_are_read_from_the_file_as_they_lie_in_it(path: Path, dtype: torch.dtype) -> None:
    save_file(random_tensors(dtype=dtype), path)
    for name, tensor in read_safetensors(path).items():
        if tensor.array.ndim != 2:
            assert tensor.read_rows is None
            continue
        assert tensor.read_rows is not None
        for places in ([], [0], [3, 0, 3], range(len(tensor.array))):
            chosen = np.array(places, np.int64)
            rows = tensor.read_rows(chosen)
            np.testing.assert_array_equal(rows, tensor.array[chosen], err_msg=name)
            assert rows.dtype == tensor.array.dtype
        for place in (-1, len(tensor.array)):
            with pytest.raises(IndexError):
                tensor.read_rows(np.array([0, place]))


def test_rows_that_a_file_has_lost_are_missed_and_those_of_a_removed_file_are_not(path: Path) -> None:
    save_file(random_tensors(), path)
    tensors = read_safetensors(path)
    read_rows, expected = tensors["wte.weight"].read_rows, tensors["wte.weight"].array.copy()
    assert read_rows is not None
    path.rename(path.with_name("elsewhere"))
    np.testing.assert_array_equal(read_rows(np.arange(11)), expected)
    os.truncate(path.with_name("elsewhere"), 10)
    with pytest.raises(CheckpointError, match="cut short"):
        read_rows(np.arange(11))


@pytest.mark.slow
def test_a_file_stays_open_no_longer_than_its_tensors(path: Path) -> None:
    save_file(random_tensors(), path)
    gc.collect()
    before = open_files()
    tensors = read_safetensors(path)
    kept = tensors["wte.weight"]
    del tensors
    gc.collect()
    assert open_files() > before
    del kept
    gc.collect()
    assert open_files() == before


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def refusal(path: Path, tensors: Tensors, config: ModelConfig = CONFIG) -> str:
    """Return the error for a file with these tensors, as it is shown."""
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path)
    with pytest.raises(CheckpointError) as caught:
        load_weights([path], config)
    return str(caught.value)


def test_what_does_not_fit_is_named_at_once(path: Path) -> None:
    tensors = random_tensors()
    del tensors["ln_f.weight"]
    tensors["h.1.ln_1.bias"] = torch.zeros(7)
    # What a file calls its weights is up to its family, not to this package.
    tensors["h.0.attention_norm.bias"] = tensors.pop("h.0.ln_1.bias")
    assert refusal(path, tensors) == (
        f"{path} does not match its config.json: h.1.ln_1.bias has shape [7], not [6], "
        "h.0.ln_1.bias is missing, ln_f.weight is missing, h.0.attention_norm.bias is unexpected. "
        "Use the config.json that belongs to these weights, or correct this one."
    )


def test_of_many_problems_a_few_are_named(path: Path) -> None:
    tensors = {name: tensor for name, tensor in random_tensors().items() if not name.endswith("bias")}
    message = refusal(path, tensors)
    assert message.count("is missing") == 4
    assert "and 9 more" in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("size", "value", "found"),
    [
        ("n_layer", 5, 2),
        ("n_layer", 1, 2),
        ("vocab_size", 50257, 11),
        ("n_positions", 1024, 5),
        ("n_embd", 12, 6),
        ("n_inner", 10, 24),
    ],
)
def test_a_size_that_differs_is_named_instead_of_the_weights(
    path: Path, size: str, value: int, found: int
) -> None:
    message = refusal(path, random_tensors(), ModelConfig.from_dict({**CONFIG.to_dict(), size: value}))
    assert message.partition(": ")[2] == (
        f"{size} is {value} there and {found} in the weights. "
        "Use the config.json that belongs to these weights, or correct this one."
    )


def test_more_layers_than_the_file_can_hold_are_never_described(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = []

    def counted(config: ModelConfig) -> dict[str, tuple[int, ...]]:
        described.append(config.n_layer)
        return expected_shapes(config)

    monkeypatch.setattr(weights_of_files, "expected_shapes", counted)
    tensors = random_tensors()
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="n_layer is 10000 there and 2 in the weights"):
        load_weights([path], replace(CONFIG, n_layer=10_000))
    assert described == [len(tensors) + 1]


def test_weights_of_another_architecture_are_recognized(path: Path) -> None:
    tensors = {f"model.layers.{number}.mlp.up.weight": torch.zeros(2, 2) for number in range(30)}
    assert refusal(path, tensors | {"model.norm.weight": torch.zeros(2)}) == (
        f"{path} has no weights of a gpt2 model: it has model.layers.0.mlp.up.weight, model.norm.weight. "
        "They may belong to another architecture, whose names differ."
    )


def test_transposed_matrices_are_recognized(path: Path) -> None:
    tensors = {
        name: tensor.T if tensor.ndim == 2 and ".c_" in name else tensor
        for name, tensor in random_tensors().items()
    }
    assert "Their matrices are transposed: save them as (in, out)" in refusal(path, tensors)


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8])
def test_quantized_weights_are_recognized(path: Path, kind: torch.dtype) -> None:
    tensors = random_tensors()
    name = "h.1.mlp.c_fc.weight"
    message = refusal(path, tensors | {name: torch.zeros_like(tensors[name], dtype=kind)})
    assert f"{name} is stored as {'I8' if kind == torch.int8 else 'U8'}, which is not supported" in message
    assert message.endswith("Save them in float32, float16 or bfloat16, without quantization.")


def test_an_adapter_that_is_not_merged_is_recognized(path: Path) -> None:
    tensors = random_tensors()
    weight = tensors.pop("h.0.attn.c_attn.weight")
    factors = {
        "h.0.attn.c_attn.base_layer.weight": weight,
        "h.0.attn.c_attn.lora_A.default.weight": torch.zeros(2, 6),
        "h.0.attn.c_attn.lora_B.default.weight": torch.zeros(18, 2),
    }
    wrapped = {f"base_model.model.{name}": tensor for name, tensor in prefixed(tensors | factors).items()}
    assert "A LoRA adapter is not merged into them" in refusal(path, wrapped)


def test_a_weight_under_two_names_is_refused(path: Path) -> None:
    tensors = random_tensors()
    assert "ln_f.bias is stored twice" in refusal(path, tensors | {"module.ln_f.bias": torch.zeros(6)})


@pytest.mark.parametrize("shape", [(), (0, 6), (0,), (4, 6)], ids=str)
def test_an_embedding_or_a_head_of_another_shape_is_named(path: Path, shape: tuple[int, ...]) -> None:
    heads = {"lm_head.weight": torch.zeros(shape), "wte.weight": torch.zeros(shape)}
    message = refusal(path, random_tensors() | heads)
    assert "vocab_size is 11 there" in message or f"wte.weight has shape {[*shape]}" in message


def test_control_characters_in_names_are_shown_and_not_obeyed(path: Path) -> None:
    assert "h.0.\\x1b[2J is unexpected" in refusal(path, random_tensors() | {"h.0.\x1b[2J": torch.zeros(1)})


def test_a_file_that_was_cut_short_tells_its_bytes(path: Path) -> None:
    save_file(random_tensors(), path)
    whole = path.stat().st_size
    os.truncate(path, whole - 10)
    with pytest.raises(CheckpointError, match=f"it has only {whole - 10:,} of {whole:,} bytes"):
        load_weights([path], CONFIG)


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (b"{", "its header is not JSON"),
        (b"\xff\xff", "its header is not JSON"),
        (b"[" * 100_000, "its header is not JSON"),
        (b"[]", "its header is not a JSON object"),
        (b'{"x": 3}', "its header does not describe 'x'"),
        (b'{"x": {}}', "its header does not describe 'x'"),
        *(
            (json.dumps({"x": ENTRY | change}).encode(), complaint)
            for change, complaint in (
                ({"dtype": ["F32"]}, "its header does not describe 'x'"),
                ({"shape": "2"}, "its header does not describe 'x'"),
                ({"shape": [-2]}, "its header does not describe 'x'"),
                ({"data_offsets": [0]}, "its header does not describe 'x'"),
                ({"data_offsets": [8, 0]}, "its header does not describe 'x'"),
                ({"data_offsets": [-8, 0]}, "its header does not describe 'x'"),
                ({"shape": [3]}, r"'x' has 8 bytes, but is declared as \[3\] F32"),
                ({"shape": [2, 0, 2**62], "data_offsets": [0, 0]}, "it has 8 bytes after its tensors"),
                ({"shape": [1] * 99 + [2]}, "its header does not describe 'x'"),
                (
                    {"dtype": "I8", "shape": [2**60]},
                    r"'x' has 8 bytes, but is declared as \[1152921504606846976\]",
                ),
                ({"dtype": "I8", "shape": [10**30]}, "its header does not describe 'x'"),
                ({"dtype": "Q8"}, "its header does not describe 'x'"),
                ({"shape": [2**63] * 60_000}, "its header does not describe 'x'"),
                ({"shape": [2**63] * 64}, r"'x' has 8 bytes, but is declared as \[92.{,80} F32\."),
            )
        ),
    ],
)
def test_a_damaged_header_is_explained(path: Path, header: bytes, complaint: str) -> None:
    raw_file(path, header, bytes(8))
    with pytest.raises(CheckpointError, match=complaint) as caught:
        read_safetensors(path)
    assert str(path) in caught.value.message


HALF = {**ENTRY, "shape": [1], "data_offsets": [0, 4]}
REPEATED = json.dumps(ENTRY)


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (json.dumps({"x": HALF}), "it has 4 bytes after its tensors"),
        (json.dumps({"x": HALF | {"data_offsets": [4, 8]}}), "'x' begins at byte [0-9]+, not where"),
        (json.dumps({"x": ENTRY, "y": HALF}), "'x' begins at byte"),
        (json.dumps({"x": ENTRY, "y": HALF | {"data_offsets": [4, 8]}}), "'y' begins at byte"),
        (json.dumps({"x": ENTRY, "y": HALF | {"data_offsets": [8, 12]}}), "it has only"),
        (json.dumps({"x": ENTRY, "__metadata__": {"a": 1}}), "its header has __metadata__ other than texts"),
        (f'{{"x": {REPEATED}, "x": {REPEATED}}}', "its header is not JSON"),
        (f'{{"x": {{"dtype": "F32", {REPEATED[1:]}}}', "its header is not JSON"),
        (f'{{"x": {REPEATED[:-1]}, "y": NaN}}}}', "its header is not JSON"),
        (f'{{"\\ud800": {REPEATED}}}', "its header is not JSON"),
        (f'{{"__metadata__": {{"format": "\\ud800"}}, "x": {REPEATED}}}', "its header is not JSON"),
    ],
)
def test_what_the_formats_reference_refuses_is_refused(path: Path, header: str, complaint: str) -> None:
    raw_file(path, header.encode(), bytes(8))
    with pytest.raises(CheckpointError, match=complaint):
        read_safetensors(path)
    # It keeps the last tensor of a name that is repeated.
    if not header.startswith(f'{{"x": {REPEATED}, "x"'):
        with pytest.raises(SafetensorError), safe_open(path, "np"):
            pass


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"\xff" * 8, b"version https://git-lfs.github.com/spec/v1"]
)
def test_what_is_no_safetensors_file_is_cut_off(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"its header is cut off after {len(content)} bytes"):
        read_safetensors(path)


@given(position=st.integers(0, 300), byte=st.integers(0, 255))
@settings(
    max_examples=settings().max_examples * 3 // 2,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_is_read_after_a_byte_has_changed_the_reference_reads_too(
    path: Path, position: int, byte: int
) -> None:
    save_file({"x": torch.zeros(2, 3), "y": torch.zeros(4, dtype=torch.bfloat16)}, path)
    content = bytearray(path.read_bytes())
    content[position % len(content)] = byte
    path.write_bytes(content)
    try:
        tensors = read_safetensors(path)
    except CheckpointError:
        return
    with safe_open(path, "np") as reference:
        assert set(reference.keys()) == tensors.keys()


def test_an_empty_file_of_tensors_is_read(path: Path) -> None:
    save_file({}, path)
    assert read_safetensors(path) == {}


def test_a_tensor_of_no_numbers_is_read(path: Path) -> None:
    save_file({"x": torch.zeros(3, 0)}, path, {"license": "MIT"})
    assert read_safetensors(path)["x"].array.shape == (3, 0)


def test_a_missing_file_is_named(path: Path) -> None:
    for missing in (path, path.with_suffix(".bin")):
        with pytest.raises(CheckpointError, match="No such file") as caught:
            load_weights([missing], CONFIG)
        assert str(missing) in caught.value.message


@pytest.mark.parametrize("zipped", [True, False], ids=["zip archive", "legacy"])
@pytest.mark.parametrize("rename", [dict, prefixed], ids=["bare names", "prefixed names"])
def test_a_pickle_of_tensors_is_read(
    tmp_path: Path, zipped: bool, rename: Callable[[Tensors], Tensors]
) -> None:
    tensors = random_tensors()
    path = tmp_path / "pytorch_model.bin"
    stored = rename(tensors | masks(torch.uint8))
    stored["lm_head.weight"] = next(tensor for name, tensor in stored.items() if name.endswith("wte.weight"))
    torch.save(stored, path, _use_new_zipfile_serialization=zipped)
    check(load_weights([path], CONFIG), tensors)


def test_a_pickle_of_parameters_is_read(tmp_path: Path) -> None:
    tensors = random_tensors()
    path = tmp_path / "pytorch_model.bin"
    torch.save({name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}, path)
    check(load_weights([path], CONFIG), tensors)


class _Touch:
    """Create a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("plain", [True, False], ids=["plain pickle", "zip archive"])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, plain: bool) -> None:
    path, trace = tmp_path / "pytorch_model.bin", tmp_path / "trace"
    content = random_tensors() | {"wte.weight": _Touch(trace)}
    if plain:
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match="is damaged or contains more than tensors") as caught:
        load_weights([path], CONFIG)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content", [[1, 2], {"step": 3}, {0: torch.zeros(2)}, {"state": {"x": torch.zeros(1)}}, torch.zeros(2)]
)
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="is damaged or contains more than tensors"):
        load_weights([path], CONFIG)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip archive", "legacy"])
@pytest.mark.parametrize("kept", [0, 1, 100, 1000])
def test_a_pickle_that_was_cut_short_is_refused(tmp_path: Path, zipped: bool, kept: int) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(random_tensors(), path, _use_new_zipfile_serialization=zipped)
    os.truncate(path, kept)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_weights([path], CONFIG)
