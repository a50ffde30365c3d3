"""Traces of sampling, against the sampler itself and transformers' logits processors."""

from __future__ import annotations

import json
import re
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from inspected_models import saved
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from gpt2cli.generation.choice.philox import uniform
from gpt2cli.generation.sampling import NEVER, Sampler, SequenceBias
from gpt2cli.generation.settings import CompletionSettings, SampleSettings, SamplingSettings
from gpt2cli.inspection.pictures.trace_page import trace_page
from gpt2cli.inspection.trace import LISTED, Trace, TraceStep, TracingSampler, trace_sampling

PROMPT = "The cat sat on the mat. The cat"
IDS = [5, 7, 5, 9, 7, 5, 7, 11]
VOCABULARY = 320


def traced(
    settings: SamplingSettings, seed: int, biases: tuple[SequenceBias, ...] = ()
) -> tuple[int, Any, TraceStep]:
    """Return a choice, the logits it was made from, and its trace."""
    logits = np.random.default_rng(seed).normal(0.0, 4.0, VOCABULARY).astype(np.float32)
    trace = Trace()
    sampler = TracingSampler(Sampler(settings, seed, biases), saved("gpt2").load().tokenizer, trace)
    chosen = sampler.choose(logits, IDS, 3, 1)
    assert chosen == Sampler(settings, seed, biases).choose(logits, IDS, 3, 1)
    (step,) = trace.steps
    return chosen, logits, step


SETTINGS = st.builds(
    SamplingSettings,
    temperature=st.sampled_from([0.25, 0.8, 1.0, 2.0]),
    top_k=st.sampled_from([0, 1, 5, 40]),
    top_p=st.sampled_from([0.3, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.4]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
)


@hypothesis.settings(max_examples=25)
@given(SETTINGS, st.integers(0, 2**32))
def test_every_stage_is_what_the_processors_of_transformers_leave(
    settings: SamplingSettings, seed: int
) -> None:
    biases = (SequenceBias((3,), -2.5), SequenceBias((4,), -np.inf))
    _, logits, step = traced(settings, seed, biases)
    scores = torch.from_numpy(logits.copy())[None]
    ids = torch.tensor([IDS])
    before = LogitsProcessorList(
        [
            *([RepetitionPenaltyLogitsProcessor(1.3)] if settings.repetition_penalty != 1.0 else []),
            SequenceBiasLogitsProcessor({(3,): -2.5, (4,): float("-inf")}),
        ]
    )
    adjusted = before(ids, scores)
    scaled = TemperatureLogitsWarper(settings.temperature)(ids, adjusted)
    stages: dict[str, Any] = {"ban": adjusted}
    left = scaled
    if settings.top_k:
        left = TopKLogitsWarper(settings.top_k)(ids, left)
    stages["top_k"] = left
    if settings.top_p < 1.0:
        left = TopPLogitsWarper(settings.top_p)(ids, left)
    stages["top_p"] = left
    if settings.min_p:
        left = MinPLogitsWarper(settings.min_p)(ids, left)
    stages["min_p"] = left
    probabilities = torch.softmax(scaled[0].double(), -1).numpy()
    for kept in step.filters:
        present = np.isfinite(stages[kept.filter][0].numpy())
        assert kept.tokens == present.sum()
        assert kept.probability == pytest.approx(probabilities[present].sum(), rel=1e-6)
    chances = torch.softmax(left[0].double(), -1).numpy()
    ranks = {
        int(token): rank for rank, token in enumerate(np.argsort(-adjusted[0].numpy(), kind="stable"), 1)
    }
    for token in step.tokens:
        assert token.rank == ranks[token.id]
        assert token.logit == logits[token.id]
        after = adjusted[0, token.id].item()
        assert token.adjusted == (None if after == NEVER else pytest.approx(after, rel=1e-6))
        assert token.probability == pytest.approx(probabilities[token.id], rel=1e-5)
        assert token.chance == pytest.approx(chances[token.id], rel=1e-5, abs=1e-12)
        cuts = [name for name, stage in stages.items() if not np.isfinite(stage[0, token.id].item())]
        assert token.cut == (cuts[0] if cuts else None)


@hypothesis.settings(max_examples=25)
@given(SETTINGS, st.integers(0, 2**32))
def test_the_number_drawn_falls_to_the_token(settings: SamplingSettings, seed: int) -> None:
    chosen, _, step = traced(settings, seed)
    assert (step.id, step.index, step.step) == (chosen, 2, len(IDS) - 3 + 1)
    assert step.drawn == uniform(seed, 1, len(IDS) - 3)
    (token,) = [token for token in step.tokens if token.id == chosen]
    assert (token.rank, token.cut) == (step.rank, None)
    assert token.start is not None
    assert token.end is not None
    assert token.start <= step.drawn + 1e-12
    assert step.drawn <= token.end + 1e-12
    assert [token.rank for token in step.tokens[:LISTED]] == list(range(1, LISTED + 1))


def test_at_temperature_zero_nothing_is_drawn() -> None:
    chosen, logits, step = traced(SamplingSettings(temperature=0.0), 5)
    assert chosen == logits.argmax()
    assert step.drawn is None
    assert [(kept.filter, kept.tokens) for kept in step.filters] == [("ban", VOCABULARY), ("temperature", 1)]
    assert [token.cut for token in step.tokens[:2]] == [None, "temperature"]
    assert step.tokens[0].chance == 1.0


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"temperature": 0.0},
        {"repetition_penalty": 1.3, "no_repeat_ngram": 2},
        {"speculate": True, "num_samples": 1},
    ],
)
def test_a_trace_changes_no_draw(more: dict[str, Any]) -> None:
    settings = SampleSettings(**{"num_samples": 3, "max_tokens": 20, "seed": 4, "ban": ["e"], **more})
    plain = saved("gpt2").load().continuation(PROMPT, settings, settings.num_samples).results()
    run = saved("gpt2").load().continuation(PROMPT, settings, settings.num_samples)
    trace = trace_sampling(run)
    assert run.results() == plain
    for number, result in enumerate(plain, 1):
        steps = [step for step in trace.steps if step.index == number]
        ids = tuple(step.id for step in steps)
        # An end-of-text token is chosen, and is no token of the text.
        assert ids[: len(result.token_ids)] == result.token_ids
        assert len(ids) - len(result.token_ids) == (result.finish_reason == "stop")
        assert [step.step for step in steps] == list(range(1, len(ids) + 1))


HOSTILE = '</script><script>!--<!-- \u2028 \x1b &"'


def test_no_text_can_end_the_data_of_a_page() -> None:
    run = saved("gpt2").load().continuation(HOSTILE, CompletionSettings(max_tokens=3, seed=1))
    trace = trace_sampling(run)
    run.results()
    page = trace_page(trace.steps, HOSTILE, f"{HOSTILE}: title").decode()
    assert len(re.findall("<script", page)) == 2
    assert "<!--" not in page
    assert "\x1b" not in page
    stored = re.search(r'id="trace">(.*?)</script>', page)
    assert stored is not None
    data = json.loads(stored[1])
    assert data["prompt"] == HOSTILE.replace("\u2028", "\\u2028").replace("\x1b", "\\x1b")
    assert [step["id"] for step in data["steps"]] == [step.id for step in trace.steps]


def test_a_page_asks_for_nothing_from_elsewhere() -> None:
    page = trace_page([], "", "title").decode()
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|src=|@import|url\(", page)
