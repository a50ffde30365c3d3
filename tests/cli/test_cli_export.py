"""`gpt2 export`: files for llama.cpp and folders for transformers, read by their own readers."""

from __future__ import annotations

import json
import re
import resource
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from checkpoints import save_model_folder
from conftest import Gpt2, hidden, run_limited
from gguf.quants import dequantize
from gguf_files import load_weights, write_gguf
from llama_cpp import llama_cpp, needs_llama_cpp
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from gpt2cli.checkpoint.whole_file import whole_folder
from gpt2cli.errors import UsageError
from gpt2cli.model.exporting import export

pytestmark = pytest.mark.slow

SHAPE = {"vocab_size": 320, "n_positions": 96, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_inner": 96}
TEXT = "The cat sat on the mat."
IDS = torch.tensor([[5, 300, 7, 7, 19, 250, 31]])
TYPES = ("f32", "f16", "q8_0")
NUMBER = re.compile(r"\d+\.\d+")
# What 8 bits may change of logits that reach 40.
BOUNDS = {"f32": 1e-4, "f16": 0.05, "q8_0": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("exported")
    save_model_folder(made, **SHAPE)
    return made


@pytest.fixture
def reference(folder: Path) -> Any:
    return GPT2LMHeadModel.from_pretrained(folder).eval()


def tensors_of(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def run(gpt2: Gpt2, *words: str | Path) -> str:
    done = gpt2(*words)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def refusal(gpt2: Gpt2, *words: str | Path, code: int = 2) -> str:
    done = gpt2(*words)
    message = done.stderr.decode()
    assert (done.returncode, done.stdout, message.count("\n")) == (code, b"", 1), message
    return message.strip()


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_a_file_holds_what_the_converter_of_llama_cpp_would_write(
    gpt2: Gpt2, folder: Path, reference: Any, tmp_path: Path, kind: str
) -> None:
    ours, theirs = tmp_path / "ours.gguf", tmp_path / "theirs.gguf"
    assert run(gpt2, "export", folder, "-o", ours, "--type", kind) == f"{ours}\n"
    write_gguf(theirs, reference, folder / "tokenizer.json", kind.upper())
    written, expected = tensors_of(ours), tensors_of(theirs)
    assert written.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (written[name].tensor_type, list(written[name].shape)) == (
            tensor.tensor_type,
            list(tensor.shape),
        )
        np.testing.assert_array_equal(written[name].data, tensor.data)
    ours_fields, theirs_fields = (gguf.GGUFReader(path).fields for path in (ours, theirs))
    own = {"general.name", "general.quantization_version", "tokenizer.ggml.add_bos_token"}
    assert ours_fields.keys() == theirs_fields.keys() | own
    for key, field in theirs_fields.items():
        if key not in ("general.file_type", "GGUF.kv_count"):
            assert ours_fields[key].contents() == field.contents(), key
            assert ours_fields[key].types == field.types, key
    assert (
        ours_fields["general.file_type"].contents()
        == gguf.LlamaFileType[{"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}[kind]]
    )


@needs_llama_cpp
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_llama_cpp_continues_a_text_as_we_do(gpt2: Gpt2, folder: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.gguf"
    run(gpt2, "export", folder, "-o", path, "--type", kind)
    greedy = ("--temperature", "0", "-n", "40", "--ignore-eos", "-q")
    with llama_cpp(path, 96) as running:
        for prompt in ("Once upon a time", TEXT, "x = 3 + 4\n"):
            ids = [int(number) for number in run(gpt2, "tokenize", "-m", path, "--text", prompt).split()]
            assert running.encode(prompt) == ids
            theirs = running.continue_greedily(prompt, 40)
            assert run(gpt2, "generate", prompt, "-m", path, *greedy).removesuffix("\n") == theirs


@needs_llama_cpp
@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_llama_cpp_expects_what_we_do_of_a_trained_model(gpt2: Gpt2, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "stories.gguf"
    run(gpt2, "export", "stories", "-o", path, "--type", kind)
    with llama_cpp(path, 96) as running:
        for prompt in ("Once upon a time", TEXT):
            rows = json.loads(run(gpt2, "next", prompt, "-m", path, "--unit", "nats", "--json"))["rows"]
            ours = {row["id"]: -row["surprisal"] for row in rows[:5]}
            theirs = running.next_logprobs(prompt, 20)
            # With q8_0 it rounds activations to 8 bits.
            bound = 0.2 if kind == "q8_0" else 0.01
            assert max(abs(theirs[token] - logprob) for token, logprob in ours.items()) < bound


@pytest.mark.slow
@pytest.mark.parametrize("kind", TYPES)
def test_transformers_opens_the_file(
    gpt2: Gpt2, folder: Path, reference: Any, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "model.gguf"
    run(gpt2, "export", folder, "-o", path, "--type", kind)
    with torch.no_grad():
        expected = reference(IDS).logits
        read = load_gguf_checkpoint(path, return_tensors=True, model_to_load=reference)
        opened = GPT2LMHeadModel(reference.config).eval()
        load_weights(opened, {name: tensor.numpy() for name, tensor in read["tensors"].items()})
        assert (opened(IDS).logits - expected).abs().max() < BOUNDS[kind]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, gguf_file=path.name)
    ids = run(gpt2, "tokenize", "-m", folder, "--text", TEXT).split()
    assert tokenizer(TEXT).input_ids == list(map(int, ids))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_0"])
def test_a_folder_from_a_file_opens_in_transformers(
    gpt2: Gpt2, folder: Path, tmp_path: Path, kind: str
) -> None:
    path, output = tmp_path / "model.gguf", tmp_path / "folder"
    model = save_model_folder(tmp_path, **SHAPE)
    load_weights(model, write_gguf(path, model, folder / "tokenizer.json", kind))
    assert run(gpt2, "export", path, "-o", output) == f"{output}\n"
    assert sorted(file.name for file in output.iterdir()) == [
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    ]
    opened = AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(opened(IDS).logits, model(IDS).logits, atol=1e-4, rtol=0)
    tokenizer = AutoTokenizer.from_pretrained(output)
    ids = run(gpt2, "tokenize", "-m", path, "--text", TEXT).split()
    assert tokenizer(TEXT).input_ids == list(map(int, ids))
    assert (tokenizer.bos_token, tokenizer.eos_token, len(tokenizer)) == ("<|endoftext|>",) * 2 + (320,)
    config = json.loads((output / "config.json").read_text())
    assert (config["n_ctx"], config["n_positions"]) == (96, 96)
    narrow = {"F16": "float16", "BF16": "bfloat16"}
    assert narrow.get(kind, "float32") in run(gpt2, "models", "show", output)


@pytest.mark.slow
def test_scores_are_the_same_from_every_form(gpt2: Gpt2, folder: Path, tmp_path: Path) -> None:
    path, again = tmp_path / "model.gguf", tmp_path / "again"
    run(gpt2, "export", folder, "-o", path)
    run(gpt2, "export", path, "-o", again, "--type", "f32")
    lines = tmp_path / "lines.txt"
    lines.write_text("The mat.\nThe cat.\n")
    for words in (["score", "--text", TEXT], ["rank", lines], ["next", TEXT]):
        printed = [run(gpt2, *words, "-m", model, "--json", "-q") for model in (folder, path, again)]
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in printed]
        assert len(numbers[0]) > 5
        for other in numbers[1:]:
            np.testing.assert_allclose(other, numbers[0], rtol=1e-4, atol=1e-4)


def test_rows_that_fill_no_block_become_16_bits(gpt2: Gpt2, tmp_path: Path) -> None:
    save_model_folder(tmp_path)
    path = tmp_path / "odd.gguf"
    run(gpt2, "export", tmp_path, "-o", path, "--type", "q8_0")
    kinds = {name: tensor.tensor_type.name for name, tensor in tensors_of(path).items()}
    assert kinds["token_embd.weight"] == "F16"
    # The inner width of 96 fills blocks.
    assert kinds["blk.0.ffn_down.weight"] == "Q8_0"
    assert kinds["position_embd.weight"] == kinds["blk.0.attn_norm.bias"] == "F32"
    assert run(gpt2, "generate", "-m", path, "-n", "2", "Once")


def test_what_is_quantized_becomes_wide(gpt2: Gpt2, folder: Path, reference: Any, tmp_path: Path) -> None:
    path, wide = tmp_path / "model.gguf", tmp_path / "wide.gguf"
    numbers = write_gguf(path, reference, folder / "tokenizer.json", "Q4_1")
    run(gpt2, "export", path, "-o", wide)
    tensors = tensors_of(wide)
    assert {tensor.tensor_type.name for tensor in tensors.values()} == {"F32"}
    stored = tensors["blk.2.ffn_up.weight"]
    np.testing.assert_array_equal(
        dequantize(stored.data, stored.tensor_type), numbers["transformer.h.2.mlp.c_fc.weight"].T
    )


@pytest.mark.slow
def test_an_output_that_is_there_needs_force(gpt2: Gpt2, folder: Path, tmp_path: Path) -> None:
    path, output = tmp_path / "model.gguf", tmp_path / "folder"
    for place in (path, output):
        run(gpt2, "export", folder, "-o", place)
    for place, problem in ((path, "is there already"), (output, "is not empty")):
        told = refusal(gpt2, "export", folder, "-o", place)
        assert told == f"Error: {place} {problem}. --force replaces it."
    (output / "old.txt").touch()
    for place in (path, output):
        run(gpt2, "export", folder, "-o", place, "--type", "f16", "--force")
    assert tensors_of(path)["output_norm.weight"].tensor_type.name == "F32"
    assert tensors_of(path)["token_embd.weight"].tensor_type.name == "F16"
    assert not (output / "old.txt").exists()
    assert sorted(tmp_path.iterdir()) == [output, path]


@pytest.mark.slow
def test_nothing_but_a_model_is_replaced(gpt2: Gpt2, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "papers").mkdir()
    paper = tmp_path / "papers" / "paper.txt"
    paper.touch()
    for output, message in (
        (tmp_path / "papers", "holds other files than a model's. Name another folder with --output."),
        (paper, "is a file, not a folder. Name another with --output."),
        (folder, "holds the model itself. Name another folder with --output."),
        (tmp_path / "x.safetensors", "is neither a .gguf file nor a folder."),
    ):
        words = ("export", folder, "-o", output, "--force")
        assert refusal(gpt2, *words).startswith(f"Error: {output} {message}")
    told = refusal(gpt2, "export", folder, "-o", "-")
    assert told == "Error: A model cannot go to stdout. Name a file or a folder with --output."
    (tmp_path / "x.gguf").mkdir()
    assert "is a folder" in refusal(gpt2, "export", folder, "-o", tmp_path / "x.gguf", "--force")
    assert paper.is_file()
    assert (folder / "model.safetensors").is_file()


def test_the_current_folder_is_not_replaced(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"\. is the current folder\. Name a new folder"):
        export(str(folder), ".")


def test_a_folder_that_a_killed_process_moved_is_put_back(tmp_path: Path) -> None:
    moved, place = tmp_path / ".model.old", tmp_path / "model"
    (tmp_path / ".model.tmp").mkdir()
    moved.mkdir()
    (moved / "config.json").touch()

    def fail() -> None:
        with whole_folder(place) as new:
            (new / "x").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        *("model", "model/config.json")
    ]


def test_a_folder_behind_a_link_is_replaced(folder: Path, tmp_path: Path) -> None:
    place, link = tmp_path / "place", tmp_path / "link"
    place.mkdir()
    link.symlink_to(place)
    assert export(str(folder), link) == link
    assert link.is_symlink()
    assert (place / "model.safetensors").is_file()


def test_a_folder_keeps_how_its_makers_sample(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    export(str(folder), copied)
    assert (copied / "generation_config.json").read_text() == (folder / "generation_config.json").read_text()


def test_a_folder_that_is_empty_needs_no_force(gpt2: Gpt2, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "a" / "b"
    output.mkdir(parents=True)
    run(gpt2, "export", folder, "-o", output)
    run(gpt2, "export", folder, "-o", tmp_path / "c" / "d" / "model.gguf")
    assert (output / "model.safetensors").is_file()


def limit_files(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("name", ["model.gguf", "folder"])
def test_a_full_disk_leaves_what_was_there(
    gpt2: Gpt2, environment: dict[str, str], folder: Path, tmp_path: Path, name: str
) -> None:
    output = tmp_path / "out" / name
    limit: Callable[[], object] = partial(limit_files, 100_000)
    words = ["export", str(folder), "-o", str(output)]
    done = run_limited(words, environment, limit)
    assert (done.returncode, done.stderr.decode().count("\n")) == (1, 1)
    assert b"File too large" in done.stderr
    assert list(output.parent.iterdir()) == []
    run(gpt2, *words)
    before = {path: path.read_bytes() for path in output.parent.rglob("*") if path.is_file()}
    assert run_limited([*words, "--force"], environment, limit).returncode == 1
    assert {path: path.read_bytes() for path in output.parent.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_type_must_fit_the_output(gpt2: Gpt2, folder: Path, tmp_path: Path) -> None:
    words = ("export", folder, "-o", tmp_path / "folder", "--type", "q8_0")
    assert refusal(gpt2, *words) == "Error: --type of a folder must be f32 or f16, not 'q8_0'."
    assert "'q4_0' is not one of" in refusal(gpt2, "export", folder, "-o", "x.gguf", "--type", "q4_0")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"activation_function": "relu"}, "activation_function is relu: their readers assume gelu_new."),
        (
            {"scale_attn_by_inverse_layer_idx": True},
            "scale_attn_by_inverse_layer_idx is True: their readers assume False.",
        ),
    ],
)
def test_a_model_that_readers_would_misread_is_refused(
    gpt2: Gpt2, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    save_model_folder(tmp_path, **config)
    told = refusal(gpt2, "export", tmp_path, "-o", tmp_path / "x.gguf")
    assert told == f"Error: GGUF files cannot say that {message} Use --output FOLDER for safetensors."
    assert not (tmp_path / "x.gguf").exists()
    run(gpt2, "export", tmp_path, "-o", tmp_path / "folder")


@pytest.mark.slow
def test_the_library_is_named_where_it_is_needed_and_missing(
    gpt2: Gpt2, folder: Path, reference: Any, tmp_path: Path
) -> None:
    without = hidden(tmp_path / "no-gguf", "gguf")
    path, quantized = tmp_path / "model.gguf", tmp_path / "quantized.gguf"
    assert gpt2("export", folder, "-o", path, env=without).returncode == 0
    assert gpt2("generate", "Once", "-m", path, "-n", "2", env=without).returncode == 0
    done = gpt2("export", folder, "-o", quantized, "--type", "q8_0", env=without)
    install = "Install it: pip install 'gpt2cli[gguf]'\n"
    needs = "needs the package gguf, which is not installed."
    assert done.stderr.decode() == f"Error: Writing {quantized} as Q8_0 {needs} {install}"
    assert not quantized.exists()
    write_gguf(quantized, reference, folder / "tokenizer.json", "Q4_0")
    for words in (["models", "verify", quantized], ["tokenize", "--text", "Once", "-m", quantized]):
        assert gpt2(*words, env=without).returncode == 0
    done = gpt2("generate", "Once", "-m", quantized, env=without)
    assert done.returncode == 1
    assert done.stderr.decode() == f"Error: {quantized} is stored as Q4_0, which {needs} {install}"
