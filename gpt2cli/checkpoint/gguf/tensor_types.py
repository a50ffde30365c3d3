"""The types of the tensors in GGUF files: how many numbers share a block, and the bytes that it takes."""

from __future__ import annotations

from typing import NamedTuple


class TensorType(NamedTuple):
    """A type that can be read; `code` stands for it in files.

    `dtype` is numpy's name of it if each number stands for itself, as in a block of one.
    """

    name: str
    code: int
    block: int
    block_bytes: int
    dtype: str = ""

    def row_bytes(self, width: int) -> int:
        """Return the bytes of a row of numbers, whose count must be a multiple of a block's."""
        return width // self.block * self.block_bytes


# ggml.h of ggml-org/llama.cpp has the codes, and its ggml-common.h the blocks.
READABLE = (
    TensorType("F32", 0, 1, 4, "<f4"),
    TensorType("F16", 1, 1, 2, "<f2"),
    TensorType("BF16", 30, 1, 2, "<u2"),
    TensorType("F64", 28, 1, 8, "<f8"),
    TensorType("Q4_0", 2, 32, 18),
    TensorType("Q4_1", 3, 32, 20),
    TensorType("Q5_0", 6, 32, 22),
    TensorType("Q5_1", 7, 32, 24),
    TensorType("Q8_0", 8, 32, 34),
    TensorType("Q2_K", 10, 256, 84),
    TensorType("Q3_K", 11, 256, 110),
    TensorType("Q4_K", 12, 256, 144),
    TensorType("Q5_K", 13, 256, 176),
    TensorType("Q6_K", 14, 256, 210),
)
BY_CODE = {kind.code: kind for kind in READABLE}
BY_NAME = {kind.name: kind for kind in READABLE}
# Named in errors.
UNREADABLE_NAMES = dict(
    enumerate(
        (
            *("IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS"),
            *("I8", "I16", "I32", "I64", "F64", "IQ1_M"),
        ),
        start=16,
    )
)


def type_name(code: int) -> str:
    """Return what a type is called, whether or not it can be read."""
    if code in BY_CODE:
        return BY_CODE[code].name
    return UNREADABLE_NAMES.get(code, f"type {code}")
