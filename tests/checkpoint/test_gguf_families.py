"""Every family that GGUF files can hold, against transformers, llama.cpp and the files' own arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
import pytest
import torch
from backends import BACKENDS
from checkpoints import save_tokenizer
from families import LLAMA3, save_family
from llama_cpp import llama_cpp, needs_llama_cpp
from transformers import AutoModelForCausalLM
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

import gpt2cli
from gpt2cli.checkpoint.derived_fields import Rotary
from gpt2cli.checkpoint.gguf.quantized import numbers_of
from gpt2cli.checkpoint.gguf.rotary import frequency_factors
from gpt2cli.errors import CheckpointError, UsageError
from gpt2cli.hub.model_files import ModelFiles, find_model
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.exporting import export
from gpt2cli.model.model import load_model
from gpt2cli.ops.backend import open_backend

Array = np.ndarray[Any, np.dtype[Any]]
# The changes of each variant in tests/families.py that GGUF files can hold.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-3": ("llama-3", {}),
    "llama-linear": ("llama-linear", {}),
    "mistral": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "gpt-neox": ("gpt-neox", {}),
    "gpt-neox-tied": ("gpt-neox", {"tie_word_embeddings": True}),
    "gpt-neox-sequential": (
        "gpt-neox-sequential",
        {"attention_bias": True},
    ),
}
VOCABULARY = 320
IDS = [[5, 300, 7, 7, 19, 250, 31, 4, 9, 100, 200, 17]]


class Made(NamedTuple):
    folder: Path
    file: Path
    reference: Any


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Return a function that makes a folder and a GGUF file of a variant once."""
    kept: dict[str, Made] = {}

    def make(name: str) -> Made:
        if name not in kept:
            family, changes = VARIANTS[name]
            folder = tmp_path_factory.mktemp(name) / "folder"
            reference = save_family(folder, family, vocab_size=VOCABULARY, **changes)
            save_tokenizer(folder, VOCABULARY)
            file = folder.with_name("model.gguf")
            export(str(folder), file)
            kept[name] = Made(folder, file, reference)
        return kept[name]

    return make


def found(path: Path) -> ModelFiles:
    files = find_model(str(path))
    assert files is not None
    return files


def our_logits(path: Path, backend: str = "numpy", device: str = "cpu") -> Array:
    model: Any = load_model(found(path), open_backend(device, backend, threads=1))
    ops = model.ops
    return np.array(ops.to_numpy(logits(model, hidden_states(model, ops.token_ids(IDS)))))


def reference_logits(model: Any) -> Array:
    with torch.no_grad():
        return np.asarray(model(torch.tensor(IDS)).logits.numpy())


@pytest.mark.parametrize("name", VARIANTS)
def test_a_file_holds_what_the_folder_holds(made: Callable[[str], Made], name: str) -> None:
    folder, file, _ = made(name)
    config, stored = found(folder).read_checkpoint()
    again, read = found(file).read_checkpoint()
    # Mistral without a window is LLaMA.
    if name == "mistral":
        config = replace(config, model_type="llama", unbiased=again.unbiased)
    # It follows from the width where a file is silent.
    assert replace(again, head_dim=again.head_width) == replace(config, head_dim=config.head_width)
    assert read.keys() == stored.keys()
    for weight, tensor in stored.items():
        assert read[weight].shape == tensor.shape
        np.testing.assert_array_equal(numbers_of(read[weight]), numbers_of(tensor))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", VARIANTS)
def test_logits_of_a_file_are_those_of_transformers(
    made: Callable[[str], Made], name: str, backend: tuple[str, str]
) -> None:
    made_ = made(name)
    expected = reference_logits(made_.reference)
    np.testing.assert_allclose(our_logits(made_.file, *backend), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_folder_from_a_file_opens_in_transformers(
    made: Callable[[str], Made], name: str, tmp_path: Path
) -> None:
    _, file, reference = made(name)
    export(str(file), tmp_path / "again")
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "again").eval()
    np.testing.assert_allclose(reference_logits(opened), reference_logits(reference), atol=1e-4, rtol=0)
    np.testing.assert_allclose(our_logits(tmp_path / "again"), reference_logits(reference), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["llama", "llama-tied", "llama-linear", "qwen2"])
def test_transformers_reads_the_weights_of_a_file(made: Callable[[str], Made], name: str) -> None:
    _, file, reference = made(name)
    read = load_gguf_checkpoint(file, return_tensors=True, model_to_load=reference)["tensors"]
    expected = reference.state_dict()
    assert {weight for weight in expected if weight not in read} <= {"lm_head.weight"}
    for weight, numbers in read.items():
        torch.testing.assert_close(numbers, expected[weight], rtol=0, atol=0)


@needs_llama_cpp
@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_llama_cpp_continues_a_text_as_we_do(made: Callable[[str], Made], name: str) -> None:
    file = made(name).file
    model = gpt2cli.load(str(file), threads=1)
    with llama_cpp(file, 48) as running:
        for prompt in ("Once upon a time", "x = 3"):
            ours = model.generate(prompt, max_tokens=24, temperature=0, ignore_eos=True).text
            assert running.continue_greedily(prompt, 24) == ours


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_rows_are_in_the_order_of_the_files_in_every_type(
    made: Callable[[str], Made], tmp_path: Path, kind: str
) -> None:
    folder, file = tmp_path / "folder", tmp_path / "model.gguf"
    # Rows fill blocks of 32.
    save_family(folder, "llama", vocab_size=VOCABULARY, hidden_size=96, intermediate_size=64)
    save_tokenizer(folder, VOCABULARY)
    export(str(folder), file, type=kind)
    again = tmp_path / "again.gguf"
    export(str(file), again, type=kind)
    numbers = {name: numbers_of(tensor) for name, tensor in found(folder).read_checkpoint()[1].items()}
    for path in (file, again):
        for name, tensor in found(path).read_checkpoint()[1].items():
            assert np.abs(numbers_of(tensor) - numbers[name]).max() < 0.02
    types = {tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}
    assert types == {"F32", kind.upper()}


@pytest.mark.parametrize(
    "rotary",
    [
        Rotary(1.0, 500_000.0, "llama3", 8.0, 1.0, 4.0, 8192),
        Rotary(1.0, 500_000.0, "llama3", 32.0, 1.0, 4.0, 8192),
        Rotary(1.0, 10_000.0, "llama3", 4.0, 1.0, 8.0, 2048),
    ],
)
def test_the_scaling_of_llama_3_is_found_from_its_factors(rotary: Rotary, tmp_path: Path) -> None:
    parameters = {
        "rope_type": "llama3",
        "rope_theta": rotary.base,
        "factor": rotary.factor,
        "low_freq_factor": rotary.low_frequency_factor,
        "high_freq_factor": rotary.high_frequency_factor,
        "original_max_position_embeddings": rotary.original_context,
    }
    wide = {"hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64}
    folder, file = tmp_path / "folder", tmp_path / "model.gguf"
    save_family(folder, "llama", vocab_size=VOCABULARY, rope_parameters=parameters, **wide)
    save_tokenizer(folder, VOCABULARY)
    export(str(folder), file)
    assert found(file).read_config().rotary == rotary


def test_factors_are_those_by_which_transformers_divides(made: Callable[[str], Made]) -> None:
    file, reference = made("llama-3").file, made("llama-3").reference
    (tensor,) = (tensor for tensor in gguf.GGUFReader(file).tensors if tensor.name == "rope_freqs.weight")
    plain = 1 / 500.0 ** (np.arange(0, 8, 2) / 8)
    np.testing.assert_allclose(plain / tensor.data, reference.model.rotary_emb.inv_freq.numpy(), rtol=1e-5)


@pytest.mark.parametrize("changes", [[0.5, 1, 1, 1], [1, 1, 1, 0.5], [np.nan, 1, 1, 1], [1, 1, 1, np.inf]])
def test_factors_of_another_scaling_are_refused(
    made: Callable[[str], Made], tmp_path: Path, changes: list[float]
) -> None:
    file = made("llama-3").file
    data = bytearray(file.read_bytes())
    rotary = found(file).read_config().rotary
    assert rotary is not None
    stored = frequency_factors(rotary, 8).tobytes()
    at = data.index(stored)
    data[at : at + len(stored)] = (frequency_factors(rotary, 8) * np.array(changes, np.float32)).tobytes()
    path = tmp_path / "other.gguf"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"^{path} has a rope_freqs.weight that is not LLaMA 3's"):
        find_model(str(path))


def test_another_scaling_is_refused(made: Callable[[str], Made], tmp_path: Path) -> None:
    data = made("llama-linear").file.read_bytes()
    path = tmp_path / "other.gguf"
    path.write_bytes(data.replace(b"linear", b"dynamo"))
    with pytest.raises(CheckpointError, match=rf"^{path} scales rotary positions in the way 'dynamo'\."):
        find_model(str(path))


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("gpt1", {}, r"cannot hold a model of the type openai-gpt\."),
        ("gpt-neo", {}, r"cannot hold a model of the type gpt_neo\."),
        ("mistral", {}, r"cannot say that layers see 5 positions only: their readers let them see all\."),
        ("qwen2-window", {}, r"cannot say that layers see 7 positions only"),
        ("gpt-neox-sequential", {}, r"cannot say that matrices of attention have no biases"),
        ("qwen2", {"rope_parameters": LLAMA3}, r"cannot say that rotary positions are scaled as llama3"),
    ],
)
def test_what_readers_would_misread_is_refused(
    tmp_path: Path, family: str, changes: dict[str, Any], message: str
) -> None:
    save_family(tmp_path, family, vocab_size=VOCABULARY, **changes)
    save_tokenizer(tmp_path, VOCABULARY)
    with pytest.raises(UsageError, match=f"^GGUF files {message}"):
        export(str(tmp_path), tmp_path / "x.gguf")
    assert not (tmp_path / "x.gguf").exists()
