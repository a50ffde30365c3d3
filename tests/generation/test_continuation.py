"""Where texts end, and which of many are kept, from Python."""

from __future__ import annotations

from typing import Any

import pytest
from plain_ends import plain_ends

import gpt2cli

PROMPT = "The old king said"
DRAWS: dict[str, Any] = {"num_samples": 5, "batch_size": 3, "seed": 11, "max_tokens": 60}
LEAST = (0, 12)
ENDINGS: list[dict[str, Any]] = [
    {"stop": [" the"]},
    {"stop_at": "sentence"},
    {"stop_at": "line"},
    {"stop_at": "paragraph"},
    {"stop_at": "sentence", "stop": [","]},
]


@pytest.fixture(scope="module")
def model() -> gpt2cli.LanguageModel:
    return gpt2cli.load("stories", offline=True)


def ended(
    model: gpt2cli.LanguageModel, whole: gpt2cli.GeneratedText, ending: dict[str, Any], keep: bool, least: int
) -> str:
    """Return the text that an ending leaves of a whole one, found by a plain search."""
    text = whole.text
    shortest = len(model.tokenizer.decode(whole.token_ids[:least]).decode())
    places = [
        (start, start + len(stop))
        for stop in ending.get("stop", [])
        for start in range(len(text))
        if text.startswith(stop, start)
    ]
    if unit := ending.get("stop_at"):
        places += plain_ends(text, unit)
    first = min((place for place in places if place[keep] >= shortest), default=(len(text), len(text)))
    return text[: first[keep]]


@pytest.fixture(scope="module")
def wholes(model: gpt2cli.LanguageModel) -> dict[int, list[gpt2cli.GeneratedText]]:
    """Return samples that nothing but their least length ends early, by that length."""
    return {least: model.samples(PROMPT, **DRAWS, min_tokens=least) for least in LEAST}


@pytest.mark.slow
@pytest.mark.parametrize("least", LEAST)
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("ending", ENDINGS, ids=str)
def test_every_sample_of_a_batch_ends_where_a_search_of_its_whole_text_says(
    model: gpt2cli.LanguageModel,
    wholes: dict[int, list[gpt2cli.GeneratedText]],
    ending: dict[str, Any],
    keep: bool,
    least: int,
) -> None:
    texts = model.samples(PROMPT, **DRAWS, **ending, min_tokens=least, keep_stop=keep)
    expected = [ended(model, whole, ending, keep, least) for whole in wholes[least]]
    assert [entry.text for entry in texts] == expected
    assert expected != [whole.text for whole in wholes[least]]
    assert all(len(entry.token_ids) >= least for entry in texts)


@pytest.mark.parametrize("ending", ENDINGS, ids=str)
def test_pieces_and_drafts_end_as_the_text_does(model: gpt2cli.LanguageModel, ending: dict[str, Any]) -> None:
    settings = {"max_tokens": 60, "min_tokens": 5, "keep_stop": True, "seed": 3, **ending}
    text = model.generate(PROMPT, **settings).text
    assert "".join(model.stream(PROMPT, **settings)) == text
    drafted = model.generate(PROMPT, **settings, speculate=True)
    assert drafted.text == text


@pytest.mark.slow
def test_an_end_token_does_not_come_before_the_least_number_of_tokens(model: gpt2cli.LanguageModel) -> None:
    end = model.tokenizer.eos_id
    assert end is not None
    # The end token is among the likeliest here, which are all alike at this temperature.
    draws: dict[str, Any] = {"num_samples": 60, "batch_size": 60, "seed": 2, "max_tokens": 40, "top_k": 8}
    texts = model.samples("The end.\n", **draws, temperature=1000, min_tokens=30)
    assert all(len(entry.token_ids) >= 30 and end not in entry.token_ids for entry in texts)
    free = model.samples("The end.\n", **draws, temperature=1000)
    assert min(len(entry.token_ids) for entry in free) < 30


def test_the_best_of_many_samples_are_the_likeliest_of_the_same_draws(model: gpt2cli.LanguageModel) -> None:
    draws: dict[str, Any] = {"seed": 4, "max_tokens": 15, "temperature": 1.3, "batch_size": 4}
    samples = model.samples(PROMPT, num_samples=9, logprobs=0, **draws)
    likeliest = sorted(samples, key=lambda entry: entry.mean_logprob or 0.0, reverse=True)
    best = model.samples(PROMPT, num_samples=3, best_of=9, **draws)
    assert [(entry.sample, entry.text) for entry in best] == [
        (entry.sample, entry.text) for entry in likeliest[:3]
    ]
    assert [entry.mean_logprob for entry in best] == [entry.mean_logprob for entry in likeliest[:3]]
    assert all(entry.logprobs is None for entry in best)
    del draws["batch_size"]
    assert model.generate(PROMPT, best_of=9, **draws).text == best[0].text


@pytest.mark.slow
def test_the_log_probability_of_a_sample_is_the_models_own_whatever_the_sampling(
    model: gpt2cli.LanguageModel,
) -> None:
    odd: dict[str, Any] = {"temperature": 0.3, "repetition_penalty": 1.5, "top_k": 7, "bias": {" the": 3.0}}
    compared = 0
    for ending in ({}, {"stop": [","]}, {"stop_at": "sentence", "max_tokens": 60}):
        settings: dict[str, Any] = {"max_tokens": 12, **odd, **ending}
        for entry in model.samples(PROMPT, num_samples=5, best_of=8, seed=6, **settings):
            before = len(model.tokenizer.encode(PROMPT))
            rows = model.score(PROMPT + entry.text, unit="nats", bos=False)[before:]
            ids = tuple(row.id for row in rows)  # type: ignore[union-attr]
            # A text may be read as other tokens than it was written in.
            if ids and ids == entry.token_ids[: len(ids)]:
                surprisals = [row.surprisal for row in rows]
                mean = -sum(value for value in surprisals if value is not None) / len(rows)
                assert entry.mean_logprob == pytest.approx(mean, abs=1e-4)
                compared += 1
    assert compared > 5


@pytest.mark.slow
def test_a_sample_without_tokens_is_never_the_best(model: gpt2cli.LanguageModel) -> None:
    draws: dict[str, Any] = {"seed": 2, "max_tokens": 3, "top_k": 8, "temperature": 1000}
    samples = model.samples("The end.\n", num_samples=40, best_of=40, **draws)
    means = [entry.mean_logprob for entry in samples]
    counted = [mean for mean in means if mean is not None]
    assert None in means
    assert means == sorted(counted, reverse=True) + [None] * (len(means) - len(counted))


def test_settings_that_contradict_each_other_are_refused(model: gpt2cli.LanguageModel) -> None:
    with pytest.raises(gpt2cli.UsageError, match=r"`min_tokens` must be at most `max_tokens` \(5\), not 6"):
        model.generate(PROMPT, max_tokens=5, min_tokens=6)
    with pytest.raises(gpt2cli.UsageError, match=r"`best_of` must be at least `num_samples` \(3\), not 2"):
        model.samples(PROMPT, num_samples=3, best_of=2)
    with pytest.raises(gpt2cli.UsageError, match="`best_of` cannot be streamed"):
        model.stream(PROMPT, best_of=2)
    with pytest.raises(gpt2cli.UsageError, match="`stop_at` must be sentence, line or paragraph, not word"):
        model.generate(PROMPT, stop_at="word")  # type: ignore[arg-type]


def test_a_result_has_its_prompt(model: gpt2cli.LanguageModel) -> None:
    assert model.generate(PROMPT, max_tokens=1).prompt == PROMPT
    assert model.generate(None, max_tokens=1).prompt is None
