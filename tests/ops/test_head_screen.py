"""A head screened in int8: the highest logits have the same bits as from the whole head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import needs_kernels
from checkpoints import save_checkpoint
from engines import Samples
from hypothesis import given
from hypothesis import strategies as st
from notes import Notes
from samplers import SamplerSettings

from gpt2cli.checkpoint import conversion
from gpt2cli.generation.requests import GenerationSettings
from gpt2cli.generation.sampling import Sampler, SequenceBias
from gpt2cli.hub.cache import assets_folder
from gpt2cli.hub.converted_files import converted_files
from gpt2cli.hub.model_files import find_model
from gpt2cli.hub.reporter import Reporter
from gpt2cli.model.model import Model, load_model
from gpt2cli.ops.backend import kernels_are_built, open_backend
from gpt2cli.ops.numpy_ops import widen
from gpt2cli.ops.operations import StoredTensor

pytestmark = needs_kernels

if kernels_are_built():
    from gpt2cli.ops import compiled_ops, kernels
    from gpt2cli.ops.compiled_ops import CompiledOps
    from gpt2cli.ops.compiled_weights import Table

Array = np.ndarray[Any, np.dtype[Any]]
Random = np.random.Generator

WIDTH, TOKENS = 70, 900
PROMPT = [5, 17, 99, 3, 8]


def normal(random: Random) -> tuple[Array, Array]:
    return random.normal(0, 0.1, (TOKENS, WIDTH)), random.normal(0, 1, WIDTH)


def with_outliers(random: Random) -> tuple[Array, Array]:
    head, x = normal(random)
    head[:, 3] *= 20
    x[7] *= 300
    return head, x


def all_equal(random: Random) -> tuple[Array, Array]:
    head, x = normal(random)
    return np.tile(head[:300], (3, 1)), x


def mostly_zero(random: Random) -> tuple[Array, Array]:
    head, x = normal(random)
    head[random.integers(0, TOKENS, 600)] = 0
    x[random.integers(0, WIDTH, 30)] = 0
    return head, x


def rounded_as_badly_as_can_be(random: Random) -> tuple[Array, Array]:
    """Put weights almost half a step aside: every rounding of a row moves its logit to the same side."""
    x = random.normal(0, 1, WIDTH)
    steps = random.integers(-1, 2, (TOKENS, WIDTH)) + 0.49 * np.sign(x) * random.choice([-1, 1], (TOKENS, 1))
    steps[:, 0] = 127
    return steps / 1000, x


def tiny(random: Random) -> tuple[Array, Array]:
    head, x = normal(random)
    return head * 1e-37 * random.choice([1e-3, 1e-1, 1, 10], (TOKENS, 1)), x


def tiny_activations(random: Random) -> tuple[Array, Array]:
    head, x = normal(random)
    return head, x * 1e-36


def huge(random: Random) -> tuple[Array, Array]:
    head, x = normal(random)
    return head * 1e18, x * 1e18


KINDS: Sequence[Callable[[Random], tuple[Array, Array]]] = (
    normal,
    with_outliers,
    all_equal,
    mostly_zero,
    rounded_as_badly_as_can_be,
    tiny,
    tiny_activations,
    huge,
)


def screened(head: Array) -> Table:
    (rows, width), panel = head.shape, kernels.INT8_PANEL_COLUMNS
    columns = -(-rows // panel) * panel
    panels = np.empty((columns // panel, -(-width // 4), panel, 4), np.uint8)
    scales, totals = np.empty((2, columns), np.float32)
    kernels.pack_int8(widen(head).T, panels, scales, totals)
    screen = StoredTensor("U8", panels, scales, packed_shape=head.shape)
    table: Table = CompiledOps().table(StoredTensor("F32", head, screen=screen))
    return table


def in_type(head: Array, dtype: str) -> Array:
    with np.errstate(over="ignore"):
        return head.astype(np.float32).astype(dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__.replace("_", " "))
def test_the_highest_logits_are_those_of_the_whole_head(
    kind: Callable[[Random], tuple[Array, Array]], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However many are left, they shall be the right ones.
    monkeypatch.setattr("gpt2cli.ops.head_screen.MAX_SHARE", 1.0)
    ops, random = CompiledOps(), np.random.default_rng(0)
    for _ in range(20):
        head, x = kind(random)
        head, row = in_type(head, dtype), x.astype(np.float32)[None]
        whole = ops.head(row, head)[0]
        table = screened(head)
        for top in (1, 2, 40, 300):
            found = ops.head(row, table, top)[0]
            highest = np.sort(whole)[-top]
            np.testing.assert_array_equal(found[whole >= highest], whole[whole >= highest])
            left_out = np.isneginf(found)
            np.testing.assert_array_equal(found[~left_out], whole[~left_out])


def test_logits_in_8_bits_alone_would_be_in_another_order() -> None:
    """Otherwise the test above would pass whatever the bounds were."""
    ops, random = CompiledOps(), np.random.default_rng(0)
    head, x = rounded_as_badly_as_can_be(random)
    head, row = in_type(head, "float32"), x.astype(np.float32)[None]
    screen = screened(head).screen
    assert screen is not None
    rough, whole = ops.head(row, screen)[0], ops.head(row, head)[0]
    assert set(np.argsort(rough)[-40:]) != set(np.argsort(whole)[-40:])
    assert np.abs(rough - whole).max() > 0.9 * np.abs(x).sum() / 2 * screen.scales.max()


def test_a_logit_counts_that_is_the_highest_only_if_all_is_rounded_against_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gpt2cli.ops.head_screen.MAX_SHARE", 1.0)
    ops, row = CompiledOps(), np.ones((1, WIDTH), np.float32)
    head = np.full((TOKENS, WIDTH), 10 - 0.49, np.float32)
    # The first weights make a step 1 in each row.
    head[:, 0] = 127
    head[5, 1:] = 10 + 0.49
    head[5, 1:67] -= 1
    found = ops.head(row, screened(head), 1)[0]
    assert found.argmax() == ops.head(row, head)[0].argmax() == 5
    screen = screened(head).screen
    assert screen is not None
    assert ops.head(row, screen)[0, 5] < ops.head(row, screen)[0, 6] - 60


def test_few_rows_of_the_head_are_read() -> None:
    ops, random = CompiledOps(), np.random.default_rng(0)
    for top, most in ((1, 20), (40, 130)):
        head, x = normal(random)
        found = ops.head(x.astype(np.float32)[None], screened(in_type(head, "float32")), top)
        assert top <= np.isfinite(found).sum() < most


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["head", "x"])
def test_what_is_not_finite_is_not_hidden(value: float, where: str) -> None:
    ops, random = CompiledOps(), np.random.default_rng(0)
    head, x = normal(random)
    (head if where == "head" else x)[5] = value
    head, row = in_type(head, "float32"), x.astype(np.float32)[None]
    np.testing.assert_array_equal(ops.head(row, screened(head), 1), ops.head(row, head))


def test_a_screen_that_tells_too_little_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    products: list[Any] = []
    monkeypatch.setattr(compiled_ops, "_linear_int8", _counting(products))
    ops = CompiledOps()
    head, row = np.ones((TOKENS, WIDTH), np.float32), np.ones((1, WIDTH), np.float32)
    table = screened(head)
    for _ in range(5):
        np.testing.assert_array_equal(ops.head(row, table, 1), ops.head(row, head))
    assert len(products) == 1


def _counting(calls: list[Any]) -> Callable[..., Array]:
    original = compiled_ops._linear_int8

    def product(*arguments: Any) -> Array:
        calls.append(arguments)
        return original(*arguments)

    return product


def test_all_logits_of_several_rows_are_there() -> None:
    ops, random = CompiledOps(), np.random.default_rng(0)
    head = in_type(normal(random)[0], "float32")
    rows = random.normal(0, 1, (2, WIDTH)).astype(np.float32)
    np.testing.assert_array_equal(ops.head(rows, screened(head), 1), ops.head(rows, head))
    np.testing.assert_array_equal(ops.head(rows[:1], screened(head)), ops.head(rows[:1], head))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("screened")
    save_checkpoint(folder, vocab_size=1009, n_embd=32, initializer_range=0.2)
    return folder


def model(folder: Path, dtype: str, is_screened: bool, reporter: Reporter | None = None) -> Model[Any]:
    files = find_model(str(folder))
    assert files is not None
    return load_model(files, open_backend("cpu", "compiled", dtype, threads=1), is_screened, reporter)


SAMPLINGS = {
    "greedy": SamplerSettings(temperature=0.0),
    "default": SamplerSettings(),
    "hot": SamplerSettings(temperature=1.5, top_k=7, top_p=1.0, min_p=0.01),
    "bans": SamplerSettings(
        temperature=0.0, biases=tuple(SequenceBias((token,), -np.inf) for token in range(200))
    ),
    "penalties": SamplerSettings(
        top_k=5, repetition_penalty=1.5, presence_penalty=1.0, frequency_penalty=0.5
    ),
    "ngrams": SamplerSettings(temperature=0.0, no_repeat_ngram=1),
    "biases": SamplerSettings(biases=(SequenceBias((7,), 30.0), SequenceBias((8,), -1.0))),
    "rewards": SamplerSettings(temperature=0.0, repetition_penalty=0.2),
    "nucleus": SamplerSettings(top_k=0),
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_a_screened_model_writes_the_same_tokens(
    checkpoint: Path, dtype: str, sampling: SamplerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "SCREENED_FROM_BYTES", 0)
    for settings in (
        GenerationSettings(60, slide=True),
        GenerationSettings(20, speculate=True),
        GenerationSettings(10, logprobs=3),
    ):
        expected, found = (
            _tokens(model(checkpoint, dtype, is_screened), sampling, settings)
            for is_screened in (False, True)
        )
        assert found == expected


def _tokens(model: Model[Any], sampling: SamplerSettings, settings: GenerationSettings) -> list[Any]:
    sampler = sampling.sampler(42)
    return list(Samples(model, PROMPT, sampler, settings))


def test_where_the_choice_is_among_a_few_the_head_is_not_read(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "SCREENED_FROM_BYTES", 0)
    rows = []

    def dots(x: Array, table: Array) -> Array:
        rows.append(len(table))
        return original(x, table)

    original = compiled_ops._lm_head
    monkeypatch.setattr(compiled_ops, "_lm_head", dots)
    _tokens(model(checkpoint, "float32", True), SAMPLINGS["greedy"], GenerationSettings(20))
    assert len(rows) == 20
    assert max(rows) < 200


settings_of_all_kinds = st.builds(
    SamplerSettings,
    temperature=st.sampled_from([0.0, 1.0]),
    top_k=st.integers(0, 12),
    top_p=st.sampled_from([0.5, 1.0]),
    min_p=st.sampled_from([0.0, 0.1]),
    repetition_penalty=st.sampled_from([0.5, 1.0, 2.0]),
    presence_penalty=st.sampled_from([-3.0, 0.0, 3.0]),
    frequency_penalty=st.sampled_from([-1.0, 0.0, 1.0]),
    no_repeat_ngram=st.integers(0, 2),
    biases=st.lists(
        st.builds(
            SequenceBias,
            st.lists(st.integers(0, 29), min_size=1, max_size=2).map(tuple),
            st.sampled_from([-np.inf, -5.0, 0.0, 5.0]),
        ),
        max_size=4,
    ).map(tuple),
)


@given(
    settings_of_all_kinds,
    st.lists(st.integers(0, 29), min_size=1, max_size=20),
    # Few values, so that many are equal.
    st.lists(st.integers(-4, 4), min_size=30, max_size=30),
    st.integers(0, 25),
    st.lists(st.integers(0, 29), max_size=3),
)
def test_a_choice_depends_on_no_more_logits_than_are_said_to_be_needed(
    settings: SamplerSettings, ids: list[int], values: list[int], least: int, ends: list[int]
) -> None:
    logits = np.array(values, np.float32)
    sampler = Sampler(settings, 1, settings.biases, min_tokens=least, end_ids=ends)
    top = sampler.top_needed(len(ids))
    if top is None or top >= len(logits):
        return
    few = np.where(logits >= np.sort(logits)[-top], logits, np.float32(-np.inf))
    assert sampler.choose(few, ids, 1, 0) == sampler.choose(logits, ids, 1, 0)


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path))
    monkeypatch.setattr(conversion, "SCREENED_FROM_BYTES", 0)
    return assets_folder()


def head_of(loaded: Model[Any]) -> Table:
    table: Table = loaded.parts.head
    return table


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_screen_is_kept_and_made_of_the_numbers_of_its_head(
    tmp_path: Path, assets: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, tied: bool
) -> None:
    save_checkpoint(tmp_path, tie_word_embeddings=tied)
    first = head_of(model(tmp_path, dtype, True))
    kept = {file.storage: file for file in converted_files()}
    kind = "int8-head" if dtype == "float32" else "float16-int8-head"
    assert kept.keys() == {kind} | ({dtype} - {"float32"})
    assert kept[kind].model == tmp_path
    monkeypatch.setattr(kernels, "pack_int8", None)
    again = head_of(model(tmp_path, dtype, True))
    assert first.screen is not None
    assert again.screen is not None
    rows, width = again.shape
    whole = (again.screen.panels.astype(np.float32) - 128).transpose(0, 2, 1, 3).reshape(-1, width)[:rows]
    scales = again.screen.scales[:rows, np.newaxis]
    errors = np.abs(whole * scales - again.array.astype(np.float32))
    assert (errors <= 0.5001 * scales).all()
    np.testing.assert_array_equal(first.screen.panels, again.screen.panels)


def test_no_screen_is_made_for_a_small_head_or_one_in_8_bits_or_unless_it_is_asked_for(
    checkpoint: Path, assets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = find_model(str(checkpoint))
    assert files is not None
    assert head_of(model(checkpoint, "float32", False)).screen is None
    load_model(files, open_backend("cpu", quantize="int8"), True)
    load_model(files, open_backend("cpu", "numpy"), True)
    assert [file.storage for file in converted_files()] == ["int8"]
    monkeypatch.undo()
    monkeypatch.setenv("HF_ASSETS_CACHE", str(assets.parent))
    assert head_of(model(checkpoint, "float32", True)).screen is None


def test_a_screen_that_cannot_be_kept_serves_all_the_same(checkpoint: Path, assets: Path) -> None:
    assets.parent.mkdir(parents=True, exist_ok=True)
    assets.write_text("a file where a folder should be")
    notes = Notes()
    loaded = model(checkpoint, "float32", True, notes)
    assert head_of(loaded).screen is not None
    # It was not asked for, so its lack is no news.
    assert not notes.lines
