"""Scores of texts, against transformers' logits and published numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends import BACKENDS
from checkpoints import load_checkpoint, save_checkpoint
from safetensors.numpy import load_file, save_file

from gpt2cli.errors import Error, UsageError
from gpt2cli.hub.model_files import ModelFiles, find_model
from gpt2cli.model.model import Model, load_model
from gpt2cli.ops.backend import open_backend
from gpt2cli.scoring.predictions import WordStarts, score_texts
from gpt2cli.scoring.scored_text import ScoredToken, Text
from gpt2cli.scoring.streaming.id_blocks import reach_of
from gpt2cli.scoring.text_scorer import TextScorer
from gpt2cli.scoring.windows import Scheme, rolling_windows
from gpt2cli.scoring.words import corrected_logprob, word_rows
from gpt2cli.text.loading import load_tokenizer

BOS = 0
CONTEXT = 48
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {},
    "untied head": {"tie_word_embeddings": False, "n_inner": 40, "activation_function": "relu"},
    "scaled by layer": {"scale_attn_by_inverse_layer_idx": True, "vocab_size": 97},
}


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_model(name) is None, reason=f"{name} is not in the Hugging Face cache")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("scoring")
    return folder, save_checkpoint(folder)


@pytest.fixture(scope="module")
def model(checkpoint: tuple[Path, Any]) -> Model[Any]:
    return load_checkpoint(checkpoint[0])


def random_ids(count: int, seed: int = 0, vocabulary: int = 97) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(1, vocabulary, count)]


def scored(
    model: Model[Any], ids: Sequence[int], scheme: Scheme, room: int = CONTEXT, word_starts: Any = None
) -> dict[str, list[float]]:
    """Return the numbers of the tokens that were scored, and of the end, in order."""
    found: dict[str, list[float]] = {"logprobs": [], "entropies": [], "ranks": [], "word_starts": []}
    starts = None if word_starts is None else WordStarts(word_starts.astype(np.float32))
    for _, part in score_texts(model, [(None, [ids])], scheme, room, starts):
        for name, values in found.items():
            values += getattr(part, name).tolist()
    return found


def reference_logprobs(reference: Any, read: Sequence[int]) -> torch.Tensor:
    """Return the log-probabilities (time, vocabulary) of what follows each id."""
    with torch.no_grad():
        return torch.log_softmax(reference(torch.tensor([list(read)])).logits[0].double(), dim=-1)


@pytest.mark.parametrize("place", BACKENDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_surprisals_equal_the_cross_entropy_of_transformers(
    tmp_path: Path, place: tuple[str, str], shape: str
) -> None:
    reference = save_checkpoint(tmp_path, **SHAPES[shape])
    ids = random_ids(CONTEXT - 1)
    logits = reference(torch.tensor([[BOS, *ids]])).logits[0]
    expected = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids), reduction="none")
    found = scored(load_checkpoint(tmp_path, *place), ids, Scheme(BOS, CONTEXT, CONTEXT))
    assert [-logprob for logprob in found["logprobs"][:-1]] == pytest.approx(expected.tolist(), abs=1e-4)


def test_entropy_rank_and_word_starts_are_those_of_the_whole_distribution(
    checkpoint: tuple[Path, Any], model: Model[Any]
) -> None:
    ids = random_ids(20)
    starts = np.random.default_rng(1).random(model.config.vocab_size) < 0.3
    found = scored(model, ids, Scheme(BOS, CONTEXT, CONTEXT), word_starts=starts)
    table = reference_logprobs(checkpoint[1], [BOS, *ids])
    probabilities = table.exp()
    assert found["entropies"] == pytest.approx((-(probabilities * table).sum(-1)).tolist(), abs=1e-4)
    assert found["word_starts"] == pytest.approx(
        probabilities[:, torch.tensor(starts)].sum(-1).log().tolist(), abs=1e-4
    )
    order = table.argsort(dim=-1, descending=True)
    expected = [order[place].tolist().index(token) + 1 for place, token in enumerate(ids)]
    assert found["ranks"][:-1] == expected


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 16, 17, 40])
def test_windows_score_every_position_once_with_the_context_that_they_promise(length: int, size: int) -> None:
    for stride in range(1, size + 1):
        windows = list(rolling_windows(reach_of(length), size, stride))
        positions = [place for window in windows for place in range(window.first, window.last)]
        assert positions == list(range(1, length + 1))
        for window in windows:
            assert 0 <= window.start < window.end <= length
            assert window.end - window.start == min(size, length)
            assert window.last == window.end + 1
            shortest = window.first - window.start
            assert shortest == 1 if window.start == 0 else shortest >= size - stride + 1


@pytest.mark.parametrize("place", BACKENDS)
def test_a_long_text_is_scored_in_windows_as_transformers_would(
    checkpoint: tuple[Path, Any], place: tuple[str, str]
) -> None:
    ids = random_ids(130)
    sequence = [BOS, *ids]
    expected: list[float] = []
    for window in rolling_windows(reach_of(len(sequence)), 32, 12):
        table = reference_logprobs(checkpoint[1], sequence[window.start : window.end])
        expected += [
            float(table[position - 1 - window.start, sequence[position]])
            for position in range(window.first, min(window.last, len(sequence)))
        ]
    found = scored(load_checkpoint(checkpoint[0], *place), ids, Scheme(BOS, 32, 12))["logprobs"]
    assert len(found) == len(ids) + 1
    assert found[:-1] == pytest.approx(expected, abs=1e-4)


def test_the_total_does_not_depend_on_the_batch_size(model: Model[Any]) -> None:
    ids = random_ids(500)
    totals = [
        math.fsum(scored(model, ids, Scheme(BOS, 32, 8), room)["logprobs"][:-1])
        for room in (1, 32, 96, 32 * 7, 10_000)
    ]
    assert totals == pytest.approx([totals[0]] * len(totals), rel=1e-6)


def test_short_texts_in_a_batch_are_scored_as_alone(model: Model[Any]) -> None:
    texts = [random_ids(count, seed) for seed, count in enumerate((3, 40, 1, 0, 7, 7, 90, 2))]
    scheme = Scheme(BOS, CONTEXT, 24)
    together: dict[int, list[float]] = {}
    for key, part in score_texts(model, enumerate([ids] for ids in texts), scheme, 10 * CONTEXT):
        together.setdefault(key, []).extend(part.logprobs[~np.isnan(part.logprobs)].tolist())
    assert list(together) == list(range(len(texts)))
    for key, ids in enumerate(texts):
        assert together[key] == pytest.approx(scored(model, ids, scheme)["logprobs"][:-1], abs=1e-5)


def test_without_bos_the_first_token_is_not_scored(model: Model[Any]) -> None:
    ids = random_ids(10)
    scheme = Scheme(None, CONTEXT, CONTEXT)
    (part,) = [part for _, part in score_texts(model, [(None, [ids])], scheme, CONTEXT)]
    assert part.first == 1
    assert len(part.logprobs) == len(ids)
    with_first_as_context = scored(model, ids[1:], Scheme(ids[0], CONTEXT, CONTEXT))["logprobs"]
    assert part.logprobs[:-1] == pytest.approx(with_first_as_context[:-1], abs=1e-6)


@pytest.mark.parametrize("bos", [BOS, None])
@pytest.mark.parametrize("count", [0, 1])
def test_a_text_of_no_token_or_one_has_predictions_too(
    model: Model[Any], bos: int | None, count: int
) -> None:
    parts = list(score_texts(model, [("key", [random_ids(count)])], Scheme(bos, CONTEXT, 1), CONTEXT))
    assert [key for key, _ in parts] == ["key"]
    logprobs = parts[0][1].logprobs
    assert np.count_nonzero(~np.isnan(logprobs)) == (count if bos is not None else 0)


def test_nothing_is_computed_before_it_is_asked_for(model: Model[Any]) -> None:
    asked = []

    def texts() -> Any:
        for number in range(9):
            asked.append(number)
            yield number, [random_ids(CONTEXT - 1)]

    stream = score_texts(model, texts(), Scheme(BOS, CONTEXT, CONTEXT), CONTEXT)
    assert next(stream)[0] == 0
    assert len(asked) <= 2


@pytest.mark.parametrize(("window", "stride"), [(8, 0), (8, 9)])
def test_a_stride_beyond_the_window_is_refused(window: int, stride: int) -> None:
    with pytest.raises(UsageError, match="stride"):
        Scheme(BOS, window, stride)


def test_damaged_weights_are_an_error_not_a_score(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = next(name for name in weights if name.endswith("ln_f.weight"))
    weights[name][:] = np.nan
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(Error, match="NaN"):
        scored(load_checkpoint(tmp_path), random_ids(5), Scheme(BOS, CONTEXT, CONTEXT))


# The numbers that others have published.


def real_tokens(name: str, text: str, bos: bool) -> list[ScoredToken]:
    files = find_model(name)
    assert isinstance(files, ModelFiles)
    model = load_model(files, open_backend("cpu"))
    tokenizer = load_tokenizer(files, model.config)
    scheme = Scheme(tokenizer.bos_id if bos else None, 1024, 512)
    _, _, tokens = next(TextScorer(model, tokenizer, scheme, 1024).tokens([(None, Text(text))], words=True))
    return list(tokens)


def real_logprobs(text: str, bos: bool) -> list[float | None]:
    return [token.logprob for token in real_tokens("gpt2", text, bos)]


@pytest.mark.weights
@needs("gpt2")
def test_bits_without_bos_are_those_of_llm_surprisal() -> None:
    first, *logprobs = real_logprobs("The key to the cabinets were on the table.", bos=False)
    assert first is None
    bits = [-logprob / math.log(2) for logprob in logprobs if logprob is not None]
    expected = [10.35492, 2.01909, 3.75830, 21.04240, 6.04472, 9.18674, 1.02667, 6.74306, 2.84871]
    assert bits == pytest.approx(expected, abs=1e-3)


@pytest.mark.weights
@needs("gpt2")
def test_nats_with_bos_are_those_of_surprisal() -> None:
    nats = [-logprob for logprob in real_logprobs("The cat is on the mat", bos=True) if logprob is not None]
    # That tool leaves out the end of text, so its numbers are slightly lower.
    assert nats == pytest.approx([3.276, 9.222, 2.463, 4.145, 0.961, 7.237], abs=5e-3)


@pytest.mark.weights
@needs("gpt2")
def test_nats_without_bos_are_those_of_minicons() -> None:
    tokens = real_tokens("gpt2", "The sketch of those trucks hasn't", bos=False)
    nats = [row.surprisal for row in word_rows(tokens, "nats")]
    assert nats[0] is None
    assert nats[1:] == pytest.approx([10.87968, 2.51056, 6.66320, 8.96238, 8.68226], abs=1e-3)


@pytest.mark.weights
@needs("gpt2-xl")
def test_a_corrected_word_is_that_of_minicons() -> None:
    tokens = real_tokens("gpt2-xl", "I was a mat in France.", bos=True)
    mat = next(token for token in tokens if token.data == b" mat")
    assert mat.logprob is not None
    corrected = corrected_logprob([mat])
    assert corrected is not None
    assert -mat.logprob / math.log(2) == pytest.approx(16.34461, abs=1e-3)
    # minicons takes a space alone for the beginning of a word, not a line end.
    assert -corrected / math.log(2) == pytest.approx(21.33536, abs=0.25)
