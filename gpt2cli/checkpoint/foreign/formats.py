"""The formats of other tools, recognized by the names of their files."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from typing import NamedTuple


class _Format(NamedTuple):
    """The patterns of a format's files, what they are called, and what makes a usable model of them."""

    patterns: tuple[str, ...]
    title: str
    remedy: str


CONVERSION = (
    "Convert them with transformers 4: "
    "GPT2LMHeadModel.from_pretrained(FOLDER, {}=True).save_pretrained(FOLDER)."
)
ORIGINAL = "Use the PyTorch model that it was made from."
FORMATS = (
    _Format(("*.h5",), "TensorFlow weights", CONVERSION.format("from_tf")),
    _Format(
        (
            "*.ckpt*.index",
            "*.ckpt*.meta",
            "*.ckpt*.data-*",
            "model-*.index",
            "model-*.meta",
            "model-*.data-*",
        ),
        "a TensorFlow checkpoint",
        "OpenAI's are gpt2 to gpt2-xl; convert others with transformers 4: transformers-cli convert.",
    ),
    _Format(("*saved_model.pb",), "a TensorFlow SavedModel", ORIGINAL),
    _Format(("*.msgpack",), "Flax weights", CONVERSION.format("from_flax")),
    _Format(("*.onnx",), "an ONNX model", ORIGINAL),
    _Format(
        ("*.pt", "*.pth", "*.ckpt"),
        "a PyTorch checkpoint",
        "Save its state_dict as model.safetensors, under the names that transformers uses.",
    ),
)


class ForeignFile(NamedTuple):
    """A file of another format, what the format is called, and what helps."""

    name: str
    title: str
    remedy: str


def find_foreign(files: Iterable[str]) -> ForeignFile | None:
    """Return the first file of another format, in the order of the formats, or None if there is none."""
    names = sorted(files)
    for known in FORMATS:
        for name in names:
            if any(fnmatch(name.lower(), pattern) for pattern in known.patterns):
                return ForeignFile(name, known.title, known.remedy)
    return None
