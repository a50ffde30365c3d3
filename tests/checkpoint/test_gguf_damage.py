"""Damaged and hostile GGUF files: one line each, and never more memory than the file could need."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import save_model_folder
from gguf_files import describe_tokenizer, write_gguf

from gpt2cli.checkpoint.gguf.contents import read_contents
from gpt2cli.checkpoint.gguf.header import read_gguf_header
from gpt2cli.checkpoint.gguf.mapping import map_tensors
from gpt2cli.checkpoint.gguf.quantized import numbers_of
from gpt2cli.errors import CheckpointError

SMALL = {"vocab_size": 300, "n_positions": 8, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_inner": 32}
FLIPS = 600
HUGE = 2**63 - 1
UINT32, STRING, ARRAY = 4, 8, 9


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of a small model in a GGUF file."""
    folder = tmp_path_factory.mktemp("sound")
    reference = save_model_folder(folder, **SMALL)
    write_gguf(folder / "sound.gguf", reference, folder / "tokenizer.json", "Q4_0")
    return (folder / "sound.gguf").read_bytes()


@pytest.fixture
def header_bytes(sound: bytes, tmp_path: Path) -> int:
    path = tmp_path / "sound.gguf"
    path.write_bytes(sound)
    return min(entry.begin for entry in read_gguf_header(path).tensors.values())


def reads_or_says_why(path: Path) -> bool:
    """Read a file as far as it goes, and return whether it is sound."""
    message = ""
    try:
        contents = read_contents(path)
        for tensor in map_tensors(path, contents.config, contents.tensors).values():
            numbers_of(tensor)
    except CheckpointError as error:
        message = str(error)
    assert not message or message.startswith(f"{path} ")
    assert "\n" not in message
    assert len(message) < 1500
    return not message


@pytest.mark.slow
def test_a_file_cut_anywhere_in_its_header_is_damaged(
    sound: bytes, header_bytes: int, tmp_path: Path
) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(sound)
    assert reads_or_says_why(path)
    for length in reversed(range(header_bytes)):
        os.truncate(path, length)
        assert not reads_or_says_why(path)


def test_a_file_cut_in_its_numbers_says_how_much_is_there(
    sound: bytes, header_bytes: int, tmp_path: Path
) -> None:
    path = tmp_path / "cut.gguf"
    for length in (header_bytes, header_bytes + 1, len(sound) - 40):
        path.write_bytes(sound[:length])
        with pytest.raises(CheckpointError, match=rf"is damaged: it has only {length:,} of [0-9,]+ bytes\."):
            read_contents(path)


@pytest.mark.slow
def test_flipped_bits_are_read_or_said_to_be_damage(sound: bytes, header_bytes: int, tmp_path: Path) -> None:
    path, draw = tmp_path / "flipped.gguf", random.Random(7)
    unsound = 0
    for _ in range(FLIPS):
        data = bytearray(sound)
        for _ in range(draw.randrange(1, 4)):
            # Most of a header is text. Numbers matter more.
            at = draw.choice((draw.randrange(header_bytes), draw.randrange(200), draw.randrange(len(data))))
            data[at] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        unsound += not reads_or_says_why(path)
    assert FLIPS / 4 < unsound < FLIPS


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def value(key: bytes, kind: int, data: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + data


def file(*parts: bytes, tensors: int = 0, values: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, values) + b"".join(parts)


def tensor(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "tensors without end": (file(tensors=HUGE), "its header declares 9,223,372,036,854,775,807 tensors"),
    "values without end": (file(values=HUGE), "its header declares 9,223,372,036,854,775,807 values"),
    "more values than fit": (file(b"\0" * 100, values=100), "its header declares 100 values"),
    "more tensors than any model has": (
        file(b"\0" * (33 * (1 << 17)), tensors=1 << 17),
        "its header declares 131,072 tensors",
    ),
    "a long key": (file(struct.pack("<Q", HUGE), b"\0" * 64, values=1), "its header is cut off after"),
    "a long text": (
        file(value(b"general.name", STRING, struct.pack("<Q", HUGE)), values=1),
        "its header is cut off after",
    ),
    "an array of many numbers": (
        file(value(b"x", ARRAY, struct.pack("<IQ", UINT32, HUGE)), values=1),
        "its header is cut off after",
    ),
    "an array of many texts": (
        file(value(b"x", ARRAY, struct.pack("<IQ", STRING, HUGE)), b"\0" * 800, values=1),
        "its header is cut off after",
    ),
    "arrays in arrays": (
        file(value(b"x", ARRAY, struct.pack("<IQ", ARRAY, 1) + b"\0" * 12), values=1),
        "its header has a value of unknown type 9",
    ),
    "an unknown type": (
        file(value(b"x", 77, b"\0" * 8), values=1),
        "its header has a value of unknown type 77",
    ),
    "a key that is not text": (
        file(value(b"\xff\xfe", UINT32, b"\0" * 4), values=1),
        "the text at byte 32 is not UTF-8",
    ),
    "a key that is there twice": (
        file(value(b"x\n", UINT32, b"\0" * 4) * 2, values=2),
        r"'x\n' is there twice",
    ),
    "no alignment": (
        file(value(b"general.alignment", UINT32, b"\0" * 4), values=1),
        "general.alignment is 0",
    ),
    "an alignment that is a text": (
        file(value(b"general.alignment", STRING, text(b"x" * 500)), values=1),
        f"general.alignment is the text '{'x' * 80}...'",
    ),
    "many dimensions": (
        file(text(b"w"), struct.pack("<I", 1 << 31), b"\0" * 64, tensors=1),
        "'w' has 2,147,483,648 dimensions",
    ),
    "a large shape": (
        file(tensor(b"w", (HUGE, HUGE, HUGE, HUGE)), tensors=1),
        "it has only 81 of 28,",
    ),
    "an empty shape": (file(tensor(b"w", (0, 5)), tensors=1), "'w' cannot have the shape [5, 0] as F32"),
    "half a block": (
        file(tensor(b"w", (40, 2), kind=8), tensors=1),
        "'w' cannot have the shape [2, 40] as Q8_0",
    ),
    "an offset beyond the end": (
        file(tensor(b"w", (4,), offset=HUGE), tensors=1),
        "it has only 57 of 9,223,372,036,854,775,887 bytes",
    ),
    "a tensor that is there twice": (
        file(tensor(b"w", (4,)) * 2, b"\0" * 64, tensors=2),
        "'w' is there twice",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_counts_lengths_and_offsets_are_not_believed(name: str, tmp_path: Path) -> None:
    data, message = HOSTILE[name]
    path = tmp_path / "hostile.gguf"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as caught:
            read_contents(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path} is damaged: {message}")
    assert "\n" not in str(caught.value)
    assert peak < 1 << 20


CHANGES: dict[str, tuple[Callable[[dict[str, object]], dict[str, object]], str]] = {
    "layers without end": (lambda _: {"gpt2.block_count": 2**32 - 1}, "gpt2.block_count is 4,294,967,295"),
    "more layers": (lambda _: {"gpt2.block_count": 2}, "blk.1.attn_norm.weight is missing; blk.1"),
    "fewer layers": (lambda _: {"gpt2.block_count": 0}, "n_layer must be a positive whole number, not 0"),
    "heads that do not divide": (
        lambda _: {"gpt2.attention.head_count": 5},
        "n_embd 32 is not a multiple of n_head 5",
    ),
    "no width": (lambda _: {"gpt2.embedding_length": None}, "gpt2.embedding_length is missing"),
    "another width": (
        lambda _: {"gpt2.embedding_length": 64},
        "token_embd.weight has shape [300, 32], not [300, 64]",
    ),
    "a width that is a text": (
        lambda _: {"gpt2.embedding_length": "wide"},
        "gpt2.embedding_length is not a number",
    ),
    "an epsilon that is not a number": (
        lambda _: {"gpt2.attention.layer_norm_epsilon": float("nan")},
        "layer_norm_epsilon must be a number from 0 to 1, not nan",
    ),
    "fewer tokens": (
        lambda kept: {"tokenizer.ggml.tokens": kept["tokenizer.ggml.tokens"][:-1]},  # type: ignore[index]
        "it has 299 tokens, 300 types and 300 embeddings",
    ),
    "more tokens": (
        lambda kept: {"tokenizer.ggml.tokens": [*kept["tokenizer.ggml.tokens"], "x"]},  # type: ignore[misc]
        "tokenizer.ggml.tokens is an array of 301 values",
    ),
    "no tokens": (lambda _: {"tokenizer.ggml.tokens": None}, "tokenizer.ggml.tokens is missing"),
    "tokens that are numbers": (
        lambda _: {"tokenizer.ggml.tokens": list(range(300))},
        "tokenizer.ggml.tokens is an array of 300 values",
    ),
    "tokens that are the same": (
        lambda _: {"tokenizer.ggml.tokens": ["a", "b", "a", *map(str, range(297))]},
        "tokens 0 and 2 are the same",
    ),
    "a merge that makes no token": (
        lambda _: {"tokenizer.ggml.merges": ["q zz"]},
        "merge 0 makes no token",
    ),
    "an end that is a text": (
        lambda _: {"tokenizer.ggml.eos_token_id": "end"},
        "tokenizer.ggml.eos_token_id is the text 'end'",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_values_that_do_not_fit_the_model_are_one_line(name: str, tmp_path: Path) -> None:
    change, message = CHANGES[name]
    reference = save_model_folder(tmp_path, **SMALL)
    path, tokenizer = tmp_path / "changed.gguf", tmp_path / "tokenizer.json"
    write_gguf(path, reference, tokenizer, values=change(describe_tokenizer(tokenizer, 300)))
    with pytest.raises(CheckpointError) as caught:
        read_contents(path)
    assert str(caught.value).startswith(f"{path} is damaged: ")
    assert message in str(caught.value)
