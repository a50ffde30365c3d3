"""A whole model on the compiled backend: the same bits in any batch, step and number of threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import needs_kernels
from checkpoints import load_checkpoint, save_checkpoint
from engines import Samples, SampleToken

from gpt2cli.generation.requests import GenerationSettings
from gpt2cli.generation.sampling import Sampler
from gpt2cli.generation.settings import SamplingSettings
from gpt2cli.hub.model_files import find_model
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.model import Model, load_model
from gpt2cli.ops.backend import open_backend

pytestmark = needs_kernels

# Wide enough for several slabs, panels and blocks, and a multiple of nothing.
WIDE = {"n_layer": 2, "n_head": 2, "n_embd": 130, "vocab_size": 509, "n_positions": 60}
STORAGES: dict[str, dict[str, Any]] = {
    "float32": {},
    "float16": {"dtype": "float16"},
    "bfloat16": {"dtype": "bfloat16"},
    "int8": {"quantize": "int8"},
}
# Of logits up to 4.4; a matrix in fewer bits is not what it was, which no logit must hide.
TOLERANCES = {"float32": 2e-5, "float16": 0.01, "bfloat16": 0.1, "int8": 0.3}
PROMPT = [5, 17, 99, 3, 8]
# On both sides of each number of rows from which the kernels go another way.
SAMPLES = range(13)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("compiled")
    save_checkpoint(folder, **WIDE, initializer_range=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ASSETS_CACHE", str(tmp_path_factory.mktemp("assets")))
        yield folder


@pytest.fixture(scope="module", params=STORAGES)
def model(checkpoint: Path, request: pytest.FixtureRequest) -> Model[Any]:
    files = find_model(str(checkpoint))
    assert files is not None
    return load_model(files, open_backend("cpu", "compiled", threads=2, **STORAGES[request.param]))


def tokens(model: Model[Any], samples: Sequence[int], threads: int = 2) -> dict[int, list[SampleToken]]:
    """Return the tokens of samples that are generated together, with their log-probabilities."""
    open_backend("cpu", "compiled", threads=threads)
    settings = GenerationSettings(20, logprobs=5)
    sampler = Sampler(SamplingSettings(temperature=1.0, top_k=0, top_p=1.0), 42)
    found: dict[int, list[SampleToken]] = {sample: [] for sample in samples}
    for token in Samples(model, PROMPT, sampler, settings, samples):
        found[token.sample].append(token)
    return found


def test_a_sample_and_its_logprobs_are_the_same_in_any_company(model: Model[Any]) -> None:
    together = tokens(model, SAMPLES)
    assert len({tuple(token.id for token in sample) for sample in together.values()}) == len(SAMPLES)
    for samples in ((1,), (0, 1, 2), range(5, 13)):
        assert tokens(model, samples) == {sample: together[sample] for sample in samples}


def test_a_sample_and_its_logprobs_are_the_same_on_any_number_of_threads(model: Model[Any]) -> None:
    expected = tokens(model, (0, 1, 2), threads=1)
    for threads in (2, 3, 8):
        assert tokens(model, (0, 1, 2), threads) == expected


def test_a_sample_is_the_same_with_weights_packed_and_without(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpt2cli.ops import compiled_weights

    packed: list[int] = []

    def pack(weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        packed[-1] += 1
        return plain_pack(weight)

    plain_pack = compiled_weights.pack
    monkeypatch.setattr(compiled_weights, "pack", pack)
    monkeypatch.setattr(compiled_weights, "USES_BEFORE_PACKING", 3)
    files = find_model(str(checkpoint))
    assert files is not None
    found = []
    # Memory for none of the weights, for some, for all.
    for free in (0, 1_000_000, 1 << 30):
        packed.append(0)
        model = load_model(files, open_backend("cpu", "compiled"))
        model.ops.expect_many_rows(partial(int, free))
        found.append(tokens(model, range(compiled_weights.PACKED_ROWS)))
    assert found[0] == found[1] == found[2]
    assert 0 == packed[0] < packed[1] < packed[2] == 4 * WIDE["n_layer"]


def test_a_text_has_the_same_logits_whole_and_in_steps(model: Model[Any]) -> None:
    ids = np.random.default_rng(0).integers(0, WIDE["vocab_size"], (3, 40))
    whole = logits(model, hidden_states(model, ids))
    for row in range(3):
        for step in (1, 3, 7, 13):
            cache = KVCache(model.config, model.ops, 1, 40)
            parts = [
                logits(model, hidden_states(model, ids[row : row + 1, start : start + step], cache))
                for start in range(0, 40, step)
            ]
            np.testing.assert_array_equal(np.concatenate(parts, axis=1)[0], whole[row])


def test_logits_are_near_those_of_numpy(model: Model[Any], checkpoint: Path) -> None:
    ids = np.random.default_rng(0).integers(0, WIDE["vocab_size"], (2, 40))
    reference = load_checkpoint(checkpoint, "numpy")
    expected = logits(reference, hidden_states(reference, ids))
    error = np.abs(logits(model, hidden_states(model, ids)) - expected).max()
    assert error < TOLERANCES[model.ops.dtype_name]
    assert (error > TOLERANCES["float32"]) == (model.ops.storage is not None)
