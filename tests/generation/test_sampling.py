"""Sampling, against transformers' logits processors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samplers import SamplerSettings
from transformers.generation.logits_process import (
    LogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from gpt2cli.errors import Error, UsageError
from gpt2cli.generation.choice.philox import uniform
from gpt2cli.generation.choice.seen_ids import IdCounts, Repeats
from gpt2cli.generation.sampling import (
    NEVER,
    Places,
    Sampler,
    Scores,
    SequenceBias,
    add_biases,
    ban,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    log_softmax,
    penalize_presence,
    penalize_repetition,
)
from gpt2cli.generation.settings import SamplingSettings

VOCABULARY = 300
IDS = [5, 7, 5, 9, 7, 5, 7, 11, 5, 7]
Filter = Callable[[Scores], Scores]


def random_scores(seed: int, scale: float = 4.0) -> Scores:
    return np.random.default_rng(seed).normal(0.0, scale, VOCABULARY).astype(np.float32)


def processed(processor: LogitsProcessor, scores: Scores, ids: Sequence[int] = IDS) -> Scores:
    result: Scores = processor(torch.tensor([list(ids)]), torch.from_numpy(scores.copy())[None])[0].numpy()
    return result


def only(scores: Scores, places: Places) -> Scores:
    """Return the scores with all banned that are not at the places."""
    kept = np.full_like(scores, NEVER)
    kept[places] = scores[places]
    return kept


FILTERS: list[tuple[str, Filter, LogitsProcessor]] = [
    *(
        (f"top-k {k}", lambda scores, k=k: only(scores, keep_top_k(scores, k)), TopKLogitsWarper(k))
        for k in (1, 2, 40, 299, 300, 1000)
    ),
    *(
        (f"top-p {p}", lambda scores, p=p: only(scores, keep_top_p(scores, p)), TopPLogitsWarper(p))
        for p in (0.01, 0.3, 0.9, 0.95, 0.999)
    ),
    *(
        (f"min-p {p}", lambda scores, p=p: only(scores, keep_min_p(scores, p)), MinPLogitsWarper(p))
        for p in (0.001, 0.1, 0.5, 1.0)
    ),
    *(
        (
            f"repetition {x}",
            lambda scores, x=x: penalize_repetition(scores, IdCounts(IDS).current().ids, x),
            RepetitionPenaltyLogitsProcessor(x),
        )
        for x in (0.5, 1.3, 10.0)
    ),
    *(
        (
            f"no {n}-gram twice",
            lambda scores, n=n: ban(scores, Repeats(IDS, n).current()),
            NoRepeatNGramLogitsProcessor(n),
        )
        for n in (1, 2, 3, 4, 10, 11)
    ),
    (
        "sequence bias",
        lambda scores: add_biases(
            scores,
            IDS,
            [SequenceBias((3,), 2.5), SequenceBias((5, 7, 8), -4.0), SequenceBias((7, 1, 2), 9.0)],
        ),
        SequenceBiasLogitsProcessor([[[3], 2.5], [[5, 7, 8], -4.0], [[7, 1, 2], 9.0]]),
    ),
    (
        "banned words",
        lambda scores: add_biases(
            scores, IDS, [SequenceBias((3,), -math.inf), SequenceBias((7, 4), -math.inf)]
        ),
        NoBadWordsLogitsProcessor([[3], [7, 4]]),
    ),
    (
        "end tokens before the least number of tokens",
        lambda scores: ban(scores, [3, 299]),
        MinNewTokensLengthLogitsProcessor(4, 7, torch.tensor([3, 299]), "cpu"),
    ),
]


@pytest.mark.parametrize(
    ("ours", "theirs"), [case[1:] for case in FILTERS], ids=[case[0] for case in FILTERS]
)
def test_a_filter_equals_that_of_transformers(ours: Filter, theirs: LogitsProcessor) -> None:
    for seed in range(20):
        scores = random_scores(seed)
        before = scores.copy()
        np.testing.assert_allclose(ours(scores), processed(theirs, scores), rtol=1e-6)
        np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("seed", range(20))
def test_the_whole_chain_keeps_what_the_chain_of_transformers_keeps(seed: int) -> None:
    scores = random_scores(seed)
    expected = scores
    for processor in (
        RepetitionPenaltyLogitsProcessor(1.2),
        NoRepeatNGramLogitsProcessor(3),
        TemperatureLogitsWarper(0.7),
        TopKLogitsWarper(30),
        TopPLogitsWarper(0.9),
        MinPLogitsWarper(0.05),
    ):
        expected = processed(processor, expected)
    kept = set(np.flatnonzero(expected > NEVER).tolist())
    sampler = Sampler(
        SamplerSettings(
            temperature=0.7, top_k=30, top_p=0.9, min_p=0.05, repetition_penalty=1.2, no_repeat_ngram=3
        ),
        seed,
    )
    drawn = {sampler.choose(scores, IDS, len(IDS), sample) for sample in range(400)}
    assert drawn <= kept
    assert int(expected.argmax()) in drawn


def test_presence_and_frequency_count_generated_tokens_alone() -> None:
    scores = np.zeros(6, dtype=np.float32)
    penalized = penalize_presence(scores, IdCounts([1, 1, 1, 4]).current(), presence=0.5, frequency=0.25)
    assert penalized.tolist() == [0.0, -1.25, 0.0, 0.0, -0.75, 0.0]
    sampler = Sampler(SamplerSettings(temperature=0.0, presence_penalty=2.0), 0)
    likely = np.array([1.0, 0.5, 0.0], dtype=np.float32)
    assert sampler.choose(likely, [0], prompt_length=1, sample=0) == 0
    assert sampler.choose(likely, [0], prompt_length=0, sample=0) == 1


def test_draws_follow_the_distribution() -> None:
    scores = random_scores(3, scale=1.5)[:12]
    expected = torch.softmax(torch.from_numpy(scores.astype(np.float64)), 0).numpy()
    count = 20_000
    drawn = [draw(scores, uniform(7, sample, 2)) for sample in range(count)]
    observed = np.bincount(drawn, minlength=12) / count
    # Five standard deviations of each frequency.
    assert (np.abs(observed - expected) < 5 * np.sqrt(expected * (1 - expected) / count)).all()


def test_the_ends_of_the_unit_interval_draw_the_first_and_the_last_kept_token() -> None:
    scores = np.array([0.0, 1.0, 0.0], dtype=np.float32)
    assert draw(scores, 0.0) == 0
    assert draw(scores, np.nextafter(1.0, 0.0)) == 2


@pytest.mark.parametrize("scale", [0.0, 0.01, 3.0, 60.0, 1e30])
def test_the_nucleus_of_a_large_vocabulary_is_that_of_all_tokens_in_order(scale: float) -> None:
    scores = np.random.default_rng(2).normal(0.0, scale, 50_257).astype(np.float32)
    weights = np.exp((scores - scores.max()).astype(np.float64))
    order = np.argsort(-weights, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    for p in (1e-9, 0.05, 0.5, 0.9, 0.95, 0.999, 1 - 1e-9):
        # Ties and the last digits may fall either way.
        count = int(np.searchsorted(reached, p)) + 1
        kept = keep_top_p(scores, p)
        assert (np.diff(kept) > 0).all(), p
        assert abs(len(kept) - count) <= (2 + 1e-5 * count if p < 0.9999 else 0.01 * count + 2), p
        assert weights[kept].min() >= np.delete(weights, kept).max(initial=0.0), p


@pytest.mark.parametrize("temperature", [1e-3, 1e-38, 1e-300])
def test_the_coldest_draws_are_greedy(temperature: float) -> None:
    scores = random_scores(6)
    assert Sampler(SamplerSettings(temperature=temperature), 0).choose(scores, [], 0, 0) == int(
        scores.argmax()
    )


@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_infinite_logits_are_no_numbers(top_p: float) -> None:
    scores = random_scores(6)
    scores[3] = np.inf
    with pytest.raises(Error, match="NaN"):
        Sampler(SamplerSettings(top_p=top_p), 0).choose(scores, [], 0, 0)


def test_uniform_numbers_differ_for_every_seed_sample_and_step_and_never_reach_one() -> None:
    seeds = (0, 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1)
    numbers = [uniform(seed, sample, step) for seed in seeds for sample in range(9) for step in range(9)]
    assert len(set(numbers)) == len(numbers)
    assert all(0.0 <= number < 1.0 for number in numbers)


def test_a_uniform_number_is_a_promise_to_those_who_kept_their_seeds() -> None:
    assert [uniform(1, 0, 0), uniform(1, 0, 1), uniform(1, 1, 0)] == [
        0.3035680343067586,
        0.9002684531124185,
        0.0751511510959112,
    ]


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32), st.integers(0, 2**32))
def test_a_uniform_number_is_that_of_numpys_philox(seed: int, sample: int, step: int) -> None:
    generator = np.random.Philox(key=seed | sample << 64, counter=step)
    assert uniform(seed, sample, step) == np.random.Generator(generator).random()


def test_the_same_seed_sample_and_step_choose_the_same_token() -> None:
    scores = random_scores(5, scale=1.0)
    choices = [Sampler(SamplerSettings(), 11).choose(scores, IDS, 4, sample) for sample in range(50)]
    assert choices == [Sampler(SamplerSettings(), 11).choose(scores, IDS, 4, sample) for sample in range(50)]
    assert choices != [Sampler(SamplerSettings(), 12).choose(scores, IDS, 4, sample) for sample in range(50)]
    assert choices != [Sampler(SamplerSettings(), 11).choose(scores, IDS, 5, sample) for sample in range(50)]


def test_temperature_zero_is_greedy_whatever_the_other_filters() -> None:
    scores = random_scores(6)
    for settings in (
        SamplerSettings(temperature=0.0),
        SamplerSettings(temperature=0.0, top_k=3, top_p=0.1, min_p=0.9),
    ):
        assert Sampler(settings, 0).choose(scores, [], 0, 0) == int(scores.argmax())


def test_a_small_perturbation_hardly_ever_changes_a_draw() -> None:
    scores = random_scores(8, scale=1.0)
    noisy = scores + np.random.default_rng(1).normal(0.0, 1e-6, VOCABULARY).astype(np.float32)
    sampler = Sampler(SamplerSettings(), 3)
    differing = [
        sample
        for sample in range(2_000)
        if sampler.choose(scores, [], 0, sample) != sampler.choose(noisy, [], 0, sample)
    ]
    assert len(differing) < 5


def test_a_fully_banned_vocabulary_is_an_error() -> None:
    bans = tuple(SequenceBias((token,), -math.inf) for token in range(4))
    with pytest.raises(Error, match="Every token is banned"):
        SamplerSettings(biases=bans).sampler(0).choose(np.zeros(4, dtype=np.float32), [], 0, 0)


def test_logits_that_are_not_numbers_are_an_error() -> None:
    with pytest.raises(Error, match="NaN"):
        Sampler(SamplerSettings(), 0).choose(np.full(4, np.nan, dtype=np.float32), [], 0, 0)


def test_log_softmax_equals_that_of_torch() -> None:
    scores = random_scores(9, scale=20.0)
    expected = torch.log_softmax(torch.from_numpy(scores.astype(np.float64)), 0).numpy()
    np.testing.assert_allclose(log_softmax(scores), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("repetition_penalty", 0.0),
        ("presence_penalty", math.inf),
        ("frequency_penalty", math.nan),
        ("no_repeat_ngram", -1),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=field):
        SamplingSettings(**{field: value})  # type: ignore[arg-type]


def test_a_bias_needs_an_id() -> None:
    with pytest.raises(ValueError, match="at least one id"):
        Sampler(SamplingSettings(), 0, [SequenceBias((), 1.0)])


def test_the_likeliest_of_many_even_scores_is_kept_by_the_smallest_top_p() -> None:
    scores = np.zeros(1000, np.float32)
    scores[7] = 1e-3
    assert keep_top_p(scores, 5e-324).tolist() == [7]
