"""How well a model predicts each token of a text of any length: ids in, numbers out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from gpt2cli.errors import Error
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.model import Model
from gpt2cli.ops.operations import A
from gpt2cli.scoring.windows import Scheme, Window

Key = TypeVar("Key")
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Mask: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]

# The logits of a whole window would take 206 MB with GPT-2's vocabulary. The kernels compute 12 or 6 rows
# at a time, and 132 is a multiple of both.
POSITIONS_AT_ONCE = 132


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
    texts: Iterable[tuple[Key, Sequence[int]]],
    scheme: Scheme,
    room: int,
    word_starts: Mask | None = None,
) -> Iterator[tuple[Key, Predictions]]:
    """Yield the key of each text with its predictions, in order, one window at a time and at least one.

    A batch has at most `room` positions, or a single window. `word_starts` of shape (vocabulary,) is true
    for tokens that begin a word.

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

    def __init__(self, model: Model[A], word_starts: Mask | None) -> None:
        self._model = model
        self._word_starts = None if word_starts is None else word_starts.astype(np.float32)

    def predictions(self, hidden: Any, job: _Job[Any]) -> Predictions:
        """Return the predictions of a window from its hidden states from the offset on, (time, width)."""
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
