"""What a model reads at once of a text of any length, and what precedes the text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from gpt2cli.errors import UsageError
from gpt2cli.scoring.streaming.id_blocks import Reach


@dataclass(frozen=True)
class Window:
    """The ids to read, from `start` to `end`, and the positions to score, from `first` to `last`.

    Both ends are exclusive. The id at `end` is predicted too; past the last id, that is the end of the text.
    """

    start: int
    end: int
    first: int
    last: int


# Takes the reach of a sequence, the size of a window and the stride. No window begins before an earlier one.
Windows: TypeAlias = Callable[[Reach, int, int], Iterable[Window]]


def rolling_windows(reach: Reach, size: int, stride: int) -> Iterator[Window]:
    """Yield windows that score each position of a sequence once, except 0; the end of the text counts.

    All but the first and the last score `stride` positions. Each reads `size` ids, or all if there are fewer.
    """
    end = reach(size)
    yield Window(0, end, 1, end + 1)
    while (following := reach(end + stride)) > end:
        first, end = end + 1, following
        yield Window(end - size, end, first, end + 1)


@dataclass(frozen=True)
class Scheme:
    """What precedes a text, and how many of its ids the model reads at once.

    Raises:
        UsageError: the stride is not between 1 and the window.
    """

    bos_id: int | None
    window: int
    stride: int
    windows: Windows = rolling_windows

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.window:
            raise UsageError(
                f"A stride of {self.stride} does not fit a window of {self.window}.",
                "It must be at least 1 and at most the window.",
            )


def require_bos(bos_id: int | None) -> int:
    """Return the id of the BOS token.

    Raises:
        UsageError: the model has none.
    """
    if bos_id is None:
        raise UsageError("This model has no beginning-of-text token.", "Use `bos=False`.")
    return bos_id
