"""Generating and scoring with each family: drafts, full contexts and long texts, against transformers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends import BACKENDS
from checkpoints import load_checkpoint, save_tokenizer
from conftest import Gpt2
from engines import Samples
from families import FAMILIES, save_family
from samplers import SamplerSettings
from tokenizers import Tokenizer

from gpt2cli.generation.requests import GenerationSettings
from gpt2cli.generation.sampling import SequenceBias
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.model import Model
from gpt2cli.scoring.predictions import score_texts
from gpt2cli.scoring.streaming.id_blocks import reach_of
from gpt2cli.scoring.windows import Scheme, rolling_windows

pytestmark = pytest.mark.slow

CONTEXT = 48
PROMPT = [5, 17, 99, 3]
CHORUS = [7, 8, 9, 10, 11] * 4
GREEDY = SamplerSettings(temperature=0.0)
# Few ids, so that runs of them come back and are drafted.
NEAR = SamplerSettings(temperature=0.3, biases=tuple(SequenceBias((token,), 40.0) for token in (21, 22, 23)))
Checkpoint = Callable[[str], tuple[Path, Any]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """Return a function that saves a random model of a family once and returns folder and model."""
    made: dict[str, tuple[Path, Any]] = {}

    def make(name: str) -> tuple[Path, Any]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = folder, save_family(folder, name, vocab_size=320)
            save_tokenizer(folder, 320)
        return made[name]

    return make


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def generated(
    model: Model[Any], prompt: list[int], sampling: SamplerSettings = GREEDY, **settings: Any
) -> tuple[list[int], Samples]:
    chosen = GenerationSettings(**settings)
    made = Samples(model, prompt, sampling.sampler(0), chosen)
    return [token.id for token in made], made


def following(reference: Any, ids: list[int]) -> np.ndarray[Any, Any]:
    """Return the logits (time, vocabulary) of what follows each id."""
    with torch.no_grad():
        found: np.ndarray[Any, Any] = reference(torch.tensor([ids])).logits[0].numpy()
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_full_context_slides_as_transformers_rereads_its_newer_half(
    checkpoint: Checkpoint, family: str, backend: tuple[str, str]
) -> None:
    folder, reference = checkpoint(family)
    ids, _ = generated(load_checkpoint(folder, *backend), PROMPT, max_tokens=72, slide=True)
    assert len(ids) == 72
    # Each token is the likeliest after those of its window, and so all are.
    text, begin, known = [*PROMPT, *ids], 0, len(PROMPT)
    while known < len(text):
        likeliest = following(reference, text[begin : begin + CONTEXT]).argmax(-1)
        end = min(begin + CONTEXT + 1, len(text))
        assert text[known:end] == likeliest[known - begin - 1 : end - begin - 1].tolist()
        begin, known = end - CONTEXT // 2, end


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("slide", [False, True])
def test_drafts_do_not_change_the_tokens(
    checkpoint: Checkpoint, family: str, backend: tuple[str, str], slide: bool
) -> None:
    model = load_checkpoint(checkpoint(family)[0], *backend)
    proposed = 0
    # Whether it slides matters to a short prompt only when its context is full.
    prompts = [*([PROMPT] if slide else []), CHORUS, (CHORUS * 3)[:44]]
    for sampling in (GREEDY, NEAR):
        for prompt in prompts:
            settings = {"max_tokens": 60, "slide": slide}
            plain, _ = generated(model, prompt, sampling, **settings)
            ahead, made = generated(model, prompt, sampling, speculate=True, **settings)
            assert ahead == plain
            proposed += made.drafts[0].proposed
    assert proposed > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_cache_that_was_cut_and_copied_goes_on_as_if_it_had_never_been_longer(
    checkpoint: Checkpoint, family: str, backend: tuple[str, str]
) -> None:
    folder, reference = checkpoint(family)
    model = load_checkpoint(folder, *backend)
    rows = np.random.default_rng(0).integers(0, 320, (3, CONTEXT)).tolist()

    def read(ids: list[list[int]], cache: KVCache[Any]) -> Any:
        hidden = hidden_states(model, model.ops.token_ids(ids), cache)
        return model.ops.to_numpy(logits(model, hidden))

    cache = KVCache(model.config, model.ops, 3, CONTEXT)
    # Other ids stand where the cache is cut.
    read([row[:20] + row[3:20] for row in rows], cache)
    cache.truncate(20)
    read([row[20:30] for row in rows], cache)
    cache.truncate(9)
    order = [2, 0, 2]
    actual = read([rows[number][9:] for number in order], cache.select(order))
    for place, number in enumerate(order):
        np.testing.assert_allclose(actual[place], following(reference, rows[number])[9:], atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_long_text_is_scored_in_windows_as_transformers_would(
    checkpoint: Checkpoint, family: str, backend: tuple[str, str]
) -> None:
    folder, reference = checkpoint(family)
    sequence = [0, *np.random.default_rng(2).integers(1, 320, 130).tolist()]
    expected: list[float] = []
    for window in rolling_windows(reach_of(len(sequence)), 32, 12):
        read = following(reference, sequence[window.start : window.end]).astype(np.float64)
        table = read - np.log(np.exp(read).sum(-1, keepdims=True))
        expected += [
            table[position - 1 - window.start, sequence[position]]
            for position in range(window.first, min(window.last, len(sequence)))
        ]
    model = load_checkpoint(folder, *backend)
    parts = [part for _, part in score_texts(model, [(None, [sequence[1:]])], Scheme(0, 32, 12), CONTEXT)]
    found = np.concatenate([part.logprobs for part in parts])
    np.testing.assert_allclose(found[: len(expected)], expected, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt1", "gpt-neo", "gpt-neox", "llama-3", "mistral"], indirect=True)
def test_the_commands_agree_with_transformers(checkpoint: Checkpoint, gpt2: Gpt2, family: str) -> None:
    folder, reference = checkpoint(family)
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("the cat sat").ids
    table = torch.tensor(following(reference, [0, *ids])).double().log_softmax(dim=-1) / -math.log(2)
    surprisals = [float(table[place, token]) for place, token in enumerate(ids)]
    scored = json.loads(gpt2("score", "-m", str(folder), "--json", stdin=b"the cat sat").stdout)
    assert [row["surprisal"] for row in scored["rows"]] == pytest.approx(surprisals, abs=1e-3)
    shown = json.loads(gpt2("next", "-m", str(folder), "--bos", "--json", "the cat sat").stdout)
    best = shown["rows"][0]
    assert best["id"] == int(table[-1].argmin())
    assert best["surprisal"] == pytest.approx(float(table[-1].min()), abs=1e-3)
