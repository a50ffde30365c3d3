"""What a GGUF file holds, checked: a config, a tokenizer, and the places of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.gguf.description import config_of
from gpt2cli.checkpoint.gguf.families import gguf_name, is_transposed
from gpt2cli.checkpoint.gguf.header import GgufHeader, TensorEntry, damaged_gguf, read_gguf_header
from gpt2cli.checkpoint.gguf.rotary import FACTORS
from gpt2cli.checkpoint.gguf.tokenizer.stored_tokenizer import tokenizer_json
from gpt2cli.checkpoint.roles import HEAD
from gpt2cli.checkpoint.weights import expected_shapes

LISTED_PROBLEMS = 5


class GgufContents(NamedTuple):
    """A model in a GGUF file: its tokenizer as a tokenizer.json, and its tensors by canonical name."""

    config: ModelConfig
    tokenizer: str
    tensors: Mapping[str, TensorEntry]


def read_contents(path: Path) -> GgufContents:
    """Read all but the weights of a GGUF file.

    Raises:
        CheckpointError: the file is damaged, or something in it is not supported.
    """
    header = read_gguf_header(path)
    config = config_of(header)
    tensors = _named(header, config)
    return GgufContents(config, tokenizer_json(header, config.vocab_size), tensors)


def _named(header: GgufHeader, config: ModelConfig) -> dict[str, TensorEntry]:
    expected = expected_shapes(config)
    names = {gguf_name(name): name for name in (*expected, HEAD)}
    found = {names[name]: entry for name, entry in header.tensors.items() if name in names}
    if HEAD not in expected:
        # It repeats the embedding.
        found.pop(HEAD, None)
    problems = [
        *_problems(found, expected),
        *(f"{name!a} is unknown" for name in header.tensors if name not in {*names, FACTORS}),
    ]
    if problems:
        more = len(problems) - LISTED_PROBLEMS
        listed = "; ".join(problems[:LISTED_PROBLEMS]) + (f"; and {more:,} more" if more > 0 else "")
        raise damaged_gguf(header.path, f"its tensors do not fit what it says of the model: {listed}")
    return found


def _problems(found: Mapping[str, TensorEntry], expected: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for name, shape in expected.items():
        stored = shape[::-1] if is_transposed(name, len(shape)) else shape
        if name not in found:
            yield f"{gguf_name(name)} is missing"
        elif found[name].shape != stored:
            yield f"{gguf_name(name)} has shape {list(found[name].shape)}, not {list(stored)}"
