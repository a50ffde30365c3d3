"""Decoding ahead in static shapes, against decoding step by step; on a CPU, uncaptured."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import needs_cuda
from checkpoints import load_checkpoint, save_checkpoint
from engines import Answer, alone, answers, random_answers
from samplers import SamplerSettings

from gpt2cli.generation.engine import Engine
from gpt2cli.generation.requests import GenerationSettings, Request
from gpt2cli.generation.sampling import SequenceBias
from gpt2cli.model.decode_step import DecodeStep
from gpt2cli.model.kv_memory import position_bytes
from gpt2cli.model.model import Model
from gpt2cli.ops.device.transfer import Download

CONTEXT = 160
SAMPLINGS = (
    SamplerSettings(temperature=0.0),
    SamplerSettings(temperature=1.0, top_k=0, top_p=1.0),
    SamplerSettings(temperature=0.9, top_k=7, top_p=0.9, min_p=0.01),
    SamplerSettings(repetition_penalty=1.3),
    SamplerSettings(biases=(SequenceBias((3,), 4.0),)),
)
BEGINNING = [(7 * place) % 100 + 1 for place in range(60)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ahead")
    save_checkpoint(folder, n_positions=CONTEXT)
    return folder


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=(pytest.mark.cuda, needs_cuda))])
def model(checkpoint: Path, request: pytest.FixtureRequest) -> Model[Any]:
    model = load_checkpoint(checkpoint, "torch", request.param)
    model.ops.decodes_ahead = True
    return model


@pytest.fixture(scope="module")
def stepwise(checkpoint: Path) -> Model[Any]:
    return load_checkpoint(checkpoint, "numpy")


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Return the shapes of each step from now on."""
    seen: list[tuple[int, int, int]] = []
    compute = DecodeStep._compute

    def record(step: DecodeStep, *numbers: int) -> Any:
        seen.append(numbers)  # type: ignore[arg-type]
        return compute(step, *numbers)

    monkeypatch.setattr(DecodeStep, "_compute", record)
    return seen


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return the shape of each tensor that is waited for from now on."""
    seen: list[tuple[int, ...]] = []
    wait = Download.wait

    def record(download: Download) -> Any:
        array = wait(download)
        seen.append(array.shape)
        return array

    monkeypatch.setattr(Download, "wait", record)
    return seen


def any_request(choice: random.Random, texts: Sequence[Sequence[int]], **settings: Any) -> Request:
    """Return a request that begins as one of some texts does."""
    base = choice.choice(texts)
    ids = [*base[: choice.randint(1, len(base))], *choice.choices(range(1, 9), k=choice.randint(0, 12))]
    seed = choice.randint(0, 9)
    settings = {
        "max_tokens": choice.randint(1, 30),
        "end_ids": choice.sample(range(131), 2),
        "slide": choice.random() < 0.3,
        "speculate": choice.random() < 0.15,
        "logprobs": choice.choice([None, None, 2]),
        **settings,
    }
    return Request(ids[: CONTEXT - 5], choice.choice(SAMPLINGS).sampler(seed), GenerationSettings(**settings))


def check(found: Answer, expected: Answer) -> None:
    """Assert that two answers are the same, one of which may have been cut."""
    assert found.ids == expected.ids[: len(found.ids)]
    for token, other in zip(found.tokens, expected.tokens, strict=False):
        assert (token.logprob is None) == (other.logprob is None)
        if token.logprob is not None and other.logprob is not None:
            assert abs(token.logprob - other.logprob) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens_the_tokens_are_those_of_single_steps(
    model: Model[Any], stepwise: Model[Any], seed: int
) -> None:
    """Submit, cancel and stop at random places, with little memory and prompts that share much."""
    choice = random.Random(seed)
    memory = choice.choice([300, 900]) * position_bytes(model.config, model.ops)
    engine = Engine(model, rows=choice.randint(2, 5), kv_memory=memory)
    finished = 0
    for entry, answer in random_answers(engine, choice, BEGINNING, any_request):
        expected = alone(stepwise, entry)
        check(answer, expected)
        if answer.finish_reason == "length":
            finished += 1
            assert answer.ids == expected.ids
    assert finished > 5
    # What is kept makes room, so nothing is lost.
    for text in list(engine._texts._kept):
        engine._texts._drop(text)
    assert engine._memory.free_positions == engine._memory.positions


def test_shapes_are_few_whatever_the_rows_are(model: Model[Any], shapes: list[tuple[int, int, int]]) -> None:
    choice = random.Random(5)
    engine = Engine(model, rows=6)
    for _ in range(30):
        engine.submit(any_request(choice, [BEGINNING], slide=True))
    answers(engine)
    batches, lengths, candidates = (set(numbers) for numbers in zip(*shapes, strict=True))
    assert batches <= {1, 2, 4, 8}
    assert lengths <= {128, CONTEXT}
    assert candidates <= {1, 128, 131}


def test_ids_are_waited_for_once_a_step_and_a_step_late(
    model: Model[Any], waits: list[tuple[int, ...]]
) -> None:
    engine = Engine(model, rows=4)
    for seed in range(4):
        sampler = SAMPLINGS[seed % 3].sampler(seed)
        engine.submit(Request([5 + seed, 9], sampler, GenerationSettings(6)))
    assert engine.step() == []
    assert waits == []
    for count in range(1, 7):
        assert len([event for event in engine.step() if event.token]) == 4
        assert waits == [(4,)] * count
    assert engine.idle


def test_only_rows_that_need_them_get_scores(model: Model[Any], waits: list[tuple[int, ...]]) -> None:
    engine = Engine(model, rows=4)
    for seed in range(4):
        engine.submit(
            Request([5], SAMPLINGS[0].sampler(0), GenerationSettings(2, logprobs=1 if seed == 2 else None))
        )
    answers(engine)
    assert sorted(waits) == [(1, 131), (1, 131), (4,), (4,)]


def test_a_token_after_the_end_is_dropped(model: Model[Any], stepwise: Model[Any]) -> None:
    endless = alone(stepwise, Request([5], SAMPLINGS[1].sampler(3), GenerationSettings(30))).ids
    end = endless[7]
    engine = Engine(model, rows=1)
    entry = Request([5], SAMPLINGS[1].sampler(3), GenerationSettings(30, [end]))
    after = Request([17, 99, 3], SAMPLINGS[1].sampler(4), GenerationSettings(9))
    first, second = engine.submit(entry), engine.submit(after)
    found = answers(engine)
    assert (found[first].ids, found[first].finish_reason) == (endless[: endless.index(end)], "stop")
    check(found[second], alone(stepwise, after))
    assert len(found[second].ids) == 9


def test_many_samples_of_a_prompt_read_it_once(model: Model[Any], passes: list[tuple[int, int]]) -> None:
    engine = Engine(model, rows=5)
    for sample in range(5):
        engine.submit(Request(BEGINNING[:20], SAMPLINGS[1].sampler(1), GenerationSettings(4), sample))
    answers(engine)
    assert [time for _, time in passes if time > 8] == [19]


def test_texts_that_have_ended_stand_behind_those_that_are_read(
    model: Model[Any], shapes: list[tuple[int, int, int]], passes: list[tuple[int, int]]
) -> None:
    engine = Engine(model, rows=2)
    for number in range(4):
        engine.submit(Request([*BEGINNING[:40], number], SAMPLINGS[0].sampler(0), GenerationSettings(3)))
        answers(engine)
    assert {batch for batch, _, _ in shapes} == {1}
    assert [time for _, time in passes if time > 8] == [40]


def test_numbers_that_are_none_end_one_request_alone(model: Model[Any], stepwise: Model[Any]) -> None:
    entry = Request(BEGINNING[:20], SAMPLINGS[0].sampler(0), GenerationSettings(5))
    engine = Engine(model, rows=1)
    begin = engine._memory.claim(1)
    assert begin == 0
    engine._memory._held[:] = np.nan
    engine._memory.free(begin, 1)
    ticket = engine.submit(entry)
    check(answers(engine)[ticket], alone(stepwise, entry))
