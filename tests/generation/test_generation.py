"""Generation, against transformers and against itself computed another way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends import needs_kernels
from checkpoints import load_checkpoint, save_checkpoint
from engines import Samples, SampleToken
from samplers import SamplerSettings

from gpt2cli.errors import UsageError
from gpt2cli.generation.prompt import fit_prompt
from gpt2cli.generation.requests import GenerationSettings
from gpt2cli.generation.sampling import Sampler, SequenceBias, log_softmax
from gpt2cli.model.model import Model
from gpt2cli.model.prefill import prefill

CONTEXT = 48
PROMPT = [5, 17, 99, 3]
GREEDY = SamplerSettings(temperature=0.0)
LOOSE = SamplerSettings(temperature=1.0, top_k=0, top_p=1.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("generation")
    return folder, save_checkpoint(folder)


@pytest.fixture(scope="module", params=["numpy", "torch", pytest.param("compiled", marks=needs_kernels)])
def model(checkpoint: tuple[Path, Any], request: pytest.FixtureRequest) -> Model[Any]:
    return load_checkpoint(checkpoint[0], request.param)


@pytest.fixture(scope="module")
def reference(checkpoint: tuple[Path, Any]) -> Any:
    return checkpoint[1]


def generated(
    model: Model[Any],
    settings: GenerationSettings,
    sampling: SamplerSettings = GREEDY,
    samples: Sequence[int] = (0,),
    prompt: Sequence[int] = PROMPT,
) -> tuple[dict[int, list[int]], Samples]:
    generation = Samples(model, prompt, sampling.sampler(42), settings, samples)
    ids: dict[int, list[int]] = {sample: [] for sample in samples}
    for token in generation:
        ids[token.sample].append(token.id)
    return ids, generation


def test_greedy_ids_equal_those_of_transformers(model: Model[Any], reference: Any) -> None:
    ids, generation = generated(model, GenerationSettings(40))
    expected = reference.generate(
        torch.tensor([PROMPT]), max_new_tokens=40, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert ids[0] == expected[0, len(PROMPT) :].tolist()
    assert generation.finish_reasons == {0: "length"}


def test_a_sample_does_not_depend_on_its_batch(model: Model[Any]) -> None:
    settings = GenerationSettings(30)
    together, _ = generated(model, settings, LOOSE, range(6))
    for sample in range(6):
        alone, _ = generated(model, settings, LOOSE, [sample])
        assert alone[sample] == together[sample]
    assert len({tuple(ids) for ids in together.values()}) == 6


@pytest.mark.parametrize("backend", ["torch", pytest.param("compiled", marks=needs_kernels)])
def test_backends_draw_the_same_tokens(checkpoint: tuple[Path, Any], backend: str) -> None:
    expected, ids = (
        generated(load_checkpoint(checkpoint[0], name), GenerationSettings(40), LOOSE, range(4))[0]
        for name in ("numpy", backend)
    )
    assert ids == expected


def test_the_end_token_ends_its_sample_alone_and_is_not_reported(model: Model[Any]) -> None:
    endless, _ = generated(model, GenerationSettings(30), LOOSE, range(6))
    end = endless[2][7]
    ids, generation = generated(model, GenerationSettings(30, end_ids=[end]), LOOSE, range(6))
    for sample, expected in endless.items():
        cut = expected.index(end) if end in expected else None
        assert ids[sample] == expected[:cut]
        assert generation.finish_reasons[sample] == ("length" if cut is None else "stop")


@pytest.mark.parametrize("speculate", [False, True])
def test_no_end_token_comes_before_the_least_number_of_tokens_as_in_transformers(
    model: Model[Any], reference: Any, speculate: bool
) -> None:
    endless, _ = generated(model, GenerationSettings(40))
    ends = list(dict.fromkeys(endless[0]))[:2]
    expected = reference.generate(
        torch.tensor([PROMPT]),
        max_new_tokens=40,
        min_new_tokens=17,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=0,
    )[0, len(PROMPT) :].tolist()
    settings = GenerationSettings(40, ends, speculate=speculate)
    sampler = Sampler(GREEDY, 0, min_tokens=17, end_ids=ends)
    generation = Samples(model, PROMPT, sampler, settings)
    assert [token.id for token in generation] == expected[:-1]
    assert len(expected) > 17
    assert not set(ends) & set(expected[:17])
    assert generation.finish_reasons == {0: "stop"}


def test_a_stopped_sample_yields_no_more_while_the_others_go_on(model: Model[Any]) -> None:
    generation = Samples(model, PROMPT, Sampler(LOOSE, 42), GenerationSettings(20), range(3))
    counts = dict.fromkeys(range(3), 0)
    for token in generation:
        counts[token.sample] += 1
        if token.sample == 1 and counts[1] == 5:
            generation.stop(1)
    assert counts == {0: 20, 1: 5, 2: 20}
    assert generation.finish_reasons == {0: "length", 1: "stop", 2: "length"}


def test_the_context_can_be_filled_to_its_last_position(model: Model[Any], reference: Any) -> None:
    ids, generation = generated(model, GenerationSettings(500))
    # The last position is read and predicts one more token, which no position is left for.
    assert len(PROMPT) + len(ids[0]) == CONTEXT + 1
    assert generation.finish_reasons == {0: "length"}
    with torch.no_grad():
        expected = reference(torch.tensor([PROMPT + ids[0][:-1]])).logits[0].argmax(-1)
    assert ids[0] == expected[len(PROMPT) - 1 :].tolist()


def test_a_full_prompt_yields_one_token(model: Model[Any]) -> None:
    ids, _ = generated(model, GenerationSettings(10), prompt=[1] * CONTEXT)
    assert len(ids[0]) == 1


def test_sliding_reads_the_newest_half_again(model: Model[Any], reference: Any) -> None:
    ids, _ = generated(model, GenerationSettings(120, slide=True), samples=[0, 1])
    assert len(ids[0]) == 120
    assert ids[0] == ids[1]
    # Each token is the likeliest after those of its window, and so all are.
    text, begin, known = [*PROMPT, *ids[0]], 0, len(PROMPT)
    while known < len(text):
        with torch.no_grad():
            likeliest = reference(torch.tensor([text[begin : begin + CONTEXT]])).logits[0].argmax(-1)
        end = min(begin + CONTEXT + 1, len(text))
        assert text[known:end] == likeliest[known - begin - 1 : end - begin - 1].tolist()
        begin, known = end - CONTEXT // 2, end


def test_no_token_means_no_pass(model: Model[Any], passes: list[tuple[int, int]]) -> None:
    ids, generation = generated(model, GenerationSettings(0))
    assert ids == {0: []}
    assert generation.finish_reasons == {0: "length"}
    assert passes == []


def test_no_pass_runs_after_the_last_token(model: Model[Any], passes: list[tuple[int, int]]) -> None:
    generated(model, GenerationSettings(5), samples=range(3))
    assert passes == [(1, len(PROMPT))] + [(1, 3)] * 4


def test_logprobs_are_the_models_own_whatever_the_sampling(model: Model[Any], reference: Any) -> None:
    settings = GenerationSettings(6, logprobs=3)
    sampler = SamplerSettings(temperature=0.3, top_k=1, biases=(SequenceBias((7,), 50.0),)).sampler(0)
    tokens: list[SampleToken] = list(Samples(model, PROMPT, sampler, settings))
    assert [token.id for token in tokens] == [7] * 6
    with torch.no_grad():
        logits = reference(torch.tensor([PROMPT + [7] * 6])).logits[0]
    for step, token in enumerate(tokens):
        expected = torch.log_softmax(logits[len(PROMPT) - 1 + step].double(), 0)
        assert token.logprob == pytest.approx(float(expected[7]), abs=1e-4)
        values, indices = expected.topk(3)
        assert [other for other, _ in token.top] == indices.tolist()
        np.testing.assert_allclose([logprob for _, logprob in token.top], values, atol=1e-4)


def test_a_banned_sequence_never_appears(model: Model[Any]) -> None:
    free, _ = generated(model, GenerationSettings(40))
    first, second = free[0][10], free[0][11]
    bans = (SequenceBias((first, second), -math.inf),)
    ids, _ = generated(model, GenerationSettings(40), SamplerSettings(temperature=0.0, biases=bans))
    assert (first, second) not in set(zip(ids[0], ids[0][1:], strict=False))
    assert ids[0][:11] == free[0][:11]


def test_an_empty_prompt_is_refused(model: Model[Any]) -> None:
    with pytest.raises(ValueError, match="the prompt is empty"):
        prefill(model, [], 5)


def test_prefill_scores_equal_the_logits_of_transformers(model: Model[Any], reference: Any) -> None:
    with torch.no_grad():
        expected = reference(torch.tensor([PROMPT])).logits[0, -1].numpy()
    scores = prefill(model, PROMPT, 1).scores
    np.testing.assert_allclose(log_softmax(scores), log_softmax(expected), atol=1e-4)


@pytest.mark.parametrize(
    ("length", "max_tokens", "side", "expected"),
    [
        (100, 5, None, (range(100), False)),
        (101, 11, "left", (range(11, 101), True)),
        (101, 11, "right", (range(90), True)),
        (300, 80, "left", (range(250, 300), True)),
        (101, 0, "left", (range(1, 101), True)),
        (101, 1, "right", (range(100), True)),
    ],
)
def test_a_prompt_is_cut_on_the_side_asked_for_with_room_for_new_tokens(
    length: int, max_tokens: int, side: Any, expected: tuple[Sequence[int], bool]
) -> None:
    assert fit_prompt(range(length), 100, max_tokens, side) == expected


def test_a_prompt_beyond_the_context_is_refused_with_both_counts() -> None:
    with pytest.raises(UsageError, match=r"1,025 tokens .* 1,024"):
        fit_prompt(range(1025), 1024, 5, None)
