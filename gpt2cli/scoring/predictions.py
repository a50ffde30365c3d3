"""How well a model predicts each token of a text of any length: ids in, numbers out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from gpt2cli.errors import Error
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.model import Model
from gpt2cli.ops.operations import A
from gpt2cli.scoring.streaming.id_blocks import IdBlocks
from gpt2cli.scoring.windows import Scheme, Window

Key = TypeVar("Key")
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]
Weights: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

# The logits of a whole window would take 206 MB with GPT-2's vocabulary. The kernels compute 12 or 6 rows
# at a time, and 132 is a multiple of both.
POSITIONS_AT_ONCE = 132


class WordStarts(NamedTuple):
    """Which tokens begin a word, as weights (vocabulary,) of their probabilities: 1 for those that do.

    `first` are the weights where a text begins, if they are others there.
    """

    weights: Weights
    first: Weights | None = None


@dataclass(frozen=True)
class Predictions:
    """Predictions of the tokens of a text from index `first` on; arrays are (tokens,), in nats.

    An entry after the last token is the end of the text, with a log-probability of nan. `word_starts` are
    the log-probabilities that a word begins there, nan unless they were requested.
    """

    first: int
    logprobs: Floats
    entropies: Floats
    ranks: Floats
    word_starts: Floats


def score_texts(
    model: Model[A],
    texts: Iterable[tuple[Key, Iterable[Sequence[int]]]],
    scheme: Scheme,
    room: int,
    word_starts: WordStarts | None = None,
) -> Iterator[tuple[Key, Predictions]]:
    """Yield the key of each text with its predictions, in order, one window at a time and at least one.

    The ids of a text come in blocks, which are read when they are needed. A batch has at most `room`
    positions, or a single window.

    Raises:
        ValueError: the window exceeds the model's context.
        Error: the model produced NaN.
    """
    head = _Head(model, word_starts)
    for batch in _batches(_jobs(texts, scheme), room):
        width = max(1, *(len(job.ids) for job in batch))
        # Attention is causal, so padding on the right changes nothing.
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
        """Return the index of the first of the ids whose successor is scored."""
        return self.window.first - 1 - self.window.start


def _jobs(texts: Iterable[tuple[Key, Iterable[Sequence[int]]]], scheme: Scheme) -> Iterator[_Job[Key]]:
    prefix = [] if scheme.bos_id is None else [scheme.bos_id]
    for key, blocks in texts:
        sequence = IdBlocks(chain([prefix], blocks))
        window = None
        for window in scheme.windows(sequence.reach, scheme.window, scheme.stride):
            sequence.forget(window.start)
            yield _Job(
                key,
                window,
                sequence.between(window.start, window.end),
                sequence.between(window.first, window.last),
                window.first - len(prefix),
            )
        if window is None:
            yield _Job(key, Window(0, 0, 1, 1), [], [], 0)


def _batches(jobs: Iterable[_Job[Key]], room: int) -> Iterator[list[_Job[Key]]]:
    batch: list[_Job[Key]] = []
    longest = total = 0
    for job in jobs:
        padded = max(longest, len(job.ids)) * (len(batch) + 1)
        # Short texts next to a long one would be mostly padding.
        if batch and padded > min(room, 2 * (total + len(job.ids))):
            yield batch
            batch, longest, total = [], 0, 0
        batch.append(job)
        longest = max(longest, len(job.ids))
        total += len(job.ids)
    if batch:
        yield batch


class _Head(Generic[A]):
    """Compute predictions from hidden states, a slice of positions at a time."""

    def __init__(self, model: Model[A], word_starts: WordStarts | None) -> None:
        self._model = model
        self._word_starts = word_starts

    def predictions(self, hidden: Any, job: _Job[Any]) -> Predictions:
        """Return the predictions of a window from its hidden states from the offset on, (time, width)."""
        window = job.window
        count = window.last - window.first
        at_end = count - len(job.targets)
        targets = np.array([*job.targets, *[0] * at_end], np.int64)
        table = np.empty((4, count))
        weights = self._word_starts.weights if self._word_starts else None
        for begin in range(0, count, POSITIONS_AT_ONCE):
            part = slice(begin, begin + POSITIONS_AT_ONCE)
            table[:, part] = self._statistics(hidden[:count][part], targets[part], weights)
        if count and job.first_token == 0 and self._word_starts and self._word_starts.first is not None:
            table[3:, :1] = self._statistics(hidden[:1], targets[:1], self._word_starts.first)[3:]
        if np.isnan(table[0]).any():
            raise Error("The model produced NaN.", "Its weights may be damaged.")
        table[0, count - at_end :] = np.nan
        return Predictions(job.first_token, *table)

    def _statistics(self, hidden: Any, targets: Any, weights: Weights | None) -> Any:
        return self._model.ops.token_statistics(logits(self._model, hidden), targets, weights)
