"""The likeliest of many samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Generic, Protocol, TypeVar

from gpt2cli.generation.samples.made_sample import MadeSample
from gpt2cli.generation.samples.pieces import Piece

Sample = TypeVar("Sample", bound=MadeSample)
Made = TypeVar("Made", bound=MadeSample, covariant=True)


class SampleBatch(Protocol[Made]):
    """Samples made together, here or by a server; iterating makes them and fills `drawn`."""

    @property
    def drawn(self) -> Mapping[int, Made]: ...

    def __iter__(self) -> Iterator[Piece]: ...


class BestOf(Generic[Sample]):
    """The likeliest samples of some batches; iterating generates all of them and fills `completions`.

    The samples have their own numbers and are in order of their log-probability per token, as `best_of` of
    the OpenAI completions API has it.
    """

    def __init__(self, batches: Iterator[SampleBatch[Sample]], count: int) -> None:
        self.completions: dict[int, Sample] = {}
        self.drawn: dict[int, Sample] = {}
        self._batches = batches
        self._count = count

    def __iter__(self) -> Iterator[Piece]:
        """Yield the best samples' texts whole, once all samples are complete."""
        for batch in self._batches:
            for _ in batch:
                pass
            self.drawn |= batch.drawn
        self.completions |= likeliest(self.drawn, self._count)
        for place, completion in enumerate(self.completions.values()):
            yield Piece(place, completion.text, completion.finish_reason)


def likeliest(drawn: Mapping[int, Sample], count: int) -> dict[int, Sample]:
    """Return the samples with the highest log-probability per token, the best first."""
    ranked = sorted(drawn.items(), key=lambda entry: _likelihood(entry[1]), reverse=True)
    return dict(ranked[:count])


def _likelihood(completion: MadeSample) -> float:
    mean = completion.mean_logprob
    return -math.inf if mean is None else mean
