"""The logit lens: what each layer would predict if it were the last.

nostalgebraist, "interpreting GPT: the logit lens" (2020). The final norm and the head read every residual.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from gpt2cli.errors import Error, UsageError
from gpt2cli.generation.sampling import log_softmax
from gpt2cli.inspection.passage import Passage, read_passage
from gpt2cli.inspection.settings import LensSettings
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.loading import LoadedModel
from gpt2cli.model.model import Model
from gpt2cli.ops.operations import A
from gpt2cli.scoring.predictions import POSITIONS_AT_ONCE
from gpt2cli.scoring.rows import in_unit
from gpt2cli.text.token_text import token_text


@dataclass(frozen=True)
class LensRow:
    """One of the likeliest tokens in the prediction of a layer for a token, and how it judged that token.

    `index` numbers the token that came, from 1; `text`, `id`, `surprisal`, `probability` and `rank` are None
    for what follows the text. `entropy` is that of the prediction. `place` 1 is the likeliest `prediction`.
    """

    layer: int
    index: int
    text: str | None
    id: int | None
    surprisal: float | None
    probability: float | None
    rank: int | None
    entropy: float
    place: int
    prediction: str
    prediction_id: int
    prediction_probability: float


class Lens:
    """The predictions of the layers of a model for the tokens of a text, read once.

    `layers` and `positions` are those that were asked for, in order.

    Raises:
        UsageError: the text does not fit the context, or a layer or position does not exist.
        InputError: the text is not Unicode.
        Error: the model produced NaN.
    """

    def __init__(self, loaded: LoadedModel, text: str, settings: LensSettings) -> None:
        self.passage = read_passage(loaded, text, settings)
        passage, config = self.passage, loaded.model.config
        first, end = passage.index(0) + 1, passage.index(len(passage.ids))
        self.layers = _chosen("layer", settings.layers, 0, config.n_layer)
        self.positions = _chosen("position", settings.positions, first, end)
        self._unit = settings.unit
        self._tokenizer = loaded.tokenizer
        places = [position - first for position in self.positions]
        reader = _Reader(loaded.model, passage, self.layers, places, min(settings.top, config.vocab_size))
        hidden_states(loaded.model, loaded.model.ops.token_ids([passage.ids]), watch=reader)
        self._readings = reader.readings

    def rows(self) -> Iterator[LensRow]:
        """Yield the rows of each position, from the first layer to the last, likeliest token first."""
        for column, position in enumerate(self.positions):
            place = position - self.passage.index(0)
            came = place < len(self.passage.ids)
            for layer in self.layers:
                reading = self._readings[layer]
                logprob, entropy, rank = (float(value) for value in reading.statistics[:3, column])
                for number, token in enumerate(reading.ids[column].tolist()):
                    yield LensRow(
                        layer=layer,
                        index=position,
                        text=self.passage.texts[place] if came else None,
                        id=self.passage.ids[place] if came else None,
                        surprisal=in_unit(0.0 - logprob, self._unit) if came else None,
                        probability=math.exp(logprob) if came else None,
                        rank=int(rank) if came else None,
                        entropy=in_unit(entropy, self._unit),
                        place=number + 1,
                        prediction=token_text(self._tokenizer.token_bytes(token)),
                        prediction_id=token,
                        prediction_probability=math.exp(reading.logprobs[column, number]),
                    )


@dataclass(frozen=True, eq=False, repr=False)
class _Reading:
    """Statistics (4, positions) as `Ops.token_statistics` has them, and the top ids (positions, top)."""

    statistics: np.ndarray[Any, np.dtype[np.float64]]
    ids: np.ndarray[Any, np.dtype[np.int64]]
    logprobs: np.ndarray[Any, np.dtype[np.float32]]


class _Reader(Generic[A]):
    """A watcher that reads residuals as the head reads the last one, as soon as they are there."""

    def __init__(
        self, model: Model[A], passage: Passage, layers: Sequence[int], places: Sequence[int], top: int
    ) -> None:
        self.readings: dict[int, _Reading] = {}
        self._model = model
        self._layers = set(layers)
        self._places = places
        # What comes after the last token is unknown, and its judgement is not used.
        following = [*passage.ids[1:], 0]
        self._targets = np.array([following[place] for place in places], np.int64)
        self._top = top

    def attention(self, layer: int, queries: A, keys: A, scale: float, window: int | None) -> None:
        """Do nothing."""

    def residual(self, layer: int, x: A) -> None:
        """Read a residual (1, time, width)."""
        if layer in self._layers:
            parts = range(0, len(self._places), POSITIONS_AT_ONCE)
            read = [self._read(x, slice(begin, begin + POSITIONS_AT_ONCE)) for begin in parts]
            statistics, ids, logprobs = zip(*read, strict=True)
            self.readings[layer] = _Reading(
                np.concatenate(statistics, axis=1), np.concatenate(ids), np.concatenate(logprobs)
            )

    def _read(self, x: A, part: slice) -> tuple[Any, Any, Any]:
        model, ops = self._model, self._model.ops
        residual: Any = x
        # A copy, on each backend.
        rows = residual[0][list(self._places[part])]
        hidden = model.normalize(model.parts.final_norm, rows[None])
        scores: Any = logits(model, hidden)
        scores = scores[0]
        logprobs = log_softmax(ops.to_numpy(scores))
        if np.isnan(logprobs).any():
            raise Error("The model produced NaN.", "Its weights may be damaged.")
        ids = np.argpartition(-logprobs, self._top - 1, axis=-1)[:, : self._top]
        found = np.take_along_axis(logprobs, ids, -1)
        order = np.argsort(-found, axis=-1, kind="stable")
        # Last, because this may overwrite the logits.
        statistics = ops.token_statistics(scores, self._targets[part], None)
        return statistics, np.take_along_axis(ids, order, -1), np.take_along_axis(found, order, -1)


def _chosen(name: str, numbers: Sequence[int] | None, first: int, last: int) -> list[int]:
    """Return the numbers that were asked for, in order and once each, or all from first to last."""
    if numbers is None:
        return list(range(first, last + 1))
    found = [number if number >= 0 else last + 1 + number for number in numbers]
    for number, resolved in zip(numbers, found, strict=True):
        if not first <= resolved <= last:
            raise UsageError(f"There is no {name} {number}.", f"They are {first} to {last}.")
    return sorted(set(found))
