"""Rules that depend on all ids of a text, against a sampler that reads the whole text for each token."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex, overload

import numpy as np
import pytest
from backends import needs_kernels
from checkpoints import load_checkpoint, save_checkpoint
from engines import alone, random_answers
from hypothesis import given
from hypothesis import strategies as st
from samplers import RereadingSampler, SamplerSettings

from gpt2cli.generation.engine import Engine
from gpt2cli.generation.requests import GenerationSettings, Request
from gpt2cli.generation.sampling import Sampler, SequenceBias
from gpt2cli.generation.settings import SamplingSettings
from gpt2cli.model.model import Model

VOCABULARY = 131
CONTEXT = 24
# Few ids, so that runs of them come back.
NEAR = tuple(SequenceBias((token,), 40.0) for token in range(21, 27))
PENALTIES = st.sampled_from([-0.7, 0.0, 0.0, 0.3, 1.1])


class CountedIds(list[int]):
    """Ids that count how often one of them is read."""

    reads = 0

    @overload
    def __getitem__(self, place: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> list[int]: ...
    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        self.reads += len(found) if isinstance(place, slice) else 1
        return found

    def __iter__(self) -> Any:
        raise AssertionError("all ids are read")


@given(
    st.lists(st.integers(0, 3), max_size=40),
    st.data(),
    st.sampled_from([0.5, 1.0, 1.0, 1.3]),
    PENALTIES,
    PENALTIES,
    st.integers(0, 12),
)
def test_a_growing_text_is_judged_as_if_it_were_read_anew(
    ids: list[int], data: st.DataObject, repetition: float, presence: float, frequency: float, ngram: int
) -> None:
    settings = SamplingSettings(
        repetition_penalty=repetition,
        presence_penalty=presence,
        frequency_penalty=frequency,
        no_repeat_ngram=ngram,
    )
    biases = SequenceBias((2,), 0.5), SequenceBias((1, 3), -2.0)
    sampler = Sampler(settings, 0, biases, min_tokens=data.draw(st.integers(0, 9)), end_ids=(1,))
    oracle = RereadingSampler(sampler)
    prompt_length = data.draw(st.integers(0, len(ids)))
    text = ids[:prompt_length]
    seen = sampler.seen(text, prompt_length)
    logits = np.random.default_rng(len(ids)).normal(0.0, 2.0, 5).astype(np.float32)
    while True:
        expected = oracle.adjust(logits, seen)
        before = logits.copy()
        np.testing.assert_array_equal(sampler.adjust(logits, seen), expected)
        np.testing.assert_array_equal(logits, before)
        if len(text) == len(ids):
            return
        # A rule may not be asked at each step.
        text += ids[len(text) : len(text) + data.draw(st.integers(1, 3))]


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(repetition_penalty=1.2),
        SamplingSettings(presence_penalty=0.5, frequency_penalty=0.1),
        *(SamplingSettings(no_repeat_ngram=size) for size in (1, 2, 3, 4, 100)),
    ],
    ids=["repetition", "presence", *(f"ngram {size}" for size in (1, 2, 3, 4, 100))],
)
def test_a_new_token_is_judged_without_reading_the_text_before_it(settings: SamplingSettings) -> None:
    choice, logits = random.Random(1), np.zeros(VOCABULARY, np.float32)

    def reads(length: int) -> int:
        text = CountedIds(choice.choices(range(VOCABULARY), k=length))
        sampler = Sampler(settings, 0)
        seen = sampler.seen(text, 1)
        sampler.adjust(logits, seen)
        before = text.reads
        for _ in range(10):
            text.append(choice.randrange(VOCABULARY))
            sampler.adjust(logits, seen)
        return text.reads - before

    assert reads(4000) == reads(500) <= 10 * 8


def any_request(choice: random.Random, texts: Sequence[Sequence[int]]) -> Request:
    """Return a request whose rules depend on its ids, and that begins as one of some texts does."""
    base = choice.choice(texts)
    settings = SamplerSettings(
        temperature=choice.choice([0.0, 0.5, 1.0]),
        top_k=choice.choice([0, 5]),
        repetition_penalty=choice.choice([1.0, 1.3]),
        presence_penalty=choice.choice([0.0, 0.7]),
        frequency_penalty=choice.choice([0.0, 0.3]),
        no_repeat_ngram=choice.choice([0, 2, 3, 5]),
        biases=choice.choice([(), NEAR]),
    )
    generation = GenerationSettings(
        choice.randint(1, 2 * CONTEXT),
        choice.sample(range(VOCABULARY), 2),
        slide=choice.random() < 0.7,
        logprobs=choice.choice([None, None, 1]),
        speculate=choice.random() < 0.3,
    )
    ids = base[: choice.randint(1, min(len(base), CONTEXT))]
    return Request(ids, settings.sampler(choice.randint(0, 9)), generation, choice.randint(0, 2))


@pytest.mark.parametrize("backend", ["torch", pytest.param("compiled", marks=needs_kernels)])
def test_the_tokens_of_an_engine_are_those_of_rereading(backend: str, tmp_path: Path) -> None:
    """Rows join, leave and slide; some have drafts. On torch they are decoded ahead."""
    save_checkpoint(tmp_path, n_positions=CONTEXT, n_layer=1)
    model: Model[Any] = load_checkpoint(tmp_path, backend)
    model.ops.decodes_ahead = backend == "torch"
    stepwise = load_checkpoint(tmp_path, "numpy")
    engine = Engine(model, rows=3)
    found = random_answers(engine, random.Random(backend), [21, 22, 23, 5] * 4, any_request)
    for entry, answer in found:
        expected = alone(stepwise, entry._replace(sampler=RereadingSampler(entry.sampler)))
        assert answer.ids == expected.ids[: len(answer.ids)]
    assert sum(len(answer.tokens) for _, answer in found) > 300
