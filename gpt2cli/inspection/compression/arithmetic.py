"""The arithmetic that a text is compressed with: what must be the same for the same logits."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from gpt2cli.errors import Error
from gpt2cli.model.loading import LoadedModel
from gpt2cli.ops.backend import choose_instruction_set, instruction_set

# AMX only multiplies whole numbers, which has no rounding, so that all else is AVX-512.
SAME_AS = {"amx": "avx512"}
INSTRUCTION_SETS = ("avx512", "avx2", "generic")


def arithmetic_of(loaded: LoadedModel) -> str:
    """Return the name of a model's arithmetic, as now computed: type, instruction set and processor family.

    Raises:
        Error: the backend computes other logits where it reads tokens one by one.
    """
    ops = loaded.model.ops
    kernels = instruction_set()
    if ops.name != "compiled" or kernels is None:
        raise Error(
            f"The backend {ops.name} rounds differently where it reads tokens one by one.",
            "Use `backend` compiled, whose sums never depend on that.",
        )
    return f"{ops.dtype_name} {SAME_AS.get(kernels, kernels)} {platform.machine()}"


def each_arithmetic(loaded: LoadedModel) -> Iterator[str]:
    """Yield every arithmetic that this machine has for a model while it is in use; the last one stays so.

    Raises:
        Error: as `arithmetic_of` does.
    """
    for name in (None, *INSTRUCTION_SETS):
        if choose_instruction_set(name):
            yield arithmetic_of(loaded)
