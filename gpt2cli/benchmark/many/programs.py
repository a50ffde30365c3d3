"""The command lines of this package's own processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Programs:
    """How this package is started; each command line computes in the same way and with the same model.

    `complete` continues the text that follows as its last argument, greedily and by a number of tokens.
    `lines` answers the lines on stdin, and `serve` listens at the port that follows as its last argument.
    Both make a number of samples at once.
    """

    complete: Callable[[int], Sequence[str]]
    lines: Callable[[int], Sequence[str]]
    serve: Callable[[int], Sequence[str]]
