"""How likely a model finds given texts, token by token, however long they are; ids in, numbers out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from gpt2cli.errors import Error, UsageError
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.model import Model
from gpt2cli.ops.operations import A

Key = TypeVar("Key")
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

# The logits of a whole window would take 206 MB with GPT-2's vocabulary. The kernels take 12 or 6 rows
# at once, and leave none over of these.
POSITIONS_AT_ONCE = 132


@dataclass(frozen=True)
class Window:
    """Read the ids of a sequence from start to end, and score those at the positions from first to last.

    Both ends are exclusive. The id at `end` is predicted too; where there is none, it is the end of the text.
    """

    start: int
    end: int
    first: int
    last: int


Windows: TypeAlias = Callable[[int, int, int], Iterable[Window]]


def rolling_windows(length: int, size: int, stride: int) -> Iterator[Window]:
    """Yield windows over a sequence that score each position but 0 once, the end of the text included.

    All but the first score `stride` positions; each reads `size` ids, as far as there are so many.
    """
    end = min(size, length)
    yield Window(0, end, 1, end + 1)
    while end < length:
        first = end + 1
        end = min(end + stride, length)
        yield Window(end - size, end, first, end + 1)


@dataclass(frozen=True)
class Scheme:
    """Choose what precedes a text, and how much of it the model reads at once, in ids.

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


@dataclass(frozen=True)
class Predictions:
    """Tell how the tokens of a text from number `first` on were predicted; arrays are (tokens,), in nats.

    One after the last token stands for the end of the text; its log-probability is nan. `word_starts` are
    the log-probabilities that a word begins there, nan where they were not asked for.
    """

    first: int
    logprobs: Floats
    entropies: Floats
    ranks: Floats
    word_starts: Floats


def score_texts(
    model: Model[A],
    texts: Iterable[tuple[Key, Sequence[int]]],
    scheme: Scheme,
    room: int,
    word_starts: Mask | None = None,
) -> Iterator[tuple[Key, Predictions]]:
    """Yield each text's predictions in order, a window at a time and at least one, under the text's key.

    `room` bounds the positions that are read at once, though one window is always read. `word_starts`, of
    shape (vocabulary,), tells which tokens begin a word.

    Raises:
        ValueError: the window exceeds the model's context.
        Error: the model's values are not numbers.
    """
    head = _Head(model, word_starts)
    for batch in _batches(_jobs(texts, scheme), room):
        width = max(1, *(len(job.ids) for job in batch))
        # Attention is causal, so what stands to the right of a text does not change it.
        rows = [[*job.ids, *[0] * (width - len(job.ids))] for job in batch]
        first = min(job.offset for job in batch)
        hidden: Any = hidden_states(model, model.ops.token_ids(rows), first=first)
        for row, job in enumerate(batch):
            yield job.key, head.predictions(hidden[row, job.offset - first :], job)


class _Job(NamedTuple, Generic[Key]):
    key: Key
    window: Window
    ids: Sequence[int]
    targets: Sequence[int]
    first_token: int

    @property
    def offset(self) -> int:
        """Return which of the ids is the first whose next one is scored."""
        return self.window.first - 1 - self.window.start


def _jobs(texts: Iterable[tuple[Key, Sequence[int]]], scheme: Scheme) -> Iterator[_Job[Key]]:
    prefix = [] if scheme.bos_id is None else [scheme.bos_id]
    for key, ids in texts:
        sequence = [*prefix, *ids]
        windows = scheme.windows(len(sequence), scheme.window, scheme.stride)
        window = None
        for window in windows:
            yield _Job(
                key,
                window,
                sequence[window.start : window.end],
                sequence[window.first : window.last],
                window.first - len(prefix),
            )
        if window is None:
            yield _Job(key, Window(0, 0, 1, 1), [], [], 0)


def _batches(jobs: Iterable[_Job[Key]], room: int) -> Iterator[list[_Job[Key]]]:
    batch: list[_Job[Key]] = []
    longest = total = 0
    for job in jobs:
        padded = max(longest, len(job.ids)) * (len(batch) + 1)
        # Short texts beside a long one would be mostly padding.
        if batch and padded > min(room, 2 * (total + len(job.ids))):
            yield batch
            batch, longest, total = [], 0, 0
        batch.append(job)
        longest = max(longest, len(job.ids))
        total += len(job.ids)
    if batch:
        yield batch


class _Head(Generic[A]):
    """Turn hidden states into predictions, a slice of positions at a time."""

    def __init__(self, model: Model[A], word_starts: Mask | None) -> None:
        self._model = model
        self._word_starts = None if word_starts is None else word_starts.astype(np.float32)

    def predictions(self, hidden: Any, job: _Job[Any]) -> Predictions:
        """Return what (time, width) from the job's offset on tells of a window's targets."""
        window = job.window
        count = window.last - window.first
        at_end = count - len(job.targets)
        targets = np.array([*job.targets, *[0] * at_end], np.int64)
        table = np.empty((4, count))
        for begin in range(0, count, POSITIONS_AT_ONCE):
            part = slice(begin, begin + POSITIONS_AT_ONCE)
            scores = logits(self._model, hidden[:count][part])
            table[:, part] = self._model.ops.token_statistics(scores, targets[part], self._word_starts)
        if np.isnan(table[0]).any():
            raise Error("The model produced NaN.", "Its weights may be damaged.")
        table[0, count - at_end :] = np.nan
        return Predictions(job.first_token, *table)
