"""How well a model predicts each token of a text of any length: ids in, numbers out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from gpt2cli.errors import Error
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import Reading
from gpt2cli.model.kv_memory import KVMemory
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
            table = _Table(job)
            states = hidden[row, job.offset - first :][: table.count]
            for begin in range(0, table.count, POSITIONS_AT_ONCE):
                place = slice(begin, min(begin + POSITIONS_AT_ONCE, table.count))
                head.fill([(table, place)], states[place])
            yield job.key, table.predictions()


def score_in_parts(
    model: Model[A],
    texts: Iterable[tuple[Key, Iterable[Sequence[int]]]],
    scheme: Scheme,
    room: int,
    positions_at_once: Callable[[], int],
    word_starts: WordStarts | None = None,
) -> Iterator[tuple[Key, Predictions] | None]:
    """Yield what `score_texts` yields, and None after each part that is read.

    A part has as many positions as may be read at once then. Texts lie side by side in it.

    Raises:
        ValueError, Error: as `score_texts` does.
    """
    head = _Head(model, word_starts)
    for batch in _batches(_jobs(texts, scheme), room):
        tables = [_Table(job) for job in batch]
        begins = list(accumulate((len(table.ids) for table in tables), initial=0))
        memory = KVMemory(model.config, model.ops, max(1, begins[-1]))
        row = done = 0
        while row < len(batch):
            left = max(1, min(positions_at_once(), POSITIONS_AT_ONCE))
            ids: list[int] = []
            spans: list[tuple[int, int, int, int]] = []
            places: list[tuple[_Table, slice]] = []
            while row < len(batch) and left:
                table, offset = tables[row], batch[row].offset
                new = table.ids[done : done + left]
                skipped = min(len(new), max(0, offset - done))
                if new:
                    spans.append((begins[row], done, len(new), skipped))
                    ids += new
                if len(new) > skipped:
                    places.append((table, slice(done + skipped - offset, done + len(new) - offset)))
                left -= len(new)
                done += len(new)
                if done == len(table.ids):
                    row, done = row + 1, 0
            if spans:
                read = Reading(memory, np.array(spans))
                hidden: Any = hidden_states(model, model.ops.token_ids([ids]), read)
                if places:
                    head.fill(places, hidden[0])
                yield None
        for job, table in zip(batch, tables, strict=True):
            yield job.key, table.predictions()


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


class _Table:
    """The predictions of a window, which are filled in part by part."""

    def __init__(self, job: _Job[Any]) -> None:
        self.count = job.window.last - job.window.first
        self.ids = job.ids[: job.offset + self.count]
        self.first_token = job.first_token
        self._at_end = self.count - len(job.targets)
        self.targets = np.array([*job.targets, *[0] * self._at_end], np.int64)
        self.values = np.empty((4, self.count))

    def predictions(self) -> Predictions:
        """Return the predictions once all are there.

        Raises:
            Error: the model produced NaN.
        """
        if np.isnan(self.values[0]).any():
            raise Error("The model produced NaN.", "Its weights may be damaged.")
        self.values[0, self.count - self._at_end :] = np.nan
        return Predictions(self.first_token, *self.values)


class _Head(Generic[A]):
    """Compute predictions from hidden states."""

    def __init__(self, model: Model[A], word_starts: WordStarts | None) -> None:
        self._model = model
        self._word_starts = word_starts

    def fill(self, places: Sequence[tuple[_Table, slice]], hidden: Any) -> None:
        """Fill places in tables from hidden states (time, width), which lie side by side as the places do."""
        starts = self._word_starts
        targets = np.concatenate([table.targets[place] for table, place in places])
        found = self._statistics(hidden, targets, starts.weights if starts else None)
        begin = 0
        for table, place in places:
            end = begin + place.stop - place.start
            table.values[:, place] = found[:, begin:end]
            if starts and starts.first is not None and table.first_token == place.start == 0:
                first = self._statistics(hidden[begin : begin + 1], table.targets[:1], starts.first)
                table.values[3:, :1] = first[3:]
            begin = end

    def _statistics(self, hidden: Any, targets: Any, weights: Weights | None) -> Any:
        return self._model.ops.token_statistics(logits(self._model, hidden), targets, weights)
